// Running the commands that preparation needs (apt-get, dpkg-deb, xz): output bounded, time bounded, errors readable.

import { spawn } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import path from 'node:path';

const OUTPUT_LIMIT_BYTES = 1 << 20;

export interface CommandOptions {
  readonly timeoutSeconds?: number;
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
}

export class CommandFailure extends Error {
  override name = 'CommandFailure';
  constructor(
    readonly command: string,
    readonly status: number | string,
    readonly output: string,
  ) {
    super(`${command} ended with ${status}: ${lastLines(output, 3).join(' | ')}`);
  }
}

/**
 * Runs a command to its end and gives back its standard output as text.
 * @throws CommandFailure unless the exit status is 0
 */
export function run(command: string, args: readonly string[], options: CommandOptions = {}): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd: options.cwd,
      env: options.env ?? process.env,
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: (options.timeoutSeconds ?? 300) * 1000,
      killSignal: 'SIGKILL',
    });
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', piece => {
      stdout = (stdout + piece).slice(-OUTPUT_LIMIT_BYTES);
    });
    child.stderr.on('data', piece => {
      stderr = (stderr + piece).slice(-OUTPUT_LIMIT_BYTES);
    });
    child.on('error', error => reject(new CommandFailure(command, error.message, stderr)));
    child.on('close', (status, signal) => {
      if (status === 0) resolve(stdout);
      else reject(new CommandFailure(briefly(command, args), status ?? signal ?? '?', stderr || stdout));
    });
  });
}

/** `apt-get download x` of all that is on the command line: settings (-o NAME=VALUE) and options left out. */
function briefly(command: string, args: readonly string[]): string {
  const words = args.filter((word, index) => !word.startsWith('-') && args[index - 1] !== '-o');
  return [path.basename(command), ...words].join(' ').slice(0, 120);
}

/** Where a command is, from PATH and the system's own folders; undefined if it is not installed. */
export function findCommand(name: string): string | undefined {
  const folders = [...(process.env.PATH ?? '').split(path.delimiter), '/usr/sbin', '/usr/bin', '/sbin', '/bin'];
  return folders.map(folder => path.join(folder, name)).find(isExecutable);
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

export function lastLines(text: string, count: number): string[] {
  return text.trimEnd().split('\n').slice(-count);
}
