// An undo file, opened for reading: what it is about, and which places of the devices it knows of. The heads of all batches are kept in
// memory; what was overwritten, and the checksums of what was written, are read when they are asked for.

import { xxh64 } from '../checksum/xxh64.ts';
import { viewOf } from '../ondisk/layout.ts';
import type { BlockDevice } from './block-device.ts';
import {
  damaged,
  decodeUndoBatchHead,
  decodeUndoEntries,
  decodeUndoHeader,
  SECTORS_PER_BLOCK,
  UNDO_BATCH_HEAD_BYTES,
  UNDO_BLOCK_BYTES,
  UNDO_CHUNK_BYTES,
  type UndoAbout,
  type UndoRunPlace,
  type UndoSize,
} from './undo-format.ts';

/** About a hundred bytes of memory for each; a command that changes a terabyte needs a million. */
const RUNS_MAX = 1 << 22;

interface Batch {
  readonly runs: readonly UndoRunPlace[];
  readonly sizes: readonly UndoSize[];
  readonly isFinished: boolean;
  readonly end: number;
}

export class UndoLog {
  readonly name: string;
  readonly about: UndoAbout;
  /** The command came to its end, well or with an error; else it was cut off. */
  readonly isFinished: boolean;
  readonly #source: BlockDevice;
  /** For each member, by number of chunk. */
  readonly #runs: readonly Map<number, UndoRunPlace[]>[];
  /** For each member, the sizes that it got, in order. */
  readonly #sizes: readonly number[][];
  #runCount = 0;

  /**
   * @param source stays open, and is the caller's to close
   * @throws InputError for a file that is damaged or is not an undo file; IncompatibleError; DeviceError
   */
  constructor(source: BlockDevice) {
    this.name = source.name;
    this.#source = source;
    if (source.sizeBytes === 0) throw damaged(this.name, 'is empty: the command was stopped before it wrote anything');
    const { id, about, sizeBytes } = decodeUndoHeader(this.name, length =>
      this.#read(0, Math.min(length, source.sizeBytes)),
    );
    this.about = about;
    this.#runs = about.members.map(() => new Map());
    this.#sizes = about.members.map(() => []);
    this.isFinished = this.#readBatches(id, sizeBytes);
  }

  /** Whether a member was written to, or got another size. */
  isChanged(member: number): boolean {
    return this.#runs[member]!.size > 0 || this.#sizes[member]!.length > 0;
  }

  /** What a member may be long, when nothing else has changed it. */
  sizesOf(member: number): readonly number[] {
    const before = this.about.members[member]!.sizeBytes;
    const later = this.#sizes[member]!;
    return [before, ...(this.isFinished ? later.slice(-1) : later)];
  }

  /** The numbers of the chunks of a member that were written to, in order. */
  chunksOf(member: number): readonly number[] {
    return [...this.#runs[member]!.keys()].sort((a, b) => a - b);
  }

  /** In the order in which they were written. */
  runsOf(member: number, chunk: number): readonly UndoRunPlace[] {
    return this.#runs[member]!.get(chunk) ?? [];
  }

  /** The checksums of a run's sectors, as they were about to be written. */
  sumsOf({ sumsAt, blocks }: UndoRunPlace): Uint32Array {
    const bytes = this.#read(sumsAt, blocks * SECTORS_PER_BLOCK * 4);
    const view = viewOf(bytes);
    return Uint32Array.from({ length: bytes.length / 4 }, (_, i) => view.getUint32(4 * i, true));
  }

  /** What was there. @throws InputError */
  beforeOf(run: UndoRunPlace): Uint8Array {
    const before = this.#contents(run);
    if (before !== undefined) return before;
    throw damaged(this.name, `the checksum of what it has saved is wrong (at byte ${run.beforeAt})`);
  }

  /** Undefined when the checksum is wrong. */
  #contents({ beforeAt, blocks, csum }: UndoRunPlace): Uint8Array | undefined {
    const before = this.#read(beforeAt, blocks * UNDO_BLOCK_BYTES);
    return xxh64(before) === csum ? before : undefined;
  }

  /** @returns whether the last one is there */
  #readBatches(id: bigint, start: number): boolean {
    // Added when the next one shows that all of it was on stable storage.
    let last: Batch | undefined;
    for (let [at, seq] = [start, 0]; ; seq++) {
      const batch = this.#batchAt(at, id, seq);
      if (batch === undefined) {
        this.#refuseGap(at, id, seq);
        if (last !== undefined && this.#isWhole(last)) this.#add(last);
        return false;
      }
      if (last !== undefined) this.#add(last);
      if (batch.isFinished) {
        this.#add(batch);
        return true;
      }
      last = batch;
      at = batch.end;
    }
  }

  /** Undefined where none is, or only a part of one. */
  #batchAt(at: number, id: bigint, seq: number): Batch | undefined {
    const leftBytes = this.#source.sizeBytes - at;
    if (leftBytes < UNDO_BATCH_HEAD_BYTES) return undefined;
    const head = decodeUndoBatchHead(this.#read(at, UNDO_BATCH_HEAD_BYTES), id);
    if (head === undefined || head.seq !== seq || head.sizeBytes > leftBytes) return undefined;
    const entries = decodeUndoEntries(this.name, this.#read(at, head.headBytes), head, at, this.about.members.length);
    return entries === undefined ? undefined : { ...entries, isFinished: head.isFinished, end: at + head.sizeBytes };
  }

  #isWhole({ runs }: Batch): boolean {
    return runs.every(run => run.kind !== 'contents' || this.#contents(run) !== undefined);
  }

  /** What a crash tore is the last batch. One that others follow is damaged. */
  #refuseGap(from: number, id: bigint, seq: number): void {
    const { sizeBytes } = this.#source;
    for (let at = from; at + UNDO_BATCH_HEAD_BYTES <= sizeBytes; at += UNDO_CHUNK_BYTES) {
      const piece = this.#read(at, Math.min(UNDO_CHUNK_BYTES, sizeBytes - at));
      for (let inPiece = 0; inPiece + UNDO_BATCH_HEAD_BYTES <= piece.length; inPiece += UNDO_BLOCK_BYTES) {
        const later = decodeUndoBatchHead(piece.subarray(inPiece, inPiece + UNDO_BATCH_HEAD_BYTES), id);
        if (later !== undefined && later.seq > seq)
          throw damaged(this.name, `what it has saved is damaged at byte ${from}`);
      }
    }
  }

  #add({ runs, sizes }: Batch): void {
    this.#runCount += runs.length + sizes.length;
    if (this.#runCount > RUNS_MAX) throw damaged(this.name, `knows of more than ${RUNS_MAX} places`);
    for (const run of runs) {
      const ofMember = this.#runs[run.member]!;
      const chunk = Math.floor(run.offset / UNDO_CHUNK_BYTES);
      const ofChunk = ofMember.get(chunk);
      if (ofChunk === undefined) ofMember.set(chunk, [run]);
      else ofChunk.push(run);
    }
    for (const { member, sizeBytes } of sizes) this.#sizes[member]!.push(sizeBytes);
  }

  #read(offset: number, length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    this.#source.read(offset, bytes);
    return bytes;
  }
}
