// upgrade: takes an unmounted filesystem to another metadata version, up or down. What it will do, and which kernels can mount the result, is
// said before it is asked for; the work is core's (recovery/change-version.ts).

import {
  CommandFailed,
  type Context,
  defineCommand,
  devicesPositional,
  filesystemOptions,
  Interrupted,
  masterKeyOf,
  secondsOf,
  Turns,
  undoFileOption,
  withMembersOpen,
} from '@bcachefs-ts/command';
import {
  changeVersionSteps,
  declaredCompressionTypes,
  loadChecksums,
  loadCompression,
  loadMacs,
  type MemberSet,
  mountability,
  parseVersion,
  planVersionChange,
  type RecoverReport,
  systemRandom,
  VERSION_MAX_WRITTEN,
  type VersionPlan,
  versionNumber,
  versionText,
  WRITTEN_VERSIONS,
} from '@bcachefs-ts/core/engine';

interface Result {
  readonly uuid: string;
  readonly members: readonly string[];
  readonly plan: VersionPlan;
  readonly action: 'done' | 'dry run' | 'none needed';
  /** The plan was shown with the question. */
  readonly isShown: boolean;
}

export const upgradeCommand = defineCommand({
  name: 'upgrade',
  summary: 'Take a filesystem to another metadata version, up or down',
  description:
    'Says first what it will do and which kernels can mount the result, and asks. The whole filesystem is checked before and after: where ' +
    'something is wrong, nothing is changed, and fsck comes first. It has to be unmounted cleanly, with all members.\n\n' +
    'What follows from pointers is made anew by the rules of the other version, in one commit. If it is stopped while it commits, the superblock ' +
    'may say that the change has begun: an upgrade goes on when the same command is given again, a way back is completed by fsck, and a kernel ' +
    'that knows the version completes both.\n\n' +
    'With an older version as --to it goes back, unless the filesystem uses what that version does not know. Optional features of newer ' +
    'versions stay off: --incompatible allows kernels to turn them on, after which older kernels refuse the filesystem.',
  examples: [
    { command: 'bcachefs upgrade --dry_run --to=1.28 disk.img', does: 'Says what an upgrade would do' },
    {
      command: 'bcachefs upgrade --yes --to=1.28 a.img b.img',
      does: 'Upgrades a filesystem to the version of Linux 6.16',
    },
    { command: 'bcachefs upgrade --to=1.13 disk.img', does: 'Takes it back to the version of Linux 6.12' },
  ],
  positionals: devicesPositional,
  options: {
    to: {
      type: 'string',
      value: 'VERSION',
      parse: parseVersion,
      help: `the version, ${WRITTEN_VERSIONS} (default ${versionNumber(VERSION_MAX_WRITTEN)})`,
    },
    incompatible: {
      type: 'flag',
      help: 'allow the optional features of all versions up to it: older kernels then cannot mount it',
    },
    yes: { type: 'flag', alias: 'y', help: 'do it without asking' },
    dry_run: { type: 'flag', alias: 'n', conflictsWith: ['yes'], help: 'say what would be done, and write nothing' },
    uuid: filesystemOptions.uuid,
    passphrase_file: filesystemOptions.passphrase_file,
    ...undoFileOption,
  },
  async run(context, args): Promise<Result> {
    await loadChecksums();
    return withMembersOpen(context, { ...args, isTrial: args.dry_run }, async set => {
      const { sb } = set.newest;
      const { to = VERSION_MAX_WRITTEN, incompatible: isIncompatible } = args;
      const plan = planVersionChange(sb, { to, isIncompatible });
      const found = { uuid: sb.user_uuid, members: set.members.map(({ device }) => device.name), plan };
      if (plan.isNone) return { ...found, action: 'none needed', isShown: false };
      const question = `Take it to version ${versionNumber(to)}?`;
      const isShown = !args.yes && !args.dry_run;
      if (isShown && !(await context.prompt.confirm(question, { flag: '--yes' }, planLines(found).join('\n'))))
        throw new CommandFailed('nothing was written');
      await carryOut(context, set, plan, await keyOf(context, set, args));
      return { ...found, action: args.dry_run ? 'dry run' : 'done', isShown };
    });
  },
  text(result, out) {
    const { plan, action, isShown, members } = result;
    if (action === 'none needed') {
      out.line(`${members.join(', ')}: of version ${versionText(plan.to)} already, nothing was written`);
      return;
    }
    if (!isShown) for (const line of planLines(result)) out.line(line);
    out.line(action === 'dry run' ? 'dry run, nothing was written' : `done: the version is ${versionText(plan.to)}`);
  },
  json: ({ uuid, members, plan, action }) => ({
    uuid,
    members,
    action,
    from: versionNumber(plan.from),
    to: versionNumber(plan.to),
    incompatible_allowed: versionNumber(plan.allowed.after),
    passes: plan.passes,
    kernels: mountability(plan.sb).map(({ kernel, access, why }) => ({
      kernel: kernel.name,
      access,
      why: why ?? null,
    })),
  }),
});

/** What will be done, a line each. */
function planLines({ members, plan }: Pick<Result, 'members' | 'plan'>): readonly string[] {
  const { from, to, allowed, isBegun, passes } = plan;
  const begun = isBegun ? ' (which has begun)' : '';
  const lines = [`${members.join(', ')}: from version ${versionText(from)} to ${versionText(to)}${begun}`];
  lines.push(
    `Checks: everything, since ${passes.length === 0 ? 'the superblock changes' : `${passes.join(', ')} are due`}`,
  );
  if (allowed.before !== allowed.after) {
    const upTo = (version: number) => (version === 0 ? 'none' : `up to ${versionNumber(version)}`);
    lines.push(`Optional features that are allowed: ${upTo(allowed.after)} (before: ${upTo(allowed.before)})`);
  }
  for (const { kernel, access, why } of mountability(plan.sb)) {
    const words = access === 'none' ? 'not at all' : access;
    lines.push(`Then mounts with ${kernel.text}: ${words}${why === undefined ? '' : ` (${why})`}`);
  }
  return lines;
}

async function keyOf(
  context: Context,
  set: MemberSet,
  args: { readonly passphrase_file: string | undefined },
): Promise<Uint8Array | undefined> {
  await loadCompression(declaredCompressionTypes(set.newest.sb));
  const key = await masterKeyOf(context, set, args);
  if (key !== undefined) await loadMacs();
  return key;
}

/** @throws Interrupted when it was stopped before its commit, CommandFailed when something is still wrong after it */
async function carryOut(
  context: Context,
  set: MemberSet,
  plan: VersionPlan,
  key: Uint8Array | undefined,
): Promise<void> {
  const interruption = context.untilInterrupt();
  const now = secondsOf(context.date());
  const steps = changeVersionSteps(set, plan, { key, random: systemRandom, now: () => now });
  const turns = new Turns();
  const task = context.progress.start({ what: 'checking', unit: 'parts' });
  try {
    for (;;) {
      const { done, value } = steps.next();
      if (done) {
        refuseRest(value);
        return;
      }
      task.advance(1);
      await turns.turn(interruption);
    }
  } catch (thrown) {
    if (thrown instanceof Interrupted) context.warn('stopped before the commit: nothing was changed');
    throw thrown;
  } finally {
    task.end();
    interruption.end();
  }
}

function refuseRest({ remaining }: RecoverReport): void {
  if (remaining.size === 0) return;
  const text = [...remaining].map(([error, count]) => `${error} (${count})`).join(', ');
  throw new CommandFailed(`something is still wrong: ${text}; run fsck`);
}
