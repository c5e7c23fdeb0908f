// Puts back what a command has overwritten, from its undo file (undo-format.ts).
//
// First everything is looked at, and nothing is written: every checksum of the file, and every sector that is to be put back. Each has to be
// what the command wrote there, or what was there before: undoing what is undone already, or what an undo that was cut off has begun,
// is the same. If the command was cut off itself, a sector may have any of the contents that the file knows of.
//
// Then, in an order in which a kernel that comes between does not take the devices for a filesystem while they are half of one and half of
// the other:
//   1. The magic numbers of the superblocks that will be replaced are taken away.
//   2. Image files get the size that they had.
//   3. Everything that differs is put back, but for the sectors that superblocks and their layouts begin with.
//   4. These, the first superblock of a device before its others: a kernel that reads another one refuses to write to the first.
// Every step is flushed on all devices before the next one. Cut off anywhere, the same undo goes on to the same end.

import { assert, UsageError } from '../ondisk/errors.ts';
import { uuidBytes } from '../ondisk/layout.ts';
import { BCACHE_MAGIC, BCHFS_MAGIC, BchSb, BchSbLayout, SB_SECTOR } from '../ondisk/superblock.ts';
import { SECTOR_BYTES, sectorsToBytes } from '../util/sizes.ts';
import { type BlockDevice, isResizable, readPadded } from './block-device.ts';
import {
  damaged,
  SECTORS_PER_BLOCK,
  sectorSum,
  UNDO_BLOCK_BYTES,
  UNDO_CHUNK_BYTES,
  type UndoMember,
} from './undo-format.ts';
import type { UndoLog } from './undo-log.ts';

const MAGICS: readonly Uint8Array[] = [BCHFS_MAGIC, BCACHE_MAGIC].map(uuidBytes);
const MAGIC_BYTES = 16;
const FIRST_SUPERBLOCK = sectorsToBytes(SB_SECTOR);
const SUPERBLOCK_MAGIC_AT = BchSb.offset.magic;
const LAYOUT_MAGIC_AT = BchSbLayout.offset.magic;

/** A device, and which of those of the undo file it is. */
interface Matched {
  readonly device: BlockDevice;
  readonly member: number;
  readonly sizeBefore: number;
  /** Bytes that differ from what was there. */
  differentBytes: number;
  /** Offsets of sectors that superblocks and layouts begin with, and that differ. */
  readonly heads: Set<number>;
  /** Of these, the superblocks that are there now. */
  readonly guarded: number[];
}

export interface UndoPlan {
  readonly devices: readonly {
    readonly name: string;
    /** What the undo file calls it. */
    readonly nameThen: string;
    /** So much is put back. */
    readonly differentBytes: number;
    readonly sizeBytes: number;
    readonly sizeBefore: number;
  }[];
  /** The devices are what they were before the command. */
  readonly isUndone: boolean;
  /** Puts it back; gives the number of bytes of each step. @throws DeviceError, InputError: then the same undo has to be asked for again */
  steps(): Generator<number, void, void>;
}

/**
 * Which device is which, and what would be put back. Nothing is written.
 * @param devices all that the command has changed, in any order
 * @param identify what filesystem a device is of, for messages
 * @throws UsageError when they are not those, or not as the command left them; InputError, DeviceError
 */
export function planUndo(
  log: UndoLog,
  devices: readonly BlockDevice[],
  identify: (device: BlockDevice) => Pick<UndoMember, 'filesystem'>,
): UndoPlan {
  const matched: Matched[] = [];
  for (const device of devices) {
    const taken = new Set(matched.map(({ member }) => member));
    const left = log.about.members.flatMap((_, member) =>
      taken.has(member) || !log.isChanged(member) ? [] : [member],
    );
    matched.push(matchOf(log, device, left, identify));
  }
  // An image file that the command made may be gone again: there was nothing in it.
  const missing = log.about.members.filter(
    ({ sizeBytes }, member) =>
      sizeBytes > 0 && log.isChanged(member) && !matched.some(({ member: found }) => found === member),
  );
  if (missing.length > 0) {
    const names = missing.map(({ name }) => name).join(', ');
    throw new UsageError(
      `${log.about.command} has changed ${names} as well: name all devices`,
      undefined,
      'member_missing',
    );
  }
  return {
    devices: matched.map(({ device, member, sizeBefore, differentBytes }) => ({
      name: device.name,
      nameThen: log.about.members[member]!.name,
      differentBytes,
      sizeBytes: device.sizeBytes,
      sizeBefore,
    })),
    isUndone: matched.every(
      ({ device, sizeBefore, differentBytes }) => differentBytes === 0 && device.sizeBytes === sizeBefore,
    ),
    steps: () => undoSteps(log, matched),
  };
}

