// subvolume list-snapshots: the trees of snapshot nodes of a filesystem that is not mounted, with what each node keeps on disk by itself. Options
// and terms are the reference's (since 1.37): a node's own size is what only it and what was made from it later can see, its total what it
// reads from its ancestors as well.

import {
  bytesFields,
  bytesText,
  DamageLog,
  defineCommand,
  EXIT,
  filesystemOptions,
  filesystemWord,
  type Out,
  openForReading,
} from '@bcachefs-ts/command';
import {
  accounting,
  accountingPos,
  type Damage,
  type Filesystem,
  FileTree,
  keyTypes,
  loadChecksums,
  loadCompression,
  pathsOf,
  pathText,
  type SnapshotNode,
  type SnapshotTable,
  sectorsToBytes,
  versionOf,
} from '@bcachefs-ts/core/engine';

interface ListedNode extends SnapshotNode {
  readonly depth: number;
  /** Undefined where the filesystem does not count it. */
  readonly ownBytes: number | undefined;
  readonly totalBytes: number | undefined;
  /** Of the subvolume that lives in it, from the root; undefined when there is none, or no name leads to it. */
  readonly path: Uint8Array | undefined;
  readonly isReadOnly: boolean;
}

const SORTS = ['name', 'size', 'time'] as const;

export const subvolumeListSnapshotsCommand = defineCommand({
  name: 'list-snapshots',
  summary: 'List snapshot nodes and the space that each takes',
  description:
    'Draws the trees of snapshot nodes: subvolumes and their snapshots are leaves, and what they have in common belongs to nodes above ' +
    'them. Each line has the number of a node, the space of data that only it and what is below it keep, and the path of its subvolume.\n\n' +
    'With --flat one line for each subvolume: its own space, and in total what would be read through it, that of the nodes above it included.',
  examples: [
    { command: 'bcachefs subvolume list-snapshots disk.img', does: 'Draws the trees of snapshots' },
    {
      command: 'bcachefs subvolume list-snapshots --flat --sort=size disk.img',
      does: 'Lists subvolumes, the largest first',
    },
  ],
  positionals: filesystemWord,
  options: {
    flat: { type: 'flag', alias: 'f', help: 'subvolumes as a table, not a tree' },
    tree: { type: 'flag', alias: 't', conflictsWith: ['flat'], help: 'a tree, which is the default' },
    readonly: { type: 'flag', needs: ['flat'], help: 'read-only ones only' },
    sort: {
      type: 'choice',
      choices: SORTS,
      needs: ['flat'],
      help: 'by path, by total size or by age (default by number)',
    },
    ...filesystemOptions,
  },
  async run(context, args) {
    await loadChecksums();
    await loadCompression();
    const { filesystem: word, flat, readonly: readOnly, sort, tree: _, ...others } = args;
    const filesystem = await openForReading(context, { ...others, devices: [word] });
    try {
      const log = new DamageLog(context);
      const nodes = listedNodes(filesystem, log);
      log.finish();
      return { uuid: filesystem.sb.user_uuid, nodes, flat, readOnly, sort, damages: log.messages };
    } finally {
      filesystem.close();
    }
  },
  async text({ nodes, flat, readOnly, sort }, out) {
    if (!flat) printTree(nodes, out);
    else
      await printFlat(
        sorted(
          nodes.filter(each => each.subvolume !== 0 && (each.isReadOnly || !readOnly)),
          sort,
        ),
        out,
      );
  },
  json: ({ uuid, nodes, damages }) => ({ filesystem: uuid, nodes: nodes.map(nodeJson), damages }),
  exitCode: ({ damages }) => (damages.length > 0 ? EXIT.failed : EXIT.ok),
});

/** Each node before those below it, trees in the order of their numbers. */
function listedNodes(filesystem: Filesystem, log: DamageLog): readonly ListedNode[] {
  const { table } = FileTree.open(filesystem, { onDamage: log.onDamage });
  const own = snapshotBytes(filesystem, log.onDamage);
  const nodes = new Map(table.nodes().map(node => [node.id, node]));
  const below = new Map<number, SnapshotNode[]>();
  for (const node of nodes.values()) {
    // A parent's number is greater; an edge that breaks the rule is damage, and would let the walk below not end.
    const parent = node.parent > node.id && nodes.has(node.parent) ? node.parent : 0;
    below.set(parent, [...(below.get(parent) ?? []), node]);
  }
  const listed: ListedNode[] = [];
  const open = rootsOf(below, 0).map(node => ({ node, depth: 0, above: 0 }));
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const { node, depth, above } = next;
    const ownBytes = own === undefined ? undefined : (own.get(node.id) ?? 0);
    const totalBytes = ownBytes === undefined ? undefined : above + ownBytes;
    const subvolume = table.subvolume(node.subvolume);
    const path = subvolume === undefined ? undefined : subvolumePath(filesystem, table, node.subvolume, log);
    listed.push({ ...node, depth, ownBytes, totalBytes, path, isReadOnly: subvolume?.isReadOnly ?? false });
    open.push(...rootsOf(below, node.id).map(child => ({ node: child, depth: depth + 1, above: totalBytes ?? 0 })));
  }
  return listed;
}

