// reset-counters: sets the persistent counters of an unmounted filesystem back to zero.

import {
  allowMissingOption,
  defineCommand,
  devicesPositional,
  filesystemOptions,
  secondsOf,
  undoFileOption,
  withMembers,
} from '@bcachefs-ts/command';
import { type CounterName, counters, editSuperblock, UsageError, withCountersReset } from '@bcachefs-ts/core/engine';

export const resetCountersCommand = defineCommand({
  name: 'reset-counters',
  summary: 'Set the counters in the superblock back to zero',
  description:
    'Zeroes what `show-super --fields=counters` prints, all of it or the counters that are named, on every member.',
  examples: [
    { command: 'bcachefs reset-counters disk.img', does: 'Zeroes all counters' },
    { command: 'bcachefs reset-counters --counters=data_read,data_write disk.img', does: 'Zeroes two of them' },
  ],
  positionals: devicesPositional,
  options: {
    counters: {
      type: 'string',
      alias: 'c',
      value: 'NAMES',
      parse: parseNames,
      hints: counters.rows.map(row => row.name),
      help: 'only these, separated by commas',
    },
    uuid: filesystemOptions.uuid,
    ...allowMissingOption,
    ...undoFileOption,
  },
  run(context, args) {
    return withMembers(context, args, { write: true }, set => {
      const sb = editSuperblock(set, edited => withCountersReset(edited, args.counters), {
        now: secondsOf(context.date()),
        allowMissing: args.allow_missing,
      });
      return {
        uuid: sb.user_uuid,
        members: set.members.map(({ device }) => device.name),
        counters: args.counters ?? null,
      };
    });
  },
  text({ members, counters: names }, out) {
    out.line(`${names === null ? 'all counters' : names.join(', ')} set to zero on ${members.join(', ')}`);
  },
});

function parseNames(text: string): readonly CounterName[] {
  return text.split(',').map(name => {
    const row =
      counters.byName(name) ?? counters.rows.find(({ names }) => names?.['1.36'] === name || names?.['1.13'] === name);
    if (row === undefined)
      throw new UsageError(`there is no counter ${JSON.stringify(name)}; show-super --fields=counters lists them`);
    return row.name;
  });
}
