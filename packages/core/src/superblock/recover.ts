// Repairs the superblocks of a device: finds the best copy that is left (or takes another member's), and writes it to every
// place where the device should have one. What would be written is known before anything is.

import type { BlockDevice } from '../device/block-device.ts';
import { CorruptError, UsageError } from '../ondisk/errors.ts';
import { memberAt } from '../ondisk/sb-fields/members.ts';
import { type Superblock, superblockMaxBytes, withSection } from '../ondisk/superblock.ts';
import { sectorsToBytes } from '../util/sizes.ts';
import { refuseTooSmall } from './edit.ts';
import { superblockLayout } from './layout.ts';
import {
  type CopyState,
  newestCopy,
  readAllCopies,
  readLayout,
  readWipedSuperblockAt,
  SCAN_BYTES_DEFAULT,
  SCAN_BYTES_MAX,
  type SuperblockCopy,
  scanForSuperblocks,
} from './read.ts';
import { superblockProblems } from './verify.ts';
import { writeSuperblocks } from './write.ts';

export interface RecoveryPlan {
  /** What will be written to every place of its layout. */
  readonly sb: Superblock;
  /** Where it comes from: a sector of this device, or another member. */
  readonly source: { readonly sector: number; readonly isWiped: boolean } | { readonly device: string };
  /** Every sound copy that was found on the device. */
  readonly candidates: readonly SuperblockCopy[];
  /** The places that the chosen layout lists, as they are now. */
  readonly places: readonly CopyState[];
  /** Whether the layout block at sector 7 is sound and agrees. */
  readonly isLayoutSound: boolean;
  /** Nothing to do: every place has the chosen copy already. */
  readonly isIntact: boolean;
}

export interface RecoverySearch {
  /** How much of each end of the device to search, in bytes. */
  readonly scanBytes?: number;
  /** Where the filesystem ends, when that is before the end of the device. */
  readonly sizeBytes?: number | undefined;
  /** Take the copy at this sector, whatever else there is. */
  readonly sector?: number;
}

/**
 * Decides what recover-super would write, from what is on the device itself.
 * @throws CorruptError when no sound copy is found; DeviceError kind `too-small` when there is something to write, and no room for all of it
 */
export function planRecovery(device: BlockDevice, search: RecoverySearch = {}): RecoveryPlan {
  const scanBytes = search.scanBytes ?? SCAN_BYTES_DEFAULT;
  if (search.sizeBytes !== undefined && search.sizeBytes > device.sizeBytes) {
    throw new UsageError(`${search.sizeBytes} bytes, but ${device.name} has only ${device.sizeBytes}`, '--dev_size');
  }
  const scan = { scanBytes: Math.min(scanBytes, SCAN_BYTES_MAX), sizeBytes: search.sizeBytes, wiped: true };
  const found =
    search.sector === undefined
      ? scanForSuperblocks(device, scan).filter(copy => copy.problems.length === 0)
      : [readWipedSuperblockAt(device, search.sector)];
  // Beside one that is whole, a wiped one is what format has left of an older filesystem.
  const whole = found.filter(copy => !copy.isWiped);
  const candidates = whole.length > 0 ? whole : found;
  const chosen = newestCopy(candidates);
  if (chosen === undefined) {
    throw new CorruptError(
      'invalid_sb_magic',
      { device: device.name },
      `no sound superblock in the first and last ${scanBytes} bytes; --scan_len searches more of the device, ` +
        '--src_device takes the superblock from another member',
    );
  }
  return recoveryOf(device, chosen.sb, { sector: chosen.sector, isWiped: chosen.isWiped }, candidates);
}

/**
 * Decides what recover-super would write, from another member's superblock. The device gets no journal: the kernel gives it a
 * new one after fsck.
 * @throws UsageError when the source has no such member, or the device is smaller than that member
 */
export function planRecoveryFromMember(
  device: BlockDevice,
  source: { readonly device: string; readonly sb: Superblock },
  index: number,
  sizeBytes: number = device.sizeBytes,
): RecoveryPlan {
  const member = memberAt(source.sb, index);
  if (member === undefined) throw new UsageError(`${source.device} knows no member ${index}`, '--dev_idx');
  if (source.sb.dev_idx === index) throw new UsageError(`${source.device} is member ${index} itself`, '--dev_idx');
  const memberBytes = member.nbuckets * sectorsToBytes(member.bucket_size);
  if (sizeBytes < memberBytes) {
    throw new UsageError(
      `${device.name} has ${sizeBytes} bytes, member ${index} had ${memberBytes}: it is another device`,
    );
  }
  const layout = superblockLayout({
    name: device.name,
    sizeBytes,
    blockBytes: sectorsToBytes(source.sb.block_size),
    bucketBytes: sectorsToBytes(member.bucket_size),
    superblockBytes: superblockMaxBytes(source.sb),
  });
  const own = withSection(withSection(source.sb, 'journal', undefined), 'journal_v2', undefined);
  return recoveryOf(device, { ...own, dev_idx: index, layout }, { device: source.device }, []);
}

function recoveryOf(
  device: BlockDevice,
  sb: Superblock,
  source: RecoveryPlan['source'],
  candidates: readonly SuperblockCopy[],
): RecoveryPlan {
  const problem = superblockProblems(sb, { device: device.name })[0];
  if (problem !== undefined) throw new CorruptError(problem.error, problem.where, problem.detail);
  const places = readAllCopies(device, sb.layout);
  const isLayoutSound = layoutAgrees(device, sb);
  const isIntact =
    isLayoutSound &&
    places.every(place => 'copy' in place && place.copy.sb.uuid === sb.uuid && place.copy.sb.seq === sb.seq);
  if (!isIntact) refuseTooSmall(device, sb);
  return { sb, source, candidates, places, isLayoutSound, isIntact };
}

export function layoutAgrees(device: BlockDevice, sb: Superblock): boolean {
  try {
    const layout = readLayout(device);
    return layout.sb_offset.every((offset, i) => offset === sb.layout.sb_offset[i]);
  } catch (thrown) {
    if (thrown instanceof CorruptError) return false;
    throw thrown;
  }
}

/**
 * Writes the plan's superblock to all its places.
 * @throws DeviceError: kind `too-small` and `read-only` before anything was written
 */
export function recoverSuperblock(device: BlockDevice, plan: RecoveryPlan): void {
  // It was opened again since.
  refuseTooSmall(device, plan.sb);
  writeSuperblocks([{ device, sb: plan.sb }]);
}
