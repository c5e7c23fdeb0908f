// The tree of files of every reference image against the manifest that the real kernel (or the real tool) gave: every path, no more and no
// less, with all that stat, getxattr and readlink say. Of damaged images what is left is held to the manifest from before the damage, and
// what is lost to what was damaged.

import {
  type Filesystem,
  FileTree,
  loadChecksums,
  loadCompression,
  lookupName,
  openFilesystem,
  orphans,
  pathsOf,
  StrHash,
  type WalkItem,
} from '@bcachefs-ts/core/engine';
import { beforeAll, describe, expect, test } from 'vitest';
import { fixture, fixtureNames, fixturesDir, someFixtures, whyNoFixtures } from '../support/fixtures.ts';

if (whyNoFixtures !== undefined) console.warn(`trees of fixtures skipped: ${whyNoFixtures}`);

/** An entry of a manifest; which fields there are depends on who made it. */
interface ManifestEntry {
  readonly path?: string;
  readonly path_b64?: string;
  readonly ino?: string | number;
  readonly xattrs?: Readonly<Record<string, string>>;
  readonly options?: Readonly<Record<string, string>>;
  readonly target?: string;
  readonly target_b64?: string;
  readonly flags?: number;
  readonly fsflags?: string;
  readonly [field: string]: unknown;
}

beforeAll(async () => {
  await loadChecksums();
  await loadCompression();
});

const bytesText = (bytes: Uint8Array): string => Buffer.from(bytes).toString('latin1');

/** Names as text in which each character is a byte. */
function pathOf({ path, path_b64 }: ManifestEntry): string {
  const bytes = path_b64 === undefined ? Buffer.from(path ?? '') : Buffer.from(path_b64, 'base64');
  const text = bytes.toString('latin1');
  return text === '.' ? '' : text;
}

function open(name: string): { readonly filesystem: Filesystem; readonly manifest: ManifestEntry[] } {
  const image = fixture(name);
  const { passphrase } = image.json;
  const filesystem = openFilesystem(image.images, {
    ...(passphrase ? { passphrase: new TextEncoder().encode(passphrase) } : {}),
  });
  return { filesystem, manifest: image.readManifest<ManifestEntry>() };
}

function walked(name: string) {
  const { filesystem, manifest } = open(name);
  const damage: string[] = [];
  const onDamage = (found: { readonly message: string; readonly error?: string }) =>
    damage.push(`${found.error}: ${found.message}`);
  const tree = FileTree.open(filesystem, { onDamage });
  const items = new Map<string, WalkItem>();
  for (const item of tree.walk()) {
    // As the kernel's lookups do, the first of two equal names counts.
    if (item.entry?.isDuplicate !== true) items.set(bytesText(item.path), item);
  }
  return { filesystem, manifest, tree, items, damage };
}

/** What the tree says, in the manifest's terms: the fields that this manifest's entry has. */
function ours(tree: FileTree, { node, path }: WalkItem, expected: ManifestEntry): Record<string, unknown> {
  if (node === undefined) return { lost: true };
  const stat = tree.stat(node);
  const typeName = stat.type === 'unknown' ? 'unknown' : stat.type;
  const options: Record<string, string> = {};
  for (const { name, text, isOwn } of tree.options(node)) {
    if (isOwn) options[`bcachefs.${name}`] = text;
    options[`bcachefs_effective.${name}`] = text;
  }
  const xattrs: Record<string, string> = {};
  for (const { name, value } of tree.xattrs(node)) {
    xattrs[Buffer.from(name).toString('utf8')] = Buffer.from(value).toString('base64');
  }
  // The 1.39 manifests show options among the attributes.
  const hasOptionXattrs = 'fsflags' in expected || 'dev_minor' in expected;
  if (hasOptionXattrs) {
    for (const [option, text] of Object.entries(options)) xattrs[option] = Buffer.from(text).toString('base64');
  }
  const target = stat.type === 'lnk' ? tree.linkTarget(node, { path }) : undefined;
  const values: Record<string, unknown> = {
    type: typeName,
    ino: `${stat.ino}`,
    mode: stat.mode.toString(8).padStart(4, '0'),
    uid: stat.uid,
    gid: stat.gid,
    size: Number(stat.sizeBytes),
    nlink: stat.nlink,
    blocks: Number(stat.blocks),
    mtime_ns: `${stat.mtimeNs}`,
    ctime_ns: `${stat.ctimeNs}`,
    btime_ns: `${stat.btimeNs}`,
    atime_ns: `${stat.atimeNs}`,
    subvol: stat.subvolume,
    projid: stat.projectId,
    flags: stat.flags,
    fsflags: `0x${stat.flags.toString(16)}`,
    rdev: stat.rdev === undefined ? undefined : [stat.rdev.major, stat.rdev.minor],
    target: target === undefined ? undefined : Buffer.from(target).toString('utf8'),
    target_b64: target === undefined ? undefined : Buffer.from(target).toString('base64'),
    xattrs,
    options,
  };
  const chosen: Record<string, unknown> = {};
  for (const field of Object.keys(comparable(expected))) if (field in values) chosen[field] = values[field];
  // What a manifest does not mention is not there.
  if (!('xattrs' in expected) && Object.keys(xattrs).length > 0) chosen.xattrs = xattrs;
  if (!('options' in expected) && !hasOptionXattrs && Object.keys(options).length > 0) chosen.options = options;
  if ('subvol' in expected && !('projid' in expected) && !hasOptionXattrs && stat.projectId !== 0) {
    chosen.projid = stat.projectId;
  }
  if ('subvol' in expected && !('flags' in expected) && !hasOptionXattrs && stat.flags !== 0) chosen.flags = stat.flags;
  if (hasOptionXattrs && !('fsflags' in expected) && stat.flags !== 0) chosen.fsflags = values.fsflags;
  return chosen;
}

