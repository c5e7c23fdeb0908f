// Runs a command of the program in this process, as a test: exit code, stdout and stderr come back as text.

import { type Collected, type RunOptions, runCli } from '@bcachefs-ts/command';
import { listCommand, listJournalCommand } from '@bcachefs-ts/dump';
import { formatCommand } from '@bcachefs-ts/format';
import {
  recoverSuperCommand,
  removePassphraseCommand,
  resetCountersCommand,
  setFsOptionCommand,
  setPassphraseCommand,
  showSuperCommand,
  unlockCommand,
} from '@bcachefs-ts/show-super';

const commands = {
  format: formatCommand,
  list: listCommand,
  list_journal: listJournalCommand,
  'recover-super': recoverSuperCommand,
  'remove-passphrase': removePassphraseCommand,
  'reset-counters': resetCountersCommand,
  'set-fs-option': setFsOptionCommand,
  'set-passphrase': setPassphraseCommand,
  'show-super': showSuperCommand,
  unlock: unlockCommand,
};
export type CommandName = keyof typeof commands;

/** Runs a command whatever comes out of it. */
export function run(command: CommandName, words: readonly string[], options?: RunOptions): Promise<Collected> {
  return runCli(commands[command], words, options);
}

/** Runs a command that must succeed, and gives back what it printed. */
export async function succeed(command: CommandName, words: readonly string[], options?: RunOptions): Promise<string> {
  const { exitCode, stdout, stderr } = await run(command, words, options);
  if (exitCode !== 0) throw new Error(`${command} ${words.join(' ')}: exit code ${exitCode}\n${stderr}`);
  return stdout;
}
