// Reading in a process of its own (see reader-process.ts), which is watched: one that neither ends nor throws is ended and named, and the
// memory that JavaScript may have for its objects is limited.

import { fork } from 'node:child_process';
import { createRequire } from 'node:module';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { patient } from '../support/patience.ts';
import type { Progress } from './reader-process.ts';

/** Processor time that the slowest case may take; the usual one takes 50 ms. */
export const CASE_MS = 10_000;
/** A case that takes longer than this by the clock hangs. */
const HANGS_MS: number = patient(60_000);
/** What a case may take on top of what was there before. */
export const CASE_BYTES: number = 512 * 2 ** 20;

export interface Outcome {
  readonly ends: readonly Progress[];
  /** How the process ended before its time. */
  readonly broken: string | undefined;
}

/** @param words what reader-process.ts is to read */
export function readWatched(words: readonly string[]): Promise<Outcome> {
  const loader = pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href;
  const script = fileURLToPath(new URL('./reader-process.ts', import.meta.url));
  const child = fork(script, words, {
    execArgv: ['--conditions=@bcachefs-ts/source', '--import', loader, '--max-old-space-size=512'],
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
  });
  const ends: Progress[] = [];
  let current = 'before the first case';
  let stderr = '';
  let broken: string | undefined;
  let watch: NodeJS.Timeout | undefined;
  child.stderr?.on('data', piece => {
    stderr = (stderr + piece).slice(-2000);
  });
  child.on('message', (progress: Progress) => {
    clearTimeout(watch);
    current = `case ${progress.nr}`;
    if (progress.ms !== undefined) {
      ends.push(progress);
      return;
    }
    watch = setTimeout(() => {
      broken = `${current} did not end within ${HANGS_MS} ms`;
      child.kill('SIGKILL');
    }, HANGS_MS);
  });
  return new Promise(resolve => {
    child.on('exit', (code, signal) => {
      clearTimeout(watch);
      if (code !== 0) broken ??= `${current}: the process ended with ${code ?? signal}\n${stderr}`;
      resolve({ ends, broken });
    });
  });
}
