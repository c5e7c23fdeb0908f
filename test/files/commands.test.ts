// ls, tree, stat and cat over the project's own images: what they print, what their JSON is, and what they say when something is wrong.

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { unescapedBytes } from '@bcachefs-ts/command';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { columnsFor } from '../../packages/files/src/ls/command.ts';
import { run, runForBytes, succeed } from '../support/cli.ts';
import { fixture, whyNoFixtures } from '../support/fixtures.ts';
import { withTestImage } from '../support/images.ts';

vi.stubEnv('TZ', 'UTC');

let image = '';
let release = (): void => {};
let done: Promise<void> | undefined;

beforeAll(async () => {
  await new Promise<void>(ready => {
    done = withTestImage('basic', async ([file]) => {
      image = file!;
      await new Promise<void>(resolve => {
        release = resolve;
        ready();
      });
    });
  });
});
afterAll(async () => {
  release();
  await done;
});

describe('ls', () => {
  test('names in the order of their bytes, one a line, control characters escaped', async () => {
    expect((await succeed('ls', [image, 'names'])).split('\n').slice(0, 4)).toEqual([
      ' leading and trailing ',
      '%s',
      '-dash',
      'new\\x0aline',
    ]);
    expect((await succeed('ls', [image, 'names'])).split('\n').slice(5)).toEqual([
      'tab\\x09bell\\x07',
      'ünïcödé 文字 🗄',
      '\\xe9 latin1',
      '',
    ]);
  });

  test('-l is a line of mode, links, owner, group, size or device, time, name and target', async () => {
    const lines = (await succeed('ls', ['-l', image, 'attributes', 'special'])).replaceAll(
      /2026-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4}/g,
      'DATE',
    );
    expect(lines).toMatchInlineSnapshot(`
      "/attributes:
      -rw-r--r-- 1    0          0   0 1969-12-31 23:59:58 +0000 before-epoch
      -rw-r--r-- 1    0          0 500 DATE file
      lrwxrwxrwx 1    0          0   4 DATE link -> file
      ---Srws--- 1 1000 4000000000   0 DATE owned
      -rw-r--r-- 1    0          0   0 2100-01-01 00:00:00 +0000 past-2038

      /special:
      brw-r----- 1 0 0         8, 17 DATE block
      crw------- 1 0 0          5, 1 DATE char
      prw-r----- 1 0 0             0 DATE fifo
      crw------- 1 0 0 4095, 1048575 DATE largest
      srwxr-xr-x 1 0 0             0 DATE socket
      "
    `);
  });

  test('-R goes down, -i shows inodes, -h sizes for people, -d the directory itself', async () => {
    const all = await succeed('ls', ['-R', image, 'churn']);
    expect(all).toBe('/churn:\nt0\nt4\nt8\n\n/churn/t0:\nother\n\n/churn/t4:\nother\n\n/churn/t8:\nother\n');
    expect(await succeed('ls', ['-i', image, 'deep'])).toMatch(/^\d+ file\n\d+ level-0\n\d+ moved\n$/);
    expect(await succeed('ls', ['-lh', image, 'ranges/sparse'])).toContain(' 1.00T ');
    expect(await succeed('ls', ['-d', image, 'deep'])).toBe('deep\n');
  });

  test('columns and colours on a terminal', async () => {
    const options = { isTerminal: true, columns: 30 };
    const { stdout } = await run('ls', [image, 'inline'], options);
    expect(stdout).toBe('f0  f1  f2  f3  f4  f5  f6  f7\n');
    const oneALine = await run('ls', ['-1', image, 'inline'], options);
    expect(oneALine.stdout).toBe('f0\nf1\nf2\nf3\nf4\nf5\nf6\nf7\n');
    const root = await run('ls', [image, 'special'], { ...options, env: { TERM: 'xterm' } });
    expect(root.stdout).toContain('\u001b[1m\u001b[33mblock\u001b[39m\u001b[22m');
    expect(columnsFor([3, 3, 3, 3, 10], 20)).toEqual({ columns: 3, widths: [3, 3, 10] });
    expect(columnsFor([30, 3], 20)).toEqual({ columns: 1, widths: [0] });
  });

  test('a name that is not text can be given as it was printed', async () => {
    expect(await succeed('cat', [image, 'names/\\xe9 latin1'])).toBe('');
    expect((await runForBytes('cat', [image, 'names/\\xe9 latin1'])).stdoutBytes).toHaveLength(8);
    expect(unescapedBytes('a\\xffü')).toEqual(Uint8Array.of(0x61, 0xff, 0xc3, 0xbc));
    expect(unescapedBytes('plain')).toBeUndefined();
  });

  test('what is missing is reported', async () => {
    const { exitCode, stderr } = await run('ls', [image, 'nowhere']);
    expect([exitCode, stderr]).toEqual([2, 'ls: /nowhere: no such file or directory\n']);
  });
});

