// From the key of an extent to its bytes. Entries stand in order: a checksum entry applies to the pointers after it, a stripe pointer
// to the next one. Each pointer is a copy of the same data, possibly encoded in another way. What one checksum covers, the encoded
// extent, is read, verified, decrypted and decompressed as a whole, whichever part of it is wanted; the key may show only a part (the
// live part) of it. Copies are tried from the most to the least trustworthy, blocks of stripes are rebuilt where they cannot be read;
// what had failed before a copy was good is reported, so that who reads knows that it healed.
//
// Unlike the reference, which refuses them, a copy whose bucket has a newer generation is used as a last resort if its checksum is right:
// that the bytes are the ones that were written is what a checksum says. Cached pointers that are stale are never looked at.
// Sources: io_read.c, extents.c (bch2_bkey_pick_read_device), v1.13.0; data/read.c, data/extents.c, v1.39.2.

import type { FilesystemSource } from '../btree/source.ts';
import { canChecksum } from '../checksum/checksum.ts';
import { csumEquals } from '../checksum/csum.ts';
import { decompress, UNCOMPRESSED_BYTES_MAX } from '../compress/decompress.ts';
import { chacha20 } from '../crypto/chacha20.ts';
import type { Bkey, Key } from '../ondisk/bkey.ts';
import { bposText } from '../ondisk/bpos.ts';
import { assert, CorruptError, DeviceError, type Location, locate } from '../ondisk/errors.ts';
import {
  decodeExtentEntries,
  type ExtentEntry,
  type ExtentPtr,
  type ExtentStripePtr,
  extentFlags,
} from '../ondisk/extent-entries.ts';
import type { FaultName } from '../ondisk/faults.ts';
import { keyError, keyErrorReasons } from '../ondisk/keys/error.ts';
import { BchIndirectInlineData } from '../ondisk/keys/inline-data.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import { BchReflinkV } from '../ondisk/keys/reflink-v.ts';
import type { Damage } from '../report/finding.ts';
import { SECTOR_BYTES } from '../util/sizes.ts';
import { BucketGens } from './bucket-gens.ts';
import { DecodePool } from './decode-pool.ts';
import type { DataError, ReplicaFailure } from './finding.ts';
import { type Encoding, liveProblem, macKeyOf, type Replica, replicasOf, verifyEncoded } from './replicas.ts';
import { StripeReader } from './stripes.ts';

export interface ExtentReadOptions {
  /** The btree that the key is from, for messages. */
  readonly btree?: string;
  /**
   * Called with each copy that fails while others are left to try, and of the last one. Members that are missing count as a failure only
   * when no other copy is good.
   */
  readonly onReplicaFailure?: ((failure: ReplicaFailure) => void) | undefined;
  /** Give bytes that fail their checksum, and those of extents that are marked as damaged. */
  readonly ignoreErrors?: boolean | undefined;
}

/** What a key of the extents or reflink btree stands for. */
export type ExtentContent =
  | { readonly kind: 'data'; readonly entries: readonly ExtentEntry[] }
  | { readonly kind: 'inline'; readonly bytes: Uint8Array }
  /** Space that is promised, or allocated and not written yet: zeroes. */
  | { readonly kind: 'reserved' | 'unwritten' }
  | { readonly kind: 'hole' }
  /** A key that points on into the reflink btree. */
  | { readonly kind: 'reflink' }
  | { readonly kind: 'lost'; readonly error: CorruptError };

const POISONED = 1n << BigInt(extentFlags.idOf('poisoned'));

