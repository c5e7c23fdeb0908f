// The tree of files of the project's own images, which a real kernel filled, and of filesystems that a test made up to be as bad as can be:
// directories in loops, directories with many names, subvolumes inside of themselves.

import {
  FileTree,
  type FileTreeOptions,
  type Inode,
  type Key,
  keyKind,
  keyTypes,
  loadChecksums,
  loadCompression,
  makeBpos,
  openFilesystem,
  orphans,
  packInodeV3,
  pathsOf,
  StrHash,
  type Superblock,
  sortedByName,
  unpackInodeV3,
} from '@bcachefs-ts/core/engine';
import { beforeAll, describe, expect, test } from 'vitest';
import { handMadeSource, key } from '../support/hand-made-btrees.ts';
import { testImages, withTestImage } from '../support/images.ts';

const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString('utf8');
const ROOT_SNAPSHOT = 0xffff_ffff;
const DIR_MODE = 0o040755;

let sb: Superblock;

beforeAll(async () => {
  await loadChecksums();
  await loadCompression();
  await withTestImage('basic', async paths => {
    const filesystem = openFilesystem(paths);
    sb = filesystem.sb;
    filesystem.close();
  });
});

async function withTree<T>(name: string, use: (tree: FileTree) => T): Promise<T> {
  const { passphrase } = testImages.find(image => image.name === name)!;
  return await withTestImage(name, async paths => {
    const filesystem = openFilesystem(
      paths,
      passphrase === undefined ? {} : { passphrase: new TextEncoder().encode(passphrase) },
    );
    try {
      return use(FileTree.open(filesystem));
    } finally {
      filesystem.close();
    }
  });
}

describe('the project’s own images', () => {
  test.each(['basic', 'multi'])('%s: every name leads to its file, every file to its name', async name => {
    await withTree(name, tree => {
      const seen = new Set<string>();
      let subvolumes = 0;
      let links = 0;
      for (const { path, node, entry } of tree.walk()) {
        seen.add(text(path));
        expect(node).toBeDefined();
        if (entry === undefined || node === undefined) continue;
        if ('child_subvol' in entry.target) subvolumes++;
        expect(tree.lookup(path, { followLinks: false })).toEqual(node);
        const stat = tree.stat(node);
        if (stat.type === 'lnk') {
          links++;
          expect(tree.linkTarget(node)).toHaveLength(Number(stat.sizeBytes));
        }
        tree.xattrs(node);
        if (node.subvolume !== 1) continue;
        const all = pathsOf(tree, node.inum, { search: 'all' }).map(found => text(found.path));
        if ('inum' in entry.target) expect(all).toContain(text(path));
      }
      expect(seen.size).toBeGreaterThan(10);
      expect(subvolumes).toBeGreaterThan(0);
      expect(links).toBeGreaterThan(0);
      expect([...orphans(tree)]).toEqual([]);
    });
  });

  test('encrypted', async () => {
    await withTree('encrypted', tree => expect(tree.stat(tree.lookup('/secret')).sizeBytes).toBe(15n));
  });

  test('unclean: as the journal says', async () => {
    await withTree('unclean', tree => {
      expect(sortedByName(tree.entries(tree.root())).map(({ name }) => text(name))).toEqual([
        'kept',
        'last',
        'lost+found',
      ]);
      expect(tree.stat(tree.lookup('last')).sizeBytes).toBe(8192n);
    });
  });

  test('paths that lead nowhere', async () => {
    await withTree('unclean', tree => {
      expect(() => tree.lookup('nothing')).toThrow('/nothing: no such file or directory');
      expect(() => tree.lookup('/kept/x')).toThrow('/kept/x: not a directory');
      expect(() => tree.lookup('kept/')).toThrow('/kept/: not a directory');
      expect(tree.lookup('/').inum).toBe(4096n);
      expect(tree.lookup('lost+found/../../kept').inum).toBe(tree.lookup('./kept').inum);
    });
  });
});

const blankInode: Inode = unpackInodeV3(new Uint8Array(48));

function inodeKey(inum: bigint, changes: Partial<Inode> = {}, snapshot = ROOT_SNAPSHOT): Key {
  const inode = { ...blankInode, bi_mode: DIR_MODE, str_hash: 3, ...changes };
  return key('inode_v3', makeBpos(0n, inum, snapshot), packInodeV3(inode));
}

