// Whether two files have the same bytes, and where they first differ: piece by piece, without a copy of either. Holes are zeroes. Of one filesystem,
// files whose extents are the same need not be read.

import type { OpenedTree } from '@bcachefs-ts/command';
import {
  areEqual,
  CorruptError,
  compareBpos,
  type FileChunk,
  type FileExtents,
  type FileSegment,
  fileChunks,
  fileSegments,
  isZero,
  type OnDamage,
} from '@bcachefs-ts/core/engine';

export interface Contents {
  readonly opened: OpenedTree;
  /** Both have the same size. */
  readonly file: FileExtents;
}

export interface ContentsOptions {
  readonly isSameFilesystem: boolean;
  readonly onDamage: OnDamage;
  /** The path, for messages. */
  readonly where: string;
}

/** In bytes; undefined when they are equal as far as they can be read. */
export function firstDifference(first: Contents, second: Contents, options: ContentsOptions): number | undefined {
  if (options.isSameFilesystem && hasSameExtents(first, second)) return undefined;
  const [a, b] = [new Pieces(first, options), new Pieces(second, options)];
  const { sizeBytes } = first.file;
  for (let at = 0; at < sizeBytes; ) {
    const [left, right] = [a.at(at), b.at(at)];
    const end = Math.min(left.end, right.end, sizeBytes);
    if (!left.isLost && !right.isLost) {
      const differs = differenceOf(left.bytes?.subarray(0, end - at), right.bytes?.subarray(0, end - at));
      if (differs !== undefined) return at + differs;
    }
    at = end;
  }
  return undefined;
}

function hasSameExtents(first: Contents, second: Contents): boolean {
  const segments = ({ opened, file }: Contents) =>
    // What is lost is met again, and reported, when it is read.
    fileSegments(opened.filesystem, opened.tree.table, file, { onDamage: () => undefined, reflinks: opened.reflinks });
  const [a, b] = [segments(first), segments(second)];
  for (;;) {
    const [left, right] = [a.next().value, b.next().value];
    if (left === undefined || right === undefined) return left === right;
    if (!isSameSegment(left, right)) return false;
  }
}

function isSameSegment(a: FileSegment, b: FileSegment): boolean {
  if (a.kind !== b.kind || a.offset !== b.offset || a.length !== b.length) return false;
  if (a.kind === 'data' || a.kind === 'inline') {
    const other = b as typeof a; // of the same kind
    return (
      a.btree === other.btree &&
      a.keyOffset === other.keyOffset &&
      compareBpos(a.key.k.p, other.key.k.p) === 0 &&
      areEqual(a.key.value, other.key.value)
    );
  }
  return a.kind !== 'lost';
}

interface Piece {
  readonly end: number;
  /** From where it was asked for; undefined for a hole and for what is lost. */
  readonly bytes: Uint8Array | undefined;
  readonly isLost: boolean;
}

class Pieces {
  readonly #chunks: Generator<FileChunk>;
  #chunk: FileChunk | undefined;

  constructor({ opened, file }: Contents, { onDamage, where }: ContentsOptions) {
    const { data, tree, reflinks } = opened;
    this.#chunks = fileChunks(data, tree.table, file, {
      reflinks,
      onFinding({ kind, damage, offset, length }) {
        if (kind === 'healed') return;
        const detail = `bytes ${offset} to ${offset + length} cannot be compared: ${damage.detail}`;
        onDamage(new CorruptError(damage.error, { ...damage.where, path: where }, detail));
      },
    });
  }

  /** Offsets only grow. */
  at(offset: number): Piece {
    while (this.#chunk === undefined || this.#chunk.offset + this.#chunk.length <= offset) {
      const next = this.#chunks.next();
      if (next.done) return { end: Number.POSITIVE_INFINITY, bytes: undefined, isLost: false };
      this.#chunk = next.value;
    }
    const chunk = this.#chunk;
    return {
      end: chunk.offset + chunk.length,
      bytes: chunk.kind === 'data' ? chunk.bytes.subarray(offset - chunk.offset) : undefined,
      isLost: chunk.kind === 'lost',
    };
  }
}

/** Where two runs of the same length differ; undefined stands for zeroes. */
function differenceOf(first: Uint8Array | undefined, second: Uint8Array | undefined): number | undefined {
  if (first === undefined && second === undefined) return undefined;
  if (first === undefined || second === undefined) {
    const bytes = first ?? second!;
    return isZero(bytes) ? undefined : bytes.findIndex(byte => byte !== 0);
  }
  return areEqual(first, second) ? undefined : first.findIndex((byte, nr) => byte !== second[nr]);
}