/** @param btree for the message of what is lost */
export function extentContent({ k, value }: Key, btree = 'extents'): ExtentContent {
  const lost = (error: FaultName, detail: string): ExtentContent => ({
    kind: 'lost',
    error: new CorruptError(error, { btree, pos: bposText(k.p) }, detail),
  });
  const name = keyTypes.byId(k.type)?.name;
  switch (name) {
    case 'extent':
      return pointersContent(decodeExtentEntries(value));
    case 'reflink_v':
      if (value.length < BchReflinkV.size) return lost('bkey_val_size_too_small', `a value of ${value.length} bytes`);
      return pointersContent(decodeExtentEntries(value.subarray(BchReflinkV.size)));
    case 'inline_data':
      return { kind: 'inline', bytes: value };
    case 'indirect_inline_data':
      return { kind: 'inline', bytes: value.subarray(BchIndirectInlineData.size) };
    case 'reservation':
      return { kind: 'reserved' };
    case 'reflink_p':
      return { kind: 'reflink' };
    case 'deleted':
    case 'whiteout':
    case 'extent_whiteout':
      return { kind: 'hole' };
    case 'error': {
      const { reason } = keyError.decode(value);
      const why = reason === undefined ? '' : `: ${keyErrorReasons.nameOf(reason)}`;
      return lost('key_type_error', `the data was lost before and the key says so${why}`);
    }
    default:
      return lost('bkey_invalid_type_for_btree', `a key of type ${keyTypes.nameOf(k.type)}, expected an extent`);
  }
}

/** What an extent says that is marked as damaged. */
export function poisonOf(entries: readonly ExtentEntry[], where: Location): CorruptError | undefined {
  if (!entries.some(entry => entry.type === 'flags' && (entry.flags & POISONED) !== 0n)) return undefined;
  return new CorruptError('extent_poisoned', where, 'the extent is marked as damaged: its data had been lost before');
}

/** One unwritten pointer is enough for the reference. */
function pointersContent(entries: readonly ExtentEntry[]): ExtentContent {
  const isUnwritten = entries.some(entry => entry.type === 'ptr' && entry.unwritten);
  return isUnwritten ? { kind: 'unwritten' } : { kind: 'data', entries };
}

interface Attempt extends Replica {
  readonly isRebuild: boolean;
  /** Why it is believed only with a checksum. */
  readonly doubt: string | undefined;
}

/** The encoded extent that was decoded last. */
interface Decoded {
  readonly ptr: ExtentPtr;
  readonly encoding: Encoding;
  readonly versionLo: bigint;
  readonly versionHi: number;
  readonly bytes: Uint8Array;
  /** What failed before it was good. */
  readonly failures: readonly ReplicaFailure[];
}

/** What is wanted: a part of the live part of a key. */
interface Want {
  readonly k: Bkey;
  readonly where: Location;
  /** Bytes from the start of the key. */
  readonly offset: number;
  readonly into: Uint8Array;
}

/** An extent that workers were given. */
interface Prepared {
  readonly job: number;
  readonly ptr: ExtentPtr;
  readonly encoding: Encoding;
}

/** Starting workers costs as much as decompressing some 10 MB. */
const POOL_AFTER_BYTES = 16 * 2 ** 20;

const NO_BYTES = new Uint8Array(0);
export interface DataReaderOptions {
  /** Called with parts of the alloc btree that are lost, where generations stand. */
  readonly onDamage?: ((damage: Damage) => void) | undefined;
  /** Uses other cores once much was decompressed; `close` then ends them. */
  readonly parallel?: boolean | undefined;
  /** How much that is, in bytes. */
  readonly poolAfterBytes?: number | undefined;
}

/**
 * Reads extents of one filesystem. Keeps its buffers: up to 8 MiB, and 8 more with other cores. `loadCompression()` has to have been
 * awaited.
 */
export class DataReader {
  readonly #gens: BucketGens;
  readonly #stripes: StripeReader;
  #scratch = NO_BYTES;
  #decoded: Decoded | undefined;
  /** How much has to be decompressed yet before others help. */
  #bytesToPool: number;
  #pool: DecodePool | undefined;
  /** In the order in which they are expected to be wanted. */
  #prepared: Prepared[] = [];

