// Migrations of ext4 images in memory, the same each time.

import { type BlockDevice, seededRandom } from '@bcachefs-ts/core/engine';
import { openExt4 } from '@bcachefs-ts/ext4';
import { finishSteps, migrateSteps, migrationState, planMigration, rollBack, unmark } from '@bcachefs-ts/migrate';

const NOW = 1_700_000_000_000_000_000n;

/** Runs steps to their end. */
export function allOf<T>(steps: Generator<unknown, T, void>): T {
  for (;;) {
    const { done, value } = steps.next();
    if (done) return value;
  }
}

export function migrateIt(device: BlockDevice): void {
  const ext4 = openExt4(device);
  const random = seededRandom('migrate');
  const plan = planMigration(device, ext4, ext4.usage(), {
    options: new Map(),
    nowNs: NOW,
    random,
    accepts: { casefold: false, verity: false, largeXattrs: false },
  });
  allOf(
    migrateSteps(device, ext4, plan, {
      random,
      nowNs: NOW,
      verifiesData: false,
      dropsLargeXattrs: false,
      changesMax: 500,
    }),
  );
}

export const finishIt = (device: BlockDevice) =>
  allOf(finishSteps(device, { random: seededRandom('finish'), now: () => NOW / 1_000_000_000n }));

/** Or takes away the mark of what was cut off. */
export function rollItBack(device: BlockDevice): void {
  const state = migrationState(device);
  if (state.kind === 'interrupted') unmark(device);
  if (state.kind === 'migrated') rollBack(device, state);
}
