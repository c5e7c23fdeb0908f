// The bytes of an undo file: what a command overwrote, so that it can be put back, and the checksums of what it wrote instead.
//
//   header   magic, version, and as JSON: the command, when it ran, and what its devices were
//   batch    the places that are about to be written: where, what is there now, and a checksum for each sector of what will be there
//   batch …  the last one says that the command has come to its end; it is missing after a crash
//
// A batch is on stable storage before the first write that it stands for begins. So one that is torn is the last, and nothing of what it is
// about was written. Everything begins at a multiple of 4096 bytes. Batches have the number of their file, which is random: what an
// older file left on the same blocks of a disk is not taken for one.
//
// What is read here is as suspect as an image: lengths have bounds, and every part has its checksum.

import { crc32c } from '../checksum/crc32c.ts';
import { xxh64 } from '../checksum/xxh64.ts';
import { assert, IncompatibleError, InputError } from '../ondisk/errors.ts';
import { at, bytes, count64, layout, u8, u16, u32, u64, viewOf } from '../ondisk/layout.ts';
import { roundUp, SECTOR_BYTES } from '../util/sizes.ts';

/** What is saved is whole blocks of this size. */
export const UNDO_BLOCK_BYTES = 4096;
/** No run of blocks goes over a multiple of this: each can be looked at with bounded memory. */
export const UNDO_CHUNK_BYTES = 1 << 20;
export const SECTORS_PER_BLOCK: number = UNDO_BLOCK_BYTES / SECTOR_BYTES;
const BLOCKS_MAX = UNDO_CHUNK_BYTES / UNDO_BLOCK_BYTES;

const VERSION = 1;
const HEADER_MAGIC = new TextEncoder().encode('bcachefs-ts undo');
const BATCH_MAGIC = new TextEncoder().encode('undobtch');
/** Sixty-four members with names as long as paths may be. */
const JSON_BYTES_MAX = 1 << 20;
const HEAD_BYTES_MAX = 4 << 20;
const MEMBERS_MAX = 256;

const UndoHeader = layout('undo_header', 40, {
  magic: at(0, bytes(16)),
  version: at(16, u32),
  json_bytes: at(20, u32),
  id: at(24, u64), // random
  csum: at(32, u64), // xxh64 of what is before it, and of the JSON
});

const UndoBatch = layout('undo_batch', 48, {
  magic: at(0, bytes(8)),
  id: at(8, u64), // the file's
  seq: at(16, u32), // from 0
  nr_entries: at(20, u32),
  flags: at(24, u32), // 1: the command has ended
  head_bytes: at(28, u32), // this, the entries, and their checksums of sectors
  size_bytes: at(32, count64), // with the contents that follow
  csum: at(40, u64), // xxh64 of the head, with 0 here
});

const UndoEntry = layout('undo_entry', 24, {
  member: at(0, u16),
  kind: at(2, u8),
  pad: at(3, u8),
  nr_blocks: at(4, u32),
  offset: at(8, count64), // bytes; of `size`, the new size
  csum: at(16, u64), // xxh64 of the contents, for `contents`
});

/**
 * contents: overwritten for the first time, with what was there; zeroes: the same where only zeroes were, or nothing yet;
 * again: overwritten once more; size: the device gets another size
 */
const KINDS = ['contents', 'zeroes', 'again', 'size'] as const;
type UndoKind = (typeof KINDS)[number];

const FINISHED = 1;

/** A device as the command found it. */
export interface UndoMember {
  readonly name: string;
  /** 0 for an image file that the command made. */
  readonly sizeBytes: number;
  /** The internal UUID of the filesystem that it is a member of, and its index there, as far as there is one. */
  readonly filesystem: string | null;
  readonly index: number | null;
}

export interface UndoAbout {
  readonly command: string;
  /** When it began: ISO 8601. */
  readonly time: string;
  readonly members: readonly UndoMember[];
}

