// A directory of the host as a source. Names are bytes; the names of the directories on the way from the root are held, as text of a byte a
// character, until each is done. Hard links are known by device and inode number, which are held until all names of a file were seen:
// of files that have names outside of the tree, to the end.
//
// A file must stay as it is while it is read: that its size and time of change are the same before and after is checked, and whatever
// else the system refuses ends the reading with the file's name. Permissions are the host's: without root, files of others may be closed.

import { type BigIntStats, lstatSync, readdirSync, readlinkSync, statSync } from 'node:fs';
import { hostIdentity, loadNativeCalls, type NativeCalls, SteadyFile } from '@bcachefs-ts/command';
import {
  compareBytes,
  DeviceError,
  type DeviceErrorKind,
  type ExtendedAttribute,
  isStorableXattr,
  printableBytes,
  splitDeviceNumber,
  UsageError,
} from '@bcachefs-ts/core/engine';
import { fileChunks, type Region } from './file-chunks.ts';
import {
  type EntryAttributes,
  type EntryPlace,
  latin1Bytes,
  NoticeBoard,
  type SourceChunk,
  type SourceEntry,
  type SourceOptions,
  type SourceTree,
} from './source.ts';

export interface DirectoryOptions extends SourceOptions {
  /** Leave out what is in directories that other filesystems are mounted on. Else all is taken. */
  readonly oneFilesystem?: boolean | undefined;
  /** Files of the host that are left out wherever they are met: what is being written to. Those that do not exist do not matter. */
  readonly omit?: readonly string[] | undefined;
  /** The system's calls; undefined to do without. Default: those of this machine. */
  readonly native?: NativeCalls | undefined;
}

/** @throws DeviceError, UsageError when it is not a directory */
export function openDirectory(path: string, options: DirectoryOptions = {}): SourceTree {
  const root = asError(
    () => path,
    'looking at it',
    () => statSync(path, { bigint: true }),
  );
  if (!root.isDirectory()) throw new UsageError(`${path} is not a directory`, '--source');
  return new DirectorySource(path, options, 'native' in options ? options.native : loadNativeCalls());
}

/** A directory that is being gone through: names that are left, the next one last. */
interface OpenDirectory {
  /** With a slash at the end; latin1. */
  readonly hostPath: string;
  readonly path: string;
  readonly names: string[];
}

/** A file with several names, until all of them were seen. */
interface Linked {
  readonly linkId: number;
  namesLeft: number;
}

class DirectorySource implements SourceTree {
  readonly name: string;
  readonly #options: DirectoryOptions;
  readonly #native: NativeCalls | undefined;
  readonly #notices: NoticeBoard;
  /** Each byte as a character. */
  readonly #hostRoot: string;

  constructor(path: string, options: DirectoryOptions, native: NativeCalls | undefined) {
    this.name = path;
    this.#options = options;
    this.#native = native;
    this.#notices = new NoticeBoard(options);
    this.#hostRoot = `${Buffer.from(path).toString('latin1').replace(/\/+$/, '')}/`;
  }

