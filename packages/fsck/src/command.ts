// fsck: finds what is wrong with an unmounted filesystem, and repairs it in one commit. What is decided here is who decides: -n looks only,
// over devices that are opened for reading; -y repairs everything; -p what is safe; --apply what a plan lists; otherwise the person at the
// terminal is asked, and without one it only looks.

import {
  CommandLineError,
  type Context,
  defineStreamCommand,
  filesystemOptions,
  Interrupted,
  type Interruption,
  undoFileOption,
} from '@bcachefs-ts/command';
import {
  type Decided,
  decidedJson,
  type ExplanationOf,
  type FindingGroup,
  loadExplanations,
  type Policy,
  type RecoverReport,
  Reporter,
  silentErrors,
} from '@bcachefs-ts/core/engine';
import { FSCK, fsckExitCodeOf, fsckExitCodes } from './exit-codes.ts';
import { checkOptions } from './mount-options.ts';
import { PassProgress, progressDescriptor } from './pass-progress.ts';
import { identityOf, PLANNED_MAX, Plan, PlanFile, tooManyFor } from './plan-file.ts';
import { Quarantine } from './quarantine.ts';
import { Questions } from './questions.ts';
import { type RunOptions, Session } from './session.ts';
import { decidedText, type Mode, type Summary, summaryJson, summaryLines } from './text.ts';

interface FoundItem {
  readonly kind: 'finding';
  readonly decided: Decided;
}

type Item = FoundItem | Summary;

/** Of one error, where not all are asked for. */
const SHOWN_PER_ERROR = 10;
/** Until it is known whether the repairs are made, findings are kept: a damaged image may have millions. */
const SHOWN_MAX = 100_000;

