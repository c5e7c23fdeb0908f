// The pass check_topology, and scan_for_btree_nodes where it needs that: on each level of a btree, nodes lie end to end from the first
// position to the last, each is what its pointer says, and all keys in it are sound.
//
// Errors: btree_root_bkey_invalid, btree_root_read_error, btree_root_unreadable_and_scan_found_nothing, btree_node_read_error,
// btree_node_unreadable, btree_node_topology_* and what reading a node finds (node-read.ts). Since every node is read here: also
// bkey_version_in_future, of all keys but those whose data is written with their version (check-extents.ts).
// Memory: a pointer for each leaf of one btree, and a record for each node that a scan finds.
// Repair: the btree is built anew from what can be read of it: its leaves; where one is missing, the newest nodes that a scan finds there,
// those first that are where nodes had been (node-buckets.ts); damaged ones key by key. Nothing that is readable loses against what was found. The btrees that are counted anew in any case (recount.ts)
// are not looked for.
// Source: bch2_check_topology in btree_gc.c and handle_overwrites in btree_node_scan.c, v1.13.0; the repair is our own.

import { entryBytesOf, spacePointers, withPointers } from '../alloc/extent-pointers.ts';
import { nodeSeqOf } from '../btree/fresh-seqs.ts';
import { bposPredecessor, bposSuccessor } from '../btree/iterate.ts';
import type { BtreeNode } from '../btree/node.ts';
import { DELETED } from '../btree/node.ts';
import { valueProblem } from '../btree/node-read.ts';
import type { FoundNode } from '../btree/node-scan.ts';
import { addAccounting, type OverlayKey, overlayIndex } from '../journal/overlay.ts';
import type { Key } from '../ondisk/bkey.ts';
import { type Bpos, bposText, compareBpos, POS_MIN, SPOS_MAX } from '../ondisk/bpos.ts';
import { BTREE_MAX_DEPTH, btrees } from '../ondisk/btrees.ts';
import { CorruptError, DeviceError, IncompatibleError, type Location } from '../ondisk/errors.ts';
import type { FaultName } from '../ondisk/faults.ts';
import { BchBtreePtrV2, btreePtrV2 } from '../ondisk/keys/btree-ptr-v2.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import type { LeftOut } from '../ondisk/left-out.ts';
import { MEMBER_INVALID } from '../ondisk/member-states.ts';
import { memberAlive, members } from '../ondisk/sb-fields/members.ts';
import { Filesystem } from '../opened/filesystem.ts';
import { type Finding, finding, findingOf } from '../report/finding.ts';
import { keyContext } from '../superblock/key-context.ts';
import { memberText } from '../superblock/member-set.ts';
import { sectorsToBytes } from '../util/sizes.ts';
import { AheadVersions } from './ahead-versions.ts';
import { repairedKey } from './key-repair.ts';
import { isInNodeBucket } from './node-buckets.ts';

/** A leaf that answers for a range of positions, as far as it can be read. */
export interface Leaf {
  readonly min: Bpos;
  readonly max: Bpos;
  readonly ptr: Key;
  readonly generation: number;
  readonly journalSeq: number;
}

/** Positions that nothing readable answers for. */
export interface Gap {
  readonly min: Bpos;
  readonly max: Bpos;
}

/** What there is of a btree. */
export interface BtreeSurvey {
  readonly btree: number;
  readonly findings: readonly Finding[];
  /** In order, disjoint. */
  readonly leaves: readonly Leaf[];
  readonly gaps: readonly Gap[];
  /** The newest generation of its nodes. */
  readonly generation: number;
  /** Nodes that members which are missing may have a sound copy of. */
  readonly onMissing: readonly Finding[];
  /** Some of its pointers lead to members that were given up. */
  readonly hasGone: boolean;
  /** Pointers to leaves of which nothing can be read, as many as are worth keeping. */
  readonly lostLeaves: readonly Key[];
  /** Says that keys have versions which were not given yet: they have none once the btree is built anew. */
  readonly aheadVersions: Finding | undefined;
}

export interface SurveyOptions {
  /** Members that may have what is not here. */
  readonly missing?: ReadonlySet<number>;
  /** Members that are not there any more, which was reported. */
  readonly gone?: ReadonlySet<number>;
  /** Called with the number of each node that can be read. */
  readonly onSeq?: (seq: bigint) => void;
}

