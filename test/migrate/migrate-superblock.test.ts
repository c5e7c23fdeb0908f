// Filesystems that the reference's migrate has made get their superblocks at the usual places: whatever is there is moved, and a power cut leaves a
// filesystem that is found by the old superblock or by the new one.

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type BlockDevice,
  checkInvariants,
  findingText,
  loadChecksums,
  type MemoryDevice,
  openFilesystem,
  readBytes,
  seededRandom,
} from '@bcachefs-ts/core/engine';
import { findBySector, usualPlacesSteps } from '@bcachefs-ts/migrate';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { run, succeed } from '../support/cli.ts';
import { openOn } from '../support/cut-states.ts';
import { KnownReadings } from '../support/known-readings.ts';
import { sized } from '../support/long.ts';
import { saveImage } from '../support/memory-images.ts';
import { allOf } from '../support/migrations.ts';
import { patient } from '../support/patience.ts';
import { cutText, PowerCuts } from '../support/power-cuts.ts';
import { randomFrom, testSeed } from '../support/random.ts';
import { validator } from '../support/schemas.ts';
import { contentOf, THEIR_SECTOR, theirFiles, theirMigrated } from '../support/theirs-migrated.ts';
import { treeManifest } from '../support/tree-manifest.ts';

const seed = testSeed();

describe('migrate-superblock', () => {
  const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-migrate-superblock-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  const image = join(folder, 'theirs.img');
  let theirs: MemoryDevice;
  beforeAll(async () => {
    await loadChecksums();
    theirs = theirMigrated();
  });
  beforeEach(() => saveImage(theirs, image));
  const words = ['-d', image, '-o', `${THEIR_SECTOR}`];

  test('every file is there afterwards, and nothing else', { timeout: patient(60_000) }, async () => {
    const before = readFileSync(image);
    await succeed('migrate-superblock', ['-n', ...words]);
    expect(Buffer.compare(readFileSync(image), before), 'a dry run writes nothing').toBe(0);
    const undo = join(folder, 'undo');
    const done = JSON.parse(await succeed('migrate-superblock', ['--json', `--undo_file=${undo}`, ...words]));
    expect(validator('migrate')(done)).toEqual([]);
    expect(done.result.moved).toBeGreaterThan(300_000);
    await succeed('fsck', ['-n', image]);
    for (const name of theirFiles) {
      const file = join(folder, 'file');
      await succeed('get', [image, name, file]);
      expect(Buffer.compare(readFileSync(file), contentOf(name)), name).toBe(0);
      rmSync(file);
    }
    const filesystem = openFilesystem([image]);
    expect(filesystem.sb.layout.sb_offset.slice(0, 2)).toEqual([8n, 2056n]);
    filesystem.close();
    expect(readFileSync(image).readUInt16LE(1024 + 0x38)).toBe(0);
    const again = await run('migrate-superblock', words);
    expect(again.exitCode).not.toBe(0);
    await succeed('undo', [undo, image]);
    expect(Buffer.compare(readFileSync(image), before)).toBe(0);
  });

  test.each([
    ['9', /sector 9|superblock/],
    ['99999999999', /ends in front of sector 99999999999/],
    [`${THEIR_SECTOR + 8}`, /superblock/],
  ])('no superblock at sector %s: not a byte changes', async (offset, message) => {
    const before = readFileSync(image);
    const { exitCode, stderr } = await run('migrate-superblock', ['-d', image, '-o', offset]);
    expect(exitCode).not.toBe(0);
    expect(stderr).toMatch(message);
    expect(Buffer.compare(readFileSync(image), before)).toBe(0);
  });

  test(`cut off anywhere (TEST_SEED=${seed})`, { timeout: patient(200_000) }, () => {
    const convert = (device: BlockDevice) =>
      allOf(
        usualPlacesSteps(findBySector(device, THEIR_SECTOR), THEIR_SECTOR, {
          random: seededRandom('usual'),
          now: () => 1_700_000_000n,
        }),
      );
    const filesOf = (device: BlockDevice) => {
      const { entries, complaints } = treeManifest(openOn([device]), () => undefined);
      return JSON.stringify([complaints, entries.filter(({ path }) => theirFiles.includes(path ?? ''))]);
    };
    const expected = filesOf(findBySector(theirs, THEIR_SECTOR).device);
    const known = new KnownReadings(([device]) => {
      try {
        return filesOf(findBySector(device!, THEIR_SECTOR).device);
      } catch {
        // The old one is gone: the new one is there.
        return filesOf(device!);
      }
    });
    const cuts = new PowerCuts([theirs.clone()]);
    convert(cuts.devices[0]!);
    const random = randomFrom(seed);
    const wrong: string[] = [];
    for (const cut of cuts.points(random, 1)) {
      if (cut.events < cuts.count - 12 && random.below(100) >= sized(2, 8, 100)) continue;
      const [device] = cuts.after(cut) as [MemoryDevice];
      if (known.of([device]) !== expected) wrong.push(`${cutText(cut)}: other files`);
      if (random.below(sized(8, 6, 1)) > 0) continue;
      try {
        convert(device);
      } catch (thrown) {
        // It was done.
        if (!/superblock/.test(`${thrown}`)) wrong.push(`${cutText(cut)}: ${thrown}`);
      }
      const filesystem = openOn([device]);
      const findings = checkInvariants(filesystem).findings.map(findingText);
      if (findings.length > 0 || filesystem.sb.layout.sb_offset[0] !== 8n || filesOf(device) !== expected)
        wrong.push(`${cutText(cut)}: not completed ${findings.slice(0, 2).join()}`);
      const magic = readBytes(device, 1024 + 0x38, 2);
      if (magic.some(byte => byte !== 0)) wrong.push(`${cutText(cut)}: the old magic is left`);
    }
    expect(wrong.slice(0, 5)).toEqual([]);
    console.info(`migrate-superblock: ${cuts.count} events, ${known.runs} read`);
  });
});
