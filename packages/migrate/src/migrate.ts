// The steps of a migration. Up to the commit everything that is written goes into blocks that ext4 has free: a crash leaves ext4 as it was. The
// commit is one sector, the superblock layout, which leads to the new superblocks; before it, everything was read back and compared.

import {
  type BlockDevice,
  filledContents,
  MemoryDevice,
  planContents,
  type RandomSource,
  readBytes,
  SB_LAYOUT_SECTOR,
  type Superblock,
  sectorsToBytes,
  writeLayout,
  writeSuperblocks,
} from '@bcachefs-ts/core/engine';
import type { Ext4 } from '@bcachefs-ts/ext4';
import { type BuildCounts, buildFiles } from './build.ts';
import { type LaidBytes, LaidDevice, writeMark } from './mark.ts';
import type { MigrationPlan } from './plan.ts';
import { KEPT_BYTES, writeRecords } from './record.ts';
import { verifySteps } from './verify.ts';

export interface MigrateRequest {
  readonly random: RandomSource;
  readonly nowNs: bigint;
  readonly verifiesData: boolean;
  readonly dropsLargeXattrs: boolean;
  /** Changed keys that make a commit: see BatchedEditOptions. */
  readonly changesMax?: number;
  onAdopted?(bytes: number): void;
}

/** What a step was part of. */
export type MigratePhase = 'build' | 'verify';

export interface Migrated {
  readonly sb: Superblock;
  readonly counts: BuildCounts;
}

/** The new filesystem is not what ext4 is: nothing was committed. */
export class NotEqualError extends Error {
  override readonly name = 'NotEqualError';
  constructor(readonly problems: readonly string[]) {
    super(`the new filesystem is not what it should be, nothing was committed: ${problems[0]}`);
  }
}

/**
 * Builds, verifies and commits.
 * @param device ext4's, open for writing and for nothing else
 * @throws NoSpaceError, InputError, DeviceError, NotEqualError: ext4 is then what it was
 */
export function* migrateSteps(
  device: BlockDevice,
  ext4: Ext4,
  plan: MigrationPlan,
  request: MigrateRequest,
): Generator<MigratePhase, Migrated, void> {
  const { random, nowNs, verifiesData, dropsLargeXattrs, changesMax } = request;
  const { format, room, usage, isExcluded } = plan;
  const start = readBytes(device, 0, KEPT_BYTES);
  const empty = planContents(format, [device], { random, now: nowNs, isExcluded });
  let counts: BuildCounts | undefined;
  const contents = filledContents(format, [device], empty, {
    random,
    now: nowNs,
    isExcluded,
    usesReserve: true,
    ...(changesMax === undefined ? {} : { changesMax }),
    *fill(edit) {
      counts = yield* buildFiles(edit, {
        ext4,
        map: usage.map,
        device,
        blockBytes: plan.blockBytes,
        bucketBytes: room.bucketBytes,
        tailStart: room.tailStart,
        nowNs,
        dropsLargeXattrs,
        ...(request.onAdopted === undefined ? {} : { onAdopted: request.onAdopted }),
      });
    },
  });
  const steps = contents.write();
  let step = steps.next();
  for (; !step.done; step = steps.next()) yield 'build';
  const members = step.value;
  const { sb } = members[0]!; // there is one device
  writeSuperblocks(members);
  writeRecords(device, sb, start);
  device.flush();

  const migrated = new LaidDevice(device, [layoutOnTop(sb)]);
  const verifying = verifySteps({ ext4, migrated, data: verifiesData, dropsLargeXattrs });
  let verified = verifying.next();
  for (; !verified.done; verified = verifying.next()) yield 'verify';
  if (verified.value.length > 0) throw new NotEqualError(verified.value);

  commit(device, sb);
  return { sb, counts: counts! }; // it was filled
}

/** Three sectors, each flushed: ext4 is for reading only, bcachefs is there, ext4 is closed. */
export function commit(device: BlockDevice, sb: Superblock): void {
  writeMark(device, 'closing');
  writeLayout(device, sb.layout);
  device.flush();
  writeMark(device, 'closed');
}

/** The sector that leads to superblocks which are not at the usual place, as it will be. */
export function layoutOnTop({ layout }: Pick<Superblock, 'layout'>): LaidBytes {
  const at = sectorsToBytes(SB_LAYOUT_SECTOR);
  const memory = new MemoryDevice(at + sectorsToBytes(1));
  writeLayout(memory, layout);
  return { at, bytes: readBytes(memory, at, sectorsToBytes(1)) };
}