const BTREE_PTR_V2 = keyTypes.idOf('btree_ptr_v2');
const UNSUPPORTED = 'btree_node_unsupported_version';
const BTREE_PTR = keyTypes.idOf('btree_ptr');
const NO_MEMBERS: ReadonlySet<number> = new Set();

const LOST_LEAVES_MAX = 10_000;

/** Reads all nodes of a btree. */
export function surveyBtree(filesystem: Filesystem, btree: number, options: SurveyOptions = {}): BtreeSurvey {
  return new Survey(filesystem, btree, options).run();
}

class Survey {
  readonly #filesystem: Filesystem;
  readonly #btree: number;
  readonly #findings: Finding[] = [];
  readonly #leaves: Leaf[] = [];
  readonly #gaps: Gap[] = [];
  readonly #missing: ReadonlySet<number>;
  readonly #gone: ReadonlySet<number>;
  /** Those that there are. */
  readonly #members: ReadonlySet<number>;
  readonly #onMissing: Finding[] = [];
  readonly #lostLeaves: Key[] = [];
  readonly #onSeq: SurveyOptions['onSeq'];
  readonly #versions: AheadVersions;
  #hasGone = false;
  #generation = 0;

  constructor(filesystem: Filesystem, btree: number, options: SurveyOptions) {
    const { missing = NO_MEMBERS, gone = NO_MEMBERS, onSeq } = options;
    this.#filesystem = filesystem;
    this.#btree = btree;
    this.#missing = missing;
    this.#gone = gone;
    this.#members = new Set(members(filesystem.sb).flatMap((member, index) => (memberAlive(member) ? [index] : [])));
    this.#onSeq = onSeq;
    this.#versions = new AheadVersions(filesystem, btree);
  }

  run(): BtreeSurvey {
    const root = this.#filesystem.replay.roots.get(this.#btree);
    if (root !== undefined) {
      if (root.key === undefined || root.level >= BTREE_MAX_DEPTH) {
        this.#found('btree_root_bkey_invalid', {}, 'its root cannot be used');
        this.#gap(POS_MIN, SPOS_MAX);
      } else {
        const { p: end } = root.key.k;
        if (compareBpos(end, SPOS_MAX) !== 0)
          this.#found('btree_root_bad_max_key', { level: root.level }, `the root ends at ${bposText(end)}`);
        const min = minOf(root.key);
        if (compareBpos(min, POS_MIN) !== 0)
          this.#found('btree_root_bad_min_key', { level: root.level }, `the root starts at ${bposText(min)}`);
        this.#visit(root.level, root.key, POS_MIN, SPOS_MAX, true);
      }
    }
    this.#versions.visitJournal();
    return {
      btree: this.#btree,
      findings: this.#findings,
      leaves: this.#leaves,
      gaps: this.#gaps,
      generation: this.#generation,
      onMissing: this.#onMissing,
      hasGone: this.#hasGone,
      lostLeaves: this.#lostLeaves,
      aheadVersions: this.#versions.finding(),
    };
  }

  /** A node that shall answer for a range. */
  #visit(level: number, ptr: Key, min: Bpos, max: Bpos, isRoot: boolean): void {
    const known = this.#findings.length;
    const node = this.#read(level, ptr, isRoot);
    // What was given up was listed before.
    if (node === undefined && devicesOf(ptr).some(dev => this.#gone.has(dev))) this.#findings.length = known;
    this.#checkDevices(level, ptr, node);
    if (node !== undefined && ptr.k.type === BTREE_PTR_V2) this.#onSeq?.(node.facts.seq);
    if (node === undefined) {
      if (level === 0 && this.#lostLeaves.length < LOST_LEAVES_MAX) this.#lostLeaves.push(ownCopy(ptr));
      this.#gap(min, max);
      return;
    }
    this.#versions.visitNode(level, node);
    if (node.facts.damage.length === 0) this.#checkReplicas(level, ptr);
    this.#findings.push(...node.facts.damage);
    this.#generation = Math.max(this.#generation, node.generation);
    if (level > 0) {
      this.#visitChildren(node, level, min, max);
      return;
    }
    this.#leaves.push({
      min,
      max,
      ptr: ownCopy(ptr),
      generation: node.generation,
      journalSeq: journalSeqOf(node),
    });
  }

