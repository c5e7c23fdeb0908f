// What explain found, for people: a line about the byte, one about its bucket, and a paragraph for each thing that lies there.

import {
  type Annotation,
  type BucketFacts,
  bposText,
  btrees,
  checksumTypeText,
  compressionTypeText,
  dataTypeText,
  type Explanation,
  type FilePath,
  type FileReferences,
  hexRowText,
  type Key,
  type KeyTextContext,
  keyText,
  NEED_DISCARD,
  type NodePlace,
  type Place,
  PrintBuffer,
  pathText,
  SECTOR_BYTES,
} from '@bcachefs-ts/core/engine';
import type { Explained } from './explained.ts';

export function explanationText({ explanation, context, hex, isDecrypted }: Explained): string {
  const { device, offset, bucket, places, leftovers } = explanation;
  const inSector = offset % SECTOR_BYTES;
  const lines = [
    `${device.name} byte ${offset}: sector ${(offset - inSector) / SECTOR_BYTES}${inSector === 0 ? '' : `, byte ${inSector} of it`}`,
    bucketLine(bucket),
  ];
  for (const place of places) lines.push('', ...placeLines(place, context));
  if (places.length === 0) lines.push('', ...nothingLines(explanation));
  for (const place of leftovers) lines.push('', 'left from an earlier life:', ...placeLines(place, context));
  if (hex !== undefined) {
    lines.push('', isDecrypted ? 'bytes, decrypted:' : 'bytes:', ...hex.map(hexRowText));
  }
  return `${lines.join('\n')}\n`;
}

function bucketLine(bucket: BucketFacts | undefined): string {
  if (bucket === undefined) return 'outside of all buckets';
  const { nr, offset, sizeSectors, alloc, isReserved, isLost } = bucket;
  const place = `bucket ${nr}, byte ${offset} of ${sizeSectors * SECTOR_BYTES}`;
  if (isReserved) return `${place}: before the first bucket that is used`;
  if (isLost) return `${place}: its alloc key is lost`;
  if (alloc === undefined) return `${place}: free, never used`;
  const facts = [dataTypeText(alloc.data_type), `gen ${alloc.gen}`];
  if (alloc.dirty_sectors > 0) facts.push(`${alloc.dirty_sectors} dirty sectors`);
  if (alloc.cached_sectors > 0) facts.push(`${alloc.cached_sectors} cached sectors`);
  if (alloc.stripe_sectors > 0) facts.push(`${alloc.stripe_sectors} sectors of a stripe`);
  if ((alloc.flags & NEED_DISCARD) !== 0 && alloc.dirty_sectors + alloc.cached_sectors === 0)
    facts.push('need discard');
  return `${place}: ${facts.join(', ')}`;
}

function nothingLines({ bucket, searched, isZero }: Explanation): string[] {
  const bytes = isZero === undefined ? [] : [isZero ? 'the sector is all zeroes' : 'the sector is not zero'];
  if (bucket === undefined) return ['nothing: no bucket covers it', ...bytes];
  const how = searched === 'scan' ? 'no pointer of the filesystem leads here' : 'no backpointer leads here';
  return [`nothing: ${how}`, ...bytes];
}

const fieldLines = (field: Annotation | undefined): string[] =>
  field === undefined ? [] : [`  field ${field.name}${field.value === undefined ? '' : `: ${field.value}`}`];

function placeLines(place: Place, context: KeyTextContext): string[] {
  switch (place.kind) {
    case 'layout':
      return ['superblock layout: where the superblocks are', ...fieldLines(place.field)];
    case 'superblock': {
      const which =
        place.copy === undefined
          ? 'superblock that no layout lists'
          : `superblock, copy ${place.copy + 1} of ${place.copies}`;
      const state = place.problem ?? `sound, number ${place.seq}`;
      const past = place.isPastEnd ? ['  past its end, in the room that it may grow into'] : [];
      return [`${which}, at sector ${place.sector}: ${state}`, ...past, ...fieldLines(place.field)];
    }
    case 'journal':
      return journalLines(place, context);
    case 'btree_node':
      return nodeLines(place, context);
    case 'data':
      return dataLines(place, context);
    case 'stripe': {
      const { block, dataBlocks, parityBlocks } = place;
      const role =
        block < dataBlocks
          ? `data block ${block + 1} of ${dataBlocks}`
          : `parity block ${block - dataBlocks + 1} of ${parityBlocks}`;
      return [`stripe ${place.stripe}: ${role}`, ...keyLines(place.key, context)];
    }
  }
}

function journalLines(place: Extract<Place, { kind: 'journal' }>, context: KeyTextContext): string[] {
  const lines = [`journal, bucket ${place.bucketIndex + 1} of ${place.bucketCount}`];
  const { entry } = place;
  if (entry === undefined) return [...lines, '  after the last entry of the bucket'];
  const use = {
    replay: 'to be replayed',
    'not dirty': 'not dirty',
    blacklisted: 'blacklisted',
    left: 'left from an earlier use',
  }[entry.use];
  lines.push(
    `  entry ${entry.seq}: sector ${entry.sector}, ${entry.sizeBytes} bytes, ${use}${entry.checksumGood ? '' : ', checksum wrong'}`,
  );
  const { sub } = entry;
  if (sub !== undefined) {
    lines.push(`  sub-entry ${sub.nr}: ${sub.type}, btree ${btrees.nameOf(sub.btree)} level ${sub.level}`);
    if (sub.key !== undefined) lines.push(`  key ${sub.key.nr} of it:`, ...keyLines(sub.key.key, context));
  }
  return [...lines, ...fieldLines(place.field)];
}

