// Two keys that claim the same sectors of a device: at most one of them can be right, unless both are pieces of one extent.
//
// Checks: the buckets that hold more than they have room for, or where two pointers ask for one backpointer. Needs: pointers whose
// generations are settled. Errors: dup_backpointer_to_bad_csum_extent, sectors_claimed_twice.
// Repair: the data decides. A pointer whose data does not match its checksum goes, where another one's does; of those without a checksum
// the newest stays. Where several are good, or nothing tells them apart, one stays where it is, and the others get copies of their own. What
// follows from pointers is to be counted anew afterwards.
// Memory: a record for each pointer into the buckets that are looked at, of which there are so many at a time.
// Source: check_extent_checksum and check_bp_exists in backpointers.c, v1.13.0, which gives up where both are good.

import { entryBytesOf, spacePointers, withPointers } from '../alloc/extent-pointers.ts';
import type { GivenBuckets } from '../alloc/given-buckets.ts';
import { deletedKey } from '../btree/transaction.ts';
import type { FilesystemWriter } from '../change/writer.ts';
import { entriesOf, pointerParts } from '../check/pointers.ts';
import { Recount } from '../check/recount.ts';
import { canChecksum } from '../checksum/checksum.ts';
import { DataReader } from '../data/extent-read.ts';
import type { Key } from '../ondisk/bkey.ts';
import { bposText, compareBpos } from '../ondisk/bpos.ts';
import { btrees } from '../ondisk/btrees.ts';
import { CorruptError, DeviceError, IncompatibleError, type Location } from '../ondisk/errors.ts';
import type { ExtentPtr } from '../ondisk/extent-entries.ts';
import { findingOf } from '../report/finding.ts';
import type { Reporter } from '../report/reporter.ts';
import { roundDown, roundUp, sectorsToBytes } from '../util/sizes.ts';
import type { PassContext } from './pass.ts';
import { errorKey, type RawChange, stageRaw } from './raw-changes.ts';

const REFLINK = btrees.idOf('reflink');
/** Pointers that are looked at together. */
const CLAIMS_MAX = 20_000;

export interface DoubleClaimsOptions {
  readonly reporter: Reporter;
  readonly drop: PassContext['drop'];
  /** Buckets as `dev:bucket`. */
  readonly contested: ReadonlySet<string>;
  /** Gives room that nothing takes. */
  readonly allocator: () => GivenBuckets;
}

/** What the bytes on the device say of a claim: whether they match its checksum, if it has one. */
type Verdict = 'good' | 'unknown' | 'bad';

interface Claim {
  readonly btree: number;
  readonly key: Key;
  readonly ptr: ExtentPtr;
  /** Sectors of the device that the checksum is of. */
  readonly start: number;
  readonly end: number;
  /** The part of them that the key shows, in sectors of what is stored there once it is decompressed. */
  readonly liveStart: number;
  readonly liveEnd: number;
  /** The same for pieces of one extent. */
  readonly extent: string;
  readonly hasChecksum: boolean;
}

/**
 * Decides, and stages what was agreed.
 * @returns whether anything was staged
 * @throws NoSpaceError where there is no room for a copy
 */
export function settleDoubleClaims(writer: FilesystemWriter, options: DoubleClaimsOptions): boolean {
  const claims = claimsOn(writer, options.contested);
  const settling = new Settling(writer, options);
  for (const cluster of clustersOf(claims)) if (isContested(cluster)) settling.settle(cluster);
  return settling.stage();
}

function claimsOn(writer: FilesystemWriter, contested: ReadonlySet<string>): readonly Claim[] {
  const claims: Claim[] = [];
  const recount = new Recount(writer.filesystem);
  const { sb } = writer.filesystem;
  recount.eachPointing((btree, level, key) => {
    if (level > 0 || claims.length >= CLAIMS_MAX) return;
    const entries = entriesOf(key);
    for (const { ptr, crc } of pointerParts(entries)) {
      const size = recount.buckets.get(ptr.dev)?.device.bucketSizeSectors ?? 0;
      if (ptr.cached || size === 0 || !contested.has(`${ptr.dev}:${Math.floor(ptr.offset / size)}`)) continue;
      // A member that is missing is asked nothing.
      if (writer.filesystem.device(ptr.dev) === undefined) continue;
      const stored = crc?.compressed_size ?? key.k.size;
      const offset = crc?.offset ?? 0;
      const encoding =
        crc === undefined
          ? []
          : [stored, crc.uncompressed_size, crc.compression_type, crc.csum_type, crc.csum_lo, crc.csum_hi];
      const start = roundDown(ptr.offset, sb.block_size);
      claims.push({
        btree,
        key: { k: { ...key.k, p: key.k.p.slice() }, value: key.value.slice() },
        ptr,
        start,
        end: Math.max(roundUp(ptr.offset + stored, sb.block_size), start + 1),
        liveStart: offset,
        liveEnd: offset + key.k.size,
        extent: [ptr.offset, ptr.gen, ...encoding, key.k.bversion_hi, key.k.bversion_lo].join(),
        hasChecksum: crc !== undefined && crc.csum_type !== 0 && canChecksum(crc.csum_type),
      });
    }
  });
  return claims.sort((a, b) => a.ptr.dev - b.ptr.dev || a.start - b.start || a.end - b.end);
}