describe('tree', () => {
  test('draws what is below, with counts', async () => {
    expect(await succeed('tree', [image, 'churn'])).toBe(
      'churn\n├── t0\n│   └── other\n├── t4\n│   └── other\n└── t8\n    └── other\n\n3 directories, 3 files\n',
    );
  });

  test('--level and --directories', async () => {
    expect(await succeed('tree', ['-d', '-L', '2', image, 'deep'])).toBe(
      'deep\n├── level-0\n│   └── level-1\n└── moved\n    └── level-3\n\n4 directories\n',
    );
  });

  test('a file is not drawn', async () => {
    expect((await run('tree', [image, 'deep/file'])).stderr).toContain('deep/file: not a directory');
  });
});

describe('stat', () => {
  test('everything about a file', async () => {
    const text = (await succeed('stat', [image, 'attributes/owned', 'clones/part'])).replaceAll(
      /2026-\d\d-\d\d \d\d:\d\d:\d\d\.\d{9} [+-]\d{4}|(?<=seed )[0-9a-f]{16}/g,
      'VARYING',
    );
    expect(text).toMatchInlineSnapshot(`
      "      File: /attributes/owned
            Type: regular file
            Size: 0
          Blocks: 0 of 512 bytes; the filesystem's block is 512 bytes
           Inode: 4228
           Links: 1
          Access: 6070/---Srws---
             Uid: 1000
             Gid: 4000000000
        Accessed: VARYING
        Modified: VARYING
         Changed: VARYING
            Born: VARYING
       Subvolume: 1
        Snapshot: 4294967295
           Flags: none
         Project: 0
      Generation: 0
         Version: 0, journal entry 16, key type inode_v3
            Hash: siphash, seed VARYING
       Directory: inode 4225
      Options:
        data_checksum: crc32c
        compression: none
        data_replicas: 1
      Data:
        extents: 0

            File: /clones/part
            Type: regular file
            Size: 36864
          Blocks: 64 of 512 bytes; the filesystem's block is 512 bytes
           Inode: 4252
           Links: 1
          Access: 0644/-rw-r--r--
             Uid: 0
             Gid: 0
        Accessed: VARYING
        Modified: VARYING
         Changed: VARYING
            Born: VARYING
       Subvolume: 1
        Snapshot: 4294967295
           Flags: none
         Project: 0
      Generation: 0
         Version: 0, journal entry 29, key type inode_v3
            Hash: siphash, seed VARYING
       Directory: inode 4249
      Options:
        data_checksum: crc32c
        compression: none
        data_replicas: 1
      Data:
        extents: 3
        data: 32768 bytes
        hole: 4096 bytes
        reflinked: 32768 bytes
        compression: none 32768
        checksum: crc32c 32768
        replicas: 1 32768
        devices: 0 32768
      "
    `);
  });

  test('symlinks are followed only when asked', async () => {
    expect(await succeed('stat', [image, 'attributes/link'])).toContain(
      'File: /attributes/link -> file\n      Type: symbolic link',
    );
    expect(await succeed('stat', ['-L', image, 'attributes/link'])).toContain('Type: regular file');
  });
});

describe('cat', () => {
  test('bytes of several files, holes as zeroes', async () => {
    const { exitCode, stdout, stdoutBytes } = await runForBytes('cat', [
      image,
      'large/text',
      'ranges/punched',
      'attributes/link',
    ]);
    expect([exitCode, stdout]).toEqual([0, '']);
    const linked = (await runForBytes('cat', [image, 'attributes/file'])).stdoutBytes;
    expect(stdoutBytes).toHaveLength(65536 + 32768 + 500);
    expect(stdoutBytes.subarray(65536).some(byte => byte === 0)).toBe(true);
    expect(stdoutBytes.subarray(65536 + 32768)).toEqual(linked);
  });

  test('a directory has no bytes, JSON neither', async () => {
    expect(await runForBytes('cat', [image, 'large'])).toMatchObject({
      exitCode: 2,
      stderr: expect.stringContaining('not a regular file'),
    });
    expect((await runForBytes('cat', ['--json', image, 'large/text'])).exitCode).toBe(2);
  });

  test('a reader that goes away ends it quietly', async () => {
    const result = await runForBytes('cat', [image, 'ranges/sparse'], { closeAfterCharacters: 3_000_000 });
    expect(result).toMatchObject({ exitCode: 0, stderr: '' });
    expect(result.stdoutBytes).toHaveLength(3_000_000);
  });
});

