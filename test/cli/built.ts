// The built program, as users get it: built first where it is missing or older than its sources.

import { spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

let isBuilt = false;

/** The path of a bundle; all three are built together. */
export function built(name: 'bcachefs' | 'mkfs.bcachefs' | 'fsck.bcachefs'): string {
  if (!isBuilt) {
    const run = spawnSync(join(root, 'scripts/bcachefs'), ['version'], { encoding: 'utf8' });
    if (run.status !== 0) throw new Error(`building failed:\n${run.stderr}`);
    isBuilt = true;
  }
  return join(root, 'packages/bcachefs/dist', `${name}.js`);
}

export interface Ran {
  readonly exitCode: number | null;
  readonly signal: string | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a shell line in which `$BCACHEFS` is the program. */
export function shell(line: string, env: Readonly<Record<string, string>> = {}): Ran {
  const run = spawnSync('bash', ['--norc', '-o', 'pipefail', '-c', line], {
    encoding: 'utf8',
    env: { PATH: process.env.PATH, BCACHEFS: built('bcachefs'), ...env },
    timeout: 15_000,
    maxBuffer: 64 << 20,
  });
  return { exitCode: run.status, signal: run.signal, stdout: run.stdout, stderr: run.stderr };
}