  constructor(
    readonly source: FilesystemSource,
    options: DataReaderOptions = {},
  ) {
    const { parallel = false, poolAfterBytes = POOL_AFTER_BYTES } = options;
    this.#bytesToPool = parallel ? poolAfterBytes : Number.POSITIVE_INFINITY;
    this.#gens = new BucketGens(source, options.onDamage);
    this.#stripes = new StripeReader(source, this.#gens);
  }

  /**
   * Reads a part of what a key covers. What is not stored (reserved, unwritten) is zeroes.
   * @param key of type extent, reflink_v, inline_data, indirect_inline_data, reservation, error, …; not reflink_p
   * @param offset bytes from the start of the key
   * @param into as much as is wanted, inside of the key; on errors what it holds is undefined
   * @returns with `ignoreErrors`, the error that was ignored
   * @throws CorruptError data_read_csum_err, data_decompress_err_…, extent_poisoned, key_type_error, …
   * @throws DeviceError when the members with the copies are missing or fail
   */
  read(key: Key, offset: number, into: Uint8Array, options: ExtentReadOptions = {}): DataError | undefined {
    const { k } = key;
    const { btree = 'extents' } = options;
    assert(offset >= 0 && offset + into.length <= k.size * SECTOR_BYTES, 'what is read is inside of the key');
    if (into.length === 0) return undefined;
    const content = extentContent(key, btree);
    switch (content.kind) {
      case 'inline':
        into.fill(0);
        into.set(content.bytes.subarray(offset, offset + into.length));
        return undefined;
      case 'lost':
        throw content.error;
      case 'data':
        return this.#readData(content.entries, { k, where: { btree, pos: bposText(k.p) }, offset, into }, options);
      case 'reflink':
        assert(false, 'a reflink_p has no bytes of its own: the indirect extent has');
        return undefined;
      default:
        into.fill(0);
        return undefined;
    }
  }

  /** Whether `prepare` may be of use. */
  get isParallel(): boolean {
    return this.#pool !== undefined;
  }

  /**
   * Has an extent decompressed that will be read soon, if it is one for that.
   * @returns false when there is no room now: it is worth asking again after the next read
   */
  prepare(key: Key): boolean {
    const pool = this.#pool;
    if (pool === undefined) return true;
    const content = extentContent(key);
    if (content.kind !== 'data') return true;
    const [best] = replicasOf(content.entries, key.k)
      .filter(({ ptr, encoding }) => encoding.isCompressed && !ptr.cached && this.source.device(ptr.dev) !== undefined)
      .toSorted((a, b) => a.encoding.compressedSectors - b.encoding.compressedSectors);
    if (best === undefined) return true;
    const { ptr, encoding } = best;
    const { csumType, compressionType } = encoding;
    const isPlain = csumType !== 0 && canChecksum(csumType) && liveProblem(encoding, key.k) === undefined;
    const [inputBytes, outputBytes] = [encoding.compressedSectors, encoding.uncompressedSectors].map(
      sectors => sectors * SECTOR_BYTES,
    ) as [number, number];
    if (!isPlain || !DecodePool.takes({ inputBytes, outputBytes })) return true;
    const last = this.#prepared.at(-1);
    if (last !== undefined && isSameEncoded(ptr, encoding, last)) return true;
    if (!pool.hasRoom) return false;
    const { lo: csumLo, hi: csumHi } = encoding.csum;
    try {
      const job = pool.post({ csumType, csumLo, csumHi, compressionType, inputBytes, outputBytes }, target =>
        this.source.device(ptr.dev)?.read(ptr.offset * SECTOR_BYTES, target),
      );
      this.#prepared.push({ job, ptr, encoding });
    } catch (thrown) {
      // It will be met again when the extent is read.
      if (!(thrown instanceof DeviceError)) throw thrown;
    }
    return true;
  }

