// The manners of every command that reshapes an array: it looks at everything first and says what it will do and what that costs, asks, and
// does it. The devices stay open, for nothing else, from the plan to the end, so that nothing changes in between.
//
//   const planned = await carryOut(context, args, plan, () => change());
//
// `-y` answers; `-n` stops after the plan, with nothing written; `--json` has both the plan and what came of it.

import {
  CommandFailed,
  type Context,
  filesystemOptions,
  filesystemPositional,
  type Out,
  undoFileOption,
} from '@bcachefs-ts/command';

/** The word that names the filesystem, for commands with further words. */
export const reshapedPositional = {
  filesystem: { ...filesystemPositional, help: `${filesystemPositional.help}; not mounted` },
} as const;

/** What all of these commands take. */
export const planOptions = {
  yes: { type: 'flag', alias: 'y', help: 'do it without asking' },
  dry_run: { type: 'flag', alias: 'n', conflictsWith: ['yes'], help: 'say what would be done, and write nothing' },
  uuid: filesystemOptions.uuid,
  passphrase_file: filesystemOptions.passphrase_file,
  ...undoFileOption,
} as const;

export interface PlanArgs {
  readonly yes: boolean;
  readonly dry_run: boolean;
}

/** What a command is about to do. */
export interface Plan {
  /** The external UUID. */
  readonly uuid: string;
  /** Names of the devices at hand. */
  readonly members: readonly string[];
  /** What will happen and what it costs, a line each, without a full stop at the end. */
  readonly lines: readonly string[];
  /** Such as `Make b.img smaller?` */
  readonly question: string;
  /** There is nothing to do: nothing is asked and nothing is written. */
  readonly isDone?: boolean;
  /** The plan as JSON, with sizes in bytes. */
  readonly json: object;
}

/** What came of it. */
export interface Outcome {
  /** What was done, a line each. */
  readonly lines: readonly string[];
  readonly json: object;
}

export interface Planned {
  readonly plan: Plan;
  readonly action: 'done' | 'dry run' | 'none needed';
  /** Undefined when nothing was done. */
  readonly outcome: Outcome | undefined;
  /** The plan was shown with the question. */
  readonly isShown: boolean;
}

/**
 * @throws CommandFailed when the answer is no; UsageError when there is no terminal to ask at; what `act` throws. Nothing was written in the
 * first two cases
 */
export async function carryOut(
  context: Context,
  { yes, dry_run: isDry }: PlanArgs,
  plan: Plan,
  act: () => Outcome | Promise<Outcome>,
): Promise<Planned> {
  if (plan.isDone) return { plan, action: 'none needed', outcome: undefined, isShown: false };
  if (isDry) return { plan, action: 'dry run', outcome: undefined, isShown: false };
  if (!yes) {
    const agreed = await context.prompt.confirm(plan.question, { flag: '--yes' }, plan.lines.join('\n'));
    if (!agreed) throw new CommandFailed('nothing was written');
  }
  return { plan, action: 'done', outcome: await act(), isShown: !yes };
}

export function printPlanned({ plan, action, outcome, isShown }: Planned, out: Out): void {
  if (!isShown) for (const line of plan.lines) out.line(line);
  if (action === 'dry run') out.line('dry run, nothing was written');
  for (const line of outcome?.lines ?? []) out.line(line);
}

/** The JSON of all of these commands: docs/json/device.md. */
export function plannedJson({ plan, action, outcome }: Planned): object {
  return { filesystem: plan.uuid, members: plan.members, action, plan: plan.json, result: outcome?.json ?? null };
}