/** Of an entry what can be compared. */
function comparable(entry: ManifestEntry): Record<string, unknown> {
  const kept: Record<string, unknown> = {};
  const others = [
    'path',
    'path_b64',
    'sha256',
    'sha256_data',
    'data',
    'data_segments',
    'dev_minor',
    'statx_attributes',
  ];
  for (const [field, value] of Object.entries(entry)) {
    if (others.includes(field) || field.endsWith('_errno')) continue;
    // As JSON numbers, inode numbers above 2^53 were rounded.
    if (field === 'ino') {
      if (typeof value === 'string' || Number.isSafeInteger(value)) kept.ino = `${value}`;
    } else kept[field] = value;
  }
  return kept;
}

/** Fields that changed after the manifest was taken. */
const changed: Readonly<Record<string, readonly string[]>> = {
  nocow: ['mtime_ns', 'ctime_ns', 'atime_ns'],
};

function compare(name: string, tree: FileTree, items: ReadonlyMap<string, WalkItem>, manifest: ManifestEntry[]): void {
  const expected: Record<string, unknown> = {};
  const found: Record<string, unknown> = {};
  for (const entry of manifest) {
    const path = pathOf(entry);
    const item = items.get(path);
    if (item === undefined) continue;
    expected[path] = comparable(entry);
    found[path] = ours(tree, item, entry);
    for (const field of changed[name] ?? []) {
      for (const side of [expected[path], found[path]]) delete (side as Record<string, unknown>)[field];
    }
  }
  expect(found).toEqual(expected);
}

const hasManifest = (name: string): boolean => {
  const folder = fixturesDir();
  if (folder === undefined) return false;
  try {
    fixture(name).readText('manifest.json');
    return true;
  } catch {
    return false;
  }
};

const withManifest = whyNoFixtures === undefined ? fixtureNames().filter(hasManifest) : [];
const sound = withManifest.filter(name => !name.startsWith('dmg-'));
const some = someFixtures('trees of reference images', sound);

