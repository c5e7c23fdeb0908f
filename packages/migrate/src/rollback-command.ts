// migrate rollback: ext4 as it was, where bcachefs has not moved or freed any of its blocks.

import { bytesText, defineCommand, runSteps, undoWrap } from '@bcachefs-ts/command';
import { type BlockDevice, printable, UsageError } from '@bcachefs-ts/core/engine';
import { askOptions, carryOut, devicePositional, type Planned, plannedOutput, withOpen } from './manners.ts';
import { type LostBlocks, planRollback, rollBack, unmark } from './rollback.ts';
import { type MigrationState, migrationState } from './state.ts';

export const migrateRollbackCommand = defineCommand({
  name: 'rollback',
  summary: 'Go back to ext4 after a migration',
  description:
    'Possible as long as the migration is not finished and bcachefs has every block of ext4 where it was: deleting or overwriting old files, ' +
    'and what a kernel moves to make room, end it. All of that is looked at first; then three sectors are put back.\n\n' +
    'What was written to bcachefs since the migration is lost. After a migration or a rollback that was cut off, this takes away the mark that ext4 has.',
  examples: [
    { command: 'bcachefs migrate rollback -n migrated.img', does: 'Says whether it is possible' },
    { command: 'bcachefs migrate rollback -y migrated.img', does: 'Makes it ext4 again' },
  ],
  positionals: devicePositional,
  options: askOptions,
  async run(context, args): Promise<Planned> {
    return await withOpen(args.device, !args.dry_run, undoWrap(context, args), async device => {
      const state = migrationState(device);
      const name = printable(device.name);
      if (state.kind === 'interrupted') {
        const lines = [
          `${name}: a migration or a rollback was cut off; ext4 is there and marked, the mark is taken away`,
        ];
        const asked = {
          device: args.device,
          lines,
          planJson: { state: state.kind, lost: null },
          question: `Take the mark away from ${name}?`,
        };
        return await carryOut(context, args, asked, async () => {
          unmark(device);
          return { results: [`${name} is ext4 again`], resultJson: { is_ext4: true } };
        });
      }
      if (state.kind !== 'migrated') throw refusal(device, state);
      const task = context.progress.start({ what: 'looking whether ext4 is whole', unit: '%', total: 100 });
      const plan = await runSteps(planRollback(device, state), share => task.at(Math.floor(100 * share)));
      task.end();
      if (plan.lost !== undefined) throw new UsageError(`${device.name}: ${lostText(plan.lost)}`);
      const lines = [
        `${name}: all ${bytesText(plan.usedBytes)} that ext4 uses are where they were`,
        'what was written to bcachefs since the migration is lost',
      ];
      const planJson = { state: state.kind, used: plan.usedBytes, lost: null };
      const asked = { device: args.device, lines, planJson, question: `Make ${name} ext4 again?` };
      return await carryOut(context, args, asked, async () => {
        rollBack(device, state);
        return { results: [`${name} is ext4 again, as it was before the migration`], resultJson: { is_ext4: true } };
      });
    });
  },
  ...plannedOutput,
});

export function lostText({ bytes, paths }: LostBlocks): string {
  const files =
    paths.length === 0
      ? 'of its metadata'
      : `of ${paths.slice(0, 3).join(', ')}${paths.length > 3 ? ' and others' : ''}`;
  return (
    `bcachefs has moved or freed ${bytesText(bytes)} that ext4 uses, ${files}: ext4 is not whole any more, so there is no way back; ` +
    'nothing was written (migrate finish ends the migration)'
  );
}

function refusal(
  device: BlockDevice,
  { kind }: Exclude<MigrationState, { kind: 'migrated' | 'interrupted' }>,
): UsageError {
  const why = {
    ext4: 'it is ext4, and no migration has begun on it',
    bcachefs: 'the migration is finished, or it was never one: there is no way back but an undo file (bcachefs undo)',
    elsewhere:
      'it is a bcachefs that this program has not migrated, or what rollback needs was lost: an undo file brings ext4 back',
    none: 'there is neither ext4 nor bcachefs on it',
  }[kind];
  return new UsageError(`${device.name}: ${why}`);
}
