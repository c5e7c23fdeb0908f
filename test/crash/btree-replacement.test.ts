// Btrees put in the place of others, cut off at every write: the filesystem is what it was or what it was to be, whole by every rule of the
// checker, and its files are the same in both.

import { loadChecksums, loadCompression, loadCompressors, replaceBtrees } from '@bcachefs-ts/core/engine';
import { beforeAll, describe, expect, test } from 'vitest';
import { ALL, DERIVED, madeAgain, madeUncounted } from '../support/btree-replacement.ts';
import { writerOn } from '../support/commits.ts';
import { openOn, stateOf, statesOf } from '../support/cut-states.ts';
import { sized } from '../support/long.ts';
import { formattedImage, type MemoryImage, testImage } from '../support/memory-images.ts';
import { patient } from '../support/patience.ts';
import { cutText, PowerCuts } from '../support/power-cuts.ts';
import { randomFrom, testSeed } from '../support/random.ts';

const seed = testSeed();
beforeAll(async () => {
  await loadChecksums();
  await loadCompression();
  await loadCompressors();
});

interface Kind {
  readonly name: string;
  readonly image: () => MemoryImage;
  readonly isUncounted?: boolean;
  readonly leavesPerPart?: number;
}

const kinds: readonly Kind[] = [
  { name: 'all from their keys', image: () => testImage('basic') },
  { name: 'all of two members', image: () => testImage('multi') },
  { name: 'all, unclean', image: () => testImage('unclean') },
  { name: 'what is derived, from a count without the old nodes', image: () => testImage('basic'), isUncounted: true },
  {
    name: 'all, announced in parts',
    image: () => formattedImage({ options: { btree_node_size: '8k' } }),
    leavesPerPart: 0,
  },
];

describe(`power cuts while btrees are replaced (seed ${seed})`, () => {
  test.each(kinds)('$name', { timeout: patient(200_000) }, ({ image, isUncounted, leavesPerPart }) => {
    const { devices, key } = image();
    const random = randomFrom(seed);
    const state = stateOf(openOn(devices, key));
    expect(state).not.toMatch(/^broken/);
    const cuts = new PowerCuts(devices);
    const { writer } = writerOn(cuts.devices, key, seed);
    const generation = () => rootSeq(openOn(cuts.after({ events: cuts.count }), key));
    const before = generation();
    const made = isUncounted ? madeUncounted(writer.filesystem, DERIVED) : madeAgain(writer.filesystem, ALL);
    const { parts } = replaceBtrees(writer, made, leavesPerPart === undefined ? {} : { leavesPerPart });
    if (leavesPerPart !== undefined) expect(parts).toBeGreaterThan(5);
    const after = generation();
    expect(after).not.toBe(before);

    const states = statesOf(key);
    const seen = new Map([
      [before, 0],
      [after, 0],
    ]);
    for (const cut of cuts.points(random, sized(1, 1, 4))) {
      const left = cuts.after(cut);
      expect(states.of(left), cutText(cut)).toBe(state);
      const root = rootSeq(openOn(left, key));
      seen.set(root, (seen.get(root) ?? 0) + 1);
    }
    expect([...seen.keys()]).toEqual([before, after]);
    expect(Math.min(...seen.values())).toBeGreaterThan(0);
  });
});

/** Which of both a filesystem is: the roots that it has. */
const rootSeq = ({ replay }: ReturnType<typeof openOn>): string =>
  [...replay.roots.values()].map(({ key }) => Buffer.from(key!.value).toString('hex').slice(16, 32)).join();