describe.skipIf(whyNoFixtures !== undefined)('cat of a damaged file', () => {
  test('stops at the loss, or goes on with zeroes and says so', async () => {
    const { images, readManifest } = fixture('dmg-data-csum');
    const files = readManifest<{ path: string; type: string; size: number; sha256: string }>().filter(
      ({ type }) => type === 'reg',
    );
    const failing: typeof files = [];
    for (const file of files) {
      const { exitCode, stdoutBytes, stderr } = await runForBytes('cat', [images[0]!, file.path]);
      if (exitCode === 0) {
        expect(createHash('sha256').update(stdoutBytes).digest('hex')).toBe(file.sha256);
        continue;
      }
      failing.push(file);
      expect([exitCode, stderr]).toEqual([
        expect.toSatisfy(code => code === 3 || code === 5),
        expect.stringContaining('cat: '),
      ]);
      expect(stdoutBytes.length).toBeLessThan(file.size);
    }
    expect(failing.length).toBeGreaterThan(0);
    for (const { path: name, size } of failing) {
      const { exitCode, stdoutBytes, stderr } = await runForBytes('cat', ['--ignore_errors', images[0]!, name]);
      expect([exitCode, stdoutBytes.length]).toEqual([1, size]);
      expect(stderr).toContain(`warning: /${name}, bytes `);
    }
  });
});

describe('JSON', () => {
  const schemas = fileURLToPath(new URL('../../docs/json/', import.meta.url));
  const violations = (name: string, documents: readonly unknown[]): unknown[] => {
    const ajv = new Ajv2020({ allErrors: true, strict: true, strictRequired: false, allowUnionTypes: true });
    const isValid = ajv.compile(JSON.parse(readFileSync(path.join(schemas, `${name}.schema.json`), 'utf8')));
    return documents.flatMap(document => (isValid(document) ? [] : [{ document, errors: isValid.errors }]));
  };
  const lines = (text: string): Record<string, unknown>[] =>
    text
      .split('\n')
      .filter(line => line !== '')
      .map(line => JSON.parse(line));

  test('ls fits its schema', async () => {
    const documents = lines(await succeed('ls', ['--json', '-aR', image]));
    expect(violations('ls', documents)).toEqual([]);
    expect(documents.length).toBeGreaterThan(100);
    expect(documents.find(({ name_hex }) => name_hex !== undefined)).toMatchObject({
      path: 'names/\\xe9 latin1',
      name_hex: 'e9206c6174696e31',
      size: 8,
    });
    expect(violations('ls', [{ ...documents[1], size: undefined, mode: 7 }])).not.toEqual([]);
  });

  test('tree fits its schema', async () => {
    const documents = lines(await succeed('tree', ['--json', '-a', image]));
    expect(violations('tree', documents)).toEqual([]);
    const entries = documents.filter(({ kind }) => kind === 'entry');
    const directories = entries.filter(({ type }) => type === 'dir').length;
    expect(documents.at(-1)).toEqual({ kind: 'summary', directories, files: entries.length - directories });
    expect(violations('tree', [{ kind: 'entry', depth: 1 }])).not.toEqual([]);
  });

  test('stat fits its schema, and its extents add up', async () => {
    const files = [
      '/',
      'attributes/file',
      'ranges/sparse',
      'clones/whole',
      'special/largest',
      'names/\\xe9 latin1',
      'large/text',
    ];
    const document = JSON.parse(await succeed('stat', ['--json', image, ...files]));
    expect(violations('stat', [document])).toEqual([]);
    for (const { size, extents } of document.files) {
      if (extents === undefined) continue;
      const { data, inline, hole, reserved, unwritten, lost } = extents;
      expect(data + inline + hole + reserved + unwritten + lost).toBe(size);
    }
    expect(document.files[3].extents.reflinked).toBeGreaterThan(0);
    expect(violations('stat', [{ ...document, files: [{}] }])).not.toEqual([]);
  });
});

describe.skipIf(whyNoFixtures !== undefined)('damaged trees', () => {
  test('loops end, what is lost is marked, and the exit code says so', async () => {
    const { images } = fixture('dmg-missing-target');
    const tree = await run('tree', [images[0]!]);
    expect([tree.exitCode, tree.stdout]).toEqual([1, expect.stringContaining('f3 [lost]')]);
    const ls = await run('ls', ['-l', images[0]!, 'a/b']);
    expect([ls.exitCode, ls.stdout]).toEqual([1, expect.stringMatching(/^\?{10} +\? .* f3$/m)]);
    expect((await run('tree', [fixture('dmg-dirloop').images[0]!])).exitCode).toBe(0);
  });
});
