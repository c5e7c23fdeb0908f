// Trees that no kernel would make and no image could hold, to be restored.

import { HostCallError, loadNativeCalls, type NativeCalls } from '@bcachefs-ts/command';
import type { ExtendedAttribute, FileChunk, FileStat } from '@bcachefs-ts/core/engine';
import { PathFilter } from '../../packages/files/src/filter.ts';
import { Destination } from '../../packages/files/src/restore/destination.ts';
import { OpenFolders } from '../../packages/files/src/restore/folder.ts';
import { Report } from '../../packages/files/src/restore/report.ts';
import { Restore } from '../../packages/files/src/restore/restore.ts';
import type { RestoreSource, SourceItem } from '../../packages/files/src/restore/source.ts';
import { type RestoreIdentity, RestoreState } from '../../packages/files/src/restore/state.ts';

export interface Fake {
  readonly name: string | Uint8Array;
  /** What names of one file share. */
  readonly file?: string;
  readonly uid?: number;
  readonly xattrs?: readonly ExtendedAttribute[];
  readonly type?: FileStat['type'];
  readonly data?: string;
  readonly mode?: number;
  readonly inside?: readonly Fake[];
}
export interface FakeNode {
  readonly inum: bigint;
  readonly subvolume: number;
  readonly snapshot: number;
  readonly fake: Fake;
}

export const encode = (text: string | Uint8Array): Uint8Array =>
  typeof text === 'string' ? new TextEncoder().encode(text) : text;

/**
 * A tree of whatever entries, also those that cannot be.
 * @param onChunks called before the data of a file is given: the file is made by then, and has neither attributes nor its name
 * @param onXattrs called when its data is written, or all in the folder is
 */
export function fakeSource(
  inside: readonly Fake[],
  onChunks: (name: string) => void = () => {},
  onXattrs: (name: string) => void = () => {},
): RestoreSource<FakeNode> {
  let inum = 4096n;
  const shared = new Map<string, bigint>();
  const nodeOf = (fake: Fake): FakeNode => {
    const nr = (fake.file === undefined ? undefined : shared.get(fake.file)) ?? inum++;
    if (fake.file !== undefined) shared.set(fake.file, nr);
    return { inum: nr, subvolume: 1, snapshot: 1, fake };
  };
  function* walk(
    node: FakeNode,
    path: Uint8Array,
    depth: number,
    entry: SourceItem<FakeNode>['entry'],
    descend: () => boolean,
  ): Generator<SourceItem<FakeNode>> {
    yield { path, depth, entry, node };
    if (node.fake.type !== 'dir' || !descend()) return;
    for (const fake of node.fake.inside ?? []) {
      const name = encode(fake.name);
      const inner = path.length === 0 ? name : Buffer.concat([path, Buffer.from('/'), name]);
      yield* walk(nodeOf(fake), inner, depth + 1, { name }, descend);
    }
  }
  return {
    walk: ({ descend }) => walk(nodeOf({ name: '', type: 'dir', inside }), new Uint8Array(0), 0, undefined, descend),
    orphans: () => [],
    xattrs: ({ fake }) => {
      onXattrs(String(fake.name));
      return fake.xattrs ?? [];
    },
    stat: ({ inum: ino, fake }) => ({
      ino, subvolume: 1, type: fake.type ?? 'reg', mode: fake.mode ?? (fake.type === 'dir' ? 0o755 : 0o644), uid: fake.uid ?? process.geteuid?.() ?? 0,
      gid: process.getegid?.() ?? 0, nlink: fake.file === undefined ? 1 : 9, sizeBytes: BigInt(encode(fake.data ?? '').length), blocks: 8n, rdev: undefined, atimeNs: 5n,
      mtimeNs: 1_700_000_000_123_456_789n, ctimeNs: 0n, btimeNs: 0n, projectId: 0, flags: 0, generation: 0,
    }), // biome-ignore format: a record
    *chunks({ fake }): Generator<FileChunk> {
      onChunks(String(fake.name));
      const bytes = encode(fake.data ?? '');
      if (bytes.length > 0) yield { kind: 'data', offset: 0, length: bytes.length, bytes };
    },
  };
}

const identity: RestoreIdentity = {
  filesystem: 'x', sequence: 1, subvolume: 1, snapshot: 1, paths: [], include: [], exclude: [], orphans: false,
}; // biome-ignore format: a record

export interface FakeOptions {
  readonly merge?: boolean;
  readonly usesDescriptors?: boolean;
  readonly native?: NativeCalls | undefined;
  readonly folders?: OpenFolders;
}

/** What a host has that allows nothing. */
export const crippled: NativeCalls = {
  setTimes: () => refuse('EPERM'),
  setXattr: () => refuse('EOPNOTSUPP'),
  removeXattr: () => refuse('EOPNOTSUPP'),
  makeNode: () => refuse('EPERM'),
  xattrNames: () => [],
  xattr: () => undefined,
  nextData: () => refuse('EINVAL'),
  nextHole: () => refuse('EINVAL'),
  punchHole: () => refuse('EINVAL'),
};

function refuse(code: string): never {
  throw new HostCallError(code, 'test');
}

export async function restoreInto(
  path: string,
  source: RestoreSource<FakeNode>,
  options: FakeOptions = {},
): Promise<Report> {
  const { merge = false, usesDescriptors = true, folders: given } = options;
  const native = 'native' in options ? options.native : loadNativeCalls();
  const report = new Report({ listsAll: false });
  const user = { uid: process.geteuid?.() ?? 0, gid: process.getegid?.() ?? 0 };
  const folders = given ?? new OpenFolders(usesDescriptors && process.platform === 'linux');
  const destination = new Destination(path, { merge, native, user, folders });
  const state = destination.isResumed
    ? RestoreState.resume(destination.work, identity, 'out')
    : RestoreState.begin(destination.work, identity);
  const filter = new PathFilter({ paths: [], include: [], exclude: [] });
  try {
    await new Restore({
      source, filter, destination, state, report, native, user, ignoreErrors: false, merge, orphansFolder: undefined, onBytes: () => {},
    }).run(); // biome-ignore format: a record
  } finally {
    state.close();
    destination.close();
  }
  return report;
}