/** A dirent at its right place. */
function direntKey(directory: bigint, name: string, target: unknown, type = 4, snapshot = ROOT_SNAPSHOT): Key {
  const bytes = new TextEncoder().encode(name);
  const { lo, hi } = new StrHash({ ...blankInode, str_hash: 3 }).dirent(bytes);
  const value = { target, type, name: bytes, casefoldedName: undefined, namesLength: 0, namesLengthMax: 0 };
  const p = makeBpos(directory, (BigInt(hi) << 32n) | BigInt(lo), snapshot);
  return key('dirent', p, keyKind(keyTypes.idOf('dirent'))!.encode(value));
}

function snapshotKey(id: number, parent: number): Key {
  const value = new Uint8Array(48);
  new DataView(value.buffer).setUint32(4, parent, true);
  return key('snapshot', makeBpos(0n, BigInt(id), 0), value);
}

function subvolumeKey(id: number, snapshot: number, root: bigint): Key {
  const value = new Uint8Array(16);
  const view = new DataView(value.buffer);
  view.setUint32(4, snapshot, true);
  view.setBigUint64(8, root, true);
  return key('subvolume', makeBpos(0n, BigInt(id), 0), value);
}

const oneSubvolume = {
  snapshots: [snapshotKey(ROOT_SNAPSHOT, 0)],
  subvolumes: [subvolumeKey(1, ROOT_SNAPSHOT, 4096n)],
};

function walkOf(keys: Parameters<typeof handMadeSource>[1], options: FileTreeOptions = {}) {
  const damage: string[] = [];
  const onDamage = (found: { readonly message: string }) => damage.push(found.message);
  const tree = FileTree.open(handMadeSource(sb, keys), { onDamage, ...options });
  return { tree, damage, paths: [...tree.walk()].map(({ path }) => text(path)) };
}

