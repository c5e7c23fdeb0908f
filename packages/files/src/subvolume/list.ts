// subvolume list: the subvolumes of a filesystem that is not mounted, with their paths, by number.

import {
  bytesFields,
  DamageLog,
  defineCommand,
  filesystemOptions,
  filesystemWord,
  type Out,
  openForReading,
} from '@bcachefs-ts/command';
import {
  areEqual,
  compareBytes,
  declaredCompressionTypes,
  type Filesystem,
  FileTree,
  loadChecksums,
  loadCompression,
  pathsOf,
  pathText,
  type SubvolumeEntry,
} from '@bcachefs-ts/core/engine';
import { timeText } from '../entry-text.ts';

interface Listed extends SubvolumeEntry {
  /** From the root; undefined when no directory leads to it. */
  readonly path: Uint8Array | undefined;
}

interface Listing {
  readonly uuid: string;
  readonly subvolumes: readonly Listed[];
  readonly isTree: boolean;
  readonly damages: readonly string[];
}

export const subvolumeListCommand = defineCommand({
  name: 'list',
  summary: 'List subvolumes and snapshots',
  description:
    'By number, with the snapshot node that each reads its files in, when it was made, and its path from the root.',
  examples: [
    { command: 'bcachefs subvolume list disk.img', does: 'Lists all subvolumes' },
    { command: 'bcachefs subvolume list --tree disk.img', does: 'Draws which of them lie in which' },
  ],
  positionals: filesystemWord,
  options: {
    tree: { type: 'flag', help: 'draw them as a tree, by where their directories are' },
    ...filesystemOptions,
  },
  async run(context, args): Promise<Listing> {
    await loadChecksums();
    const { filesystem: word, tree: isTree, ...others } = args;
    const filesystem = await openForReading(context, { ...others, devices: [word] });
    try {
      await loadCompression(declaredCompressionTypes(filesystem.sb));
      const log = new DamageLog(context);
      const subvolumes = listed(filesystem, log);
      log.finish();
      return { uuid: filesystem.sb.user_uuid, subvolumes, isTree, damages: log.messages };
    } finally {
      filesystem.close();
    }
  },
  text: printListing,
  json: ({ uuid, subvolumes, damages }) => ({ filesystem: uuid, subvolumes: subvolumes.map(subvolumeJson), damages }),
  exitCode: ({ damages }) => (damages.length > 0 ? 1 : 0),
});

function listed(filesystem: Filesystem, { onDamage }: DamageLog): readonly Listed[] {
  const { table } = FileTree.open(filesystem, { onDamage });
  return table.subvolumes().map(entry => {
    const tree = FileTree.open(filesystem, { subvolume: entry.id, table, onDamage });
    const [found] = pathsOf(tree, entry.rootInode, { search: 'none' });
    return { ...entry, path: found?.isWhole ? found.path : undefined };
  });
}

async function printListing({ subvolumes, isTree }: Listing, out: Out): Promise<void> {
  if (isTree) {
    for (const line of treeLines(subvolumes)) out.line(line);
    return;
  }
  const rows = subvolumes.map(({ id, snapshot, isReadOnly, isSnapshot, creationParent, createdNs, path }) => [
    `${id}`,
    `${snapshot}`,
    isReadOnly ? 'ro' : 'rw',
    isSnapshot ? `of ${creationParent}` : '-',
    createdNs === undefined ? '-' : timeText(createdNs, { fraction: false }),
    path === undefined ? '(no name leads to it)' : pathText(path),
  ]);
  await out.table({ head: ['id', 'snapshot', '', 'made', 'created', 'path'], rows, align: 'rrllll' });
}

/** Each below the one whose path is the longest beginning of its own; those that no name leads to come last. */
function treeLines(subvolumes: readonly Listed[]): readonly string[] {
  const lines: string[] = [];
  const stack: { readonly path: Uint8Array; readonly branches: Branch[] }[] = [];
  const roots: Branch[] = [];
  const placed = subvolumes.flatMap(entry => (entry.path === undefined ? [] : [{ entry, path: entry.path }]));
  for (const { entry, path } of placed.toSorted((a, b) => compareBytes(byParts(a.path), byParts(b.path)))) {
    const open = stack.findLastIndex(({ path: above }) => isBelow(path, above));
    stack.length = open + 1;
    const above = stack.at(-1);
    const branches: Branch[] = [];
    const name =
      above === undefined || above.path.length === 0 ? pathText(path) : pathText(path.subarray(above.path.length));
    (above?.branches ?? roots).push({ text: `${name}  ${aboutText(entry)}`, branches });
    stack.push({ path, branches });
  }
  for (const entry of subvolumes) {
    if (entry.path === undefined) roots.push({ text: `(no name leads to it)  ${aboutText(entry)}`, branches: [] });
  }
  // The next one to draw is the last.
  const ahead = roots.map(branch => ({ branch, first: '', lead: '' })).toReversed();
  for (let next = ahead.pop(); next !== undefined; next = ahead.pop()) {
    const { branch, first, lead } = next;
    lines.push(first + branch.text);
    const { branches } = branch;
    for (const [nr, below] of [...branches.entries()].toReversed()) {
      const isLast = nr === branches.length - 1;
      ahead.push({
        branch: below,
        first: `${lead}${isLast ? '└── ' : '├── '}`,
        lead: `${lead}${isLast ? '    ' : '│   '}`,
      });
    }
  }
  return lines;
}

interface Branch {
  readonly text: string;
  readonly branches: Branch[];
}

const SLASH = 0x2f;
/** What is in a directory comes before names that go on after its own. */
const byParts = (path: Uint8Array): Uint8Array => path.map(byte => (byte === SLASH ? 0 : byte));
const isBelow = (path: Uint8Array, above: Uint8Array): boolean =>
  above.length === 0 ||
  (path.length > above.length && path[above.length] === SLASH && areEqual(path.subarray(0, above.length), above));

function aboutText({ id, isReadOnly, isSnapshot, creationParent }: Listed): string {
  const words = [`subvolume ${id}`];
  if (isSnapshot) words.push(`snapshot of ${creationParent}`);
  if (isReadOnly) words.push('read-only');
  return `(${words.join(', ')})`;
}

function subvolumeJson({ path, ...entry }: Listed): object {
  return {
    id: entry.id,
    ...(path === undefined ? {} : bytesFields('path', path)),
    parent: entry.fsPathParent,
    snapshot: entry.snapshot,
    root_inode: entry.rootInode,
    read_only: entry.isReadOnly,
    ...(entry.isSnapshot ? { snapshot_of: entry.creationParent } : {}),
    created_ns: entry.createdNs === undefined ? null : `${entry.createdNs}`,
  };
}