/** Some blocks that are about to be written. */
export interface UndoRun {
  readonly member: number;
  readonly kind: Exclude<UndoKind, 'size'>;
  readonly offset: number;
  readonly blocks: number;
  /** Of each sector as it will be. */
  readonly sums: Uint32Array;
  /** Of `contents` only. */
  readonly before?: Uint8Array;
}

export interface UndoSize {
  readonly member: number;
  readonly sizeBytes: number;
}

export interface UndoBatchContents {
  readonly runs: readonly UndoRun[];
  readonly sizes: readonly UndoSize[];
  readonly isFinished: boolean;
}

/** Of each sector in whole blocks. */
export function sectorSums(blocks: Uint8Array): Uint32Array {
  const sums = new Uint32Array(blocks.length / SECTOR_BYTES);
  for (let i = 0; i < sums.length; i++) sums[i] = sectorSum(blocks.subarray(i * SECTOR_BYTES, (i + 1) * SECTOR_BYTES));
  return sums;
}

export const sectorSum = (sector: Uint8Array): number => crc32c(0xffff_ffff, sector) >>> 0;

export function encodeUndoHeader(id: bigint, about: UndoAbout): Uint8Array {
  const json = new TextEncoder().encode(JSON.stringify(about));
  assert(json.length <= JSON_BYTES_MAX, `an undo file can say what it is about in ${json.length} bytes`);
  const target = new Uint8Array(roundUp(UndoHeader.size + json.length, UNDO_BLOCK_BYTES));
  const fields = { magic: HEADER_MAGIC, version: VERSION, json_bytes: json.length, id };
  target.set(json, UndoHeader.size);
  UndoHeader.put(viewOf(target), 0, { ...fields, csum: 0n });
  UndoHeader.put(viewOf(target), 0, { ...fields, csum: headerSum(target, json.length) });
  return target;
}

const headerSum = (header: Uint8Array, jsonBytes: number): bigint =>
  xxh64(header.subarray(0, UndoHeader.offset.csum)) ^
  xxh64(header.subarray(UndoHeader.size, UndoHeader.size + jsonBytes));

/** Whether it may be an undo file at all. */
const hasUndoMagic = (start: Uint8Array): boolean => isEqual(start.subarray(0, HEADER_MAGIC.length), HEADER_MAGIC);

/**
 * @param read gives so many bytes from the begin of the file, or fewer at its end
 * @throws InputError, IncompatibleError
 */
export function decodeUndoHeader(
  path: string,
  read: (length: number) => Uint8Array,
): { readonly id: bigint; readonly about: UndoAbout; readonly sizeBytes: number } {
  const start = read(UndoHeader.size);
  if (!hasUndoMagic(start) || start.length < UndoHeader.size) throw damaged(path, 'is not an undo file');
  const { version, json_bytes, id, csum } = UndoHeader.get(viewOf(start), 0);
  if (version !== VERSION) {
    const detail = `is an undo file of version ${version}, this program knows ${VERSION}`;
    throw new IncompatibleError('undo_file_version', { device: path }, detail);
  }
  if (json_bytes > JSON_BYTES_MAX) throw damaged(path, `its header claims ${json_bytes} bytes`);
  const whole = read(UndoHeader.size + json_bytes);
  if (whole.length < UndoHeader.size + json_bytes || headerSum(whole, json_bytes) !== csum) {
    throw damaged(path, 'the checksum of its header is wrong');
  }
  const about = parseAbout(path, new TextDecoder().decode(whole.subarray(UndoHeader.size)));
  return { id, about, sizeBytes: roundUp(whole.length, UNDO_BLOCK_BYTES) };
}

