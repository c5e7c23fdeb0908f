// Filesystems whose keys are altered by hand, and what the recovery passes make of them.

import {
  beginChange,
  bposInode,
  btrees,
  checkInvariants,
  DamageTarget,
  FileEdit,
  type FileRef,
  FilesystemWriter,
  findingText,
  inodeOfKey,
  isDirectory,
  type Key,
  keyTypes,
  type MemoryDevice,
  makeKey,
  openMembers,
  type Policy,
  Reporter,
  recover,
  seededRandom,
  type Transaction,
  VERSION_CURRENT_WRITTEN,
} from '@bcachefs-ts/core/engine';
import { packInode } from '../../packages/core/src/fs/inode-pack.ts';
import { writerOn } from './commits.ts';
import { openOn } from './cut-states.ts';
import { treeText } from './file-model.ts';
import { formattedImage, MIB } from './memory-images.ts';

const text = new TextEncoder();

/** A small tree: directories in each other, files with one name and with several; a subvolume and a snapshot of it. */
export function smallTree({ hasSubvolumes = false, version = VERSION_CURRENT_WRITTEN } = {}): readonly MemoryDevice[] {
  const { devices } = formattedImage({ sizeBytes: 16 * MIB, version });
  const { writer, options } = writerOn(devices, undefined, 1);
  const edit = new FileEdit(writer, options);
  const make = (directory: FileRef, name: string, mode: number) =>
    edit.files.create(directory, text.encode(name), { mode });
  const root = edit.files.root();
  const docs = make(root, 'docs', 0o040755);
  const deep = make(make(docs, 'sub', 0o040755), 'deep', 0o040755);
  const file = (directory: FileRef, name: string, length: number) => {
    const ref = make(directory, name, 0o100644);
    edit.content.write(ref, 0, text.encode(`${name} `.repeat(length)).subarray(0, length));
    return ref;
  };
  const linked = file(docs, 'linked', 9000);
  edit.files.link(deep, text.encode('again'), linked);
  edit.files.link(root, text.encode('and again'), linked);
  const plain = file(deep, 'plain', 5000);
  edit.files.setXattr(plain, 'user.note', text.encode('kept'));
  file(root, 'top', 300);
  if (hasSubvolumes) {
    const volume = edit.files.createSubvolume(root, text.encode('volume'));
    file(make(volume, 'inside', 0o040755), 'shared', 6000);
    edit.files.createSnapshot(root, text.encode('snapshot'), volume.subvolume);
    file(volume, 'later', 700);
  }
  edit.commit();
  return devices;
}

/** Alters keys, and commits: what follows from them follows, but what other keys say of them does not. */
export function tamper(devices: readonly MemoryDevice[], alter: (tx: Transaction) => void): void {
  const { writer } = writerOn(devices, undefined, 2);
  const change = beginChange(writer);
  alter(change.tx);
  change.commit();
}

/** Of all directories the link count, which is safe to repair: five findings. */
export function wrongCounts(tx: Transaction): void {
  for (const key of [...tx.btree('inodes').keys()]) {
    const inode = inodeOfKey(key, undefined);
    if (inode === undefined || !isDirectory(inode)) continue;
    tx.update('inodes', makeKey(key.k.type, key.k.p, packInode({ ...inode, bi_nlink: inode.bi_nlink + 3 }), key.k));
  }
}

/** The nodes that a commit writes get the number that the root of the xattrs has. */
export function sharedSeqs(devices: readonly MemoryDevice[]): void {
  const root = openOn(devices).replay.roots.get(btrees.idOf('xattrs'))?.key;
  const { bytes } = seededRandom('shared');
  const random = {
    bytes: (length: number) => (length === 8 && root !== undefined ? root.value.slice(8, 16) : bytes(length)),
  };
  new DamageTarget(devices, { random, now: () => 1_800_000_000n }).commit(tx => {
    const [name] = [...tx.btree('dirents').keys()];
    if (name !== undefined) tx.update('dirents', name);
  });
}

export interface Recovered {
  /** Each error that was found, and how often. */
  readonly found: Readonly<Record<string, number>>;
  /** What the checker says afterwards. */
  readonly left: readonly string[];
  /** What another run finds. */
  readonly again: readonly string[];
  /** Can be read where nothing is left. */
  readonly tree: readonly string[];
  readonly dropped: readonly { readonly key: Key; readonly reason: string }[];
}

/** What the passes find, do and leave. */
export function recovered(devices: readonly MemoryDevice[], policy: Policy = { kind: 'yes' }): Recovered {
  const run = () => {
    const reporter = new Reporter({ policy });
    const dropped: { key: Key; reason: string }[] = [];
    const writer = new FilesystemWriter(openMembers(devices), {
      random: seededRandom('repair'),
      now: () => 1_800_000_000n,
      isRepair: true,
    });
    recover(writer, {
      reporter,
      onDropped: (_, key, reason) => dropped.push({ key, reason }),
    });
    return { found: Object.fromEntries(reporter.groups().map(({ error, found }) => [error, found])), dropped };
  };
  const { found, dropped } = run();
  const filesystem = openOn(devices);
  const left = checkInvariants(filesystem).findings.map(findingText);
  const again = Object.keys(run().found);
  return {
    found,
    dropped,
    left,
    again,
    get tree() {
      return treeText(filesystem, '');
    },
  };
}

const GIB = 2 ** 30;

/** What is lost of each file of `givenUpTree`, in bytes. */
export const GIVEN_UP = { part: [65_536, 4096], far: [5 * GIB, 4096], link: [0, 4096] } as const;

/** Files of which a part was lost and given up, as a repair leaves it. Nothing is wrong with the filesystem. */
export function givenUpTree(): readonly MemoryDevice[] {
  const { devices } = formattedImage({ sizeBytes: 16 * MIB });
  const { writer, options } = writerOn(devices, undefined, 1);
  const edit = new FileEdit(writer, options);
  const root = edit.files.root();
  const inums: bigint[] = [];
  const create = (name: string, mode: number, pieces: readonly (readonly [number, string])[]) => {
    const ref = edit.files.create(root, text.encode(name), { mode });
    for (const [offset, piece] of pieces) edit.content.write(ref, offset, text.encode(piece));
    inums.push(ref.inum);
  };
  const block = (letter: string) => letter.repeat(4096);
  create('part', 0o100644, [
    [0, block('a')],
    [GIVEN_UP.part[0], block('b')],
  ]);
  create('far', 0o100644, [
    [0, block('c')],
    [GIVEN_UP.far[0], block('d')],
  ]);
  create('link', 0o120777, [[0, 'somewhere/'.repeat(100)]]);
  edit.commit();
  tamper(devices, tx => {
    const lastOf = new Map([...tx.btree('extents').keys()].map(key => [bposInode(key.k.p), key]));
    for (const inum of inums) {
      const { k } = lastOf.get(inum)!;
      tx.update('extents', makeKey(keyTypes.idOf('error'), k.p, new Uint8Array(), { size: k.size }));
    }
  });
  // The counts of sectors.
  recovered(devices);
  return devices;
}