/** @param left members that no other device is */
function matchOf(
  log: UndoLog,
  device: BlockDevice,
  left: readonly number[],
  identify: (device: BlockDevice) => Pick<UndoMember, 'filesystem'>,
): Matched {
  let furthest = -1;
  for (const member of left) {
    if (!log.sizesOf(member).includes(device.sizeBytes)) continue;
    const found = compare(log, device, member);
    if (typeof found !== 'number') return found;
    furthest = Math.max(furthest, found);
  }
  const { command, members } = log.about;
  const known = new Set(members.map(({ filesystem }) => filesystem));
  const { filesystem } = identify(device);
  if (filesystem !== null && !known.has(null) && !known.has(filesystem)) {
    throw new UsageError(`${device.name}: is part of another filesystem than the one that ${command} has changed`);
  }
  if (left.length === 0) throw new UsageError(`${device.name}: is not one of the devices that ${command} has changed`);
  if (furthest < 0) {
    const sizes = [...new Set(left.flatMap(member => log.sizesOf(member)))].join(' or ');
    throw new UsageError(`${device.name}: has ${device.sizeBytes} bytes, expected ${sizes} as ${command} left it`);
  }
  throw new UsageError(
    `${device.name}: is not as ${command} left it: the sector at byte ${furthest} was changed since, so nothing can be undone`,
    undefined,
    'changed_since',
  );
}

/** @returns where the first sector is that is neither what was there before nor what the command wrote */
function compare(log: UndoLog, device: BlockDevice, member: number): Matched | number {
  const sizeBefore = log.about.members[member]!.sizeBytes;
  const found: Matched = { device, member, sizeBefore, differentBytes: 0, heads: new Set(), guarded: [] };
  for (const chunk of log.chunksOf(member)) {
    const { offset, now, before, sums } = chunkState(log, device, member, chunk);
    for (let at = 0; at < now.length; at += SECTOR_BYTES) {
      const ofBlock = sums[Math.floor(at / UNDO_BLOCK_BYTES)];
      if (ofBlock === undefined) continue;
      const [is, was] = [sectorAt(now, at), sectorAt(before, at)];
      if (Buffer.compare(is, was) === 0) continue;
      const nr = (at % UNDO_BLOCK_BYTES) / SECTOR_BYTES;
      const accepted = ofBlock.map(versions => versions[nr]!);
      if (!isKnown(is, was, log.isFinished ? accepted.slice(-1) : accepted)) return offset + at;
      // What is past the end that it had is cut off.
      if (offset + at >= sizeBefore) continue;
      found.differentBytes += Math.min(SECTOR_BYTES, sizeBefore - offset - at);
      if (hasMagic(is) || hasMagic(was)) found.heads.add(offset + at);
      if (isMagicAt(is, SUPERBLOCK_MAGIC_AT)) found.guarded.push(offset + at);
    }
  }
  return found;
}

/** Whether a sector has been written by the command, or is one whose magic number an undo has taken away. */
function isKnown(is: Uint8Array, was: Uint8Array, sums: readonly number[]): boolean {
  if (sums.includes(sectorSum(is))) return true;
  if (is.subarray(SUPERBLOCK_MAGIC_AT, SUPERBLOCK_MAGIC_AT + MAGIC_BYTES).some(byte => byte !== 0)) return false;
  return MAGICS.some(magic => {
    const whole = is.slice();
    whole.set(magic, SUPERBLOCK_MAGIC_AT);
    return Buffer.compare(whole, was) === 0 || sums.includes(sectorSum(whole));
  });
}

const hasMagic = (sector: Uint8Array): boolean =>
  isMagicAt(sector, SUPERBLOCK_MAGIC_AT) || isMagicAt(sector, LAYOUT_MAGIC_AT);

const isMagicAt = (sector: Uint8Array, at: number): boolean => {
  const found = sector.subarray(at, at + MAGIC_BYTES);
  return MAGICS.some(magic => Buffer.compare(found, magic) === 0);
};

