// restore: hostile trees, interruption, clashes and full disks. Trees that no kernel would make are made up here; what is compared with
// the kernel's word is in restore.fixtures.test.ts.

import { execFileSync } from 'node:child_process';
import {
  existsSync, lstatSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, symlinkSync, writeFileSync,
} from 'node:fs'; // biome-ignore format: one line of names
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { runCli } from '@bcachefs-ts/command';
import { openFilesystem } from '@bcachefs-ts/core/engine';
import { restoreCommand } from '@bcachefs-ts/files';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { unusable } from '../../packages/files/src/restore/destination.ts';
import type { Report } from '../../packages/files/src/restore/report.ts';
import type { RestoreSource } from '../../packages/files/src/restore/source.ts';
import { allPaths, scratchFolder } from '../support/folder-manifest.ts';
import { withTestImage } from '../support/images.ts';
import { crippled, encode, type Fake, type FakeNode, type FakeOptions, fakeSource, restoreInto } from './fake-tree.ts';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(scratchFolder, 'restore-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

const restoreFake = (source: RestoreSource<FakeNode>, options: FakeOptions = {}): Promise<Report> =>
  restoreInto(join(folder, 'out'), source, options);

const out = (...names: string[]): string => join(folder, 'out', ...names);
const refused = (report: Report) => report.files.map(({ path, verdict }) => `${path}: ${verdict}`);

describe.each([true, false])('nothing is written outside of the destination (descriptors: %s)', usesDescriptors => {
  test('names that lead out, or are none', async () => {
    const evil = ['..', '.', '', '/etc', 'a/b', '../up', 'nul\0x', '.bcachefs-restore'];
    const report = await restoreFake(
      fakeSource([
        ...evil.map(name => ({ name, data: 'x' })),
        ...evil.map(name => ({ name, type: 'dir' as const, inside: [{ name: 'in' }] })),
        { name: 'good', data: 'ok' },
      ]),
      { usesDescriptors },
    );
    expect(readdirSync(folder)).toEqual(['out']);
    expect(allPaths(out())).toEqual(['.', 'good']);
    expect(report.verdicts).toMatchObject({ intact: 2, not_written: 3 * evil.length });
  });

  test('a symlink whose name is a directory as well', async () => {
    mkdirSync(join(folder, 'victim'));
    const target = join(folder, 'victim');
    const report = await restoreFake(
      fakeSource([
        { name: 'x', type: 'lnk', data: target },
        { name: 'x', type: 'dir', mode: 0o777, inside: [{ name: 'evil', data: 'evil' }] },
        { name: 'y', type: 'dir', inside: [{ name: 'in', data: '1' }] },
        { name: 'y', type: 'lnk', data: target },
        { name: 'z', type: 'lnk', data: join(target, 'new') },
        { name: 'z', data: 'evil' },
      ]),
      { usesDescriptors },
    );
    expect(readdirSync(target)).toEqual([]);
    expect(readlinkSync(out('x'))).toBe(target);
    expect(readFileSync(out('y', 'in'), 'utf8')).toBe('1');
    expect(refused(report)).toEqual(['x: not_written', 'x/evil: not_written', 'y: not_written', 'z: not_written']);
  });

  test('symlinks that were in the destination before are replaced or refused when merging, never followed', async () => {
    mkdirSync(join(folder, 'victim'));
    mkdirSync(out());
    writeFileSync(join(folder, 'victim', 'file'), 'mine');
    symlinkSync(join(folder, 'victim'), out('d'));
    symlinkSync(join(folder, 'victim', 'file'), out('f'));
    writeFileSync(out('old'), 'old');
    const tree = [
      { name: 'd', type: 'dir' as const, inside: [{ name: 'file', data: 'evil' }] },
      { name: 'f', data: 'new' },
      { name: 'old', data: 'newer' },
      { name: 'old', data: 'twice' },
    ];
    const report = await restoreFake(fakeSource(tree), { merge: true, usesDescriptors });
    expect(readFileSync(join(folder, 'victim', 'file'), 'utf8')).toBe('mine');
    expect(lstatSync(out('f')).isFile()).toBe(true);
    expect(readFileSync(out('old'), 'utf8')).toBe('newer');
    expect(refused(report)).toEqual(['d: not_written', 'd/file: not_written', 'old: not_written']);
  });

  test('a tree deeper than the descriptors that stay open', async () => {
    let tree: Fake = { name: 'end', data: 'deep' };
    for (let depth = 0; depth < 300; depth++)
      tree = { name: 'd', type: 'dir', inside: [tree, { name: 'f', data: 'x' }] };
    const report = await restoreFake(fakeSource([tree]), { usesDescriptors });
    expect(report.verdicts.intact).toBe(602);
    expect(readFileSync(out(...Array.from({ length: 300 }, () => 'd'), 'end'), 'utf8')).toBe('deep');
    expect(lstatSync(out('d', 'd'), { bigint: true }).mtimeNs).toBe(1_700_000_000_123_456_789n);
  });
});

describe('what the host does not take', () => {
  test('a name that is too long is that file alone', async () => {
    const report = await restoreFake(
      fakeSource([
        { name: 'n'.repeat(300), data: 'x' },
        { name: 'ok', data: 'x' },
      ]),
    );
    expect(report.files).toMatchObject([{ verdict: 'not_written', detail: 'the name is longer than the host takes' }]);
    expect(readdirSync(out())).toEqual(['ok']);
  });

  test('names that are not UTF-8 stay what they are, and folders without permissions get them last', async () => {
    const name = Uint8Array.of(0x66, 0xff, 0x0a);
    const report = await restoreFake(
      fakeSource([{ name: 'closed', type: 'dir', mode: 0, inside: [{ name, data: 'x' }] }]),
    );
    expect(report.isIntact).toBe(true);
    expect(lstatSync(out('closed')).mode & 0o7777).toBe(0);
    expect(allPaths(out())).toContain('closed/f\xff\n');
  });

  test('what it refuses of attributes and special files is summed up, and nothing is damaged by it', async () => {
    const tree: Fake[] = ['a', 'b', 'c', 'd', 'e'].flatMap(name => [
      { name, data: name },
      { name: `${name}.fifo`, type: 'fifo' },
    ]);
    const report = await restoreFake(fakeSource([...tree, { name: 'tty', type: 'chr' }]), { native: crippled });
    expect(report.isIntact).toBe(true);
    expect([...report.unkept.values()]).toMatchObject([
      // The destination itself is the sixth.
      { kind: 'times', count: 6, reason: 'EPERM', paths: ['a', 'b', 'c'] },
      { kind: 'fifos', count: 5, reason: 'EPERM', paths: ['a.fifo', 'b.fifo', 'c.fifo'] },
      { kind: 'devices', count: 1, paths: ['tty'] },
    ]);
    expect(readdirSync(out()).toSorted()).toEqual(['a', 'b', 'c', 'd', 'e']);
  });

  test.each(['a:b', 'a\\b', 'nul', 'COM1.txt', 'dot.', 'space ', 'tab\t', 'lpt¹', Uint8Array.of(0xff)])(
    'Windows: %j',
    name => {
      expect(unusable(encode(name), true)).toBeDefined();
      expect(unusable(encode(name), false)).toBeUndefined();
      expect(unusable(encode('null.txt'), true)).toBeUndefined();
    },
  );

  test('a full disk ends it with the path, and it goes on when there is space', async ctx => {
    mkdirSync(out());
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'restore-test', out()], { stdio: 'ignore' });
    } catch {
      return ctx.skip('mounting a small filesystem needs root');
    }
    try {
      const files = ['a', 'b', 'c', 'd'].map(name => ({ name, data: name.repeat(400_000) }));
      await expect(restoreFake(fakeSource(files))).rejects.toThrow(
        `${out('c')}: no space left; what is restored stays`,
      );
      expect(readdirSync(out()).toSorted()).toEqual(['.bcachefs-restore', 'a', 'b']);
      execFileSync('mount', ['-o', 'remount,size=4m', out()]);
      const report = await restoreFake(fakeSource(files));
      expect(report.totals).toMatchObject({ files: 4, resumed: 2 });
      expect(files.map(({ name, data }) => readFileSync(out(name), 'utf8') === data)).toEqual([true, true, true, true]);
      expect(readdirSync(out())).not.toContain('.bcachefs-restore');
    } finally {
      execFileSync('umount', [out()]);
    }
  });
});

