// Scrub: reads every copy of everything that a filesystem holds, compares it with its checksum, and puts a good copy in the place of each bad
// one. First the copies of the superblocks, then every replica of every btree node, then the data of all files, cached copies and the parity
// of stripes. What has no good copy is left as it is, and the files that it belongs to are named.
//
// Repairs are commits as any other (change/): copies and nodes go where nothing is, and a crash leaves the old state or the new one, never less
// than was there. While a btree node has no good replica nothing is repaired: what it said of buckets is not known, so fsck comes first.
//
// Memory is bounded: nodes and extents are taken in batches, which are read in the order of the devices (see batch.ts).

import { countersOf } from '../alloc/reserve.ts';
import { KEYS_OF_NODE, nodesToRewrite } from '../btree/commit.ts';
import { bposSuccessor } from '../btree/iterate.ts';
import { inBatches } from '../change/batches.ts';
import { beginChange, type Change } from '../change/change.ts';
import type { FilesystemWriter } from '../change/writer.ts';
import type { DataError } from '../data/finding.ts';
import { StripeReader } from '../data/stripes.ts';
import { getBits } from '../ondisk/bits.ts';
import { type Bpos, bposOffsetNumber, bposText, POS_MIN } from '../ondisk/bpos.ts';
import { type BtreeName, btrees } from '../ondisk/btrees.ts';
import { type DataTypeName, dataTypes } from '../ondisk/data-types.ts';
import { CorruptError, DeviceError, IncompatibleError, NoSpaceError, UsageError } from '../ondisk/errors.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import { sbBits } from '../ondisk/sb-bits.ts';
import { memberAlive, members } from '../ondisk/sb-fields/members.ts';
import type { Filesystem } from '../opened/filesystem.ts';
import { type Damage, type Finding, findingOf } from '../report/finding.ts';
import { editSuperblock } from '../superblock/edit.ts';
import type { OpenMember } from '../superblock/member-set.ts';
import { readAllCopies } from '../superblock/read.ts';
import { layoutAgrees } from '../superblock/recover.ts';
import { sectorsToBytes } from '../util/sizes.ts';
import { allSteps } from '../util/steps.ts';
import { type Copy, CopyBatch, type ScrubbedKey } from './batch.ts';
import { CopyReader, copyBytes, copyPlace, isSameEncoded } from './copy-reader.ts';
import { CopyRepair, type LeftReason, rebuiltFrom } from './copy-repair.ts';
import { LostFiles, type LostKey, type LostRun } from './lost-files.ts';
import { type NodeReplica, nodeBatches, readReplicas, type ScrubbedNode } from './node-reader.ts';
import { ParityRepair, parityOf } from './parity-repair.ts';

/**
 * corrected    a good copy has taken its place
 * correctable  there is a good copy, and nothing was to be written
 * uncorrected  it stays as it is
 */
export type ScrubOutcome = 'corrected' | 'correctable' | 'uncorrected';

/** One copy that is not what was written. */
export interface BadCopy {
  readonly kind: 'copy';
  readonly what: 'superblock' | 'btree' | 'user' | 'cached' | 'parity';
  /** The index of the member. */
  readonly dev: number;
  readonly sizeBytes: number;
  readonly damage: Finding;
  readonly outcome: ScrubOutcome;
  /** Why it is uncorrected, where there is a good copy. */
  readonly reason: string | undefined;
}

export type ScrubFinding = BadCopy | LostRun;

export interface ScrubOptions {
  /** Superblocks and btree nodes only. */
  readonly isMetadataOnly?: boolean;
  /** How repairs are written; without it nothing is. */
  readonly repair?: ScrubRepair | undefined;
  readonly onFinding: (finding: ScrubFinding) => void;
  /** How many copies are in memory at once. */
  readonly copiesMax?: number;
  /** How many keys a commit changes at the most. */
  readonly keysPerCommit?: number;
}

export interface ScrubRepair {
  /** Opened when there is something to repair. @throws what stands against it */
  readonly writer: () => FilesystemWriter;
  /** Seconds since 1970. */
  readonly now: () => bigint;
}