  #read(level: number, ptr: Key, isRoot: boolean): BtreeNode | undefined {
    try {
      return this.#filesystem.nodes.read(this.#btree, level, ptr, { salvage: true, keep: 'walked' });
    } catch (thrown) {
      if (thrown instanceof IncompatibleError && thrown.error !== UNSUPPORTED) throw thrown;
      if (!(thrown instanceof CorruptError || thrown instanceof DeviceError || thrown instanceof IncompatibleError))
        throw thrown;
      if (!(thrown instanceof IncompatibleError)) this.#findings.push(thrown);
      else this.#findings.push(findingOf({ error: UNSUPPORTED, detail: thrown.detail }, thrown.where));
      const error = isRoot ? 'btree_root_read_error' : 'btree_node_read_error';
      const { detail } = thrown;
      this.#found(error, { level, pos: bposText(ptr.k.p) }, `${thrown.error}: ${detail}`);
      return undefined;
    }
  }

  /** What a pointer's members say of the node: some may be missing, and have it, or be no members any more. */
  #checkDevices(level: number, ptr: Key, node: BtreeNode | undefined): void {
    const { sb } = this.#filesystem;
    for (const dev of devicesOf(ptr)) {
      if (this.#gone.has(dev)) this.#hasGone = true;
      else if (dev !== MEMBER_INVALID && !this.#members.has(dev)) {
        const detail = `a pointer to a node on member ${dev}, which does not exist`;
        this.#found('ptr_to_invalid_device', { level, pos: bposText(ptr.k.p) }, detail);
      } else if (this.#missing.has(dev) && node?.facts.damage.length !== 0) {
        const state = node === undefined ? 'is not readable' : 'is damaged';
        const detail = `this node ${state} here, and may be sound on ${memberText(sb, dev)}, which is missing`;
        this.#onMissing.push(findingOf({ error: 'btree_node_on_missing_member', detail }, this.#where(level, ptr.k.p)));
      }
    }
  }

  /** One replica is sound; the others have to be, too. */
  #checkReplicas(level: number, ptr: Key): void {
    const { pointers } = spacePointers(entryBytesOf(ptr), 0);
    if (pointers.length < 2) return;
    for (const { dev, offset } of pointers) {
      if (this.#filesystem.device(dev) === undefined) continue;
      const one = withPointers(ptr, other => (other.dev === dev && other.offset === offset ? other : undefined));
      try {
        this.#filesystem.reader.read(this.#btree, level, one);
      } catch (thrown) {
        if (!(thrown instanceof CorruptError || thrown instanceof DeviceError)) throw thrown;
        this.#findings.push(thrown);
      }
    }
  }

  #visitChildren(node: BtreeNode, level: number, min: Bpos, max: Bpos): void {
    let at: Bpos | undefined = min;
    let last: Bpos | undefined;
    for (const ptr of this.#childrenOf(node, level, min, max)) {
      if (ptr.k.type !== BTREE_PTR && ptr.k.type !== BTREE_PTR_V2) continue;
      const { p: end } = ptr.k;
      const claimed = ptr.k.type === BTREE_PTR_V2 ? minOf(ptr) : at;
      if (at === undefined || claimed === undefined || compareBpos(end, at) < 0) continue;
      let start: Bpos = at;
      const order = compareBpos(claimed, at);
      if (order !== 0) {
        const where = this.#where(level, end);
        const facts = { found: claimed.slice(), expected: at.slice() };
        this.#findings.push(finding('btree_node_topology_bad_min_key', where, facts));
      }
      if (order > 0 && compareBpos(claimed, max) <= 0) {
        this.#gap(at, bposPredecessor(claimed));
        start = claimed;
      } else if (order < 0 && last !== undefined) this.#settleOverlap(level, ptr, claimed, at);
      const stop = compareBpos(end, max) > 0 ? max : end;
      if (compareBpos(start, stop) <= 0) this.#visit(level - 1, ptr, start.slice(), stop.slice(), false);
      last = end;
      at = compareBpos(stop, max) === 0 ? undefined : bposSuccessor(stop);
    }
    if (at === undefined) return;
    const where = this.#where(level, max);
    if (last === undefined) {
      const isRoot = level === this.#filesystem.replay.roots.get(this.#btree)?.level;
      const error = isRoot ? 'btree_node_topology_empty_interior_node' : 'btree_node_topology_interior_node_empty';
      this.#found(error, { level, pos: bposText(max) }, 'a node without children');
    } else {
      const facts = { found: last.slice(), expected: max.slice(), of: 'child' as const };
      this.#findings.push(finding('btree_node_topology_bad_max_key', where, facts));
    }
    this.#gap(at, max);
  }

  /** A child that begins before the one before it ends: where it is the newer one, what came before is cut. */
  #settleOverlap(level: number, ptr: Key, claimed: Bpos, at: Bpos): void {
    if (level !== 1) return;
    const previous = this.#leaves.at(-1);
    if (previous === undefined || compareBpos(bposSuccessor(previous.max), at) !== 0) return;
    const node = this.#peek(level - 1, ptr);
    if (node === undefined) return;
    const isNewer =
      node.generation > previous.generation ||
      (node.generation === previous.generation && journalSeqOf(node) > previous.journalSeq);
    const detail = `nodes overlap from ${bposText(claimed)}`;
    const pos = bposText(ptr.k.p);
    if (!isNewer) {
      this.#found('btree_node_topology_overwritten_by_prev_node', { level, pos }, detail);
      return;
    }
    this.#found('btree_node_topology_overwritten_by_next_node', { level, pos }, detail);
    let from = at;
    while (this.#leaves.length > 0) {
      const leaf = this.#leaves.at(-1)!;
      if (compareBpos(leaf.max, claimed) < 0) break;
      this.#leaves.pop();
      from = leaf.min;
      if (compareBpos(leaf.min, claimed) >= 0) continue;
      this.#leaves.push({ ...leaf, max: bposPredecessor(claimed) });
      from = claimed;
      break;
    }
    // What it takes from those before it, as a leaf of its own; the rest follows.
    this.#leaves.push({
      min: from,
      max: bposPredecessor(at),
      ptr: ownCopy(ptr),
      generation: node.generation,
      journalSeq: journalSeqOf(node),
    });
  }

  #peek(level: number, ptr: Key): BtreeNode | undefined {
    try {
      return this.#filesystem.nodes.read(this.#btree, level, ptr, { salvage: true, keep: 'walked' });
    } catch (thrown) {
      // The visit meets it again, and reports it.
      if (thrown instanceof CorruptError || thrown instanceof DeviceError || thrown instanceof IncompatibleError)
        return undefined;
      throw thrown;
    }
  }

  /** The pointers of an interior node, with what the journal has over them. */
  #childrenOf(node: BtreeNode, level: number, min: Bpos, max: Bpos): readonly Key[] {
    return [
      ...withOverlay(keysOfNode(node, min, max), this.#filesystem.replay.overlay.keysOf(this.#btree, level), min, max),
    ].map(ownCopy);
  }

  #gap(min: Bpos, max: Bpos): void {
    const last = this.#gaps.at(-1);
    if (last !== undefined && compareBpos(last.max, SPOS_MAX) !== 0 && compareBpos(bposSuccessor(last.max), min) === 0)
      this.#gaps[this.#gaps.length - 1] = { min: last.min, max: max.slice() };
    else this.#gaps.push({ min: min.slice(), max: max.slice() });
  }

  #where(level: number, pos?: Bpos): Location {
    return { btree: btrees.nameOf(this.#btree), level, ...(pos === undefined ? {} : { pos: bposText(pos) }) };
  }

  #found(error: FaultName, where: Location, detail: string): void {
    this.#findings.push(findingOf({ error, detail }, { btree: btrees.nameOf(this.#btree), ...where }));
  }
}

