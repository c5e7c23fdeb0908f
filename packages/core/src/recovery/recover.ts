// Checks a filesystem and repairs it: plan, decide, commit. Passes look at the state as repaired so far and ask about each repair; what was
// decided is staged, and one commit at the end makes all of it count. Until then nothing on the devices has changed that anything leads to:
// a refusal, an error or a second thought leaves the filesystem as it was.
//
// The order: the journal; the shape of the btrees, and nodes that are lost (topology.ts); what follows from pointers (allocations.ts); the
// passes over keys, through triggers, in rounds (run-passes.ts); what follows from pointers once more. While a btree is not wholly
// readable, nothing is counted anew, and so no bucket becomes free.
//
// What is used again during the repair is only what nothing takes: neither an alloc key that can be read, nor a pointer, nor a node that was
// found.

import { allocDevices, allowsData } from '../alloc/alloc-devices.ts';
import { entryBytesOf, spacePointers } from '../alloc/extent-pointers.ts';
import { type FreeBucket, GivenBuckets } from '../alloc/given-buckets.ts';
import { DELETED } from '../btree/node.ts';
import { type FoundNode, type ScannedDevice, scanForNodes } from '../btree/node-scan.ts';
import { beginChange, editFor } from '../change/change.ts';
import type { FilesystemWriter } from '../change/writer.ts';
import type { AllBuckets } from '../check/alloc.ts';
import { rowOf } from '../check/buckets.ts';
import { checkInvariants } from '../check/check.ts';
import { NodeSeqs } from '../check/node-seqs.ts';
import { Recount } from '../check/recount.ts';
import { readJournal } from '../journal/journal.ts';
import { journalKeys } from '../journal/keys.ts';
import type { BtreeRoot } from '../journal/overlay.ts';
import { getBits } from '../ondisk/bits.ts';
import type { Key } from '../ondisk/bkey.ts';
import { bposText } from '../ondisk/bpos.ts';
import { btreeNodeMagic } from '../ondisk/btree-node.ts';
import { type BtreeName, btrees } from '../ondisk/btrees.ts';
import { CorruptError, DeviceError } from '../ondisk/errors.ts';
import { type FaultName, faultOf } from '../ondisk/faults.ts';
import type { JsetEntry } from '../ondisk/jset-entries.ts';
import { jsetEntryTypes } from '../ondisk/jset-entry-types.ts';
import type { LeftOut } from '../ondisk/left-out.ts';
import type { PassName } from '../ondisk/passes.ts';
import { sbBits } from '../ondisk/sb-bits.ts';
import { memberAt } from '../ondisk/sb-fields/members.ts';
import type { Superblock } from '../ondisk/superblock.ts';
import type { Filesystem } from '../opened/filesystem.ts';
import { type Finding, finding, findingOf } from '../report/finding.ts';
import type { Proposal, Reporter } from '../report/reporter.ts';
import { keyContext } from '../superblock/key-context.ts';
import { type CopyState, readAllCopies } from '../superblock/read.ts';
import { withCheckRequired } from '../superblock/require-check.ts';
import { isAllocInfoStripped } from '../superblock/strip-alloc.ts';
import { allSteps } from '../util/steps.ts';
import { withoutAheadVersions } from './ahead-versions.ts';
import { readGens, repairAllocations } from './allocations.ts';
import { contestedJournal } from './contested-journal.ts';
import { derivedBtrees, derivedIds, isGivable } from './derived-keys.ts';
import { settleDoubleClaims } from './double-claims.ts';
import { isCheckPending, withErrorsCounted, withoutErrors } from './error-counts.ts';
import { entriesAfterClean, unmarkedEntries } from './journal-claims.ts';
import { entriesAfterHoles } from './journal-holes.ts';
import { leaveStripes, lossWith, type Missing, uncheckable, withoutMembers } from './missing-members.ts';
import { runPasses } from './run-passes.ts';
import { type BtreeSurvey, bytesOfLostLeaves, fillGaps, keysOfLeaves, type Leaf, surveyBtree } from './topology.ts';