function nodeLines(place: NodePlace, context: KeyTextContext): string[] {
  const { btree, level, replica, sector, offset, part } = place;
  const copies = replica.count > 1 ? `, replica ${replica.nr + 1} of ${replica.count}` : '';
  const range = `${place.minKey === undefined ? '' : `${bposText(place.minKey)} `}to ${bposText(place.ptr.k.p)}`;
  const lines = [
    `btree node: ${btrees.nameOf(btree)} level ${level}${place.isRoot ? ', the root' : ''}${copies}, at sector ${sector}`,
    `  range ${range}`,
    ...place.problems.slice(0, 4).map(problem => `  damaged: ${problem}`),
  ];
  const bset =
    'bset' in part ? `bset ${part.bset.nr} of 0..${part.bset.count - 1}, journal seq ${part.bset.journalSeq}` : '';
  switch (part.type) {
    case 'header':
      lines.push(
        `  ${part.bset.nr === 0 ? 'header of the node' : 'header of a bset'}: ${bset}`,
        ...fieldLines(place.field),
      );
      break;
    case 'key':
      lines.push(`  key ${part.nr} of ${bset}: ${stateText(part)}`, ...keyLines(part.key, context));
      lines.push(...fieldLines(place.field), ...fileLines(part.files));
      break;
    case 'padding':
      lines.push(`  after the last key of ${bset}`);
      break;
    case 'unwritten':
      lines.push(`  byte ${offset} of the node, after its last bset: not part of it`);
      break;
    case 'unreadable':
      lines.push(`  byte ${offset} of a node that cannot be read`, ...fieldLines(place.field));
  }
  return lines;
}

function stateText(part: Extract<NodePlace['part'], { type: 'key' }>): string {
  const { state, overwrittenBy, journalSeq, bset } = part;
  const states = {
    live: 'live',
    overwritten: overwrittenBy === bset.nr ? 'overwritten in the same bset' : `overwritten by bset ${overwrittenBy}`,
    deletion: 'a deletion',
    dropped: 'left out, since it is not sound',
    blacklisted: 'of a lost journal entry: does not count',
  };
  return journalSeq === undefined ? states[state] : `${states[state]}; journal entry ${journalSeq} has a newer one`;
}

function dataLines(place: Extract<Place, { kind: 'data' }>, context: KeyTextContext): string[] {
  const { ptr, crc, stripe, replica, part, checksum } = place;
  const parts = {
    live: 'data',
    hidden: 'data that this key does not show: what was overwritten or cut off since',
    compressed: 'compressed data',
    unwritten: 'allocated and not written: reads as zeroes',
  };
  const facts = [`copy ${replica.nr + 1} of ${replica.count}`, `gen ${ptr.gen}`];
  if (ptr.cached) facts.push('cached');
  if (place.isStale) facts.push('stale: the bucket was used again');
  if (stripe !== undefined) facts.push(`stripe ${stripe.idx} block ${stripe.block}`);
  if (crc !== undefined) {
    const type = checksumTypeText(crc.csum_type);
    facts.push(checksum === 'none' ? 'no checksum' : `${type} ${checksum}`);
    if (part === 'compressed')
      facts.push(
        `${compressionTypeText(crc.compression_type)} ${crc.compressed_size} of ${crc.uncompressed_size} sectors`,
      );
  } else facts.push('no checksum');
  return [
    `${parts[part]}${place.btree === 'reflink' ? ', shared' : ''}`,
    `  ${facts.join(', ')}`,
    ...(place.problem === undefined ? [] : [`  damaged: ${place.problem}`]),
    ...fileLines(place.files),
    ...keyLines(place.key, context),
  ];
}

function fileLines({ list, hasMore }: FileReferences): string[] {
  const lines = list.map(({ inum, subvolume, paths, sizeBytes, offset, range }) => {
    const names = paths.length === 0 ? `inode ${inum}, which has no name` : paths.map(filePathText).join(' and ');
    const where =
      offset !== undefined
        ? `, byte ${offset}`
        : range !== undefined
          ? `, bytes ${range.offset} to ${range.offset + range.length - 1}`
          : '';
    const first = offset ?? range?.offset;
    const isPastEnd = first !== undefined && sizeBytes !== undefined && BigInt(first) >= sizeBytes;
    return `  file ${names} (inode ${inum}, subvolume ${subvolume})${where}${isPastEnd ? `, past its end at ${sizeBytes}` : ''}`;
  });
  return hasMore ? [...lines, '  and more files'] : lines;
}

/** `/a/b`, or as much of it as is known. */
export function filePathText({ path, isWhole, topInode }: FilePath): string {
  if (isWhole) return path.length === 0 ? '/' : pathText(path);
  return `(inode ${topInode})${path.length === 0 ? '' : pathText(path)}`;
}

function keyLines(key: Key, context: KeyTextContext): string[] {
  const out = new PrintBuffer();
  keyText(out, key, context);
  return out
    .toString()
    .trimEnd()
    .split('\n')
    .map(line => `    ${line}`);
}
