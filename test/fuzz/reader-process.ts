// The process in which mutants and hostile images are read, so that one that does not end can be ended, and that the most memory it ever used is known. Says
// of each mutant that it begins, and with what it ended.

import { loadChecksums, loadCompression } from '@bcachefs-ts/core';
import { cpuMs } from '../support/patience.ts';
import { randomFrom } from '../support/random.ts';
import { hostileImages } from './hostile.ts';
import { mutant, originals } from './mutants.ts';
import { type Reached, readEverything } from './read-everything.ts';

export interface Progress {
  /** Of the mutant or the hostile image; -1 for the originals, unharmed. */
  readonly nr: number;
  /** Of processor time. */
  readonly ms?: number;
  readonly reached?: Reached;
  /** What was thrown and should not have been. */
  readonly failure?: string;
  /** The most that the process ever had, so far. */
  readonly peakBytes?: number;
}

const [what, seed, count] = process.argv.slice(2).map((word, i) => (i === 0 ? word : Number(word))) as [
  string,
  number,
  number,
];
const say = (progress: Progress): void => void process.send?.(progress);

function measure(nr: number, read: () => Reached): void {
  say({ nr });
  const started = cpuMs();
  const end = () => ({ nr, ms: cpuMs() - started, peakBytes: process.resourceUsage().maxRSS * 1024 });
  try {
    const reached = read();
    say({ ...end(), reached });
  } catch (thrown) {
    say({ ...end(), failure: thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown) });
  }
}

await loadChecksums();
await loadCompression();
if (what === 'hostile') {
  hostileImages().forEach(({ set }, nr) => void measure(nr, () => readEverything(set, undefined, randomFrom(1))));
} else {
  for (const { set, key } of originals) measure(-1, () => readEverything(set, key, randomFrom(1)));
  for (let nr = 0; nr < count; nr++) {
    const random = randomFrom(seed + nr);
    measure(nr, () => {
      const { set, key } = mutant(originals[nr % originals.length]!, random);
      return readEverything(set, key, random);
    });
  }
}
process.disconnect?.();
