// list: prints the keys of a btree, or its nodes. Reads only. What is damaged is left out, reported on stderr, and makes the exit code 1.
// With --fsck it is repaired in memory first. Mirrors src/commands/list.rs, v1.36.1.

import {
  atOption,
  CommandFailed,
  type Context,
  defineStreamCommand,
  devicesPositional,
  filesystemOptions,
  type Out,
  openForReading,
  secondsOf,
} from '@bcachefs-ts/command';
import {
  BTREE_MAX_DEPTH,
  btrees,
  declaredCompressionTypes,
  type Filesystem,
  FilesystemWriter,
  keyLines,
  keyTypes,
  type ListItem,
  listItems,
  loadChecksums,
  loadCompression,
  type OnDamage,
  OverlayDevice,
  openMembers,
  POS_MIN,
  parseBtree,
  parseKeyType,
  parsePosition,
  Reporter,
  recover,
  rewoundFilesystem,
  SPOS_MAX,
  systemRandom,
  UsageError,
} from '@bcachefs-ts/core/engine';

export const listCommand = defineStreamCommand({
  name: 'list',
  summary: 'Print the keys of a btree, or its nodes',
  description:
    'Prints every key of a btree in the order of positions, of all snapshots. If the filesystem was not unmounted, the changes in its journal ' +
    'are included. With --fsck the keys are those that fsck -y would leave. Nothing is written. Of several btrees each begins with a line ' +
    'that names it.\n\n' +
    'Nodes that cannot be read and faulty keys are reported on stderr and left out; the exit code is then 1.',
  examples: [
    { command: 'bcachefs list --btree=inodes disk.img', does: 'Prints all inodes' },
    {
      command: 'bcachefs list --btree=dirents --start=4096:0 --end=4097:0 disk.img',
      does: 'Prints what is in the root directory',
    },
    {
      command: 'bcachefs list --fsck --btree=dirents disk.img',
      does: 'Prints the names that a repair would leave, and repairs nothing',
    },
    { command: 'bcachefs list --btree=all disk.img', does: 'Prints the keys of all btrees, one after the other' },
    {
      command: 'bcachefs list --mode=nodes --btree=extents sda.img:sdb.img',
      does: 'Prints where the leaves of a btree are',
    },
    {
      command: "bcachefs list --btree=inodes --json disk.img | jq -c 'select(.value)'",
      does: 'Prints one JSON object for each key',
    },
  ],
  positionals: devicesPositional,
  options: {
    mode: {
      type: 'choice',
      alias: 'm',
      choices: ['keys', 'formats', 'nodes', 'nodes-ondisk'],
      default: 'keys',
      help: 'what to print: keys; how nodes pack their keys and how full they are; pointers to nodes; everything in the nodes as it is on disk',
    },
    btree: {
      type: 'string',
      alias: 'b',
      value: 'NAMES',
      parse: parseBtrees,
      hints: ['all', ...btrees.rows.map(row => row.name)],
      help: 'the btree, several with commas between them, or all: extents when it is not given',
    },
    bkey_type: {
      type: 'string',
      alias: 'k',
      value: 'NAME',
      parse: parseKeyType,
      hints: keyTypes.rows.map(row => row.name),
      help: 'print keys of this type only',
    },
    level: {
      type: 'number',
      alias: 'l',
      min: 0,
      max: BTREE_MAX_DEPTH - 1,
      default: 0,
      help: 'level of the btree; 0 are the leaves',
    },
    start: {
      type: 'string',
      alias: 's',
      value: 'POS',
      parse: parsePosition,
      help: 'first position, INODE:OFFSET[:SNAPSHOT]',
    },
    end: { type: 'string', alias: 'e', value: 'POS', parse: parsePosition, help: 'last position' },
    fsck: { type: 'flag', alias: 'f', help: 'check and repair the filesystem first, in memory only' },
    at: { ...atOption.at, heading: 'Options', conflictsWith: ['fsck'] },
    verbose: { type: 'flag', alias: 'v', help: 'say on stderr what is read' },
    ...filesystemOptions,
  },
  async *run(context, args): AsyncGenerator<Printed> {
    await loadChecksums();
    const opened = await openForReading(context, args);
    try {
      let losses = 0;
      const onDamage: OnDamage = damage => {
        losses++;
        context.warn(damage.message);
      };
      if (args.at !== undefined && args.mode !== 'keys') {
        throw new UsageError('nodes are there as they are now: only keys can be gone back to', '--at');
      }
      const present = args.fsck ? await repairedInMemory(context, opened) : opened;
      const filesystem = args.at === undefined ? present : rewoundFilesystem(present, args.at, onDamage);
      if (args.verbose) describe(context, filesystem);
      const wanted = args.btree === 'all' ? allBtrees(filesystem) : (args.btree ?? [0]);
      for (const id of wanted) {
        const request = {
          mode: args.mode,
          btree: filesystem.btree(id),
          type: args.bkey_type,
          level: args.level,
          from: args.start ?? POS_MIN,
          to: args.end ?? SPOS_MAX,
        };
        if (wanted.length > 1 && !context.json) yield { text: () => `btree ${request.btree.name}:` };
        if (args.mode !== 'keys' || context.json) yield* listItems(filesystem, request, onDamage);
        else for (const lines of keyLines(filesystem, request, onDamage)) yield { text: () => lines };
      }
      if (losses > 0) {
        throw new CommandFailed(
          `${losses} ${losses === 1 ? 'part' : 'parts'} of ${wanted.length === 1 ? 'the btree' : 'the btrees'} could not be read as they should be`,
        );
      }
    } finally {
      opened.close();
    }
  },
  text(item, out) {
    out.line(colored(item.text(), out));
  },
  json: item => ('json' in item ? item.json() : {}),
});

