// Backpointers: one for each pointer, and no others. Both sides are added up as hashes, by bucket, with opposite signs: what is left
// over when both walks are done shows which buckets differ, at 12 bytes a bucket. Only for those, both sides are then walked
// again, to say which backpointers are missing or too many.
// Source: __bch2_extent_ptr_to_bp and bucket_pos_to_bp in backpointers.h, v1.13.0; bucket_gen since 1.14.

import type { KeyRun } from '../btree/key-runs.ts';
import type { Bpos } from '../ondisk/bpos.ts';
import { btrees } from '../ondisk/btrees.ts';
import { rulesOf } from '../ondisk/format-rules.ts';
import { backpointerSectorAt } from '../ondisk/keys/backpointer.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import type { AllBuckets } from './alloc.ts';
import { type DeviceBuckets, HAS_KEY, rowOf } from './buckets.ts';
import { type InvariantContext, keyPlace } from './context.ts';

const BACKPOINTER = keyTypes.idOf('backpointer');
/** Ten words: the offset of the position, then the eight of the value. */
const WORDS = 10;

/** A backpointer as words. */
export type BackpointerWords = Uint32Array;

export interface BackpointerTarget {
  readonly btree: number;
  readonly level: number;
  readonly dataType: number;
  readonly pos: Bpos;
}

/**
 * The backpointer that a pointer asks for.
 * @param sector on the device; @param suboffset the checksum entry's offset; @param gen of the pointer, stored since 1.14
 * @param shift the filesystem's: how far sectors are shifted in positions
 */
export function backpointerWords(
  target: BackpointerTarget,
  sector: number,
  sectorInBucket: number,
  suboffset: number,
  lengthSectors: number,
  gen: number | undefined,
  shift: number,
): BackpointerWords {
  const words = new Uint32Array(WORDS);
  const unit = 2 ** shift;
  const above = 2 ** (32 - shift);
  const low = (sector % above) * unit + suboffset;
  words[0] = low % 2 ** 32;
  words[1] = Math.floor(sector / above) + (low >= 2 ** 32 ? 1 : 0);
  const inBucket = sectorInBucket * unit + suboffset;
  const head = target.btree | (target.level << 8) | (target.dataType << 16);
  words[2] = gen === undefined ? head | ((inBucket % 256) << 24) : head | (gen << 24);
  words[3] = gen === undefined ? Math.floor(inBucket / 256) : 0;
  words[4] = lengthSectors;
  words.set(target.pos, 5);
  return words;
}

/** @param words that it is read into */
function readWords(run: KeyRun, index: number, words: BackpointerWords): void {
  const position = run.positionAt(index);
  words[0] = run.rows[position + 1]!;
  words[1] = run.rows[position + 2]!;
  const at = run.valueAt(index) >>> 2;
  for (let i = 0; i < WORDS - 2; i++) words[2 + i] = run.words[at + i]!;
}

/** Adds a hash of the words to the bucket's sums, or takes it away. */
export function addBackpointer(own: DeviceBuckets, bucket: number, words: BackpointerWords, sign: 1 | -1): void {
  let lo = 0x9e37_79b9;
  let hi = 0x85eb_ca6b;
  for (let i = 0; i < WORDS; i++) {
    const word = words[i]!;
    lo = Math.imul(lo ^ word, 0xcc9e_2d51);
    lo ^= lo >>> 15;
    hi = Math.imul(hi ^ word ^ lo, 0x1b87_3593);
    hi ^= hi >>> 13;
  }
  const page = own.page(bucket);
  const row = rowOf(bucket);
  page.backpointersLo[row] = page.backpointersLo[row]! + sign * (lo >>> 0);
  page.backpointersHi[row] = page.backpointersHi[row]! + sign * (hi >>> 0);
  page.backpointers[row] = page.backpointers[row]! + sign;
}

/** Takes the backpointers that there are from the sums. */
export function subtractBackpointers(context: InvariantContext, buckets: AllBuckets): void {
  eachBackpointer(context, buckets, { isSilent: false }, (own, bucket, words) =>
    addBackpointer(own, bucket, words, -1),
  );
}

/**
 * Those of buckets that exist.
 * @param options `isSilent`: the others are not reported, since they were
 * @param visit called with each; its words are others in the next call
 */
