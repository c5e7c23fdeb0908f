// Reads copies in the order in which they lie on their devices, and says of each whether it is what was written. What is near each other is
// read in one go, and checksums are computed where the bytes were read to: nothing is copied. What cannot be read in a long run is read copy
// by copy, so that one bad sector costs only the copy that it is in.
//
// What has a checksum is right or wrong, MACs included. What has none can only be readable, or, where it is compressed, something that can be
// decompressed. Pieces of one encoded extent that several keys show are read and judged once.

import { type AllocDevice, allocDevices } from '../alloc/alloc-devices.ts';
import type { FilesystemSource } from '../btree/source.ts';
import { csumEquals } from '../checksum/csum.ts';
import { decompress } from '../compress/decompress.ts';
import { BucketGens } from '../data/bucket-gens.ts';
import type { DataError } from '../data/finding.ts';
import { verifyEncoded } from '../data/replicas.ts';
import type { BlockDevice } from '../device/block-device.ts';
import { bposText } from '../ondisk/bpos.ts';
import { btrees } from '../ondisk/btrees.ts';
import { CorruptError, DeviceError, IncompatibleError, type Location } from '../ondisk/errors.ts';
import { SECTOR_BYTES, sectorsToBytes } from '../util/sizes.ts';
import type { Copy } from './batch.ts';

/** As long as the longest extent with a checksum, whose size has 13 bits. Others end with their bucket. */
const RUN_BYTES = 4 * 2 ** 20;
/** What lies between two copies is read with them: the time of a seek is worth more. */
const GAP_SECTORS = 256;

export const copyBytes = ({ encoding }: Copy): number => sectorsToBytes(encoding.compressedSectors);

export function copyPlace(source: FilesystemSource, { ptr, key }: Copy): Location {
  return {
    btree: btrees.nameOf(key.btree),
    pos: bposText(key.k.p),
    device: source.device(ptr.dev)?.name ?? `member ${ptr.dev}`,
    sector: ptr.offset,
  };
}

export class CopyReader {
  readonly #source: FilesystemSource;
  readonly #gens: BucketGens;
  readonly #devices: readonly (AllocDevice | undefined)[];
  #buffer = new Uint8Array(RUN_BYTES);

  constructor(source: FilesystemSource) {
    this.#source = source;
    this.#devices = allocDevices(source.sb);
    // A part of the alloc btree that is lost was met before, when all nodes were read.
    this.#gens = new BucketGens(source, () => {});
  }

  /**
   * Reads and judges copies, some at a time.
   * @param copies as CopyBatch sorts them
   * @yields those that were read together
   */
  *read(copies: readonly Copy[]): Generator<readonly Copy[], void, void> {
    for (let start = 0; start < copies.length; ) {
      const end = runEnd(copies, start);
      const run = copies.slice(start, end);
      const device = this.#source.device(run[0]!.ptr.dev);
      if (device === undefined) for (const copy of run) copy.state = 'missing';
      else
        this.#readRun(
          device,
          run.filter(copy => this.#isThere(copy)),
        );
      yield run;
      start = end;
    }
  }

