// Stripes made by hand of buckets that hold data, since no kernel at hand makes any (CONFIG_BCACHEFS_ERASURE_CODING is off), and our engine
// makes none either.

import {
  allocDevices,
  type BlockDevice,
  type BucketAllocator,
  beginChange,
  bucketContents,
  checksum,
  encodeExtentEntries,
  encodeExtentPtr,
  extent,
  FileEdit,
  type FilesystemTriggers,
  type Key,
  keyTypes,
  makeBpos,
  makeKey,
  moveBucketData,
  seededRandom,
  type Transaction,
} from '@bcachefs-ts/core/engine';
import { BchStripe } from '../../packages/core/src/ondisk/keys/stripe.ts';
import { writerOn } from './commits.ts';
import { formattedImage, MIB } from './memory-images.ts';

const SECTOR_BYTES = 512;
const CRC32C = 5;
const CRC32C_BYTES = 4;
/** 2^5 sectors for each checksum. */
const GRANULARITY_BITS = 5;

export interface StripePlace {
  readonly nr: number;
  /** Members with a block of data each: the first bucket there that holds extents and is in no stripe. */
  readonly data: readonly number[];
  /** The member that gets the parity. */
  readonly parity: number;
  readonly bucketSectors: number;
  readonly hasChecksums?: boolean;
}

export interface StripeParts {
  readonly tx: Transaction;
  readonly allocator: BucketAllocator;
  readonly triggers: FilesystemTriggers;
}

const BUCKET_SECTORS = 128;
const FILES = 8;
const END_MIB = 44;
const END_BUCKET = 600;
const text = new TextEncoder();

/** Four members with files on all of them, and two stripes: of members 0, 1 with parity on 2, and of 1, 3 with parity on 0. */
export function striped({
  hasChecksums = true,
  isAtEnd = false,
  options = {},
}: {
  hasChecksums?: boolean;
  /** The members are larger, and all data and parity lies in their last parts. */
  isAtEnd?: boolean;
  options?: Record<string, string>;
} = {}) {
  const { devices } = formattedImage({
    members: 4,
    sizeBytes: (isAtEnd ? END_MIB : 32) * MIB,
    bucketBytes: BUCKET_SECTORS * SECTOR_BYTES,
    options: { metadata_replicas: '2', ...options },
  });
  const { writer, options: times } = writerOn(devices, undefined, 1);
  const random = seededRandom('striped');
  const edit = new FileEdit(writer, times);
  for (let nr = 0; nr < FILES; nr++) {
    const file = edit.files.create(edit.files.root(), text.encode(`file ${nr}`), { mode: 0o100644 });
    edit.content.write(file, 0, random.bytes(150_000));
  }
  edit.commit();
  const where = { isExcluded: (_: number, bucket: number) => isAtEnd && bucket < END_BUCKET };
  if (isAtEnd) {
    const change = beginChange(writer, where);
    for (const device of allocDevices(writer.filesystem.sb)) {
      const rules = { place: (length: number) => change.allocator.allocateOn(device!.index, length) };
      for (const contents of bucketContents(writer.filesystem, device!, 0, END_BUCKET))
        moveBucketData(change.tx, device!, rules, contents);
    }
    change.commit();
  }
  for (const place of [
    { nr: 1, data: [0, 1], parity: 2 },
    { nr: 2, data: [1, 3], parity: 0 },
  ]) {
    const change = beginChange(writer, where);
    makeStripe(change, devices, { ...place, bucketSectors: BUCKET_SECTORS, hasChecksums });
    change.commit();
  }
  return { devices, writer, times };
}

