// dump and undump as commands: names, what they refuse, what they leave behind when they fail, damaged filesystems, and
// qcow2 files that others made.

import {
  closeSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { openFilesystem } from '@bcachefs-ts/core/engine';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { run, succeed } from '../support/cli.ts';
import { withTestImage } from '../support/images.ts';
import { mustRun, qemuComplaints, whyNoQemuImg } from '../support/qcow2-tools.ts';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-dump-command-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));
const file = (name: string) => join(folder, name);

function damage(image: string, offset: number, bytes: Uint8Array): void {
  const fd = openSync(image, 'r+');
  writeSync(fd, bytes, 0, bytes.length, offset);
  closeSync(fd);
}

/** Where the nodes of a btree are, by level. */
function nodePlaces(image: string, btree: 'inodes', level: number): readonly number[] {
  const filesystem = openFilesystem([image]);
  try {
    return [...filesystem.btree(btree).nodes({ level })].map(({ facts }) => 512 * facts.sector);
  } finally {
    filesystem.close();
  }
}

describe('dump', () => {
  test('of one member and of several', async () => {
    await withTestImage('basic', async ([image]) => {
      expect(await succeed('dump', ['-o', file('one'), image!])).toMatch(
        /one\.qcow2: 1\.4 MiB, 21 nodes of \S+basic\.img/,
      );
    });
    await withTestImage('multi', async images => {
      const { files } = JSON.parse(await succeed('dump', ['--json', '-o', file('two'), ...images.toReversed()]));
      expect(files).toEqual([
        expect.objectContaining({ path: file('two.0.qcow2'), device: images[0], dev: 0, device_bytes: 16 << 20 }),
        expect.objectContaining({ path: file('two.1.qcow2'), device: images[1], dev: 1, device_bytes: 16 << 20 }),
      ]);
      // One that is missing is reported, and the name is that of a single file.
      const { exitCode, stderr } = await run('dump', ['-o', file('half'), images[1]!]);
      expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: expect.stringContaining('missing') });
    });
    expect(readdirSync(folder).toSorted()).toEqual(['half.qcow2', 'one.qcow2', 'two.0.qcow2', 'two.1.qcow2']);
    for (const name of readdirSync(folder)) {
      expect(statSync(file(name)).mode & 0o777).toBe(0o600);
      if (whyNoQemuImg === undefined) expect(qemuComplaints(file(name))).toEqual([]);
    }
  });

  test('overwrites only with --force, and then gives the same bytes; a dump of a dump too', async () => {
    await withTestImage('unclean', async ([image]) => {
      await succeed('dump', ['-o', file('x'), image!]);
      const first = readFileSync(file('x.qcow2'));
      const { exitCode, stderr } = await run('dump', ['-o', file('x'), image!]);
      expect({ exitCode, stderr }).toEqual({ exitCode: 2, stderr: expect.stringContaining('is there already') });
      await succeed('dump', ['-f', '-o', file('x'), image!]);
      expect(readFileSync(file('x.qcow2')).equals(first)).toBe(true);
      await succeed('dump', ['-o', file('y'), file('x.qcow2')]);
      expect(readFileSync(file('y.qcow2')).equals(first)).toBe(true);
      expect(readdirSync(folder).toSorted()).toEqual(['x.qcow2', 'y.qcow2']);
    });
  });

  test('of several files, one that is there stops all', async () => {
    await withTestImage('multi', async images => {
      writeFileSync(file('x.1.qcow2'), 'mine');
      const { exitCode } = await run('dump', ['-o', file('x'), ...images]);
      expect(exitCode).toBe(2);
      expect(readdirSync(folder)).toEqual(['x.1.qcow2']);
      expect(readFileSync(file('x.1.qcow2'), 'utf8')).toBe('mine');
    });
  });

  test('a folder that cannot be written to, and a file that is not a filesystem', async () => {
    await withTestImage('basic', async ([image]) => {
      expect((await run('dump', ['-o', file('no/x'), image!])).exitCode).toBe(5);
    });
    writeFileSync(file('empty'), new Uint8Array(1 << 20));
    expect((await run('dump', ['-o', file('x'), file('empty')])).exitCode).toBe(3);
    expect((await run('dump', [file('empty')])).exitCode).toBe(2);
    expect(readdirSync(folder)).toEqual(['empty']);
  });

  test('the sealed filesystem wants its passphrase', async () => {
    await withTestImage('encrypted', async ([image]) => {
      const wrong = await run('dump', ['-o', file('x'), image!], { env: { BCACHEFS_PASSPHRASE: 'guess' } });
      expect(wrong).toMatchObject({ exitCode: 2, stderr: expect.stringContaining('wrong passphrase') });
      expect(readdirSync(folder)).toEqual([]);
      await succeed('dump', ['-o', file('x'), image!], { env: { BCACHEFS_PASSPHRASE: 'correct horse' } });
    });
  });

  test('one replica of each node is less, and reads the same', async () => {
    await withTestImage('multi', async images => {
      const json = (words: readonly string[]) => succeed('dump', ['--json', ...words, ...images]).then(JSON.parse);
      const all = await json(['-o', file('all')]);
      const one = await json(['-o', file('one'), '--single_replica']);
      const nodes = (result: { files: { btree_nodes: number }[] }) =>
        result.files.map(({ btree_nodes }) => btree_nodes);
      expect(nodes(all)[0]).toBeGreaterThan(0);
      expect(nodes(one)).toEqual([nodes(all)[0], 0]);
      const names = (x: string) => [file(`${x}.0.qcow2`), file(`${x}.1.qcow2`)];
      expect(await succeed('list', ['--btree=dirents', ...names('one')])).toBe(
        await succeed('list', ['--btree=dirents', ...names('all')]),
      );
    });
  });

  test('of the journal, what a mount replays is enough for one', async () => {
    await withTestImage('unclean', async ([image]) => {
      const json = (words: readonly string[]) => succeed('dump', ['--json', ...words, image!]).then(JSON.parse);
      const all = await json(['-o', file('all')]);
      const less = await json(['-o', file('less'), '--nojournal']);
      expect(less.files[0].journal_bytes).toBeGreaterThan(0);
      expect(less.files[0].journal_bytes).toBeLessThan(all.files[0].journal_bytes);
      const list = (x: string) => succeed('list', ['--btree=dirents', file(`${x}.qcow2`)]);
      expect(await list('less')).toBe(await list('all'));
    });
  });

  test('sanitised: no names, the same shape', async () => {
    await withTestImage('unclean', async ([image]) => {
      const dirents = (path: string) => succeed('list', ['--btree=dirents', path]);
      await succeed('dump', ['-s', '-o', file('data'), image!]);
      expect(await dirents(file('data.qcow2'))).toBe(await dirents(image!));
      const names = await succeed('dump', ['--json', '--sanitize=filenames', '-o', file('names'), image!]);
      expect(JSON.parse(names)).toMatchObject({ sanitized: 'filenames', losses: 0 });
      expect(await dirents(image!)).toContain(' kept ->');
      expect(await dirents(file('names.qcow2'))).not.toContain(' kept ->');
      expect((await dirents(file('names.qcow2'))).split('\n').length).toBe((await dirents(image!)).split('\n').length);
      expect(readFileSync(image!).includes('on disk before')).toBe(true);
      expect(readFileSync(file('data.qcow2')).includes('on disk before')).toBe(false);
      expect(readFileSync(file('names.qcow2')).includes('kept')).toBe(false);
    });
  });

  test('a damaged leaf is dumped as it is, and reported', async () => {
    await withTestImage('basic', async ([image]) => {
      const [place] = nodePlaces(image!, 'inodes', 0);
      damage(image!, place! + 400, Uint8Array.of(0xa5, 0x5a));
      const { exitCode, stderr, stdout } = await run('dump', ['--json', '-o', file('x'), image!]);
      expect(exitCode).toBe(0);
      expect(stderr).toContain('inodes level 0');
      expect(stderr).toContain('dumped as it is');
      expect(JSON.parse(stdout)).toMatchObject({ damaged_nodes: 1, losses: 0 });
      const node = readFileSync(image!).subarray(place!, place! + 1024);
      await succeed('undump', [file('x.qcow2')]);
      expect(
        readFileSync(file('x'))
          .subarray(place!, place! + 1024)
          .equals(node),
      ).toBe(true);
    });
  });

  test('with the journal gone, superblocks are still dumped', async () => {
    await withTestImage('unclean', async ([image]) => {
      const text = await succeed('show-super', ['-f', 'journal_v2', image!]);
      const [, first, end] = /Buckets: +(\d+)-(\d+)/.exec(text) ?? [];
      const bucketBytes = 16384;
      damage(image!, Number(first) * bucketBytes, new Uint8Array((Number(end) - Number(first)) * bucketBytes));
      const { exitCode, stderr } = await run('dump', ['-o', file('x'), image!]);
      expect({ exitCode, stderr }).toEqual({ exitCode: 1, stderr: expect.stringContaining('only superblocks') });
      const named = (output: string, path: string) =>
        output.replaceAll(path, 'IMAGE').replaceAll(basename(path), 'IMAGE');
      expect(named(await succeed('show-super', [file('x.qcow2')]), file('x.qcow2'))).toBe(
        named(await succeed('show-super', [image!]), image!),
      );
    });
  });

  test('8 TiB that no kernel has mounted yet', async () => {
    await succeed('format', ['--no_initialize', '--fs_size=8T', file('large.img')]);
    await succeed('dump', ['-o', file('large'), file('large.img')]);
    expect(statSync(file('large.qcow2')).size).toBeLessThan(1 << 20);
    await succeed('undump', ['-o', file('again'), file('large.qcow2')]);
    expect(statSync(file('again')).size).toBe(8 * 2 ** 40);
    expect(statSync(file('again')).blocks).toBeLessThan(4096);
  });
});

