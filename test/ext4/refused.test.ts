// What is not read: by name and with what to do where it is valid, with the place where it is damaged, and never with a byte changed.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32c, IncompatibleError, InputError, MemoryDevice, UsageError, viewOf } from '@bcachefs-ts/core/engine';
import { openExt4 } from '@bcachefs-ts/ext4';
import { openSource } from '@bcachefs-ts/sources';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { debugfs, e2, makeExt4, whyNoE2fsprogs } from '../support/ext4.ts';

const SB = 1024;

describe.skipIf(whyNoE2fsprogs !== undefined)('refused', () => {
  const scratch = mkdtempSync(join(tmpdir(), 'bcachefs-ts-ext4-refused-'));
  afterAll(() => rmSync(scratch, { recursive: true, force: true }));
  const image = join(scratch, 'image');
  let sound: Uint8Array;
  beforeAll(() => {
    makeExt4(image, { size: '16M', words: ['-t', 'ext4', '-b', '1024', '-N', '64'] });
    const file = join(scratch, 'file');
    writeFileSync(file, 'x'.repeat(5000));
    debugfs(image, `write ${file} f`, 'mkdir d', `write ${file} d/g`);
    // A copy: slices of a Buffer would not be.
    sound = new Uint8Array(readFileSync(image));
  });

  /** A copy with its superblock changed, and its checksum right. */
  function withSuperblock(change: (view: DataView) => void): MemoryDevice {
    const bytes = sound.slice();
    const view = viewOf(bytes.subarray(SB, SB + 1024));
    change(view);
    view.setUint32(0x3fc, crc32c(0xffff_ffff, bytes.subarray(SB, SB + 0x3fc)), true);
    return MemoryDevice.from(bytes);
  }
  const orBits = (at: number, bits: number) => (view: DataView) =>
    view.setUint32(at, (view.getUint32(at, true) | bits) >>> 0, true);

  test.each([
    ['needs_recovery', orBits(0x60, 0x4), /journal holds changes.*run e2fsck -f /],
    ['not_clean', (view: DataView) => view.setUint16(0x3a, 0, true), /not unmounted cleanly; run e2fsck -f /],
    ['not_clean', (view: DataView) => view.setUint16(0x3a, 3, true), /errors were noted.*run e2fsck -f /],
    ['orphans', (view: DataView) => view.setUint32(0xe8, 12, true), /deleted files.*run e2fsck -f /],
    ['orphans', orBits(0x64, 0x1_0000), /deleted files.*run e2fsck -f /],
    ['feature', orBits(0x60, 0x1), /feature compression/],
    ['feature', orBits(0x60, 0x1000), /feature dirdata/],
    ['feature', orBits(0x64, 0x80), /feature snapshot/],
    ['feature', orBits(0x60, 0x8000_0000), /feature FEATURE_I31/],
    ['feature', orBits(0x64, 0x4000_0000), /feature FEATURE_R30/],
    ['no_files', orBits(0x60, 0x8), /journal of another filesystem/],
  ] as const)('%s', (name, change, words) => {
    const device = withSuperblock(change);
    const opened = openExt4(device, { allowRefused: true });
    expect(opened.refusals.map(refusal => refusal.name)).toEqual([name]);
    expect(opened.refusals[0]!.text).toMatch(words);
    expect(() => [...opened.inodes()]).toThrow(IncompatibleError);
    expect(() => openExt4(device)).toThrow(IncompatibleError);
    expect(() => openExt4(device)).toThrow(words);
  });

  test('one that is in use elsewhere', () => {
    makeExt4(image, { size: '16M', words: ['-t', 'ext4', '-b', '1024', '-O', 'mmp,^metadata_csum'] });
    const bytes = readFileSync(image);
    const mmp = viewOf(bytes).getUint32(SB + 0x168, true);
    expect(openExt4(MemoryDevice.from(bytes)).refusals).toEqual([]);
    viewOf(bytes).setUint32(mmp * 1024 + 4, 17, true);
    expect(() => openExt4(MemoryDevice.from(bytes))).toThrow(/in use \(sequence 0x11\)/);
  });

  const everything = (device: MemoryDevice): void => {
    const fs = openExt4(device);
    fs.usage();
    for (const { inode } of fs.tree()) fs.xattrs(inode);
  };

  test('a byte of any checksum and of what it covers', () => {
    everything(MemoryDevice.from(sound));
    const view = viewOf(sound);
    const bitmaps = view.getUint32(2048, true) * 1024;
    const inodeBitmap = view.getUint32(2048 + 4, true) * 1024;
    const table = view.getUint32(2048 + 8, true) * 1024;
    const root = [...openExt4(MemoryDevice.from(sound)).extents(openExt4(MemoryDevice.from(sound)).inode(2))][0]!;
    for (const [at, words] of [
      [SB + 0x78, /superblock: its checksum/],
      [SB + 0x3fc, /superblock: its checksum/],
      [2048 + 0x0c, /group 0: the checksum of its descriptor/],
      [2048 + 0x1e, /group 0: the checksum of its descriptor/],
      [bitmaps + 4, /group 0: the checksum of its block bitmap/],
      [inodeBitmap, /group 0: the checksum of its inode bitmap/],
      [table + 256 + 0x10, /inode 2: its checksum/],
      [table + 256 + 0x7c, /inode 2: its checksum/],
      [root.block * 1024 + 40, /directory inode 2: the checksum of its block 0/],
      [root.block * 1024 + 1023, /directory inode 2: the checksum of its block 0/],
    ] as const) {
      const bytes = sound.slice();
      bytes[at]! ^= 0x10;
      let thrown: unknown;
      try {
        everything(MemoryDevice.from(bytes));
      } catch (error) {
        thrown = error;
      }
      expect(thrown).toBeInstanceOf(InputError);
      expect(thrown).toMatchObject({ error: 'ext4_damaged', message: expect.stringMatching(words) });
    }
  });

  test('what cannot be a geometry', () => {
    for (const [at, value, words] of [
      [0x18, 7, /block size is 2\^17/],
      [0x20, 0, /0 clusters in a group/],
      [0x1c, 3, /clusters are of 2\^13 bytes/],
      [0x24, 4096, /4096 in a group/],
      [0x174, 0x1c8, /2\^200 groups/],
      [0x28, 0, /0 inodes in a group/],
      [0x00, 1, /it has 1 inodes/],
      [0x04, 0xffff_ffff, /cut off/],
      [0x14, 0, /first data block is 0/],
      [0x54, 5, /first inode is 5/],
      [0x4c, 2, /revision is 2/],
    ] as const)
      expect(() => openExt4(withSuperblock(view => view.setUint32(at, value, true)))).toThrow(words);
    expect(() => openExt4(MemoryDevice.from(sound.slice(0, 4 << 20)))).toThrow(/cut off/);
    expect(() => openExt4(MemoryDevice.from(new Uint8Array(100)))).toThrow(InputError);
    expect(() => openExt4(MemoryDevice.from(new Uint8Array(1 << 20)))).toThrow(/its magic is 0x0/);
  });

  /** Without checksums, so that what lies under them is reached. */
  const plainImage = (...commands: string[]): MemoryDevice => {
    makeExt4(image, { size: '16M', words: ['-t', 'ext4', '-b', '1024', '-O', '^metadata_csum', '-N', '64'] });
    const file = join(scratch, 'file');
    debugfs(image, `write ${file} f`, `write ${file} g`, 'mkdir d', ...commands);
    return MemoryDevice.from(readFileSync(image));
  };

  test.each([
    ['a block with two owners', /which something else owns as well/, ['copy_inode f g']],
    ['a block in use that the bitmap calls free', /is free, and it is in use/, ['freeb 8000 1', 'freeb 1 1']],
    ['a block that nothing owns', /is in use, and nothing owns it/, ['setb 15000 1']],
    ['an inode without a name', /no name leads to it/, ['unlink f']],
    ['two names of a file that counts one', /is name 2 of inode/, ['link f h', 'set_inode_field f links_count 1']],
    ['a file that counts more names than it has', /counts 2 names, and has 1/, ['set_inode_field f links_count 2']],
    ['a directory in itself', /second name of directory/, ['link d d/e']],
    ['an inode in use that the bitmap calls free', /counts 18 free inodes, expected 19/, ['freei f']],
    ['a magic of an extent tree', /the magic is 0x0/, ['set_inode_field f block[0] 0']],
    ['an extent past the end', /expected blocks from/, ['set_inode_field f block[5] 0x7fffffff']],
    ['a tree of six levels', /6 levels deep/, ['set_inode_field f block[1] 0x00060004']],
  ] as const)('%s', (_, words, commands) => {
    const device = plainImage(...commands);
    let thrown: unknown;
    try {
      everything(device);
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toBeInstanceOf(InputError);
    expect(thrown).toMatchObject({ message: expect.stringMatching(words) });
    expect(`${(thrown as Error).message}`).toContain('e2fsck -f');
  });

  test('directories so deep that their paths would take all memory', () => {
    makeExt4(image, { size: '16M', words: ['-t', 'ext4', '-b', '1024', '-N', '400'] });
    const script = join(scratch, 'script');
    const name = 'n'.repeat(255);
    writeFileSync(script, `mkdir ${name}\ncd ${name}\n`.repeat(270));
    e2('debugfs', ['-w', '-f', script, image]);
    const fs = openExt4(MemoryDevice.from(readFileSync(image)));
    expect(fs.usage().inodes.dir).toBe(272);
    let longest = 0;
    const walk = () => {
      for (const { path, depth } of fs.tree()) {
        longest = Math.max(longest, path.length);
        if (depth === 2) expect(path.length).toBe(511);
      }
    };
    expect(walk).toThrow(/a path of 65791 bytes/);
    expect(longest).toBe(65_535);
  });

  test('an encrypted file, and a source that is the target', async () => {
    makeExt4(image, { size: '16M', words: ['-t', 'ext4', '-O', 'encrypt'] });
    debugfs(image, `write ${join(scratch, 'file')} f`, 'set_inode_field f flags 0x80800');
    await expect(openSource(image)).rejects.toThrow(/1 of its files are encrypted/);
    await expect(openSource(image, { omit: [image] })).rejects.toThrow(UsageError);
  });
});