function eachBackpointer(
  context: InvariantContext,
  buckets: AllBuckets,
  { isSilent }: { readonly isSilent: boolean },
  visit: (own: DeviceBuckets, bucket: number, words: BackpointerWords, position: () => Bpos) => void,
): void {
  const rules = rulesOf(context.sb);
  const ID = btrees.idOf('backpointers');
  const words = new Uint32Array(WORDS);
  for (const run of context.runs('backpointers')) {
    const { rows } = run;
    let index = run.first;
    const position = () => run.position(index);
    for (; index < run.end; index++) {
      if (run.type(index) !== BACKPOINTER || run.valueBytes(index) < 32) continue;
      const at = run.positionAt(index);
      const dev = rows[at + 4]! * 2 ** 32 + rows[at + 3]!;
      const own = buckets.get(dev);
      const sector = backpointerSectorAt(rows[at + 1]!, rows[at + 2]!, rules);
      const bucket = own === undefined ? 0 : Math.floor(sector / own.device.bucketSizeSectors);
      if (own === undefined || !own.has(bucket) || rows[at] !== 0) {
        if (!isSilent) context.report.add('backpointer_to_missing_device', keyPlace(ID, position()), { dev });
        continue;
      }
      if (isUnknown(own, bucket)) {
        if (!isSilent) context.report.add('backpointer_to_missing_alloc', keyPlace(ID, position()), { dev, bucket });
        continue;
      }
      readWords(run, index, words);
      visit(own, bucket, words, position);
    }
  }
}

/** It has no alloc key, and no pointer leads into it that would ask for one. */
function isUnknown(own: DeviceBuckets, bucket: number): boolean {
  const page = own.peek(bucket);
  if (page === undefined) return true;
  const row = rowOf(bucket);
  const marked = page.markDirty[row]! + page.markCached[row]! + page.markStriped[row]! + page.markStripe[row]!;
  return (page.flags[row]! & HAS_KEY) === 0 && marked === 0;
}

/** This many buckets are looked into at once; the others are only counted. */
const BUCKETS_LISTED = 256;

/** Buckets whose sums are not zero, by device. */
export function differingBuckets(buckets: AllBuckets): {
  readonly listed: ReadonlySet<string>;
  readonly unlisted: number;
} {
  const listed = new Set<string>();
  let unlisted = 0;
  for (const [dev, own] of buckets) {
    for (const { bucket, page, row } of own.rows()) {
      if (page.backpointers[row] === 0 && page.backpointersLo[row] === 0 && page.backpointersHi[row] === 0) continue;
      if (listed.size < BUCKETS_LISTED) listed.add(`${dev}:${bucket}`);
      else unlisted++;
    }
  }
  return { listed, unlisted };
}

/** Collects what both sides have for the buckets that differ, and says what does not match. */
export class BackpointerDifference {
  readonly #buckets: ReadonlySet<string>;
  readonly #expected = new Map<string, { readonly target: BackpointerTarget; count: number }>();

  constructor(buckets: ReadonlySet<string>) {
    this.#buckets = buckets;
  }

  expect(dev: number, bucket: number, words: BackpointerWords, target: BackpointerTarget): void {
    if (!this.#buckets.has(`${dev}:${bucket}`)) return;
    const id = `${dev},${words.join()}`;
    const known = this.#expected.get(id);
    if (known === undefined) this.#expected.set(id, { target: { ...target, pos: target.pos.slice() }, count: 1 });
    else known.count++;
  }

  report(context: InvariantContext, buckets: AllBuckets): void {
    const { report } = context;
    eachBackpointer(context, buckets, { isSilent: true }, (own, bucket, words, position) => {
      if (!this.#buckets.has(`${own.device.index}:${bucket}`)) return;
      const id = `${own.device.index},${words.join()}`;
      const known = this.#expected.get(id);
      if (known !== undefined && known.count > 0) {
        known.count--;
        return;
      }
      const where = keyPlace(btrees.idOf('backpointers'), position());
      const facts = { sectors: words[4]!, btree: btrees.nameOf(words[2]! & 0xff), pos: words.slice(5) };
      report.add('backpointer_to_missing_ptr', where, facts);
    });
    for (const [id, { target, count }] of this.#expected) {
      if (count === 0) continue;
      const words = id.split(',').map(Number);
      const sector = backpointerSectorAt(words[1]!, words[2]!, rulesOf(context.sb));
      const where = keyPlace(target.btree, target.pos, target.level);
      report.add('ptr_to_missing_backpointer', where, { dev: words[0]!, sector, sectors: words[5]!, count });
    }
  }
}