  /** What was prepared is not wanted any more. */
  dropPrepared(): void {
    for (const { job } of this.#prepared) this.#pool?.drop(job);
    this.#prepared = [];
  }

  /** Ends the workers, if there are any. */
  close(): void {
    this.dropPrepared();
    this.#pool?.close();
    this.#pool = undefined;
    this.#bytesToPool = Number.POSITIVE_INFINITY;
  }

  /** @returns whether the extent was prepared and is right; `copy` got its bytes */
  #takePrepared(ptr: ExtentPtr, encoding: Encoding, copy: (bytes: Uint8Array) => void): boolean {
    const index = this.#prepared.findIndex(one => isSameEncoded(ptr, encoding, one));
    if (index < 0) return false;
    // What stands before it was passed by.
    const passed = this.#prepared.splice(0, index + 1);
    const found = passed.pop();
    for (const { job } of passed) this.#pool?.drop(job);
    return found !== undefined && this.#pool?.take(found.job, copy) === true;
  }

  #countDecompressed(bytes: number): void {
    this.#bytesToPool -= bytes;
    if (this.#bytesToPool > 0) return;
    this.#bytesToPool = Number.POSITIVE_INFINITY;
    this.#pool = DecodePool.start();
  }

  #readData(entries: readonly ExtentEntry[], want: Want, options: ExtentReadOptions): DataError | undefined {
    const poison = poisonOf(entries, want.where);
    if (poison !== undefined && !options.ignoreErrors) throw poison;

    const replicas = replicasOf(entries, want.k);
    if (this.#fromDecoded(replicas, want, options)) return poison;
    const { attempts, failures, isDirty } = this.#attempts(replicas, want);
    // Nothing but cached copies that are gone: the reference gives zeroes.
    if (!isDirty && attempts.length === 0) {
      want.into.fill(0);
      return poison;
    }
    const failed: ReplicaFailure[] = [];
    for (const attempt of attempts) {
      try {
        this.#attempt(attempt, want, true, failed);
        return poison;
      } catch (thrown) {
        const failure = { error: asDataError(thrown, want.where), device: attempt.ptr.dev };
        failures.push(failure);
        failed.push(failure);
        options.onReplicaFailure?.(failure);
      }
    }
    const error = allFailed(failures, want.where);
    if (!options.ignoreErrors) throw error;
    for (const attempt of attempts) {
      try {
        this.#attempt(attempt, want, false, []);
        return poison ?? error;
      } catch (thrown) {
        // It failed in the same way before, and was reported then.
        asDataError(thrown, want.where);
      }
    }
    throw error;
  }

