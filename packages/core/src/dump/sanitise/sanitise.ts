// Makes dumps that can be shown to others: no byte of file data, symlink targets and values of extended attributes remains, and optionally
// no name of a file or an attribute. Everything else stays what it was: every key, every node, bset and journal entry keeps its
// place and its size, damage stays damage, and what the kernel says of the dump is what it says of the filesystem.
//
// Bytes go into the dump only when their checksum vouches for them and every key in them was looked at; all others become zeroes, and
// `warn` is called with them. On an encrypted filesystem keys are changed in the clear and encrypted again under their nonces; there
// data becomes noise, since zeroes under the same key stream would show the data to anyone who also has the old bytes.
//
// Kept on purpose: owners, sizes, times and modes of files, the lengths of names; without `identity` (see identity.ts) also labels and UUIDs
// in the superblock, and the wrapped encryption key.

import { type EditableBset, editNode, type NodeEditContext, type StoredKey } from '../../btree/node-edit.ts';
import { readBytes } from '../../device/block-device.ts';
import { editJournalBucket } from '../../journal/jset-edit.ts';
import { JournalProblems } from '../../journal/problem.ts';
import { journalRangesOf } from '../../journal/scan.ts';
import { Bkey } from '../../ondisk/bkey.ts';
import { ROW_WORDS } from '../../ondisk/bkey-format.ts';
import { BPOS_WORDS, type Bpos, bpos, bposInode, bposOffset, compareBpos } from '../../ondisk/bpos.ts';
import { btreeNodeId, btreeNodeLevel, btreeNodeMagic } from '../../ondisk/btree-node.ts';
import { btrees } from '../../ondisk/btrees.ts';
import { CorruptError, DeviceError, locationText } from '../../ondisk/errors.ts';
import { type Inode, unpackInodeV1, unpackInodeV2, unpackInodeV3 } from '../../ondisk/inode-unpack.ts';
import { jsetMagic } from '../../ondisk/jset.ts';
import type { JsetEntry } from '../../ondisk/jset-entries.ts';
import { jsetEntryTypes } from '../../ondisk/jset-entry-types.ts';
import { keyTypes } from '../../ondisk/keys/key-types.ts';
import { viewOf } from '../../ondisk/layout.ts';
import { members } from '../../ondisk/sb-fields/members.ts';
import { type RandomSource, systemRandom } from '../../util/random.ts';
import { bytesToSectors, sectorsToBytes } from '../../util/sizes.ts';
import type { DumpSource, DumpTransform, MetadataRange } from '../ranges.ts';
import { moveBackpointer } from './backpointers.ts';
import { AnonymousIdentity } from './identity.ts';
import { direntName, renameDirent, renameXattr, xattrName } from './key-names.ts';
import { type FoundKey, type FoundName, type Leaf, type NameSpace, NameTable } from './names.ts';
import { type Filler, fillWithZeroes, wipeData } from './values.ts';

export interface SanitiseOptions {
  /** Names of files and attributes too, not data alone. */
  readonly filenames: boolean;
  /** Labels, UUIDs and the key in the superblocks too. */
  readonly identity?: boolean;
  /** Called with what is left out of the dump since it cannot be vouched for. */
  readonly warn: (message: string) => void;
  /** Where new names and noise come from. */
  readonly random?: RandomSource;
}

/**
 * Sanitises what goes into a dump. With `filenames`, all names are looked at first.
 * @throws IncompatibleError when names cannot be replaced, before anything is dumped
 */
export function sanitiseTransform(filesystem: DumpSource, options: SanitiseOptions): DumpTransform {
  const sanitiser = new Sanitiser(filesystem, options);
  return { transform: (range, bytes) => sanitiser.transform(range, bytes) };
}

