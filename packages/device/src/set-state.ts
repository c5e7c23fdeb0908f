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
  DeviceError,
  editSuperblock,
  Filesystem,
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
    'Only superblocks are written, those of all members that are there. A state that leaves too few members is refused unless it is ' +
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
      return await carryOut(context, args, plan, () => {
        const { seq } = editSuperblock(set, edit, editOptions);
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
  const mounts = [mountVerdict(sb, present), mountVerdict(after, present)] as const;
  const lines = [`${name}: ${stateWord(sb, before)} becomes ${word}`];
  if (losses !== undefined) {
    const isAway = named.member === undefined;
    const what = isAway ? 'while it is away' : `while it is ${word}`;
    lines.push(`${what}, ${lossText(losses, true)}`, ...setLines(losses).map(line => `  ${line}`));
  }
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
  // What has failed is not read by Linux 6.12 either (bch2_dev_is_readable in sb-members.h, v1.13.0).
  const isRead = releaseForWriting(sb.version) !== '1.13';
  const failed = members(sb).flatMap((member, at) =>
    !isRead && memberAlive(member) && stateAt(sb, at) === FAILED ? [at] : [],
  );
  const others = [...new Set([...set.missing, ...failed])].filter(other => other !== index);
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

function mountText(before: MountVerdict, after: MountVerdict): string {
  const text = ({ need, entry }: MountVerdict) =>
    `${need === 'nothing' ? 'no option' : `the option ${need}`}${entry === undefined ? '' : ` (${replicasEntryText(entry)})`}`;
  const changes = before.need === after.need ? '' : `, and needed ${text(before)} before`;
  return `Linux 6.12 mounts the members that are here with ${text(after)}${changes}`;
}

const RW = memberStates.idOf('rw');
const FAILED = memberStates.idOf('evacuating');

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
