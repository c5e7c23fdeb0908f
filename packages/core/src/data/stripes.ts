// Erasure-coded reads: a block of a stripe that cannot be read is computed from the others. A stripe has a bucket on each of several
// devices: data blocks first, then P (their sum), then Q (the sum of 2^i · block i). Any one block is had from the others and P, or from
// the others and Q; any two data blocks need both. Work goes piece by piece, where a piece is what one of the stripe's own
// checksums covers: each block's piece is verified before it is used and after it was rebuilt, and what is bad in one
// piece may be good in the next. Memory: a few pieces, which are no longer than a block (32 MiB).
// Sources: struct bch_stripe in ec_format.h and bch2_ec_read_extent in ec.c, v1.13.0; data/ec/io.c, v1.39.2; raid/raid.c.

import type { FilesystemSource } from '../btree/source.ts';
import { canChecksum, checksum } from '../checksum/checksum.ts';
import { CSUM_BYTES, csumEquals, csumText } from '../checksum/csum.ts';
import { NULL_NONCE } from '../crypto/nonce.ts';
import { makeBpos } from '../ondisk/bpos.ts';
import { checksumTypeText } from '../ondisk/checksum-types.ts';
import { assert, CorruptError, DeviceError, type Location } from '../ondisk/errors.ts';
import type { ExtentPtr, ExtentStripePtr } from '../ondisk/extent-entries.ts';
import { MEMBER_INVALID } from '../ondisk/keys/extent-ptrs.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import { type Stripe, stripe, stripeCsum } from '../ondisk/keys/stripe.ts';
import { viewOf } from '../ondisk/layout.ts';
import { BchCsum } from '../ondisk/superblock.ts';
import { SECTOR_BYTES } from '../util/sizes.ts';
import { BucketGens } from './bucket-gens.ts';
import type { DataError } from './finding.ts';
import { addInto, doubleAndAddInto, gfInverse, gfPowerOfTwo, multiplyBlock } from './gf256.ts';

const STRIPE = keyTypes.idOf('stripe');

/** Of stripes without checksums. */
const PIECE_SECTORS = 128;
/** Stripes that are kept decoded. */
const STRIPES_MAX = 64;

/** What is to be rebuilt without reading it. */
export interface RebuildRequest {
  readonly stripePtr: ExtentStripePtr;
  /** The pointer after it. */
  readonly ptr: ExtentPtr;
  /** From the pointer on. */
  readonly skipSectors: number;
  readonly where: Location;
}

/** Some sectors of a block of parity. */
export interface ParityPiece {
  /** Its number in the stripe. */
  readonly block: number;
  readonly dev: number;
  readonly sectors: number;
  readonly problem: DataError | undefined;
}

/** A block that cannot be used for a piece, and why. */
type BlockFailure = DataError;

export class StripeReader {
  readonly #source: FilesystemSource;
  readonly #gens: BucketGens;
  readonly #stripes = new Map<number, Stripe>();

  constructor(source: FilesystemSource, gens: BucketGens = new BucketGens(source, () => {})) {
    this.#source = source;
    this.#gens = gens;
  }

