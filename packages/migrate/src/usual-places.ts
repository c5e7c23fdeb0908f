// Superblocks for a filesystem that the reference's migrate has made: its only ones are at a place inside of a file of the old filesystem, and
// nothing on the device leads there. They go to their usual places as in the end of a migration of ours: what lies there is moved first,
// then they are written, and last the old filesystem's magic goes. A crash before the new ones are there leaves those at the old place; after it,
// the same again completes it.

import {
  type BlockDevice,
  CorruptError,
  FilesystemWriter,
  openMembers,
  probeSignatures,
  readSuperblock,
  readSuperblockAt,
  SB_LAYOUT_SECTOR,
  SB_SECTOR,
  type Superblock,
  sectorsToBytes,
  UsageError,
  type UsualSuperblocksReport,
  usualSuperblocksSteps,
  wholeCopyAt,
  wipeSignatures,
} from '@bcachefs-ts/core/engine';
import type { FinishOptions } from './finish.ts';
import { LaidDevice } from './mark.ts';
import { layoutOnTop } from './migrate.ts';

/** Where a filesystem is found by a superblock that nothing leads to. */
export interface FoundSuperblock {
  /** The device as a search for superblocks is to see it. */
  readonly device: BlockDevice;
  readonly sb: Superblock;
}

/**
 * @param sector of a superblock
 * @throws CorruptError, IncompatibleError when none can be used there; UsageError when its filesystem has superblocks at the usual places
 */
export function findBySector(device: BlockDevice, sector: number): FoundSuperblock {
  if (sectorsToBytes(sector + 2) > device.sizeBytes)
    throw new UsageError(`${device.name} ends in front of sector ${sector}`, '--offset');
  const old = superblockOr(() => readSuperblockAt(device, sector));
  if (old === undefined) {
    // Cut off while this copy was written: the layout that was written first leads to another one. Or it was gone already, and the first
    // of the new ones is perhaps torn.
    const led = hasOtherMagic(device) ? superblockOr(() => readSuperblock(device, 0)) : undefined;
    if (led !== undefined && (isListed(led, SB_SECTOR) || isListed(led, sector))) return { device, sb: led };
  }
  const sb = old ?? nextCopy(device, sector) ?? readSuperblockAt(device, sector).sb; // which says what is wrong with it
  const usual = wholeCopyAt(device, SB_SECTOR, sb.uuid);
  if (usual === undefined) return { device: new LedDevice(device, [layoutOnTop(sb)]), sb };
  // Else it was cut off near its end: the old copy is still there, or the old filesystem's magic.
  if (isListed(usual.sb, sector) && !hasOtherMagic(device))
    throw new UsageError(`${device.name}: the superblock layout already has the default superblock`);
  return { device, sb: usual.sb };
}

/** The copy after one that a power cut has torn: nothing leads there yet, but copies follow each other, and each lists all of them. */
function nextCopy(device: BlockDevice, sector: number): Superblock | undefined {
  for (let bits = 0; bits <= SB_MAX_SIZE_BITS; bits++) {
    const next = sector + 2 ** bits;
    if (sectorsToBytes(next + 2) > device.sizeBytes) return undefined;
    const sb = superblockOr(() => readSuperblockAt(device, next));
    if (sb !== undefined && isListed(sb, sector)) return sb;
  }
  return undefined;
}

function superblockOr(read: () => { readonly sb: Superblock }): Superblock | undefined {
  try {
    return read().sb;
  } catch (thrown) {
    if (thrown instanceof CorruptError) return undefined;
    throw thrown;
  }
}

/** A step is a commit. @param sector that of the old superblock @throws as `finishSteps` does */
export function* usualPlacesSteps(
  { device }: FoundSuperblock,
  sector: number,
  { random, now, key }: FinishOptions,
): Generator<void, UsualSuperblocksReport, void> {
  const writer = new FilesystemWriter(openMembers([device]), { random, now, key });
  const report = yield* usualSuperblocksSteps(writer, 0);
  if (!isListed(writer.filesystem.sb, sector)) {
    device.write(sectorsToBytes(sector), new Uint8Array(WIPED_BYTES));
    device.flush();
  }
  wipeSignatures(device, othersAtStart(device));
  return report;
}

/** Of a copy, in 512-byte sectors: BCH_SB_LAYOUT_SIZE_BITS_MAX */
const SB_MAX_SIZE_BITS = 16;

/** The magic is among them. */
const WIPED_BYTES = 4096;

const isListed = ({ layout: { sb_offset, nr_superblocks } }: Superblock, sector: number): boolean =>
  sb_offset.slice(0, nr_superblocks).includes(BigInt(sector));

const hasOtherMagic = (device: BlockDevice): boolean => othersAtStart(device).length > 0;

/** Other filesystems whose magic is in front of the superblock; what is after that is of files by now. */
const othersAtStart = (device: BlockDevice) =>
  probeSignatures(device).filter(
    ({ kind, name, at }) =>
      kind === 'filesystem' &&
      name !== 'bcachefs' &&
      at.every(({ offset, length }) => offset + length <= sectorsToBytes(SB_LAYOUT_SECTOR)),
  );

/** To be written to: what is laid over goes where something is written. */
class LedDevice extends LaidDevice {
  #isWritten = false;

  override get writable(): boolean {
    return this.inner.writable;
  }

  override read(offset: number, into: Uint8Array): void {
    if (this.#isWritten) this.inner.read(offset, into);
    else super.read(offset, into);
  }

  override write(offset: number, bytes: Uint8Array): void {
    const at = sectorsToBytes(SB_LAYOUT_SECTOR);
    if (offset <= at && at < offset + bytes.length) this.#isWritten = true;
    super.write(offset, bytes);
  }
}
