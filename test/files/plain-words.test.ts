// What a command says of an image that is not what was expected: not a bcachefs filesystem, one that nothing was ever put into, one whose
// first superblock is gone.

import { closeSync, mkdtempSync, openSync, readdirSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { runCli } from '@bcachefs-ts/command';
import { restoreCommand } from '@bcachefs-ts/files';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type CommandName, run, runForBytes, succeed } from '../support/cli.ts';
import { scratchFolder } from '../support/folder-manifest.ts';
import { withTestImage } from '../support/images.ts';
import { patient } from '../support/patience.ts';
import { fakeSource, restoreInto } from './fake-tree.ts';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(scratchFolder, 'plain-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

test(
  'between format --no_initialize and the first mount it is empty, not damaged',
  async () => {
    const image = join(folder, 'fresh.img');
    await succeed('format', ['-q', '--no_initialize', '--fs_size=256M', image]);
    const said: readonly (readonly [CommandName, readonly string[], RegExp])[] = [
      ['ls', [image], /^$/],
      ['ls', ['-lR', image], /^\/:\n$/],
      ['tree', [image], /^\/\n\n0 directories, 0 files/],
      ['stat', [image, '/'], /directory/],
      ['list', ['--btree=dirents', image], /^$/],
      ['subvolume list', [image], /^id +snapshot .*\n$/],
    ];
    for (const [command, words, expected] of said) {
      const { exitCode, stdout, stderr } = await run(command, words);
      expect({ command, exitCode, stderr }).toEqual({ command, exitCode: 0, stderr: '' });
      expect(stdout).toMatch(expected);
    }
    const tar = await runForBytes('tar', [image]);
    expect({ exitCode: tar.exitCode, stderr: tar.stderr }).toEqual({ exitCode: 0, stderr: '' });
    const out = join(folder, 'out');
    expect(await runCli(restoreCommand, [image, out])).toMatchObject({ exitCode: 0, stderr: '' });
    expect(readdirSync(out)).toEqual([]);
  },
  patient(60_000),
);

describe('the superblock', () => {
  test('another filesystem is named', async () => {
    const image = join(folder, 'ext4.img');
    const bytes = new Uint8Array(2 ** 20);
    const view = new DataView(bytes.buffer);
    // The magic, and the features that distinguish ext4 from ext2: extents.
    view.setUint16(1024 + 0x38, 0xef53, true);
    view.setUint32(1024 + 0x20, 8192, true);
    view.setUint32(1024 + 0x4c, 1, true);
    view.setUint32(1024 + 0x5c, 0x4, true);
    view.setUint32(1024 + 0x60, 0x40, true);
    const fd = openSync(image, 'w');
    writeSync(fd, bytes);
    closeSync(fd);
    for (const command of ['ls', 'show-super', 'list'] as const) {
      const { exitCode, stderr } = await run(command, [image]);
      expect({ command, exitCode }).toEqual({ command, exitCode: 3 });
      expect(stderr).toContain('no bcachefs superblock found: it contains ext4 filesystem');
    }
  });

  test('that the first copy cannot be used is reported, and what writes it back', async () => {
    await withTestImage('basic', async ([image = '']) => {
      const fd = openSync(image, 'r+');
      writeSync(fd, new Uint8Array(512), 0, 512, 8 * 512);
      closeSync(fd);
      for (const [command, words] of [
        ['ls', [image]],
        ['tree', [image]],
        ['fs usage', [image]],
      ] as const) {
        const { exitCode, stderr } = await run(command, words);
        expect({ command, exitCode }).toEqual({ command, exitCode: 0 });
        expect(stderr).toMatch(
          /warning: .*: the superblock at sector 8 cannot be used \(.*\); the copy at sector \d+ is; recover-super/,
        );
      }
    });
  });
});

describe('restore', () => {
  test('a symlink whose target has a NUL is not cut short, and not intact', async () => {
    const report = await restoreInto(
      join(folder, 'out'),
      fakeSource([
        { name: 'cut', type: 'lnk', data: '/etc\0/shadow' },
        { name: 'padded', type: 'lnk', data: 'to\0\0' },
      ]),
    );
    expect(report.files).toMatchObject([{ path: 'cut', verdict: 'unreadable', restored: false }]);
    expect(report.files[0]?.detail).toContain('NUL');
    expect(readdirSync(join(folder, 'out'))).toEqual(['padded']);
  });

  test('attributes that the host finds too large are named, each reason apart', async () => {
    const value = new Uint8Array(0);
    const name = (text: string) => new TextEncoder().encode(text);
    const xattrs = ['user.big', 'user.odd', 'user.fine'].map(text => ({ name: name(text), value }));
    const report = await restoreInto(
      join(folder, 'out'),
      fakeSource([
        { name: 'a', xattrs },
        { name: 'b', xattrs: xattrs.slice(0, 1) },
      ]),
      {
        native: {
          setTimes: () => {},
          setXattr: (_, attribute) => {
            const text = new TextDecoder().decode(attribute);
            if (text !== 'user.fine')
              throw Object.assign(new Error('x'), { code: text === 'user.big' ? 'E2BIG' : 'EOPNOTSUPP', syscall: 'x' });
          },
          removeXattr: () => {},
          makeNode: () => {},
          xattrNames: () => [],
          xattr: () => undefined,
          nextData: () => undefined,
          nextHole: () => 0,
          punchHole: () => false,
        },
      },
    );
    expect([...report.unkept.values()]).toMatchObject([
      { kind: 'xattrs', count: 2, reason: 'E2BIG', names: ['user.big'], paths: ['a', 'b'] },
      { kind: 'xattrs', count: 1, reason: 'EOPNOTSUPP', names: ['user.odd'], paths: ['a'] },
    ]);
    expect(report.isIntact).toBe(true);
  });
});