/** Claims that overlap, directly or over others. */
function* clustersOf(claims: readonly Claim[]): Generator<readonly Claim[]> {
  let cluster: Claim[] = [];
  let end = 0;
  for (const claim of claims) {
    if (cluster.length > 0 && (claim.ptr.dev !== cluster[0]!.ptr.dev || claim.start >= end)) {
      if (cluster.length > 1) yield cluster;
      cluster = [];
      end = 0;
    }
    cluster.push(claim);
    end = Math.max(end, claim.end);
  }
  if (cluster.length > 1) yield cluster;
}

/** Whether they are more than the pieces of one extent, each of another part of it. */
function isContested(cluster: readonly Claim[]): boolean {
  if (cluster.some(({ extent }) => extent !== cluster[0]!.extent)) return true;
  const sorted = cluster.toSorted((a, b) => a.liveStart - b.liveStart);
  return sorted.some((claim, i) => i > 0 && claim.liveStart < sorted[i - 1]!.liveEnd);
}

const conflict = (a: Claim, b: Claim): boolean =>
  a.start < b.end && b.start < a.end && (a.extent !== b.extent || (a.liveStart < b.liveEnd && b.liveStart < a.liveEnd));

const ORDER: Readonly<Record<Verdict, number>> = { good: 0, unknown: 1, bad: 2 };

class Settling {
  readonly #writer: FilesystemWriter;
  readonly #options: DoubleClaimsOptions;
  readonly #reader: DataReader;
  readonly #changed = new Map<string, RawChange>();
  #room: GivenBuckets | undefined;

  constructor(writer: FilesystemWriter, options: DoubleClaimsOptions) {
    this.#writer = writer;
    this.#options = options;
    this.#reader = new DataReader(writer.filesystem, { onDamage: () => {} });
  }

