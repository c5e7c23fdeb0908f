// Attributes of files that our engine sets, as our readers see them: ACLs, options and what is inherited, times, device nodes, flags; and
// what is refused.

import {
  bposText,
  checkInvariants,
  compressionOptions,
  type FeatureName,
  FileEdit,
  FilesystemWriter,
  FileTree,
  findingText,
  incompatFeatures,
  loadChecksums,
  loadCompressors,
  OverlayDevice,
  openMembers,
  printableBytes,
  type Superblock,
  seededRandom,
} from '@bcachefs-ts/core/engine';
import { beforeAll, describe, expect, test } from 'vitest';
import { cookie } from '../../packages/core/src/ondisk/keys/cookie.ts';
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

/** Of no more than a mode: rwxr-x--x. */
const PLAIN = Uint8Array.of(
  ...[2, 0, 0, 0],
  ...[1, 0, 7, 0, 255, 255, 255, 255],
  ...[4, 0, 5, 0, 255, 255, 255, 255],
  ...[32, 0, 1, 0, 255, 255, 255, 255],
);

function withEdit(body: (edit: FileEdit) => void, look: (tree: FileTree, sb: Superblock) => void): void {
  const original = openFixture('fresh-113');
  try {
    const devices = original.set.members.map(({ device }) => new OverlayDevice(device));
    const options = { random: seededRandom('attributes'), now: () => 1_700_000_000_123_456_789n };
    const writer = new FilesystemWriter(openMembers(devices), { random: options.random, now: () => 1n });
    const edit = new FileEdit(writer, options);
    body(edit);
    edit.commit();
    expect(checkInvariants(writer.filesystem).findings.map(findingText)).toEqual([]);
    look(FileTree.open(writer.filesystem), writer.filesystem.sb);
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

  test('a directory hands down its default ACL, masked by the mode; chmod changes an ACL', () => {
    withEdit(
      ({ files }) => {
        const dir = files.create(files.root(), text.encode('d'), { mode: 0o040700 });
        const before = files.create(dir, text.encode('before'), { mode: 0o100666, umask: 0o022 });
        expect(files.inode(before).bi_mode).toBe(0o100644);
        files.setXattr(dir, 'system.posix_acl_default', ACL);
        files.create(dir, text.encode('file'), { mode: 0o100666, umask: 0o022 });
        files.create(dir, text.encode('fifo'), { mode: 0o010640 });
        files.create(dir, text.encode('link'), { mode: 0o120777 });
        files.create(dir, text.encode('own'), { mode: 0o100666, inheritsAcl: false });
        const sub = files.create(dir, text.encode('sub'), { mode: 0o041777 });
        files.setXattr(files.create(sub, text.encode('x'), { mode: 0o100777 }), 'system.posix_acl_access', PLAIN);
        files.setAttributes(files.create(sub, text.encode('chmod'), { mode: 0o100600 }), { mode: 0o4721 });
        files.createSubvolume(sub, text.encode('volume'));
        files.removeXattr(sub, 'system.posix_acl_default');
        files.create(sub, text.encode('after'), { mode: 0o100666 });
        files.setXattr(sub, 'system.posix_acl_default', PLAIN);
        files.create(sub, text.encode('plain'), { mode: 0o100700 });
      },
      tree => {
        const seen = [...tree.walk()].flatMap(({ path, node }) => {
          if (node === undefined || !/^d/.test(printableBytes(path))) return [];
          const acls = tree.xattrs(node).map(({ name, value }) => {
            const perms = value.subarray(4).filter((_, i) => i % 8 === 2);
            return ` ${printableBytes(name).slice('system.posix_acl_'.length)}=${perms.join('')}`;
          });
          return [`${printableBytes(path)}: ${tree.stat(node).mode.toString(8)}${acls.toSorted().join('')}`];
        });
        expect(seen.toSorted()).toMatchInlineSnapshot(`
          [
            "d/before: 644",
            "d/fifo: 640 access=65440",
            "d/file: 640 access=65440",
            "d/link: 777",
            "d/own: 666",
            "d/sub/after: 666",
            "d/sub/chmod: 4721 access=75421",
            "d/sub/plain: 700",
            "d/sub/volume: 750 access=75450 default=75450",
            "d/sub/x: 751",
            "d/sub: 1750 access=75450 default=751",
            "d: 700 default=75450",
          ]
        `);
      },
    );
  });

  test('attributes of users on files and directories only', () => {
    withEdit(
      ({ files }) => {
        for (const [name, mode] of [
          ['link', 0o120777],
          ['fifo', 0o010600],
          ['sock', 0o140600],
          ['null', 0o020600],
          ['disk', 0o060600],
        ] as const) {
          const file = files.create(files.root(), text.encode(name), { mode });
          expect(() => files.setXattr(file, 'user.a', text.encode('b'))).toThrow('not allowed for a file of this type');
          for (const space of ['trusted', 'security']) files.setXattr(file, `${space}.a`, text.encode('b'));
        }
      },
      tree => {
        const names = tree.xattrs(tree.lookup('fifo')).map(({ name }) => printableBytes(name));
        expect(names.toSorted()).toEqual(['security.a', 'trusted.a']);
      },
    );
  });

  test('options for data in the background ask for a look at what is there', () => {
    withEdit(
      ({ files, content, tx }) => {
        const file = files.create(files.root(), text.encode('f'), { mode: 0o100644 });
        content.write(file, 0, new Uint8Array(100_000).fill(1));
        const cookies = () =>
          [...tx.btree('reconcile_work').keys({})].map(
            ({ k, value }) => `${bposText(k.p)} ${cookie.decode(value).cookie}`,
          );
        files.setOption(file, 'data_replicas', 1);
        expect(cookies()).toEqual([]);
        const where = `${file.inum}:18446744073709551614:U32_MAX`;
        for (const [name, value, count] of [
          ['background_compression', 3, 1],
          ['compression', 1, 1],
          ['background_target', 1, 2],
          ['background_compression', undefined, 2],
          ['compression', 3, 3],
        ] as const) {
          files.setOption(file, name, value);
          expect(cookies(), name).toEqual([`${where} ${count}`]);
        }
        files.setOption(file, 'background_target', undefined);
        files.setOption(files.root(), 'background_compression', compressionOptions.idOf('lz4') | (3 << 4));
        files.setOption(files.root(), 'erasure_code', 1);
      },
      (_, { features: [features = 0n] }) => {
        // A kernel prepares for what the superblock says: without that it stops when it comes to compress.
        const has = (name: FeatureName) => ((features >> BigInt(incompatFeatures.idOf(name))) & 1n) === 1n;
        expect((['lz4', 'gzip', 'zstd', 'ec'] as const).filter(has)).toEqual(['lz4', 'zstd', 'ec']);
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