describe.skipIf(whyNoFixtures !== undefined)('the tree of files', () => {
  test.each(some)('%s is what its manifest says', name => {
    const { filesystem, manifest, tree, items, damage } = walked(name);
    try {
      expect([...items.keys()].toSorted()).toEqual(manifest.map(pathOf).toSorted());
      compare(name, tree, items, manifest);
      expect(damage).toEqual([]);
      expect([...orphans(tree)].filter(({ isUnlinked }) => !isUnlinked)).toEqual([]);
    } finally {
      filesystem.close();
    }
  });

  test.each(some)('%s: names are found by their hashes, and inodes know their paths', name => {
    const { filesystem, tree, items } = walked(name);
    try {
      let checked = 0;
      for (const [path, { node, entry }] of items) {
        // Of the many-files images every seventh is enough.
        if (items.size > 4000 && checked++ % 7 !== 0) continue;
        if (node === undefined || entry === undefined) continue;
        const again = tree.lookup(Buffer.from(path, 'latin1'), { followLinks: false });
        expect([again.inum, again.subvolume]).toEqual([node.inum, node.subvolume]);
        if (node.subvolume !== tree.subvolume || node.inode.bi_nlink !== 0) continue;
        expect(
          pathsOf(tree, node.inum, { search: 'none' }).map(found => [bytesText(found.path), found.isWhole]),
        ).toEqual([[path, true]]);
      }
    } finally {
      filesystem.close();
    }
  });

  test('every dirent is at its hash, or after others', () => {
    let count = 0;
    const seen = new Set<number>();
    let isCasefoldedSeen = false;
    for (const name of sound.filter(one => !one.includes('many'))) {
      const { filesystem, tree, items } = walked(name);
      try {
        for (const { entry } of items.values()) {
          if (entry === undefined) continue;
          const { lo, hi } = new StrHash(entry.directory.inode).dirent(lookupName(entry));
          const offset = (BigInt(entry.pos[2]!) << 32n) | BigInt(entry.pos[1]!);
          const hash = (BigInt(hi) << 32n) | BigInt(lo);
          // Collisions are one in 2^32 at worst: none is among the images, but after renames names may be a step after it.
          expect(offset - hash).toBe(0n);
          seen.add(entry.directory.inode.str_hash);
          isCasefoldedSeen ||= entry.casefoldedName !== undefined;
          count++;
        }
        expect(tree.subvolume).toBe(1);
      } finally {
        filesystem.close();
      }
    }
    expect(count).toBeGreaterThan(5000);
    expect(isCasefoldedSeen).toBe(true);
    // crc32c, crc64 and siphash.
    expect([...seen].toSorted()).toEqual([0, 1, 3]);
  });
});

interface DamagedCase {
  readonly name: string;
  /** fsck errors that the walk reports. */
  readonly errors: readonly string[];
  /** Paths that are gone from the manifest, and all below them. */
  readonly lost?: readonly string[];
  /** More entries than paths. */
  readonly orphans?: readonly string[];
  /** Paths whose fields were damaged. */
  readonly differing?: readonly string[];
}

const damaged: readonly DamagedCase[] = [
  { name: 'dmg-alloc', errors: [] },
  { name: 'dmg-alloc-root', errors: [] },
  { name: 'dmg-backpointer', errors: [] },
  { name: 'dmg-data-csum', errors: [] },
  { name: 'dmg-reflink', errors: [] },
  { name: 'dmg-dirent-type', errors: ['dirent_d_type_wrong'] },
  { name: 'dmg-dirloop', errors: [], lost: ['a'], orphans: ['a'] },
  { name: 'dmg-dup-dirent', errors: ['hash_table_key_duplicate'] },
  { name: 'dmg-hash', errors: ['hash_table_key_wrong_offset'] },
  { name: 'dmg-missing-target', errors: ['dirent_to_missing_inode'], differing: ['a/b/f3'] },
  { name: 'dmg-nlink', errors: [], differing: ['a/f1', 'a/f2', 'a/f1hl', 'a/f1hl2'] },
  { name: 'dmg-orphan', errors: [], lost: ['a/b/f3', 'a/b/c'], orphans: ['a/b/f3', 'a/b/c'] },
  { name: 'dmg-size', errors: [], differing: ['a/b/c/f4', 'a/f1'] },
  { name: 'dmg-subvol', errors: ['dirent_to_missing_subvol'], differing: ['sv'] },
];

