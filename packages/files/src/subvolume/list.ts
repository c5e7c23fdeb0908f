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
  readonly damages: readonly string[];
}

export const subvolumeListCommand = defineCommand({
  name: 'list',
  summary: 'List subvolumes and snapshots',
  description:
    'By number, with the snapshot node that each reads its files in, when it was made, and its path from the root.',
  examples: [{ command: 'bcachefs subvolume list disk.img', does: 'Lists all subvolumes' }],
  positionals: filesystemWord,
  options: filesystemOptions,
  async run(context, args): Promise<Listing> {
    await loadChecksums();
    const { filesystem: word, ...others } = args;
    const filesystem = await openForReading(context, { ...others, devices: [word] });
    try {
      await loadCompression(declaredCompressionTypes(filesystem.sb));
      const log = new DamageLog(context);
      const subvolumes = listed(filesystem, log);
      log.finish();
      return { uuid: filesystem.sb.user_uuid, subvolumes, damages: log.messages };
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

async function printListing({ subvolumes }: Listing, out: Out): Promise<void> {
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
