// set-fs-option: changes options in the superblock of an unmounted filesystem, on all members at once.

import {
  allowMissingOption,
  CommandLineError,
  defineCommand,
  devicesPositional,
  type OptionSpec,
  type OptionSpecs,
  parseUuid,
  secondsOf,
  undoFileOption,
  valueHints,
  withMembers,
} from '@bcachefs-ts/command';
import {
  changeableOptions,
  editSuperblock,
  fsLabelBytes,
  isDeviceOption,
  isSameButForUuid,
  type MemberSet,
  type OptionRow,
  type OptionValue,
  optionAt,
  options,
  optionToText,
  parseOptionValue,
  type Release,
  randomUuid,
  releaseForWriting,
  type Superblock,
  systemRandom,
  UsageError,
  withDeviceOption,
  withFilesystemOption,
  withNewUuid,
} from '@bcachefs-ts/core/engine';

const RELEASES: readonly Release[] = ['1.13', '1.36', '1.39'];

/** Every option that some version can change; which of them a filesystem has is known only when it is open. */
const rows = options.rows.filter(row => RELEASES.some(release => changeableOptions(release).includes(row)));

function specOf(row: OptionRow): OptionSpec {
  const { type, scopes } = optionAt(row.until ?? '1.39', row);
  const heading = scopes.includes('device') ? 'Device options' : 'Filesystem options';
  const help = row.since === '1.13' ? row.help : `${row.help} (since ${row.since})`;
  if (type.kind === 'bool') return { type: 'boolean', help, heading };
  return {
    type: 'string',
    value: (row.hint ?? 'value').toUpperCase(),
    help,
    heading,
    ...valueHints(row, row.until ?? '1.39'),
  };
}

const optionSpecs: Record<never, OptionSpec> = Object.fromEntries(
  rows.map(row => [row.name, specOf(row)]),
) satisfies OptionSpecs;

/** One option that was given, as the user wrote its value. */
interface Wish {
  readonly row: OptionRow;
  readonly text: string;
}

export const setFsOptionCommand = defineCommand({
  name: 'set-fs-option',
  summary: 'Change options that are stored in the superblock',
  description:
    'Writes options into the superblocks of an unmounted filesystem: all copies on all members, which have to be named. ' +
    'Options of devices change on the members chosen with --dev_idx, else on all that are named. What the layout of the ' +
    'filesystem rests on (block size, btree node size, encryption) stays as format made it.\n\n' +
    '--uuid makes a copy of an image a filesystem of its own: with a new UUID both can be mounted at the same time. Name all ' +
    'members of the copy, and none of the original. If the power fails while several members get it, the same command again ends ' +
    'what was begun. Keys in the keyring of a kernel are found by the UUID: unlock an encrypted filesystem again afterwards.',
  examples: [
    {
      command: 'bcachefs set-fs-option --compression=zstd:3 --metadata_replicas=2 /dev/sda /dev/sdb',
      does: 'Changes two options',
    },
    {
      command: 'bcachefs set-fs-option --dev_idx=1 --durability=0 a.img b.img',
      does: 'Makes the second member a cache',
    },
    {
      command: 'bcachefs set-fs-option --label=ssd.fast --dev_idx=0 a.img b.img',
      does: 'Gives the first member a disk label',
    },
    { command: 'bcachefs set-fs-option --fs_label=backup disk.img', does: 'Changes the name of the filesystem' },
    {
      command: 'bcachefs set-fs-option --uuid=random copy.img',
      does: 'Makes a copy of an image distinct from the original',
    },
  ],
  positionals: devicesPositional,
  options: {
    dev_idx: {
      type: 'number',
      alias: 'd',
      min: 0,
      max: 255,
      repeat: true,
      help: 'member that device options are for; may be repeated',
    },
    fs_label: {
      type: 'string',
      alias: 'L',
      value: 'NAME',
      parse: parseFsLabel,
      heading: 'Identity',
      help: "name of the filesystem, at most 32 bytes; '' takes it away",
    },
    uuid: {
      type: 'string',
      alias: 'U',
      value: 'UUID|random',
      parse: parseNewUuid,
      heading: 'Identity',
      help: 'external UUID; what else a kernel tells copies of a filesystem apart by becomes new too',
    },
    ...allowMissingOption,
    ...undoFileOption,
    ...optionSpecs,
  },
  run(context, args) {
    const given = args as Readonly<Record<string, unknown>>;
    const wishes = rows.flatMap((row): Wish[] => {
      const value = given[row.name];
      return value === undefined
        ? []
        : [{ row, text: typeof value === 'boolean' ? String(Number(value)) : String(value) }];
    });
    const uuid = args.uuid === 'random' ? randomUuid(systemRandom) : args.uuid;
    const identity = [
      ...(args.fs_label === undefined ? [] : [{ name: 'fs_label', value: args.fs_label }]),
      ...(uuid === undefined ? [] : [{ name: 'uuid', value: uuid }]),
    ];
    if (wishes.length + identity.length === 0) throw new CommandLineError('no option to change was given');
    const identified = (sb: Superblock): Superblock => {
      const named = args.fs_label === undefined ? sb : { ...sb, label: fsLabelBytes(args.fs_label) };
      return uuid === undefined ? named : withNewUuid(named, uuid, systemRandom);
    };
    const change = (set: MemberSet) => {
      const release = releaseForWriting(set.newest.sb.version);
      const changes = wishes.map(({ row, text }) => ({ row, value: parseChange(row, text, release) }));
      const indexes = args.dev_idx.length > 0 ? args.dev_idx : set.members.map(member => member.sb.dev_idx);
      const sb = editSuperblock(
        set,
        edited => changes.reduce((next, change) => applied(next, change, release, indexes, set), identified(edited)),
        { now: secondsOf(context.date()), allowMissing: args.allow_missing },
      );
      return {
        uuid: sb.user_uuid,
        members: set.members.map(({ device }) => device.name),
        seq: sb.seq,
        changed: [
          ...identity,
          ...changes.map(({ row, value }) => ({
            name: row.name as string,
            value: optionToText(row, value, { choices: 'value' }),
          })),
        ],
      };
    };
    const isSame = uuid === undefined ? undefined : isSameButForUuid;
    return withMembers(context, { devices: args.devices, undo_file: args.undo_file }, { write: true, isSame }, change);
  },
  text({ changed, members }, out) {
    for (const { name, value } of changed) out.line(`${name}: ${value}`);
    out.line(`written to ${members.join(', ')}`);
  },
});

/** As text, once it is known to fit. */
function parseFsLabel(text: string): string {
  fsLabelBytes(text);
  return text;
}

function parseNewUuid(text: string): string {
  return text === 'random' ? text : parseUuid(text);
}

function parseChange(row: OptionRow, text: string, release: Release): OptionValue {
  if (!changeableOptions(release).includes(row)) {
    throw new UsageError(`cannot be changed in a filesystem of this version`, `--${row.name}`);
  }
  try {
    return parseOptionValue(row, text, release);
  } catch (thrown) {
    if (thrown instanceof UsageError) throw new UsageError(thrown.detail, `--${row.name}`);
    throw thrown;
  }
}

function applied(
  sb: Superblock,
  { row, value }: { readonly row: OptionRow; readonly value: OptionValue },
  release: Release,
  indexes: readonly number[],
  set: MemberSet,
): Superblock {
  if (isDeviceOption(row, release))
    return indexes.reduce((next, index) => withDeviceOption(next, index, row, value), sb);
  const devices = new Map(set.members.map(member => [member.device.name, member.sb.dev_idx]));
  return withFilesystemOption(sb, row, value, release, devices);
}
