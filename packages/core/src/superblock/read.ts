// Finds and reads the superblock of one device: at sector 8; else where the layout block at sector 7 says that backups are;
// else by looking for the magic in the regions where format puts superblocks. Reading never writes, and a copy is believed
// only when its checksum is right. Mirrors read_super_and_backups (sb/io.c), and goes further where that gives up.

import { canChecksum, verifyVstruct } from '../checksum/checksum.ts';
import { csumText } from '../checksum/csum.ts';
import type { BlockDevice } from '../device/block-device.ts';
import { readBytes } from '../device/block-device.ts';
import { getBits } from '../ondisk/bits.ts';
import { checksumTypes } from '../ondisk/checksum-types.ts';
import { CorruptError, DeviceError, IncompatibleError, type Location, locate } from '../ondisk/errors.ts';
import type { FaultName } from '../ondisk/faults.ts';
import { viewOf } from '../ondisk/layout.ts';
import { sbBits } from '../ondisk/sb-bits.ts';
import type { SbProblem } from '../ondisk/sb-fields/kind.ts';
import {
  BchSb,
  BchSbLayout,
  decodeSuperblock,
  hasSuperblockMagic,
  SB_LAYOUT_SECTOR,
  SB_LAYOUT_SIZE_BITS_MAX,
  SB_SECTOR,
  type Superblock,
  superblockBytes,
  superblockMaxBytes,
} from '../ondisk/superblock.ts';
import { probeSignatures, signatureText } from '../probe/index.ts';
import { roundDown, SECTOR_BYTES, sectorsToBytes } from '../util/sizes.ts';
import { layoutProblems, superblockIncompatibilities, superblockProblems } from './verify.ts';

/** How a copy was come by. */
export type FoundBy = 'sector' | 'layout' | 'scan';

/** A superblock whose checksum is right, and what is still wrong with it. */
export interface SuperblockCopy {
  readonly sb: Superblock;
  readonly sector: number;
  readonly foundBy: FoundBy;
  /** Its magic was overwritten, as wipefs does; with the right one its checksum is right. */
  readonly isWiped: boolean;
  /** Faults of single members or sections; empty for a sound superblock. */
  readonly problems: readonly SbProblem[];
}

/** Why a place where a copy should be has none. */
export interface SuperblockFailure {
  readonly sector: number;
  readonly error: FaultName;
  readonly message: string;
}

export interface SuperblockReading extends SuperblockCopy {
  /** Places that were tried before this copy was found, with the reasons. */
  readonly failures: readonly SuperblockFailure[];
}

const MIB = 2 ** 20;

/** Superblocks are at most this large; with the buckets they are rounded to, this far from either end of the device. */
export const SCAN_BYTES_DEFAULT = 64 * MIB;
/** Searching more than this of each end is the whole device on most machines. */
export const SCAN_BYTES_MAX = Number.MAX_SAFE_INTEGER / 4;

/**
 * Reads a device's superblock.
 * @param scanBytes how much of the start and of the end to search when neither sector 8 nor the layout leads to one
 * @throws CorruptError naming sector 8's fault when there is none to be found
 * @throws IncompatibleError when it is of a version or has features that are not known here
 * @throws DeviceError when the device cannot be read
 */
export function readSuperblock(device: BlockDevice, scanBytes: number = SCAN_BYTES_DEFAULT): SuperblockReading {
  const failures: SuperblockFailure[] = [];
  const attempt = (sector: number, foundBy: FoundBy): SuperblockReading | undefined => {
    try {
      return { ...readSuperblockAt(device, sector, foundBy), failures };
    } catch (thrown) {
      failures.push(failureOf(thrown, sector));
      return undefined;
    }
  };

  const primary = attempt(SB_SECTOR, 'sector');
  if (primary !== undefined) return primary;
  for (const sector of backupSectors(device, failures)) {
    const backup = attempt(sector, 'layout');
    if (backup === undefined) continue;
    // A member that was migrated has another filesystem at its start: no copy belongs there.
    const { sb_offset, nr_superblocks } = backup.sb.layout;
    const belongs = sb_offset.slice(0, nr_superblocks).includes(BigInt(SB_SECTOR));
    return belongs ? backup : { ...backup, failures: failures.filter(failure => failure.sector !== SB_SECTOR) };
  }
  const scanned = scanForSuperblocks(device, { scanBytes, wiped: true });
  const found = newestCopy(scanned.filter(copy => !copy.isWiped));
  if (found !== undefined) return { ...found, failures };
  const first = failures[0]!;
  throw new CorruptError(
    first.error,
    { device: device.name },
    `no bcachefs superblock found: ${foreignText(device)}${failures.map(failure => `sector ${failure.sector}: ${failure.message}`).join('; ')}; ` +
      `none in the first and last ${Math.round(scanBytes / MIB)} MiB either${wipedText(scanned)}`,
  );
}