export const fsckCommand = defineStreamCommand({
  name: 'fsck',
  summary: 'Check a filesystem, and repair it',
  description:
    'Looks for whatever contradicts itself in an unmounted filesystem: the journal, the shape of the btrees, what is in each bucket, ' +
    'counters, files and their names. Lost btree nodes are searched for on the devices, and damaged ones are read key by key. The data of ' +
    'files is not checked: scrub does that.\n\n' +
    'All repairs are one commit: stopped at any time (Ctrl-C; a second one ends it at once), the filesystem is as it was, or it is repaired. Without -n, -p and -y it asks about ' +
    'each finding on a terminal, once everything has been looked at; without a terminal nothing is changed.\n\n' +
    'Keys whose contents cannot be kept are written to a file before they are given up: that of --quarantine, or a new one in the current ' +
    'directory, whose name is printed. If it cannot be written, nothing is repaired.\n\n' +
    'With --allow_missing, some members may be missing: what only they would show is left alone, and where they have the only copy of ' +
    'metadata, nothing is repaired. --give_up_missing lists what is lost without them, by path and by btree, asks, and repairs the rest: ' +
    'lost data reads as an error from then on, and the members cannot come back.',
  examples: [
    { command: 'bcachefs fsck -n disk.img', does: 'Says what is wrong, and changes nothing' },
    { command: 'bcachefs fsck disk.img', does: 'Asks about each finding' },
    { command: 'bcachefs fsck -y a.img b.img', does: 'Repairs everything' },
    {
      command: 'bcachefs fsck -n --explain disk.img',
      does: 'Says of each kind of error what it means, what a repair does and what would be lost',
    },
    {
      command: 'bcachefs fsck --plan=plan.jsonl disk.img',
      does: 'Writes down what would be repaired, for a person to delete from',
    },
    { command: 'bcachefs fsck --apply=plan.jsonl disk.img', does: 'Repairs what the plan still lists' },
  ],
  positionals: {
    devices: {
      count: 'some',
      file: true,
      help: 'the members, in any order: devices, images, several joined by colons, or a directory of images',
    },
  },
  options: {
    no: {
      type: 'flag',
      alias: 'n',
      help: 'repair nothing, whatever else is given: the devices are opened for reading',
    },
    yes: { type: 'flag', alias: 'y', help: 'repair everything' },
    preen: {
      type: 'flag',
      alias: 'p',
      help: 'repair what is safe, and stop at anything else; a clean filesystem is not checked',
    },
    auto: { type: 'flag', alias: 'a', help: 'the same as --preen' },
    ask: { type: 'flag', alias: 'r', help: 'ask about each finding, which is what happens on a terminal in any case' },
    force: { type: 'flag', alias: 'f', help: 'with --preen: check clean filesystems too' },
    verbose: {
      type: 'flag',
      alias: 'v',
      help: 'show each error, however many there are of a kind, and explain each kind',
    },
    explain: {
      type: 'flag',
      help: 'say for each kind of error what it means, what its repair does and what is lost',
    },
    reconstruct_alloc: { type: 'flag', alias: 'R', help: 'make anew all that says what is in which bucket' },
    allow_missing: { type: 'flag', help: 'go on when members are missing, and leave alone what only they would show' },
    give_up_missing: {
      type: 'flag',
      help: 'list what is lost without the members that are missing, and repair the rest; they stop being members',
    },
    quarantine: {
      type: 'string',
      value: 'FILE',
      file: true,
      help: 'write keys that cannot be kept to this new file, as JSON lines; with -n those that would be given up',
    },
    plan: {
      type: 'string',
      value: 'FILE',
      file: true,
      conflictsWith: ['yes', 'preen', 'auto', 'apply'],
      help: 'repair nothing, and write what would be repaired to this new file, as JSON lines',
    },
    apply: {
      type: 'string',
      value: 'FILE',
      file: true,
      conflictsWith: ['no', 'yes', 'preen', 'auto', 'ask'],
      help: 'repair what this file of --plan lists, and nothing else; refused if the filesystem has changed since',
    },
    options: {
      type: 'string',
      alias: 'o',
      value: 'OPTIONS',
      repeat: true,
      help: 'mount options of Linux 6.12 that concern a check, with commas between: docs/fsck.md says which',
    },
    ratelimit_errors: { type: 'flag', hidden: true, help: 'show no more than 10 of a kind, which is the default' },
    kernel: { type: 'flag', alias: 'k', hidden: true, help: 'taken for the sake of scripts: the kernel is never used' },
    no_kernel: {
      type: 'flag',
      alias: 'K',
      hidden: true,
      help: 'taken for the sake of scripts: the kernel is never used',
    },
    progress_fd: {
      type: 'string',
      alias: 'C',
      value: 'FD',
      bare: '0',
      help: 'write progress to this descriptor, as fsck(8) reads it: PASS DONE OF DEVICE',
    },
    passphrase_file: filesystemOptions.passphrase_file,
    ...undoFileOption,
  },
  exitCodes: fsckExitCodes,
  exitCodeOf: fsckExitCodeOf,
  async *run(context: Context, args): AsyncGenerator<Item> {
    const given = checkOptions(args.options);
    const isDry = args.no || given.repairs === 'no' || args.plan !== undefined;
    const isSafe = args.preen || args.auto || given.repairs === 'safe';
    const isYes = args.yes || given.repairs === 'yes';
    const canAsk = context.prompt.isAttended && !context.json;
    const mode: Mode = isDry
      ? 'look'
      : args.apply !== undefined
        ? 'apply'
        : isSafe
          ? 'preen'
          : isYes
            ? 'yes'
            : canAsk
              ? 'ask'
              : 'look';
    if (isDry && args.apply !== undefined)
      throw new CommandLineError('changes the filesystem, and -o nochanges was given', '--apply');
    const isVerbose = args.verbose || given.verbose || context.json;
    yield* new Check(context, {
      mode,
      isUnasked: mode === 'look' && !isDry,
      isForced: args.force,
      devices: args.devices,
      shownPerError: isVerbose ? Number.POSITIVE_INFINITY : SHOWN_PER_ERROR,
      reconstructAlloc: args.reconstruct_alloc || given.reconstructAlloc,
      allowMissing: args.allow_missing || args.give_up_missing || given.degraded,
      giveUpMissing: args.give_up_missing,
      isWanted: given.isWanted,
      quarantine: args.quarantine,
      plan: args.plan,
      apply: args.apply,
      explanationOf:
        args.explain || (isVerbose && !context.json) || mode === 'ask' ? await loadExplanations() : undefined,
      isExplained: args.explain || isVerbose,
      progressFd: progressDescriptor(args.progress_fd),
      passphraseFile: args.passphrase_file,
      undoFile: args.undo_file,
    }).run();
  },
  text(item, out) {
    if (item.kind === 'finding') out.line(decidedText(item.decided));
    else for (const line of summaryLines(item)) out.line(line);
  },
  json: item => (item.kind === 'finding' ? { finding: decidedJson(item.decided) } : { summary: summaryJson(item) }),
  exitCode: item => (item.kind === 'summary' ? item.exitCode : FSCK.clean),
});

