// put, rm, mkdir, mv and subvolume on copies of filesystems that a kernel made: what the command says has happened, nothing else has,
// and the checker of everything derived finds nothing. What is refused leaves the devices' bytes as they were.

import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync, copyFileSync, existsSync, linkSync, lstatSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, truncateSync, utimesSync, writeFileSync,
} from 'node:fs'; // biome-ignore format: one line of names
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { HostCallError, loadNativeCalls } from '@bcachefs-ts/command';
import {
  checkInvariants,
  DataReader,
  FileEdit,
  FilesystemWriter,
  FileTree,
  fileSize,
  findingText,
  IndirectExtents,
  isDirectory,
  loadChecksums,
  loadCompression,
  openDevice,
  openFilesystem,
  openMembers,
  readFile,
  seededRandom,
} from '@bcachefs-ts/core/engine';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type CommandName, run, succeed } from '../support/cli.ts';
import { fixture, whyNoFixtures } from '../support/fixtures.ts';
import { scratchFolder } from '../support/folder-manifest.ts';
import { testImages, withTestImage } from '../support/images.ts';
import { patient } from '../support/patience.ts';
import { hashFile } from '../support/sparse.ts';

let folder = '';
let source = '';
beforeAll(async () => {
  await loadChecksums();
  await loadCompression();
});
beforeEach(() => {
  folder = mkdtempSync(join(scratchFolder, 'edit-'));
  source = join(folder, 'source');
  mkdirSync(join(source, 'inside/empty'), { recursive: true });
  writeFileSync(join(source, 'short'), 'a few bytes\n');
  linkSync(join(source, 'short'), join(source, 'twin'));
  symlinkSync('../elsewhere', join(source, 'link'));
  writeFileSync(join(source, 'inside/long'), Buffer.alloc(300_001, 'no zeroes here. '));
  writeFileSync(join(source, 'inside/sparse'), 'x');
  truncateSync(join(source, 'inside/sparse'), 4 * 2 ** 20);
  chmodSync(join(source, 'inside/long'), 0o4750);
  utimesSync(join(source, 'inside/long'), 1_000_000_000.125, 1_500_000_000.5);
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const schemaOf = (name: string) =>
  new Ajv2020().compile(
    JSON.parse(readFileSync(fileURLToPath(new URL(`../../docs/json/${name}.schema.json`, import.meta.url)), 'utf8')),
  );
const isChange = schemaOf('change');
const isList = schemaOf('subvolume-list');

interface Seen {
  /** By path: type, mode, owner, mtime, links and contents in short. Directories without times: what is in them changes. */
  readonly files: ReadonlyMap<string, string>;
  readonly problems: readonly string[];
}

function look(images: readonly string[], passphrase?: string): Seen {
  const options = passphrase === undefined ? {} : { passphrase: new TextEncoder().encode(passphrase) };
  const filesystem = openFilesystem(images, options);
  try {
    const tree = FileTree.open(filesystem);
    const data = new DataReader(filesystem);
    const reflinks = new IndirectExtents(filesystem);
    const files = new Map<string, string>();
    for (const { node, path } of tree.walk()) {
      if (node === undefined) continue;
      const stat = tree.stat(node);
      const words = [stat.type, stat.mode.toString(8), `${stat.uid}:${stat.gid}`];
      if (!isDirectory(node.inode)) words.push(`${stat.nlink}`, `${stat.mtimeNs}`);
      if (stat.type === 'lnk') words.push(Buffer.from(tree.linkTarget(node)).toString());
      if (stat.type === 'reg') {
        const sizeBytes = Number(fileSize(node.inode.bi_size, ''));
        // Of what is a terabyte of holes, the beginning.
        const bytes = new Uint8Array(Math.min(sizeBytes, 2 ** 20));
        const file = { inum: node.inum, snapshot: node.snapshot, sizeBytes };
        readFile(data, tree.table, file, 0, bytes, { reflinks });
        words.push(`${sizeBytes}`, createHash('sha256').update(bytes).digest('hex').slice(0, 16), `${stat.blocks}`);
      }
      files.set(Buffer.from(path).toString('latin1'), words.join(' '));
    }
    return { files, problems: checkInvariants(filesystem).findings.map(findingText) };
  } finally {
    filesystem.close();
  }
}

/** The files that are not as they were, and their new words. */
function changes(before: Seen, after: Seen): Record<string, string | undefined> {
  const paths = new Set([...before.files.keys(), ...after.files.keys()]);
  return Object.fromEntries(
    [...paths]
      .filter(path => before.files.get(path) !== after.files.get(path))
      .map(path => [path, after.files.get(path)]),
  );
}

const hashOf = (images: readonly string[]) => images.map(image => hashFile(image)).join(' ');

async function refused(command: CommandName, words: readonly string[], images: readonly string[], env = {}) {
  const before = hashOf(images);
  const { exitCode, stderr, stdout } = await run(command, words, { env });
  expect(stdout).toBe('');
  expect(stderr.trim().split('\n').length).toBeLessThanOrEqual(2);
  expect(hashOf(images)).toBe(before);
  return { exitCode, stderr };
}

const owner = `${process.getuid?.()}:${process.getgid?.()}`;

describe.each(testImages.map(({ name, passphrase }) => ({ name, passphrase })))('$name', ({ name, passphrase }) => {
  const env = passphrase === undefined ? {} : { BCACHEFS_PASSPHRASE: passphrase };

  test(
    'every command, one after the other',
    () =>
      withTestImage(name, async images => {
        const FS = images.join(':');
        const before = look(images, passphrase);
        expect(before.problems).toEqual([]);
        const steps: readonly (readonly [CommandName, readonly string[], string])[] = [
          ['mkdir', ['-p', '--owner=5:6', FS, 'made/deep'], 'made 2 directories\n'],
          [
            'put',
            ['-r', FS, source, 'made'],
            'put 3 directories, 3 files, 1 hard link, 1 symlink (4.3 MiB) into /made\n',
          ],
          ['mv', [FS, 'made/source/short', 'made/deep/moved'], 'moved /made/source/short to /made/deep/moved\n'],
          ['mv', [FS, 'made/deep/moved', 'made/source'], 'moved /made/deep/moved to /made/source/moved\n'],
          ['mv', [FS, 'made/source/moved', 'made/source/twin', 'made/deep/'], 'moved 2 files into /made/deep\n'],
          ['mv', [FS, 'made/deep/twin', '/made/source/'], 'moved /made/deep/twin to /made/source/twin\n'],
          ['rm', ['-r', FS, 'made/source/inside/empty', 'made/source/link'], 'removed 1 directory, 1 symlink\n'],
          ['put', ['--force', '--owner=7:8', FS, join(source, 'short'), 'made/source/twin'], ''],
          ['subvolume create', [FS, 'made/volume'], ''],
          ['put', [FS, join(source, 'short'), 'made/volume'], 'put 1 file (12 B) into /made/volume\n'],
          ['subvolume snapshot', ['-r', FS, 'made/volume', 'made/frozen'], ''],
          ['subvolume delete', [FS, 'made/volume'], ''],
        ];
        for (const [command, words, said] of steps) {
          const stdout = await succeed(command, words, { env });
          if (said !== '') expect(stdout).toBe(said);
          else expect(stdout).toMatch(/^(put|made|deleted) .*\n$/);
        }
        const after = look(images, passphrase);
        expect(after.problems).toEqual([]);
        const changed = changes(before, after);
        delete changed[''];
        expect(Object.keys(changed).toSorted()).toEqual(
          [
            ...['made', 'made/deep', 'made/deep/moved', 'made/frozen', 'made/frozen/short', 'made/source'],
            ...['made/source/inside', 'made/source/inside/long', 'made/source/inside/sparse', 'made/source/twin'],
          ].toSorted(),
        );
        expect(changed['made/deep']).toBe('dir 755 5:6');
        expect(changed['made/source/inside/long']).toContain(`reg 4750 ${owner} 1 1500000000500000000 300001 `);
        // Its one block, and holes.
        expect(changed['made/source/inside/sparse']).toMatch(/ 4194304 [0-9a-f]+ ([1-9]|16)$/);
        expect(changed['made/source/twin']).toMatch(/^reg \d+ 7:8 1 /);
        expect(changed['made/deep/moved']?.split(' ').slice(5)).toEqual(
          changed['made/frozen/short']?.split(' ').slice(5),
        );
        expect((await refused('rm', [FS, 'made/frozen/short'], images, env)).stderr).toContain(
          'the subvolume is read-only',
        );
        const list = JSON.parse(await succeed('subvolume list', ['--json', FS], { env }));
        // Run by itself, the command does not know its group.
        expect(isList({ ...list, schema: 'bcachefs-ts/subvolume-list' }), JSON.stringify(isList.errors)).toBe(true);
        expect(list.subvolumes.find(({ path }: { path: string }) => path === 'made/frozen')).toMatchObject({
          read_only: true,
          parent: 1,
        });
        // And all of it away again: the filesystem is what it was.
        await succeed('subvolume delete', [FS, 'made/frozen'], { env });
        expect(await succeed('rm', ['-r', FS, 'made'], { env })).toMatch(/^removed 4 directories, 4 files/);
        const end = look(images, passphrase);
        expect(end.problems).toEqual([]);
        expect(changes(before, end)).toEqual({});
      }),
    patient(60_000),
  );
});

describe('refused, with nothing written', () => {
  const of = (use: (FS: string, images: readonly string[]) => Promise<void>) => () =>
    withTestImage('basic', images => use(images[0]!, images));

  test(
    'what is there, and what is not',
    of(async (FS, images) => {
      const cases: readonly (readonly [CommandName, readonly string[], string])[] = [
      ['mkdir', [FS, 'names'], '/names: file exists'],
      ['mkdir', [FS, 'new', 'not/there'], '/not: no such file or directory'],
      ['mkdir', ['-p', FS, 'names/-dash/below'], '/names/-dash: not a directory'],
      ['rm', [FS, 'names'], '/names: is a directory; give -r'],
      ['rm', [FS, 'names/-dash', 'nothing'], '/nothing: no such file or directory'],
      ['rm', ['-r', FS, '/'], '/: expected a path that ends with a name'],
      ['mv', [FS, 'nothing', 'x'], '/nothing: no such file or directory'],
      ['mv', ['-T', FS, 'names/-dash', 'deep'], '/deep: is a directory, which no file replaces'],
      ['mv', [FS, 'names/-dash', 'names/%s', 'x'], '/x: not a directory'],
      ['mv', [FS, 'names/-dash'], 'expected what is moved, and then the path that it gets'],
      ['mv', [FS, 'deep', 'deep/below'], '/deep to /deep/below: invalid argument'],
      ['mv', ['--no_replace', FS, 'names/-dash', 'names/%s'], '/names/%s: file exists'],
      ['put', [FS, source, 'x'], 'is a directory; give -r'],
      ['put', [FS, join(source, 'short'), 'names/-dash'], '/names/-dash: is there already; --force replaces it'],
      ['put', ['-f', FS, join(source, 'short'), join(source, 'inside'), 'x'], 'is a directory; give -r'],
      ['put', [FS, join(source, 'short'), 'x/'], '/x: no such directory'],
      ['put', [FS, '-', 'names'], '/names: is a directory; standard input needs the path of a file'],
      ['put', [FS, 'names'], 'expected files of the host'],
      ['subvolume create', [FS, 'names'], '/names: file exists'],
      ['subvolume delete', [FS, 'names'], '/names: is not a subvolume'],
      ['subvolume snapshot', [FS, 'names', 'x'], '/names: is not a subvolume'],
    ]; // biome-ignore format: a table
      for (const [command, words, said] of cases) {
        const { exitCode, stderr } = await refused(command, words, images);
        expect(stderr, `${command} ${words.join(' ')}`).toContain(said);
        expect(exitCode).toBe(2);
      }
      expect((await refused('put', [FS, join(source, 'missing'), 'x'], images)).exitCode).toBe(5);
    }),
  );

  test(
    'subvolumes below what is to go',
    of(async (FS, images) => {
      await succeed('mkdir', [FS, 'above']);
      await succeed('subvolume create', [FS, 'above/sub']);
      await succeed('subvolume create', [FS, 'above/sub/inner']);
      expect((await refused('rm', ['-r', FS, 'above'], images)).stderr).toContain(
        '/above/sub: is a subvolume; remove it with',
      );
      expect((await refused('subvolume delete', [FS, 'above/sub'], images)).stderr).toContain('subvolumes below it');
      expect((await refused('mv', [FS, 'names/-dash', 'above/sub/x'], images)).stderr).toContain(
        'would cross from one subvolume',
      );
    }),
  );

  test(
    'more than there is room for',
    of(async (FS, images) => {
      const before = look(images);
      writeFileSync(join(source, 'huge'), Buffer.alloc(12 * 2 ** 20, 'x'));
      const { exitCode, stderr } = await run('put', ['-r', FS, source, 'x']);
      expect(stderr).toMatch(
        /no space left for \d+ bytes of (data|metadata)\b.* \d+ bytes free in buckets of \d+ bytes/,
      );
      expect(exitCode).toBe(1);
      const after = look(images);
      expect(changes(before, after)).toEqual({});
      expect(after.problems).toEqual([]);
    }),
  );

  test.skipIf(whyNoFixtures !== undefined)('other versions, and filesystems with members missing', async () => {
    const older = join(folder, 'older.img');
    copyFileSync(fixture('fresh-103').images[0]!, older);
    chmodSync(older, 0o600);
    const { exitCode, stderr } = await refused('mkdir', [older, 'x'], [older]);
    expect(exitCode).toBe(4);
    expect(stderr).toContain('can be read but not changed');
    await withTestImage('multi', async images => {
      const { exitCode, stderr } = await refused('mkdir', [images[0]!, 'x'], images);
      expect([exitCode, stderr]).toEqual([2, expect.stringContaining('a change needs all of them')]);
    });
  });

  test('a wrong passphrase, and a seed where numbers are secret', () =>
    withTestImage('encrypted', async images => {
      const FS = images[0]!;
      expect((await refused('mkdir', [FS, 'x'], images, { BCACHEFS_PASSPHRASE: 'wrong' })).stderr).toContain(
        'wrong passphrase',
      );
      expect((await refused('mkdir', ['--seed=a', FS, 'x'], images)).stderr).toContain('--seed');
    }));
});

test('a dry run says the same and writes nothing; JSON fits its schema', () =>
  withTestImage('basic', async images => {
    const [FS = ''] = images;
    const before = hashOf(images);
    const dry = JSON.parse(await succeed('put', ['-r', '--dry_run', '--json', FS, source, 'x']));
    expect(hashOf(images)).toBe(before);
    const done = JSON.parse(await succeed('put', ['-r', '--json', FS, source, 'x']));
    for (const one of [dry, done]) expect(isChange(one), JSON.stringify(isChange.errors)).toBe(true);
    expect({ ...done, dry_run: true, commit: null }).toEqual(dry);
    expect(done.commit.journal_seq).toBeGreaterThan(0);
    expect(isChange({ ...done, more: 1 })).toBe(false);
    const none = JSON.parse(await succeed('mkdir', ['-p', '--json', FS, 'x']));
    expect(none.commit).toBeNull();
  }));

test('standard input becomes a file', () =>
  withTestImage('basic', async images => {
    const [FS = ''] = images;
    await succeed('put', ['--owner=1:2', '--mode=0600', FS, '-', 'typed'], { stdin: 'from a pipe' });
    expect(await run('cat', [FS, 'typed'])).toMatchObject({
      exitCode: 0,
      stdoutBytes: new TextEncoder().encode('from a pipe'),
    });
    expect(look(images).files.get('typed')).toMatch(/^reg 600 1:2 1 /);
  }));

describe('below a directory with a default ACL', () => {
  /** Owner rwx, user 1000 rwx, group r-x, mask rwx, others nothing. */
  const ACL = Uint8Array.of(
    ...[2, 0, 0, 0],
    ...[1, 0, 7, 0, 255, 255, 255, 255],
    ...[2, 0, 7, 0, 232, 3, 0, 0],
    ...[4, 0, 5, 0, 255, 255, 255, 255],
    ...[16, 0, 7, 0, 255, 255, 255, 255],
    ...[32, 0, 0, 0, 255, 255, 255, 255],
  );

  /** The mode of each path below, and the permissions in its ACLs. */
  function attributesOf(images: readonly string[]): Record<string, string> {
    const filesystem = openFilesystem(images);
    try {
      const tree = FileTree.open(filesystem);
      const found: Record<string, string> = {};
      for (const { node, path } of tree.walk()) {
        const shown = Buffer.from(path).toString();
        if (node === undefined || !shown.startsWith('acl/')) continue;
        const acls = tree.xattrs(node).map(({ name, value }) => {
          const kind = Buffer.from(name).toString().slice('system.posix_acl_'.length);
          return ` ${kind}=${value
            .subarray(4)
            .filter((_, i) => i % 8 === 2)
            .join('')}`;
        });
        found[shown] = `${tree.stat(node).mode.toString(8)}${acls.toSorted().join('')}`;
      }
      return found;
    } finally {
      filesystem.close();
    }
  }

  async function withDefaultAcl(body: (FS: string, images: readonly string[]) => Promise<void>): Promise<void> {
    await withTestImage('basic', async images => {
      const [FS = ''] = images;
      await succeed('mkdir', [FS, 'acl']);
      const device = openDevice(FS, { write: true });
      try {
        const options = { random: seededRandom('acl'), now: () => 1_800_000_000_000_000_000n };
        const writer = new FilesystemWriter(openMembers([device]), { ...options, now: () => 1_800_000_000n });
        const edit = new FileEdit(writer, options);
        const directory = edit.files.lookup(edit.files.root(), new TextEncoder().encode('acl'))!;
        edit.files.setXattr(directory, 'system.posix_acl_default', ACL);
        edit.commit();
      } finally {
        device.close();
      }
      await body(FS, images);
    });
  }

  test('what is made there inherits it, unless permissions are asked for', () =>
    withDefaultAcl(async (FS, images) => {
      await succeed('mkdir', [FS, 'acl/dir']);
      await succeed('mkdir', ['--mode=0755', FS, 'acl/dir/chosen']);
      await succeed('subvolume create', [FS, 'acl/volume']);
      await succeed('put', [FS, '-', 'acl/typed'], { stdin: 'x' });
      await succeed('put', ['--mode=0604', FS, '-', 'acl/chosen'], { stdin: 'x' });
      expect(attributesOf(images)).toEqual({
        'acl/dir': '770 access=77570 default=77570',
        'acl/dir/chosen': '755 access=77555 default=77570',
        'acl/volume': '770 access=77570 default=77570',
        'acl/typed': '660 access=67560',
        'acl/chosen': '604 access=67504',
      });
      expect(look(images).problems).toEqual([]);
    }));

  test('what is put there has what it had, as with cp -a', () =>
    withDefaultAcl(async (FS, images) => {
      const native = loadNativeCalls();
      let hasAcls = native !== undefined;
      try {
        const bytes = (text: string) => new TextEncoder().encode(text);
        native?.setXattr(bytes(join(source, 'short')), bytes('system.posix_acl_access'), ACL);
        native?.setXattr(bytes(join(source, 'inside/empty')), bytes('system.posix_acl_default'), ACL);
      } catch (thrown) {
        if (!(thrown instanceof HostCallError)) throw thrown;
        hasAcls = false;
      }
      const modeOf = (path: string) => (lstatSync(join(source, path)).mode & 0o7777).toString(8);
      const expected = Object.fromEntries(
        ['', 'short', 'twin', 'link', 'inside', 'inside/long', 'inside/sparse', 'inside/empty'].map(path => [
          join('acl/source', path),
          modeOf(path),
        ]),
      );
      for (const isKept of [true, false]) {
        if (isKept && hasAcls) {
          for (const name of ['short', 'twin']) expected[`acl/source/${name}`] = '770 access=77570';
          expected['acl/source/inside/empty'] = `${modeOf('inside/empty')} default=77570`;
        } else {
          for (const name of ['short', 'twin', 'inside/empty']) expected[`acl/source/${name}`] = modeOf(name);
        }
        await succeed('put', ['-r', ...(isKept ? [] : ['--no-xattrs']), FS, source, 'acl']);
        expect(attributesOf(images)).toEqual(expected);
        await succeed('rm', ['-r', FS, 'acl/source']);
      }
      expect(look(images).problems).toEqual([]);
    }));
});

test('the same bytes each time with a seed and a time', async () => {
  const once = () =>
    withTestImage('basic', async images => {
      const env = { SOURCE_DATE_EPOCH: '1700000000' };
      await succeed('put', ['-r', '--seed=s', '--owner=0:0', images[0]!, source, 'x'], { env });
      return hashOf(images);
    });
  expect(await once()).toBe(await once());
});

test(
  'killed in the middle, the old state is there',
  () =>
    withTestImage('basic', async images => {
      const [FS = ''] = images;
      const before = look(images);
      // Endless input: the command cannot come to its end.
      const endless = join(folder, 'never-ending');
      writeFileSync(endless, '');
      truncateSync(endless, 2 ** 40);
      writeFileSync(join(source, 'a-first'), Buffer.alloc(2 ** 20, 'y'));
      const script = fileURLToPath(new URL('../../scripts/bcachefs', import.meta.url));
      const child = spawn(script, ['put', '--progress=json', FS, join(source, 'a-first'), endless, '/'], {
        stdio: ['ignore', 'ignore', 'pipe'],
      });
      const ended = new Promise(resolve => child.on('exit', (_, signal) => resolve(signal)));
      // The first file is in the filesystem's free room when progress is reported.
      await new Promise<void>(resolve => {
        child.stderr.on('data', (bytes: Buffer) => {
          if (bytes.toString().includes('"progress"')) resolve();
        });
      });
      child.kill('SIGKILL');
      expect(await ended).toBe('SIGKILL');
      expect(existsSync(FS)).toBe(true);
      const after = look(images);
      expect(changes(before, after)).toEqual({});
      expect(after.problems).toEqual([]);
    }),
  patient(60_000),
);

describe.skipIf(whyNoFixtures !== undefined)('reference images', () => {
  test.each(['multi3-r2', 'snapshots', 'compress-zstd'])('%s', { timeout: patient(120_000) }, async name => {
    const images = fixture(name).images.map((path, nr) => {
      const copy = join(folder, `${nr}.img`);
      copyFileSync(path, copy);
      chmodSync(copy, 0o600);
      return copy;
    });
    const before = look(images);
    await succeed('put', ['-r', images.join(':'), `${source}/.`, '/']);
    await succeed('rm', ['-r', images.join(':'), 'inside', 'short', 'twin', 'link']);
    const after = look(images);
    expect(after.problems).toEqual([]);
    expect(changes(before, after)).toEqual({});
  });
});
