// Runs one command line of a program: finds the command, reads its arguments, lets it work, and turns whatever happens
// into output and an exit code. Nothing here touches the process; see `host.ts`.

import { printable } from '@bcachefs-ts/core/engine';
import { loadPalette, wantsColor } from './color.ts';
import type { Command } from './command.ts';
import type { CommonArgs } from './common-options.ts';
import type { Context } from './context.ts';
import { describeError, type ErrorReport, HelpAsked, isHelpUseful } from './errors.ts';
import { EXIT } from './exit-codes.ts';
import { type Host, PipeClosed, type StopSignal } from './host.ts';
import { jsonLine, schemaName } from './json.ts';
import { SinkOut } from './out.ts';
import { type Located, locate, type Program, type SingleCommandProgram, usageLine } from './program.ts';
import { Progress } from './progress.ts';
import { Prompt } from './prompt.ts';

/** What is known about the running command when something goes wrong. */
interface Running {
  /** The words that have named the command so far. */
  readonly path: string[];
  command: Command | undefined;
  progress: Progress | undefined;
}

/**
 * @param words the command line without the program's name
 * @returns the exit code; never throws
 */
export async function runProgram(
  program: Program | SingleCommandProgram,
  words: readonly string[],
  host: Host,
): Promise<number> {
  const running: Running = { path: [], command: undefined, progress: undefined };
  try {
    return await runLocated(program, locate(program, words, running.path), host, running);
  } catch (error) {
    if (error instanceof PipeClosed) return EXIT.ok;
    try {
      return reportError(error, running, program, host, isJson(words));
    } catch (second) {
      // Stderr is not read either.
      if (second instanceof PipeClosed) return describeError(error).exitCode;
      throw second;
    }
  }
}

/** Runs what the words have led to, or explains it: only its declarations know whether `--hel` or `-fh` asks for help. */
async function runLocated(
  program: Program | SingleCommandProgram,
  { entry, rest, exitCode: ownExitCode }: Located,
  host: Host,
  running: Running,
): Promise<number> {
  const command = await entry.load();
  running.command = command;
  try {
    const exitCode = await runCommand(program.name, command, rest, host, running);
    return ownExitCode ?? exitCode;
  } catch (error) {
    if (!(error instanceof HelpAsked)) throw error;
    const words = [...running.path, ...(isJson(rest) ? ['--json'] : []), '--help'];
    running.path.length = 0;
    return await runLocated(program, locate(program, words, running.path), host, running);
  }
}

async function runCommand(
  programName: string,
  command: Command,
  rest: readonly string[],
  host: Host,
  running: Running,
): Promise<number> {
  const { parseArguments } = await import('./parse.ts');
  const title = titleOf(programName, running);
  const args = parseArguments(command, rest, usageLine(title, command));
  const common = args as unknown as CommonArgs; // parseArguments reads the common options with every command.
  const { stdout, stderr } = host;

  const progressMode = common.progress === 'json' ? 'json' : common.progress === 'never' ? 'none' : undefined;
  const progress = new Progress(
    stderr,
    progressMode ?? (stderr.isTerminal && !common.quiet && !common.json ? 'terminal' : 'none'),
    () => host.now(),
  );
  running.progress = progress;
  const { onInterrupt, untilInterrupt } = interruptHandlers(host, progress);
  const name = running.path.length === 0 ? command.name : running.path.join(' ');
  const context: Context = {
    command: name,
    env: host.env,
    json: common.json,
    quiet: common.quiet,
    progress,
    prompt: new Prompt(host.stdin, stderr, onInterrupt),
    bytes: stdout,
    date: () => host.date(),
    readStdin: () => host.stdin.readAll(),
    onInterrupt,
    untilInterrupt,
    warn(message) {
      if (common.quiet) return;
      progress.clear();
      const line = common.json
        ? jsonLine({ schema: schemaName('warning'), version: 1, command: name, message })
        : `${title}: warning: ${printable(message)}\n`;
      stderr.write(line);
    },
  };

  const out = new SinkOut(stdout, await loadPalette(wantsColor(common.color, host.env, stdout.isTerminal)));
  try {
    return await command.perform(context, args, { out, json: common.json, quiet: common.quiet });
  } finally {
    // What was printed before an error is still worth having.
    progress.end();
    out.flush();
  }
}

/** What was typed to get to the command: `bcachefs device add`. */
function titleOf(programName: string, { path }: Running): string {
  return [programName, ...path].join(' ');
}

/** Asks for the system's signals only while somebody wants to clean up: otherwise Ctrl-C simply kills. */
function interruptHandlers(host: Host, progress: Progress): Pick<Context, 'onInterrupt' | 'untilInterrupt'> {
  const cleanups = new Set<() => void>();
  const exitCodes: Readonly<Record<StopSignal, number>> = {
    SIGINT: EXIT.interrupted,
    SIGTERM: EXIT.terminated,
    SIGHUP: EXIT.hangup,
  };
  let stopListening: (() => void) | undefined;
  let steps: { isAsked: boolean } | undefined;
  const rest = () => {
    if (cleanups.size > 0 || steps?.isAsked === false) return;
    stopListening?.();
    stopListening = undefined;
  };
  const listen = () => {
    stopListening ??= host.onSignal(signal => {
      progress.clear();
      if (steps?.isAsked === false) {
        steps.isAsked = true;
        // The next one ends the process, also in the middle of a step.
        rest();
        return;
      }
      for (const each of [...cleanups].reverse()) each();
      host.exit(exitCodes[signal]);
    });
  };
  return {
    onInterrupt(cleanup) {
      cleanups.add(cleanup);
      listen();
      return () => {
        cleanups.delete(cleanup);
        rest();
      };
    },
    untilInterrupt() {
      const own = { isAsked: false };
      steps = own;
      listen();
      return {
        get isAsked() {
          return own.isAsked;
        },
        end() {
          steps = undefined;
          rest();
        },
      };
    },
  };
}

/** @returns the exit code */
function reportError(
  error: unknown,
  running: Running,
  program: Program | SingleCommandProgram,
  host: Host,
  json: boolean,
): number {
  const found = describeError(error);
  const exitCode = running.command?.exitCodeOf?.(error) ?? found.exitCode;
  running.progress?.clear();
  host.stderr.write(
    json
      ? errorJson(found, exitCode, running, program)
      : errorText(found, error, titleOf(program.name, running), program.version),
  );
  return exitCode;
}

function errorJson(
  found: ErrorReport,
  exitCode: number,
  running: Running,
  program: Program | SingleCommandProgram,
): string {
  return jsonLine({
    schema: schemaName('error'),
    version: 1,
    program: program.name,
    command: running.path.length === 0 ? null : running.path.join(' '),
    error: found.kind,
    message: found.message,
    exit_code: exitCode,
    ...found.details,
    ...(found.stack === undefined ? {} : { stack: found.stack }),
  });
}

function errorText(found: ErrorReport, error: unknown, title: string, version: string): string {
  if (found.kind === 'bug') {
    return (
      `${title}: this is a bug in bcachefs-ts ${version}: ${found.message}\n${found.stack}\n` +
      'Please report it, with the command line and if possible the image.\n'
    );
  }
  if (found.kind === 'interrupted') return `${title}: interrupted\n`;
  const hint = isHelpUseful(error) ? ` (try '${title} --help')` : '';
  return `${title}: ${found.message}${hint}\n`;
}

/** Whether errors are wanted as JSON, before anything is parsed. */
function isJson(words: readonly string[]): boolean {
  const end = words.indexOf('--');
  return (end < 0 ? words : words.slice(0, end)).includes('--json');
}