  settle(cluster: readonly Claim[]): void {
    const judged = cluster.map(claim => ({ claim, verdict: this.#judge(claim) }));
    judged.sort(
      (a, b) =>
        ORDER[a.verdict] - ORDER[b.verdict] ||
        compareVersions(b.claim.key, a.claim.key) ||
        a.claim.btree - b.claim.btree ||
        compareBpos(a.claim.key.k.p, b.claim.key.k.p),
    );
    const kept: typeof judged = [];
    for (const one of judged) {
      const winner = kept.find(other => conflict(other.claim, one.claim));
      if (winner === undefined) kept.push(one);
      else this.#part(one, winner);
    }
  }

  /** @returns whether anything was staged */
  stage(): boolean {
    if (this.#changed.size === 0) return false;
    stageRaw(this.#writer, this.#allocator(), [...this.#changed.values()]);
    return true;
  }

  #allocator(): GivenBuckets {
    this.#room ??= this.#options.allocator();
    return this.#room;
  }

  #judge({ btree, key, ptr, hasChecksum }: Claim): Verdict {
    if (!hasChecksum || ptr.unwritten) return 'unknown';
    const alone = withPointers(
      key,
      other => (isSame(other, ptr) ? other : undefined),
      () => false,
    );
    const into = new Uint8Array(sectorsToBytes(key.k.size));
    try {
      this.#reader.read(alone, 0, into, { btree: btrees.nameOf(btree) });
      return 'good';
    } catch (thrown) {
      if (thrown instanceof CorruptError || thrown instanceof DeviceError) return 'bad';
      // Its checksum is right: it is compressed in a way that is not known here.
      if (thrown instanceof IncompatibleError) return 'good';
      throw thrown;
    }
  }

  /** One of two claims goes, or gets a copy of its own. */
  #part(one: Judged, winner: Judged): void {
    const { claim, verdict } = one;
    const { btree, key, ptr } = claim;
    const where: Location = { btree: btrees.nameOf(btree), pos: bposText(key.k.p) };
    const other = `${btrees.nameOf(winner.claim.btree)} ${bposText(winner.claim.key.k.p)}`;
    const place = `sectors ${claim.start} to ${claim.end} of device ${ptr.dev}`;
    const isOlder = verdict === 'unknown' && compareVersions(key, winner.claim.key) < 0;
    const isLost = winner.verdict !== verdict || isOlder;
    const reason = isOlder
      ? 'which is newer'
      : winner.verdict === 'good'
        ? 'whose checksum is right'
        : 'and do not match the checksum here';
    const found = isLost
      ? findingOf(
          { error: 'dup_backpointer_to_bad_csum_extent', detail: `${place} are those of ${other}, ${reason}` },
          where,
        )
      : findingOf(
          { error: 'sectors_claimed_twice', detail: `${place} are claimed by ${other} too: each gets its own` },
          where,
        );
    const { reporter } = this.#options;
    if (reporter.found(found, { pass: 'check_extents_to_backpointers' }) === 'ignore') return;
    const moved = isLost || ptr.unwritten ? undefined : this.#copied(claim);
    this.#change(claim, moved);
  }

  /** The same bytes elsewhere. @returns undefined where they cannot be read, or are more than a bucket holds */
  #copied({ btree, key, ptr, start, end }: Claim): ExtentPtr | undefined {
    const { pointers } = spacePointers(entryBytesOf(this.#current(btree, key)), key.k.size);
    const others = pointers.filter(other => other.dev !== ptr.dev || other.offset !== ptr.offset);
    const taken = others.flatMap(({ dev, cached }) => (cached ? [] : [dev]));
    const device = this.#writer.filesystem.device(ptr.dev);
    const bytes = new Uint8Array(sectorsToBytes(end - start));
    try {
      device?.read(sectorsToBytes(start), bytes);
    } catch (thrown) {
      if (thrown instanceof DeviceError) return undefined;
      throw thrown;
    }
    const to = this.#allocator().allocateData(ptr.dev, end - start, taken);
    if (to === undefined) return undefined;
    this.#writer.filesystem.device(to.dev)?.write(sectorsToBytes(to.offset), bytes);
    return { ...ptr, dev: to.dev, offset: to.offset + ptr.offset - start, gen: to.gen };
  }

  /** A key with what was changed of it before. */
  #current(btree: number, key: Key): Key {
    return this.#changed.get(idOf(btree, key))?.key ?? key;
  }

  /** @param moved where its pointer leads from now on; undefined for nowhere */
  #change({ btree, key, ptr }: Claim, moved: ExtentPtr | undefined): void {
    const id = idOf(btree, key);
    const left = withPointers(
      this.#current(btree, key),
      // No key has two pointers to one device, and a cached copy is one too many.
      other => (isSame(other, ptr) ? moved : other.cached && other.dev === moved?.dev ? undefined : other),
      // A copy is in no stripe.
      other => !isSame(other, ptr),
    );
    const { pointers } = spacePointers(entryBytesOf(left), left.k.size);
    const hasLeft = pointers.some(({ cached }) => !cached);
    if (hasLeft) {
      this.#changed.set(id, { btree, key: left });
      return;
    }
    const p = key.k.p.slice();
    if (!ptr.unwritten) this.#options.drop(btree, key, 'another key claims its sectors, and the data is not its own');
    this.#changed.set(id, { btree, key: ptr.unwritten || btree === REFLINK ? deletedKey(p) : errorKey(key) });
  }
}

interface Judged {
  readonly claim: Claim;
  readonly verdict: Verdict;
}

const idOf = (btree: number, { k }: Key): string => `${btree}:${k.p.join()}`;

const isSame = (a: ExtentPtr, b: ExtentPtr): boolean =>
  a.dev === b.dev && a.offset === b.offset && a.gen === b.gen && a.cached === b.cached;

/** By age: what has the higher version is newer. */
function compareVersions({ k: a }: Key, { k: b }: Key): number {
  const [left, right] = [a, b].map(({ bversion_hi: hi, bversion_lo: lo }) => (BigInt(hi) << 64n) | BigInt(lo)) as [
    bigint,
    bigint,
  ];
  return left < right ? -1 : left > right ? 1 : 0;
}