  /** The last extent again: files that were overwritten show several parts of one. */
  #fromDecoded(replicas: readonly Replica[], want: Want, options: ExtentReadOptions): boolean {
    const decoded = this.#decoded;
    if (decoded === undefined) return false;
    if (want.k.bversion_lo !== decoded.versionLo || want.k.bversion_hi !== decoded.versionHi) return false;
    const found = replicas.find(({ ptr, encoding }) => isSameEncoded(ptr, encoding, decoded));
    if (found === undefined || liveProblem(found.encoding, want.k) !== undefined) return false;
    for (const failure of decoded.failures) options.onReplicaFailure?.(failure);
    const start = found.encoding.offsetSectors * SECTOR_BYTES + want.offset;
    want.into.set(decoded.bytes.subarray(start, start + want.into.length));
    return true;
  }

  /** What can be tried, best first, and what cannot. */
  #attempts(
    replicas: readonly Replica[],
    want: Want,
  ): { readonly attempts: readonly Attempt[]; readonly failures: ReplicaFailure[]; readonly isDirty: boolean } {
    const direct: Attempt[] = [];
    const rebuilds: Attempt[] = [];
    const failures: ReplicaFailure[] = [];
    let isDirty = false;
    for (const replica of replicas) {
      const { ptr, encoding, stripePtr } = replica;
      if (!ptr.cached) isDirty = true;
      const isPresent = this.source.device(ptr.dev) !== undefined;
      const age = ptr.cached || (isPresent && encoding.csumType === 0) ? this.#gens.ageOf(ptr) : 'current';
      if (ptr.cached && (age === 'stale' || !isPresent)) continue;
      const doubt =
        age === 'current'
          ? undefined
          : age === 'stale'
            ? 'its bucket has been used for something else since'
            : 'whether its bucket has been used for something else since was lost';
      if (isPresent) direct.push({ isRebuild: false, doubt, ...replica });
      else failures.push({ error: missingMember(ptr.dev), device: ptr.dev });
      if (stripePtr !== undefined) rebuilds.push({ isRebuild: true, doubt: undefined, ...replica });
    }
    // Stable: replicas of one rank stay in the order of the key.
    direct.sort((a, b) => rankOf(a, want) - rankOf(b, want));
    const sure = direct.filter(attempt => attempt.doubt === undefined);
    const doubtful = direct.filter(attempt => attempt.doubt !== undefined);
    return { attempts: [...sure, ...rebuilds, ...doubtful], failures, isDirty };
  }

  #attempt(attempt: Attempt, want: Want, isVerified: boolean, failures: readonly ReplicaFailure[]): void {
    const { ptr, encoding, stripePtr } = attempt;
    const { k, offset, into } = want;
    const device = attempt.isRebuild ? undefined : this.source.device(ptr.dev);
    const where: Location = {
      ...want.where,
      device: device?.name ?? `member ${ptr.dev}`,
      sector: ptr.offset,
    };
    const problem = liveProblem(encoding, k);
    if (problem !== undefined) throw new CorruptError(problem.error, where, problem.detail);
    const fill = (skipBytes: number, target: Uint8Array): void => {
      if (device !== undefined) device.read(ptr.offset * SECTOR_BYTES + skipBytes, target);
      else if (stripePtr !== undefined) this.#rebuild(ptr, stripePtr, skipBytes, target, want.where);
      else throw missingMember(ptr.dev);
    };

    const liveAt = encoding.offsetSectors * SECTOR_BYTES + offset;
    if (encoding.csumType === 0 && !encoding.isCompressed) {
      if (isVerified && attempt.doubt !== undefined) {
        throw new CorruptError('data_read_ptr_stale_dirty', where, `without a checksum, and ${attempt.doubt}`);
      }
      fill(liveAt, into);
      return;
    }
    const outputBytes = encoding.uncompressedSectors * SECTOR_BYTES;
    if (!encoding.isCompressed && liveAt === 0 && into.length === outputBytes) {
      fill(0, into);
      this.#verifyAndDecrypt(into, encoding, k, where, isVerified);
      return;
    }
    const { bversion_lo: versionLo, bversion_hi: versionHi } = k;
    const keep = (bytes: Uint8Array): void => {
      this.#decoded = { ptr, encoding, versionLo, versionHi, bytes, failures: [...failures] };
    };
    if (isVerified && encoding.isCompressed && device !== undefined) {
      const isTaken = this.#takePrepared(ptr, encoding, bytes => {
        into.set(bytes.subarray(liveAt, liveAt + into.length));
        this.#decoded = undefined;
        // Other keys may show other parts of it; what workers gave is theirs again.
        if (into.length < bytes.length) keep(bytes.slice());
      });
      if (isTaken) return;
    }
    const raw = this.#buffer(encoding.compressedSectors * SECTOR_BYTES);
    fill(0, raw);
    this.#verifyAndDecrypt(raw, encoding, k, where, isVerified);
    const bytes = encoding.isCompressed
      ? locate(where, () => decompress(encoding.compressionType, raw, outputBytes))
      : raw;
    into.set(bytes.subarray(liveAt, liveAt + into.length));
    if (isVerified) keep(bytes);
    if (encoding.isCompressed) this.#countDecompressed(bytes.length);
  }

  /** Stripes are rebuilt in whole sectors; bytes may be wanted. */
  #rebuild(ptr: ExtentPtr, stripePtr: ExtentStripePtr, skipBytes: number, target: Uint8Array, where: Location): void {
    const first = Math.floor(skipBytes / SECTOR_BYTES);
    const sectors = Math.ceil((skipBytes + target.length) / SECTOR_BYTES) - first;
    const start = skipBytes - first * SECTOR_BYTES;
    const isWhole = start === 0 && target.length === sectors * SECTOR_BYTES;
    const buffer = isWhole ? target : new Uint8Array(sectors * SECTOR_BYTES);
    this.#stripes.rebuild({ stripePtr, ptr, skipSectors: first, where }, buffer);
    if (!isWhole) target.set(buffer.subarray(start, start + target.length));
  }

  /** @param raw the encoded extent, decrypted in place */
  #verifyAndDecrypt(raw: Uint8Array, encoding: Encoding, k: Bkey, where: Location, isVerified: boolean): void {
    const mac = isVerified
      ? verifyEncoded(raw, encoding, k, this.source.key, where)
      : macKeyOf(encoding, k, this.source.key, where);
    if (mac !== undefined) chacha20(mac.key, mac.nonce, raw);
  }

  /** Room for one encoded extent; what the last one left there is gone. */
  #buffer(bytes: number): Uint8Array {
    this.#decoded = undefined;
    assert(bytes <= UNCOMPRESSED_BYTES_MAX, 'sizes of extents have 13 bits');
    if (this.#scratch.length < bytes) this.#scratch = new Uint8Array(Math.max(bytes, 2 ** 17));
    return this.#scratch.subarray(0, bytes);
  }
}