  /**
   * Computes what a pointer into a stripe points to, without reading there.
   * @param into whole sectors
   * @throws CorruptError ptr_to_missing_stripe, ptr_to_incorrect_stripe, stripe_read_csum_err, stripe_reconstruct_insufficient_blocks
   * @throws DeviceError when too many members are missing or fail
   */
  rebuild(request: RebuildRequest, into: Uint8Array): void {
    const { stripePtr, ptr, where } = request;
    const { idx, block } = stripePtr;
    const found = this.#stripe(idx, where);
    checkMatch(found, stripePtr, ptr, where);
    const start = ptr.offset - found.ptrs[block]!.offset + request.skipSectors;
    const sectors = into.length / SECTOR_BYTES;
    assert(Number.isInteger(sectors), 'stripes are rebuilt in whole sectors');
    if (start + sectors > found.sectors) {
      const detail = `${sectors} sectors at sector ${start} of blocks of ${found.sectors} in stripe ${idx}`;
      throw new CorruptError('ptr_to_incorrect_stripe', where, detail);
    }
    const pieceSectors = pieceSize(found);
    for (let at = start; at < start + sectors; ) {
      const first = at - (at % pieceSectors);
      const end = Math.min(first + pieceSectors, found.sectors);
      const piece = new StripePiece(this.#source, this.#gens, { stripe: found, idx, first, end }, where);
      const bytes = piece.rebuild(block);
      const until = Math.min(end, start + sectors);
      into.set(
        bytes.subarray((at - first) * SECTOR_BYTES, (until - first) * SECTOR_BYTES),
        (at - start) * SECTOR_BYTES,
      );
      at = until;
    }
  }

  /**
   * Reads the blocks of parity of a stripe, and compares them with its checksums. Of a stripe without checksums only whether they can be read.
   * @yields once for each block and piece: what is wrong with it, if anything
   */
  *checkParity(idx: number, where: Location): Generator<ParityPiece, void, void> {
    const found = this.#stripe(idx, where);
    const pieceSectors = pieceSize(found);
    const into = new Uint8Array(Math.min(pieceSectors, found.sectors) * SECTOR_BYTES);
    for (let block = Math.max(0, found.nr_blocks - found.nr_redundant); block < found.nr_blocks; block++) {
      for (let first = 0; first < found.sectors; first += pieceSectors) {
        const end = Math.min(first + pieceSectors, found.sectors);
        const piece = new StripePiece(this.#source, this.#gens, { stripe: found, idx, first, end }, where);
        const bytes = into.subarray(0, (end - first) * SECTOR_BYTES);
        yield { block, dev: found.ptrs[block]!.dev, sectors: end - first, problem: piece.problemOf(block, bytes) };
      }
    }
  }

  /**
   * A block of parity as it should be. What of it is good is taken as it is, and the rest is computed from the data.
   * @throws CorruptError ptr_to_missing_stripe, stripe_read_csum_err, stripe_reconstruct_insufficient_blocks
   * @throws DeviceError when too many members are missing or fail
   */
  parity(idx: number, block: number, where: Location): Uint8Array {
    const found = this.#stripe(idx, where);
    const pieceSectors = pieceSize(found);
    const bytes = new Uint8Array(found.sectors * SECTOR_BYTES);
    for (let first = 0; first < found.sectors; first += pieceSectors) {
      const end = Math.min(first + pieceSectors, found.sectors);
      const piece = new StripePiece(this.#source, this.#gens, { stripe: found, idx, first, end }, where);
      bytes.set(piece.parity(block), first * SECTOR_BYTES);
    }
    return bytes;
  }

  #stripe(idx: number, where: Location): Stripe {
    const known = this.#stripes.get(idx);
    if (known !== undefined) return known;
    const key = this.#source.btree('stripes').get(makeBpos(0n, BigInt(idx), 0));
    if (key === undefined || key.k.type !== STRIPE || key.value.length < stripe.minBytes) {
      throw new CorruptError('ptr_to_missing_stripe', where, `a block of stripe ${idx}, which does not exist`);
    }
    const decoded = stripe.decode(key.value);
    if (decoded.sectors === 0 || decoded.nr_blocks === 0 || decoded.ptrs.length < decoded.nr_blocks) {
      throw new CorruptError('stripe_val_size_bad', where, `stripe ${idx} is cut off or of no length`);
    }
    if (this.#stripes.size >= STRIPES_MAX) this.#stripes.clear();
    this.#stripes.set(idx, decoded);
    return decoded;
  }
}

/** The pointer lies in the block that it says. Mirrors bch2_ptr_matches_stripe. */
function checkMatch(value: Stripe, { idx, block }: ExtentStripePtr, ptr: ExtentPtr, where: Location): void {
  const wrong = (detail: string): never => {
    throw new CorruptError('ptr_to_incorrect_stripe', where, `block ${block} of stripe ${idx}: ${detail}`);
  };
  const nrData = value.nr_blocks - value.nr_redundant;
  if (block >= nrData) wrong(`it has ${Math.max(nrData, 0)} blocks of data`);
  const own = value.ptrs[block]!;
  if (own.dev !== ptr.dev && own.dev !== MEMBER_INVALID && ptr.dev !== MEMBER_INVALID) {
    wrong(`on member ${own.dev}, the pointer is to member ${ptr.dev}`);
  }
  if (own.gen !== ptr.gen) wrong(`of generation ${own.gen}, the pointer is of generation ${ptr.gen}`);
  if (ptr.offset < own.offset || ptr.offset >= own.offset + value.sectors) {
    wrong(`at sector ${own.offset}, the pointer is to sector ${ptr.offset}`);
  }
}

/** What one checksum covers, in sectors. */
function pieceSize(value: Stripe): number {
  if (value.csum_type === 0) return Math.min(PIECE_SECTORS, value.sectors);
  // Granularities go up to 2^63; a shift would wrap.
  return Math.min(2 ** value.csum_granularity_bits, value.sectors);
}

/** Some sectors of all blocks of a stripe. */
interface StripeRange {
  readonly stripe: Stripe;
  readonly idx: number;
  readonly first: number;
  readonly end: number;
}

/** The same sectors of all blocks. */
class StripePiece implements StripeRange {
  readonly stripe: Stripe;
  readonly idx: number;
  readonly first: number;
  readonly end: number;
  readonly #bytes: number;
  /** By number of the block. */
  readonly #failed = new Map<number, BlockFailure>();

  constructor(
    readonly source: FilesystemSource,
    readonly gens: BucketGens,
    { stripe, idx, first, end }: StripeRange,
    readonly where: Location,
  ) {
    this.stripe = stripe;
    this.idx = idx;
    this.first = first;
    this.end = end;
    this.#bytes = (end - first) * SECTOR_BYTES;
  }

  /** The piece of one data block, from those of the others. */
  rebuild(block: number): Uint8Array {
    // A block that fails is left out of the next try: there are as many tries as parity blocks, and one.
    for (;;) {
      const lost = this.#lostBlocks(block);
      const rebuilt = this.#gather(block, lost);
      if (rebuilt === undefined) continue;
      const problem = this.#checksumProblem(block, rebuilt);
      if (problem === undefined) return rebuilt;
      // Something was wrong that had no checksum of its own, or this block's checksum is.
      const detail = `block ${block} of stripe ${this.idx}, rebuilt: ${problem}`;
      throw new CorruptError('stripe_read_csum_err', this.where, detail);
    }
  }

  /** The piece of a block of parity. */
  parity(block: number): Uint8Array {
    const sum = new Uint8Array(this.#bytes);
    if (this.#read(block, sum)) return sum;
    sum.fill(0);
    const read = new Uint8Array(this.#bytes);
    for (let nr = this.#nrData - 1; nr >= 0; nr--) {
      const own = this.#read(nr, read) ? read : this.rebuild(nr);
      if (block === this.#nrData) addInto(sum, own);
      else doubleAndAddInto(sum, own);
    }
    const problem = this.#checksumProblem(block, sum);
    if (problem === undefined) return sum;
    const detail = `block ${block} of stripe ${this.idx}, computed: ${problem}`;
    throw new CorruptError('stripe_read_csum_err', this.where, detail);
  }

  get #nrData(): number {
    return this.stripe.nr_blocks - this.stripe.nr_redundant;
  }

  /** Data blocks that have to be computed, the wanted one first. */
  #lostBlocks(block: number): readonly number[] {
    const others = [...this.#failed.keys()].filter(nr => nr < this.#nrData && nr !== block);
    const lost = [block, ...others];
    const parities = [0, 1].filter(nr => nr < this.stripe.nr_redundant && !this.#failed.has(this.#nrData + nr)).length;
    if (lost.length > parities) throw this.#insufficient(lost);
    return lost;
  }

  #insufficient(lost: readonly number[]): DataError {
    const { nr_blocks, nr_redundant } = this.stripe;
    const reasons = [...this.#failed].map(([nr, failure]) => `block ${nr}: ${failure.message}`);
    const detail =
      `stripe ${this.idx} of ${nr_blocks - nr_redundant} blocks of data and ${nr_redundant} of parity: ` +
      `${lost.length} of data cannot be read${reasons.length === 0 ? '' : ` (${reasons.join('; ')})`}`;
    const missing = [...this.#failed.values()].find(failure => failure instanceof DeviceError);
    const isAllDevices = [...this.#failed.values()].every(failure => failure instanceof DeviceError);
    if (missing !== undefined && isAllDevices) {
      return new DeviceError(missing.kind, missing.device, detail, { cause: missing });
    }
    return new CorruptError('stripe_reconstruct_insufficient_blocks', this.where, detail);
  }

  /**
   * @param lost one or two blocks of data
   * @returns undefined when a block that was needed failed: it is noted
   */
  #gather(block: number, lost: readonly number[]): Uint8Array | undefined {
    const nrData = this.#nrData;
    const useP = !this.#failed.has(nrData);
    const useQ = lost.length === 2 || !useP;
    const p = new Uint8Array(this.#bytes);
    const q = useQ ? new Uint8Array(this.#bytes) : undefined;
    const read = new Uint8Array(this.#bytes);
    // Horner's rule goes from the last block to the first.
    for (let nr = nrData - 1; nr >= 0; nr--) {
      if (lost.includes(nr)) {
        if (q !== undefined) doubleAndAddInto(q);
        continue;
      }
      if (!this.#read(nr, read)) return undefined;
      if (useP) addInto(p, read);
      if (q !== undefined) doubleAndAddInto(q, read);
    }
    if (useP) {
      if (!this.#read(nrData, read)) return undefined;
      addInto(p, read);
    }
    if (q === undefined) return p;
    if (!this.#read(nrData + 1, read)) return undefined;
    addInto(q, read);

    const factor = gfPowerOfTwo(block);
    const other = lost[1];
    if (other === undefined) {
      // q is 2^block · wanted.
      multiplyBlock(q, gfInverse(factor));
      return q;
    }
    // p is wanted + other, q is 2^block · wanted + 2^other · other.
    const otherFactor = gfPowerOfTwo(other);
    multiplyBlock(p, otherFactor);
    addInto(q, p);
    multiplyBlock(q, gfInverse(factor ^ otherFactor));
    return q;
  }

  /** @returns whether `into` has now what the block held when the stripe was made; if not, it is noted why */
  #read(nr: number, into: Uint8Array): boolean {
    const failure = this.problemOf(nr, into);
    if (failure === undefined) return true;
    this.#failed.set(nr, failure);
    return false;
  }

  /** Reads a block's piece. @returns what is wrong with it */
  problemOf(nr: number, into: Uint8Array): BlockFailure | undefined {
    const ptr = this.stripe.ptrs[nr]!;
    const device = this.source.device(ptr.dev);
    if (device === undefined) {
      return new DeviceError('missing', `member ${ptr.dev}`, 'it is not among the devices that were given');
    }
    const where = { ...this.where, device: device.name, sector: ptr.offset + this.first };
    // With a checksum it does not matter.
    if (this.stripe.csum_type === 0 && this.gens.ageOf(ptr) !== 'current') {
      return new CorruptError('stripe_read_ptr_stale', where, 'the bucket has been used for something else since');
    }
    try {
      device.read((ptr.offset + this.first) * SECTOR_BYTES, into);
    } catch (thrown) {
      if (thrown instanceof DeviceError) return thrown;
      throw thrown;
    }
    const problem = this.#checksumProblem(nr, into);
    return problem === undefined ? undefined : new CorruptError('stripe_read_csum_err', where, problem);
  }

  /** What is wrong with a block's piece by its checksum. */
  #checksumProblem(nr: number, bytes: Uint8Array): string | undefined {
    const { csum_type } = this.stripe;
    if (csum_type === 0) return undefined;
    const { key } = this.source;
    const mac = key === undefined ? undefined : { key, nonce: NULL_NONCE };
    if (!canChecksum(csum_type, mac)) return `checksum type ${checksumTypeText(csum_type)} cannot be computed`;
    const part = Math.floor(this.first / pieceSize(this.stripe));
    const stored = stripeCsum(this.stripe, nr, part);
    if (stored === undefined) return 'the key ends before its checksum';
    const padded = new Uint8Array(CSUM_BYTES);
    padded.set(stored);
    const expected = BchCsum.get(viewOf(padded), 0);
    const computed = checksum(csum_type, bytes, mac);
    if (csumEquals(expected, computed)) return undefined;
    return `checksum ${csumText(csum_type, computed)}, expected ${csumText(csum_type, expected)}`;
  }
}
