// What an error becomes: one clear line or one JSON object on stderr, and an exit code. Errors thrown on purpose say what
// was found, what was expected and where; whatever else arrives is a bug of ours and keeps its stack.

import {
  CorruptError,
  DeviceError,
  IncompatibleError,
  InputError,
  NoSpaceError,
  printable,
  UsageError,
  withoutMisleading,
} from '@bcachefs-ts/core/engine';
import { EXIT } from './exit-codes.ts';
import { Interrupted } from './host.ts';

/** A command gives up for a reason that is nobody's bug. */
export class CommandFailed extends Error {
  override readonly name = 'CommandFailed';
  readonly exitCode: number;
  /** What failed in one word, for programs. */
  readonly code: string;
  constructor(
    message: string,
    { exitCode = EXIT.failed, code = 'failed' }: { readonly exitCode?: number; readonly code?: string } = {},
  ) {
    super(message);
    this.exitCode = exitCode;
    this.code = code;
  }
}

/** The words of the command line cannot be understood: help says what they should be. */
export class CommandLineError extends UsageError {
  constructor(detail: string, option?: string) {
    super(detail, option, 'command_line');
  }
}

export interface ErrorReport {
  readonly kind: 'failed' | 'usage' | 'corrupt' | 'incompatible' | 'device' | 'interrupted' | 'bug';
  readonly exitCode: number;
  /** One line, safe for a terminal. */
  readonly message: string;
  /**
   * What is known besides, for JSON. Its `name` is always there: an errno, the reference's name for damage, or a word of ours
   * (docs/cli.md).
   */
  readonly details: Readonly<Record<string, unknown>>;
  /** Only for bugs. */
  readonly stack?: string;
}

/** Also for commands that go on after an error of one device, to report it the same way. */
export function describeError(error: unknown): ErrorReport {
  if (error instanceof UsageError) {
    const name = error.code ?? (error.option === undefined ? 'usage' : 'command_line');
    return report('usage', EXIT.usage, error.message, {
      name,
      ...(error.option === undefined ? {} : { option: error.option }),
    });
  }
  // A file that does not hold the archive it should is damage like any other to the user.
  if (error instanceof CorruptError || error instanceof InputError) {
    return report('corrupt', EXIT.corrupt, error.message, { name: error.error, where: error.where });
  }
  if (error instanceof IncompatibleError) {
    return report('incompatible', EXIT.incompatible, error.message, { name: error.error, where: error.where });
  }
  if (error instanceof DeviceError) {
    // What is only on a member that is not there is missed by the member's number instead of a path.
    const isMember = error.kind === 'missing' && /^member \d+$/.test(error.device);
    return report('device', EXIT.device, error.message, {
      name: isMember ? 'member_missing' : error.kind,
      device: error.device,
    });
  }
  if (error instanceof NoSpaceError) return report('failed', EXIT.failed, error.message, { name: error.code });
  if (error instanceof CommandFailed) return report('failed', error.exitCode, error.message, { name: error.code });
  if (error instanceof Interrupted)
    return report('interrupted', EXIT.interrupted, 'interrupted', { name: 'interrupted' });
  if (isSystemError(error)) return systemErrorReport(error);
  return bugReport(error);
}

/** Whether the command's help says how it is done right. What an image or a file does not allow is not in there. */
export function isHelpUseful(error: unknown): boolean {
  return error instanceof CommandLineError || (error instanceof UsageError && error.option !== undefined);
}

function report(
  kind: ErrorReport['kind'],
  exitCode: number,
  message: string,
  details: Readonly<Record<string, unknown>>,
): ErrorReport {
  return { kind, exitCode, message: printable(message), details };
}

interface SystemError extends Error {
  readonly code: string;
  readonly syscall: string;
  readonly path?: string;
}

/** An error of the operating system, as Node throws it for a file. */
function isSystemError(error: unknown): error is SystemError {
  return error instanceof Error && 'syscall' in error && 'code' in error && typeof error.code === 'string';
}

function systemErrorReport(error: SystemError): ErrorReport {
  // Node's message is `ENOENT: no such file or directory, open 'x'`; the words in the middle are the system's.
  const words = /^[A-Z0-9_]+: ([^,]+)/.exec(error.message)?.[1] ?? error.message;
  const where = error.path ?? error.syscall;
  return report('device', EXIT.device, `${where}: ${words}`, { name: error.code, device: where });
}

function bugReport(error: unknown): ErrorReport {
  const message = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  const stack = error instanceof Error ? (error.stack ?? message) : message;
  return { ...report('bug', EXIT.bug, message, { name: 'bug' }), stack: withoutMisleading(stack) };
}

/** Help was asked for in a way that only a command's declarations show: `--hel`, `-fh`. */
export class HelpAsked extends Error {
  override readonly name = 'HelpAsked';
}
