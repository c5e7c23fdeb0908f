// migrate finish: bcachefs at its usual place, and no ext4 any more. The reference's migrate-superblock.

import { defineCommand, runSteps, secondsOf, undoWrap } from '@bcachefs-ts/command';
import {
  type BlockDevice,
  declaredCompressionTypes,
  filesystemOf,
  loadCompression,
  openMembers,
  printable,
  systemRandom,
  UsageError,
} from '@bcachefs-ts/core/engine';
import { IMAGE_PATH } from './build.ts';
import { finishSteps } from './finish.ts';
import { askOptions, carryOut, devicePositional, type Planned, plannedOutput, withOpen } from './manners.ts';
import { type MigrationState, migrationState } from './state.ts';

export const migrateFinishCommand = defineCommand({
  name: 'finish',
  summary: 'End a migration: the superblocks go to their usual places, and ext4 is gone',
  description:
    'What lies where superblocks belong is moved, the superblocks are written there, and the magic of ext4 is erased, so that everybody finds bcachefs only. ' +
    'Each step leaves a filesystem that mounts; if it is stopped, the same again completes it. There is no way back to ext4 afterwards but an undo file.\n\n' +
    `/${IMAGE_PATH} then holds nothing that is needed: deleting it (chattr -i first) frees its space.`,
  examples: [{ command: 'bcachefs migrate finish -y migrated.img', does: 'Ends the migration' }],
  positionals: devicePositional,
  options: askOptions,
  async run(context, args): Promise<Planned> {
    return await withOpen(args.device, !args.dry_run, undoWrap(context, args), async device => {
      const state = migrationState(device);
      refuse(device, state);
      const name = printable(device.name);
      const lines = [
        `${name}: the superblocks of bcachefs go to the start of the device, and what is there is moved`,
        'ext4 is erased: there is no way back to it',
      ];
      const asked = {
        device: args.device,
        lines,
        planJson: { state: state.kind },
        question: `Finish the migration of ${name}?`,
      };
      return await carryOut(context, args, asked, async () => {
        await loadCompression(declaredCompressionTypes(filesystemOf(openMembers([device])).sb));
        const now = secondsOf(context.date());
        const task = context.progress.start({ what: 'moving what is in the way', unit: 'commits' });
        const { movedSectors, commits } = await runSteps(
          finishSteps(device, { random: systemRandom, now: () => now }),
          () => task.advance(1),
        );
        task.end();
        return {
          results: [`${name} is bcachefs only; /${IMAGE_PATH} can be deleted (chattr -i first)`],
          resultJson: { moved: movedSectors * 512, commits },
        };
      });
    });
  },
  ...plannedOutput,
});

function refuse(device: BlockDevice, state: MigrationState): void {
  if (state.kind === 'migrated' || (state.kind === 'bcachefs' && state.hasExt4Magic)) return;
  const why = {
    ext4: 'it is ext4, and no migration has begun on it',
    interrupted: 'the migration was cut off before it counted: bcachefs migrate rollback takes the mark away',
    bcachefs: 'it is a bcachefs with its superblock at the usual place: there is nothing to finish',
    elsewhere: 'it is a bcachefs that this program has not migrated',
    none: 'there is neither ext4 nor bcachefs on it',
  }[state.kind];
  throw new UsageError(`${device.name}: ${why}`);
}