const DIRENTS = btrees.idOf('dirents');
const XATTRS = btrees.idOf('xattrs');
const INODES = btrees.idOf('inodes');
const DELETED = keyTypes.idOf('deleted');
const TYPE = {
  dirent: keyTypes.idOf('dirent'),
  xattr: keyTypes.idOf('xattr'),
  inode: keyTypes.idOf('inode'),
  inodeV2: keyTypes.idOf('inode_v2'),
  inodeV3: keyTypes.idOf('inode_v3'),
} as const;
const LOG = jsetEntryTypes.idOf('log');
const BTREE_ROOT = jsetEntryTypes.idOf('btree_root');

/** Whether a sub-entry holds keys of leaves. That of a root has the root's level, and the pointer to it. */
const holdsLeafKeys = ({ type, level }: JsetEntry): boolean => level === 0 && type !== BTREE_ROOT;

class Sanitiser {
  readonly #filesystem: DumpSource;
  readonly #options: SanitiseOptions;
  readonly #nodes: NodeEditContext;
  readonly #journal: NodeEditContext;
  readonly #fill: Filler;
  readonly #names: NameTable | undefined;
  readonly #identity: AnonymousIdentity | undefined;

  constructor(filesystem: DumpSource, options: SanitiseOptions) {
    const { sb, key } = filesystem;
    const random = options.random ?? systemRandom;
    const blockSectors = Math.max(1, sb.block_size);
    this.#filesystem = filesystem;
    this.#options = options;
    this.#identity = options.identity ? new AnonymousIdentity(sb, random) : undefined;
    const newKey = this.#identity?.key;
    this.#nodes = { magic: btreeNodeMagic(sb.uuid), blockSectors, key, newKey };
    this.#journal = { magic: jsetMagic(sb.uuid), blockSectors, key, newKey };
    this.#fill = key === undefined ? fillWithZeroes : target => target.set(random.bytes(target.length));
    this.#names = options.filenames ? this.#readNames(random.bytes(32)) : undefined;
  }

  transform(range: MetadataRange, bytes: Uint8Array): Uint8Array {
    if (range.kind === 'btree_node') this.#node(range, bytes);
    else if (range.kind === 'journal') this.#bucket(range, bytes);
    else if (range.kind === 'superblock' && this.#identity !== undefined) return this.#superblock(range, bytes);
    return bytes;
  }

  #superblock(range: MetadataRange, bytes: Uint8Array): Uint8Array {
    const copy = this.#identity?.copyBytes(bytes, bytesToSectors(range.offsetBytes));
    if (copy !== undefined) return copy;
    this.#options.warn(`${this.#placeText(range)}: a copy of the superblock is left out: it is damaged`);
    return bytes.fill(0);
  }

  #node(range: MetadataRange, bytes: Uint8Array): void {
    const { damage } = editNode(bytes, range.node?.sectorsWritten ?? 0, this.#nodes, bset => this.#bset(bset));
    if (damage === undefined) return;
    const what = range.node === undefined ? 'a node' : `a node of ${btrees.nameOf(range.node.btree)}`;
    this.#options.warn(`${this.#placeText(range)}: ${what} is left out from where it is damaged: ${damage.detail}`);
  }

  #bucket(range: MetadataRange, bytes: Uint8Array): void {
    const { damaged } = editJournalBucket(bytes, this.#journal, entries => this.#entries(entries));
    if (damaged === 0) return;
    this.#options.warn(`${this.#placeText(range)}: ${damaged} journal entries are left out: they are damaged`);
  }