  /** Reads one copy and judges it. @returns its bytes, as they are on the device; undefined when they are not right */
  readOne(copy: Copy): Uint8Array | undefined {
    const device = this.#source.device(copy.ptr.dev);
    if (device === undefined || !this.#isThere(copy)) return undefined;
    const bytes = this.#room(copyBytes(copy));
    try {
      device.read(sectorsToBytes(copy.ptr.offset), bytes);
    } catch (thrown) {
      if (thrown instanceof DeviceError) return undefined;
      throw thrown;
    }
    return this.problemOf(copy, bytes) === undefined ? bytes : undefined;
  }

  /** What is wrong with the bytes of a copy. */
  problemOf(copy: Copy, bytes: Uint8Array): DataError | undefined {
    const { encoding, key } = copy;
    const { compressionType, csumType, isCompressed, uncompressedSectors } = encoding;
    const where = copyPlace(this.#source, copy);
    try {
      verifyEncoded(bytes, encoding, key.k, this.#source.key, where);
      // The checksum says the same in a fraction of the time.
      if (csumType === 0 && isCompressed) decompress(compressionType, bytes, uncompressedSectors * SECTOR_BYTES);
      return undefined;
    } catch (thrown) {
      if (thrown instanceof CorruptError)
        return new CorruptError(thrown.error, { ...where, ...thrown.where }, thrown.detail);
      if (thrown instanceof IncompatibleError) return new CorruptError('data_read_csum_err', where, thrown.detail);
      throw thrown;
    }
  }

  /** Room for so many bytes; what was in it is gone. */
  #room(bytes: number): Uint8Array {
    if (this.#buffer.length < bytes) this.#buffer = new Uint8Array(bytes);
    return this.#buffer.subarray(0, bytes);
  }

  /** Whether it is to be read: a cached copy whose bucket was used for something else is none any more. */
  #isThere(copy: Copy): boolean {
    const { ptr, encoding } = copy;
    const bucketSectors = this.#devices[ptr.dev]?.bucketSizeSectors ?? 0;
    if ((ptr.offset % bucketSectors) + encoding.compressedSectors > bucketSectors || bucketSectors === 0) {
      const detail = `${encoding.compressedSectors} sectors, which go past the end of their bucket`;
      setState(copy, new CorruptError('ptr_spans_multiple_buckets', copyPlace(this.#source, copy), detail));
      return false;
    }
    if (!ptr.cached && encoding.csumType !== 0) return true;
    const age = this.#gens.ageOf(ptr);
    if (age === 'current' || !ptr.cached) {
      if (age !== 'stale') return true;
      const detail = 'without a checksum, and its bucket has been used for something else since';
      setState(copy, new CorruptError('data_read_ptr_stale_dirty', copyPlace(this.#source, copy), detail));
    }
    return false;
  }

  #readRun(device: BlockDevice, run: readonly Copy[]): void {
    const [first] = run;
    if (first === undefined) return;
    const start = first.ptr.offset;
    const end = run.reduce((last, copy) => Math.max(last, endOf(copy)), start);
    const bytes = this.#room(sectorsToBytes(end - start));
    try {
      device.read(sectorsToBytes(start), bytes);
    } catch (thrown) {
      if (!(thrown instanceof DeviceError)) throw thrown;
      if (run.length > 1) for (const copy of run) this.#readRun(device, [copy]);
      else setState(first, thrown);
      return;
    }
    let last: Copy | undefined;
    for (const copy of run) {
      if (last !== undefined && isSameEncoded(last, copy)) {
        copy.state = last.state;
        copy.problem = last.problem;
        continue;
      }
      const at = sectorsToBytes(copy.ptr.offset - start);
      setState(copy, this.problemOf(copy, bytes.subarray(at, at + copyBytes(copy))));
      last = copy;
    }
  }
}

function setState(copy: Copy, problem: DataError | undefined): void {
  copy.problem = problem;
  copy.state = problem === undefined ? 'good' : 'bad';
}

const endOf = ({ ptr, encoding }: Copy): number => ptr.offset + encoding.compressedSectors;

/** Copies of one device that are read together, from `start` on. */
function runEnd(copies: readonly Copy[], start: number): number {
  const { ptr } = copies[start]!;
  let end = ptr.offset;
  for (let i = start; i < copies.length; i++) {
    const copy = copies[i]!;
    if (copy.ptr.dev !== ptr.dev) return i;
    const last = Math.max(end, endOf(copy));
    const isFar = copy.ptr.offset > end + GAP_SECTORS || sectorsToBytes(last - ptr.offset) > RUN_BYTES;
    if (i > start && isFar) return i;
    end = last;
  }
  return copies.length;
}

/** Two keys show parts of the same encoded extent. */
export function isSameEncoded(a: Copy, b: Copy): boolean {
  return (
    a.ptr.dev === b.ptr.dev &&
    a.ptr.offset === b.ptr.offset &&
    a.ptr.gen === b.ptr.gen &&
    a.encoding.csumType === b.encoding.csumType &&
    a.encoding.compressionType === b.encoding.compressionType &&
    a.encoding.compressedSectors === b.encoding.compressedSectors &&
    a.encoding.uncompressedSectors === b.encoding.uncompressedSectors &&
    a.encoding.nonceSectors === b.encoding.nonceSectors &&
    a.key.k.bversion_lo === b.key.k.bversion_lo &&
    a.key.k.bversion_hi === b.key.k.bversion_hi &&
    csumEquals(a.encoding.csum, b.encoding.csum)
  );
}