/** Lower is better: copies that are not only cached first, then those of which less has to be read. */
function rankOf({ ptr, encoding }: Attempt, { into }: Want): number {
  const isEncoded = encoding.csumType !== 0 || encoding.isCompressed;
  const bytes = isEncoded ? encoding.compressedSectors * SECTOR_BYTES : into.length;
  const cost = encoding.isCompressed ? 2 * bytes : bytes;
  return (ptr.cached ? 2 ** 40 : 0) + cost;
}

/** Whether a replica is the encoded extent that was decoded, whatever part of it is live. */
function isSameEncoded(ptr: ExtentPtr, encoding: Encoding, decoded: Pick<Decoded, 'ptr' | 'encoding'>): boolean {
  const other = decoded.encoding;
  return (
    ptr.dev === decoded.ptr.dev &&
    ptr.offset === decoded.ptr.offset &&
    ptr.gen === decoded.ptr.gen &&
    encoding.csumType === other.csumType &&
    encoding.compressionType === other.compressionType &&
    encoding.compressedSectors === other.compressedSectors &&
    encoding.uncompressedSectors === other.uncompressedSectors &&
    encoding.nonceSectors === other.nonceSectors &&
    csumEquals(encoding.csum, other.csum)
  );
}

const missingMember = (device: number) =>
  new DeviceError('missing', `member ${device}`, 'it is not among the devices that were given');

/** @throws what is not a fault of the data */
function asDataError(thrown: unknown, where: Location): DataError {
  if (thrown instanceof CorruptError) {
    return thrown.where.pos === undefined
      ? new CorruptError(thrown.error, { ...where, ...thrown.where }, thrown.detail)
      : thrown;
  }
  if (thrown instanceof DeviceError) return thrown;
  throw thrown;
}

/** What is wrong with the bytes speaks first, else what is wrong with a device; the others are added. */
function allFailed(failures: readonly ReplicaFailure[], where: Location): DataError {
  const errors = failures.map(failure => failure.error);
  const first = errors.find(error => error instanceof CorruptError) ?? errors[0];
  if (first === undefined) return new CorruptError('extent_ptrs_no_ptrs', where, 'an extent without a copy');
  const others = errors.filter(error => error !== first).map(error => error.message);
  const rest = others.length === 0 ? '' : `; other copies: ${others.join('; ')}`;
  if (first instanceof CorruptError) return new CorruptError(first.error, first.where, `${first.detail}${rest}`);
  const place =
    others.length === 0
      ? `the only copy of ${where.btree} ${where.pos} is on it`
      : `copies of ${where.btree} ${where.pos}`;
  return new DeviceError(first.kind, first.device, `${first.detail}: ${place}${rest}`, { cause: first });
}
