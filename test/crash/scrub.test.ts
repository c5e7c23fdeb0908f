// A scrub that repairs, cut off anywhere: every file can be read, nothing contradicts itself, and another scrub repairs the rest.

import { checkInvariants, FileEdit, findingText, loadChecksums, scrub, scrubSteps } from '@bcachefs-ts/core/engine';
import { beforeAll, describe, expect, test } from 'vitest';
import { chooseCopies, dataCopies, nodeCopies, spoil } from '../support/bad-copies.ts';
import { writerOn } from '../support/commits.ts';
import { openOn, readBackProblems } from '../support/cut-states.ts';
import { FileModel, treeText } from '../support/file-model.ts';
import { sized } from '../support/long.ts';
import { formattedImage, MIB } from '../support/memory-images.ts';
import { patient } from '../support/patience.ts';
import { cutText, PowerCuts } from '../support/power-cuts.ts';
import { randomFrom, testSeed } from '../support/random.ts';

const seed = testSeed();
console.info(`cut off while scrubbing: TEST_SEED=${seed}`);
beforeAll(loadChecksums);

const text = new TextEncoder();
const TOP = 'changed here';

describe(`power cuts (seed ${seed})`, () => {
  test.each([2, 3])('%d replicas', { timeout: patient(300_000) }, members => {
    const random = randomFrom(seed);
    const replicas = { data_replicas: `${members}`, metadata_replicas: `${members}` };
    const { devices, key } = formattedImage({ members, sizeBytes: 24 * MIB, options: replicas });
    const { writer, options } = writerOn(devices, key, seed);
    const model = new FileModel(random);
    const edit = new FileEdit(writer, options);
    const top = edit.files.create(edit.files.root(), text.encode(TOP), { mode: 0o040755 });
    for (let step = 0; step < 60; step++) model.step(edit, top);
    edit.commit();
    const expected = model.text();
    const whole = openOn(devices, key);
    const bad = [...chooseCopies(nodeCopies(whole), random, 60), ...chooseCopies(dataCopies(whole), random, 40)];
    for (const copy of bad) spoil(devices, copy, random);

    const scrubbing = (on: Parameters<typeof writerOn>[0], salt: number) => ({
      onFinding: () => {},
      copiesMax: 12,
      keysPerCommit: 16,
      repair: { writer: () => writerOn(on, key, seed + salt).writer, now: () => 1_800_000_000n },
    });
    const cuts = new PowerCuts(devices);
    let commits = 0;
    let before = 0;
    for (const steps = scrubSteps(openOn(cuts.devices, key), scrubbing(cuts.devices, 1)); ; ) {
      const { done, value } = steps.next();
      if (cuts.count > before) commits++;
      before = cuts.count;
      if (!done) continue;
      expect(value).toMatchObject({ correctable: 0, uncorrected: 0, lost: 0, refused: undefined });
      expect(value.corrected).toBeGreaterThan(0);
      break;
    }
    expect(commits).toBeGreaterThan(0);

    const seen = { left: 0, done: 0 };
    for (const cut of cuts.points(random, sized(1, 1, 4))) {
      if (random.below(cuts.count) >= sized(12, 15, cuts.count)) continue;
      const left = cuts.after(cut);
      const filesystem = openOn(left, key);
      expect(readBackProblems(filesystem.set), cutText(cut)).toEqual([]);
      expect(checkInvariants(filesystem).findings.map(findingText), cutText(cut)).toEqual([]);
      expect(treeText(filesystem, TOP), cutText(cut)).toEqual(expected);
      const report = scrub(filesystem, scrubbing(left, 2));
      expect(report, cutText(cut)).toMatchObject({ correctable: 0, uncorrected: 0, lost: 0, refused: undefined });
      seen[report.corrected > 0 ? 'left' : 'done']++;
      const again = openOn(left, key);
      expect(treeText(again, TOP), cutText(cut)).toEqual(expected);
      expect(scrub(again, { onFinding: () => {} }), cutText(cut)).toMatchObject({
        correctable: 0,
        uncorrected: 0,
        lost: 0,
      });
    }
    console.info(
      `${members} replicas: ${bad.length} places damaged, ${commits} commits, ${cuts.count} events, ${JSON.stringify(seen)}`,
    );
    expect(seen.left).toBeGreaterThan(0);
  });
});
