// device set-state: what a member is used for, in the superblocks of all members at once. A missing one is named by its index or UUID: a mount
// does not ask for a member that has failed.
// Source: bch2_dev_state_allowed in super.c, v1.13.0, for what is refused.

import {
  allowMissingOption,
  type Context,
  defineCommand,
  masterKeyOf,
  secondsOf,
  withMembersOpen,
} from '@bcachefs-ts/command';
import {
  CorruptError,
  changesWaiting,
  DeviceError,
  dataTypes,
  editSuperblock,
  editWritableSteps,
  Filesystem,
  FilesystemWriter,
  getBits,
  IncompatibleError,
  type Losses,
  loadChecksums,
  lossesOf,
  type MemberSet,
  type MountVerdict,
  memberAlive,
  memberBits,
  memberStates,
  members,
  missingText,
  mountVerdict,
  printable,
  readReplayState,
  readUsage,
  refuseEdit,
  releaseForWriting,
  replicasEntryText,
  type Superblock,
  sbBits,
  systemRandom,
  targetsOnlyWith,
  UsageError,
  withBits,
  withMember,
} from '@bcachefs-ts/core/engine';
import { lossesJson, lossText, setLines } from './loss-text.ts';
import { memberNamed, memberPositional, type NamedMember } from './member-named.ts';
import { carryOut, type Plan, plannedJson, planOptions, printPlanned, reshapedPositional } from './plan.ts';

const STATES = ['rw', 'ro', 'failed', 'evacuating', 'spare'] as const;
type StateWord = (typeof STATES)[number];

interface SetStateArgs {
  readonly force: boolean;
  readonly force_if_data_lost: boolean;
  readonly dry_run: boolean;
  readonly passphrase_file: string | undefined;
}

export const deviceSetStateCommand = defineCommand({
  name: 'set-state',
  summary: 'Set the state of a member, also of a missing one',
  description:
    'rw is read and written, ro is only read, spare holds nothing. failed is given up: Linux 6.12 neither reads such a member nor asks for it. ' +
    'Since 1.33 the same state is called evacuating: the member is still read, and everything is moved off it.\n\n' +
    'A dead disk stops every mount without the option degraded. Once its state is failed, it does not: name it by its index, with ' +
    '--allow_missing. What would be lost is printed first.\n\n' +
    'The superblocks of all members that are there are written. When the last writable member of a target goes, or the first one comes, what ' +
    'waits to be moved there is counted anew as well. A state that leaves too few members is refused unless it is ' +
    'forced. It can be set back.',
  examples: [
    {
      command: 'bcachefs device set-state ro -y --force a.img:b.img b.img',
      does: 'Has nothing more written to a member',
    },
    {
      command: 'bcachefs device set-state failed --allow_missing -y /dev/sda:/dev/sdb 2',
      does: 'Lets a filesystem be mounted without a disk that is dead',
    },
    { command: 'bcachefs device set-state -n failed a.img:b.img 0', does: 'Says what would be lost' },
  ],
  positionals: {
    state: { count: 'one', choices: STATES, help: 'the new state; failed and evacuating are the same' },
    ...reshapedPositional,
    ...memberPositional,
  },
  options: {
    force: { type: 'flag', alias: 'f', help: 'also when data or metadata then has fewer copies than it should' },
    force_if_data_lost: { type: 'flag', help: 'also when some of it has no copy left' },
    ...allowMissingOption,
    ...planOptions,
  },
  async run(context, args) {
    await loadChecksums();
    const { filesystem, uuid, undo_file, dry_run: isTrial } = args;
    return await withMembersOpen(context, { devices: [filesystem], uuid, undo_file, isTrial }, async set => {
      const named = memberNamed(set, args.member);
      if (set.missing.length > 0 && !args.allow_missing) {
        throw new UsageError(
          `${missingText(set)}; name all of them, or give --allow_missing`,
          undefined,
          'member_missing',
        );
      }
      const state = memberStates.idOf(args.state === 'failed' ? 'evacuating' : args.state);
      const edit = (sb: Superblock) => withMember(sb, named.index, member => withState(member, state));
      const editOptions = { now: secondsOf(context.date()), allowMissing: args.allow_missing };
      const plan = await planOf(context, set, named, args.state, edit(set.newest.sb), args);
      if (!plan.isDone) refuseEdit(set, edit, editOptions);
      return await carryOut(context, args, plan, async () => {
        const seq = await editedSeq(context, set, edit, args);
        const name = nameOf(named);
        return {
          lines: [
            `${name} is ${args.state} now, in the superblocks of ${set.members.map(({ device }) => printable(device.name)).join(', ')}`,
          ],
          json: { seq },
        };
      });
    });
  },
  text: printPlanned,
  json: plannedJson,
});