/** Nodes for what a btree has lost, each cut to what it answers for. */
export function fillGaps(
  filesystem: Filesystem,
  survey: BtreeSurvey,
  found: readonly FoundNode[],
): { readonly leaves: readonly Leaf[]; readonly gaps: readonly Gap[]; readonly generation: number } {
  const live = new Set(survey.leaves.map(({ ptr }) => nodeSeqOf(ptr)));
  const candidates: (Leaf & { readonly isInPlace: boolean })[] = [];
  let { generation } = survey;
  for (const { btree, level, min, max, ptr } of found) {
    if (btree !== survey.btree || level !== 0 || live.has(nodeSeqOf(ptr))) continue;
    if (!survey.gaps.some(gap => compareBpos(min, gap.max) <= 0 && compareBpos(max, gap.min) >= 0)) continue;
    try {
      const node = filesystem.reader.read(btree, level, ptr, { salvage: true });
      const isInPlace = isInNodeBucket(filesystem, ptr);
      candidates.push({ min, max, ptr, generation: node.generation, journalSeq: journalSeqOf(node), isInPlace });
      generation = Math.max(generation, node.generation);
    } catch (thrown) {
      // What cannot be read is not a node that was found.
      if (!(thrown instanceof CorruptError || thrown instanceof DeviceError || thrown instanceof IncompatibleError))
        throw thrown;
    }
  }
  candidates.sort(
    (a, b) => Number(b.isInPlace) - Number(a.isInPlace) || b.generation - a.generation || b.journalSeq - a.journalSeq,
  );
  const filled: Leaf[] = [];
  let gaps: readonly Gap[] = survey.gaps;
  for (const { isInPlace: _, ...candidate } of candidates) {
    const left: Gap[] = [];
    for (const gap of gaps) {
      const min = compareBpos(candidate.min, gap.min) > 0 ? candidate.min : gap.min;
      const max = compareBpos(candidate.max, gap.max) < 0 ? candidate.max : gap.max;
      if (compareBpos(min, max) > 0) {
        left.push(gap);
        continue;
      }
      filled.push({ ...candidate, min, max });
      if (compareBpos(min, gap.min) > 0) left.push({ min: gap.min, max: bposPredecessor(min) });
      if (compareBpos(max, gap.max) < 0) left.push({ min: bposSuccessor(max), max: gap.max });
    }
    gaps = left;
  }
  const leaves = [...survey.leaves, ...filled].sort((a, b) => compareBpos(a.min, b.min));
  return { leaves, gaps, generation };
}