describe('an interrupted restore', () => {
  const tree: Fake[] = ['a', 'b', 'c', 'd', 'e'].map(name => ({
    name, type: 'dir', mode: 0o555, inside: [{ name: '1', data: `${name}1` }, { name: '2', data: `${name}2` }, { name: 'l', type: 'lnk', data: 'x' }],
  })); // biome-ignore format: a table

  test.each([1, 2, 3, 6, 10])('stopped at file %i: what was whole is not written again', async stopAt => {
    let nr = 0;
    const stopping = fakeSource(tree, () => {
      if (++nr === stopAt + 1) throw new Error('the power went');
    });
    await expect(restoreFake(stopping)).rejects.toThrow('the power went');
    expect(existsSync(out('.bcachefs-restore', 'state'))).toBe(true);
    const written: string[] = [];
    const report = await restoreFake(fakeSource(tree, name => written.push(name)));
    expect(report.isIntact).toBe(true);
    // Symlinks are cheap and made again.
    expect(written.filter(name => name !== 'l')).toHaveLength(10 - report.totals.resumed);
    expect(report.totals.resumed).toBeGreaterThanOrEqual(Math.floor((stopAt * 2) / 3));
    expect(allPaths(out())).toHaveLength(21);
    expect(readFileSync(out('e', '2'), 'utf8')).toBe('e2');
    expect(lstatSync(out('a')).mode & 0o777).toBe(0o555);
  });

  test('a file that was changed since is written again; other restores do not go on there', async () => {
    let nr = 0;
    const stopping = fakeSource(tree, () => {
      if (++nr === 5) throw new Error('the power went');
    });
    await expect(restoreFake(stopping)).rejects.toThrow('the power went');
    rmSync(out('a', '1'));
    writeFileSync(out('a', '1'), 'XX');
    const state = join(out('.bcachefs-restore'), 'state');
    const text = readFileSync(state, 'utf8');
    writeFileSync(state, text.replace('"sequence":1', '"sequence":2'));
    await expect(restoreFake(fakeSource(tree))).rejects.toThrow('an interrupted restore of something else');
    writeFileSync(state, text);
    await restoreFake(fakeSource(tree));
    expect(readFileSync(out('a', '1'), 'utf8')).toBe('a1');
  });

  test('after the host was started anew everything is written again', async () => {
    let nr = 0;
    const stopping = fakeSource(tree, () => {
      if (++nr === 8) throw new Error('the power went');
    });
    await expect(restoreFake(stopping)).rejects.toThrow('the power went');
    const state = join(out('.bcachefs-restore'), 'state');
    writeFileSync(state, readFileSync(state, 'utf8').replace(/"boot":"[^"]*"/, '"boot":"another"'));
    const report = await restoreFake(fakeSource(tree));
    expect(report.isIntact).toBe(true);
    expect(report.totals).toMatchObject({ files: 10, resumed: 0 });
  });
});

describe('the command', () => {
  const schema = JSON.parse(
    readFileSync(fileURLToPath(new URL('../../docs/json/restore.schema.json', import.meta.url)), 'utf8'),
  );
  const isValid = new Ajv2020({ allErrors: true, strict: true, allowUnionTypes: true }).compile(schema);
  const violations = (document: unknown): unknown[] => (isValid(document) ? [] : (isValid.errors ?? []));
  const run = (...words: string[]) => runCli(restoreCommand, words, { env: { BCACHEFS_PASSPHRASE: 'correct horse' } });

  test.each(['basic', 'multi', 'encrypted', 'unclean'])(
    '%s: everything is intact, and the JSON fits its schema',
    async name => {
      await withTestImage(name, async images => {
        const { exitCode, stdout, stderr } = await run('--json', '--verbose', images.join(':'), out());
        expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
        const document = JSON.parse(stdout);
        expect(violations(document)).toEqual([]);
        expect(document.intact).toBe(true);
        expect(document.files).toHaveLength(document.verdicts.intact);
        expect(allPaths(out())).toHaveLength(document.verdicts.intact);
      });
    },
  );

  test('unclean: what was written before the power went is there', async () => {
    await withTestImage('unclean', async images => {
      await run(...images, 'kept', out());
      expect(allPaths(out())).toEqual(['.', 'kept']);
      expect(readFileSync(out('kept'), 'utf8')).toBe('on disk before the power went\n');
    });
  });

  test('text, --dry_run, refusals', async () => {
    await withTestImage('encrypted', async images => {
      const dry = await run('--dry_run', ...images, out());
      expect(dry).toMatchObject({
        exitCode: 0,
        stdout: expect.stringMatching(/^would restore \d+ files?, \d+ folders?, 0 symlinks, .* of data\n$/),
      });
      expect(violations(JSON.parse((await run('--json', '--dry_run', ...images, out())).stdout))).toEqual([]);
      expect(existsSync(out())).toBe(false);
      const done = await run(...images, out());
      expect(done.stdout).toMatch(/^restored \d+ files?, .* of data written\n\d+ intact\n$/);
      expect(readFileSync(out('secret'), 'utf8')).toBe('for nobody else');
      const again = await run(...images, out());
      expect(again).toMatchObject({ exitCode: 2, stderr: expect.stringContaining('is not empty') });
      const absent = await run(...images, 'no/such', join(folder, 'other'));
      expect(absent).toMatchObject({
        exitCode: 2,
        stderr: expect.stringContaining('no/such: no such file or directory'),
      });
      expect(existsSync(join(folder, 'other'))).toBe(false);
      expect(await run('--orphans', ...images, 'secret', out())).toMatchObject({ exitCode: 2 });
    });
  });

  test('a damaged file is named, left out, and kept with --ignore_errors', async () => {
    await withTestImage('unclean', async ([image = '']) => {
      damage(image, 'last');
      const { exitCode, stdout } = await run('--json', image, out());
      expect(exitCode).toBe(1);
      const document = JSON.parse(stdout);
      expect(violations(document)).toEqual([]);
      expect(document.files).toMatchObject([{ path: 'last', verdict: 'holes', restored: false, lost_bytes: 8192 }]);
      expect(existsSync(out('last'))).toBe(false);
      expect(existsSync(out('kept'))).toBe(true);
      const kept = await run('--ignore_errors', '--merge', image, out());
      expect(kept.exitCode).toBe(1);
      expect(kept.stdout).toMatch(/^checksum +yes +last +/m);
      expect(lstatSync(out('last')).size).toBe(8192);
    });
  });

  /** Changes a byte of the first extent that the image has for the file that is 8192 bytes long. */
  function damage(image: string, _name: string): void {
    const fs = openFilesystem([image]);
    const sectors: number[] = [];
    for (const { k, value } of fs.btree('extents').keys()) {
      // An extent of 16 sectors: its pointer has type 1 in its lowest bit, 44 bits of sector from bit 4 on.
      if (k.size !== 16 || value.length < 8) continue;
      const view = new DataView(value.buffer, value.byteOffset, value.byteLength);
      for (let at = 0; at < value.length; at += 8) {
        const word = view.getBigUint64(at, true);
        if ((word & 1n) === 1n) sectors.push(Number((word >> 4n) & ((1n << 44n) - 1n)));
      }
    }
    fs.close();
    const bytes = readFileSync(image);
    for (const sector of sectors) bytes[sector * 512 + 100]! ^= 0xff;
    writeFileSync(image, bytes);
  }
});