/** What is there instead, where that is known: most often the wrong image was named. */
function foreignText(device: BlockDevice): string {
  const found = probeSignatures(device).filter(({ name }) => name !== 'bcachefs');
  if (found.length === 0) return '';
  return `it contains ${found.map(signatureText).join(', ')}; `;
}

/** A superblock is wiped on purpose: it is not read, but the message says how to get it back. */
function wipedText(scanned: readonly SuperblockCopy[]): string {
  const wiped = newestCopy(scanned);
  if (wiped === undefined) return '';
  return (
    `; the superblock of filesystem ${wiped.sb.user_uuid} at sector ${wiped.sector} has lost only its magic, as after wipefs: ` +
    'recover-super restores it. Where an undo was cut off, `undo` has to be run again instead'
  );
}

/** The newest of several copies: the one that was written last. */
export function newestCopy(copies: readonly SuperblockCopy[]): SuperblockCopy | undefined {
  return copies.reduce<SuperblockCopy | undefined>((best, copy) => {
    if (best === undefined) return copy;
    if (copy.sb.uuid === best.sb.uuid) return copy.sb.seq > best.sb.seq ? copy : best;
    return copy.sb.write_time > best.sb.write_time ? copy : best;
  }, undefined);
}

/** A failure to believe or read one copy; anything else is our bug and goes on up. */
function failureOf(thrown: unknown, sector: number): SuperblockFailure {
  if (thrown instanceof CorruptError) return { sector, error: thrown.error, message: thrown.detail };
  if (thrown instanceof DeviceError && (thrown.kind === 'io' || thrown.kind === 'out-of-range')) {
    return { sector, error: `device_${thrown.kind}`, message: thrown.detail };
  }
  throw thrown;
}

/** The sectors besides sector 8 that the layout block lists; empty (and a failure noted) when there is no sound layout. */
function backupSectors(device: BlockDevice, failures: SuperblockFailure[]): number[] {
  try {
    const layout = readLayout(device);
    return layout.sb_offset
      .slice(0, layout.nr_superblocks)
      .map(Number)
      .filter(sector => sector !== SB_SECTOR);
  } catch (thrown) {
    failures.push(failureOf(thrown, SB_LAYOUT_SECTOR));
    return [];
  }
}

/**
 * Reads the layout block at sector 7.
 * @throws CorruptError invalid_sb_layout and its kin
 */
export function readLayout(device: BlockDevice): BchSbLayout {
  const where = { device: device.name, sector: SB_LAYOUT_SECTOR };
  const layout = BchSbLayout.get(viewOf(readBytes(device, sectorsToBytes(SB_LAYOUT_SECTOR), BchSbLayout.size)), 0);
  const problem = layoutProblems(layout, where)[0];
  if (problem !== undefined) throw new CorruptError(problem.error, problem.where, problem.detail);
  return layout;
}

/**
 * Reads the superblock at one place.
 * @throws CorruptError when there is none or its checksum is wrong; IncompatibleError; DeviceError
 */
export function readSuperblockAt(device: BlockDevice, sector: number, foundBy: FoundBy = 'sector'): SuperblockCopy {
  const bytes = superblockBytesAt(device, sector);
  return { ...believeSuperblock(bytes, { device: device.name, sector }, sector, foundBy), isWiped: false };
}

/** As many as it says; without a magic only the header. */
function superblockBytesAt(device: BlockDevice, sector: number): Uint8Array {
  const offset = sectorsToBytes(sector);
  const header = readBytes(device, offset, BchSb.size);
  if (!hasSuperblockMagic(viewOf(header), 0)) return header;
  const where = { device: device.name, sector };
  return readBytes(device, offset, boundedSuperblockBytes(device, header, offset, where));
}

