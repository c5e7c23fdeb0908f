// Damaged copies of the project's own images: each mutant is a few changes to nodes, to the journal and to data, from a seed. Half of the
// changes to nodes and journals are made under the checksums (and the encryption), which are made anew, so that the decoders are reached; the other half
// leave wrong checksums, as disks do.

import {
  btreeNodeMagic,
  encryptionOf,
  Filesystem,
  jsetMagic,
  type Key,
  keyTypes,
  type MemberSet,
  MemoryDevice,
  masterKey,
  members,
  OverlayDevice,
  openMembers,
  readBytes,
  readReplayState,
  type Superblock,
  viewOf,
} from '@bcachefs-ts/core/engine';
import { editNode, type StoredKey } from '../../packages/core/src/btree/node-edit.ts';
import { editJournalBucket } from '../../packages/core/src/journal/jset-edit.ts';
import { decodeExtentEntries } from '../../packages/core/src/ondisk/extent-entries.ts';
import { testImageContents, testImages } from '../support/images.ts';
import type { Random } from '../support/random.ts';

export interface Mutant {
  readonly set: MemberSet;
  /** The master key. */
  readonly key: Uint8Array | undefined;
}

/** A run of bytes on a member. */
interface Place {
  readonly member: number;
  readonly offset: number;
  readonly length: number;
}

interface Original extends Mutant {
  readonly name: string;
  readonly nodes: readonly Place[];
  readonly journalBuckets: readonly Place[];
  /** Stored extents. */
  readonly data: readonly Place[];
}

const SECTOR_BYTES = 512;

function originalOf(name: string, passphrase: string | undefined): Original {
  const set = openMembers(testImageContents(name).map(contents => MemoryDevice.from(contents)));
  const { sb } = set.newest;
  const key = encryptionOf(sb) === 'none' ? undefined : masterKey(sb, new TextEncoder().encode(passphrase ?? ''));
  const filesystem = new Filesystem(set, readReplayState(set, key), key);
  const memberOf = (dev: number) => set.members.findIndex(member => member.sb.dev_idx === dev);
  const nodes: Place[] = [];
  for (const id of filesystem.replay.roots.keys()) {
    for (const { facts } of filesystem.btree(id).nodes({ parents: true })) {
      const length = (facts.bsets.at(-1)!.offsetSectors + sb.block_size) * SECTOR_BYTES;
      for (const { dev, offset } of pointersOf(facts.ptr)) {
        nodes.push({ member: memberOf(dev), offset: offset * SECTOR_BYTES, length });
      }
    }
  }
  const data: Place[] = [];
  for (const key of filesystem.btree('extents').keys()) {
    for (const { dev, offset } of pointersOf(key)) {
      data.push({ member: memberOf(dev), offset: offset * SECTOR_BYTES, length: key.k.size * SECTOR_BYTES });
    }
  }
  const journal = filesystem.replay.journal?.entries ?? [];
  const buckets = new Map<string, Place>();
  for (const { ptrs } of journal) {
    for (const ptr of ptrs) {
      const offset = (ptr.sector - ptr.bucketOffsetSectors) * SECTOR_BYTES;
      const length = members(sb)[ptr.dev]!.bucket_size * SECTOR_BYTES;
      buckets.set(`${ptr.dev}:${offset}`, { member: memberOf(ptr.dev), offset, length });
    }
  }
  return { name, set, key, nodes, journalBuckets: [...buckets.values()], data };
}

const WITH_POINTERS = ['btree_ptr_v2', 'extent'].map(name => keyTypes.idOf(name as 'extent'));

function pointersOf({ k, value }: Key): { readonly dev: number; readonly offset: number }[] {
  if (!WITH_POINTERS.includes(k.type)) return [];
  const entries = k.type === WITH_POINTERS[0] ? value.subarray(40) : value;
  return decodeExtentEntries(entries).flatMap(entry => (entry.type === 'ptr' ? [entry] : []));
}

export const originals: readonly Original[] = testImages.map(({ name, passphrase }) => originalOf(name, passphrase));

/** @param isSealed only changes of keys, all checksums right: what opens, and is not what it was */
export function mutant(original: Original, random: Random, isSealed = false): Mutant {
  const { set, key } = original;
  const devices = set.members.map(member => new OverlayDevice(member.device));
  for (let changes = 1 + random.below(3); changes > 0; changes--) change(original, devices, random, isSealed);
  const copies = set.members.map((member, i): MemberSet['newest'] => ({ ...member, device: devices[i]! }));
  return { set: { ...set, members: copies, newest: copies[set.members.indexOf(set.newest)]! }, key };
}