  *entries(): Generator<SourceEntry> {
    const { isExcluded, oneFilesystem = false, omit = [] } = this.#options;
    const omitted = new Set(omit.flatMap(identityIfThere));
    const linked = new Map<string, Linked>();
    const open: OpenDirectory[] = [];
    let linkIds = 0;
    // With its slash the path leads through a symlink that is the root itself.
    const root = this.#stat(this.#hostRoot, '', statSync);
    yield { type: 'dir', ...this.#place('', 0), ...this.#attributes(this.#hostRoot, '', root) };
    open.push(this.#list(this.#hostRoot, ''));
    for (;;) {
      const directory = open.at(-1);
      if (directory === undefined) return;
      const name = directory.names.pop();
      if (name === undefined) {
        open.pop();
        continue;
      }
      const hostPath = directory.hostPath + name;
      const path = directory.path + name;
      const place = this.#place(path, open.length);
      if (isExcluded?.(place.path) === true) continue;
      const stat = this.#stat(hostPath, path, lstatSync);
      if (stat.isDirectory()) {
        yield { type: 'dir', ...place, ...this.#attributes(hostPath, path, stat) };
        const isMountPoint = oneFilesystem && stat.dev !== root.dev;
        if (isMountPoint) this.#notices.report('mount', place.path, 'another filesystem: what is in it is left out');
        else open.push(this.#list(`${hostPath}/`, `${path}/`));
        continue;
      }
      if (omitted.size > 0 && omitted.has(hostIdentity(stat))) {
        this.#notices.report('omit', place.path, 'left out: it is being written to');
        continue;
      }
      let linkId: number | undefined;
      if (stat.nlink > 1n) {
        const id = hostIdentity(stat);
        const known = linked.get(id);
        if (known !== undefined) {
          if (--known.namesLeft === 0) linked.delete(id);
          yield { type: 'link', linkId: known.linkId, ...place };
          continue;
        }
        linkId = linkIds++;
        linked.set(id, { linkId, namesLeft: Number(stat.nlink) - 1 });
      }
      yield this.#entry(hostPath, path, place, stat, linkId);
    }
  }

  close(): void {}

  #entry(
    hostPath: string,
    path: string,
    place: EntryPlace,
    stat: BigIntStats,
    linkId: number | undefined,
  ): SourceEntry {
    // An object that is spread first, with more after it, takes five times as long.
    const common = { linkId, ...place, ...this.#attributes(hostPath, path, stat) };
    if (stat.isFile()) {
      if (stat.size > BigInt(Number.MAX_SAFE_INTEGER))
        throw new UsageError(`${this.#text(path)}: ${stat.size} bytes are more than can be stored`, '--source');
      const sizeBytes = Number(stat.size);
      return { type: 'file', sizeBytes, chunks: () => this.#chunks(hostPath, path, stat), ...common };
    }
    if (stat.isSymbolicLink()) {
      const target = this.#try(path, 'reading the link', () => readlinkSync(Buffer.from(hostPath, 'latin1'), 'buffer'));
      return { type: 'symlink', target: new Uint8Array(target), ...common };
    }
    if (stat.isCharacterDevice() || stat.isBlockDevice())
      return { type: stat.isBlockDevice() ? 'blk' : 'chr', rdev: splitDeviceNumber(stat.rdev), ...common };
    if (stat.isFIFO()) return { type: 'fifo', ...common };
    if (stat.isSocket()) return { type: 'sock', ...common };
    throw new UsageError(
      `${this.#text(path)}: of a type that is not known (mode ${stat.mode.toString(8)})`,
      '--source',
    );
  }

  #place(path: string, depth: number): EntryPlace {
    const bytes = latin1Bytes(path);
    return { path: bytes, name: bytes.subarray(path.lastIndexOf('/') + 1), depth };
  }

  #attributes(hostPath: string, path: string, stat: BigIntStats): EntryAttributes {
    return {
      mode: Number(stat.mode & 0o7777n),
      uid: Number(stat.uid),
      gid: Number(stat.gid),
      mtimeNs: stat.mtimeNs,
      atimeNs: stat.atimeNs,
      ctimeNs: stat.ctimeNs,
      // Linux gives 0 where the filesystem keeps none.
      btimeNs: stat.birthtimeNs === 0n ? undefined : stat.birthtimeNs,
      xattrs: this.#xattrs(hostPath, path),
    };
  }

  #xattrs(hostPath: string, path: string): readonly ExtendedAttribute[] {
    const native = this.#native;
    if (native === undefined) {
      const text = 'extended attributes and ACLs are not kept: this needs Linux and the package koffi';
      this.#notices.report('xattrs', latin1Bytes(path), text);
      return [];
    }
    const hostBytes = latin1Bytes(hostPath);
    const xattrs: ExtendedAttribute[] = [];
    for (const name of this.#try(path, 'listing its attributes', () => native.xattrNames(hostBytes))) {
      const shown = printableBytes(name);
      if (!isStorableXattr(name)) {
        const text = `attributes such as ${shown} are not kept: bcachefs has no place for them`;
        this.#notices.report(`xattr ${shown.split('.', 1)[0]}`, latin1Bytes(path), text);
        continue;
      }
      const value = this.#try(path, `reading its attribute ${shown}`, () => native.xattr(hostBytes, name));
      if (value === undefined) throw this.#changed(path);
      xattrs.push({ name, value });
    }
    return xattrs.sort((a, b) => compareBytes(a.name, b.name));
  }

  #list(hostPath: string, path: string): OpenDirectory {
    const names = this.#try(path, 'listing it', () => readdirSync(Buffer.from(hostPath, 'latin1'), 'latin1'));
    // Sorts by code units, which are bytes here.
    return { hostPath, path, names: names.sort().reverse() };
  }

  #stat(hostPath: string, path: string, stat: typeof lstatSync | typeof statSync): BigIntStats {
    return this.#try(path, 'looking at it', () => stat(Buffer.from(hostPath, 'latin1'), { bigint: true }));
  }

