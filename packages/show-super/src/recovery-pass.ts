// recovery-pass: which recovery passes the next mount runs, beside those that it runs anyway. They stand in the superblock's ext section.

import {
  allowMissingOption,
  defineCommand,
  devicesPositional,
  filesystemOptions,
  secondsOf,
  undoFileOption,
  withMembers,
} from '@bcachefs-ts/command';
import {
  editSuperblock,
  extOf,
  isKnownTo,
  nameAt,
  type PassName,
  passes,
  passMask,
  type Release,
  releaseForWriting,
  requiredPasses,
  type Superblock,
  UsageError,
  versionNumber,
  withPassesRequired,
} from '@bcachefs-ts/core/engine';

export const recoveryPassCommand = defineCommand({
  name: 'recovery-pass',
  summary: 'List, schedule or cancel recovery passes of the next mount',
  description:
    'Without options it lists the recovery passes that are scheduled: the next mount, or the next fsck, runs them, beside those that run ' +
    'every time. What is scheduled is kept until the pass has run. Nothing is written unless something changes.\n\n' +
    "Only passes that the filesystem's metadata version has can be named: " +
    'an older kernel would ignore others.',
  examples: [
    { command: 'bcachefs recovery-pass disk.img', does: 'Lists what is scheduled' },
    {
      command: 'bcachefs recovery-pass --set=check_topology,check_allocations disk.img',
      does: 'Lets the next mount run two more passes',
    },
    { command: 'bcachefs recovery-pass --unset=check_topology disk.img', does: 'Cancels one' },
  ],
  positionals: devicesPositional,
  options: {
    set: { ...namesOption(), alias: 's', help: 'schedule these, separated by commas' },
    unset: { ...namesOption(), alias: 'u', help: 'cancel these, separated by commas' },
    uuid: filesystemOptions.uuid,
    ...allowMissingOption,
    ...undoFileOption,
  },
  run(context, args) {
    const isEdit = args.set.length > 0 || args.unset.length > 0;
    return withMembers(context, args, { write: isEdit }, set => {
      let { sb } = set.newest;
      const release = releaseForWriting(sb.version);
      const [added, dropped] = [args.set, args.unset].map(lists => maskOf(lists.flat(), sb, release));
      const edit = (mask: bigint) => (mask & ~dropped!) | added!;
      const before = extOf(sb).recovery_passes_required[0]!;
      const isChanged = edit(before) !== before;
      if (isChanged) {
        sb = editSuperblock(set, edited => withPassesRequired(edited, edit), {
          now: secondsOf(context.date()),
          allowMissing: args.allow_missing,
        });
      }
      return {
        uuid: sb.user_uuid,
        members: set.members.map(({ device }) => device.name),
        isChanged,
        scheduled: requiredPasses(extOf(sb), release),
      };
    });
  },
  text({ scheduled }, out) {
    out.line(`Scheduled recovery passes: ${scheduled.length === 0 ? '(none)' : scheduled.join(',')}`);
  },
});

function namesOption() {
  return {
    type: 'string',
    value: 'NAMES',
    repeat: true,
    parse: (text: string) => text.split(',').map(passOf),
    hints: passes.rows.map(row => row.name),
  } as const;
}

/** By what any release calls it. */
function passOf(name: string): PassName {
  const row = passes.byName(name) ?? passes.rows.find(pass => nameAt('1.13', pass) === name);
  if (row !== undefined) return row.name;
  throw new UsageError(`there is no recovery pass ${JSON.stringify(name)}, expected some of: ${allNames()}`);
}

const allNames = (): string => passes.rows.map(({ name }) => name).join(', ');

/** @throws UsageError for passes that a kernel of the filesystem's version does not have */
function maskOf(names: readonly PassName[], sb: Superblock, release: Release): bigint {
  for (const name of names) {
    if (isKnownTo(release, passes.byName(name)!)) continue;
    throw new UsageError(`a filesystem of metadata version ${versionNumber(sb.version)} has no recovery pass ${name}`);
  }
  return passMask(names);
}
