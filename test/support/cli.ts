// Runs a command of the program in this process, as a test: exit code, stdout and stderr come back as text.

import { type Collected, type RunOptions, runCli } from '@bcachefs-ts/command';
import { formatCommand } from '@bcachefs-ts/format';
import * as superblockCommands from '@bcachefs-ts/show-super';

const commands = { format: formatCommand, ...superblockCommands };
export type CommandKey = keyof typeof commands;

/** Runs a command whatever comes out of it. */
export function run(command: CommandKey, words: readonly string[], options?: RunOptions): Promise<Collected> {
  return runCli(commands[command], words, options);
}

/** Runs a command that must succeed, and gives back what it printed. */
export async function succeed(command: CommandKey, words: readonly string[], options?: RunOptions): Promise<string> {
  const { exitCode, stdout, stderr } = await run(command, words, options);
  if (exitCode !== 0) throw new Error(`${command} ${words.join(' ')}: exit code ${exitCode}\n${stderr}`);
  return stdout;
}