/** The checksum says what a crash left whole, not who made it: everything in it is looked at. */
function parseAbout(path: string, text: string): UndoAbout {
  let found: unknown;
  try {
    found = JSON.parse(text);
  } catch (cause) {
    if (cause instanceof SyntaxError) throw damaged(path, 'its header is not JSON');
    throw cause;
  }
  if (isRecord(found) && typeof found.command === 'string' && typeof found.time === 'string') {
    const { command, time, members } = found;
    if (Array.isArray(members) && members.length <= MEMBERS_MAX && members.every(isMember)) {
      return { command, time, members };
    }
  }
  throw damaged(path, 'its header does not say what was changed');
}

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null;

function isMember(value: unknown): value is UndoMember {
  if (!isRecord(value)) return false;
  const { name, sizeBytes, filesystem, index } = value;
  return (
    typeof name === 'string' &&
    Number.isSafeInteger(sizeBytes) &&
    (sizeBytes as number) >= 0 &&
    (filesystem === null || typeof filesystem === 'string') &&
    (index === null || Number.isSafeInteger(index))
  );
}

export function encodeUndoBatch(id: bigint, seq: number, { runs, sizes, isFinished }: UndoBatchContents): Uint8Array {
  const nr_entries = runs.length + sizes.length;
  const sumCount = runs.reduce((sum, { sums }) => sum + sums.length, 0);
  const head_bytes = UndoBatch.size + nr_entries * UndoEntry.size + sumCount * 4;
  assert(head_bytes <= HEAD_BYTES_MAX, `a batch of an undo file has a head of ${head_bytes} bytes`);
  const contentBytes = runs.reduce((sum, { before }) => sum + (before?.length ?? 0), 0);
  const contentsAt = roundUp(head_bytes, UNDO_BLOCK_BYTES);
  const size_bytes = contentsAt + contentBytes;
  const target = new Uint8Array(size_bytes);
  const view = viewOf(target);
  let [entryAt, sumsAt, beforeAt] = [UndoBatch.size, UndoBatch.size + nr_entries * UndoEntry.size, contentsAt];
  const put = (member: number, kind: UndoKind, nr_blocks: number, offset: number, csum: bigint) => {
    UndoEntry.put(view, entryAt, { member, kind: KINDS.indexOf(kind), pad: 0, nr_blocks, offset, csum });
    entryAt += UndoEntry.size;
  };
  for (const { member, kind, offset, blocks, sums, before } of runs) {
    assert((kind === 'contents') === (before !== undefined), 'only what is saved has contents');
    put(member, kind, blocks, offset, before === undefined ? 0n : xxh64(before));
    for (const sum of sums) {
      view.setUint32(sumsAt, sum, true);
      sumsAt += 4;
    }
    if (before === undefined) continue;
    target.set(before, beforeAt);
    beforeAt += before.length;
  }
  for (const { member, sizeBytes } of sizes) put(member, 'size', 0, sizeBytes, 0n);
  const flags = isFinished ? FINISHED : 0;
  UndoBatch.put(view, 0, { magic: BATCH_MAGIC, id, seq, nr_entries, flags, head_bytes, size_bytes, csum: 0n });
  view.setBigUint64(UndoBatch.offset.csum, xxh64(target.subarray(0, head_bytes)), true);
  return target;
}

/** Of a batch, what leads to the rest of it. */
export interface UndoBatchHead {
  readonly seq: number;
  readonly nrEntries: number;
  readonly isFinished: boolean;
  readonly headBytes: number;
  readonly sizeBytes: number;
}

export const UNDO_BATCH_HEAD_BYTES: number = UndoBatch.size;

