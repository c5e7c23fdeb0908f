// Damaged ext4 images: refused with an error of ours and not one byte changed, or migrated with every file as ext4's reader has it.

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  CorruptError,
  DeviceError,
  IncompatibleError,
  InputError,
  loadChecksums,
  MemoryDevice,
  NoSpaceError,
  seededRandom,
  UsageError,
} from '@bcachefs-ts/core/engine';
import { openExt4 } from '@bcachefs-ts/ext4';
import { migrateSteps, migrationState, NotEqualError, planMigration } from '@bcachefs-ts/migrate';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { hasE2fsprogs, makeExt4, makeSmallTree, usedBlocks } from '../support/ext4-images.ts';
import { sized } from '../support/long.ts';
import { patient } from '../support/patience.ts';
import { randomFrom, testSeed } from '../support/random.ts';

const MIB = 2 ** 20;
const OURS = [UsageError, InputError, IncompatibleError, CorruptError, DeviceError, NoSpaceError, NotEqualError];

describe.skipIf(!hasE2fsprogs)('damaged sources', () => {
  const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-migrate-hostile-'));
  const seed = testSeed();
  /** With and without checksums: without, damage is found by what contradicts it only. */
  const images = ['', '^metadata_csum'].map((features, i) => ({ features, path: join(folder, `${i}.img`) }));
  beforeAll(async () => {
    await loadChecksums();
    makeSmallTree(join(folder, 'tree'), 1);
    for (const { features, path } of images) {
      const words = ['-t', 'ext4', '-b', '4096', ...(features === '' ? [] : ['-O', features])];
      makeExt4(path, join(folder, 'tree'), { name: 'hostile', words, sizeBytes: 72 * MIB });
    }
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  test.each(images)(
    `mutants of one with features "$features" (TEST_SEED=${seed})`,
    { timeout: patient(300_000) },
    ({ path }) => {
      const random = randomFrom(seed);
      const bytes = readFileSync(path);
      const original = new MemoryDevice(bytes.length, { name: 'disk.img' });
      for (let at = 0; at < bytes.length; at += 65536) {
        const piece = bytes.subarray(at, at + 65536);
        if (piece.some(byte => byte !== 0)) original.write(at, piece);
      }
      const { blockBytes, isFree } = usedBlocks(path);
      const used = Array.from({ length: bytes.length / blockBytes }, (_, block) => block).filter(
        block => !isFree(block),
      );
      // Where something is: most of what ext4 uses is zeroes, and an inode that is not in use may hold anything.
      const bytesInUse: number[] = [];
      for (let at = 1024; at < 80 * blockBytes; at++) if (bytes[at] !== 0) bytesInUse.push(at);
      const seen = { refused: 0, migrated: 0 };
      for (let round = 0; round < sized(15, 60, 1000); round++) {
        const mutant = original.clone();
        // The first is the same each time: ext4's magic is another one.
        if (round === 0) mutant.write(1024 + 0x38, Uint8Array.of(0x54));
        else
          for (let hits = 1 + random.below(3); hits > 0; hits--) {
            const block = used[random.below(used.length)]!;
            const elsewhere = block * blockBytes + random.below(blockBytes);
            const at = random.below(4) === 0 ? Math.max(1024, elsewhere) : bytesInUse[random.below(bytesInUse.length)]!;
            mutant.write(at, Uint8Array.of(random.below(256)));
          }
        const device = mutant.clone();
        try {
          const ext4 = openExt4(device);
          const plan = planMigration(device, ext4, ext4.usage(), {
            options: new Map([['data_checksum', 0]]),
            nowNs: 0n,
            random: seededRandom('hostile'),
            accepts: { casefold: true, verity: true, largeXattrs: true },
          });
          const steps = migrateSteps(device, ext4, plan, {
            random: seededRandom('hostile'),
            nowNs: 0n,
            verifiesData: true,
            dropsLargeXattrs: true,
          });
          while (!steps.next().done);
          seen.migrated++;
          expect(migrationState(device).kind).toBe('migrated');
        } catch (thrown) {
          if (!OURS.some(kind => thrown instanceof kind)) throw thrown;
          seen.refused++;
          // Nothing counts, and what ext4 uses is as it was.
          expect(migrationState(device).kind).not.toBe('migrated');
          const now = new Uint8Array(blockBytes);
          const then = new Uint8Array(blockBytes);
          for (const block of used) {
            mutant.read(block * blockBytes, now);
            device.read(block * blockBytes, then);
            expect(Buffer.compare(now, then)).toBe(0);
          }
        }
      }
      console.info(`mutants: ${JSON.stringify(seen)}`);
      expect(seen.refused).toBeGreaterThan(0);
    },
  );
});
