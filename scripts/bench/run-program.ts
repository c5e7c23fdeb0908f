// Runs the built program and measures it from outside: time with the start of the process, and the most memory.

import { spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
export const program: string = join(root, 'packages/bcachefs/dist/bcachefs.cjs');

const RUNS = 3;

/** Prints the process's peak memory when it ends; required before the program, which costs less than importing it. */
const memoryProbe: string = join(root, 'scripts/bench/memory-probe.cjs');

export interface Ran {
  /** By the clock, the start of the process included. */
  readonly seconds: number;
  readonly peakMegabytes: number;
  /** Empty unless it was asked for. */
  readonly stdout: string;
}

/** Runs a command once. What it prints goes nowhere, unless it is asked for. */
export function runOnce(words: readonly string[], { keepsOutput = false } = {}): Ran {
  const started = performance.now();
  const { status, stdout, stderr } = spawnSync(process.execPath, ['--require', memoryProbe, program, ...words], {
    encoding: 'utf8',
    stdio: ['ignore', keepsOutput ? 'pipe' : 'ignore', 'pipe'],
    env: { ...process.env, NO_COLOR: '1' },
  });
  const seconds = (performance.now() - started) / 1000;
  const kilobytes = /maxrss (\d+)\n$/.exec(stderr)?.[1];
  if (status !== 0 || kilobytes === undefined)
    throw new Error(`bcachefs ${words.join(' ')}: exit code ${status}\n${stderr}`);
  return { seconds, peakMegabytes: Number(kilobytes) / 1024, stdout: stdout ?? '' };
}

/** The fastest of several processes, start included, and the most memory of all. */
export function best(words: readonly string[], before: () => void): Omit<Ran, 'stdout'> {
  let seconds = Number.POSITIVE_INFINITY;
  let peakMegabytes = 0;
  for (let nr = 0; nr < RUNS; nr++) {
    before();
    const ran = runOnce(words);
    seconds = Math.min(seconds, ran.seconds);
    peakMegabytes = Math.max(peakMegabytes, ran.peakMegabytes);
  }
  before();
  return { seconds, peakMegabytes };
}

/** How long another program takes by the clock. @throws Error when it fails */
export function secondsOf(command: string, words: readonly string[]): number {
  const started = performance.now();
  const { status } = spawnSync(command, words, { stdio: 'ignore' });
  if (status !== 0) throw new Error(`${command} ended with ${status}`);
  return (performance.now() - started) / 1000;
}