/** What is where the leaves of some gaps should be: bytes of each replica that has any, as they are on the device. */
export function* bytesOfLostLeaves(
  filesystem: Filesystem,
  lostLeaves: readonly Key[],
  gaps: readonly Gap[],
): Generator<{ readonly bytes: Uint8Array; readonly reason: string }> {
  for (const ptr of lostLeaves) {
    const [min, max] = [minOf(ptr), ptr.k.p];
    if (!gaps.some(gap => compareBpos(min, gap.max) <= 0 && compareBpos(max, gap.min) >= 0)) continue;
    for (const { dev, offset } of spacePointers(entryBytesOf(ptr), 0).pointers) {
      const bytes = new Uint8Array(sectorsToBytes(filesystem.reader.nodeSectors));
      try {
        filesystem.device(dev)?.read(sectorsToBytes(offset), bytes);
      } catch (thrown) {
        if (!(thrown instanceof DeviceError)) throw thrown;
        continue;
      }
      let end = bytes.length;
      while (end > 0 && bytes[end - 1] === 0) end--;
      const reason = `the leaf that ends at ${bposText(max)} cannot be read from member ${dev}, sector ${offset}`;
      if (end > 0) yield { bytes: bytes.subarray(0, end), reason };
    }
  }
}

/**
 * All keys of some leaves in order, with what the journal has over them. Leaves are read one after the other.
 * @param onLeftOut called with what a damaged leaf has of which nothing can be made
 */