/** What was read of one member, in bytes. */
export interface ScrubbedMember {
  readonly dev: number;
  /** Undefined where it is missing. */
  readonly name: string | undefined;
  checkedBytes: number;
  /** Of `checkedBytes`; what would be corrected, where nothing was to be written, counts as uncorrected. */
  correctedBytes: number;
  uncorrectedBytes: number;
  /** What there is to be read, by the filesystem's counters. */
  readonly totalBytes: number;
}

export interface ScrubReport {
  readonly members: readonly ScrubbedMember[];
  /** Copies. */
  readonly corrected: number;
  readonly correctable: number;
  readonly uncorrected: number;
  /** Keys without a good copy. */
  readonly lost: number;
  /** Copies on members that are missing. */
  readonly missing: number;
  /** Why nothing could be repaired, although something was to be. */
  readonly refused: string | undefined;
}

type RepairState = 'done' | 'not done' | 'impossible';

/** Some hundred bytes of memory for each, several times. */
const KEYS_PER_COMMIT = 20_000;

/** How often a batch ends early since there is no room for more. */
const NEXT_TRIES_MAX = 16;

/** Pieces of bad parity that are noted before they are repaired. */
const BAD_PARITY_MAX = 4096;
/** That a commit writes, about. */
const PARITY_BYTES = 256 * 2 ** 20;

/** A piece of a block of parity that is not what it should be. */
interface BadParity extends Pick<BadCopy, 'dev' | 'sizeBytes'> {
  /** Of the stripe. */
  readonly pos: Bpos;
  readonly block: number;
  readonly damage: DataError;
}

const blockName = ({ pos, block }: Pick<BadParity, 'pos' | 'block'>): string => `${bposText(pos)} ${block}`;

const STRIPE = keyTypes.idOf('stripe');
/** With pointers to data. */
const DATA_BTREES: readonly BtreeName[] = ['extents', 'reflink'];

/**
 * Scrubs a filesystem, some of it a step.
 * @yields how many bytes were read since the step before
 * @throws DeviceError when a write fails; IncompatibleError for nodes of other versions
 */
export function* scrubSteps(filesystem: Filesystem, options: ScrubOptions): Generator<number, ScrubReport, void> {
  return yield* new Scrub(filesystem, options).run();
}

/** The same at once. */
export function scrub(filesystem: Filesystem, options: ScrubOptions): ScrubReport {
  return allSteps(scrubSteps(filesystem, options));
}

/** Bytes that a scrub will read of each member, by the filesystem's counters. */
export function scrubbedMembers(filesystem: Filesystem, isMetadataOnly = false): ScrubbedMember[] {
  const { sb } = filesystem;
  const types: readonly DataTypeName[] = isMetadataOnly ? ['btree'] : ['btree', 'user', 'cached', 'parity', 'stripe'];
  return members(sb).flatMap((member, dev) => {
    if (!memberAlive(member)) return [];
    const name = filesystem.device(dev)?.name;
    let sectors = 0;
    for (const type of types) sectors += countedSectors(filesystem, dev, dataTypes.idOf(type));
    const zero = { checkedBytes: 0, correctedBytes: 0, uncorrectedBytes: 0 };
    return [{ dev, name, ...zero, totalBytes: sectorsToBytes(Math.max(0, sectors)) }];
  });
}

function countedSectors(filesystem: Filesystem, dev: number, data_type: number): number {
  try {
    return countersOf(filesystem, { type: 'dev_data_type', dev, data_type })[1] ?? 0;
  } catch (thrown) {
    // Counters that cannot be read are met again as nodes.
    if (thrown instanceof CorruptError || thrown instanceof DeviceError) return 0;
    throw thrown;
  }
}