  #placeText({ device, offsetBytes }: MetadataRange): string {
    const name = this.#filesystem.device(device)?.name ?? `member ${device}`;
    return locationText({ device: name, sector: bytesToSectors(offsetBytes) });
  }

  #bset({ node, keys }: EditableBset): readonly StoredKey[] | undefined {
    const btree = btreeNodeId(node);
    const isLeaf = btreeNodeLevel(node) === 0;
    const space = isLeaf ? spaceOf(btree) : undefined;
    const moved = keys.map(key => {
      const p = this.#key(space, key.k, key.value);
      return p === undefined ? key : { ...key, k: { ...key.k, p } };
    });
    if (space === undefined || this.#names === undefined) return undefined;
    return moved.sort(inBsetOrder);
  }

  #entries(entries: readonly JsetEntry[]): void {
    for (const entry of entries) {
      const row = jsetEntryTypes.byId(entry.type);
      // Texts for people, and what is not known.
      if (entry.type === LOG || row === undefined) entry.payload.fill(0);
      else if (row.holdsKeys) this.#entryKeys(entry);
    }
  }

  /** Keys in the journal are not packed: positions and values are changed where they are. */
  #entryKeys(entry: JsetEntry): void {
    const { payload, btree_id } = entry;
    const space = holdsLeafKeys(entry) ? spaceOf(btree_id) : undefined;
    const view = viewOf(payload);
    for (let at = 0; at < payload.length; ) {
      const end = at + 8 * view.getUint8(at);
      if (end < at + Bkey.size || end > payload.length) {
        payload.fill(0, at); // No key, and so nothing that could be looked at.
        return;
      }
      const p = this.#key(space, Bkey.get(view, at), payload.subarray(at + Bkey.size, end));
      if (p !== undefined) bpos.put(view, at + Bkey.offset.p, p);
      at = end;
    }
  }

  /** Takes away what a key has of data and names. @returns its new position, where it has one */
  #key(space: NameSpace | undefined, k: Bkey, value: Uint8Array): Bpos | undefined {
    wipeData(k.type, value, this.#fill);
    const names = this.#names;
    if (names === undefined) return undefined;
    moveBackpointer(k.type, value, (inode, offset) => names.place('dirents', inode, offset, undefined).offset);
    if (space === undefined) {
      // A name where none belongs.
      if (k.type === TYPE.dirent || k.type === TYPE.xattr) value.fill(0);
      return undefined;
    }
    const name = nameOf(k.type, value);
    const place = names.place(space, bposInode(k.p), bposOffset(k.p), name);
    if (name !== undefined && place.name !== undefined) {
      if (k.type === TYPE.dirent) renameDirent(value, place.name);
      else renameXattr(value, place.name);
    } else if (k.type === TYPE.dirent || k.type === TYPE.xattr) value.fill(0);
    const p = k.p.slice(0, BPOS_WORDS);
    p[1] = Number(place.offset & 0xffff_ffffn);
    p[2] = Number(place.offset >> 32n);
    return p;
  }

  #readNames(secret: Uint8Array): NameTable {
    const names = new NameTable(secret);
    const addName = (btree: number, k: Bkey, value: Uint8Array, isPacked: boolean, leaf: Leaf | undefined) => {
      const space = spaceOf(btree);
      if (space !== undefined) names.addKey(space, foundKey(k, value, isPacked), leaf);
    };
    const addInode = (btree: number, k: Bkey, value: Uint8Array) => {
      const inode = btree === INODES ? inodeOf(k.type, value) : undefined;
      if (inode !== undefined && names.wantsInode(bposOffset(k.p))) names.addInode(bposOffset(k.p), inode);
    };
    this.#eachNodeKey(DIRENTS, addName);
    this.#eachNodeKey(XATTRS, addName);
    this.#eachJournalKey((btree, k, value) => addName(btree, k, value, false, undefined));
    // Then it is known whose seeds are wanted.
    this.#eachNodeKey(INODES, addInode);
    this.#eachJournalKey(addInode);
    names.assign();
    if (names.straddling > 0) {
      const detail = `${names.straddling} names have versions in two nodes: they stand in the wrong place in the dump`;
      this.#options.warn(detail);
    }
    return names;
  }

  /** The keys of all bsets of all leaves, as they are on disk. */
  #eachNodeKey(
    btree: number,
    use: (btree: number, k: Bkey, value: Uint8Array, isPacked: boolean, leaf: Leaf) => void,
  ): void {
    // What cannot be read is not dumped either, and is reported then.
    for (const node of this.#filesystem.btree(btree).nodes({ onDamage: () => {} })) {
      const { minKey, maxKey, format, bsets } = node.facts;
      const leaf: Leaf = { minKey, maxKey, format };
      for (const { keys } of bsets) {
        for (let i = 0; i < keys.count; i++) {
          const { k, value } = node.keyOf(keys, i);
          use(btree, k, value, isPackedRow(keys.rows, i), leaf);
        }
      }
    }
  }

  /** The keys of all journal entries, also those that are not needed any more: they are dumped. */
  #eachJournalKey(use: (btree: number, k: Bkey, value: Uint8Array) => void): void {
    for (const { device, sb } of this.#filesystem.set.members) {
      const bucketBytes = sectorsToBytes(members(this.#filesystem.sb)[sb.dev_idx]?.bucket_size ?? 0);
      if (bucketBytes === 0) continue;
      for (const { start, nr } of journalRangesOf({ device, sb, problems: new JournalProblems() })) {
        const there = Math.min(nr, Math.floor(device.sizeBytes / bucketBytes) - start);
        for (let i = 0; i < there; i++) {
          const bytes = bucketOf(device, (start + i) * bucketBytes, bucketBytes);
          if (bytes !== undefined)
            editJournalBucket(bytes, { ...this.#journal, newKey: undefined }, entries => eachEntryKey(entries, use));
        }
      }
    }
  }
}

/** Undefined where it cannot be read: the dump says so. */
function bucketOf(device: Parameters<typeof readBytes>[0], at: number, length: number): Uint8Array | undefined {
  try {
    return readBytes(device, at, length);
  } catch (thrown) {
    if (!(thrown instanceof DeviceError)) throw thrown;
    return undefined;
  }
}

function eachEntryKey(entries: readonly JsetEntry[], use: (btree: number, k: Bkey, value: Uint8Array) => void): void {
  for (const entry of entries) {
    if (!holdsLeafKeys(entry) || !jsetEntryTypes.byId(entry.type)?.holdsKeys) continue;
    const { payload, btree_id } = entry;
    const view = viewOf(payload);
    for (let at = 0; at < payload.length; ) {
      const end = at + 8 * view.getUint8(at);
      if (end < at + Bkey.size || end > payload.length) break;
      use(btree_id, Bkey.get(view, at), payload.subarray(at + Bkey.size, end));
      at = end;
    }
  }
}

const spaceOf = (btree: number): NameSpace | undefined =>
  btree === DIRENTS ? 'dirents' : btree === XATTRS ? 'xattrs' : undefined;

const isPackedRow = (rows: Uint32Array, index: number): boolean => ((rows[index * ROW_WORDS]! >>> 8) & 0x7f) === 0;

/** Of two keys at one position the deletion comes first. */
function inBsetOrder(a: StoredKey, b: StoredKey): number {
  return compareBpos(a.k.p, b.k.p) || Number(b.k.type === DELETED) - Number(a.k.type === DELETED);
}

function nameOf(type: number, value: Uint8Array): FoundName | undefined {
  if (type === TYPE.dirent) return direntName(value);
  return type === TYPE.xattr ? xattrName(value) : undefined;
}

function foundKey(k: Bkey, value: Uint8Array, isPacked: boolean): FoundKey {
  return { inode: bposInode(k.p), offset: bposOffset(k.p), isPacked, name: nameOf(k.type, value) };
}

function inodeOf(type: number, value: Uint8Array): Inode | undefined {
  try {
    if (type === TYPE.inodeV3 && value.length >= 48) return unpackInodeV3(value);
    if (type === TYPE.inodeV2 && value.length >= 32) return unpackInodeV2(value);
    return type === TYPE.inode && value.length >= 16 ? unpackInodeV1(value) : undefined;
  } catch (thrown) {
    if (!(thrown instanceof CorruptError)) throw thrown;
    return undefined;
  }
}