export interface RecoverOptions {
  /** Decides what is repaired. */
  readonly reporter: Reporter;
  readonly onPass?: ((pass: PassName, round: number) => void) | undefined;
  /** Which passes over keys run; all when left out. */
  readonly isWanted?: ((pass: PassName) => boolean) | undefined;
  /** Everything that says what is in which bucket is made anew, whatever it says. */
  readonly reconstructAlloc?: boolean;
  /** Derived btrees that are made anew, since what is in them follows other rules than the superblock says (change-version.ts). */
  readonly remade?: readonly (typeof derivedBtrees)[number][];
  /** What the superblock says until the commit counts. */
  readonly superblockBegun?: ((sb: Superblock) => Superblock) | undefined;
  /** What it says once all is as it should be: where it was, or was repaired. */
  readonly superblockWhole?: ((sb: Superblock) => Superblock) | undefined;
  /** Members that are missing are given up, once it is agreed what is lost with them; else nothing is done about what they would show. */
  readonly giveUpMissing?: boolean;
  /** Seconds since 1970: what is found is counted in the superblock. Without it, nothing is. */
  readonly now?: bigint;
  /** What had to be corrected in the superblocks before the writer could be made (sound-sections.ts, member-sizes.ts). */
  readonly corrected?: readonly Finding[];
  /** Called with each key that is given up, and why. */
  readonly onDropped?: ((btree: number, key: Key, reason: string) => void) | undefined;
  /** Called with what is given up and cannot be read as a key: bytes of a btree's node, or of the journal. */
  readonly onDroppedBytes?: ((btree: number, bytes: Uint8Array, reason: string) => void) | undefined;
  /** Called when all is decided, before the commit: what it throws gives the repair up. */
  readonly onCommit?: (() => void) | undefined;
}

export interface RecoverReport {
  /** The journal entry of the commit; undefined when there was nothing to commit. */
  readonly seq: number | undefined;
  /** The filesystem was not clean: the commit has what its journal had to replay. */
  readonly isReplay: boolean;
  /** How many rounds of passes repaired something. */
  readonly rounds: number;
  /** What is still wrong after it, by error, as the checker sees it: nothing where all was repaired. */
  readonly remaining: ReadonlyMap<FaultName, number>;
  /** Why nothing was repaired: something that was to stay as it is, without which nothing else can be written. */
  readonly inTheWay?: string;
}

/**
 * @param writer opened with `isRepair`
 * @throws NoSpaceError, CorruptError, DeviceError: nothing has changed then that counts, unless the writer says that its commit is
 * unfinished
 */
export function recover(writer: FilesystemWriter, options: RecoverOptions): RecoverReport {
  return allSteps(recoverSteps(writer, options));
}

/**
 * The same, some of it a step: between two of them nothing has changed that counts, and a caller that goes no further gives it up.
 * @yields after each part of the check; the commit is part of the last step
 * @throws as recover does
 */
export function recoverSteps(writer: FilesystemWriter, options: RecoverOptions): Generator<void, RecoverReport, void> {
  return new Recovery(writer, options).run();
}

/** A kernel counts up by one when it writes a node anew: no node of the old btree comes near. */
const GENERATION = 2 ** 20;
/** Repairs of keys uncover what follows from pointers, but not without end. */
const RECOUNTS_MAX = 3;

const NONE: Missing = new Set();
/** Its versions are others. */
const ACCOUNTING = btrees.idOf('accounting');

class Recovery {
  readonly #writer: FilesystemWriter;
  readonly #options: RecoverOptions;
  readonly #reporter: Reporter;
  readonly #lostData = new Set<BtreeName>();
  readonly #unreadable = new Set<BtreeName>();
  /** Derived btrees that cannot be read. */
  readonly #lostDerived = new Set<BtreeName>();
  /** What the superblock has to say with the repairs. */
  readonly #edits: ((sb: Superblock) => Superblock)[] = [];
  /** What the filesystem on the devices has something in. */
  #isHeld: ((dev: number, bucket: number) => boolean) | undefined;
  /** What the last count found, and nothing repairs. */
  #unrepaired: { readonly found: Finding; readonly pass?: PassName }[] = [];
  /** Members that are not there, and those of them that were given up. */
  #missing: Missing = NONE;
  #gone: Missing = NONE;
  /** Buckets that several keys claim the same sectors of, as `dev:bucket`. */
  readonly #contested = new Set<string>();
  /** Keys that do not follow from others are only on members that are missing. */
  #isBlind = false;
  /** A repair met something that contradicts what follows from pointers. */
  #isContradicted = false;

