// Copies damaged at random on filesystems of two and three replicas: a scrub puts good ones in their place, and every file is what it was.

import {
  checkInvariants,
  FileEdit,
  findingText,
  loadChecksums,
  loadCompression,
  loadCompressors,
  type ScrubFinding,
  scrub,
} from '@bcachefs-ts/core/engine';
import { beforeAll, describe, expect, test } from 'vitest';
import { chooseCopies, dataCopies, nodeCopies, spoil } from '../support/bad-copies.ts';
import { writerOn } from '../support/commits.ts';
import { openOn } from '../support/cut-states.ts';
import { FileModel, treeText } from '../support/file-model.ts';
import { sized } from '../support/long.ts';
import { type FormattedOptions, formattedImage } from '../support/memory-images.ts';
import { patient } from '../support/patience.ts';
import { randomFrom, testSeed } from '../support/random.ts';

const seed = testSeed();
console.info(`scrubs of damaged copies: TEST_SEED=${seed}`);
beforeAll(async () => {
  await loadChecksums();
  await loadCompression();
  await loadCompressors();
});

const text = new TextEncoder();
const TOP = 'changed here';

const kinds: readonly (FormattedOptions & { readonly name: string })[] = [
  { name: 'two replicas', members: 2, options: { data_replicas: '2', metadata_replicas: '2' } },
  { name: 'three replicas', members: 3, options: { data_replicas: '3', metadata_replicas: '3' } },
  {
    name: 'two of three',
    members: 3,
    options: { data_replicas: '2', metadata_replicas: '2', data_checksum: 'xxhash' },
  },
  { name: 'compressed', members: 2, options: { data_replicas: '2', metadata_replicas: '2', compression: 'lz4' } },
  {
    name: 'encrypted',
    members: 2,
    isEncrypted: true,
    options: { data_replicas: '2', metadata_replicas: '2', compression: 'zstd' },
  },
];

describe(`copies damaged at random (seed ${seed})`, () => {
  test.each(kinds)('$name', { timeout: patient(120_000) }, ({ name, ...format }) => {
    for (let round = 0; round < sized(1, 1, 10); round++) {
      const random = randomFrom(seed + round);
      const { devices, key } = formattedImage(format);
      const { writer, options } = writerOn(devices, key, seed);
      const model = new FileModel(random);
      for (let i = 0; i < 3; i++) {
        const edit = new FileEdit(writer, options);
        const top =
          edit.files.lookup(edit.files.root(), text.encode(TOP)) ??
          edit.files.create(edit.files.root(), text.encode(TOP), { mode: 0o040755 });
        for (let step = 0; step < 40; step++) model.step(edit, top);
        edit.commit();
      }
      const expected = model.text();
      const before = openOn(devices, key);
      // Later its nodes may have been written over.
      const lengths = dataCopies(before).map(({ length }) => length);
      // What the model has drawn may have little data; nodes there always are.
      const bad = [...chooseCopies(dataCopies(before), random, 30), ...chooseCopies(nodeCopies(before), random, 60)];
      expect(bad.some(({ isNode }) => isNode)).toBe(true);
      for (const copy of bad) spoil(devices, copy, random);

      const look = (repair: boolean) => {
        const findings: ScrubFinding[] = [];
        const report = scrub(openOn(devices, key), {
          onFinding: finding => findings.push(finding),
          copiesMax: 50,
          keysPerCommit: 40,
          ...(repair
            ? { repair: { writer: () => writerOn(devices, key, seed + 1).writer, now: () => 1_800_000_000n } }
            : {}),
        });
        return { findings, report };
      };
      const places = (findings: readonly ScrubFinding[]) =>
        new Set(
          findings.map(
            finding =>
              `${finding.kind === 'copy' ? finding.damage.where.device : ''} ${finding.kind === 'copy' ? finding.damage.where.sector : ''}`,
          ),
        );
      const looked = look(false);
      expect(looked.report).toMatchObject({ corrected: 0, uncorrected: 0, lost: 0, refused: undefined });
      expect(places(looked.findings)).toEqual(new Set(bad.map(({ dev, offset }) => `dev${dev} ${offset / 512}`)));

      const repaired = look(true);
      expect(repaired.report).toMatchObject({ correctable: 0, uncorrected: 0, lost: 0, refused: undefined });
      expect(repaired.report.corrected).toBe(looked.report.correctable);
      const filesystem = openOn(devices, key);
      expect(checkInvariants(filesystem).findings.map(findingText)).toEqual([]);
      expect(treeText(filesystem, TOP)).toEqual(expected);
      const again = look(true);
      expect(again.findings).toEqual([]);
      expect(again.report).toMatchObject({ corrected: 0, correctable: 0, uncorrected: 0, lost: 0, missing: 0 });
      // Each copy that is left is good by itself.
      for (const copies of [...dataCopies(filesystem), ...nodeCopies(filesystem)])
        expect(new Set(copies.map(({ dev }) => dev)).size, copies[0]?.of).toBe(copies.length);
      const replicas = dataCopies(filesystem).map(({ length }) => length);
      expect(replicas).toEqual(lengths);
      console.info(`${name}: ${bad.length} places damaged, ${repaired.report.corrected} copies corrected`);
    }
  });
});