interface Request extends Pick<RunOptions, 'reconstructAlloc' | 'giveUpMissing' | 'isWanted'> {
  readonly mode: Mode;
  /** It only looks, since there is no terminal to ask at. */
  readonly isUnasked: boolean;
  readonly isForced: boolean;
  readonly devices: readonly string[];
  readonly shownPerError: number;
  readonly quarantine: string | undefined;
  readonly plan: string | undefined;
  readonly apply: string | undefined;
  /** Loaded where it may be asked for. */
  readonly explanationOf: ExplanationOf | undefined;
  /** Kinds of errors are explained at the end. */
  readonly isExplained: boolean;
  readonly progressFd: number | undefined;
  readonly passphraseFile: string | undefined;
  readonly allowMissing: boolean;
  readonly undoFile: string | undefined;
}

/** One run over the filesystem: what it found, and what it says of itself. */
interface Outcome {
  readonly items: readonly FoundItem[];
  readonly reporter: Reporter;
  readonly groups: readonly FindingGroup[];
  readonly report: RecoverReport;
  /** Keys that were given up, or would be. */
  readonly dropped: number;
  /** And runs of bytes that cannot be read as keys. */
  readonly droppedRuns: number;
}

/** Nothing was written: nothing that was found is repaired, and no key is given up. */
const withoutRepairs = (outcome: Outcome): Outcome => ({
  ...outcome,
  items: outcome.items.map(({ kind, decided }) => ({ kind, decided: { ...decided, decision: 'ignore' } })),
  groups: outcome.groups.map(group => ({ ...group, fixed: 0 })),
  dropped: 0,
  droppedRuns: 0,
});

class Check {
  readonly #context: Context;
  readonly #request: Request;
  readonly #interruption: Interruption;

  constructor(context: Context, request: Request) {
    this.#context = context;
    this.#interruption = context.untilInterrupt();
    this.#request = request;
  }

  async *run(): AsyncGenerator<Item> {
    const {
      devices,
      mode,
      passphraseFile,
      allowMissing,
      giveUpMissing,
      undoFile,
      quarantine: quarantinePath,
      plan: planPath,
      apply,
    } = this.#request;
    const plan = apply === undefined ? undefined : Plan.read(apply);
    const quarantine = quarantinePath === undefined ? undefined : new Quarantine(quarantinePath);
    const planFile = planPath === undefined ? undefined : new PlanFile(planPath);
    try {
      quarantine?.create();
      const write = mode !== 'look';
      const session = await Session.open(this.#context, devices, { write, passphraseFile, allowMissing, undoFile });
      try {
        const { missingText } = session;
        if (missingText !== undefined)
          this.#context.warn(`${missingText}; what they would show is ${giveUpMissing ? 'given up' : 'left alone'}`);
        yield* this.#runIn(session, { plan, quarantine, planFile });
      } catch (thrown) {
        if (thrown instanceof Interrupted) this.#context.warn('stopped before the commit: nothing was changed');
        throw thrown;
      } finally {
        this.#interruption.end();
        session.close();
      }
    } finally {
      quarantine?.close();
      planFile?.close();
    }
  }

  async *#runIn(session: Session, files: Files): AsyncGenerator<Item> {
    const { mode, isForced } = this.#request;
    if (mode === 'preen' && !isForced && session.isClean) {
      yield this.#summary(session, undefined, {});
      return;
    }
    if (mode === 'look') {
      yield* this.#look(session, files);
      return;
    }
    if (mode === 'ask') {
      const questions = new Questions(this.#request.explanationOf);
      for (;;) {
        const looked = await this.#once(session, { isDry: true, policy: questions.asking, quarantine: undefined });
        this.#context.progress.end();
        const asked = await questions.ask(this.#context);
        if (asked === 'asked') continue;
        if (asked === 'quit' || !questions.isAnyYes) {
          // As it stands: what would have been repaired is not.
          const unchanged = withoutRepairs(looked);
          yield* unchanged.items;
          yield this.#summary(session, unchanged, { mode: 'look', isCancelled: asked === 'quit' });
          return;
        }
        break;
      }
      yield* this.#repair(session, questions.answering, files);
      return;
    }
    const { plan } = files;
    if (plan === undefined) yield* this.#repair(session, { kind: mode === 'preen' ? 'preen' : 'yes' }, files);
    else yield* this.#repair(session, { kind: 'listed', isListed: reported => plan.isListed(reported) }, files);
  }

  async *#look(session: Session, { quarantine, planFile }: Files): AsyncGenerator<Item> {
    const shownPerError = planFile === undefined ? this.#request.shownPerError : Number.POSITIVE_INFINITY;
    const policy: Policy = { kind: 'plan' };
    const outcome = await this.#once(session, { isDry: true, policy, shownPerError, quarantine, planFile });
    if (planFile !== undefined && outcome.items.length < outcome.reporter.foundCount) throw tooManyFor(planFile);
    planFile?.write(
      identityOf(await session.writer(true)),
      outcome.items.map(({ decided }) => decided),
    );
    yield* outcome.items;
    yield this.#summary(session, outcome, { plan: planFile?.path, quarantine });
  }

  async *#repair(session: Session, policy: Policy, { quarantine: given, plan }: Files): AsyncGenerator<Item> {
    const quarantine = given ?? new Quarantine(this.#quarantineName(session));
    try {
      plan?.check(await session.writer(true));
      const run = await this.#once(session, { isDry: false, policy, quarantine });
      // What was agreed is not done where the whole was given up.
      const isDone = run.report.seq !== undefined;
      const outcome = isDone ? run : withoutRepairs(run);
      yield* outcome.items;
      yield this.#summary(session, outcome, isDone ? { quarantine } : {});
    } finally {
      quarantine.close();
    }
  }

  #quarantineName({ superblock }: Session): string {
    const when = this.#context
      .date()
      .toISOString()
      .replaceAll(/[-:]|\.\d+/g, '');
    return `fsck-lost-keys-${superblock.user_uuid.slice(0, 8)}-${when}.jsonl`;
  }

