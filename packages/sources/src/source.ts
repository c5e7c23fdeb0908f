// What a new filesystem is filled from: a tree of files, as a stream of entries. The root comes first; a directory comes before what is in
// it, and what is in it before its next sibling; siblings come in the order of their names' bytes. The same tree is the same stream,
// in whatever order a host lists its directories, an archive has its members or a filesystem its inodes.
//
// Attributes are as a system call would give them: extended attributes with their namespaces, ACLs in the form of getxattr. The contents
// of a file do not depend on where its host happens to have holes: see file-chunks.ts.

import type { ExtendedAttribute } from '@bcachefs-ts/core/engine';

export interface SourceTree {
  /** For messages: the directory or archive, `standard input`. */
  readonly name: string;
  /**
   * The stream; it can be asked for more than once. Entries stay valid, their chunks as long as the source is open.
   * @throws DeviceError when a file cannot be read, or changes meanwhile; UsageError for what no bcachefs can hold
   */
  entries(): Iterable<SourceEntry>;
  /** Gives back files that it holds open, and temporary ones. */
  close(): void;
}

export type SourceEntry = SourceDirectory | SourceFile | SourceSymlink | SourceDevice | SourceSpecial | SourceLink;

export interface EntryPlace {
  /** From the root, without a slash in front; empty for the root. */
  readonly path: Uint8Array;
  /** The last part of the path: 1 to 255 bytes, none of them a slash or NUL; empty for the root. */
  readonly name: Uint8Array;
  /** 0 for the root: the entry's directory is the last one that had a depth less by one. */
  readonly depth: number;
}

export interface EntryAttributes {
  /** Permissions, with setuid, setgid and sticky: 12 bits. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Nanoseconds since 1970; undefined where the source does not say. Directories that an archive only implies have none at all. */
  readonly mtimeNs: bigint | undefined;
  readonly atimeNs: bigint | undefined;
  readonly ctimeNs: bigint | undefined;
  /** Of creation. */
  readonly btimeNs: bigint | undefined;
  /** In the order of their names' bytes. */
  readonly xattrs: readonly ExtendedAttribute[];
  /** Of chattr; undefined where the source does not say. */
  readonly flags?: readonly SourceFlag[];
  /** 0 for none; undefined where the source does not say. */
  readonly projectId?: number;
}

export type SourceFlag = 'sync' | 'immutable' | 'append' | 'nodump' | 'noatime';

/** What may have several names. */
interface Linkable {
  /** Given when later names may follow: those are entries of type `link` with the same number. */
  readonly linkId: number | undefined;
}

export interface SourceDirectory extends EntryPlace, EntryAttributes {
  readonly type: 'dir';
}

export interface SourceFile extends EntryPlace, EntryAttributes, Linkable {
  readonly type: 'file';
  readonly sizeBytes: number;
  /** The contents in order, without gaps from 0 to `sizeBytes`. */
  chunks(): Iterable<SourceChunk>;
}

export interface SourceSymlink extends EntryPlace, EntryAttributes, Linkable {
  readonly type: 'symlink';
  /** 1 to 4095 bytes, none of them NUL. */
  readonly target: Uint8Array;
}

export interface SourceDevice extends EntryPlace, EntryAttributes, Linkable {
  readonly type: 'chr' | 'blk';
  readonly rdev: { readonly major: number; readonly minor: number };
}

export interface SourceSpecial extends EntryPlace, EntryAttributes, Linkable {
  readonly type: 'fifo' | 'sock';
}

/** One more name of a file that came before. */
export interface SourceLink extends EntryPlace {
  readonly type: 'link';
  readonly linkId: number;
}

/** A run of a file; offset and length in bytes. */
export type SourceChunk =
  /** `bytes` are overwritten when the next chunk is asked for. */
  | { readonly kind: 'data'; readonly offset: number; readonly length: number; readonly bytes: Uint8Array }
  | { readonly kind: 'hole'; readonly offset: number; readonly length: number };

export interface SourceOptions {
  /** What it is true of is left out, with all that is below it. */
  readonly isExcluded?: ((path: Uint8Array) => boolean) | undefined;
  /** Something is not kept, or is kept in another way: reported once for each kind, with the first file that it is true of. */
  readonly onNotice?: ((notice: SourceNotice) => void) | undefined;
}

export interface SourceNotice {
  readonly path: Uint8Array;
  readonly text: string;
}

/** PATH_MAX without its NUL: no system call takes a longer one. */
export const PATH_BYTES_MAX = 4095;

/** Reports each kind of notice once. */
export class NoticeBoard {
  readonly #reported = new Set<string>();
  readonly #onNotice: SourceOptions['onNotice'];

  constructor({ onNotice }: SourceOptions) {
    this.#onNotice = onNotice;
  }

  report(kind: string, path: Uint8Array, text: string): void {
    if (this.#reported.has(kind)) return;
    this.#reported.add(kind);
    this.#onNotice?.({ path, text });
  }
}

/** Each character as the byte of that number: what file names are as text inside of this folder. */
export function latin1Bytes(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}