/** In the order in which a stack gives them back: the oldest first, whose numbers are the greatest. */
const rootsOf = (below: ReadonlyMap<number, readonly SnapshotNode[]>, id: number): readonly SnapshotNode[] =>
  (below.get(id) ?? []).toSorted((a, b) => a.id - b.id);

function subvolumePath(
  filesystem: Filesystem,
  table: SnapshotTable,
  subvolume: number,
  { onDamage }: DamageLog,
): Uint8Array | undefined {
  const root = table.subvolume(subvolume)?.rootInode;
  if (root === undefined) return undefined;
  const tree = FileTree.open(filesystem, { subvolume, table, onDamage });
  const [found] = pathsOf(tree, root, { search: 'none' });
  return found?.isWhole ? found.path : undefined;
}

/** Data by snapshot node, as the filesystem counts it itself; undefined before it did. */
function snapshotBytes(
  filesystem: Filesystem,
  onDamage: (damage: Damage) => void,
): ReadonlyMap<number, number> | undefined {
  const { version } = filesystem.sb;
  if (version < versionOf('disk_accounting_v2')) return undefined;
  const bytes = new Map<number, number>();
  for (const { k, value } of filesystem.btree('accounting').keys({ onDamage })) {
    if (k.type !== keyTypes.idOf('accounting')) continue;
    const counted = accountingPos(k.p, { version });
    if (counted.type !== 'snapshot') continue;
    bytes.set(counted.id, sectorsToBytes(Number(accounting.decode(value).counters[0] ?? 0n)));
  }
  return bytes;
}

function sorted(nodes: readonly ListedNode[], sort: (typeof SORTS)[number] | undefined): readonly ListedNode[] {
  const text = ({ path }: ListedNode) => (path === undefined ? '' : pathText(path));
  if (sort === 'name') return nodes.toSorted((a, b) => (text(a) < text(b) ? -1 : 1));
  if (sort === 'size') return nodes.toSorted((a, b) => (b.totalBytes ?? 0) - (a.totalBytes ?? 0));
  return nodes.toSorted((a, b) => a.subvolume - b.subvolume);
}

const sizeText = (bytes: number | undefined): string => (bytes === undefined ? '-' : bytesText(bytes));

function nameText({ path, subvolume, state }: ListedNode): string {
  const gone = state === undefined || state === 'live' ? '' : ` [${state}]`;
  if (path !== undefined) return `${pathText(path)}${gone}`;
  return subvolume === 0 ? `(shared)${gone}` : `subvolume ${subvolume}, no name leads to it${gone}`;
}

function printTree(nodes: readonly ListedNode[], out: Out): void {
  const leads: string[] = [];
  for (const [nr, node] of nodes.entries()) {
    const { depth } = node;
    const after = nodes.slice(nr + 1).find(other => other.depth <= depth);
    const isLast = after === undefined || after.depth < depth;
    leads.length = Math.max(0, depth - 1);
    const lead = depth === 0 ? '' : leads.join('') + (isLast ? '└── ' : '├── ');
    if (depth > 0) leads.push(isLast ? '    ' : '│   ');
    out.line(`${lead}${node.id}  ${sizeText(node.ownBytes)}  ${nameText(node)}${node.isReadOnly ? ' (ro)' : ''}`);
  }
}

async function printFlat(nodes: readonly ListedNode[], out: Out): Promise<void> {
  const rows = nodes.map(node => [
    nameText(node),
    `${node.subvolume}`,
    `${node.id}`,
    sizeText(node.ownBytes),
    sizeText(node.totalBytes),
    node.isReadOnly ? 'ro' : '-',
  ]);
  await out.table({ head: ['path', 'id', 'snapshot', 'own', 'total', 'flags'], rows, align: 'lrrrrl' });
}

function nodeJson({ path, ...node }: ListedNode): object {
  return {
    id: node.id,
    parent: node.parent,
    children: node.children,
    subvol: node.subvolume,
    tree: node.tree,
    state: node.state ?? null,
    own_bytes: node.ownBytes ?? null,
    total_bytes: node.totalBytes ?? null,
    read_only: node.isReadOnly,
    ...(path === undefined ? {} : bytesFields('path', path)),
  };
}
