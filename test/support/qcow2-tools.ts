// Readers of qcow2 that are not ours: QEMU's qemu-img and 7-Zip. Where a run must be complete (CI=true, --require-kernel) they are
// installed; elsewhere what needs them is skipped with a word.

import { spawnSync } from 'node:child_process';
import { installMissingCommands } from '../kernel/vm/apt.ts';

if (process.env.CI === 'true' || process.env.BCACHEFS_REQUIRE_KERNEL === '1') {
  await installMissingCommands(
    line => process.stderr.write(`dump tests: ${line}\n`),
    [
      { command: 'qemu-img', package: 'qemu-utils' },
      { command: '7zz', package: '7zip' },
    ],
  );
}

const isThere = (command: string, ...words: string[]) => spawnSync(command, words).status === 0;

/** Why the readers cannot be asked; undefined when they can. */
export const whyNoQemuImg: string | undefined = isThere('qemu-img', '--version')
  ? undefined
  : 'qemu-img is not installed (package qemu-utils); with CI=true it is';
export const whyNo7zip: string | undefined = isThere('7zz', 'i')
  ? undefined
  : '7zz is not installed (package 7zip); with CI=true it is';

/** Runs a command that must succeed. @returns its stdout */
export function mustRun(command: string, ...words: readonly string[]): string {
  const { status, stdout, stderr } = spawnSync(command, words, { encoding: 'utf8', maxBuffer: 64 << 20 });
  if (status !== 0) throw new Error(`${command} ${words.join(' ')}: exit status ${status}\n${stdout}${stderr}`);
  return stdout;
}

/** What `qemu-img check` has to complain of. */
export function qemuComplaints(file: string): readonly string[] {
  const { status, stdout, stderr } = spawnSync('qemu-img', ['check', file], { encoding: 'utf8' });
  const lines = `${stdout}${stderr}`.split('\n').filter(line => line !== '');
  const quiet = /^No errors were found|allocated,|^Image end offset/;
  return [...(status === 0 ? [] : [`exit status ${status}`]), ...lines.filter(line => !quiet.test(line))];
}
