// Archives of the project's own image: what GNU tar and bsdtar unpack of them, where they are installed, options, output files, and headers
// that no small image needs.

import { spawnSync } from 'node:child_process';
import {
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { aclText } from '../../packages/files/src/tar/acl-text.ts';
import { encodeRecords, padded, tarHeader, timeText } from '../../packages/files/src/tar/header.ts';
import { runForBytes, succeed } from '../support/cli.ts';
import { withTestImage } from '../support/images.ts';
import { runUntil } from '../support/killed-process.ts';
import { patient } from '../support/patience.ts';
import { hasProgram, readTar, timeNs, whyNoPython } from '../support/read-tar.ts';

if (whyNoPython !== undefined) console.warn(`reading archives back skipped: ${whyNoPython}`);

let scratch = '';
beforeEach(() => {
  scratch = mkdtempSync(path.join(tmpdir(), 'bcachefs-ts-tar-'));
});
afterEach(() => {
  rmSync(scratch, { recursive: true, force: true });
});

const base64 = (text: string): string => Buffer.from(text).toString('base64');
const noTimes = { mtimeNs: 0n, atimeNs: 0n, ctimeNs: 0n };

describe('headers', () => {
  test('records count their own digits', () => {
    const text = (value: string) => Buffer.from(encodeRecords([{ keyword: 'k', value }])).toString();
    expect(text('')).toBe('5 k=\n');
    for (const length of [1, 4, 5, 6, 92, 93, 94, 95, 991, 992, 993]) {
      const record = text('v'.repeat(length));
      expect(Number.parseInt(record, 10)).toBe(record.length);
    }
  });

  test('times have nine digits at most, and signs', () => {
    expect([0n, 1n, 1_500_000_000n, -1n, -1_500_000_000n, -2_000_000_000n].map(timeText)).toEqual([
      '0',
      '0.000000001',
      '1.5',
      '-0.000000001',
      '-1.5',
      '-2',
    ]);
  });

  test('ACLs as text; anything else is undefined', () => {
    const acl = Uint8Array.of(
      2,
      0,
      0,
      0,
      1,
      0,
      6,
      0,
      255,
      255,
      255,
      255,
      2,
      0,
      4,
      0,
      0xe8,
      3,
      0,
      0,
      0x20,
      0,
      0,
      0,
      255,
      255,
      255,
      255,
    );
    expect(aclText(acl)).toBe('user::rw-,user:1000:r--,other::---');
    expect([acl.subarray(0, 3), acl.subarray(0, 9), acl.with(0, 3), acl.with(4, 3)].map(aclText)).toEqual([
      undefined,
      undefined,
      undefined,
      undefined,
    ]);
  });

  test.skipIf(whyNoPython !== undefined)('paths of every length, large numbers, names that are not UTF-8', () => {
    const paths = [1, 99, 100, 101, 155, 156, 157, 200, 255, 256, 257, 300].flatMap(length => [
      'n'.repeat(length),
      'd/'
        .repeat(length)
        .slice(0, length - 1)
        .concat('e'),
    ]);
    const entry = { mode: 0o644, uid: 0, gid: 0, sizeBytes: 0, times: noTimes } as const;
    const file = path.join(scratch, 'made.tar');
    const parts = paths.map(name => tarHeader({ ...entry, type: 'file', path: Buffer.from(name) }));
    parts.push(
      tarHeader({ ...entry, type: 'symlink', path: Uint8Array.of(0xff, 0x61), target: Uint8Array.of(0xfe) }),
      tarHeader({ ...entry, type: 'dir', path: Buffer.from('large/'), uid: 4_000_000_000, gid: 2_097_152 }),
      tarHeader({ ...entry, type: 'chr', path: Buffer.from('chr'), rdev: { major: 4095, minor: 1_048_575 } }),
      tarHeader({ ...entry, type: 'file', path: Buffer.from('old'), times: { ...noTimes, mtimeNs: -1_500_000_000n } }),
      new Uint8Array(1024),
    );
    writeFileSync(file, Buffer.concat(parts));
    const members = readTar(file);
    expect(members.slice(0, paths.length).map(({ path_b64 }) => path_b64)).toEqual(paths.map(base64));
    expect(members.slice(paths.length)).toMatchObject([
      {
        type: 'lnk',
        path_b64: Buffer.of(0xff, 0x61).toString('base64'),
        target_b64: Buffer.of(0xfe).toString('base64'),
      },
      { type: 'dir', uid: 4_000_000_000, gid: 2_097_152 },
      { type: 'chr', rdev: [4095, 1_048_575] },
      { type: 'reg', mtime: '-1.5' },
    ]);
    expect(timeNs('-1.5')).toBe(-1_500_000_000n);
  });

  test('a whole number of blocks', () => {
    expect([0, 1, 511, 512, 513].map(length => padded(new Uint8Array(length)).length)).toEqual([
      0, 512, 512, 512, 1024,
    ]);
  });
});

/** What a folder holds, as far as every user can unpack it. */
function held(folder: string, below = ''): Record<string, unknown> {
  const found: Record<string, unknown> = {};
  for (const name of readdirSync(Buffer.from(path.join(folder, below)), { encoding: 'latin1' })) {
    const at = path.join(below, name);
    const full = Buffer.from(path.join(folder, at), 'latin1');
    const stat = lstatSync(full, { bigint: true });
    const common = { mode: Number(stat.mode) & 0o777, mtime: stat.mtimeNs };
    if (stat.isDirectory()) Object.assign(found, { [at]: { ...common, directory: true } }, held(folder, at));
    else if (stat.isSymbolicLink()) found[at] = { target: readlinkSync(full, 'latin1') };
    else if (stat.size > 2 ** 30) found[at] = { ...common, size: stat.size, isSparse: stat.blocks < 2048n };
    else if (stat.isFile())
      found[at] = { ...common, links: stat.nlink, content: readFileSync(full).toString('base64') };
  }
  return found;
}

// Unpacked without owners and device nodes, since tests need not be root; long names need a real file system.
const programs = [
  { name: 'tar', words: ['--no-same-owner', '-xpf'], isThere: hasProgram('tar') },
  { name: 'bsdtar', words: ['--no-same-owner', '-xpf'], isThere: hasProgram('bsdtar') },
];

describe('unpacked', () => {
  test.skipIf(programs.every(({ isThere }) => !isThere))('by the programs that are here, all the same', async () => {
    await withTestImage('basic', async ([image]) => {
      const file = path.join(scratch, 'basic.tar');
      const { exitCode, stdout } = await runForBytes('tar', ['--exclude=special', '--output', file, image!]);
      expect(exitCode).toBe(0);
      expect(stdout).toMatch(
        /^wrote .*basic\.tar: \d+ files, \d+ directories, \d+ symlinks, 0 special, .* of data in .*\n$/,
      );
      for (const { name, words, isThere } of programs) {
        if (!isThere) continue;
        const folder = path.join(scratch, name);
        mkdirSync(folder);
        const unpacking = spawnSync(name, [...words, file, '-C', folder], { encoding: 'utf8' });
        expect([name, unpacking.status, unpacking.status === 0 ? '' : unpacking.stderr]).toEqual([name, 0, '']);
        const found = held(folder);
        const text = await runForBytes('cat', [image!, 'large/text']);
        expect(found['large/text']).toMatchObject({ content: Buffer.from(text.stdoutBytes).toString('base64') });
        expect(found['ranges/sparse']).toMatchObject({ size: 2n ** 40n, isSparse: true });
        expect(found['links/many']).toMatchObject({ links: 5n });
        expect(found['links/longest']).toMatchObject({ target: 'x'.repeat(4095) });
        expect(found['attributes/before-epoch']).toMatchObject({ mtime: expect.toSatisfy((ns: bigint) => ns < 0n) });
        expect(found['names/\u00e9 latin1']).toBeDefined();
        const listed = await succeed('ls', ['--json', '-R', '-a', image!]);
        for (const line of listed.trim().split('\n').slice(1)) {
          const entry = JSON.parse(line) as {
            path: string;
            path_hex?: string;
            type: string;
            mode: string;
            mtime_ns: string;
          };
          const at = Buffer.from(entry.path_hex ?? entry.path, entry.path_hex === undefined ? 'utf8' : 'hex').toString(
            'latin1',
          );
          // libarchive 3.6 adds the fraction of a time before 1970 instead of subtracting it.
          if (name === 'bsdtar' && at === 'attributes/before-epoch') continue;
          if (at.startsWith('special') || entry.type === 'lnk') continue;
          const mode = Number.parseInt(entry.mode, 8) & 0o777;
          expect([name, at, found[at]]).toEqual([
            name,
            at,
            expect.objectContaining({ mode, mtime: BigInt(entry.mtime_ns) }),
          ]);
        }
      }
    });
  });
});

describe('the command', () => {
  test('the same bytes every time, to standard output and to a file', async () => {
    await withTestImage('basic', async ([image]) => {
      const file = path.join(scratch, 'out.tar');
      const words = ['--exclude=socket', image!];
      const first = await runForBytes('tar', words);
      expect(first).toMatchObject({ exitCode: 0, stdout: '', stderr: '' });
      await succeed('tar', ['--output', file, ...words]);
      expect(Buffer.compare(readFileSync(file), first.stdoutBytes)).toBe(0);
      expect(first.stdoutBytes.length % 10_240).toBe(0);
      // A file of a TiB with little in it stays small.
      expect(first.stdoutBytes.length).toBeLessThan(4 * 2 ** 20);
    });
  });

  test.skipIf(whyNoPython !== undefined)('only what is named; the first name of a file has its data', async () => {
    await withTestImage('basic', async ([image]) => {
      const file = path.join(scratch, 'out.tar');
      await succeed('tar', [
        '-o',
        file,
        '--exclude=level-4',
        '--creation_times',
        image!,
        'deep',
        'links/many-2',
        'links/many-0',
      ]);
      const members = readTar(file).map(({ path_b64, type, btime }) => {
        expect(btime).toMatch(/^\d+\.\d+$/);
        return [Buffer.from(path_b64, 'base64').toString(), type];
      });
      expect(members.filter(([name]) => name!.startsWith('links')).map(([, type]) => type)).toEqual(['reg', 'link']);
      expect(members.map(([name]) => name)).toContain('deep/moved/level-3');
      expect(members.some(([name]) => name!.includes('level-4'))).toBe(false);
    });
  });

  test('--no_sparse: holes are zeroes, which every reader has', async () => {
    await withTestImage('basic', async ([image = '']) => {
      const source = path.join(scratch, 'holes');
      writeFileSync(source, 'x');
      truncateSync(source, 1_000_003);
      await succeed('put', [image, source, '/']);
      const { stdoutBytes } = await runForBytes('tar', ['--no_sparse', image, 'holes']);
      const header = Buffer.from(stdoutBytes).lastIndexOf('holes\0');
      const bytes = stdoutBytes.subarray(header + 512);
      expect(Buffer.from(stdoutBytes).includes('GNU.sparse')).toBe(false);
      expect(Number.parseInt(Buffer.from(stdoutBytes.subarray(header + 124, header + 135)).toString(), 8)).toBe(
        1_000_003,
      );
      expect(Buffer.from(bytes.subarray(0, 1_000_003)).equals(readFileSync(source))).toBe(true);
      const sparse = await runForBytes('tar', [image, 'holes']);
      expect(sparse.stdoutBytes.length).toBeLessThan(20_000);
    });
  });

  test(
    'Ctrl-C is heard in the middle of a file, and leaves nothing behind',
    async () => {
      const big = path.join(scratch, 'big.img');
      await succeed('format', ['-q', '--fs_size=512M', big]);
      const source = path.join(scratch, 'source');
      writeFileSync(source, Buffer.alloc(200 * 2 ** 20, 'data'));
      await succeed('put', [big, source, '/']);
      const ended = await runUntil(
        ['tar', '-o', path.join(scratch, 'out.tar'), big],
        {},
        { writtenBytes: 2 ** 20 },
        'SIGINT',
      );
      expect(ended).toMatchObject({ exitCode: 130 });
      expect(readdirSync(scratch).toSorted()).toEqual(['big.img', 'source']);
    },
    patient(120_000),
  );

  test('what archives cannot hold is reported', async () => {
    await withTestImage('basic', async ([image]) => {
      const { exitCode, stderr, stdout } = await runForBytes('tar', [image!, 'special']);
      expect([exitCode, stderr, stdout]).toEqual([
        1,
        'tar: warning: /special/socket: left out: archives have no sockets\n',
        '',
      ]);
    });
  });

  test('refuses a terminal, JSON without a file, files that are there, paths that are not', async () => {
    await withTestImage('basic', async ([image]) => {
      const file = path.join(scratch, 'out.tar');
      expect(await runForBytes('tar', [image!], { isTerminal: { stdout: true } })).toMatchObject({
        exitCode: 2,
        stderr: expect.stringContaining('not written to a terminal'),
      });
      expect((await runForBytes('tar', ['--json', image!])).exitCode).toBe(2);
      expect(await runForBytes('tar', ['-o', file, image!, 'nowhere'])).toMatchObject({
        exitCode: 2,
        stderr: expect.stringContaining('/nowhere: no such file or directory'),
      });
      writeFileSync(file, 'precious');
      expect(await runForBytes('tar', ['-o', file, image!])).toMatchObject({
        exitCode: 2,
        stderr: expect.stringContaining('is there already'),
      });
      expect(readFileSync(file, 'utf8')).toBe('precious');
      expect(readdirSync(scratch)).toEqual(['out.tar']);
      await succeed('tar', ['-f', '-o', file, image!, 'small']);
      expect(statSync(file).size).toBeGreaterThan(10_000);
    });
  });

  test('a reader that goes away ends it quietly', async () => {
    await withTestImage('basic', async ([image]) => {
      const result = await runForBytes('tar', [image!], { closeAfterCharacters: 100_000 });
      expect(result).toMatchObject({ exitCode: 0 });
      expect(result.stdoutBytes).toHaveLength(100_000);
    });
  });
});