/**
 * Writes it, and brings in line what waits for a target that can be written to no more, or again. Where the filesystem cannot be written to in
 * other ways, the superblocks alone are: a kernel counts anew, and so does `data rebalance`.
 */
async function editedSeq(
  context: Context,
  set: MemberSet,
  edit: (sb: Superblock) => Superblock,
  args: Pick<SetStateArgs, 'passphrase_file'> & { readonly allow_missing: boolean },
): Promise<number> {
  const { sb } = set.newest;
  const now = secondsOf(context.date());
  const writer = changesWaiting(sb, edit(sb)) ? await writerOf(context, set, now, args) : undefined;
  if (writer === undefined) return editSuperblock(set, edit, { now, allowMissing: args.allow_missing }).seq;
  for (const _ of editWritableSteps(writer, edit));
  return writer.filesystem.sb.seq;
}

async function writerOf(
  context: Context,
  set: MemberSet,
  now: bigint,
  args: Pick<SetStateArgs, 'passphrase_file'> & { readonly allow_missing: boolean },
): Promise<FilesystemWriter | undefined> {
  const key = await masterKeyOf(context, set, args);
  try {
    return new FilesystemWriter(set, { random: systemRandom, now: () => now, key, allowMissing: args.allow_missing });
  } catch (thrown) {
    const isMissing = thrown instanceof DeviceError && thrown.kind === 'missing';
    const isUnfit =
      thrown instanceof CorruptError || thrown instanceof IncompatibleError || thrown instanceof UsageError;
    if (!(isUnfit || isMissing)) throw thrown;
    context.warn(`${thrown.message}; what waits to be moved is not counted anew`);
    return undefined;
  }
}

function withState<M extends { readonly flags: bigint }>(member: M, state: number): M {
  const [flags = member.flags] = withBits([member.flags], memberBits.STATE, state);
  return { ...member, flags };
}

/** @throws UsageError for a state that leaves too few */
async function planOf(
  context: Context,
  set: MemberSet,
  named: NamedMember,
  word: StateWord,
  after: Superblock,
  args: SetStateArgs,
): Promise<Plan> {
  const { sb } = set.newest;
  const name = nameOf(named);
  const present = new Set(set.members.map(member => member.sb.dev_idx));
  const [before, now] = [stateAt(sb, named.index), stateAt(after, named.index)];
  const common = {
    uuid: sb.user_uuid,
    members: set.members.map(({ device }) => device.name),
    question: `Set the state of ${name} to ${word}?`,
  };
  const json = { member: named.index, from: memberStates.nameOf(before), to: memberStates.nameOf(now) };
  if (before === now) return { ...common, lines: [`${name} is ${word} already`], isDone: true, json };
  const isGivenUp = word !== 'rw' && word !== 'ro';
  const losses = isGivenUp ? await lossesWithout(context, set, named.index, args) : undefined;
  const others = notRead(sb, set, named.index);
  // By the list of sets: a passphrase is not asked for only because of this.
  const lossesBefore = before === FAILED ? lossesOf(undefined, sb, [named.index], others) : undefined;
  const mounts = [
    mountOf(mountVerdict(sb, present), sb, lossesBefore),
    mountOf(mountVerdict(after, present), sb, now === FAILED ? losses : undefined),
  ] as const;
  const lines = [`${name}: ${stateWord(sb, before)} becomes ${word}`];
  if (losses !== undefined) {
    const isAway = named.member === undefined;
    const isRead = !isAway && now === FAILED && readsFailed(sb);
    const what = isAway ? 'while it is away' : isRead ? 'it is still read; without it' : `while it is ${word}`;
    lines.push(`${what}, ${lossText(losses, true)}`, ...setLines(losses).map(line => `  ${line}`));
  }
  lines.push(...targetLines(sb, named.index, now));
  lines.push(mountText(...mounts));
  const refusal = refusalOf(sb, named, word, losses, args);
  if (refusal !== undefined && !args.dry_run) throw new UsageError(refusal);
  if (refusal !== undefined) lines.push(`it would be refused: ${refusal}`);
  return {
    ...common,
    lines,
    json: {
      ...json,
      losses: losses === undefined ? null : lossesJson(losses),
      mount_before: mounts[0].need,
      mount_after: mounts[1].need,
    },
  };
}

/** Why the options do not allow it; undefined when they do. */
function refusalOf(
  sb: Superblock,
  { index, member }: NamedMember,
  word: StateWord,
  losses: Losses | undefined,
  { force, force_if_data_lost: isForced }: SetStateArgs,
): string | undefined {
  if (isForced) return undefined;
  if (word === 'ro' && stateAt(sb, index) === RW && !force) {
    const left = members(sb).filter((one, at) => at !== index && memberAlive(one) && stateAt(sb, at) === RW).length;
    const needed = Math.max(getBits(sb.flags, sbBits.META_REPLICAS_WANT), getBits(sb.flags, sbBits.DATA_REPLICAS_WANT));
    if (left < needed)
      return `${needed} copies need ${needed} writable members, and ${left} would be left; --force sets it anyway`;
  }
  if (losses === undefined) return undefined;
  if (losses.isAnyLost) {
    return `too few members would be left, ${lossText(losses, true)}; --force_if_data_lost sets it anyway`;
  }
  // What a missing one held has fewer copies whatever its state is.
  if (losses.isAnyDegraded && member !== undefined && !force)
    return `${lossText(losses, true)}; --force sets it anyway`;
  return undefined;
}

