// Keys of types and lengths that older versions have written, in a filesystem that a kernel has upgraded (test/images): they are read as they
// are, stay as they are while nothing in them changes, and are written whole when something does.

import {
  checkInvariants,
  FileEdit,
  type FileRef,
  type Filesystem,
  FileTree,
  findingText,
  inodeFlags,
  inodeOfKey,
  type Key,
  keyTypes,
  loadChecksums,
  snapshot,
  subvolume,
} from '@bcachefs-ts/core/engine';
import { beforeAll, expect, test } from 'vitest';
import { writerOn } from '../support/commits.ts';
import { MIB, testImage } from '../support/memory-images.ts';

beforeAll(loadChecksums);

const text = new TextEncoder();
const shape = ({ k, value }: Key): string => `${keyTypes.nameOf(k.type)} ${value.length}`;
const keysOf = (filesystem: Filesystem, btree: 'snapshots' | 'subvolumes' | 'inodes' | 'alloc'): Map<string, Key> =>
  new Map([...filesystem.btree(btree).keys()].map(key => [key.k.p.join(), key]));
const shapesOf = (keys: ReadonlyMap<string, Key>): ReadonlySet<string> => new Set([...keys.values()].map(shape));

function begin() {
  const { devices, key } = testImage('upgraded');
  return writerOn(devices, key, 1);
}

test('the image has all of them', () => {
  const { writer } = begin();
  const { filesystem } = writer;
  expect(shapesOf(keysOf(filesystem, 'snapshots'))).toContain('snapshot 24');
  expect(shapesOf(keysOf(filesystem, 'snapshots'))).toContain('snapshot 40');
  expect(shapesOf(keysOf(filesystem, 'subvolumes'))).toContain('subvolume 16');
  const inodes = [...shapesOf(keysOf(filesystem, 'inodes'))].map(one => one.split(' ')[0]);
  expect(inodes).toEqual(expect.arrayContaining(['inode', 'inode_v2', 'inode_v3']));
  const buckets = [...shapesOf(keysOf(filesystem, 'alloc'))];
  expect(buckets.map(one => one.split(' ')[0])).toEqual(expect.arrayContaining(['alloc', 'alloc_v2', 'alloc_v3']));
  // At first; with a backpointer in it; whole.
  expect(buckets).toEqual(expect.arrayContaining(['alloc_v4 48', 'alloc_v4 88', 'alloc_v4 64']));
});

test('snapshots and subvolumes get the members that they did not have', () => {
  const { writer, options } = begin();
  const before = {
    snapshots: keysOf(writer.filesystem, 'snapshots'),
    subvolumes: keysOf(writer.filesystem, 'subvolumes'),
  };
  const edit = new FileEdit(writer, options);
  edit.files.createSnapshot(edit.files.root(), text.encode('all'), 1);
  edit.commit();
  expect(checkInvariants(writer.filesystem).findings.map(findingText)).toEqual([]);

  // The one that the root was in has children now, and nothing else of it has changed.
  const after = keysOf(writer.filesystem, 'snapshots');
  const root = [...before.snapshots.values()].find(({ value }) => snapshot.decode(value).subvol === 1)!;
  expect(root.value.length).toBeLessThan(56);
  const parent = after.get(root.k.p.join())!;
  expect(shape(parent)).toBe('snapshot 56');
  const { children, ...was } = snapshot.decode(root.value);
  expect(snapshot.decode(parent.value)).toMatchObject({ ...was, sizeBytes: 56, subvol: 0, flags: 0 });
  expect(snapshot.decode(parent.value).children).not.toContain(0);
  for (const [pos, key] of before.snapshots) if (key !== root) expect(after.get(pos)).toEqual(key);

  const subvolumes = keysOf(writer.filesystem, 'subvolumes');
  for (const [pos, key] of before.subvolumes) {
    const { snapshot: node, ...rest } = subvolume.decode(key.value);
    const now = subvolumes.get(pos)!;
    expect(shape(now)).toBe(node === root.k.p[1] ? 'subvolume 40' : shape(key));
    expect(subvolume.decode(now.value)).toMatchObject({ ...rest, sizeBytes: now.value.length });
  }
});