/** The filesystem as fsck -y would leave it; the devices stay as they are. */
async function repairedInMemory(context: Context, { set, sb, key }: Filesystem): Promise<Filesystem> {
  await loadCompression(declaredCompressionTypes(sb));
  const members = openMembers(set.members.map(({ device }) => new OverlayDevice(device)));
  const now = secondsOf(context.date());
  const writer = new FilesystemWriter(members, { random: systemRandom, now: () => now, key, isRepair: true });
  const reporter = new Reporter({ policy: { kind: 'yes' }, shownPerError: 1, onFinding: () => {} });
  recover(writer, { reporter });
  const { foundCount: found, fixedCount: fixed } = reporter;
  if (found > 0)
    context.warn(`${found} ${found === 1 ? 'error' : 'errors'} found, ${fixed} repaired in memory: fsck -n lists them`);
  return writer.filesystem;
}

/** Lines are made where text is wanted, for JSON there is only a ListItem. */
type Printed = ListItem | Pick<ListItem, 'text'>;

/** Type and position of a key stand out; nothing changes where colour is not wanted. */
function colored(text: string, { color }: Out): string {
  if (color.bold('') === '' && color.bold('x') === 'x') return text;
  return text.replace(
    /^(\s*)u64s (\d+) type (\S+) (\S+)/gm,
    (_, indent: string, u64s: string, type: string, pos: string) =>
      `${indent}u64s ${u64s} type ${color.cyan(type)} ${color.yellow(pos)}`,
  );
}

function describe(context: Context, filesystem: Filesystem): void {
  const { set, replay } = filesystem;
  for (const { device, sb } of set.members) context.warn(`member ${sb.dev_idx}: ${device.name}, superblock ${sb.seq}`);
  const count = replay.overlay.size;
  const state = {
    clean: 'clean: roots from the superblock',
    journal: `not unmounted: roots from the journal up to entry ${replay.lastSeq}, ${count} positions laid over the btrees`,
    uninitialized: 'never mounted: it has no btrees yet',
  };
  context.warn(state[replay.from]);
}

/** Those that this version knows, and others that the filesystem has. */
function allBtrees(filesystem: Filesystem): readonly number[] {
  const known = btrees.rows.map(({ id }) => id);
  return [...known, ...[...filesystem.replay.roots.keys()].filter(id => !known.includes(id)).sort((a, b) => a - b)];
}

function parseBtrees(text: string): 'all' | readonly number[] {
  return text === 'all' ? 'all' : text.split(',').map(parseBtree);
}