/** By the counters; where they cannot be read, by the list of sets in the superblock, which does not say how much there is. */
async function lossesWithout(
  context: Context,
  set: MemberSet,
  index: number,
  args: Pick<SetStateArgs, 'passphrase_file'>,
): Promise<Losses> {
  const { sb } = set.newest;
  const others = notRead(sb, set, index);
  const key = await masterKeyOf(context, set, args);
  try {
    const filesystem = new Filesystem(set, readReplayState(set, key), key);
    const usage = readUsage(filesystem, damage => {
      throw damage;
    });
    return lossesOf(usage, sb, [index], others);
  } catch (thrown) {
    const isOfMissing = thrown instanceof DeviceError && thrown.kind === 'missing';
    if (!(thrown instanceof CorruptError || thrown instanceof IncompatibleError || isOfMissing)) throw thrown;
    context.warn(`${thrown.message}; how much is lost is not known, only which sets of replicas are`);
    return lossesOf(undefined, sb, [index], others);
  }
}

/** Members besides one that Linux does not read: missing ones, and for 6.12 those that have failed (bch2_dev_is_readable in sb-members.h, v1.13.0). */
function notRead(sb: Superblock, set: MemberSet, index: number): readonly number[] {
  const failed = members(sb).flatMap((member, at) =>
    !readsFailed(sb) && memberAlive(member) && stateAt(sb, at) === FAILED ? [at] : [],
  );
  return [...new Set([...set.missing, ...failed])].filter(other => other !== index);
}

/** Since 1.33 the state means that it is being emptied. */
const readsFailed = (sb: Superblock): boolean => releaseForWriting(sb.version) !== '1.13';

type Mount = Omit<MountVerdict, 'need'> & { readonly need: MountVerdict['need'] | 'impossible' };

/**
 * A mount does not ask for copies on members that have failed; but then it cannot read a btree whose nodes are only there.
 * @param losses of those that have failed, this one included
 */
function mountOf(verdict: MountVerdict, sb: Superblock, losses: Losses | undefined): Mount {
  const lost = readsFailed(sb)
    ? undefined
    : losses?.sets.find(({ isLost, entry }) => isLost && entry.data_type === BTREE);
  return lost === undefined ? verdict : { need: 'impossible', entry: lost.entry };
}

function mountText(before: Mount, after: Mount): string {
  const set = ({ entry }: Mount) => (entry === undefined ? '' : ` (${replicasEntryText(entry)})`);
  const text = (mount: Mount) => `${mount.need === 'nothing' ? 'no option' : `the option ${mount.need}`}${set(mount)}`;
  if (after.need === 'impossible') {
    return `Linux 6.12 does not mount it: it does not read members that have failed, and btree nodes are only there${set(after)}`;
  }
  const mounts = `Linux 6.12 mounts the members that are here with ${text(after)}`;
  if (before.need === after.need) return mounts;
  return `${mounts}, and ${before.need === 'impossible' ? 'did not mount them before' : `needed ${text(before)} before`}`;
}

/** What becomes of the targets that have no other member to write to. */
function targetLines(sb: Superblock, index: number, state: number): readonly string[] {
  if (state === RW || stateAt(sb, index) !== RW) return [];
  const without = {
    foreground_target: 'new data goes to the other members',
    background_target: 'data stays where it is first written',
    metadata_target: 'new btree nodes go to the other members',
    promote_target: 'nothing is cached there any more',
  } as const;
  return targetsOnlyWith(sb, index, device => device.isWritable).map(
    name => `${name} has no writable member left: ${without[name]}`,
  );
}

const RW = memberStates.idOf('rw');
const FAILED = memberStates.idOf('evacuating');
const BTREE = dataTypes.idOf('btree');

function stateAt(sb: Superblock, index: number): number {
  const member = members(sb)[index];
  return member === undefined ? RW : getBits([member.flags], memberBits.STATE);
}

/** As the filesystem's version calls it. */
function stateWord(sb: Superblock, state: number): string {
  const row = memberStates.byId(state);
  if (row === undefined) return memberStates.nameOf(state);
  return releaseForWriting(sb.version) === '1.13' ? (row.names?.['1.13'] ?? row.name) : row.name;
}

const nameOf = ({ index, member }: NamedMember): string =>
  member === undefined ? `member ${index} (missing)` : printable(member.device.name);
