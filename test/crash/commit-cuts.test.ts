// A commit cut off anywhere leaves the filesystem as it was or as it was to be, never anything between. Triggers are left out: what is on
// trial is the order of the writes.

import {
  BTREE_ID_MAX,
  bposText,
  type Filesystem,
  FilesystemWriter,
  filesystemOf,
  loadChecksums,
  makeBpos,
  NO_TRIGGERS,
  openMembers,
  seededRandom,
} from '@bcachefs-ts/core/engine';
import { beforeAll, describe, expect, test } from 'vitest';
import { sized } from '../support/long.ts';
import { grown, PastTheEnd, xattrKey } from '../support/past-the-end.ts';
import { PowerCuts } from '../support/power-cuts.ts';
import { randomFrom, testSeed } from '../support/random.ts';

const seed = testSeed();
const options = { random: seededRandom(String(seed)), now: () => 1_700_000_000n };

beforeAll(loadChecksums);

/** All keys of all btrees, as one text. */
function stateOf(filesystem: Filesystem): string {
  const lines: string[] = [];
  for (let id = 0; id < BTREE_ID_MAX; id++) {
    for (const { k, value } of filesystem.btree(id).keys())
      lines.push(`${id} ${bposText(k.p)} ${k.type} ${value.join()}`);
  }
  return lines.join('\n');
}

describe(`power cuts (seed ${seed})`, () => {
  test.each(['basic', 'multi', 'unclean'])('%s: a commit is there or not', name => {
    const random = randomFrom(seed);
    const { devices } = grown(name);
    const before = stateOf(filesystemOf(openMembers(devices)));

    const cuts = new PowerCuts(devices);
    const writer = new FilesystemWriter(openMembers(cuts.devices), options);
    const tx = writer.begin(NO_TRIGGERS);
    for (let step = 0; step < 300; step++) {
      const pos = makeBpos(BigInt(random.below(40) + 5000), BigInt(random.below(200)) << 50n, 7);
      tx.update('xattrs', xattrKey(pos, random.below(800)));
    }
    writer.commit({ tx, allocator: new PastTheEnd(writer.filesystem.sb), superblock: sb => sb });
    const after = stateOf(writer.filesystem);
    expect(after).not.toBe(before);

    const seen = { before: 0, after: 0 };
    for (const cut of cuts.points(random, sized(1, 1, 8))) {
      const found = filesystemOf(openMembers(cuts.after(cut)));
      const state = stateOf(found);
      expect([before, after].includes(state), `events ${cut.events} of ${cuts.count}`).toBe(true);
      seen[state === before ? 'before' : 'after']++;
      // What begins to write there again finds its way.
      if (random.below(10) === 0) writeOn(cuts.after(cut), state);
    }
    expect(seen.before).toBeGreaterThan(10);
    expect(seen.after).toBeGreaterThan(1);
    expect(stateOf(filesystemOf(openMembers(cuts.after({ events: cuts.count }))))).toBe(after);
  });
});

/** A commit of nothing but what the journal has to replay. */
function writeOn(devices: ReturnType<PowerCuts['after']>, expected: string): void {
  const writer = new FilesystemWriter(openMembers(devices), options);
  writer.commit({
    tx: writer.begin(NO_TRIGGERS),
    allocator: new PastTheEnd(writer.filesystem.sb, 1 << 19),
    superblock: sb => sb,
  });
  const again = filesystemOf(openMembers(devices));
  expect(again.replay.from).toBe('clean');
  expect(stateOf(again)).toBe(expected);
}
