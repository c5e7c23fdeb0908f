// Runs the built program and measures it from outside: time with the start of the process, and the most memory.

import { spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
export const program: string = join(root, 'packages/bcachefs/dist/bcachefs.js');

const RUNS = 3;

/** Prints the process's peak memory when it ends; loaded in front of the program. */
const memoryProbe = `data:text/javascript,${encodeURIComponent(
  "process.on('exit', () => process.stderr.write('maxrss ' + process.resourceUsage().maxRSS))",
)}`;

/** The fastest of several processes, start included, and the most memory of all. */
export function best(
  words: readonly string[],
  before: () => void,
): { readonly seconds: number; readonly peakMegabytes: number } {
  let seconds = Number.POSITIVE_INFINITY;
  let peakMegabytes = 0;
  for (let nr = 0; nr < RUNS; nr++) {
    before();
    const started = performance.now();
    const { status, stderr } = spawnSync(process.execPath, ['--import', memoryProbe, program, ...words], {
      encoding: 'utf8',
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { ...process.env, NO_COLOR: '1' },
    });
    seconds = Math.min(seconds, (performance.now() - started) / 1000);
    const kilobytes = /maxrss (\d+)$/.exec(stderr)?.[1];
    if (status !== 0 || kilobytes === undefined)
      throw new Error(`bcachefs ${words.join(' ')}: exit code ${status}\n${stderr}`);
    peakMegabytes = Math.max(peakMegabytes, Number(kilobytes) / 1024);
  }
  before();
  return { seconds, peakMegabytes };
}