function change(original: Original, devices: readonly OverlayDevice[], random: Random, isAlwaysSealed: boolean): void {
  const { nodes, journalBuckets, data, set, key } = original;
  const kind = random.below(isAlwaysSealed ? 7 : 10);
  const places = kind < 6 || (kind < 8 && journalBuckets.length === 0) ? nodes : kind < 8 ? journalBuckets : data;
  if (places.length === 0) return;
  const { member, offset, length } = random.pick(places);
  const device = devices[member]!;
  const bytes = readBytes(device, offset, length);
  const sb = set.newest.sb;
  const isSealed = isAlwaysSealed || random.below(2) === 0;
  if (places === nodes && isSealed) sealedNodeChange(bytes, sb, key, random);
  else if (places === journalBuckets && isSealed) sealedJournalChange(bytes, sb, key, random);
  else scribble(bytes, random, places === data ? bytes.length : Math.min(bytes.length, 4096));
  device.write(offset, bytes);
}

/** Changes a few bytes of `bytes`, among the first `within` of them. */
function scribble(bytes: Uint8Array, random: Random, within: number): void {
  for (let i = 1 + random.below(4); i > 0; i--) {
    const at = random.below(within);
    switch (random.below(4)) {
      case 0:
        bytes[at]! ^= 1 << random.below(8);
        break;
      case 1:
        bytes[at] = random.below(256);
        break;
      case 2:
        bytes.fill(random.pick([0, 0xff]), at, at + 1 + random.below(16));
        break;
      default:
        bytes.copyWithin(at, random.below(bytes.length), random.below(bytes.length));
    }
  }
}

const EXTREMES = [
  0n,
  1n,
  7n,
  255n,
  4096n,
  0xffffn,
  0x7fff_ffffn,
  0xffff_ffffn,
  1n << 50n,
  1n << 53n,
  1n << 62n,
  (1n << 63n) - 1n,
  (1n << 64n) - 1n,
];

/** Changes a value as one who means harm would: at its fields. */
function corruptValue(value: Uint8Array, others: readonly Uint8Array[], random: Random): void {
  if (value.length === 0) return;
  const view = viewOf(value);
  const word = 8 * random.below(value.length / 8);
  switch (random.below(5)) {
    case 0:
      value[random.below(value.length)]! ^= 1 << random.below(8);
      break;
    case 1:
      value[random.below(value.length)] = random.pick([0, 1, 0x7f, 0x80, 0xff, random.below(256)]);
      break;
    case 2:
      view.setBigUint64(word, random.pick(EXTREMES), true);
      break;
    case 3:
      view.setUint32(word + 4 * random.below(2), Number(random.pick(EXTREMES) & 0xffff_ffffn), true);
      break;
    default: {
      // Another key's value: pointers to what belongs to others, second names, loops.
      const other = random.pick(others);
      value.set(other.subarray(0, value.length));
    }
  }
}

/** Changes what stands in front of a value. */
function corruptHeader(stored: StoredKey, keys: readonly StoredKey[], random: Random): StoredKey {
  const { k } = stored;
  switch (random.below(5)) {
    case 0:
      return { ...stored, k: { ...k, type: random.pick(keyTypes.rows).id } };
    case 1:
      return { ...stored, k: { ...k, size: random.pick([0, 1, 8, 127, 0xffff, 0x7fff_ffff, 0xffff_ffff]) } };
    case 2: {
      const p = k.p.slice();
      p[random.below(5)] = random.pick([0, 1, 4096, 0xffff_fffe, 0xffff_ffff, random.below(2 ** 32)]);
      return { ...stored, k: { ...k, p } };
    }
    case 3:
      return { ...stored, k: { ...k, p: random.pick(keys).k.p.slice() } };
    default:
      return { ...stored, k: { ...k, bversion_lo: random.pick(EXTREMES) } };
  }
}

function sealedNodeChange(bytes: Uint8Array, sb: Superblock, key: Uint8Array | undefined, random: Random): void {
  const context = { magic: btreeNodeMagic(sb.uuid), blockSectors: sb.block_size, key };
  const before = bytes.slice();
  const edit = editNode(bytes, 0, context, ({ keys }) => {
    if (keys.length === 0 || random.below(3) === 0) return undefined;
    const changed = [...keys];
    const values = keys.map(({ value }) => value);
    for (let count = 1 + random.below(6); count > 0; count--) {
      const nr = random.below(keys.length);
      // A header that its node's format cannot hold would end the edit: those that are not packed take any.
      if (random.below(3) === 0 && !keys[nr]!.isPacked) changed[nr] = corruptHeader(changed[nr]!, keys, random);
      else corruptValue(keys[nr]!.value, values, random);
    }
    return changed.every((one, nr) => one === keys[nr]) ? undefined : changed;
  });
  if (edit.sectors === 0) bytes.set(before);
}

function sealedJournalChange(bytes: Uint8Array, sb: Superblock, key: Uint8Array | undefined, random: Random): void {
  const context = { magic: jsetMagic(sb.uuid), blockSectors: sb.block_size, key };
  editJournalBucket(bytes, context, entries => {
    if (random.below(3) === 0) return;
    const payloads = entries.map(({ payload }) => payload).filter(payload => payload.length > 0);
    if (payloads.length === 0) return;
    for (let count = 1 + random.below(4); count > 0; count--) corruptValue(random.pick(payloads), payloads, random);
  });
}
