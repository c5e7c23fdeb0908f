// What would be lost if members died: by sets of replicas, as the counters have them. Data that has a copy elsewhere is only degraded; what
// is cached does not count, since it is somewhere else as well.
//
// The superblock lists the sets too, and a mount decides by that list whether its members are enough; but the list only ever grows between
// two clean-ups, so that it says nothing about how much there is.
// Source: bch2_have_enough_devs in replicas.c, v1.13.0.

import { getBits } from '../ondisk/bits.ts';
import { dataTypes } from '../ondisk/data-types.ts';
import { memberBits } from '../ondisk/member-bits.ts';
import { memberStates } from '../ondisk/member-states.ts';
import type { ReplicasEntry } from '../ondisk/replicas-entry.ts';
import { sbBits } from '../ondisk/sb-bits.ts';
import { memberAlive, members } from '../ondisk/sb-fields/members.ts';
import { replicas } from '../ondisk/sb-fields/replicas.ts';
import type { Superblock } from '../ondisk/superblock.ts';
import { type FsUsage, isCountedKind } from './usage.ts';

/** One set of replicas that the members in question have a part of. */
export interface SetLoss {
  readonly entry: ReplicasEntry;
  /** Of what is stored there, once; undefined where it is not counted, as of the journal. */
  readonly bytes: bigint | undefined;
  /** Copies, or blocks of a stripe, that would be left. */
  readonly left: number;
  /** Too few are left to read it. */
  readonly isLost: boolean;
}

export interface Losses {
  readonly sets: readonly SetLoss[];
  /** Bytes that could not be read any more. */
  readonly lostBytes: bigint;
  readonly lostMetadataBytes: bigint;
  /** Bytes that would have fewer copies. */
  readonly degradedBytes: bigint;
  /** Only there are the newest journal entries, which a filesystem that was not unmounted needs. */
  readonly isJournalLost: boolean;
  /** Whether some set is lost, and whether some would have fewer copies, however much there is of it. */
  readonly isAnyLost: boolean;
  readonly isAnyDegraded: boolean;
}

const JOURNAL = dataTypes.idOf('journal');
const BTREE = dataTypes.idOf('btree');
const CACHED = dataTypes.idOf('cached');
const FAILED = memberStates.idOf('evacuating');
const SPARE = memberStates.idOf('spare');

/**
 * What dies with some members, beside what is lost already.
 * @param usage undefined when the counters cannot be read: each set that the superblock lists then counts as if something were there
 * @param dying their indexes
 * @param gone indexes of members that are missing already
 */
export function lossesOf(
  usage: FsUsage | undefined,
  sb: Superblock,
  dying: Iterable<number>,
  gone: Iterable<number>,
): Losses {
  const before = new Set(gone);
  const after = new Set([...before, ...dying]);
  const sets: SetLoss[] = [];
  for (const { counted, values } of usage?.counters.filter(isCountedKind('replicas')) ?? []) {
    const { entry } = counted;
    if (entry.data_type === CACHED) continue;
    const bytes = storedBytes(entry, values[0] ?? 0n);
    const loss = lossOf(entry, bytes, before, after);
    if (loss !== undefined && bytes !== 0n) sets.push(loss);
  }
  const isClean = getBits(sb.flags, sbBits.CLEAN) === 1;
  for (const entry of replicas(sb)) {
    const isCounted = entry.data_type === JOURNAL ? isClean : usage !== undefined || entry.data_type === CACHED;
    const loss = isCounted ? undefined : lossOf(entry, undefined, before, after);
    if (loss !== undefined) sets.push(loss);
  }
  const sum = (wanted: (loss: SetLoss) => boolean) =>
    sets.reduce((total, loss) => (wanted(loss) ? total + (loss.bytes ?? 0n) : total), 0n);
  return {
    sets,
    lostBytes: sum(({ isLost }) => isLost),
    lostMetadataBytes: sum(({ isLost, entry }) => isLost && entry.data_type === BTREE),
    degradedBytes: sum(({ isLost }) => !isLost),
    isJournalLost: sets.some(({ isLost, entry }) => isLost && entry.data_type === JOURNAL),
    isAnyLost: sets.some(({ isLost }) => isLost),
    isAnyDegraded: sets.some(({ isLost }) => !isLost),
  };
}

/** Undefined when the set loses nothing that it still has. */
function lossOf(
  entry: ReplicasEntry,
  bytes: bigint | undefined,
  before: ReadonlySet<number>,
  after: ReadonlySet<number>,
): SetLoss | undefined {
  const { devs, nr_required } = entry;
  const had = devs.filter(dev => !before.has(dev)).length;
  const left = devs.filter(dev => !after.has(dev)).length;
  if (left === had || had < nr_required) return undefined;
  return { entry, bytes, left, isLost: left < nr_required };
}

/** Every copy is counted, but for data in stripes, whose parity is counted by itself. */
const storedBytes = ({ devs, nr_required }: ReplicasEntry, sectors: bigint): bigint =>
  nr_required > 1 || devs.length === 0 ? sectors * 512n : (sectors * 512n) / BigInt(devs.length);

/** What a mount has to be given: nothing, or one of these options. */
export type MountNeed = 'nothing' | 'degraded' | 'very_degraded';

export interface MountVerdict {
  readonly need: MountNeed;
  /** The set of replicas that has too few members for less. */
  readonly entry: ReplicasEntry | undefined;
}

/**
 * What Linux 6.12 asks for before it mounts some of the members, by the states and sets that the superblock has. A missing member that has
 * failed does not stop a mount; nor does what was only on such members, which is lost then.
 * Mirrors bch2_fs_may_start and bch2_have_enough_devs.
 * @param present indexes of the members that it is given
 */
export function mountVerdict(sb: Superblock, present: ReadonlySet<number>): MountVerdict {
  const states = members(sb).map(member =>
    memberAlive(member) ? getBits([member.flags], memberBits.STATE) : undefined,
  );
  const isMissed = states.some((state, index) => {
    return state !== undefined && state !== FAILED && state !== SPARE && !present.has(index);
  });
  let verdict: MountVerdict = { need: isMissed ? 'degraded' : 'nothing', entry: undefined };
  for (const entry of replicas(sb)) {
    if (entry.data_type === CACHED) continue;
    const online = entry.devs.filter(dev => present.has(dev)).length;
    const failed = entry.devs.filter(dev => states[dev] === undefined || states[dev] === FAILED).length;
    if (online + failed === entry.devs.length) continue;
    if (online < entry.nr_required) return { need: 'very_degraded', entry };
    if (online < entry.devs.length && verdict.need === 'nothing') verdict = { need: 'degraded', entry };
  }
  return verdict;
}