class Scrub {
  readonly #options: ScrubOptions;
  readonly #nodeBytes: number;
  readonly #members: readonly ScrubbedMember[];
  #filesystem: Filesystem;
  #writer: FilesystemWriter | undefined;
  #refused: string | undefined;
  #isCommitted = false;
  readonly #counts = { corrected: 0, correctable: 0, uncorrected: 0 };
  #lost = 0;
  #missing = 0;
  /** Of members that do not exist: nothing is read of these. */
  readonly #noMember: ScrubbedMember = {
    dev: -1,
    name: undefined,
    checkedBytes: 0,
    correctedBytes: 0,
    uncorrectedBytes: 0,
    totalBytes: 0,
  };

  constructor(filesystem: Filesystem, options: ScrubOptions) {
    this.#filesystem = filesystem;
    this.#options = options;
    this.#nodeBytes = sectorsToBytes(getBits(filesystem.sb.flags, sbBits.BTREE_NODE_SIZE));
    this.#members = scrubbedMembers(filesystem, options.isMetadataOnly);
  }

  *run(): Generator<number, ScrubReport, void> {
    const superblocks = this.#filesystem.set.members.flatMap(badSuperblocks);
    yield* this.#scrubNodes();
    if (this.#options.isMetadataOnly !== true) {
      for (const name of DATA_BTREES) yield* this.#scrubData(name);
      yield* this.#scrubParity();
    }
    this.#settleSuperblocks(superblocks);
    return {
      members: this.#members,
      ...this.#counts,
      lost: this.#lost,
      missing: this.#missing,
      refused: this.#refused,
    };
  }

  // ---- superblocks

  /** A commit has written all copies anew. */
  #settleSuperblocks(found: readonly BadSuperblock[]): void {
    if (found.length === 0) return;
    let isDone = this.#isCommitted;
    if (!isDone && this.#openWriter() !== undefined) {
      const { set } = this.#filesystem;
      editSuperblock(set, sb => sb, { now: this.#options.repair?.now() ?? 0n });
      isDone = true;
    }
    for (const { dev, sizeBytes, damage } of found)
      this.#found({ what: 'superblock', dev, sizeBytes, damage }, isDone ? 'done' : 'not done');
  }

  // ---- btree nodes

  *#scrubNodes(): Generator<number, void, void> {
    const toRewrite: ScrubbedNode[] = [];
    const onDamage = (damage: Damage) => this.#lostNode(damage);
    for (const batch of nodeBatches(this.#filesystem, onDamage)) {
      for (const replica of readReplicas(this.#filesystem, batch)) {
        if (replica.state === 'missing') this.#missing++;
        else this.#memberOf(replica.ptr.dev).checkedBytes += this.#nodeBytes;
        yield this.#nodeBytes;
      }
      for (const node of batch) {
        const bad = node.replicas.filter(({ state }) => state === 'bad');
        if (node.replicas.some(({ state }) => state === 'good')) {
          if (bad.length > 0) toRewrite.push(node);
          continue;
        }
        for (const replica of bad) this.#foundReplica(replica, 'impossible');
        const damage = bad[0]?.problem ?? node.replicas[0]?.problem;
        const where = { btree: btrees.nameOf(node.btree), level: node.level, pos: bposText(node.ptr.k.p) };
        this.#lostNode(
          damage ?? new CorruptError('extent_ptrs_no_ptrs', where, 'a pointer to a node without a replica'),
        );
      }
    }
    yield* this.#rewriteNodes(toRewrite);
  }

  /** From here on nothing is repaired. */
  #lostNode(damage: Damage): void {
    this.#lost++;
    this.#refused ??= `a btree node has no good copy (${damage.message}): fsck repairs that, and scrub the rest afterwards`;
  }

  *#rewriteNodes(nodes: readonly ScrubbedNode[]): Generator<number, void, void> {
    if (nodes.length === 0) return;
    let done = 0;
    const writer = this.#openWriter();
    if (writer !== undefined) {
      const nodesMax = Math.max(1, Math.floor(this.#keysPerCommit / KEYS_OF_NODE));
      try {
        for (const _ of inBatches(
          () => this.#begin(writer),
          (_change, most) => {
            if (done >= nodes.length) return undefined;
            const part = nodes.slice(done, done + Math.max(1, most));
            return {
              isMore: done + part.length < nodes.length,
              extras: {
                rewrite: nodesToRewrite(part.map(({ btree, level, ptr }) => ({ btree, level, pos: ptr.k.p }))),
              },
              onCommitted: () => {
                done += part.length;
              },
            };
          },
          nodesMax,
        )) {
          this.#committed(writer);
          yield 0;
        }
      } catch (thrown) {
        this.#refuse(thrown);
      }
    }
    for (const [nr, { replicas }] of nodes.entries())
      for (const replica of replicas)
        if (replica.state === 'bad') this.#foundReplica(replica, nr < done ? 'done' : 'not done');
  }

  #foundReplica({ ptr, problem }: NodeReplica, state: RepairState): void {
    if (problem === undefined) return;
    this.#found({ what: 'btree', dev: ptr.dev, sizeBytes: this.#nodeBytes, damage: problem }, state);
  }

  // ---- data

  *#scrubData(name: BtreeName): Generator<number, void, void> {
    const btree = btrees.idOf(name);
    for (let from = POS_MIN; ; ) {
      const batch = new CopyBatch(this.#options.copiesMax);
      for (const key of this.#filesystem.btree(name).keys({ from, onDamage: () => {} })) {
        batch.add(btree, key);
        if (batch.isFull) break;
      }
      const reader = new CopyReader(this.#filesystem);
      for (const run of reader.read(batch.sorted())) yield this.#countRun(run);
      yield* this.#settle(batch, reader);
      const { last } = batch;
      if (!batch.isFull || last === undefined) return;
      from = bposSuccessor(last);
    }
  }

  /** @returns bytes that were read */
  #countRun(run: readonly Copy[]): number {
    let bytes = 0;
    let last: Copy | undefined;
    for (const copy of run) {
      if (copy.state === 'missing') this.#missing++;
      const isNew = last === undefined || !isSameEncoded(last, copy);
      last = copy;
      if (!isNew || (copy.state !== 'good' && copy.state !== 'bad')) continue;
      this.#memberOf(copy.ptr.dev).checkedBytes += copyBytes(copy);
      bytes += copyBytes(copy);
    }
    return bytes;
  }

  *#settle({ keys }: CopyBatch, reader: CopyReader): Generator<number, void, void> {
    const stripes = new StripeReader(this.#filesystem);
    const toRepair: ScrubbedKey[] = [];
    const lost: LostKey[] = [];
    for (const key of keys) {
      const { copies, k, btree } = key;
      const bad = copies.filter(({ state }) => state === 'bad');
      const failed = bad[0] ?? copies.find(({ state }) => state === 'missing');
      const isGood =
        copies.some(({ state }) => state === 'good') ||
        (failed !== undefined && copies.some(copy => this.#isRebuilt(stripes, reader, copy)));
      if (key.lost !== undefined) lost.push({ btree, key: { k }, damage: key.lost });
      else if (failed !== undefined && !isGood) {
        for (const copy of bad) this.#foundCopy(copy, 'impossible');
        lost.push({ btree, key: { k }, damage: failed.problem ?? missingMember(this.#filesystem, failed) });
      } else if (bad.length > 0) toRepair.push(key);
    }
    this.#lost += lost.length;
    for (const run of new LostFiles(this.#filesystem).of(lost)) {
      this.#options.onFinding(run);
      yield 0;
    }
    yield* this.#repairKeys(toRepair);
  }

  #isRebuilt(stripes: StripeReader, reader: CopyReader, copy: Copy): boolean {
    return rebuiltFrom(stripes, reader, copy, copyPlace(this.#filesystem, copy)) !== undefined;
  }

  *#repairKeys(keys: readonly ScrubbedKey[]): Generator<number, void, void> {
    if (keys.length === 0) return;
    const left = new Map<ScrubbedKey, string>();
    let done = 0;
    let nextTries = 0;
    const writer = this.#openWriter();
    if (writer !== undefined) {
      try {
        for (const _ of inBatches(
          () => this.#begin(writer),
          (change, keysMax) => {
            const repair = new CopyRepair(change, new CopyReader(writer.filesystem));
            let at = done;
            let changed = 0;
            for (; at < keys.length && changed < keysMax; at++) {
              const key = keys[at]!;
              const reason = repair.repair(key);
              // A batch that was dropped may have said something else of it.
              left.delete(key);
              if (reason === undefined) {
                changed++;
                continue;
              }
              // The bad copies that this batch replaces make room for the next one.
              if (reason === 'no room' && changed > 0 && nextTries < NEXT_TRIES_MAX) {
                nextTries++;
                break;
              }
              left.set(
                key,
                reason === 'no room' ? 'no member has room for another copy' : 'its copies changed meanwhile',
              );
            }
            if (changed === 0) return undefined;
            const { clocks } = writer.filesystem.replay;
            return {
              isMore: at < keys.length,
              extras: { clocks: { ...clocks, write: clocks.write + BigInt(repair.sectors) } },
              onCommitted: () => {
                done = at;
              },
            };
          },
          this.#keysPerCommit,
        )) {
          this.#committed(writer);
          yield 0;
        }
        done = keys.length;
      } catch (thrown) {
        this.#refuse(thrown);
      }
    }
    for (const [nr, key] of keys.entries()) {
      const reason = left.get(key);
      const state = reason !== undefined ? 'impossible' : nr < done ? 'done' : 'not done';
      for (const copy of key.copies) if (copy.state === 'bad') this.#foundCopy(copy, state, reason);
    }
  }

  #foundCopy(copy: Copy, state: RepairState, reason?: string): void {
    const { problem, ptr } = copy;
    if (problem === undefined) return;
    const where = { ...problem.where, ...copyPlace(this.#filesystem, copy) };
    const damage = findingOf({ error: problem.error, detail: problem.detail }, where);
    const what = ptr.cached ? 'cached' : 'user';
    this.#found({ what, dev: ptr.dev, sizeBytes: copyBytes(copy), damage }, state, reason);
  }

  // ---- parity

  *#scrubParity(): Generator<number, void, void> {
    const stripes = new StripeReader(this.#filesystem);
    let bad: BadParity[] = [];
    for (const { k } of this.#filesystem.btree('stripes').keys({ onDamage: () => {} })) {
      if (k.type !== STRIPE) continue;
      const where = { btree: 'stripes', pos: bposText(k.p) };
      try {
        for (const { dev, block, sectors, problem } of stripes.checkParity(bposOffsetNumber(k.p), where)) {
          const sizeBytes = sectorsToBytes(sectors);
          if (this.#filesystem.device(dev) === undefined) {
            this.#missing++;
            continue;
          }
          this.#memberOf(dev).checkedBytes += sizeBytes;
          if (problem !== undefined) bad.push({ pos: k.p.slice(), block, dev, sizeBytes, damage: problem });
          yield sizeBytes;
        }
      } catch (thrown) {
        // The key is none that can be: what that means for it is for fsck to say.
        if (!(thrown instanceof CorruptError)) throw thrown;
      }
      if (bad.length < BAD_PARITY_MAX) continue;
      yield* this.#repairParity(bad);
      bad = [];
    }
    yield* this.#repairParity(bad);
  }

  *#repairParity(bad: readonly BadParity[]): Generator<number, void, void> {
    if (bad.length === 0) return;
    // A block of which several pieces are bad is written once.
    const blocks = new Map(bad.map(one => [blockName(one), one]));
    const states = new Map<string, LeftReason | 'done'>();
    for (const [name, { pos, block, damage }] of blocks)
      if (damage.error === 'stripe_read_ptr_stale' || !this.#isComputable(pos, block)) states.set(name, 'gone');
    const writer = states.size === blocks.size ? undefined : this.#openWriter();
    if (writer !== undefined) {
      try {
        for (const _ of inBatches(
          () => this.#begin(writer),
          (change, keysMax) => {
            const repair = new ParityRepair(change);
            const tried = new Map<string, LeftReason | 'done'>();
            for (const [name, { pos, block }] of blocks) {
              if (states.has(name)) continue;
              tried.set(name, repair.repair(pos, block) ?? 'done');
              if (tried.size === keysMax || sectorsToBytes(repair.sectors) >= PARITY_BYTES) break;
            }
            for (const [name, state] of tried) if (state !== 'done') states.set(name, state);
            if (repair.sectors === 0) return undefined;
            const { clocks } = writer.filesystem.replay;
            return {
              isMore: true,
              extras: { clocks: { ...clocks, write: clocks.write + BigInt(repair.sectors) } },
              onCommitted: () => {
                for (const [name, state] of tried) states.set(name, state);
              },
            };
          },
          this.#keysPerCommit,
        )) {
          this.#committed(writer);
          yield 0;
        }
      } catch (thrown) {
        this.#refuse(thrown);
      }
    }
    for (const { dev, sizeBytes, damage, ...place } of bad) {
      const state = states.get(blockName(place));
      const reason =
        state === 'no room'
          ? 'no member has room for it'
          : state === 'gone'
            ? 'not enough of the data is good'
            : undefined;
      const repaired = state === 'done' ? 'done' : state === undefined ? 'not done' : 'impossible';
      this.#found({ what: 'parity', dev, sizeBytes, damage }, repaired, reason);
    }
  }

  #isComputable(pos: Bpos, block: number): boolean {
    return parityOf(new StripeReader(this.#filesystem), pos, block) !== undefined;
  }

  // ---- what all of them share

  get #keysPerCommit(): number {
    return this.#options.keysPerCommit ?? KEYS_PER_COMMIT;
  }

  #memberOf(dev: number): ScrubbedMember {
    return this.#members.find(member => member.dev === dev) ?? this.#noMember;
  }

  #found(bad: Pick<BadCopy, 'what' | 'dev' | 'sizeBytes' | 'damage'>, state: RepairState, reason?: string): void {
    const isDone = state === 'done';
    const isOnlyLooked = state === 'not done' && this.#options.repair === undefined;
    const outcome = isDone ? 'corrected' : isOnlyLooked ? 'correctable' : 'uncorrected';
    this.#counts[outcome]++;
    this.#memberOf(bad.dev)[isDone ? 'correctedBytes' : 'uncorrectedBytes'] += bad.sizeBytes;
    this.#options.onFinding({ kind: 'copy', ...bad, outcome, reason });
  }

  /** What repairs are written with; undefined where nothing is to be written, or can be. */
  #openWriter(): FilesystemWriter | undefined {
    if (this.#options.repair === undefined || this.#refused !== undefined) return undefined;
    try {
      this.#writer ??= this.#options.repair.writer();
      return this.#writer;
    } catch (thrown) {
      this.#refuse(thrown);
      return undefined;
    }
  }

  /** @throws what only reading on is not the answer to */
  #refuse(thrown: unknown): void {
    const isRefusal =
      thrown instanceof IncompatibleError ||
      thrown instanceof UsageError ||
      thrown instanceof CorruptError ||
      thrown instanceof NoSpaceError;
    if (!isRefusal || this.#writer?.isUnfinished === true) throw thrown;
    this.#refused ??= thrown.message;
  }

  #begin(writer: FilesystemWriter): Change {
    return beginChange(writer, { usesReserve: true, releasesEmptied: true });
  }

  #committed(writer: FilesystemWriter): void {
    this.#filesystem = writer.filesystem;
    this.#isCommitted = true;
  }
}

function missingMember(filesystem: Filesystem, copy: Copy): DeviceError {
  const { pos, btree } = copyPlace(filesystem, copy);
  const detail = `it is not among the devices that were given, and no other copy of ${btree} ${pos} is good`;
  return new DeviceError('missing', `member ${copy.ptr.dev}`, detail);
}

interface BadSuperblock {
  readonly dev: number;
  readonly sizeBytes: number;
  readonly damage: Finding;
}

/** Places of a member where a copy of its superblock should be, and none that is right is. */
function badSuperblocks({ device, sb }: OpenMember): readonly BadSuperblock[] {
  const bad: BadSuperblock[] = [];
  const sizeBytes = sectorsToBytes(2 ** sb.layout.sb_max_size_bits);
  for (const state of readAllCopies(device, sb.layout)) {
    const where = { device: device.name, sector: state.sector };
    const found = (problem: Parameters<typeof findingOf>[0]) =>
      bad.push({ dev: sb.dev_idx, sizeBytes, damage: findingOf(problem, where) });
    if ('failure' in state) found({ error: state.failure.error, detail: state.failure.message });
    else if (state.copy.sb.uuid !== sb.uuid || state.copy.sb.seq !== sb.seq) {
      const detail = `a superblock of number ${state.copy.sb.seq}, expected number ${sb.seq}`;
      found({ error: 'superblock_copy_differs', detail });
    }
  }
  if (!layoutAgrees(device, sb)) {
    const detail = 'the layout in front of the superblock is not the one that the superblock has';
    bad.push({
      dev: sb.dev_idx,
      sizeBytes: 512,
      damage: findingOf({ error: 'invalid_sb_layout', detail }, { device: device.name, sector: 7 }),
    });
  }
  return bad;
}
