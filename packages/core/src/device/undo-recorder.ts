// Saves what a command overwrites, before it does: the recorder keeps the undo file, and each device of the command is wrapped in an
// UndoDevice.
//
// Writes are held in memory until the device is flushed, or until there are many of them. Then what is to be overwritten is written to the
// undo file and brought to stable storage, all of it at once, and only after that do the writes go on to their devices, in their
// order. Until a device is flushed it may lose or reorder writes anyway, so that nothing above notices. What is held when a device is
// closed is dropped: a command that ends well has flushed, and of one that failed only free room is concerned.
//
// A block is saved the first time that it changes; of later changes only the checksums are noted, by which an undo sees whether the devices
// are as the command left them. What does not change is neither saved nor noted. What lies past the end that a device had at first
// goes away when it gets its size back, and has only checksums.
//
// When the undo file cannot be written to, the writes that it would have stood for do not happen, nor do any others.

import { assert } from '../ondisk/errors.ts';
import { systemRandom } from '../util/random.ts';
import { roundDown } from '../util/sizes.ts';
import {
  type BlockDevice,
  checkRange,
  checkWrite,
  isResizable,
  type ResizableDevice,
  readPadded,
} from './block-device.ts';
import type { UndoSink } from './undo-file.ts';
import {
  encodeUndoBatch,
  encodeUndoHeader,
  SECTORS_PER_BLOCK,
  sectorSums,
  UNDO_BLOCK_BYTES,
  UNDO_CHUNK_BYTES,
  type UndoBatchContents,
  type UndoMember,
  type UndoRun,
  type UndoSize,
} from './undo-format.ts';
import { DeviceWrapper } from './wrapper.ts';

/** So much is held at the most. Each time costs a flush of the undo file. */
const HELD_BYTES = 16 << 20;
const HELD_WRITES = 1024;

const ZEROES = new Uint8Array(UNDO_BLOCK_BYTES);

export interface UndoRecorderOptions {
  /** Its name, as the user writes it. */
  readonly command: string;
  readonly now: Date;
  /** What filesystem a device is a member of, and which. Asked for before the first write. */
  readonly identify: (device: BlockDevice) => Pick<UndoMember, 'filesystem' | 'index'>;
}

interface Recorded {
  readonly device: BlockDevice;
  /** What it had before the command. */
  readonly sizeBefore: number;
  /** By number of chunk, a bit for each block that was saved. */
  readonly saved: Map<number, Uint8Array>;
  isClosed: boolean;
}

interface HeldWrite {
  readonly member: number;
  readonly offset: number;
  readonly bytes: Uint8Array;
}

/** Blocks of one chunk that writes touch. */
interface Span {
  readonly member: number;
  readonly offset: number;
  readonly before: Uint8Array;
  readonly after: Uint8Array;
}

export class UndoRecorder {
  readonly #sink: UndoSink;
  readonly #options: UndoRecorderOptions;
  readonly #members: Recorded[] = [];
  #held: HeldWrite[] = [];
  #heldBytes = 0;
  #id = 0n;
  #batches = 0;
  /** Where the next batch begins; 0 before the header is there. */
  #endBytes = 0;
  /** What stopped it. */
  #failure: unknown;

  constructor(sink: UndoSink, options: UndoRecorderOptions) {
    this.#sink = sink;
    this.#options = options;
  }

