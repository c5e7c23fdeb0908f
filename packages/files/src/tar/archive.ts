// Writes files into an archive, one after the other: header, data, padding. Whatever goes wrong in the middle of a file, exactly as many
// bytes follow its header as the header says.

import type { OpenedTree } from '@bcachefs-ts/command';
import {
  type ExtendedAttribute,
  type FileFinding,
  type FileNode,
  type FileStat,
  fileChunks,
  fileSize,
  printableBytes,
  utf8Text,
} from '@bcachefs-ts/core/engine';
import { aclText } from './acl-text.ts';
import {
  BLOCK_BYTES,
  concat,
  type PaxRecord,
  paddingOf,
  type TarEntry,
  type TarTypeFlag,
  tarHeader,
} from './header.ts';
import { measureRegions, regionsOf, type SparseMeasure } from './sparse.ts';

/** Small pieces are gathered up to this many bytes. */
const PIECE_BYTES = 256 * 1024;
/** As GNU tar: an archive is a whole number of records of twenty blocks. */
const RECORD_BYTES = 20 * BLOCK_BYTES;

const zeroes = new Uint8Array(PIECE_BYTES);
const encoder = new TextEncoder();

export interface ArchiveOptions {
  readonly write: (bytes: Uint8Array) => void;
  /** Give bytes that fail their checksum. */
  readonly ignoreErrors: boolean;
  readonly creationTimes: boolean;
  /** Leave holes out, by a map of where the data is; else they are zeroes. */
  readonly sparse: boolean;
  onFinding(path: Uint8Array, finding: FileFinding): void;
  /** Something is not as it should be, but not lost: reported with its path. */
  onProblem(path: Uint8Array, problem: string): void;
}

export interface ArchiveTotals {
  directories: number;
  files: number;
  links: number;
  symlinks: number;
  /** Device nodes and fifos. */
  special: number;
  /** Of regular files, without holes. */
  data_bytes: number;
  /** Of the archive. */
  archive_bytes: number;
}

/** Files with several names, until all of them were seen. */
interface Linked {
  readonly path: Uint8Array;
  namesLeft: number;
}

export class Archive {
  readonly totals: ArchiveTotals = {
    ...{ directories: 0, files: 0, links: 0, symlinks: 0, special: 0, data_bytes: 0, archive_bytes: 0 },
  };
  readonly #opened: OpenedTree;
  readonly #options: ArchiveOptions;
  readonly #linked = new Map<string, Linked>();
  readonly #piece = new Uint8Array(PIECE_BYTES);
  #gathered = 0;

  constructor(opened: OpenedTree, options: ArchiveOptions) {
    this.#opened = opened;
    this.#options = options;
  }

