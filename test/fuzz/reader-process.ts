// The process in which mutants and hostile images are read, and changed, so that one that does not end can be ended, and that the most memory it ever used is known. Says
// of each mutant that it begins, and with what it ended.

import { loadChecksums, loadCompression, loadCompressors } from '@bcachefs-ts/core/engine';
import { cpuMs } from '../support/patience.ts';
import { randomFrom } from '../support/random.ts';
import { type Changed, changeMutant } from './edit-mutants.ts';
import { hostileImages } from './hostile.ts';
import { mutant, originals } from './mutants.ts';
import { type Reached, readEverything } from './read-everything.ts';

export interface Progress {
  /** Of the mutant or the hostile image; -1 for the originals, unharmed. */
  readonly nr: number;
  /** Of processor time. */
  readonly ms?: number;
  readonly reached?: Reached;
  /** What became of a change. */
  readonly changed?: Changed;
  /** What came of reading a filesystem of another kind. */
  readonly outcome?: string;
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

function measure(nr: number, work: () => Pick<Progress, 'reached' | 'changed' | 'outcome'>): void {
  say({ nr });
  const started = cpuMs();
  const end = () => ({ nr, ms: cpuMs() - started, peakBytes: process.resourceUsage().maxRSS * 1024 });
  try {
    const result = work();
    say({ ...end(), ...result });
  } catch (thrown) {
    say({ ...end(), failure: thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown) });
  }
}

await loadChecksums();
await loadCompression();
if (what === 'hostile') {
  hostileImages().forEach(
    ({ set }, nr) => void measure(nr, () => ({ reached: readEverything(set, undefined, randomFrom(1)) })),
  );
} else if (what === 'ext4') {
  // Loaded here: it looks for programs that the others do without.
  const { ext4Originals, readExt4Mutant } = await import('./ext4-mutants.ts');
  const sources = ext4Originals();
  for (let nr = 0; nr < count; nr++)
    measure(nr, () => ({ outcome: readExt4Mutant(sources[nr % sources.length]!, randomFrom(seed + nr)) }));
} else if (what === 'superblocks' || what === 'contents') {
  await loadCompressors();
  for (let nr = 0; nr < count; nr++) measure(nr, () => ({ changed: changeMutant(what, seed, nr) }));
} else {
  for (const { set, key } of originals) measure(-1, () => ({ reached: readEverything(set, key, randomFrom(1)) }));
  for (let nr = 0; nr < count; nr++) {
    const random = randomFrom(seed + nr);
    measure(nr, () => {
      const { set, key } = mutant(originals[nr % originals.length]!, random);
      return { reached: readEverything(set, key, random) };
    });
  }
}
process.disconnect?.();
