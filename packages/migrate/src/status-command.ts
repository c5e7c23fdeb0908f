// migrate status: in which state of a migration a device is, and what can be done about it.

import { bytesText, defineCommand, runSteps } from '@bcachefs-ts/command';
import { printable } from '@bcachefs-ts/core/engine';
import { devicePositional, withOpen } from './manners.ts';
import { planRollback, type RollbackPlan } from './rollback.ts';
import { lostText } from './rollback-command.ts';
import { type MigrationState, migrationState } from './state.ts';

interface Status {
  readonly device: string;
  readonly state: MigrationState;
  readonly rollback: RollbackPlan | undefined;
}

export const migrateStatusCommand = defineCommand({
  name: 'status',
  summary: 'Say in which state of a migration a device is',
  description: 'Reads only. For one that is migrated and not finished it says whether a rollback is possible.',
  examples: [{ command: 'bcachefs migrate status migrated.img', does: 'Says what is on it, and what can be done' }],
  positionals: devicePositional,
  options: {},
  async run(context, { device: path }): Promise<Status> {
    return await withOpen(
      path,
      false,
      device => device,
      async device => {
        const state = migrationState(device);
        if (state.kind !== 'migrated') return { device: path, state, rollback: undefined };
        const task = context.progress.start({ what: 'looking whether ext4 is whole', unit: '%', total: 100 });
        const rollback = await runSteps(planRollback(device, state), share => task.at(Math.floor(100 * share)));
        task.end();
        return { device: path, state, rollback };
      },
    );
  },
  text(status, out) {
    for (const line of linesOf(status)) out.line(line);
  },
  json: ({ device, state, rollback }) => ({
    device,
    state: state.kind,
    mark: 'mark' in state ? state.mark : 'none',
    uuid: 'sb' in state ? state.sb.user_uuid : null,
    rollback_possible: rollback === undefined ? null : rollback.lost === undefined,
    lost: rollback?.lost ?? null,
  }),
});

function linesOf({ device, state, rollback }: Status): readonly string[] {
  const name = printable(device);
  switch (state.kind) {
    case 'ext4':
      return [`${name}: ext4, not migrated`];
    case 'none':
      return [`${name}: neither ext4 nor bcachefs`];
    case 'interrupted':
      return [
        `${name}: ext4, marked read-only by a migration or a rollback that was cut off; its files are all there`,
        `bcachefs migrate rollback ${name} takes the mark away; then it can be migrated again`,
      ];
    case 'elsewhere':
      return [
        `${name}: a bcachefs whose superblock is not at its usual place, and which this program has not migrated`,
      ];
    case 'bcachefs':
      return state.hasExt4Magic
        ? [`${name}: bcachefs, of which finishing was cut off`, `bcachefs migrate finish ${name} completes it`]
        : [`${name}: bcachefs; a migration, if there was one, is finished`];
    case 'migrated': {
      const lines = [
        `${name}: migrated to bcachefs (UUID ${state.sb.user_uuid}), not finished; mount it with -t bcachefs`,
      ];
      if (state.mark !== 'closed')
        lines.push(
          'ext4 is not closed yet, since the migration was cut off: do not mount it as ext4; finish or roll back',
        );
      if (rollback?.lost !== undefined) lines.push(lostText(rollback.lost).replace('; nothing was written', ''));
      else if (rollback !== undefined)
        lines.push(
          `all ${bytesText(rollback.usedBytes)} that ext4 uses are where they were: bcachefs migrate rollback ${name} goes back`,
        );
      lines.push(`bcachefs migrate finish ${name} ends the migration`);
      return lines;
    }
  }
}
