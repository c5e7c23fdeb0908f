// Attributes of files that our engine sets, as our readers see them: ACLs, options and what is inherited, times, device nodes, flags; and
// what is refused.

import {
  FileEdit,
  FilesystemWriter,
  FileTree,
  loadChecksums,
  loadCompressors,
  OverlayDevice,
  openMembers,
  seededRandom,
} from '@bcachefs-ts/core';
import { beforeAll, describe, expect, test } from 'vitest';
import { openFixture } from '../support/engine.ts';
import { whyNoFixtures } from '../support/fixtures.ts';

if (whyNoFixtures !== undefined) console.warn(`file attributes skipped: ${whyNoFixtures}`);
beforeAll(async () => {
  await loadChecksums();
  await loadCompressors();
});

const text = new TextEncoder();

/** Owner rwx, user 1000 r-x, group r--, mask r-x, others nothing. */
const ACL = Uint8Array.of(
  ...[2, 0, 0, 0],
  ...[1, 0, 7, 0, 255, 255, 255, 255],
  ...[2, 0, 5, 0, 232, 3, 0, 0],
  ...[4, 0, 4, 0, 255, 255, 255, 255],
  ...[16, 0, 5, 0, 255, 255, 255, 255],
  ...[32, 0, 0, 0, 255, 255, 255, 255],
);

function withEdit(body: (edit: FileEdit) => void, look: (tree: FileTree) => void): void {
  const original = openFixture('fresh-113');
  try {
    const devices = original.set.members.map(({ device }) => new OverlayDevice(device));
    const options = { random: seededRandom('attributes'), now: () => 1_700_000_000_123_456_789n };
    const writer = new FilesystemWriter(openMembers(devices), { random: options.random, now: () => 1n });
    const edit = new FileEdit(writer, options);
    body(edit);
    edit.commit();
    look(FileTree.open(writer.filesystem));
  } finally {
    original.close();
  }
}

describe.skipIf(whyNoFixtures !== undefined)('attributes', () => {
  test('ACLs, and the mode that they are', () => {
    withEdit(
      ({ files }) => {
        const file = files.create(files.root(), text.encode('f'), { mode: 0o100600 });
        files.setXattr(file, 'system.posix_acl_access', ACL);
        const dir = files.create(files.root(), text.encode('d'), { mode: 0o040700 });
        files.setXattr(dir, 'system.posix_acl_default', ACL);
        expect(() => files.setXattr(file, 'system.posix_acl_default', ACL)).toThrow('invalid argument');
        expect(() => files.setXattr(file, 'system.posix_acl_access', ACL.subarray(0, 20))).toThrow('not an ACL');
        expect(() => files.setXattr(file, 'other.name', ACL)).toThrow('in no namespace');
        expect(() => files.setXattr(file, 'user.large', new Uint8Array(3000))).toThrow('too large');
      },
      tree => {
        const file = tree.lookup('f');
        expect(tree.stat(file).mode).toBe(0o750);
        expect(tree.xattrs(file).map(({ name, value }) => [`${Buffer.from(name)}`, [...value]])).toEqual([
          ['system.posix_acl_access', [...ACL]],
        ]);
        const [dirAcl] = tree.xattrs(tree.lookup('d'));
        expect(Buffer.from(dirAcl!.name).toString()).toBe('system.posix_acl_default');
      },
    );
  });

  test('options, own and inherited', () => {
    withEdit(
      ({ files, content }) => {
        const dir = files.create(files.root(), text.encode('d'), { mode: 0o042755, gid: 77 });
        files.setOption(dir, 'compression', 3);
        const file = files.create(dir, text.encode('f'), { mode: 0o100644, gid: 5 });
        content.write(file, 0, new Uint8Array(100_000).fill(1));
        const moved = files.create(files.root(), text.encode('m'), { mode: 0o100644 });
        expect(() => files.link(dir, text.encode('l'), moved)).toThrow('would cross');
        files.rename(files.root(), text.encode('m'), dir, text.encode('m'));
        const sub = files.create(files.root(), text.encode('s'), { mode: 0o040755 });
        expect(() => files.rename(files.root(), text.encode('s'), dir, text.encode('s'))).toThrow('would cross');
        files.setOption(sub, 'compression', 1);
        files.setOption(sub, 'compression', undefined);
      },
      tree => {
        const options = (path: string) =>
          tree
            .options(tree.lookup(path))
            .map(({ name, text: value, isOwn }) => `${name}=${value}${isOwn ? ' own' : ''}`);
        expect(options('d')).toEqual(['compression=zstd own']);
        expect(options('d/f')).toEqual(['compression=zstd']);
        expect(options('d/m')).toEqual(['compression=zstd']);
        expect(options('s')).toEqual([]);
        expect(tree.stat(tree.lookup('d/f')).gid).toBe(77);
      },
    );
  });

  test('times to the nanosecond, owners, device nodes, flags', () => {
    withEdit(
      ({ files }) => {
        const node = files.create(files.root(), text.encode('n'), {
          mode: 0o060640,
          rdev: { major: 259, minor: 70_000 },
        });
        files.setAttributes(node, {
          atimeNs: -1n,
          mtimeNs: 1_234_567_890_987_654_321n,
          ctimeNs: 5n,
          btimeNs: 6n,
          uid: 4_000_000_000,
          gid: 3,
          flags: ['noatime', 'immutable'],
        });
      },
      tree => {
        expect(tree.stat(tree.lookup('n'))).toMatchObject({
          type: 'blk',
          rdev: { major: 259, minor: 70_000 },
          atimeNs: -1n,
          mtimeNs: 1_234_567_890_987_654_321n,
          ctimeNs: 5n,
          btimeNs: 6n,
          uid: 4_000_000_000,
          gid: 3,
          mode: 0o640,
          flags: 0x90,
        });
      },
    );
  });
});