/**
 * Reads a superblock whose magic may be anything: what is around it, checksum included, proves that it was one. The checksum covers
 * the magic, so it is computed with the right one in its place.
 * @throws as readSuperblockAt
 */
export function readWipedSuperblockAt(device: BlockDevice, sector: number): SuperblockCopy {
  const where: Location = { device: device.name, sector };
  const offset = sectorsToBytes(sector);
  const header = readBytes(device, offset, BchSb.size);
  if (hasSuperblockMagic(viewOf(header), 0)) return readSuperblockAt(device, sector, 'scan');
  const bytes = readBytes(device, offset, boundedSuperblockBytes(device, header, offset, where));
  // The layout inside the superblock has the same magic, and no tool wipes it there.
  const magicAt = BchSb.offset.layout + BchSbLayout.offset.magic;
  bytes.set(bytes.slice(magicAt, magicAt + MAGIC_BYTES), BchSb.offset.magic);
  return { ...believeSuperblock(bytes, where, sector, 'scan'), isWiped: true };
}
const MAGIC_BYTES = 16;
/** How long the superblock is, once that is plausible: within what its layout allows and the device has. */
function boundedSuperblockBytes(device: BlockDevice, header: Uint8Array, offset: number, where: Location): number {
  const size = superblockBytes(viewOf(header), 0);
  const layout = BchSbLayout.get(viewOf(header), BchSb.offset.layout);
  const limit = Math.min(superblockMaxBytes({ layout }), device.sizeBytes - offset);
  if (size > limit)
    throw new CorruptError('invalid_sb_too_big', where, `claims ${size} bytes, at most ${limit} are possible`);
  return size;
}

function believeSuperblock(
  bytes: Uint8Array,
  where: Location,
  sector: number,
  foundBy: FoundBy,
): Omit<SuperblockCopy, 'isWiped'> {
  const sb = locate(where, () => decodeSuperblock(bytes, where));
  verifyChecksum(bytes, sb, where);
  const unknown = superblockIncompatibilities(sb, where)[0];
  if (unknown !== undefined) throw new IncompatibleError(unknown.error, unknown.where, unknown.detail);
  return { sb, sector, foundBy, problems: superblockProblems(sb, where, BigInt(sector)) };
}

function verifyChecksum(bytes: Uint8Array, sb: Superblock, where: Location): void {
  const type = getBits(sb.flags, sbBits.CSUM_TYPE);
  if (!canChecksum(type)) {
    const name = checksumTypes.nameOf(type);
    throw new CorruptError('invalid_sb_csum_type', where, `checksum type ${name} cannot protect a superblock`);
  }
  const { good, stored, computed } = verifyVstruct(type, bytes);
  if (!good) {
    throw new CorruptError(
      'invalid_sb_csum',
      where,
      `${checksumTypes.nameOf(type)} checksum ${csumText(type, stored)}, computed ${csumText(type, computed)}`,
    );
  }
}

export interface SuperblockScan {
  /** How much of the start and of the end is searched. */
  readonly scanBytes?: number | undefined;
  /** Where the filesystem ends, when that is before the end of the device. */
  readonly sizeBytes?: number | undefined;
  /** Also those whose magic was wiped. */
  readonly wiped?: boolean;
}

/**
 * Looks for superblocks in the first and the last `scanBytes` of the device: by their magic, and those without by knowing their own sector.
 * Only copies with a right checksum are returned, in order of their sectors.
 */
export function scanForSuperblocks(
  device: BlockDevice,
  { scanBytes = SCAN_BYTES_DEFAULT, sizeBytes = device.sizeBytes, wiped = false }: SuperblockScan = {},
): SuperblockCopy[] {
  const sectorAligned = roundDown(Math.min(sizeBytes, device.sizeBytes), SECTOR_BYTES);
  const tailStart = Math.max(roundDown(sectorAligned - scanBytes, SECTOR_BYTES), 0);
  const ranges: [number, number][] =
    tailStart <= scanBytes
      ? [[0, sectorAligned]]
      : [
          [0, roundDown(scanBytes, SECTOR_BYTES)],
          [tailStart, sectorAligned],
        ];
  const budget = { wiped, candidates: SCAN_CANDIDATES_MAX, bytes: SCAN_CANDIDATE_BYTES_MAX };
  return ranges.flatMap(([start, end]) => scanRange(device, start, end, budget));
}

