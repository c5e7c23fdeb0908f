// du: what files, directories and subvolumes take, and how much of it would become free with them.

import {
  atOption,
  bytesFields,
  bytesText,
  type Context,
  DamageLog,
  defineCommand,
  EXIT,
  filesystemWord,
  lookUp,
  type OpenedTree,
  type Out,
  openTree,
  treeOptions,
} from '@bcachefs-ts/command';
import {
  FileSpace,
  FileTree,
  pathsOf,
  pathText,
  printableBytes,
  type Space,
  sectorsToBytes,
} from '@bcachefs-ts/core/engine';
import { type DuRow, duOf, largestFirst, takenSectors } from './sums.ts';

interface OfSubvolume {
  /** 0 for what none sees. */
  readonly id: number;
  readonly path: Uint8Array | undefined;
  readonly space: Space;
}

interface Sums {
  readonly uuid: string;
  readonly found: { readonly root: DuRow } | { readonly subvolumes: readonly OfSubvolume[] };
  readonly isTree: boolean;
  readonly damages: readonly string[];
}

export const duCommand = defineCommand({
  name: 'du',
  summary: 'Say what files and directories take, and what is theirs alone',
  description:
    'Sums up the data of a directory, of each directory in it (--depth for those below), and with --all of each file, largest first. All ' +
    'sizes are of copies on the devices: exclusive is what only one file in one subvolume uses; shared is what snapshots, clones or other ' +
    'places in the same file use as well, and counts in each of them. The last columns are the data as files have it, without holes, and how much smaller ' +
    'compression makes what it was tried on.\n\n' +
    '--by_subvolume sums up each subvolume and snapshot instead, in one walk over all extents; what none of them sees any more is kept by ' +
    'the snapshot that they come from. A file with several names counts once. ' +
    'Metadata, parity of stripes and cached copies do not count. Nothing but keys is read.',
  examples: [
    { command: 'bcachefs du disk.img', does: 'Sums up the directories of the root' },
    { command: 'bcachefs du --tree --depth=3 disk.img home', does: 'Draws three levels below home' },
    { command: 'bcachefs du --by_subvolume disk.img', does: 'Says what each snapshot holds that no other does' },
    { command: "bcachefs du --json disk.img | jq '.sums.exclusive'", does: 'Prints the bytes that nothing shares' },
  ],
  positionals: {
    ...filesystemWord,
    path: { count: 'optional', inside: 'all', bytes: true, help: 'where to begin; the root' },
  },
  options: {
    depth: {
      type: 'number',
      value: 'N',
      min: 0,
      max: 64,
      default: 1,
      help: 'list so many directories below each other',
    },
    all: { type: 'flag', alias: 'a', help: 'list files too' },
    tree: { type: 'flag', help: 'draw a tree' },
    by_subvolume: {
      type: 'flag',
      conflictsWith: ['tree', 'all', 'subvolume', 'snapshot'],
      help: 'sum up subvolumes and snapshots',
    },
    ...treeOptions,
    ...atOption,
  },
  async run(context: Context, { path: typed, depth, all, tree: isTree, by_subvolume, ...args }): Promise<Sums> {
    const log = new DamageLog(context);
    const opened = await openTree(context, args, log.onDamage);
    const task = context.progress.start({ what: 'adding up', unit: by_subvolume ? 'subvolumes' : 'files' });
    try {
      const { tree, filesystem } = opened;
      let found: Sums['found'];
      if (by_subvolume) found = { subvolumes: bySubvolume(opened, log) };
      else {
        const { node, path } = lookUp(tree, typed ?? '/');
        const options = { depthMax: depth, all, onDamage: log.onDamage, step: () => task.advance(1) };
        found = { root: duOf(opened, node, path, options) };
      }
      log.finish();
      return { uuid: filesystem.sb.user_uuid, found, isTree, damages: log.messages };
    } finally {
      task.end();
      opened.close();
    }
  },
  async text({ found, isTree }, out) {
    if ('subvolumes' in found) await printSubvolumes(found.subvolumes, out);
    else await printRows(found.root, isTree, out);
  },
  json: ({ uuid, found, damages }) => ({
    filesystem: uuid,
    ...('root' in found ? { sums: rowJson(found.root) } : { subvolumes: found.subvolumes.map(subvolumeJson) }),
    damages,
  }),
  exitCode: ({ damages }) => (damages.length > 0 ? EXIT.failed : EXIT.ok),
});

function bySubvolume({ filesystem, tree }: OpenedTree, { onDamage }: DamageLog): readonly OfSubvolume[] {
  const { table } = tree;
  const spaces = new FileSpace(filesystem, table, onDamage).bySubvolume();
  return [...spaces].map(([id, space]) => {
    const entry = table.subvolume(id);
    if (entry === undefined) return { id, path: undefined, space };
    const own = FileTree.open(filesystem, { subvolume: id, table, onDamage });
    const [found] = pathsOf(own, entry.rootInode, { search: 'none' });
    return { id, path: found?.isWhole ? found.path : undefined, space };
  });
}

const HEAD = ['exclusive', 'shared', 'data', 'saved'];

async function printSubvolumes(subvolumes: readonly OfSubvolume[], out: Out): Promise<void> {
  const rows = subvolumes.map(({ id, path, space }) => [
    ...cellsOf(space),
    id === 0 ? '-' : `${id}`,
    path === undefined ? (id === 0 ? '(no subvolume sees it)' : '(no name leads to it)') : pathText(path),
  ]);
  await out.table({ head: [...HEAD, 'id', 'path'], rows, align: 'rrrrrl' });
}

async function printRows(root: DuRow, isTree: boolean, out: Out): Promise<void> {
  const rows: string[][] = [[...cellsOf(root.space), pathText(root.path)]];
  const add = (above: DuRow, lead: string): void => {
    const below = largestFirst(above.rows);
    for (const [nr, row] of below.entries()) {
      const isLast = nr === below.length - 1;
      const name = isTree ? `${lead}${isLast ? '└── ' : '├── '}${printableBytes(row.name)}` : pathText(row.path);
      rows.push([...cellsOf(row.space), name]);
      add(row, `${lead}${isLast ? '    ' : '│   '}`);
    }
  };
  add(root, '');
  await out.table({ head: [...HEAD, 'path'], rows, align: 'rrrrl' });
}

function cellsOf({ exclusiveSectors, sharedSectors, dataSectors, ...rest }: Space): string[] {
  const { uncompressedSectors: before, compressedSectors: after } = rest;
  const size = (sectors: number) => bytesText(sectorsToBytes(sectors));
  const saved = before === 0 ? '-' : `${Math.round(100 * (1 - after / before))}%`;
  return [size(exclusiveSectors), size(sharedSectors), size(dataSectors), saved];
}

const spaceJson = (space: Space): object => ({
  exclusive: sectorsToBytes(space.exclusiveSectors),
  shared: sectorsToBytes(space.sharedSectors),
  taken: sectorsToBytes(takenSectors(space)),
  data: sectorsToBytes(space.dataSectors),
  uncompressed: sectorsToBytes(space.uncompressedSectors),
  compressed: sectorsToBytes(space.compressedSectors),
});

const rowJson = ({ path, isDirectory, files, space, rows }: DuRow): object => ({
  ...bytesFields('path', path),
  directory: isDirectory,
  ...spaceJson(space),
  ...(isDirectory ? { files, entries: largestFirst(rows).map(rowJson) } : {}),
});

const subvolumeJson = ({ id, path, space }: OfSubvolume): object => ({
  id: id === 0 ? null : id,
  ...(path === undefined ? {} : bytesFields('path', path)),
  ...spaceJson(space),
});
