// Keys that a validator refuses, made valid again: field by field where that is possible, so that a bad option does not cost the inode, nor a
// slash the file. The position stays what it is; that a name is then elsewhere than it hashes to is for check_dirents to put right. A kernel
// drops every such key.

import { valueProblem } from '../btree/node-read.ts';
import { makeKey } from '../btree/transaction.ts';
import type { EditableInode } from '../fs/inode-pack.ts';
import type { Key } from '../ondisk/bkey.ts';
import { bkeyProblems } from '../ondisk/bkey-validate.ts';
import { bposInode } from '../ondisk/bpos.ts';
import { CorruptError } from '../ondisk/errors.ts';
import {
  decodeExtentEntries,
  type ExtentEntry,
  encodeExtentEntries,
  type WritableExtentEntry,
} from '../ondisk/extent-entries.ts';
import type { FaultName } from '../ondisk/faults.ts';
import { type Inode, isDirectory, packInodeV3 } from '../ondisk/inode-unpack.ts';
import { type Dirent, dirent } from '../ondisk/keys/dirent.ts';
import { extentPtrsProblems } from '../ondisk/keys/extent-ptrs.ts';
import { keyKind } from '../ondisk/keys/index.ts';
import { inode, inodeV2, inodeV3 } from '../ondisk/keys/inode.ts';
import { type KeyTypeName, keyTypes } from '../ondisk/keys/key-types.ts';
import type { KeyKind, KeyValidateContext } from '../ondisk/keys/kind.ts';
import { reflinkP } from '../ondisk/keys/reflink-p.ts';
import { BchReflinkV } from '../ondisk/keys/reflink-v.ts';
import { reservation } from '../ondisk/keys/reservation.ts';
import { type Snapshot, snapshot } from '../ondisk/keys/snapshot.ts';
import { type Xattr, xattr, xattrTypes } from '../ondisk/keys/xattr.ts';
import { strHashTypes } from '../ondisk/str-hash-types.ts';

const INODE_V3 = keyTypes.idOf('inode_v3');
const ERROR = keyTypes.idOf('error');
const NO_VALUE = new Uint8Array(0);
const SLASH = 0x2f;
const UNDERSCORE = 0x5f;
const REPLICAS_MAX = 4;
const XATTR_NAME_MAX = 255;

/**
 * A key that its validator refused, with what is wrong in it set right.
 * @param context as the reader had it
 * @returns undefined where nothing can be made of it
 */
export function repairedKey(key: Key, btree: number, context: KeyValidateContext): Key | undefined {
  const kind = keyKind(key.k.type);
  const repair = kind === undefined ? undefined : repairs[kind.name];
  if (kind === undefined || repair === undefined || key.value.length < kind.minBytes) return undefined;
  let repaired: Key | undefined;
  try {
    repaired = repair(key, context);
  } catch (thrown) {
    if (thrown instanceof CorruptError) return undefined;
    throw thrown;
  }
  if (repaired === undefined || valueProblem(repaired, context) !== undefined) return undefined;
  return bkeyProblems(repaired.k, { btree, level: 0 }, context).length > 0 ? undefined : repaired;
}

type Repair = (key: Key, context: KeyValidateContext) => Key | undefined;

/** What is not listed is either counted anew from the rest, or nothing without its value. */
const repairs: { readonly [N in KeyTypeName]?: Repair } = {
  inode: inodeRepair(inode),
  inode_v2: inodeRepair(inodeV2),
  inode_v3: inodeRepair(inodeV3),
  dirent: repairDirent,
  xattr: repairXattr,
  snapshot: repairSnapshot,
  extent: repairExtent,
  reflink_v: repairIndirectExtent,
  reflink_p(key) {
    const value = reflinkP.decode(key.value);
    return withValue(key, reflinkP.encode({ ...value, front_pad: Math.min(value.front_pad, Number(value.idx)) }));
  },
  reservation(key) {
    const value = reservation.decode(key.value);
    const nr_replicas = Math.min(Math.max(value.nr_replicas, 1), REPLICAS_MAX);
    return withValue(key, reservation.encode({ ...value, nr_replicas }));
  },
};

const withValue = ({ k }: Key, value: Uint8Array): Key => makeKey(k.type, k.p, value, k);

// ---- inodes

/** Fields that the mount checks; what could not be unpacked counts as zero. */
function inodeRepair(kind: KeyKind<Inode>): Repair {
  return key => {
    const value = kind.decode(key.value);
    const fixed: EditableInode = { ...value, unpack_error: undefined };
    for (const { error } of kind.validate(value, key.k, {})) inodeFields[error]?.(fixed);
    return makeKey(INODE_V3, key.k.p, packInodeV3(fixed), key.k);
  };
}

const inodeFields: { readonly [N in FaultName]?: (inode: EditableInode) => void } = {
  inode_str_hash_invalid(value) {
    value.str_hash = strHashTypes.idOf('siphash');
  },
  inode_checksum_type_invalid(value) {
    value.bi_data_checksum = 0;
  },
  inode_compression_type_invalid(value) {
    value.bi_compression = 0;
  },
  inode_unlinked_but_nlink_nonzero(value) {
    value.bi_nlink = 0;
  },
  inode_subvol_root_but_not_dir(value) {
    if (isDirectory(value)) return;
    value.bi_subvol = 0;
    value.bi_parent_subvol = 0;
  },
};

