// What key types made of extent entries have in common: extent, reflink_v, btree_ptr, btree_ptr_v2.
// Source: bch2_bkey_ptrs_validate and extent_ptr_validate in data/extents.c, v1.36.1; data/reconcile/trigger.c, v1.36.1.

import type { Bkey } from '../bkey.ts';
import { checksumTypes } from '../checksum-types.ts';
import { compressionTypes } from '../compression-types.ts';
import {
  type ExtentCrc,
  type ExtentEntry,
  type ExtentOptions,
  type ExtentPtr,
  reconcileOptions,
} from '../extent-entries.ts';
import type { FaultName } from '../faults.ts';
import { keyTypes } from './key-types.ts';
import type { KeyProblem, KeyValidateContext } from './kind.ts';

/** BCH_BKEY_PTRS_MAX. */
const PTRS_MAX = 16;
/** BCH_SB_MEMBER_INVALID: a pointer to a member that was removed, or to a block of a stripe that is gone. */
export const MEMBER_INVALID = 255;

const EXTENT = keyTypes.idOf('extent');
const BTREE_PTRS: readonly number[] = [keyTypes.idOf('btree_ptr'), keyTypes.idOf('btree_ptr_v2')];
const INCOMPRESSIBLE = compressionTypes.idOf('incompressible');
const NEED_REPLICAS = 1 << reconcileOptions.idOf('data_replicas');

/** What is wrong with the entries of a key, in the order in which the reference looks. */
export function extentPtrsProblems(
  entries: readonly ExtentEntry[],
  k: Bkey,
  context: KeyValidateContext = {},
): KeyProblem[] {
  const judge = new EntriesJudge(entries, k, context);
  for (const [index, entry] of entries.entries()) judge.look(entry, index);
  judge.end();
  return judge.problems;
}

/** Looks at the entries one after the other, and at what they are together when all have been seen. */
class EntriesJudge {
  readonly problems: KeyProblem[] = [];
  readonly #k: Bkey;
  readonly #context: KeyValidateContext;
  readonly #isBtreePtr: boolean;
  readonly #ptrs: readonly ExtentPtr[];
  /** Of what the next pointer points to, in sectors. */
  #sizeOnDisk: number;
  #nonce: number | undefined;
  #crcSincePtr = false;
  #stripeSincePtr = false;
  #isWritten = false;
  #isUnwritten = false;
  #isSomewhere = false;
  #isSomewhereDirty = false;

  constructor(entries: readonly ExtentEntry[], k: Bkey, context: KeyValidateContext) {
    this.#k = k;
    this.#context = context;
    this.#isBtreePtr = BTREE_PTRS.includes(k.type);
    this.#ptrs = entries.filter(entry => entry.type === 'ptr');
    this.#sizeOnDisk = this.#isBtreePtr ? (context.btreeNodeSectors ?? 0) : k.size;
  }