  constructor(writer: FilesystemWriter, options: RecoverOptions) {
    this.#writer = writer;
    this.#options = options;
    this.#reporter = options.reporter;
  }

  get #filesystem(): Filesystem {
    return this.#writer.filesystem;
  }

  /** Everything was looked at, and nothing is left. */
  get #isWhole(): boolean {
    return this.#reporter.leftCount === 0 && this.#options.isWanted === undefined;
  }

  *run(): Generator<void, RecoverReport, void> {
    try {
      return yield* this.#repair();
    } catch (thrown) {
      // What is to stay as it is may stand in the way of all else: of the journal's keys, of counters.
      const isTyped = thrown instanceof CorruptError || thrown instanceof DeviceError;
      const isInTheWay = this.#unreadable.size > 0 && this.#reporter.leftCount > 0;
      if (!isTyped || !isInTheWay || this.#writer.isUnfinished) throw thrown;
      this.#writer.dropStaged();
      this.#reporter.leaveRest();
      const isReplay = this.#filesystem.replay.from === 'journal';
      return { seq: undefined, isReplay, rounds: 0, remaining: new Map(), inTheWay: thrown.message };
    }
  }

  *#repair(): Generator<void, RecoverReport, void> {
    const writer = this.#writer;
    const { replay } = this.#filesystem;
    const isReplay = replay.from === 'journal';
    if (replay.from === 'uninitialized') return { seq: undefined, isReplay: false, rounds: 0, remaining: new Map() };
    // All that is read stands on it.
    const { corrected = [] } = this.#options;
    if (!this.#reporter.foundTogether(() => corrected)) this.#reporter.leaveRest();
    this.#settleMissing();
    if (!this.#settleJournal()) return { seq: undefined, isReplay, rounds: 0, remaining: new Map() };
    this.#reportOpening();
    const isRebuilt = yield* this.#repairTopology();
    if (this.#gone.size > 0) leaveStripes(writer, this.#gone, () => this.#given());
    const { reconstructAlloc, remade = [] } = this.#options;
    for (const name of reconstructAlloc ? derivedBtrees : remade) this.#lostDerived.add(name);
    const atFirst = this.#reporter.repairCount;
    this.#recount(isRebuilt, false);
    yield;
    const before = this.#reporter.repairCount;
    this.#settleClaims();
    yield;
    const rounds = yield* this.#runPasses();
    // A claim that was dropped with its pointer may have been what nothing repairs.
    const isUncertain = this.#unrepaired.length > 0 && before > atFirst;
    const isChanged = (): boolean => this.#reporter.repairCount > before || this.#isContradicted;
    for (let i = 0; i < RECOUNTS_MAX && (isChanged() || (i === 0 && isUncertain)); i++) {
      this.#reporter.isRepeated = true;
      const known = this.#reporter.repairCount;
      const isForced = this.#isContradicted;
      this.#isContradicted = false;
      this.#recount(isForced, true);
      this.#settleClaims();
      yield;
      if (this.#reporter.repairCount === known && !isForced) break;
    }
    for (const { found, pass } of this.#unrepaired)
      this.#reporter.found(found, { isRepairable: false, ...(pass === undefined ? {} : { pass }) });
    // What a mount was asked to look at was looked at.
    const isSettled = this.#isWhole && isCheckPending(this.#filesystem.sb);
    if (this.#reporter.repairCount === 0 && !isReplay && !isSettled)
      return { seq: undefined, isReplay, rounds, remaining: new Map() };
    if (this.#reporter.stopped === 'quit' || this.#reporter.stopped === 'unknown') {
      writer.dropStaged();
      return { seq: undefined, isReplay, rounds, remaining: new Map() };
    }
    const seq = this.#commit();
    const remaining = checkInvariants(writer.filesystem).counts;
    return { seq, isReplay, rounds, remaining };
  }

  #commit(): number {
    const isWhole = this.#isWhole;
    const change = beginChange(this.#writer, { after: 'staged', usesReserve: true, onDamage: () => {} });
    const needed = editFor(change.triggers.needs);
    this.#options.onCommit?.();
    const { superblockBegun = sb => sb } = this.#options;
    return change.commit({
      superblock: sb => superblockBegun(this.#counted(this.#edits.reduce((edited, edit) => edit(edited), needed(sb)))),
      superblockAfter: sb => (isWhole ? this.#settled(sb) : this.#unrepaired.length > 0 ? withCheckRequired(sb) : sb),
    }).seq;
  }

  #settled(sb: Superblock): Superblock {
    const settled = withoutErrors(sb);
    return this.#options.superblockWhole?.(settled) ?? settled;
  }

  #counted(sb: Superblock): Superblock {
    const { now } = this.#options;
    return now === undefined ? sb : withErrorsCounted(sb, this.#reporter.groups(), now);
  }

  /** Members that are missing go, or are asked nothing. */
  #settleMissing(): void {
    const { set } = this.#filesystem;
    if (set.missing.length === 0) return;
    const missing = new Set(set.missing);
    if (this.#options.giveUpMissing === true) {
      const losses = () => lossWith(this.#filesystem, missing);
      if (this.#reporter.foundTogether(losses, { pass: 'check_topology' })) {
        this.#gone = missing;
        this.#writer.correctMembers(withoutMembers(set, missing));
        return;
      }
    }
    this.#missing = missing;
    let isWhole = true;
    for (const one of uncheckable(this.#filesystem, missing)) {
      this.#reporter.found(one, { pass: 'check_topology', isRepairable: false });
      const name = btrees.byName(one.where.btree ?? '')?.name;
      if (name !== undefined) this.#unreadable.add(name);
      if (name === undefined || !derivedIds.has(btrees.idOf(name))) this.#isBlind = true;
      isWhole = false;
    }
    // What cannot be read may need anything that would be freed.
    if (!isWhole) this.#reporter.leaveRest();
  }

  /** @returns whether a commit overwrites nothing: else nothing can be repaired */
  #settleJournal(): boolean {
    const contested = contestedJournal(this.#filesystem);
    if (contested === undefined) return true;
    const { findings, corrected } = contested;
    const proposal = { isRepairable: corrected !== undefined, after: 'the buckets that the alloc keys give to it' };
    if (!this.#reporter.foundTogether(() => findings, proposal) || corrected === undefined) return false;
    this.#writer.correctMembers(corrected);
    return true;
  }

  /**
   * Superblocks and the journal: any commit repairs them. So there is none where one of these is to stay that costs something: what comes
   * after a hole in the journal would be overwritten, and nothing would say any more that it was there.
   */
  #reportOpening(): void {
    const { set, replay } = this.#filesystem;
    let isAgreed = true;
    const found = (one: Finding, proposal?: Proposal) => {
      if (this.#reporter.found(one, proposal) === 'ignore' && !faultOf(one.error).safe) isAgreed = false;
    };
    for (const { device, reading, sb: own } of set.members) {
      // All other copies say the same: the one that is made again is what they are.
      const safe = reading.failures.length > 0 && isOneState(readAllCopies(device, own.layout));
      for (const { error, message, sector } of reading.failures)
        this.#reporter.found(
          findingOf({ error, detail: message }, { device: device.name, sector }),
          safe ? { safe } : {},
        );
      for (const problem of reading.problems)
        if (!this.#isCorrected(problem.detail)) found(findingOf(problem, problem.where));
    }
    for (const problem of [...replay.problems, ...unmarkedEntries(this.#filesystem)])
      found(problem, { pass: 'journal_replay' });
    if (replay.from === 'clean') isAgreed = this.#compareRoots(found) && isAgreed;
    else for (const lost of entriesAfterHoles(this.#filesystem)) found(lost, { pass: 'journal_replay' });
    for (const { btree, level, leftOut } of replay.leftOut)
      if (level === 0 && !derivedIds.has(btree)) this.#leaveOut(btree, leftOut);
    if (!isAgreed) this.#reporter.leaveRest();
    this.#repairRootVersions();
    for (const [id, { key }] of replay.roots) {
      if (btrees.byId(id) !== undefined || key === undefined) continue;
      // A btree of a later version would be named there too.
      const survey = surveyBtree(this.#filesystem, id);
      if (survey.findings.length > 0 && this.#areAgreed(survey.findings)) this.#writer.replaceRoot(id, undefined);
    }
  }

  /** Pointers to nodes have no version; a kernel asks of all keys that they have none that was not given yet. */
  #repairRootVersions(): void {
    const { replay } = this.#filesystem;
    const { keyVersion } = replay.clocks;
    for (const [id, root] of replay.roots) {
      const { key } = root;
      if (key === undefined || key.k.bversion_lo <= keyVersion || id === ACCOUNTING) continue;
      const detail = `version ${key.k.bversion_lo} of the pointer to the root, expected at most ${keyVersion}`;
      const found = finding('bkey_version_in_future', { btree: btrees.nameOf(id), level: root.level }, { detail });
      if (this.#reporter.found(found, { pass: 'check_topology' }) !== 'fix') continue;
      const k = { ...key.k, bversion_lo: 0n, bversion_hi: 0 };
      this.#writer.replaceRoot(id, { ...root, key: { ...key, k } });
    }
  }

  /** What was said before of the superblocks. */
  #isCorrected(detail: string): boolean {
    return (this.#options.corrected ?? []).some(one => one.detail === detail);
  }

  /** A clean filesystem's newest journal entry has the roots that its superblock has. @returns whether what it found is to be repaired */
  #compareRoots(found: (one: Finding, proposal: Proposal) => void): boolean {
    const { set, sb, key, replay } = this.#filesystem;
    const isStripped = isAllocInfoStripped(sb);
    const journal = readJournal(set, key);
    for (const newer of entriesAfterClean(this.#filesystem, journal)) found(newer, { pass: 'journal_replay' });
    const newest = journal.entries.find(({ seq, checksumGood }) => seq === replay.lastSeq && checksumGood);
    if (newest === undefined) return true;
    let isAgreed = true;
    for (const root of rootsOf(journal.read(newest).entries, sb, newest.seq)) {
      if (isStripped && derivedIds.has(root.btree)) continue;
      const known = replay.roots.get(root.btree);
      if (known?.key !== undefined && isSameRoot({ ...known, key: known.key }, root)) continue;
      const name = btrees.nameOf(root.btree);
      const detail = `the superblock has ${known === undefined ? 'no root' : 'another root'} of ${name} than journal entry ${newest.seq}`;
      const mismatch = findingOf({ error: 'sb_clean_btree_root_mismatch', detail }, { btree: name, field: 'clean' });
      const isBetter = known?.key === undefined || surveyBtree(this.#filesystem, root.btree).gaps.length > 0;
      if (!this.#areAgreed([mismatch])) isAgreed = false;
      else if (isBetter) this.#writer.replaceRoot(root.btree, root);
    }
    return isAgreed;
  }

  /** @returns whether btrees were built of which the derived ones do not know */
  *#repairTopology(): Generator<void, boolean, void> {
    this.#options.onPass?.('check_topology', 0);
    const damaged: BtreeSurvey[] = [];
    // What led to them is counted anew in any case.
    let isRebuilt = this.#gone.size > 0;
    const seqs = new NodeSeqs();
    const leafCounts = new Map<number, number>();
    /** Btrees whose keys are to keep the versions that they have. */
    const keptVersions = new Set<number>();
    for (const id of [...this.#filesystem.replay.roots.keys()].sort((a, b) => a - b)) {
      if (btrees.byId(id) === undefined || this.#unreadable.has(btrees.nameOf(id) as BtreeName)) continue;
      const survey = surveyBtree(this.#filesystem, id, { gone: this.#gone, onSeq: seq => seqs.add(id, seq) });
      leafCounts.set(id, survey.leaves.length);
      yield;
      const isReset = survey.aheadVersions !== undefined && this.#areAgreed([survey.aheadVersions]);
      if (survey.aheadVersions !== undefined && !isReset) keptVersions.add(id);
      if (survey.findings.length === 0 && survey.gaps.length === 0 && !survey.hasGone) {
        if (isReset && !derivedIds.has(id)) damaged.push(survey);
        // All of them are made anew then, from what can be read of them.
        else if (isReset) isRebuilt = true;
        continue;
      }
      const isAgreed = this.#areAgreed(survey.findings);
      const name = btrees.nameOf(id) as BtreeName; // of the table
      if (!isAgreed) this.#unreadable.add(name);
      else if (!derivedIds.has(id)) damaged.push(survey);
      else if (survey.findings.length > 0 || survey.gaps.length > 0) this.#lostDerived.add(name);
    }
    damaged.push(...this.#withoutSharedSeqs(seqs, leafCounts, new Set(damaged.map(({ btree }) => btree))));
    if (damaged.length === 0) return isRebuilt;
    const found = damaged.some(({ gaps }) => gaps.length > 0) ? this.#scan() : [];
    const plans = damaged.map(survey => ({ survey, ...fillGaps(this.#filesystem, survey, found) }));
    const given = this.#given(
      plans.flatMap(({ leaves, survey }) => leaves.map(leaf => ({ btree: survey.btree, leaf }))),
    );
    for (const { survey, leaves, gaps, generation } of plans) {
      const name = btrees.nameOf(survey.btree) as BtreeName; // of the table
      const where = { btree: name };
      const isOnlyGone = survey.hasGone && survey.findings.length === 0;
      if (leaves.length === 0 && survey.gaps.length > 0) {
        const detail = 'its root cannot be read, and no node of it was found: all its keys are lost';
        const lost = findingOf({ error: 'btree_root_unreadable_and_scan_found_nothing', detail }, where);
        if (!isOnlyGone && !this.#areAgreed([lost])) {
          this.#unreadable.add(name);
          continue;
        }
        this.#lostData.add(name);
      } else if (gaps.length > 0) {
        const lost = gaps.map(({ min, max }) => {
          const detail = `nothing was found for the positions from ${bposText(min)} to ${bposText(max)}`;
          return findingOf({ error: 'btree_node_unreadable', detail }, { ...where, pos: bposText(max) });
        });
        if (!isOnlyGone && !this.#areAgreed(lost)) {
          this.#unreadable.add(name);
          continue;
        }
        this.#lostData.add(name);
      } else if (survey.gaps.length > 0 && leaves.some(leaf => leaf.generation >= GENERATION)) {
        // Nodes of a repair that was cut off may have been found, and what it could not find is not in them.
        this.#lostData.add(name);
      }
      for (const what of bytesOfLostLeaves(this.#filesystem, survey.lostLeaves, gaps))
        this.#leaveOut(survey.btree, what);
      const found = keysOfLeaves(this.#filesystem, survey.btree, leaves, what => this.#leaveOut(survey.btree, what));
      const keys = keptVersions.has(survey.btree) ? found : withoutAheadVersions(this.#filesystem, survey.btree, found);
      this.#writer.build(survey.btree, keys, given, Math.min(generation + GENERATION, 2 ** 32 - 1));
      isRebuilt = true;
      yield;
    }
    return isRebuilt;
  }

  /**
   * Nodes that have the number of another: of two btrees with it, the smaller one is written again.
   * @param rebuilt btrees that are built anew in any case
   * @returns what is to be built anew besides
   */
  #withoutSharedSeqs(
    seqs: NodeSeqs,
    leafCounts: ReadonlyMap<number, number>,
    rebuilt: ReadonlySet<number>,
  ): readonly BtreeSurvey[] {
    const chosen = new Set<number>();
    const isReplaced = (id: number) =>
      rebuilt.has(id) || chosen.has(id) || this.#lostDerived.has(btrees.nameOf(id) as BtreeName); // of the table
    for (const { seq, btrees: ids } of seqs.shared()) {
      const left = ids.filter(id => !isReplaced(id)).sort((a, b) => leafCounts.get(a)! - leafCounts.get(b)! || a - b);
      const shared = finding('btree_node_seq_shared', { btree: btrees.nameOf(ids[0]!) }, { seq, nodes: ids.length });
      if (!this.#areAgreed([shared])) continue;
      // One node may stay: that of the last btree, where it is the only one in it.
      for (const id of left.slice(0, -1)) {
        if (isReplaced(id)) continue;
        if (derivedIds.has(id))
          this.#lostDerived.add(btrees.nameOf(id) as BtreeName); // of the table
        else chosen.add(id);
      }
    }
    return [...chosen].map(id => surveyBtree(this.#filesystem, id, { gone: this.#gone }));
  }

  #leaveOut(btree: number, what: LeftOut): void {
    if ('bytes' in what) this.#options.onDroppedBytes?.(btree, what.bytes, what.reason);
    else if (what.key.k.type !== DELETED) this.#options.onDropped?.(btree, what.key, what.reason);
  }

  #areAgreed(findings: readonly Finding[]): boolean {
    return this.#reporter.foundTogether(() => findings, { pass: 'check_topology' });
  }

  #scan(): readonly FoundNode[] {
    this.#options.onPass?.('scan_for_btree_nodes', 0);
    const { sb, key } = this.#filesystem;
    const settings = {
      magic: btreeNodeMagic(sb.uuid),
      nodeSectors: getBits(sb.flags, sbBits.BTREE_NODE_SIZE),
      key,
    };
    return scanForNodes(this.#scanned(), settings);
  }

  #scanned(): readonly ScannedDevice[] {
    const { sb, set } = this.#filesystem;
    const devices = allocDevices(sb);
    return set.members.flatMap(({ device, sb: own }) => {
      const at = devices[own.dev_idx];
      const member = memberAt(sb, own.dev_idx);
      if (at === undefined || member === undefined) return [];
      const { btree_bitmap_shift: shift, btree_allocated_bitmap: bits } = member;
      const { index, firstBucket, bucketEnd, bucketSizeSectors } = at;
      return [
        { index, device, firstBucket, bucketEnd, bucketSizeSectors, bitmap: bits === 0n ? undefined : { shift, bits } },
      ];
    });
  }

  /** Room that nothing takes, neither on the devices nor in what was staged. @param leaves that are going to be read */
  #given(leaves: readonly { readonly btree: number; readonly leaf: Leaf }[] = []): GivenBuckets {
    const filesystem = this.#filesystem;
    const isAllocLost = this.#lostDerived.has('alloc');
    const { buckets } = new Recount(filesystem, {
      ...(isAllocLost ? { correct: (read: AllBuckets) => readGens(filesystem, read) } : {}),
    });
    const isTaken = (dev: number, bucket: number) => !isGivable(buckets.get(dev)?.peek(bucket), rowOf(bucket));
    if (this.#isHeld === undefined) {
      const taken = new Set<string>();
      const take = (key: Key) => {
        for (const { dev, offset } of spacePointers(entryBytesOf(key), key.k.size).pointers) {
          const size = buckets.get(dev)?.device.bucketSizeSectors;
          if (size !== undefined && size > 0) taken.add(`${dev}:${Math.floor(offset / size)}`);
        }
      };
      for (const { btree, leaf } of leaves) {
        take(leaf.ptr);
        for (const key of keysOfLeaves(filesystem, btree, [leaf])) take(key);
      }
      // Without alloc keys, nothing says that a node which is lost is not needed.
      if (isAllocLost) for (const { ptr } of this.#scan()) take(ptr);
      this.#isHeld = (dev, bucket) => taken.has(`${dev}:${bucket}`) || isTaken(dev, bucket);
      this.#writer.holdInstead(this.#isHeld);
    }
    const isHeld = this.#isHeld;
    const { sb } = filesystem;
    const free = new Map<number, Iterable<FreeBucket>>();
    for (const device of allocDevices(sb)) {
      if (device === undefined || !device.isWritable || !allowsData(device, 'btree')) continue;
      const { index, firstBucket, bucketEnd } = device;
      if (filesystem.device(index) === undefined || device.durability === 0) continue;
      const isInUse = (dev: number, bucket: number) => isHeld(dev, bucket) || isTaken(dev, bucket);
      free.set(index, freeBuckets(buckets, index, firstBucket, bucketEnd, isInUse));
    }
    return new GivenBuckets(sb, free);
  }

  #recount(isForced: boolean, isStaged: boolean): void {
    if (this.#unreadable.size > 0) return;
    this.#options.onPass?.('check_allocations', 0);
    const { onDropped } = this.#options;
    this.#unrepaired = [];
    const edit = repairAllocations(this.#writer, {
      reporter: this.#reporter,
      drop: (btree, key, reason) => onDropped?.(btree, key, reason),
      lost: this.#lostDerived,
      isForced: isForced || this.#lostDerived.size > 0,
      isStaged: isStaged || this.#gone.size > 0,
      missing: this.#missing,
      gone: this.#gone,
      onContested: bucket => this.#contested.add(bucket),
      onUnrepaired: (found, pass) => this.#unrepaired.push({ found, ...(pass === undefined ? {} : { pass }) }),
      allocator: () => this.#given(),
    });
    if (edit === undefined) return;
    this.#edits.push(edit);
    this.#lostDerived.clear();
  }

  /** Sectors that several keys claim: their data says whose they are. */
  #settleClaims(): void {
    const { onPass, onDropped } = this.#options;
    for (let i = 0; i < RECOUNTS_MAX && this.#contested.size > 0 && this.#unreadable.size === 0; i++) {
      onPass?.('check_extents_to_backpointers', 0);
      const contested = new Set(this.#contested);
      this.#contested.clear();
      const isChanged = settleDoubleClaims(this.#writer, {
        reporter: this.#reporter,
        drop: (btree, key, reason) => onDropped?.(btree, key, reason),
        contested,
        allocator: () => this.#given(),
      });
      if (!isChanged) return;
      // The room of copies is known to no list yet.
      this.#reporter.isRepeated = true;
      this.#recount(true, true);
    }
  }

  *#runPasses(): Generator<void, number, void> {
    // They lean on each other: what one of them misses in a btree that is elsewhere would be another's finding.
    if (this.#isBlind) return 0;
    const { onPass, isWanted, onDropped } = this.#options;
    return yield* runPasses(this.#writer, {
      reporter: this.#reporter,
      ...(onPass === undefined ? {} : { onPass }),
      ...(isWanted === undefined ? {} : { isWanted }),
      drop: (btree, key, reason) => onDropped?.(btree, key, reason),
      lostData: this.#lostData,
      unreadable: new Set([...this.#unreadable, ...this.#lostDerived]),
      onDamage: () => {
        this.#isContradicted = true;
      },
    });
  }
}

/** Whether those copies of a superblock that can be read are all from one write, and there are some. */
function isOneState(copies: readonly CopyState[]): boolean {
  const written = copies.flatMap(state => ('copy' in state ? [`${state.copy.sb.uuid}:${state.copy.sb.seq}`] : []));
  return new Set(written).size === 1;
}

const BTREE_ROOT = jsetEntryTypes.idOf('btree_root');

function* rootsOf(
  entries: readonly JsetEntry[],
  sb: Superblock,
  seq: number,
): Generator<BtreeRoot & { readonly key: Key }> {
  for (const entry of entries) {
    const { type, btree_id: btree, level } = entry;
    if (type !== BTREE_ROOT || btrees.byId(btree) === undefined) continue;
    const [key] = journalKeys(entry, { btree, level: level + 1 }, keyContext(sb), () => {});
    if (key !== undefined) yield { btree, level, key, seq };
  }
}

const isSameRoot = (a: BtreeRoot & { readonly key: Key }, b: BtreeRoot & { readonly key: Key }): boolean =>
  a.level === b.level &&
  a.key.value.length === b.key.value.length &&
  a.key.value.every((byte, i) => byte === b.key.value[i]);

function* freeBuckets(
  buckets: AllBuckets,
  dev: number,
  start: number,
  end: number,
  isHeld: (dev: number, bucket: number) => boolean,
): Generator<FreeBucket> {
  for (let bucket = start; bucket < end; bucket++) {
    if (isHeld(dev, bucket)) continue;
    yield { bucket, gen: buckets.get(dev)?.peek(bucket)?.gen[rowOf(bucket)] ?? 0 };
  }
}
