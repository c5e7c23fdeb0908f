// Whether a power cut anywhere leaves one of the states that it may leave: a program that was recorded went from one state to the next,
// and a cut between two of them shows the one before or the one after, complete by every rule of the checker.

import { createHash } from 'node:crypto';
import {
  BchSb,
  type BlockDevice,
  checkInvariants,
  DataReader,
  Filesystem,
  FileTree,
  fileChunks,
  fileSize,
  filesystemOf,
  findingText,
  IndirectExtents,
  isDirectory,
  type MemberSet,
  openMembers,
  readBytes,
  readReplayState,
  SB_SECTOR,
  sectorsToBytes,
  viewOf,
} from '@bcachefs-ts/core/engine';
import { KnownReadings } from './known-readings.ts';
import { sized } from './long.ts';
import { cutText, type PowerCut, type PowerCuts } from './power-cuts.ts';
import type { Random } from './random.ts';
import { treeManifest } from './tree-manifest.ts';

/** Above this a manifest hashes only where data is. */
const HASHED_WHOLE_BYTES = 4n * 2n ** 30n;

/** Opens devices; @param key the master key of an encrypted filesystem */
export function openOn(devices: readonly BlockDevice[], key?: Uint8Array): Filesystem {
  const set = openMembers(devices);
  return key === undefined ? filesystemOf(set) : new Filesystem(set, readReplayState(set, key), key);
}

/**
 * A kernel that reads a backup of the superblock, since the first copy is torn, goes read-only when it has to write and finds another
 * sequence number in the first copy (bch2_write_super, v1.13.0).
 */
export function readBackProblems({ members }: MemberSet): string[] {
  return members.flatMap(({ device, sb, reading }) => {
    const header = viewOf(readBytes(device, sectorsToBytes(SB_SECTOR), BchSb.offset.seq + 8));
    const seq = Number(header.getBigUint64(BchSb.offset.seq, true));
    if (seq === sb.seq) return [];
    return [`${device.name}: superblock ${sb.seq} was read at sector ${reading.sector}, the first one is of ${seq}`];
  });
}

/** Everything that can be seen of a filesystem, in short; what is wrong with it in full. */
export function stateOf(filesystem: Filesystem): string {
  const data = dataOfTheLargest(filesystem);
  const { entries, complaints, unreadable } = treeManifest(filesystem, path => data.get(path));
  const { findings } = checkInvariants(filesystem);
  const wrong = [...readBackProblems(filesystem.set), ...complaints, ...findings.map(findingText)];
  if (wrong.length > 0) return `broken:\n${wrong.slice(0, 20).join('\n')}`;
  return createHash('sha256')
    .update(JSON.stringify([entries, unreadable]))
    .digest('hex')
    .slice(0, 16);
}

/** Where files that are too large to be read whole have data. */
function dataOfTheLargest(filesystem: Filesystem): ReadonlyMap<string, readonly (readonly [number, number])[]> {
  // What is wrong there is said by who reads all.
  const onDamage = () => {};
  const tree = FileTree.open(filesystem, { onDamage });
  const found = new Map<string, (readonly [number, number])[]>();
  for (const { path, node } of tree.walk()) {
    if (node === undefined || node.inode.bi_size <= HASHED_WHOLE_BYTES || isDirectory(node.inode)) continue;
    const file = { ...node, sizeBytes: fileSize(node.inode.bi_size, 'an inode') };
    const segments: (readonly [number, number])[] = [];
    const options = { reflinks: new IndirectExtents(filesystem), onFinding: onDamage };
    for (const { kind, offset, length } of fileChunks(new DataReader(filesystem), tree.table, file, options))
      if (kind === 'data') segments.push([offset, length]);
    found.set(Buffer.from(path).toString(), segments);
  }
  return found;
}

/** The states of devices with a filesystem. */
export const statesOf = (key?: Uint8Array): KnownReadings<string> =>
  new KnownReadings(devices => stateOf(openOn(devices, key)));

/** So many events have happened when a state stands. */
export interface Milestone {
  readonly events: number;
  readonly state: string;
}

export interface CutTrial {
  readonly cuts: PowerCuts;
  /** In order. The first is what was there before, at event 0. */
  readonly milestones: readonly Milestone[];
  readonly states: KnownReadings<string>;
  readonly random: Random;
  /** How many of a hundred points are looked at; those around milestones' commits always are. */
  readonly percent?: number;
  readonly lostRounds?: number;
  /** Called with each cut that was looked at. */
  readonly onCut?: (cut: PowerCut, state: string, milestone: number) => void;
}

export interface CutTally {
  readonly tried: number;
  /** How many cuts left each milestone's state. */
  readonly seen: readonly number[];
  /** What should not have been, a line each. */
  readonly wrong: readonly string[];
}

/** One in so many cuts is read anew though it is known. */
const ANEW_EVERY = sized(100, 60, 20);

/** Looks at what every cut leaves. Nothing is expected here: the caller does. */
export function tryCuts(trial: CutTrial): CutTally {
  const { cuts, milestones, states, random, percent = 100, lostRounds = 1, onCut } = trial;
  const seen = milestones.map(() => 0);
  const wrong: string[] = [];
  let tried = 0;
  for (const cut of cuts.points(random, lostRounds)) {
    if (random.below(100) >= percent) continue;
    tried++;
    const at = milestones.findLastIndex(({ events }) => events <= cut.events);
    // What a caller was promised is there.
    const allowed = milestones[at]!.events === cut.events ? [at] : [at, at + 1];
    const devices = cuts.after(cut);
    const state = thrownOr(() => (tried % ANEW_EVERY === 0 ? states.anew(devices) : states.of(devices)));
    const found = allowed.find(index => milestones[index]?.state === state);
    if (found === undefined) wrong.push(`${cutText(cut)} of ${cuts.count}: ${state}`);
    else seen[found]!++;
    if (found !== undefined) onCut?.(cut, state, found);
  }
  return { tried, seen, wrong };
}

function thrownOr(read: () => string): string {
  try {
    return read();
  } catch (thrown) {
    return `threw ${thrown}`;
  }
}