  look(entry: ExtentEntry, index: number): void {
    if (this.#isBtreePtr && !['ptr', 'reconcile', 'reconcile_bp', 'unknown'].includes(entry.type)) {
      this.#wrong('btree_ptr_has_non_ptr', `an entry of type ${entry.type}, expected only pointers`);
      return;
    }
    switch (entry.type) {
      case 'unknown': {
        const word = entry.word.toString(16).padStart(16, '0');
        this.#wrong('extent_ptrs_invalid_entry', `an entry of unknown type: ${word}`);
        break;
      }
      case 'ptr':
        this.#lookAtPtr(entry);
        break;
      case 'crc32':
      case 'crc64':
      case 'crc128':
        this.#lookAtCrc(entry);
        break;
      case 'stripe_ptr':
        if (this.#stripeSincePtr)
          this.#wrong('ptr_stripe_redundant', 'two stripe pointers without a pointer between them');
        this.#stripeSincePtr = true;
        break;
      case 'reconcile':
        this.#lookAtReconcile(entry);
        break;
      case 'flags':
        if (index !== 0) this.#wrong('extent_flags_not_at_start', `flags are entry ${index}, expected 0`);
        break;
    }
  }

  #lookAtPtr(ptr: ExtentPtr): void {
    this.problems.push(...ptrProblems(ptr, this.#ptrs, this.#sizeOnDisk, this.#context));
    if (ptr.cached && this.#stripeSincePtr) {
      this.#wrong('ptr_cached_and_erasure_coded', `the pointer to device ${ptr.dev} is cached and in a stripe`);
    }
    if (ptr.dev !== MEMBER_INVALID) {
      if (ptr.unwritten) this.#isUnwritten = true;
      else this.#isWritten = true;
    }
    if (ptr.dev !== MEMBER_INVALID || this.#stripeSincePtr) {
      this.#isSomewhere = true;
      if (!ptr.cached) this.#isSomewhereDirty = true;
    }
    this.#stripeSincePtr = false;
    this.#crcSincePtr = false;
  }

  #lookAtCrc(crc: ExtentCrc): void {
    this.problems.push(...crcProblems(crc, this.#k, this.#context));
    if (checksumTypes.byId(crc.csum_type)?.isEncryption) {
      const nonce = crc.offset + crc.nonce;
      if (this.#nonce !== undefined && this.#nonce !== nonce)
        this.#wrong('ptr_crc_nonce_mismatch', `offset and nonce add up to ${nonce}, expected ${this.#nonce}`);
      this.#nonce ??= nonce;
    }
    if (this.#crcSincePtr) this.#wrong('ptr_crc_redundant', 'two checksums without a pointer between them');
    this.#crcSincePtr = true;
    this.#sizeOnDisk = crc.compressed_size;
  }

  #lookAtReconcile(entry: ExtentOptions): void {
    if (entry.pending && entry.need_rb === 0) this.#wrong('extent_reconcile_bad_pending', 'pending, but nothing to do');
    if (entry.hipri && (entry.need_rb & NEED_REPLICAS) === 0) {
      this.#wrong('extent_reconcile_bad_hipri', 'of high priority, but not for data_replicas');
    }
    if (entry.data_replicas === 0) this.#wrong('extent_reconcile_bad_replicas', 'data_replicas is 0');
  }

  end(): void {
    const { length } = this.#ptrs;
    if (length === 0) this.#wrong('extent_ptrs_no_ptrs', 'no pointer');
    if (length > PTRS_MAX)
      this.#wrong('extent_ptrs_too_many_ptrs', `${length} pointers, expected ${PTRS_MAX} or fewer`);
    if (this.#isWritten && this.#isUnwritten) {
      this.#wrong('extent_ptrs_written_and_unwritten', 'some pointers are written, some unwritten');
    }
    if (this.#k.type !== EXTENT && this.#isUnwritten)
      this.#wrong('extent_ptrs_unwritten', 'an unwritten pointer, expected none');
    if (this.#crcSincePtr) this.#wrong('extent_ptrs_redundant_crc', 'a checksum that no pointer follows');
    if (this.#stripeSincePtr) this.#wrong('extent_ptrs_redundant_stripe', 'a stripe pointer that no pointer follows');
    if (!this.#isBtreePtr && length > 0) {
      if (!this.#isSomewhere) this.#wrong('extent_ptrs_all_invalid', 'all pointers are to devices that were removed');
      else if (this.#context.writing && !this.#isSomewhereDirty)
        this.#wrong('extent_ptrs_all_invalid', 'all pointers are cached');
    }
  }

  #wrong(error: FaultName, detail: string): void {
    this.problems.push({ error, detail });
  }
}

function ptrProblems(
  ptr: ExtentPtr,
  ptrs: readonly ExtentPtr[],
  sizeOnDisk: number,
  context: KeyValidateContext,
): KeyProblem[] {
  if (ptr.dev === MEMBER_INVALID) return [];
  const problems: KeyProblem[] = [];
  // Said once, at the first of them.
  if (ptrs.find(other => other.dev === ptr.dev) === ptr && ptrs.some(other => other !== ptr && other.dev === ptr.dev)) {
    problems.push({ error: 'ptr_to_duplicate_device', detail: `several pointers to device ${ptr.dev}` });
  }
  const device = context.device?.(ptr.dev);
  if (device === undefined || device.bucketSizeSectors === 0) return problems;
  const bucket = Math.floor(ptr.offset / device.bucketSizeSectors);
  const offset = ptr.offset % device.bucketSizeSectors;
  const place = `device ${ptr.dev} sector ${ptr.offset}`;
  if (bucket >= device.bucketCount) {
    const detail = `${place} is in bucket ${bucket}, expected less than ${device.bucketCount}`;
    problems.push({ error: 'ptr_after_last_bucket', detail });
  }
  if (bucket < device.firstBucket) {
    const detail = `${place} is in bucket ${bucket}, expected ${device.firstBucket} or more`;
    problems.push({ error: 'ptr_before_first_bucket', detail });
  }
  if (offset + sizeOnDisk > device.bucketSizeSectors) {
    const detail = `${place}: ${sizeOnDisk} sectors at sector ${offset} of a bucket of ${device.bucketSizeSectors}`;
    problems.push({ error: 'ptr_spans_multiple_buckets', detail });
  }
  return problems;
}

function crcProblems(crc: ExtentCrc, k: Bkey, context: KeyValidateContext): KeyProblem[] {
  const problems: KeyProblem[] = [];
  const wrong = (error: FaultName, detail: string) => problems.push({ error, detail });
  if (checksumTypes.byId(crc.csum_type) === undefined) {
    wrong('ptr_crc_csum_type_unknown', `checksum type ${crc.csum_type} is not known`);
  }
  if (compressionTypes.byId(crc.compression_type) === undefined) {
    wrong('ptr_crc_compression_type_unknown', `compression type ${crc.compression_type} is not known`);
  }
  if (crc.offset + k.size > crc.uncompressed_size) {
    const detail = `${k.size} sectors at offset ${crc.offset} of ${crc.uncompressed_size}`;
    wrong('ptr_crc_uncompressed_size_too_small', detail);
  }
  const isCompressed = crc.compression_type !== 0 && crc.compression_type !== INCOMPRESSIBLE;
  const max = context.encodedExtentMaxSectors;
  if (context.writing && max !== undefined && (crc.csum_type !== 0 || isCompressed) && crc.uncompressed_size > max) {
    wrong('ptr_crc_uncompressed_size_too_big', `${crc.uncompressed_size} sectors, expected ${max} or fewer`);
  }
  if (!isCompressed && crc.compressed_size !== crc.uncompressed_size) {
    const detail = `not compressed, but ${crc.compressed_size} sectors on disk and ${crc.uncompressed_size} of data`;
    wrong('ptr_crc_uncompressed_size_mismatch', detail);
  }
  return problems;
}
