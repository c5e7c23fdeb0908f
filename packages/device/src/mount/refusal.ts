// Why a kernel would refuse to mount these members, as far as their superblocks say it: in words, before it is tried, since all that a kernel
// answers is a number, and a line in its log.
// Source: bch2_sb_compatible and bch2_sb_validate in super-io.c, bch2_fs_may_start in super.c, v1.13.0 and v1.36.1.

import type { MountOption } from '@bcachefs-ts/command';
import {
  degradedActions,
  getBits,
  type MemberSet,
  memberStandings,
  memberText,
  missingText,
  mountVerdict,
  replicasEntryText,
  type Superblock,
  sbBits,
  shortfallText,
  versionRefusal,
  versionText,
} from '@bcachefs-ts/core/engine';

/** What it would take to mount without some members. */
type Degree = 'no' | 'degraded' | 'very_degraded';

export interface MountFacts {
  readonly set: MemberSet;
  readonly options: readonly MountOption[];
  /** The newest metadata version that the kernel knows; undefined when its driver does not say. */
  readonly kernelVersion: number | undefined;
}

/** One clause; undefined when nothing is known against it. */
export function refusalOf({ set, options, kernelVersion }: MountFacts): string | undefined {
  const { sb } = set.newest;
  if (kernelVersion !== undefined) {
    const refusal = versionRefusal(sb, kernelVersion);
    if (refusal !== undefined) return `${refusal}, and this kernel knows versions up to ${versionText(kernelVersion)}`;
  }
  for (const { device, sb: own } of set.members) {
    const shortfall = shortfallText(device, sb, own.dev_idx);
    if (shortfall !== undefined) return `${device.name} ${shortfall}`;
  }
  return missingRefusal(set, options);
}

function missingRefusal(set: MemberSet, options: readonly MountOption[]): string | undefined {
  const { sb } = set.newest;
  const takesAll = options.some(({ name }) => name === 'no_splitbrain_check');
  const standings = memberStandings(set);
  const left = takesAll ? [] : standings.filter(({ standing }) => standing === 'split_brain');
  const out = new Set([...left, ...standings.filter(({ member }) => member === undefined)].map(({ index }) => index));
  const { need, entry } = mountVerdict(
    sb,
    new Set(standings.map(({ index }) => index).filter(index => !out.has(index))),
  );
  if (need === 'nothing' || RANK[need] <= RANK[degreeOf(sb, options)]) return undefined;
  const [first] = left;
  const why =
    first?.member === undefined
      ? missingText(set)
      : `${first.member.device.name}, ${memberText(sb, first.index)}, was changed without the others (split brain) and is left out`;
  if (need === 'degraded')
    return `${why}; -o degraded mounts it without, and \`device set-state failed\` has a mount not ask for it`;
  const what = entry === undefined ? '' : ` (${replicasEntryText(entry)})`;
  return `${why}, and something has no copy without it${what}; -o very_degraded mounts what is left, and \`device list\` says what that is`;
}

const RANK: Readonly<Record<Degree | 'nothing', number>> = { nothing: 0, no: 0, degraded: 1, very_degraded: 2 };

/** What the options allow, or else the superblock. */
function degreeOf(sb: Superblock, options: readonly MountOption[]): Degree {
  let degree = degreeNamed(degradedActions.byId(getBits(sb.flags, sbBits.DEGRADED_ACTION))?.name);
  for (const { name, value } of options) {
    const isNo = value === '0' || value === 'no' || value === 'false';
    if (name === 'degraded') degree = isNo ? 'no' : value === undefined ? 'degraded' : degreeNamed(value);
    if (name === 'very_degraded' && !isNo) degree = 'very_degraded';
  }
  return degree;
}

const degreeNamed = (word: string | undefined): Degree =>
  word === 'very' ? 'very_degraded' : word === undefined || word === 'no' || word === 'ask' ? 'no' : 'degraded';