export function* keysOfLeaves(
  filesystem: Filesystem,
  btree: number,
  leaves: readonly Leaf[],
  onLeftOut?: (leftOut: LeftOut) => void,
): Generator<Key, void, void> {
  const over = filesystem.replay.overlay.keysOf(btree, 0);
  // One leaf may answer for several ranges.
  const handedOut = new Set<bigint>();
  let from = POS_MIN;
  let isDone = false;
  for (const { min, max, ptr } of leaves) {
    if (compareBpos(from, min) < 0) yield* withOverlay([], over, from, bposPredecessor(min));
    const node = filesystem.reader.read(btree, 0, ptr, { salvage: true });
    const keys =
      node.facts.damage.length === 0
        ? keysOfNode(node, min, max)
        : salvagedKeys(filesystem, btree, { min, max, ptr }, onLeftOut, handedOut);
    yield* withOverlay(keys, over, min, max);
    isDone = compareBpos(max, SPOS_MAX) === 0;
    if (isDone) break;
    from = bposSuccessor(max);
  }
  if (!isDone) yield* withOverlay([], over, from, SPOS_MAX);
}

/** The keys of a leaf, with those whose values are invalid set right where that is possible. */
function* salvagedKeys(
  { set, replay, key: masterKey, sb }: Filesystem,
  btree: number,
  { min, max, ptr }: Pick<Leaf, 'min' | 'max' | 'ptr'>,
  onLeftOut: ((leftOut: LeftOut) => void) | undefined,
  handedOut: Set<bigint>,
): Generator<Key> {
  const context = keyContext(sb);
  const unjudged = new Filesystem(set, replay, masterKey, { unvalidated: true });
  const node = unjudged.reader.read(btree, 0, ptr, { salvage: true });
  if (!handedOut.has(node.facts.seq)) for (const leftOut of node.facts.leftOut) onLeftOut?.(leftOut);
  handedOut.add(node.facts.seq);
  for (const key of keysOfNode(node, min, max)) {
    // Garbage has any type: an unknown one is not taken for one of a later version here.
    const isKnown = keyTypes.byId(key.k.type) !== undefined;
    if (isKnown && valueProblem(key, context) === undefined) {
      yield key;
      continue;
    }
    const repaired = isKnown ? repairedKey(key, btree, context) : undefined;
    if (repaired !== undefined) yield repaired;
    else onLeftOut?.({ key, reason: 'its value is none that its type can have' });
  }
}

function* keysOfNode(node: BtreeNode, min: Bpos, max: Bpos): Generator<Key> {
  for (let i = node.indexOf(min); i < node.count && node.compare(i, max) <= 0; i++) {
    if (node.type(i) !== DELETED) yield node.key(i);
  }
}

/** Keys of a range, those of the journal in their places. */
function* withOverlay(keys: Iterable<Key>, over: readonly OverlayKey[], min: Bpos, max: Bpos): Generator<Key> {
  let index = overlayIndex(over, min);
  const next = () => {
    const entry = over[index];
    return entry !== undefined && compareBpos(entry.key.k.p, max) <= 0 ? entry : undefined;
  };
  for (const key of keys) {
    let entry = next();
    while (entry !== undefined && compareBpos(entry.key.k.p, key.k.p) < 0) {
      index++;
      const own = keyOf(entry, undefined);
      if (own.k.type !== DELETED) yield own;
      entry = next();
    }
    if (entry !== undefined && compareBpos(entry.key.k.p, key.k.p) === 0) {
      index++;
      const own = keyOf(entry, key);
      if (own.k.type !== DELETED) yield own;
    } else yield key;
  }
  for (let entry = next(); entry !== undefined; entry = next()) {
    index++;
    const own = keyOf(entry, undefined);
    if (own.k.type !== DELETED) yield own;
  }
}

const keyOf = ({ key, deltas }: OverlayKey, base: Key | undefined): Key =>
  deltas === undefined ? key : addAccounting(base, deltas);

const devicesOf = (ptr: Key): readonly number[] => spacePointers(entryBytesOf(ptr), 0).pointers.map(({ dev }) => dev);

const minOf = (ptr: Key): Bpos =>
  ptr.k.type === BTREE_PTR_V2 && ptr.value.length >= BchBtreePtrV2.size
    ? btreePtrV2.decode(ptr.value).min_key
    : POS_MIN;

const journalSeqOf = (node: BtreeNode): number =>
  node.facts.bsets.reduce(
    (newest, { blacklisted, journalSeq }) => (blacklisted ? newest : Math.max(newest, journalSeq)),
    0,
  );

const ownCopy = ({ k, value }: Key): Key => ({ k: { ...k, p: k.p.slice() }, value: value.slice() });
