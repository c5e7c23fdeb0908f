// What a new filesystem is filled with: the options that say it, and the source that they mean, looked at once before anything is written.

import {
  bytesText,
  type Context,
  type FileCounts,
  type OptionSpecs,
  type Owner,
  parseOwner,
} from '@bcachefs-ts/command';
import { type BatchedEdit, printable, printableBytes, roundUp, UsageError } from '@bcachefs-ts/core/engine';
import type { SourceEntry, SourceFile, SourceTree } from '@bcachefs-ts/sources';
import {
  exclusion,
  HOLE_BYTES,
  openSource,
  ownerMapper,
  parseSubvolumes,
  populate,
  SubvolumeFinder,
  type UpdateReport,
  type UpdateSession,
  updateFiles,
} from '@bcachefs-ts/sources';
import { MIN } from './options.ts';

const HEADING = 'Files to put into it';

export const sourceOptions = {
  source: {
    type: 'string',
    value: 'DIR|TAR|EXT4|-',
    file: true,
    heading: HEADING,
    help: 'fill it with the files of a directory, a tar archive (also packed by gzip, zstd or xz), or an ext2, ext3 or ext4 image or device; - for an archive on standard input',
  },
  owner: {
    type: 'string',
    value: 'UID:GID',
    parse: parseOwner,
    heading: HEADING,
    needs: ['source'],
    help: 'all files belong to this user and group',
  },
  uid_map: {
    type: 'string',
    value: 'FROM:TO:COUNT',
    repeat: true,
    heading: HEADING,
    needs: ['source'],
    help: 'users FROM to FROM+COUNT-1 become TO to TO+COUNT-1, in ACLs too',
  },
  gid_map: {
    type: 'string',
    value: 'FROM:TO:COUNT',
    repeat: true,
    heading: HEADING,
    needs: ['source'],
    help: 'the same for groups',
  },
  exclude: {
    type: 'string',
    value: 'PATTERN',
    repeat: true,
    heading: HEADING,
    needs: ['source'],
    help: "leave out what matches, with all below it: a name ('*.o') or a path from the root ('var/cache/**')",
  },
  subvol: {
    type: 'string',
    value: 'PATH[:ro]',
    repeat: true,
    heading: HEADING,
    needs: ['source'],
    help: 'make the directory a subvolume, read-only with :ro',
  },
} as const satisfies OptionSpecs;

export interface SourceArgs {
  readonly owner: Owner | undefined;
  readonly uid_map: readonly string[] | undefined;
  readonly gid_map: readonly string[] | undefined;
  readonly exclude: readonly string[] | undefined;
  readonly subvol: readonly string[] | undefined;
}

/** How much there is in a source. */
export interface SourceSize {
  /** Entries of all kinds, hard links as well. */
  readonly entries: number;
  /** Of regular files, with their holes. */
  readonly bytes: number;
  /** Of what is data in them, in whole blocks of 4 KiB; 0 where it was not counted. */
  readonly blockBytes: number;
  /** Of extended attributes. */
  readonly xattrBytes: number;
}

/** What is to be known of a source before it is used. */
export interface SourceNeeds {
  /** `size` says how much of the files is data, for which large ones are read. */
  readonly data?: boolean;
  /** For `update`: the further names of files. */
  readonly links?: boolean;
}

export class FileSource {
  readonly size: SourceSize;
  readonly #tree: SourceTree;
  readonly #entries: () => Iterable<SourceEntry>;
  readonly #args: SourceArgs;
  readonly #context: Context;
  readonly #needs: SourceNeeds;
  readonly #linkPaths = new Map<number, Uint8Array[]>();