const SCAN_CHUNK_BYTES = 4 * MIB;

/**
 * A device has a handful of superblocks. One that was made to have a magic in every sector, each claiming the greatest possible
 * length, would otherwise keep us reading for hours; a scan ends when these are used up.
 */
const SCAN_CANDIDATES_MAX = 256;
const SCAN_CANDIDATE_BYTES_MAX = 256 * MIB;

interface ScanBudget {
  readonly wiped: boolean;
  candidates: number;
  bytes: number;
}

function scanRange(device: BlockDevice, start: number, end: number, budget: ScanBudget): SuperblockCopy[] {
  const copies: SuperblockCopy[] = [];
  for (let chunkStart = start; chunkStart < end; chunkStart += SCAN_CHUNK_BYTES) {
    const chunk = readBytes(device, chunkStart, Math.min(SCAN_CHUNK_BYTES, end - chunkStart));
    const view = viewOf(chunk);
    for (let at = 0; at + SECTOR_BYTES <= chunk.length; at += SECTOR_BYTES) {
      const sector = (chunkStart + at) / SECTOR_BYTES;
      // The magic's first word alone rules out nearly every sector.
      const hasMagic = view.getUint32(at + BchSb.offset.magic, true) === MAGIC_FIRST_WORD;
      if (!hasMagic && !(budget.wiped && knowsItsSector(view, at, sector))) continue;
      budget.candidates--;
      budget.bytes -= Math.min(superblockBytes(view, at), SUPERBLOCK_BYTES_MAX);
      if (budget.candidates < 0 || budget.bytes < 0) return copies;
      try {
        copies.push(budget.wiped ? readWipedSuperblockAt(device, sector) : readSuperblockAt(device, sector, 'scan'));
      } catch (thrown) {
        if (thrown instanceof IncompatibleError) continue;
        failureOf(thrown, sector); // Not a copy after all; our own bugs and failing disks go on up.
      }
    }
  }
  return copies;
}

/** A superblock has its own place and a layout in it: as good a sign as a magic. All in its first sector. */
function knowsItsSector(view: DataView, at: number, sector: number): boolean {
  return (
    view.getUint32(at + BchSb.offset.offset, true) === sector % 2 ** 32 &&
    view.getUint32(at + BchSb.offset.offset + 4, true) === Math.floor(sector / 2 ** 32) &&
    view.getUint32(at + BchSb.offset.layout + BchSbLayout.offset.magic, true) === MAGIC_FIRST_WORD
  );
}

/** Both magics begin with the bytes c6 85 73 f6. */
const MAGIC_FIRST_WORD = 0xf67385c6;

/**
 * A copy as it is on the device, if its checksum is right and it is of a filesystem; anything else may be wrong with it.
 * @param uuid the internal one
 */
export function wholeCopyAt(
  device: BlockDevice,
  sector: number,
  uuid: string,
): { readonly sb: Superblock; readonly bytes: Uint8Array } | undefined {
  const where = { device: device.name, sector };
  try {
    const bytes = superblockBytesAt(device, sector);
    const sb = decodeSuperblock(bytes, where);
    verifyChecksum(bytes, sb, where);
    return sb.uuid === uuid ? { sb, bytes } : undefined;
  } catch (thrown) {
    failureOf(thrown, sector); // Not a copy; our own bugs and failing disks go on up.
    return undefined;
  }
}

/** One place where a superblock copy belongs, and what is there. */
export type CopyState =
  | { readonly sector: number; readonly copy: SuperblockCopy }
  | { readonly sector: number; readonly failure: SuperblockFailure };

/** Reads every copy that the layout lists. */
export function readAllCopies(device: BlockDevice, layout: BchSbLayout): CopyState[] {
  return layout.sb_offset.slice(0, layout.nr_superblocks).map(offset => {
    const sector = Number(offset);
    try {
      return { sector, copy: readSuperblockAt(device, sector, 'layout') };
    } catch (thrown) {
      return { sector, failure: failureOf(thrown, sector) };
    }
  });
}

/** Bytes that the largest possible superblock takes. */
export const SUPERBLOCK_BYTES_MAX = SECTOR_BYTES * 2 ** SB_LAYOUT_SIZE_BITS_MAX;
