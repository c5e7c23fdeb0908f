// The built program as a process of its own that is killed at a moment of the test's choice: after so many bytes written, where Linux says
// how many there are, or after so many milliseconds.

import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import { built } from './built.ts';

export interface Moment {
  readonly writtenBytes?: number;
  readonly milliseconds?: number;
}

export interface Ended {
  readonly exitCode: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stderr: string;
  /** What it had written when it was last looked at, to whatever file. */
  readonly writtenBytes: number;
  readonly milliseconds: number;
}

/** Runs the program, and kills it when the moment has come, if it still runs then. */
export async function runUntil(
  words: readonly string[],
  env: NodeJS.ProcessEnv,
  moment: Moment = {},
  by: NodeJS.Signals = 'SIGKILL',
): Promise<Ended> {
  const { writtenBytes = Infinity, milliseconds = Infinity } = moment;
  const program = built('bcachefs');
  const began = performance.now();
  const child = spawn(process.execPath, [program, ...words], {
    env: { PATH: process.env.PATH, ...env },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let stderr = '';
  child.stderr.on('data', chunk => (stderr += chunk));
  const end: { at?: { exitCode: number | null; signal: NodeJS.Signals | null } } = {};
  const closed = new Promise<void>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (exitCode, signal) => {
      end.at = { exitCode, signal };
      resolve();
    });
  });
  let written = 0;
  while (end.at === undefined) {
    written = Math.max(written, child.pid === undefined ? 0 : writtenBy(child.pid));
    if (written >= writtenBytes || performance.now() - began >= milliseconds) {
      child.kill(by);
      break;
    }
    await setImmediate();
  }
  await closed;
  return {
    exitCode: end.at?.exitCode ?? null,
    signal: end.at?.signal ?? null,
    stderr,
    writtenBytes: written,
    milliseconds: performance.now() - began,
  };
}

/** 0 for one that is gone, and where the system does not say. */
function writtenBy(pid: number): number {
  try {
    return Number(/^wchar: (\d+)$/m.exec(readFileSync(`/proc/${pid}/io`, 'utf8'))?.[1] ?? 0);
  } catch {
    return 0;
  }
}