describe.skipIf(whyNoFixtures !== undefined)('the tree of files of a damaged image', () => {
  test.each(damaged)('$name', ({ name, errors, lost = [], orphans: cutOff = [], differing = [] }) => {
    const { filesystem, manifest, tree, items, damage } = walked(name);
    try {
      expect([...new Set(damage.map(message => message.split(':')[0]))]).toEqual(errors);
      const isBelow = (path: string, tops: readonly string[]) =>
        tops.some(top => path === top || path.startsWith(`${top}/`));
      const left = manifest.filter(entry => !isBelow(pathOf(entry), lost));
      if (name !== 'dmg-subvol') {
        expect([...items.keys()].toSorted()).toEqual(left.map(pathOf).toSorted());
      }
      // Hard links of a damaged inode differ with it.
      const inos = new Set(manifest.filter(entry => differing.includes(pathOf(entry))).map(entry => entry.ino));
      compare(
        name,
        tree,
        items,
        left.filter(entry => !inos.has(entry.ino)),
      );
      const expectedInos = manifest.filter(entry => cutOff.includes(pathOf(entry))).map(entry => BigInt(entry.ino!));
      expect([...orphans(tree)].map(({ node }) => node.inum).toSorted()).toEqual(expectedInos.toSorted());
    } finally {
      filesystem.close();
    }
  });

  test('dmg-dirents-root: all names are lost, the files are there', () => {
    const { filesystem, manifest, tree, items, damage } = walked('dmg-dirents-root');
    try {
      expect(items.size).toBe(1);
      expect(damage.some(message => message.includes('dirents SPOS_MAX level 0'))).toBe(true);
      const files = new Set([...orphans(tree)].map(({ node }) => `${node.inum}`));
      const expected = manifest.filter(({ subvol, path }) => subvol === 1 && path !== '.').map(({ ino }) => `${ino}`);
      expect([...files].toSorted()).toEqual([...new Set(expected)].toSorted());
    } finally {
      filesystem.close();
    }
  });

  test('dmg-leaf-csum: one name of 2,922 is lost, and reported', () => {
    const { filesystem, manifest, tree, items, damage } = walked('dmg-leaf-csum');
    try {
      const missing = manifest.filter(entry => !items.has(pathOf(entry)));
      expect(missing).toHaveLength(1);
      expect(damage.length).toBeGreaterThan(0);
      compare('dmg-leaf-csum', tree, items, manifest);
      expect([...orphans(tree)].map(({ node }) => `${node.inum}`)).toEqual([missing[0]!.ino]);
    } finally {
      filesystem.close();
    }
  });

  test('dmg-root: without inodes there is no tree, and that is said', () => {
    const { filesystem } = open('dmg-root');
    try {
      const damage: string[] = [];
      const tree = FileTree.open(filesystem, { onDamage: found => damage.push(found.message) });
      expect(() => [...tree.walk()]).toThrow('/, inodes: its inode 4096 is missing');
      expect(damage[0]).toContain('inodes SPOS_MAX level 1');
    } finally {
      filesystem.close();
    }
  });

  test('without a listener, the first loss is thrown', () => {
    const { filesystem } = open('dmg-missing-target');
    try {
      expect(() => [...FileTree.open(filesystem).walk()]).toThrow('leads to inode 1073741840, which is missing');
    } finally {
      filesystem.close();
    }
  });
});

describe.skipIf(whyNoFixtures !== undefined)('subvolumes and snapshots', () => {
  test('each can be opened by itself, by number, by path and by snapshot', () => {
    const { filesystem, items, tree } = walked('snapshots');
    try {
      const roots = [...items.values()].filter(
        ({ node, entry }) => entry !== undefined && 'child_subvol' in entry.target && node,
      );
      expect(roots.length).toBeGreaterThan(3);
      const below = (prefix: string) =>
        [...items.keys()].filter(path => path.startsWith(prefix)).map(path => path.slice(prefix.length));
      for (const { path, node } of roots) {
        const listed = below(`${bytesText(path)}/`).toSorted();
        const { subvolume, snapshot } = node!;
        for (const options of [{ subvolume }, { subvolume: path }, { snapshot }]) {
          const inner = FileTree.open(filesystem, { ...options, table: tree.table });
          expect(
            [...inner.walk()]
              .slice(1)
              .map(item => bytesText(item.path))
              .toSorted(),
          ).toEqual(listed);
        }
      }
    } finally {
      filesystem.close();
    }
  });

  test('a subvolume that does not exist is an error', () => {
    const { filesystem } = open('snapshots');
    try {
      expect(() => FileTree.open(filesystem, { subvolume: 999 })).toThrow('there is no subvolume 999');
      expect(() => FileTree.open(filesystem, { snapshot: 1 })).toThrow('there is no snapshot 1');
    } finally {
      filesystem.close();
    }
  });

  test('names without regard to case', () => {
    const { filesystem, items, tree } = walked('misc-1.39');
    try {
      const folded = [...items.values()].filter(({ entry }) => entry?.casefoldedName !== undefined);
      expect(folded.length).toBeGreaterThan(2);
      for (const { path, node } of folded) {
        const text = Buffer.from(path).toString('utf8');
        const cut = text.lastIndexOf('/') + 1;
        for (const name of [text.slice(cut).toUpperCase(), text.slice(cut).toLowerCase()]) {
          expect([name, tree.lookup(text.slice(0, cut) + name, { followLinks: false }).inum]).toEqual([
            name,
            node?.inum,
          ]);
        }
      }
      expect(() => tree.lookup('cf/nothing')).toThrow('/cf/nothing: no such file or directory');
    } finally {
      filesystem.close();
    }
  });
});