  /** @param isNew an image file that the command has made: there was nothing before */
  wrap(device: BlockDevice, isNew = false): ResizableDevice {
    assert(this.#endBytes === 0, 'all devices are known before the first of them is written to');
    const member = this.#members.length;
    this.#members.push({ device, sizeBefore: isNew ? 0 : device.sizeBytes, saved: new Map(), isClosed: false });
    return new UndoDevice(device, this, member);
  }

  /** @internal */
  read(member: number, offset: number, into: Uint8Array): void {
    this.#members[member]!.device.read(offset, into);
    for (const held of this.#held) {
      if (held.member === member) copyOverlap(held.offset, held.bytes, offset, into);
    }
  }

  /** @internal */
  write(member: number, offset: number, from: Uint8Array): void {
    this.#refuseFailed();
    for (let done = 0; done < from.length; done += HELD_BYTES) {
      const bytes = from.slice(done, done + HELD_BYTES);
      if (this.#heldBytes + bytes.length > HELD_BYTES || this.#held.length === HELD_WRITES) this.drain();
      // A device may keep an older write and lose a newer one: of a place that is written to twice only what is to stay may reach it, since
      // there is one checksum of it.
      for (const held of this.#held) {
        if (held.member === member) copyOverlap(offset + done, bytes, held.offset, held.bytes);
      }
      this.#held.push({ member, offset: offset + done, bytes });
      this.#heldBytes += bytes.length;
    }
  }

  /** @internal Lets the writes through that are held, of all devices. @throws DeviceError */
  drain(): void {
    this.#refuseFailed();
    if (this.#held.length === 0) return;
    const held = this.#held;
    this.#drop();
    this.#attempt(() => {
      this.#append({ runs: this.#changesOf(this.#spansOf(held)), sizes: [], isFinished: false });
      for (const { member, offset, bytes } of held) this.#members[member]!.device.write(offset, bytes);
    });
  }

  /** @internal @throws DeviceError, UsageError */
  setSize(member: number, sizeBytes: number): void {
    this.drain();
    const { device } = this.#members[member]!;
    assert(isResizable(device), `the size of ${device.name} is fixed`);
    this.#attempt(() => {
      for (const span of this.#tailOf(member, sizeBytes)) {
        const runs = this.#changesOf([span]);
        if (runs.length > 0) this.#append({ runs, sizes: [], isFinished: false });
      }
      if (device.sizeBytes !== sizeBytes) {
        this.#append({ runs: [], sizes: [{ member, sizeBytes }], isFinished: false });
      }
      device.setSize(sizeBytes);
    });
  }

  /** @internal */
  close(member: number): void {
    const recorded = this.#members[member]!;
    if (recorded.isClosed) return;
    recorded.isClosed = true;
    if (this.#members.every(({ isClosed }) => isClosed)) this.#finish();
  }

  /** Nothing was written: nothing is to be undone. */
  #finish(): void {
    this.#drop();
    if (this.#batches === 0) {
      this.#sink.remove();
      return;
    }
    try {
      if (this.#failure === undefined) this.#append({ runs: [], sizes: [], isFinished: true });
    } finally {
      this.#sink.close();
    }
  }

  #drop(): void {
    this.#held = [];
    this.#heldBytes = 0;
  }

  #refuseFailed(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }

  #attempt(work: () => void): void {
    try {
      work();
    } catch (thrown) {
      this.#failure = thrown;
      throw thrown;
    }
  }

  /** On stable storage when it returns. */
  #append(contents: UndoBatchContents): void {
    const { runs, sizes, isFinished } = contents;
    // What is written is what is there.
    if (runs.length + sizes.length === 0 && !isFinished) return;
    let firstSizes: readonly UndoSize[] = [];
    if (this.#endBytes === 0) {
      this.#id = Buffer.from(systemRandom.bytes(8)).readBigUInt64LE();
      const header = encodeUndoHeader(this.#id, {
        command: this.#options.command,
        time: this.#options.now.toISOString(),
        members: this.#members.map(({ device, sizeBefore }) => ({
          name: device.name,
          sizeBytes: sizeBefore,
          ...this.#options.identify(device),
        })),
      });
      this.#sink.write(0, header);
      this.#endBytes = header.length;
      firstSizes = this.#members.flatMap(({ device: { sizeBytes }, sizeBefore }, member) =>
        sizeBytes === sizeBefore ? [] : [{ member, sizeBytes }],
      );
    }
    const batch = encodeUndoBatch(this.#id, this.#batches, { ...contents, sizes: [...firstSizes, ...sizes] });
    this.#sink.write(this.#endBytes, batch);
    // Room for the last batch: a disk that is full by then does not spoil a command that has been carried out.
    if (!isFinished) this.#sink.write(this.#endBytes + batch.length, ZEROES);
    this.#sink.flush();
    this.#endBytes += batch.length;
    this.#batches++;
  }

  /** What the writes make of the blocks that they touch. */
  #spansOf(held: readonly HeldWrite[]): readonly Span[] {
    const spans = new Map<string, Span[]>();
    for (const { member, from, to } of chunkRanges(held)) {
      const before = readPadded(this.#members[member]!.device, from, to - from);
      const key = `${member} ${Math.floor(from / UNDO_CHUNK_BYTES)}`;
      const span = { member, offset: from, before, after: before.slice() };
      spans.set(key, [...(spans.get(key) ?? []), span]);
    }
    for (const { member, offset, bytes } of held) {
      const end = offset + bytes.length;
      for (let chunk = Math.floor(offset / UNDO_CHUNK_BYTES); chunk * UNDO_CHUNK_BYTES < end; chunk++) {
        for (const span of spans.get(`${member} ${chunk}`) ?? []) copyOverlap(offset, bytes, span.offset, span.after);
      }
    }
    return [...spans.values()].flat();
  }

  /** What a device loses when it is cut, a piece at a time. */
  *#tailOf(member: number, sizeBytes: number): Generator<Span> {
    const { device } = this.#members[member]!;
    const end = device.sizeBytes;
    for (let from = roundDown(sizeBytes, UNDO_BLOCK_BYTES); from < end; ) {
      const to = Math.min(end, roundDown(from, UNDO_CHUNK_BYTES) + UNDO_CHUNK_BYTES);
      const blocks = Math.ceil((to - from) / UNDO_BLOCK_BYTES);
      const before = readPadded(device, from, blocks * UNDO_BLOCK_BYTES);
      const after = before.slice();
      after.fill(0, Math.max(0, sizeBytes - from));
      yield { member, offset: from, before, after };
      from = to;
    }
  }

  /** The blocks that change, in runs of one kind. */
  #changesOf(spans: readonly Span[]): readonly UndoRun[] {
    const runs: UndoRun[] = [];
    for (const { member, offset, before, after } of spans) {
      const kindAt = (at: number) => this.#kindOf(member, offset + at, blockAt(before, at), blockAt(after, at));
      for (let from = 0; from < before.length; ) {
        const kind = kindAt(from);
        let to = from + UNDO_BLOCK_BYTES;
        while (to < before.length && kindAt(to) === kind) to += UNDO_BLOCK_BYTES;
        if (kind !== undefined) {
          const sums = sectorSums(after.subarray(from, to));
          const blocks = sums.length / SECTORS_PER_BLOCK;
          const run = { member, kind, offset: offset + from, blocks, sums };
          runs.push(kind === 'contents' ? { ...run, before: before.subarray(from, to) } : run);
          for (let at = from; at < to; at += UNDO_BLOCK_BYTES) this.#note(member, offset + at);
        }
        from = to;
      }
    }
    return runs;
  }

  #kindOf(member: number, offset: number, before: Uint8Array, after: Uint8Array): UndoRun['kind'] | undefined {
    if (Buffer.compare(before, after) === 0) return undefined;
    const { saved, sizeBefore } = this.#members[member]!;
    const { chunk, byte, bit } = blockPlace(offset);
    if (((saved.get(chunk)?.[byte] ?? 0) & bit) !== 0) return 'again';
    return offset >= sizeBefore || Buffer.compare(before, ZEROES) === 0 ? 'zeroes' : 'contents';
  }

  #note(member: number, offset: number): void {
    const { saved } = this.#members[member]!;
    const { chunk, byte, bit } = blockPlace(offset);
    const bits = saved.get(chunk) ?? new Uint8Array(UNDO_CHUNK_BYTES / UNDO_BLOCK_BYTES / 8);
    bits[byte]! |= bit;
    saved.set(chunk, bits);
  }
}