/** @returns how many extents are in it */
export function makeStripe(
  { tx, allocator, triggers }: StripeParts,
  devices: readonly BlockDevice[],
  place: StripePlace,
): number {
  const { nr, data, parity, bucketSectors, hasChecksums = true } = place;
  const extents = [...tx.btree('extents').keys()];
  const blocks = data.map(dev => ({ dev, offset: unstripedBucket(extents, dev, bucketSectors) }));
  const last = allocator.allocateOn(parity, bucketSectors);
  const contents = blocks.map(({ dev, offset }) => {
    const bytes = new Uint8Array(bucketSectors * SECTOR_BYTES);
    devices[dev]!.read(offset * SECTOR_BYTES, bytes);
    return bytes;
  });
  const sum = contents.reduce((all, one) => all.map((byte, i) => byte ^ one[i]!));
  devices[parity]!.write(last.offset * SECTOR_BYTES, sum);
  const csumsBytes = hasChecksums ? (CRC32C_BYTES * bucketSectors) / 2 ** GRANULARITY_BITS : 0;
  const count = blocks.length + 1;
  const length = BchStripe.size + count * (8 + csumsBytes + 2);
  const value = new Uint8Array(8 * Math.ceil(length / 8));
  const view = new DataView(value.buffer);
  BchStripe.put(view, 0, {
    sectors: bucketSectors,
    algorithm: 0,
    nr_blocks: count,
    nr_redundant: 1,
    csum_granularity_bits: hasChecksums ? GRANULARITY_BITS : 0,
    csum_type: hasChecksums ? CRC32C : 0,
    disk_label: 0,
  });
  const plain = { type: 'ptr', gen: 0, cached: false, unwritten: false, unused: false } as const;
  const places = [...blocks.map(block => ({ ...plain, ...block, gen: genOf(extents, block) })), last];
  for (const [i, ptr] of places.entries()) view.setBigUint64(BchStripe.size + 8 * i, encodeExtentPtr(ptr), true);
  if (hasChecksums) {
    const partBytes = SECTOR_BYTES * 2 ** GRANULARITY_BITS;
    for (const [i, bytes] of [...contents, sum].entries())
      for (let at = 0; at < bytes.length; at += partBytes) {
        const { lo } = checksum(CRC32C, bytes.subarray(at, at + partBytes));
        const csumAt = BchStripe.size + 8 * count + i * csumsBytes + (CRC32C_BYTES * at) / partBytes;
        view.setUint32(csumAt, Number(lo), true);
      }
  }
  tx.update('stripes', makeKey(keyTypes.idOf('stripe'), makeBpos(0n, BigInt(nr), 0), value));
  let striped = 0;
  for (const key of extents) {
    let isChanged = false;
    const changed = entriesOf(key).flatMap(entry => {
      const block =
        entry.type === 'ptr' && !entry.cached
          ? blocks.findIndex(({ dev, offset }) => entry.dev === dev && isIn(offset, entry.offset, bucketSectors))
          : -1;
      if (block < 0) return [entry];
      isChanged = true;
      return [{ type: 'stripe_ptr', block, redundancy: 1, idx: nr } as const, entry];
    });
    if (!isChanged) continue;
    striped++;
    tx.update('extents', makeKey(key.k.type, key.k.p, encodeExtentEntries(changed), key.k));
  }
  triggers.needs.addFeature('ec');
  return striped;
}

const entriesOf = (key: Key) =>
  (key.k.type === keyTypes.idOf('extent') ? extent.decode(key.value).entries : []) as Parameters<
    typeof encodeExtentEntries
  >[0];

const isIn = (bucket: number, sector: number, bucketSectors: number): boolean =>
  sector >= bucket && sector < bucket + bucketSectors;

function genOf(extents: readonly Key[], { dev, offset }: { readonly dev: number; readonly offset: number }): number {
  for (const key of extents)
    for (const entry of entriesOf(key))
      if (entry.type === 'ptr' && entry.dev === dev && entry.offset >= offset) return entry.gen;
  return 0;
}

function unstripedBucket(extents: readonly Key[], dev: number, bucketSectors: number): number {
  for (const key of extents) {
    let isStriped = false;
    for (const entry of entriesOf(key)) {
      if (entry.type === 'stripe_ptr') isStriped = true;
      else if (entry.type === 'ptr') {
        if (!isStriped && !entry.cached && entry.dev === dev) return entry.offset - (entry.offset % bucketSectors);
        isStriped = false;
      }
    }
  }
  throw new Error(`no bucket of member ${dev} holds data that is in no stripe`);
}