const sectorAt = (bytes: Uint8Array, at: number): Uint8Array => bytes.subarray(at, at + SECTOR_BYTES);

interface ChunkState {
  readonly offset: number;
  /** As far as it is known; zeroes past the end of the device. */
  readonly now: Uint8Array;
  readonly before: Uint8Array;
  /** For each block that was written to, the checksums of its sectors each time. */
  readonly sums: readonly (readonly Uint32Array[] | undefined)[];
}

/** @throws InputError */
function chunkState(log: UndoLog, device: BlockDevice, member: number, chunk: number): ChunkState {
  const offset = chunk * UNDO_CHUNK_BYTES;
  const now = readPadded(device, offset, UNDO_CHUNK_BYTES);
  const before = new Uint8Array(UNDO_CHUNK_BYTES);
  const sums: Uint32Array[][] = [];
  for (const run of log.runsOf(member, chunk)) {
    const at = run.offset - offset;
    const ofRun = log.sumsOf(run);
    for (let i = 0; i < run.blocks; i++) {
      const block = at / UNDO_BLOCK_BYTES + i;
      const ofBlock = ofRun.subarray(i * SECTORS_PER_BLOCK, (i + 1) * SECTORS_PER_BLOCK);
      const known = sums[block];
      if ((known === undefined) === (run.kind === 'again'))
        throw damaged(log.name, `what it says of byte ${offset + block * UNDO_BLOCK_BYTES} cannot be`);
      if (known === undefined) sums[block] = [ofBlock];
      else known.push(ofBlock);
    }
    if (run.kind === 'contents') before.set(log.beforeOf(run), at);
  }
  return { offset, now, before, sums };
}

function* undoSteps(log: UndoLog, matched: readonly Matched[]): Generator<number, void, void> {
  const changed = matched.filter(
    ({ device, sizeBefore, differentBytes }) => differentBytes > 0 || device.sizeBytes !== sizeBefore,
  );
  const flushAll = () => {
    for (const { device } of changed) device.flush();
  };
  for (const { device, guarded } of changed) for (const offset of guarded) takeMagic(device, offset);
  flushAll();
  for (const { device, sizeBefore } of changed) {
    if (device.sizeBytes === sizeBefore) continue;
    assert(isResizable(device), `the size of ${device.name} is fixed`);
    device.setSize(sizeBefore);
  }
  flushAll();
  for (const one of changed) {
    for (const chunk of log.chunksOf(one.member)) yield putBack(log, one, chunk, offset => !one.heads.has(offset));
  }
  flushAll();
  for (const one of changed) {
    if (one.heads.delete(FIRST_SUPERBLOCK)) {
      yield putBack(log, one, 0, offset => offset === FIRST_SUPERBLOCK);
      one.device.flush();
    }
    const chunks = new Set([...one.heads].map(offset => Math.floor(offset / UNDO_CHUNK_BYTES)));
    for (const chunk of chunks) yield putBack(log, one, chunk, offset => one.heads.has(offset));
    one.device.flush();
  }
}

function takeMagic(device: BlockDevice, offset: number): void {
  const sector = new Uint8Array(SECTOR_BYTES);
  device.read(offset, sector);
  sector.fill(0, SUPERBLOCK_MAGIC_AT, SUPERBLOCK_MAGIC_AT + MAGIC_BYTES);
  device.write(offset, sector);
}

/** @param isMeant of the offset of a sector */
function putBack(
  log: UndoLog,
  { device, member, sizeBefore }: Matched,
  chunk: number,
  isMeant: (offset: number) => boolean,
): number {
  const { offset, now, before, sums } = chunkState(log, device, member, chunk);
  const isToDo = (at: number): boolean =>
    at < before.length &&
    offset + at < sizeBefore &&
    sums[Math.floor(at / UNDO_BLOCK_BYTES)] !== undefined &&
    isMeant(offset + at) &&
    Buffer.compare(sectorAt(now, at), sectorAt(before, at)) !== 0;
  let bytes = 0;
  for (let from = 0; from < before.length; ) {
    let to = from;
    while (isToDo(to)) to += SECTOR_BYTES;
    const end = Math.min(to, sizeBefore - offset);
    if (from < end) device.write(offset + from, before.subarray(from, end));
    bytes += Math.max(0, end - from);
    from = to + SECTOR_BYTES;
  }
  return bytes;
}