  private constructor(context: Context, args: SourceArgs, tree: SourceTree, needs: SourceNeeds) {
    this.#needs = needs;
    this.#context = context;
    this.#args = args;
    this.#tree = tree;
    const mapped = ownerMapper({ owner: args.owner, uidMaps: args.uid_map, gidMaps: args.gid_map });
    this.#entries = function* () {
      for (const entry of tree.entries()) yield mapped(entry);
    };
    this.size = this.#measure();
  }

  /**
   * Opens a source and goes through it once, so that what is wrong with it or with the options is known before anything is overwritten.
   * @param omit files of the host that are being written to, in case that the source holds them
   * @throws DeviceError, UsageError
   */
  static async open(
    context: Context,
    path: string,
    args: SourceArgs,
    { omit, ...needs }: { omit: readonly string[] } & SourceNeeds,
  ): Promise<FileSource> {
    const tree = await openSource(path, {
      isExcluded: exclusion(args.exclude ?? []),
      onNotice: ({ path: at, text }) => context.warn(`${printableBytes(at) || '/'}: ${text}`),
      omit,
    });
    try {
      return new FileSource(context, args, tree, needs);
    } catch (thrown) {
      tree.close();
      throw thrown;
    }
  }

  /** Step by step. @param fixedTimeNs see PopulateOptions @returns what was put into the filesystem */
  *fill(edit: BatchedEdit, fixedTimeNs: bigint | undefined): Generator<void, FileCounts, void> {
    const what = `putting ${printable(this.#tree.name)} into the filesystem`;
    const task = this.#context.progress.start({ what, unit: 'bytes', total: this.size.bytes });
    const counts = yield* populate(edit, this.#entries(), {
      subvolumes: parseSubvolumes(this.#args.subvol ?? []),
      fixedTimeNs,
      onBytes: count => task.advance(count),
      onCopiedLink: path =>
        this.#context.warn(
          `${printableBytes(path)}: hard links cannot lead into another subvolume, it is copied there`,
        ),
    });
    task.end();
    return counts;
  }

  /** Step by step. Opened with `links`. @param fixedTimeNs as for `fill` @returns what was done to the filesystem */
  *update(
    session: UpdateSession,
    fixedTimeNs: bigint | undefined,
    trustsTimes: boolean,
  ): Generator<void, UpdateReport, void> {
    const what = `comparing ${printable(this.#tree.name)} with the image`;
    const task = this.#context.progress.start({ what, unit: 'bytes', total: this.size.bytes });
    const report = yield* updateFiles(session, this.#entries(), {
      subvolumes: parseSubvolumes(this.#args.subvol ?? []),
      fixedTimeNs,
      trustsTimes,
      linkPaths: linkId => this.#linkPaths.get(linkId) ?? [],
      onBytes: count => task.advance(count),
      onCopiedLink: path =>
        this.#context.warn(
          `${printableBytes(path)}: a hard link cannot lead into another subvolume, or a directory with other options; it is copied there`,
        ),
    });
    task.end();
    return report;
  }

  close(): void {
    this.#tree.close();
  }

  #noteLink(linkId: number, path: Uint8Array): void {
    const known = this.#linkPaths.get(linkId);
    if (known === undefined) this.#linkPaths.set(linkId, [path]);
    else known.push(path);
  }

  #measure(): SourceSize {
    const task = this.#context.progress.start({ what: `looking at ${printable(this.#tree.name)}`, unit: 'files' });
    const subvolumes = new SubvolumeFinder(parseSubvolumes(this.#args.subvol ?? []));
    const size = { entries: 0, bytes: 0, blockBytes: 0, xattrBytes: 0 };
    for (const entry of this.#entries()) {
      subvolumes.find(entry);
      size.entries++;
      task.advance(1);
      if (entry.type === 'link') {
        if (this.#needs.links) this.#noteLink(entry.linkId, entry.path);
        continue;
      }
      if (entry.type === 'file') {
        size.bytes += entry.sizeBytes;
        if (this.#needs.data) size.blockBytes += dataBytes(entry);
      }
      for (const { name, value } of entry.xattrs) size.xattrBytes += name.length + value.length;
    }
    subvolumes.checkAllFound();
    task.end();
    return size;
  }
}

/** Up to here a file counts as data: opening and reading all small ones twice would take longer than filling from them. */
const LOOKED_INTO_BYTES = 2 ** 20;

/**
 * What of a file is data. It goes by the contents and not by the holes that the host has: the same files have to give the same image from
 * wherever they come.
 */
function dataBytes(file: SourceFile): number {
  if (file.sizeBytes <= LOOKED_INTO_BYTES) return roundUp(file.sizeBytes, HOLE_BYTES);
  let sum = 0;
  for (const chunk of file.chunks()) if (chunk.kind === 'data') sum += roundUp(chunk.length, HOLE_BYTES);
  return sum;
}

/** Keys of an entry with nothing in it: inode, name, and what is kept of where they are. */
const ENTRY_BYTES = 1024;
/** Extents are at most so long when they are compressed or checksummed. */
const EXTENT_BYTES = 128 * 1024;
/** Keys of an extent and its backpointers. */
const EXTENT_KEY_BYTES = 256;
/** Bytes that these files take at the most in a filesystem, when nothing of them is compressed. */
export function bytesNeeded(
  { entries, blockBytes, xattrBytes }: SourceSize,
  replicas: { data: number; metadata: number },
) {
  const keys = entries * ENTRY_BYTES + (blockBytes / EXTENT_BYTES) * EXTENT_KEY_BYTES + xattrBytes * 2;
  return Math.ceil(blockBytes * replicas.data + keys * replicas.metadata);
}

/** @throws UsageError when files are sure not to fit: incompressible or not, their names and inodes take room */
export function checkRoom({ entries, bytes }: SourceSize, totalBytes: number): void {
  const least = entries * LEAST_ENTRY_BYTES;
  if (least <= totalBytes) return;
  throw new UsageError(
    `${entries} files of ${bytesText(bytes)} do not fit into ${bytesText(totalBytes)}; --fs_size=${MIN} makes room for them`,
  );
}
const LEAST_ENTRY_BYTES = 150;