/** A device whose writes can be undone. */
class UndoDevice extends DeviceWrapper implements ResizableDevice {
  readonly #recorder: UndoRecorder;
  readonly #member: number;

  constructor(inner: BlockDevice, recorder: UndoRecorder, member: number) {
    super(inner);
    this.#recorder = recorder;
    this.#member = member;
  }

  override read(offset: number, into: Uint8Array): void {
    checkRange(this, 'read', offset, into.length);
    this.#recorder.read(this.#member, offset, into);
  }

  override write(offset: number, from: Uint8Array): void {
    checkWrite(this, offset, from.length);
    this.#recorder.write(this.#member, offset, from);
  }

  override flush(): void {
    this.#recorder.drain();
    this.inner.flush();
  }

  setSize(sizeBytes: number): void {
    this.#recorder.setSize(this.#member, sizeBytes);
  }

  /** The undo file is complete with the last device. */
  override close(): void {
    try {
      this.#recorder.close(this.#member);
    } finally {
      this.inner.close();
    }
  }
}

const blockAt = (bytes: Uint8Array, at: number): Uint8Array => bytes.subarray(at, at + UNDO_BLOCK_BYTES);

function blockPlace(offset: number): { readonly chunk: number; readonly byte: number; readonly bit: number } {
  const chunk = Math.floor(offset / UNDO_CHUNK_BYTES);
  const block = (offset - chunk * UNDO_CHUNK_BYTES) / UNDO_BLOCK_BYTES;
  return { chunk, byte: block >>> 3, bit: 1 << (block & 7) };
}

/** The blocks that writes touch, in order, each once, cut where chunks begin. */
function* chunkRanges(held: readonly HeldWrite[]): Generator<{ readonly member: number; from: number; to: number }> {
  const ranges = held
    .filter(({ bytes }) => bytes.length > 0)
    .map(({ member, offset, bytes }) => ({
      member,
      from: roundDown(offset, UNDO_BLOCK_BYTES),
      to: Math.ceil((offset + bytes.length) / UNDO_BLOCK_BYTES) * UNDO_BLOCK_BYTES,
    }))
    .sort((a, b) => a.member - b.member || a.from - b.from);
  for (let i = 0; i < ranges.length; ) {
    const { member, from } = ranges[i]!;
    let { to } = ranges[i]!;
    for (i++; ranges[i]?.member === member && ranges[i]!.from <= to; i++) to = Math.max(to, ranges[i]!.to);
    for (let at = from; at < to; ) {
      const next = Math.min(to, roundDown(at, UNDO_CHUNK_BYTES) + UNDO_CHUNK_BYTES);
      yield { member, from: at, to: next };
      at = next;
    }
  }
}

/** Copies what lies in both runs of bytes. */
function copyOverlap(fromOffset: number, from: Uint8Array, intoOffset: number, into: Uint8Array): void {
  const start = Math.max(fromOffset, intoOffset);
  const end = Math.min(fromOffset + from.length, intoOffset + into.length);
  if (start < end) into.set(from.subarray(start - fromOffset, end - fromOffset), start - intoOffset);
}