describe('hand-made trees', () => {
  test('a directory inside of itself is entered once', () => {
    const { tree, damage, paths } = walkOf({
      ...oneSubvolume,
      inodes: [inodeKey(4096n), inodeKey(5000n), inodeKey(5001n)],
      dirents: [
        direntKey(4096n, 'a', { inum: 5000n }),
        direntKey(5000n, 'b', { inum: 5001n }),
        direntKey(5001n, 'c', { inum: 5000n }),
        direntKey(5001n, 'd', { inum: 4096n }),
      ],
    });
    expect(paths.toSorted()).toEqual(['', 'a', 'a/b', 'a/b/c', 'a/b/d']);
    expect(damage).toHaveLength(2);
    for (const message of damage) expect(message).toContain('leads back to a directory that it is in');
    expect([...orphans(tree)]).toEqual([]);
    // Deeper and deeper by name all the same: each part is a lookup.
    expect(tree.lookup('a/b/c/b/c').inum).toBe(5000n);
  });

  test('thirty directories, each with two names for the next, are not a billion', () => {
    const numbers = Array.from({ length: 30 }, (_, i) => 5000n + BigInt(i));
    const { damage, paths } = walkOf({
      ...oneSubvolume,
      inodes: [inodeKey(4096n), ...numbers.map(inum => inodeKey(inum))],
      dirents: [4096n, ...numbers]
        .slice(0, -1)
        .flatMap((inum, i) => [direntKey(inum, 'x', { inum: numbers[i] }), direntKey(inum, 'y', { inum: numbers[i] })]),
    });
    expect(paths).toHaveLength(61);
    expect(damage).toHaveLength(30);
    expect(damage[0]).toContain('a second name of a directory: not entered again');
  });

  test('a subvolume inside of itself', () => {
    const { damage, paths } = walkOf({
      snapshots: [snapshotKey(ROOT_SNAPSHOT, 0), snapshotKey(1000, 0)],
      subvolumes: [subvolumeKey(1, ROOT_SNAPSHOT, 4096n), subvolumeKey(2, 1000, 4096n)],
      inodes: [inodeKey(4096n), inodeKey(4096n, {}, 1000)],
      dirents: [
        direntKey(4096n, 'sub', { child_subvol: 2, parent_subvol: 1 }, 16),
        direntKey(4096n, 'again', { child_subvol: 2, parent_subvol: 2 }, 16, 1000),
        direntKey(4096n, 'foreign', { child_subvol: 2, parent_subvol: 7 }, 16, 1000),
      ],
    });
    expect(paths).toEqual(['', 'sub', 'sub/again']);
    expect(damage).toHaveLength(1);
    expect(damage[0]).toContain('leads back to a directory that it is in');
  });

  test('a loop of snapshots ends and is reported', () => {
    const { damage, paths } = walkOf({
      snapshots: [snapshotKey(10, 20), snapshotKey(20, 30), snapshotKey(30, 10)],
      subvolumes: [subvolumeKey(1, 10, 4096n)],
      inodes: [inodeKey(4096n, {}, 30)],
      dirents: [direntKey(4096n, 'gone', { inum: 5n }, 8, 20)],
    });
    expect(paths).toEqual(['', 'gone']);
    expect(damage).toEqual([
      'snapshots 0:30:0: parent 10, expected above 30: not followed',
      expect.stringContaining('leads to inode 5, which is missing'),
    ]);
  });

  test('symlinks in a circle', () => {
    const link = { bi_mode: 0o120777, bi_size: 1n };
    const inline = (inum: bigint, target: string): Key =>
      key('inline_data', makeBpos(inum, 8n, ROOT_SNAPSHOT), new TextEncoder().encode(target.padEnd(8, '\0')), 8);
    const { tree } = walkOf({
      ...oneSubvolume,
      inodes: [inodeKey(4096n), inodeKey(5000n, link), inodeKey(5001n, link), inodeKey(5002n, link), inodeKey(5003n)],
      dirents: [
        direntKey(4096n, 'a', { inum: 5000n }, 10),
        direntKey(4096n, 'b', { inum: 5001n }, 10),
        direntKey(4096n, 'c', { inum: 5002n }, 10),
        direntKey(4096n, 'd', { inum: 5003n }),
      ],
      extents: [inline(5000n, 'b'), inline(5001n, 'a'), inline(5002n, 'd')],
    });
    expect(() => tree.lookup('a')).toThrow('/a: too many symbolic links');
    expect(text(tree.linkTarget(tree.lookup('a', { followLinks: false })))).toBe('b');
    expect(tree.lookup('c').inum).toBe(5003n);
    expect(tree.lookup('c', { followLinks: false }).inum).toBe(5002n);
  });

  test('nothing at all: the root is missing, and that is said', () => {
    expect(() => walkOf({})).toThrow('/, inodes: its inode 4096 is missing');
  });
});

describe('names whose hashes collide', () => {
  /** A dirent some places after its hash. */
  function displaced(name: string, places: bigint, inum: bigint): Key {
    const { k, value } = direntKey(4096n, name, { inum });
    const offset = ((BigInt(k.p[2]!) << 32n) | BigInt(k.p[1]!)) + places;
    return key('dirent', makeBpos(4096n, offset, ROOT_SNAPSHOT), value);
  }
  const whiteout = (name: string, places: bigint): Key => key('hash_whiteout', displaced(name, places, 1n).k.p);
  const inodes = [inodeKey(4096n), inodeKey(5000n)];

  test.each([
    ['after names that were deleted', [whiteout('x', 0n), whiteout('x', 1n), displaced('x', 2n, 5000n)], 0],
    ['after a free place: found by listing, and reported', [whiteout('x', 0n), displaced('x', 2n, 5000n)], 1],
    ['before its hash: the same', [displaced('x', -1n, 5000n)], 1],
  ])('%s', (_, dirents, count) => {
    const { tree, damage, paths } = walkOf({ ...oneSubvolume, inodes, dirents });
    expect(paths).toEqual(['', 'x']);
    expect(tree.lookup('x').inum).toBe(5000n);
    expect(damage).toHaveLength(count);
    for (const message of damage) expect(message).toContain('x hashes to');
  });

  test('the first of two equal names counts', () => {
    const dirents = [displaced('x', 0n, 5000n), displaced('x', 1n, 6000n)];
    const { tree, damage } = walkOf({ ...oneSubvolume, inodes: [...inodes, inodeKey(6000n)], dirents });
    expect(tree.lookup('x').inum).toBe(5000n);
    expect(damage).toEqual([expect.stringContaining('a second x: lookups find the first')]);
  });
});
