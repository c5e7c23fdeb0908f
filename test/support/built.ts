// The built program, as users get it: built first where it is missing or older than its sources.

import { spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { patient } from './patience.ts';

export const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

let isBuilt = false;

/** The path of a bundle; all three are built together. */
export function built(name: 'bcachefs' | 'mkfs.bcachefs' | 'fsck.bcachefs' | 'mount.bcachefs'): string {
  if (!isBuilt) {
    const run = spawnSync(join(root, 'scripts/bcachefs'), ['version'], { encoding: 'utf8' });
    if (run.status !== 0) throw new Error(`building failed:\n${run.stderr}`);
    isBuilt = true;
  }
  return join(root, 'packages/bcachefs/dist', `${name}.cjs`);
}

export interface Ran {
  readonly exitCode: number | null;
  readonly signal: string | null;
  readonly stdout: string;
  readonly stderr: string;
}

const SHELL_MS: number = patient(30_000);

/**
 * Runs a shell line in which `$BCACHEFS` is the program.
 * @throws Error when it does not end
 */
export function shell(line: string, env: Readonly<Record<string, string>> = {}): Ran {
  const run = spawnSync('bash', ['--norc', '-o', 'pipefail', '-c', line], {
    encoding: 'utf8',
    env: { PATH: process.env.PATH, BCACHEFS: built('bcachefs'), ...env },
    timeout: SHELL_MS,
    maxBuffer: 64 << 20,
  });
  if (run.error !== undefined) throw new Error(`'${line}' failed to run: ${run.error.message}\n${run.stderr}`);
  return { exitCode: run.status, signal: run.signal, stdout: run.stdout, stderr: run.stderr };
}