test('a subvolume whose key ends before its parent is moved', () => {
  const { writer, options } = begin();
  const edit = new FileEdit(writer, options);
  const root = edit.files.root();
  const volume = edit.files.lookup(root, text.encode('volume'))!;
  // As if its parent had never been noted: the value ends before it.
  const pos = Uint32Array.of(0, volume.subvolume, 0, 0, 0);
  const key = edit.tx.get('subvolumes', pos)!;
  edit.tx.update('subvolumes', { ...key, value: key.value.slice(0, 16) });
  const other = edit.files.lookup(root, text.encode('volume@1'))!;
  edit.files.rename(root, text.encode('volume'), other, text.encode('moved'));
  edit.commit();
  const [moved] = [...writer.filesystem.btree('subvolumes').keys({ from: pos, to: pos })];
  expect(shape(moved!)).toBe('subvolume 40');
  expect(subvolume.decode(moved!.value).fs_path_parent).toBe(other.subvolume);
  expect(checkInvariants(writer.filesystem).findings.map(findingText)).toEqual([]);
});

test('inodes become inode_v3, with all that they say', () => {
  const { writer, options } = begin();
  const before = keysOf(writer.filesystem, 'inodes');
  const edit = new FileEdit(writer, options);
  const tree = FileTree.open(edit.tx);
  const touched = new Map<string, FileRef>();
  for (const { node } of tree.walk()) {
    if (node === undefined || tree.table.subvolume(node.subvolume)?.isReadOnly) continue;
    const ref = { subvolume: node.subvolume, inum: node.inum };
    touched.set(`${ref.subvolume} ${ref.inum}`, ref);
  }
  for (const ref of touched.values()) edit.files.setAttributes(ref, { atimeNs: 1_234_567n });
  edit.commit();
  expect(checkInvariants(writer.filesystem).findings.map(findingText)).toEqual([]);

  const kinds = new Set<string>();
  for (const [pos, now] of keysOf(writer.filesystem, 'inodes')) {
    const was = before.get(pos);
    const inode = inodeOfKey(now, undefined);
    const old = was === undefined ? undefined : inodeOfKey(was, undefined);
    if (inode === undefined || old === undefined || inode.bi_atime === old.bi_atime) continue;
    kinds.add(old.encoding);
    const { bi_atime, bi_ctime, bi_journal_seq, bi_flags, encoding, nr_fields, fields_start, ...same } = inode;
    expect(encoding).toBe('inode_v3');
    expect(old).toMatchObject(same);
  }
  expect([...kinds]).toEqual(expect.arrayContaining(['inode', 'inode_v2']));
});

test('an inode in which only the flag for a version below it changes becomes inode_v3 too', () => {
  const { writer, options } = begin();
  const before = keysOf(writer.filesystem, 'inodes');
  const edit = new FileEdit(writer, options);
  edit.files.createSnapshot(edit.files.root(), text.encode('all'), 1);
  const directory = edit.files.lookup(edit.files.root(), text.encode('directory'))!;
  for (let nr = 9; nr < 24; nr++) {
    const file = edit.files.lookup(directory, text.encode(`file-${nr}`))!;
    edit.files.setAttributes(file, { atimeNs: 1_234_567n });
  }
  edit.commit();
  expect(checkInvariants(writer.filesystem).findings.map(findingText)).toEqual([]);
  const HAS_CHILD_SNAPSHOT = 1 << inodeFlags.idOf('has_child_snapshot');
  const kinds = new Set<string>();
  for (const [pos, now] of keysOf(writer.filesystem, 'inodes')) {
    const [inode, old] = [now, before.get(pos)].map(key =>
      key === undefined ? undefined : inodeOfKey(key, undefined),
    );
    if (inode === undefined || old === undefined || inode.bi_flags === old.bi_flags) continue;
    if ((inode.bi_flags & HAS_CHILD_SNAPSHOT) === 0) continue;
    kinds.add(old.encoding);
    const { bi_journal_seq, bi_flags, encoding, nr_fields, fields_start, ...same } = inode;
    expect(encoding).toBe('inode_v3');
    expect(old).toMatchObject(same);
  }
  expect([...kinds]).toEqual(expect.arrayContaining(['inode', 'inode_v2']));
});

test('keys of buckets get as long as they are now', () => {
  const { writer, options } = begin();
  const before = keysOf(writer.filesystem, 'alloc');
  const changed = new Set<string>();
  const edit = new FileEdit(writer, options);
  const file = edit.files.create(edit.files.root(), text.encode('large'), { mode: 0o100644 });
  edit.content.write(file, 0, new Uint8Array(4 * MIB).fill(7));
  edit.commit();
  for (const [pos, key] of keysOf(writer.filesystem, 'alloc')) {
    const was = before.get(pos);
    if (was === undefined || Buffer.compare(was.value, key.value) === 0) continue;
    changed.add(shape(was));
    expect(shape(key)).toBe('alloc_v4 64');
  }
  expect([...changed]).toEqual(expect.arrayContaining(['alloc_v4 48']));
  expect(checkInvariants(writer.filesystem).findings.map(findingText)).toEqual([]);
});
