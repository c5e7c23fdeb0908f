// What the commands of a migration have in common: they say what they will do and what that costs, ask, and do it.

import { CommandFailed, type Context, type Out, undoFileOption } from '@bcachefs-ts/command';
import { type BlockDevice, loadChecksums, openDevice } from '@bcachefs-ts/core/engine';

export const devicePositional = {
  device: { count: 'one', file: true, help: 'the device or image; not mounted' },
} as const;

export const askOptions = {
  yes: { type: 'flag', alias: 'y', help: 'do it without asking' },
  dry_run: { type: 'flag', alias: 'n', conflictsWith: ['yes'], help: 'say what would be done, and write nothing' },
  ...undoFileOption,
} as const;

export interface Planned {
  readonly device: string;
  /** What will happen, a line each, without a full stop at the end. */
  readonly lines: readonly string[];
  readonly planJson: object;
  readonly action: 'done' | 'dry run' | 'none needed';
  /** What was done, a line each. */
  readonly results: readonly string[];
  readonly resultJson: object | null;
  /** The lines were shown with the question. */
  readonly isShown: boolean;
}

interface Asked {
  readonly device: string;
  readonly lines: readonly string[];
  readonly planJson: object;
  readonly question: string;
}

interface Done {
  readonly results: readonly string[];
  readonly resultJson: object;
}

/** @throws CommandFailed when the answer is no; UsageError when there is no terminal to ask at; what `act` throws */
export async function carryOut(
  context: Context,
  { yes, dry_run }: { readonly yes: boolean; readonly dry_run: boolean },
  { question, ...asked }: Asked,
  act: () => Promise<Done>,
): Promise<Planned> {
  if (dry_run) return { ...asked, action: 'dry run', results: [], resultJson: null, isShown: false };
  if (!yes && !(await context.prompt.confirm(question, { flag: '--yes' }, asked.lines.join('\n'))))
    throw new CommandFailed('nothing was written');
  return { ...asked, action: 'done', ...(await act()), isShown: !yes };
}

function printPlanned({ lines, results, action, isShown }: Planned, out: Out): void {
  if (!isShown) for (const line of lines) out.line(line);
  if (action === 'dry run') out.line('dry run, nothing was written');
  for (const line of results) out.line(line);
}

/** docs/json/migrate.md */
const plannedJson = ({ device, action, planJson, resultJson }: Planned): object => ({
  device,
  action,
  plan: planJson,
  result: resultJson,
});

/** How a command that is carried out, or only planned, says so. */
export const plannedOutput = { text: printPlanned, json: plannedJson } as const;

/** Opens a device for as long as it is used. */
export async function withOpen<T>(
  path: string,
  write: boolean,
  wrap: (device: BlockDevice) => BlockDevice,
  use: (device: BlockDevice) => Promise<T>,
): Promise<T> {
  await loadChecksums();
  const device = wrap(openDevice(path, { write, exclusive: true }));
  try {
    return await use(device);
  } finally {
    device.close();
  }
}