describe('undump', () => {
  test('names, and what it refuses', async () => {
    await withTestImage('basic', async ([image]) => {
      await succeed('dump', ['-o', file('x'), image!]);
      expect(await succeed('undump', [file('x.qcow2')])).toMatch(/x: 8 MiB, /);
      const again = await run('undump', [file('x.qcow2')]);
      expect(again).toMatchObject({ exitCode: 2, stderr: expect.stringContaining('is there already') });
      await succeed('undump', ['-f', file('x.qcow2')]);
      expect((await run('undump', [image!])).exitCode).toBe(2);
      expect((await run('undump', ['-o', file('y'), image!])).exitCode).toBe(3);
      expect((await run('undump', ['-o', file('y'), file('x.qcow2'), file('z.qcow2')])).exitCode).toBe(2);
      expect((await run('undump', ['-f', file('x.qcow2'), file('none.qcow2')])).exitCode).toBe(5);
      expect(readdirSync(folder).toSorted()).toEqual(['x', 'x.qcow2']);
    });
  });

  test('a damaged file leaves nothing behind', async () => {
    await withTestImage('basic', async ([image]) => {
      await succeed('dump', ['-o', file('x'), image!]);
      const bytes = readFileSync(file('x.qcow2'));
      writeFileSync(file('x.qcow2'), bytes.subarray(0, bytes.length - 3 * 65536));
      expect((await run('undump', [file('x.qcow2')])).exitCode).toBe(3);
      expect(readdirSync(folder)).toEqual(['x.qcow2']);
    });
  });

  test.skipIf(whyNoQemuImg !== undefined)('what QEMU made: versions, cluster sizes, compression', async () => {
    await withTestImage('basic', async ([image]) => {
      const contents = readFileSync(image!);
      const ways = [
        ['-o', 'compat=0.10'],
        ['-o', 'compat=1.1,cluster_size=512'],
        ['-o', 'compat=1.1,cluster_size=2M'],
        ['-c'],
        ['-c', '-o', 'cluster_size=4k'],
        ['-o', 'lazy_refcounts=on,refcount_bits=1'],
      ];
      for (const [nr, way] of ways.entries()) {
        mustRun('qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', ...way, image!, file(`q${nr}.qcow2`));
        await succeed('undump', [file(`q${nr}.qcow2`)]);
        expect(readFileSync(file(`q${nr}`)).equals(contents), way.join(' ')).toBe(true);
        expect(await succeed('list', ['--btree=inodes', file(`q${nr}.qcow2`)])).toBe(
          await succeed('list', ['--btree=inodes', image!]),
        );
      }
      mustRun('qemu-img', 'create', '-q', '-f', 'qcow2', '-F', 'raw', '-b', image!, file('over.qcow2'));
      mustRun('qemu-img', 'create', '-q', '-f', 'qcow2', '-o', 'extended_l2=on', file('extended.qcow2'), '8M');
      mustRun('qemu-img', 'create', '-q', '-f', 'qcow2', '-o', 'compression_type=zstd', file('zstd.qcow2'), '8M');
      for (const [name, words] of [
        ['over', 'on top of another'],
        ['extended', 'extended L2 entries'],
        ['zstd', 'zstd'],
      ]) {
        const refused = await run('undump', [file(`${name}.qcow2`)]);
        expect(refused).toMatchObject({ exitCode: 4, stderr: expect.stringContaining(words!) });
      }
    });
  });
});
