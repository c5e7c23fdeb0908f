// Changes of files with all that follows from them, cut off anywhere: a reader finds the filesystem as it was or as it was to be, down to
// the last byte of every file, and the checker of everything derived finds nothing.

import {
  FaultyDevice,
  FileEdit,
  loadChecksums,
  loadCompression,
  loadCompressors,
  readBytes,
} from '@bcachefs-ts/core/engine';
import { beforeAll, describe, expect, test } from 'vitest';
import { commitsOf, wornImage, writerOn } from '../support/commits.ts';
import { type Milestone, openOn, stateOf, statesOf, tryCuts } from '../support/cut-states.ts';
import { whyNoFixtures } from '../support/fixtures.ts';
import { sized, someOf } from '../support/long.ts';
import { fixtureImage, formattedImage, type MemoryImage, testImage } from '../support/memory-images.ts';
import { patient } from '../support/patience.ts';
import { cutText, type PowerCut, PowerCuts } from '../support/power-cuts.ts';
import { randomFrom, testSeed } from '../support/random.ts';

const seed = testSeed();
console.info(`power cuts over changes of files: TEST_SEED=${seed}`);
if (whyNoFixtures !== undefined) console.warn(`some power cuts skipped: ${whyNoFixtures}`);
beforeAll(async () => {
  await loadChecksums();
  await loadCompression();
  await loadCompressors();
});

interface Kind {
  readonly name: string;
  readonly image: () => MemoryImage;
  readonly steps: number;
  readonly needsFixtures?: boolean;
  /** How many of a hundred points are looked at, at most, but for the soak. */
  readonly percent?: number;
  /** How many of the commits are done; all when left out. */
  readonly commits?: number;
  /** Each in several parts, which are written one after the other before the commit. */
  readonly isStaged?: boolean;
}

// biome-ignore format: a table
const kinds: readonly Kind[] = [
  { name: 'a kernel’s, small', image: () => testImage('basic'), steps: 8, percent: 40 },
  { name: 'a kernel’s, two members', image: () => testImage('multi'), steps: 8, percent: 15 },
  { name: 'a kernel’s, encrypted', image: () => testImage('encrypted'), steps: 8 },
  { name: 'a kernel’s, unclean', image: () => testImage('unclean'), steps: 8 },
  { name: 'a kernel’s, compressed', image: () => fixtureImage('compress-zstd'), steps: 40, needsFixtures: true, percent: 50 },
  { name: 'a kernel’s, to be replayed', image: () => fixtureImage('unclean'), steps: 40, needsFixtures: true, percent: 50 },
  { name: 'a kernel’s, busy to its end', image: () => fixtureImage('unclean-busy'), steps: 40, needsFixtures: true, percent: 8, commits: sized(1, 2, 4) },
  { name: 'ours', image: () => formattedImage({ options: { compression: 'zstd' } }), steps: 60 },
  { name: 'ours, its journal gone round', image: () => wornImage(seed), steps: 20 },
  { name: 'ours, two members', image: () => formattedImage({ members: 2, options: { metadata_replicas: '2', data_replicas: '2', compression: 'lz4' } }), steps: 60 },
  { name: 'ours, encrypted', image: () => formattedImage({ isEncrypted: true, options: { compression: 'gzip' } }), steps: 60 },
  { name: 'a kernel’s, in parts', image: () => testImage('basic'), steps: 8, percent: 20, isStaged: true },
  { name: 'a kernel’s, unclean, in parts', image: () => testImage('unclean'), steps: 12, percent: 20, isStaged: true },
  { name: 'ours, two members, in parts', image: () => formattedImage({ members: 2, options: { metadata_replicas: '2', data_replicas: '2', compression: 'lz4' } }), steps: 24, percent: 20, isStaged: true },
  { name: 'ours, its journal gone round, in parts', image: () => wornImage(seed), steps: 24, percent: 20, isStaged: true },
];

const runnable = someOf(
  'power cuts over changes of files',
  kinds.filter(({ needsFixtures }) => !needsFixtures || whyNoFixtures === undefined),
);

describe(`power cuts over changes of files (seed ${seed})`, () => {
  test.each(runnable)(
    '$name',
    { timeout: patient(300_000) },
    ({ image, steps, percent: most = 100, commits, isStaged }) => {
      const percent = Math.min(100, sized(0.5, 0.5, 3) * most);
      const { devices, key } = image();
      const random = randomFrom(seed);
      const cuts = new PowerCuts(devices);
      const { writer, options } = writerOn(cuts.devices, key, seed);
      const states = statesOf(key);
      const here = (): Milestone => ({ events: cuts.count, state: states.of(cuts.after({ events: cuts.count })) });
      const milestones = [here()];
      for (const { edit } of commitsOf(writer, random, options, steps, isStaged).slice(0, commits)) {
        edit().commit();
        milestones.push(here());
      }
      expect(milestones.filter(({ state }) => state.startsWith('broken'))).toEqual([]);
      expect(new Set(milestones.map(({ state }) => state)).size).toBe(milestones.length);

      let [seen, goneOn] = [0, 0];
      const onCut = (cut: PowerCut) => {
        if (seen++ % 20 !== 0) return;
        goneOn++;
        const left = cuts.after(cut);
        const again = writerOn(left, key, seed);
        const edit = new FileEdit(again.writer, again.options);
        edit.files.create(edit.files.root(), new TextEncoder().encode('after'), { mode: 0o100644 });
        edit.commit();
        expect(stateOf(openOn(left, key)), cutText(cut)).not.toMatch(/^broken/);
      };
      const lostRounds = sized(1, 1, 4);
      const tally = tryCuts({
        cuts,
        milestones,
        states,
        random,
        lostRounds,
        percent,
        onCut,
      });
      expect(tally.wrong).toEqual([]);
      expect(goneOn).toBeGreaterThan(0);
      expect(tally.tried).toBeGreaterThan(5);
      if (percent === 100) for (const count of tally.seen) expect(count).toBeGreaterThan(0);
    },
  );

  test('a first superblock of which only the head is new is found out', () => {
    const { devices } = formattedImage({});
    const changed = devices.map(device => device.clone());
    const { writer, options } = writerOn(changed, undefined, seed);
    for (const { edit } of commitsOf(writer, randomFrom(seed), options, 1).slice(0, 1)) edit().commit();
    const states = statesOf();
    const torn = devices.map((device, nr) => {
      const copy = device.clone();
      copy.write(4096, readBytes(changed[nr]!, 4096, 512));
      return copy;
    });
    expect(states.of(devices)).not.toMatch(/^broken/);
    expect(states.of(torn)).toMatch(/^broken:\ndev0: superblock \d+ was read at sector \d+, the first one is of \d+$/);
  });

  test('a disk that flushes nothing is found out', () => {
    const { devices } = formattedImage({});
    const random = randomFrom(seed);
    const cuts = new PowerCuts(devices);
    const lazy = cuts.devices.map(device => new FaultyDevice(device, [{ kind: 'lost-flush' }]));
    const states = statesOf();
    const here = (): Milestone => ({ events: cuts.count, state: states.of(cuts.after({ events: cuts.count })) });
    const { writer, options } = writerOn(lazy, undefined, seed);
    const milestones = [here()];
    for (const { edit } of commitsOf(writer, random, options, 20)) {
      edit().commit();
      milestones.push(here());
    }
    const { wrong } = tryCuts({ cuts, milestones, states, random, percent: 20 });
    expect(wrong.length).toBeGreaterThan(3);
  });
});
