// list: prints the keys of a btree, or its nodes. Reads only. What is damaged is left out, reported on stderr, and makes the exit code 1.
// Mirrors src/commands/list.rs, v1.36.1; --fsck is the checker's.

import {
  CommandFailed,
  type Context,
  defineStreamCommand,
  devicesPositional,
  filesystemOptions,
  type Out,
  openForReading,
} from '@bcachefs-ts/command';
import {
  type Bpos,
  BTREE_MAX_DEPTH,
  type BtreeNode,
  type BtreeView,
  btrees,
  compareBpos,
  EMPTY_ROOT_PTR,
  emptyRootFill,
  type Filesystem,
  type Key,
  type KeyTextContext,
  keyJson,
  keyText,
  keyTypes,
  loadChecksums,
  type NodeFill,
  nodeFill,
  nodeFillText,
  nodeOndiskText,
  POS_MIN,
  PrintBuffer,
  quickKeyText,
  SPOS_MAX,
  UsageError,
  versionNumber,
  type WalkOptions,
} from '@bcachefs-ts/core/engine';
import { parsePosition } from '../position.ts';

/** One thing to print. */
export interface ListItem {
  text(): string;
  json(): object;
}

export const listCommand = defineStreamCommand({
  name: 'list',
  summary: 'Print the keys of a btree, or its nodes',
  description:
    'Prints every key of a btree in the order of positions, all snapshots, and for a filesystem that was not unmounted with what its ' +
    'journal would change. Nothing is written. Of several btrees each begins with a line that names it.\n\n' +
    'Nodes that cannot be read are reported on stderr and left out; faulty keys as well. The exit code is then 1.',
  examples: [
    { command: 'bcachefs list --btree=inodes disk.img', does: 'Prints all inodes' },
    {
      command: 'bcachefs list --btree=dirents --start=4096:0 --end=4097:0 disk.img',
      does: 'Prints what is in the root directory',
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
    fsck: { type: 'flag', alias: 'f', help: 'check the filesystem first (not in this version)' },
    verbose: { type: 'flag', alias: 'v', help: 'say on stderr what is read' },
    ...filesystemOptions,
  },
  async *run(context, args): AsyncGenerator<Printed> {
    if (args.fsck) throw new UsageError('checking is not in this version; list without it', '--fsck');
    await loadChecksums();
    const filesystem = await openForReading(context, args);
    try {
      if (args.verbose) describe(context, filesystem);
      let losses = 0;
      const onDamage: OnDamage = damage => {
        losses++;
        context.warn(damage.message);
      };
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
      filesystem.close();
    }
  },
  text(item, out) {
    out.line(colored(item.text(), out));
  },
  json: item => ('json' in item ? item.json() : {}),
});

type OnDamage = NonNullable<WalkOptions['onDamage']>;

/** Lines are made where text is wanted, for JSON there is only a ListItem. */
type Printed = ListItem | Pick<ListItem, 'text'>;

/** What to list. */
export interface ListRequest {
  readonly mode: 'keys' | 'formats' | 'nodes' | 'nodes-ondisk';
  readonly btree: BtreeView;
  readonly type: number | undefined;
  readonly level: number;
  readonly from: Bpos;
  readonly to: Bpos;
  /** How keys are printed; the filesystem's own way when it is left out. */
  readonly context?: KeyTextContext;
}

/** Printing key by key would cost as much as putting the text together. */
const BATCH_CHARACTERS = 64 * 1024;

/** The lines of keys, many at a time, without the last line break: those of `listItems`, in less time. @param onDamage called with each loss */
export function* keyLines(
  filesystem: Filesystem,
  { btree, type, level, from, to, context = filesystem.textContext() }: ListRequest,
  onDamage: OnDamage,
): Generator<string> {
  const quick = quickKeyText(context, 0);
  let batch = '';
  for (const key of btree.keys({ level, from, to, onDamage })) {
    if (type !== undefined && key.k.type !== type) continue;
    const text = quick.text(key) ?? plainKeyText(key, context);
    batch = batch === '' ? text : `${batch}\n${text}`;
    if (batch.length < BATCH_CHARACTERS) continue;
    yield batch;
    batch = '';
  }
  if (batch !== '') yield batch;
}

/** What `list` prints, one thing at a time. @param onDamage called with each loss */
export function* listItems(filesystem: Filesystem, request: ListRequest, onDamage: OnDamage): Generator<ListItem> {
  const { mode, btree, type, level, from, to } = request;
  const context = request.context ?? filesystem.textContext();
  if (mode === 'keys') {
    for (const key of btree.keys({ level, from, to, onDamage })) {
      if (type === undefined || key.k.type === type) yield keyItem(btree, level, key, context);
    }
    return;
  }
  const { nodeSectors } = filesystem.reader;
  if (btree.root === undefined && level === 0) {
    const fill = emptyRootFill(nodeSectors);
    if (mode === 'nodes') yield keyItem(btree, 1, EMPTY_ROOT_PTR, context);
    if (mode === 'formats') yield fillItem(btree, fill, EMPTY_ROOT_PTR, context);
    return;
  }
  for (const node of btree.nodes({ level, from, to, onDamage, parents: true })) {
    // The last node is the last one that ends inside of the range, as in the reference.
    if (compareBpos(node.facts.ptr.k.p, to) > 0) return;
    if (mode === 'nodes') yield keyItem(btree, node.facts.level + 1, node.facts.ptr, context);
    else if (mode === 'formats') yield fillItem(btree, nodeFill(node, nodeSectors), node.facts.ptr, context);
    else yield ondiskItem(btree, node, context);
  }
}

function keyItem(btree: BtreeView, level: number, key: Key, context: KeyTextContext): ListItem {
  return {
    text: () => plainKeyText(key, context),
    json: () => ({ btree: btree.name, level, ...plainKey(key, context) }),
  };
}

function plainKeyText(key: Key, context: KeyTextContext): string {
  const out = new PrintBuffer();
  keyText(out, key, context);
  return out.toString();
}

function fillItem(btree: BtreeView, fill: NodeFill, ptr: Key, context: KeyTextContext): ListItem {
  return {
    text: () => nodeFillText(fill, ptr, context),
    json: () => ({
      btree: btree.name,
      level: fill.level,
      ptr: plainKey(ptr, context),
      format: {
        key_u64s: fill.format.key_u64s,
        fields: fill.format.bits_per_field.map((bits, i) => ({ bits, offset: fill.format.field_offset[i] })),
      },
      bytes_used: 8 * fill.usedU64s,
      bytes_max: 8 * fill.maxU64s,
      packed_keys: fill.packed,
      unpacked_keys: fill.unpacked,
    }),
  };
}

function ondiskItem(btree: BtreeView, node: BtreeNode, context: KeyTextContext): ListItem {
  const { ptr, level, bsets, device, sector } = node.facts;
  return {
    text: () => nodeOndiskText(node, context),
    json: () => ({
      btree: btree.name,
      level,
      ptr: plainKey(ptr, context),
      device,
      sector,
      bsets: bsets.map(bset => ({
        offset_sectors: bset.offsetSectors,
        version: versionNumber(bset.version),
        journal_seq: bset.journalSeq,
        blacklisted: bset.blacklisted,
        keys: Array.from({ length: bset.keys.count }, (_, i) => plainKey(node.keyOf(bset.keys, i), context)),
      })),
    }),
  };
}

const plainKey = (key: Key, context: KeyTextContext): object => Object(keyJson(key, context));

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

/** A name of now or of earlier releases, or the number of a btree that has none here. */
function parseBtree(text: string): number {
  const row =
    btrees.byName(text) ?? btrees.rows.find(({ names }) => Object.values(names ?? {}).some(name => name === text));
  if (row !== undefined) return row.id;
  if (/^\d{1,2}$/.test(text) && Number(text) < 64) return Number(text);
  const known = btrees.rows.map(({ name }) => name).join(', ');
  throw new UsageError(`there is no btree called ${JSON.stringify(text)}, only ${known}`);
}

function parseKeyType(text: string): number {
  const row = keyTypes.byName(text);
  if (row !== undefined) return row.id;
  const known = keyTypes.rows.map(({ name }) => name).join(', ');
  throw new UsageError(`there is no key type called ${JSON.stringify(text)}, only ${known}`);
}