  *#chunks(hostPath: string, path: string, before: BigIntStats): Generator<SourceChunk> {
    const file = this.#try(
      path,
      'opening',
      () => new SteadyFile(Buffer.from(hostPath, 'latin1'), before, this.#text(path)),
    );
    try {
      yield* fileChunks({
        sizeBytes: Number(before.size),
        regions: () => this.#regions(file, path, before),
        read: (offset, into) =>
          this.#try(path, `reading ${into.length} bytes at byte ${offset}`, () => file.read(offset, into)),
      });
      this.#try(path, 'looking at it', () => file.check());
    } finally {
      file.close();
    }
  }

  /** What the host says is data; everything, when it has no holes or nothing to ask with. */
  *#regions(file: SteadyFile, path: string, { size, blocks }: BigIntStats): Generator<Region> {
    const sizeBytes = Number(size);
    const native = this.#native;
    if (native === undefined || Number(blocks) * 512 >= sizeBytes) {
      yield { offset: 0, length: sizeBytes };
      return;
    }
    for (let at = 0; at < sizeBytes; ) {
      const start = this.#try(path, 'looking for data', () => native.nextData(file.fd, at));
      if (start === undefined || start >= sizeBytes) return;
      const end = Math.min(
        sizeBytes,
        this.#try(path, 'looking for holes', () => native.nextHole(file.fd, start)),
      );
      if (end <= start) throw file.changed();
      yield { offset: start, length: end - start };
      at = end;
    }
  }

  /** @param path as it is inside of the source */
  #try<T>(path: string, doing: string, call: () => T): T {
    return asError(() => this.#text(path), doing, call);
  }

  #text(path: string): string {
    return `${this.name.replace(/\/+$/, '')}/${printableBytes(latin1Bytes(path))}`.replace(/(.)\/$/, '$1');
  }

  #changed(path: string): DeviceError {
    return new DeviceError(
      'busy',
      this.#text(path),
      'changed while it was being read; stop what writes to it, or take a snapshot',
    );
  }
}

const kinds: Readonly<Record<string, DeviceErrorKind>> = {
  ENOENT: 'missing',
  EACCES: 'permission',
  EPERM: 'permission',
};

/** Whatever the system refuses, as a DeviceError. @param name is asked for then only: there is a call of this for each system call */
function asError<T>(name: () => string, doing: string, call: () => T): T {
  try {
    return call();
  } catch (cause) {
    const code = codeOf(cause);
    if (code === undefined) throw cause;
    throw new DeviceError(kinds[code] ?? 'io', name(), `${doing} failed: ${reasonOf(code, cause)}`, { cause });
  }
}

/** Node's text is `EACCES: permission denied, open 'x'`: the words in the middle are the system's. */
function reasonOf(code: string, cause: unknown): string {
  const words = cause instanceof Error ? /^[A-Z0-9]+: ([^,]+),/.exec(cause.message)?.[1] : undefined;
  return words === undefined ? code : `${words} (${code})`;
}

function codeOf(cause: unknown): string | undefined {
  return cause instanceof Error && 'code' in cause && typeof cause.code === 'string' ? cause.code : undefined;
}

function identityIfThere(path: string): readonly string[] {
  const stat = statSync(path, { bigint: true, throwIfNoEntry: false });
  return stat === undefined ? [] : [hostIdentity(stat)];
}