  /**
   * @param path from the root, without a slash in front; empty for the root
   * Gives way between the pieces of its data, so that Ctrl-C is heard.
   * @returns why the file cannot be in an archive; undefined when it is
   */
  *add(node: FileNode, path: Uint8Array): Generator<void, string | undefined> {
    const { tree } = this.#opened;
    const stat = tree.stat(node);
    const type = typeFlagOf(stat);
    if (type === undefined) return stat.type === 'sock' ? 'archives have no sockets' : `of type ${stat.type}`;
    if (type !== 'dir' && this.#addLink(node, path, stat)) return undefined;
    let target: Uint8Array | undefined;
    if (type === 'symlink') {
      target = tree.linkTarget(node, { path });
      if (target.length === 0) return 'a symbolic link whose target is lost';
    }
    const entry: TarEntry = { ...this.#common(stat, path), type, target, records: this.#attributes(node, path) };
    if (type === 'file') return yield* this.#addFile(entry, node, path, stat);
    this.#put(tarHeader(entry));
    this.totals[type === 'dir' ? 'directories' : type === 'symlink' ? 'symlinks' : 'special']++;
    return undefined;
  }

  /** Two blocks of zeroes, and as many more as fill the last record. */
  end(): void {
    this.#zeroes(2 * BLOCK_BYTES);
    this.#zeroes((RECORD_BYTES - (this.totals.archive_bytes % RECORD_BYTES)) % RECORD_BYTES);
    this.#flush();
  }

  #common(stat: FileStat, path: Uint8Array): Omit<TarEntry, 'type'> {
    const { mode, uid, gid, rdev, mtimeNs, atimeNs, ctimeNs, btimeNs } = stat;
    const times = { mtimeNs, atimeNs, ctimeNs, btimeNs: this.#options.creationTimes ? btimeNs : undefined };
    return { path: memberName(path, stat), mode, uid, gid, sizeBytes: 0, times, rdev };
  }

  /** The second name of a file, and all after it, lead to the first. @returns whether it was one */
  #addLink({ subvolume, snapshot, inum }: FileNode, path: Uint8Array, stat: FileStat): boolean {
    if (stat.nlink < 2) return false;
    const id = `${subvolume}:${snapshot}:${inum}`;
    const first = this.#linked.get(id);
    if (first === undefined) {
      this.#linked.set(id, { path: path.slice(), namesLeft: stat.nlink - 1 });
      return false;
    }
    this.#put(tarHeader({ ...this.#common(stat, path), type: 'link', target: first.path, rdev: undefined }));
    this.totals.links++;
    if (--first.namesLeft === 0) this.#linked.delete(id);
    return true;
  }

  *#addFile(entry: TarEntry, node: FileNode, path: Uint8Array, stat: FileStat): Generator<void, string | undefined> {
    if (stat.sizeBytes > BigInt(Number.MAX_SAFE_INTEGER)) return `its size of ${stat.sizeBytes} bytes is not possible`;
    const sizeBytes = fileSize(stat.sizeBytes, `0:${node.inum}:${node.keySnapshot}`);
    const file = { inum: node.inum, snapshot: node.snapshot, sizeBytes };
    const measure = measureRegions(regionsOf(this.#opened, file), sizeBytes);
    const isSparse = this.#options.sparse && measure.hasHoles;
    const dataBytes = isSparse ? measure.dataBytes : sizeBytes;
    const mapBytes = isSparse ? measure.mapBytes : 0;
    const sparse = isSparse ? { sparseSizeBytes: sizeBytes } : {};
    this.#put(tarHeader({ ...entry, sizeBytes: mapBytes + dataBytes, ...sparse }));
    if (isSparse) this.#map(measure, file);
    const missing = yield* this.#data(dataBytes, file, path);
    if (missing !== 0) this.#options.onProblem(path, 'its extents changed while it was read: the copy is not right');
    this.#zeroes(paddingOf(mapBytes + dataBytes));
    this.totals.files++;
    this.totals.data_bytes += measure.dataBytes;
    return undefined;
  }

  #map({ regionCount, mapBytes }: SparseMeasure, file: Parameters<typeof regionsOf>[1]): void {
    let left = mapBytes;
    const put = (text: string) => {
      // A device that fails now and then may give other regions the second time.
      const bytes = encoder.encode(text).subarray(0, left);
      left -= bytes.length;
      this.#put(bytes);
    };
    put(`${regionCount}\n`);
    for (const { offset, length } of regionsOf(this.#opened, file)) put(`${offset}\n${length}\n`);
    this.#zeroes(left);
  }

  /** The data without its holes: so many bytes, whatever is met. @returns how many were missing; below 0 for too many */
  *#data(dataBytes: number, file: Parameters<typeof regionsOf>[1], path: Uint8Array): Generator<void, number> {
    const { tree, data, reflinks } = this.#opened;
    let left = dataBytes;
    const regions = regionsOf(this.#opened, file);
    let region = regions.next().value;
    for (const chunk of fileChunks(data, tree.table, file, {
      reflinks,
      ignoreErrors: this.#options.ignoreErrors,
      onFinding: finding => this.#options.onFinding(path, finding),
    })) {
      yield;
      if (!this.#options.sparse) {
        if (chunk.length > left) return left - chunk.length;
        if (chunk.kind === 'data') this.#put(chunk.bytes);
        else this.#zeroes(chunk.length);
        left -= chunk.length;
        continue;
      }
      if (chunk.kind === 'hole') continue;
      while (region !== undefined && region.offset + region.length <= chunk.offset) region = regions.next().value;
      // Lost before it was read: it is a hole of the map.
      if (chunk.kind === 'lost' && (region === undefined || chunk.offset < region.offset)) continue;
      if (chunk.length > left) {
        this.#zeroes(left);
        return left - chunk.length;
      }
      if (chunk.kind === 'data') this.#put(chunk.bytes);
      else this.#zeroes(chunk.length);
      left -= chunk.length;
    }
    this.#zeroes(left);
    return left;
  }

  /** Extended attributes and ACLs, in the order of their names. */
  #attributes(node: FileNode, path: Uint8Array): readonly PaxRecord[] {
    const attributes = this.#opened.tree.xattrs(node, { path });
    return attributes.toSorted((a, b) => Buffer.compare(a.name, b.name)).flatMap(one => this.#attribute(one, path));
  }

  #attribute({ name, value }: ExtendedAttribute, path: Uint8Array): readonly PaxRecord[] {
    const text = utf8Text(name);
    const acl = text === undefined ? undefined : aclKeywords.get(text);
    if (acl === undefined) return [{ keyword: concat([encoder.encode('SCHILY.xattr.'), keywordName(name)]), value }];
    const words = aclText(value);
    if (words !== undefined) return [{ keyword: acl, value: words }];
    this.#options.onProblem(path, `${printableBytes(name)} is not an ACL: left out`);
    return [];
  }

  #zeroes(count: number): void {
    for (let done = 0; done < count; done += zeroes.length)
      this.#put(zeroes.subarray(0, Math.min(zeroes.length, count - done)));
  }

  #put(bytes: Uint8Array): void {
    this.totals.archive_bytes += bytes.length;
    if (this.#gathered + bytes.length > PIECE_BYTES) this.#flush();
    if (bytes.length >= PIECE_BYTES) {
      this.#options.write(bytes);
      return;
    }
    this.#piece.set(bytes, this.#gathered);
    this.#gathered += bytes.length;
  }

  #flush(): void {
    if (this.#gathered > 0) this.#options.write(this.#piece.subarray(0, this.#gathered));
    this.#gathered = 0;
  }
}

const aclKeywords: ReadonlyMap<string, string> = new Map([
  ['system.posix_acl_access', 'SCHILY.acl.access'],
  ['system.posix_acl_default', 'SCHILY.acl.default'],
]);

/** Undefined for what an archive cannot hold. */
function typeFlagOf({ type }: FileStat): TarTypeFlag | undefined {
  switch (type) {
    case 'reg':
      return 'file';
    case 'lnk':
      return 'symlink';
    case 'dir':
    case 'chr':
    case 'blk':
    case 'fifo':
      return type;
    default:
      return undefined;
  }
}

/** `a/b`, with a slash at the end of directories; the root is `./`. */
function memberName(path: Uint8Array, { type }: FileStat): Uint8Array {
  if (type !== 'dir') return path;
  return concat([path.length === 0 ? encoder.encode('.') : path, encoder.encode('/')]);
}

/** A keyword ends at its first `=`: GNU tar writes `%3D` for one in a name, and `%25` for `%`. */
function keywordName(name: Uint8Array): Uint8Array {
  if (!name.includes(0x3d) && !name.includes(0x25)) return name;
  const encoded = [...name].flatMap(byte =>
    byte === 0x3d ? [...encoder.encode('%3D')] : byte === 0x25 ? [...encoder.encode('%25')] : [byte],
  );
  return Uint8Array.from(encoded);
}