/** Undefined for what is not the head of a batch of this file. The checksum is for `decodeUndoEntries` to look at. */
export function decodeUndoBatchHead(head: Uint8Array, id: bigint): UndoBatchHead | undefined {
  if (head.length < UndoBatch.size || !isEqual(head.subarray(0, BATCH_MAGIC.length), BATCH_MAGIC)) return undefined;
  const view = viewOf(head);
  // A count above 2^53 would be an error of its own.
  if (view.getUint32(UndoBatch.offset.size_bytes + 4, true) >= 0x20_0000) return undefined;
  const batch = UndoBatch.get(view, 0);
  const { head_bytes: headBytes, size_bytes: sizeBytes, nr_entries: nrEntries } = batch;
  const isPossible =
    batch.id === id &&
    headBytes <= HEAD_BYTES_MAX &&
    headBytes >= UndoBatch.size + nrEntries * UndoEntry.size &&
    sizeBytes >= headBytes &&
    sizeBytes % UNDO_BLOCK_BYTES === 0;
  return isPossible
    ? { seq: batch.seq, nrEntries, isFinished: batch.flags === FINISHED, headBytes, sizeBytes }
    : undefined;
}

/** Blocks of a batch; where the rest of it is in the file. */
export interface UndoRunPlace {
  readonly member: number;
  readonly kind: Exclude<UndoKind, 'size'>;
  readonly offset: number;
  readonly blocks: number;
  readonly sumsAt: number;
  /** Of `contents` only. */
  readonly beforeAt: number;
  readonly csum: bigint;
}

/**
 * @param head all of it
 * @param start where the batch begins in the file
 * @returns undefined when its checksum is wrong
 * @throws InputError for what cannot be, although the checksum is right
 */
export function decodeUndoEntries(
  path: string,
  head: Uint8Array,
  { nrEntries, headBytes, sizeBytes }: UndoBatchHead,
  start: number,
  memberCount: number,
): { readonly runs: readonly UndoRunPlace[]; readonly sizes: readonly UndoSize[] } | undefined {
  const view = viewOf(head);
  const csum = view.getBigUint64(UndoBatch.offset.csum, true);
  const bare = head.slice();
  viewOf(bare).setBigUint64(UndoBatch.offset.csum, 0n, true);
  if (xxh64(bare) !== csum) return undefined;
  const runs: UndoRunPlace[] = [];
  const sizes: UndoSize[] = [];
  let sumsAt = UndoBatch.size + nrEntries * UndoEntry.size;
  let beforeAt = roundUp(headBytes, UNDO_BLOCK_BYTES);
  for (let i = 0; i < nrEntries; i++) {
    const entryAt = UndoBatch.size + i * UndoEntry.size;
    if (view.getUint32(entryAt + UndoEntry.offset.offset + 4, true) >= 0x20_0000) throw impossible(path, start);
    const { member, kind: kindNr, nr_blocks: blocks, offset, csum: contentSum } = UndoEntry.get(view, entryAt);
    const kind = KINDS[kindNr];
    if (kind === undefined || member >= memberCount) throw impossible(path, start);
    if (kind === 'size') {
      sizes.push({ member, sizeBytes: offset });
      continue;
    }
    const end = offset + blocks * UNDO_BLOCK_BYTES;
    const isPossible =
      blocks > 0 &&
      blocks <= BLOCKS_MAX &&
      offset % UNDO_BLOCK_BYTES === 0 &&
      Number.isSafeInteger(end) &&
      Math.floor(offset / UNDO_CHUNK_BYTES) === Math.floor((end - 1) / UNDO_CHUNK_BYTES);
    if (!isPossible) throw impossible(path, start);
    runs.push({ member, kind, offset, blocks, sumsAt: start + sumsAt, beforeAt: start + beforeAt, csum: contentSum });
    sumsAt += blocks * SECTORS_PER_BLOCK * 4;
    if (kind === 'contents') beforeAt += blocks * UNDO_BLOCK_BYTES;
  }
  if (sumsAt !== headBytes || beforeAt !== sizeBytes) throw impossible(path, start);
  return { runs, sizes };
}

const impossible = (path: string, start: number): InputError =>
  damaged(path, `what it says of the places that were changed cannot be (at byte ${start})`);

export const damaged = (path: string, detail: string): InputError =>
  new InputError('undo_file', { device: path }, detail);

const isEqual = (a: Uint8Array, b: Uint8Array): boolean => a.length === b.length && a.every((byte, i) => byte === b[i]);