// ---- names

/** Bytes that no name has become an underscore; a name of nothing is called by what it leads to. */
function repairDirent(key: Key): Key | undefined {
  const value = dirent.decode(key.value);
  if ('inum' in value.target && value.target.inum === bposInode(key.k.p)) return undefined;
  const fixed: Dirent = {
    ...value,
    name: soundName(value.name, `#${'inum' in value.target ? value.target.inum : value.target.child_subvol}`),
    casefoldedName: value.casefoldedName === undefined ? undefined : soundName(value.casefoldedName, '_'),
  };
  return withValue(key, dirent.encode(fixed));
}

function soundName(name: Uint8Array, ifEmpty: string): Uint8Array {
  if (name.length === 0) return new TextEncoder().encode(ifEmpty);
  const sound = name.map(byte => (byte === 0 || byte === SLASH ? UNDERSCORE : byte));
  const isDots = sound.length <= 2 && sound.every(byte => byte === 0x2e);
  return isDots ? sound.fill(UNDERSCORE) : sound;
}

/** Attributes of a type that does not exist are kept as ones of users. */
function repairXattr(key: Key): Key {
  const value = xattr.decode(key.value);
  const isKnown = xattrTypes.byId(value.type) !== undefined;
  const prefix = isKnown ? NO_VALUE : new TextEncoder().encode(`fsck.type${value.type}.`);
  const name = new Uint8Array([...prefix, ...value.name.map(byte => (byte === 0 ? UNDERSCORE : byte))]);
  const fixed: Xattr = {
    ...value,
    type: isKnown ? value.type : xattrTypes.idOf('user'),
    name: name.subarray(0, XATTR_NAME_MAX),
  };
  return withValue(key, xattr.encode(fixed));
}

// ---- snapshots

/** Links that cannot be go: those that are left say what the node was. */
function repairSnapshot(key: Key): Key {
  const value = snapshot.decode(key.value);
  const id = key.k.p[1]!;
  const children = [...new Set(value.children)].filter(child => child !== 0 && child < id).sort((a, b) => b - a);
  const parent = value.parent > id ? value.parent : 0;
  const isSkipSound = value.skip.every(one => one === 0 || one >= parent);
  const fixed: Snapshot = {
    ...value,
    parent,
    children: [children[0] ?? 0, children[1] ?? 0],
    skip: isSkipSound ? [...value.skip].sort((a, b) => a - b) : [parent, parent, parent],
    pad: 0,
  };
  return withValue(key, snapshot.encode(fixed));
}

// ---- extents

/** Pointers that are sound stay, with what they need; without any, the key says that its data is lost. */
function repairExtent(key: Key, context: KeyValidateContext): Key {
  const entries = soundEntries(decodeExtentEntries(key.value), key, context);
  if (entries === undefined) return makeKey(ERROR, key.k.p, NO_VALUE, key.k);
  return withValue(key, encodeExtentEntries(entries));
}

function repairIndirectExtent(key: Key, context: KeyValidateContext): Key | undefined {
  const entries = soundEntries(decodeExtentEntries(key.value.subarray(BchReflinkV.size)), key, context);
  if (entries === undefined) return undefined;
  const encoded = encodeExtentEntries(entries);
  const value = new Uint8Array(BchReflinkV.size + encoded.length);
  value.set(key.value.subarray(0, BchReflinkV.size));
  value.set(encoded, BchReflinkV.size);
  return withValue(key, value);
}

const isWritable = (entry: ExtentEntry): entry is WritableExtentEntry =>
  entry.type === 'ptr' || entry.type.startsWith('crc') || entry.type === 'stripe_ptr';

/** Each pointer with the checksum and the stripe before it, as long as the whole is sound; undefined when none is. */
function soundEntries(
  entries: readonly ExtentEntry[],
  { k }: Key,
  context: KeyValidateContext,
): readonly WritableExtentEntry[] | undefined {
  let kept: readonly WritableExtentEntry[] = [];
  let crc: WritableExtentEntry | undefined;
  let written: WritableExtentEntry | undefined;
  let stripe: WritableExtentEntry | undefined;
  for (const entry of entries) {
    // Nothing after an unknown entry is where it seems to be.
    if (entry.type === 'unknown') break;
    if (!isWritable(entry)) continue;
    if (entry.type === 'stripe_ptr') stripe = entry;
    else if (entry.type !== 'ptr') crc = entry;
    else {
      const next = [
        ...kept,
        ...(crc === undefined || crc === written ? [] : [crc]),
        ...(stripe === undefined ? [] : [stripe]),
        entry,
      ];
      stripe = undefined;
      if (extentPtrsProblems(next, k, context).length > 0) continue;
      written = crc;
      kept = next;
    }
  }
  return kept.length === 0 ? undefined : kept;
}
