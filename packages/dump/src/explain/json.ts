// What explain found, as plain data: docs/json/explain.md.

import {
  type Annotation,
  allocJson,
  bposText,
  btrees,
  checksumTypeText,
  compressionTypeText,
  type FileReferences,
  type HexRow,
  type Key,
  type KeyFormat,
  keyJson,
  type NodePlace,
  type Place,
  SECTOR_BYTES,
} from '@bcachefs-ts/core/engine';
import type { Explained } from './explained.ts';
import { filePathText } from './text.ts';

export function explanationJson({ explanation, context, hex }: Explained): object {
  const { device, offset, bucket, places, leftovers, searched, isZero, notices } = explanation;
  return {
    device: device.name,
    dev: device.index,
    offset,
    sector: Math.floor(offset / SECTOR_BYTES),
    bucket:
      bucket === undefined
        ? null
        : {
            bucket: bucket.nr,
            offset: bucket.offset,
            size: bucket.sizeSectors * SECTOR_BYTES,
            reserved: bucket.isReserved,
            lost: bucket.isLost,
            alloc: bucket.alloc === undefined ? null : allocJson(bucket.alloc),
          },
    places: places.map(place => placeJson(place, context)),
    leftovers: leftovers.map(place => placeJson(place, context)),
    searched,
    zero: isZero ?? null,
    notices,
    ...(hex === undefined ? {} : { hex: hex.map(hexJson) }),
  };
}

const hexJson = ({ at, bytes, name, value }: HexRow): object => ({
  offset: at,
  bytes,
  ...(name === undefined ? {} : { name }),
  ...(value === undefined ? {} : { value }),
});

const fieldJson = (field: Annotation | undefined): object | null =>
  field === undefined
    ? null
    : { name: field.name, offset: field.at, length: field.lengthBytes, value: field.value ?? null };

function placeJson(place: Place, format: KeyFormat): object {
  const { kind } = place;
  switch (place.kind) {
    case 'layout':
      return { kind, field: fieldJson(place.field) };
    case 'superblock':
      return {
        kind,
        copy: place.copy ?? null,
        copies: place.copies,
        sector: place.sector,
        seq: place.seq ?? null,
        problem: place.problem ?? null,
        behind_end: place.isPastEnd,
        field: fieldJson(place.field),
      };
    case 'journal':
      return {
        kind,
        bucket_index: place.bucketIndex,
        bucket_count: place.bucketCount,
        entry: place.entry === undefined ? null : entryJson(place.entry, format),
        field: fieldJson(place.field),
      };
    case 'btree_node':
      return {
        kind,
        btree: btrees.nameOf(place.btree),
        level: place.level,
        root: place.isRoot,
        min_key: place.minKey === undefined ? null : bposText(place.minKey),
        max_key: bposText(place.ptr.k.p),
        replica: place.replica.nr,
        replicas: place.replica.count,
        sector: place.sector,
        offset: place.offset,
        problems: place.problems,
        part: partJson(place.part, format),
        field: fieldJson(place.field),
      };
    case 'data':
      return {
        kind,
        btree: place.btree,
        key: keyJson(place.key, format),
        replica: place.replica.nr,
        replicas: place.replica.count,
        gen: place.ptr.gen,
        cached: place.ptr.cached,
        stale: place.isStale,
        part: place.part,
        checksum_type: checksumTypeText(place.crc?.csum_type ?? 0),
        checksum: place.checksum,
        problem: place.problem ?? null,
        compression: compressionTypeText(place.crc?.compression_type ?? 0),
        stripe: place.stripe === undefined ? null : { stripe: place.stripe.idx, block: place.stripe.block },
        ...filesJson(place.files),
      };
    case 'stripe':
      return {
        kind,
        stripe: place.stripe,
        block: place.block,
        data_blocks: place.dataBlocks,
        parity_blocks: place.parityBlocks,
        parity: place.block >= place.dataBlocks,
        key: keyJson(place.key, format),
      };
  }
}

function entryJson(entry: NonNullable<Extract<Place, { kind: 'journal' }>['entry']>, format: KeyFormat): object {
  const { seq, sector, sizeBytes, checksumGood, use, sub } = entry;
  return {
    seq,
    sector,
    bytes: sizeBytes,
    checksum_good: checksumGood,
    use,
    sub_entry:
      sub === undefined
        ? null
        : {
            index: sub.nr,
            type: sub.type,
            btree: btrees.nameOf(sub.btree),
            level: sub.level,
            key: sub.key === undefined ? null : keyEntryJson(sub.key.nr, sub.key.key, format),
          },
  };
}

const keyEntryJson = (index: number, key: Key, format: KeyFormat): object => ({
  index,
  ...Object(keyJson(key, format)),
});

function partJson(part: NodePlace['part'], format: KeyFormat): object {
  if (!('bset' in part)) return { type: part.type };
  const { nr, count, offsetSectors, journalSeq, isBlacklisted } = part.bset;
  const bset = { index: nr, count, offset_sectors: offsetSectors, journal_seq: journalSeq, blacklisted: isBlacklisted };
  if (part.type !== 'key') return { type: part.type, bset };
  return {
    type: part.type,
    bset,
    index: part.nr,
    state: part.state,
    overwritten_by_bset: part.overwrittenBy ?? null,
    overwritten_by_journal: part.journalSeq ?? null,
    key: keyJson(part.key, format),
    ...filesJson(part.files),
  };
}

function filesJson({ list, hasMore }: FileReferences): object {
  return {
    files: list.map(({ inum, subvolume, snapshot, sizeBytes, paths, offset, range }) => ({
      inode: inum,
      subvolume,
      snapshot,
      size: sizeBytes ?? null,
      paths: paths.map(filePathText),
      offset: offset ?? null,
      range: range ?? null,
    })),
    more_files: hasMore,
  };
}