  async #once(session: Session, { isDry, policy, quarantine, shownPerError, planFile }: OnceOptions): Promise<Outcome> {
    const { reconstructAlloc, giveUpMissing, isWanted, progressFd } = this.#request;
    const items: FoundItem[] = [];
    let dropped = 0;
    let droppedRuns = 0;
    const reporter = new Reporter({
      policy,
      silent: silentErrors(session.superblock),
      shownPerError: shownPerError ?? this.#request.shownPerError,
      shownMax: planFile === undefined ? SHOWN_MAX : PLANNED_MAX,
      onFinding: decided => items.push({ kind: 'finding', decided }),
    });
    const progress = new PassProgress(session, this.#context.progress, progressFd);
    const report = await session.run({
      isDry,
      reporter,
      interruption: this.#interruption,
      reconstructAlloc,
      giveUpMissing,
      isWanted,
      onPass: (pass, round) => progress.pass(pass, round),
      onDropped: (btree, key, reason) => {
        dropped++;
        quarantine?.add(btree, key, reason);
      },
      onDroppedBytes: (btree, bytes, reason) => {
        droppedRuns++;
        quarantine?.addBytes(btree, bytes, reason);
      },
      onCommit: () => quarantine?.keep(),
    });
    progress.end();
    return { items, reporter, groups: reporter.groups(), report, dropped, droppedRuns };
  }

  #summary(session: Session, outcome: Outcome | undefined, facts: SummaryFacts): Summary {
    const { isUnasked, isExplained, explanationOf } = this.#request;
    const mode = facts.mode ?? this.#request.mode;
    const { reporter, report } = outcome ?? {};
    const groups = outcome?.groups ?? [];
    const found = groups.reduce((sum, one) => sum + one.found, 0);
    const fixed = groups.reduce((sum, one) => sum + one.fixed, 0);
    const counts = { found, fixed, left: found - fixed };
    const isWrong = mode !== 'look' && (report?.remaining.size ?? 0) > 0;
    const isLeft = counts.left > 0 || isWrong || reporter?.stopped !== undefined;
    const isCancelled = facts.isCancelled ?? false;
    return {
      kind: 'summary',
      uuid: session.superblock.user_uuid,
      members: session.names,
      mode,
      groups,
      explanationOf: isExplained ? explanationOf : undefined,
      ...counts,
      dropped: outcome?.dropped ?? 0,
      droppedRuns: outcome?.droppedRuns ?? 0,
      quarantine: facts.quarantine?.file,
      plan: facts.plan,
      isCancelled,
      isUnasked,
      report,
      exitCode:
        (counts.fixed > 0 ? FSCK.corrected : 0) | (isLeft ? FSCK.uncorrected : 0) | (isCancelled ? FSCK.cancelled : 0),
    };
  }
}

interface Files {
  readonly plan: Plan | undefined;
  readonly quarantine: Quarantine | undefined;
  readonly planFile: PlanFile | undefined;
}

interface OnceOptions {
  readonly isDry: boolean;
  readonly policy: Policy;
  readonly quarantine: Quarantine | undefined;
  readonly shownPerError?: number;
  readonly planFile?: PlanFile | undefined;
}

interface SummaryFacts {
  readonly mode?: Mode;
  readonly isCancelled?: boolean;
  readonly plan?: string | undefined;
  readonly quarantine?: Quarantine | undefined;
}
