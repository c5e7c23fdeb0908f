// Damaged ext4 images: refused with an error of ours before one byte was written, or migrated with every file as debugfs has it.

import { createHash } from 'node:crypto';
import { chmodSync, lstatSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type BlockDevice,
  CorruptError,
  DeviceError,
  DeviceWrapper,
  type Filesystem,
  IncompatibleError,
  InputError,
  loadChecksums,
  NoSpaceError,
  seededRandom,
  UsageError,
} from '@bcachefs-ts/core/engine';
import { openExt4 } from '@bcachefs-ts/ext4';
import { lookAtTree, migrateSteps, migrationState, NotEqualError, planMigration } from '@bcachefs-ts/migrate';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openOn } from '../support/cut-states.ts';
import { e2, makeExt4, usedBlocks, whyNoE2fsprogs } from '../support/ext4.ts';
import { makeSmallTree } from '../support/ext4-trees.ts';
import { sized } from '../support/long.ts';
import { loadImage, saveImage } from '../support/memory-images.ts';
import { allOf } from '../support/migrations.ts';
import { patient } from '../support/patience.ts';
import { randomFrom, testSeed } from '../support/random.ts';
import { treeManifest } from '../support/tree-manifest.ts';

const OURS = [UsageError, InputError, IncompatibleError, CorruptError, DeviceError, NoSpaceError, NotEqualError];

class WrittenTo extends DeviceWrapper {
  writes = 0;

  override write(offset: number, bytes: Uint8Array): void {
    this.writes++;
    super.write(offset, bytes);
  }
}

function migrate(device: BlockDevice): void {
  const ext4 = openExt4(device);
  const usage = ext4.usage();
  allOf(lookAtTree(ext4));
  const plan = planMigration(device, ext4, usage, {
    options: new Map([['data_checksum', 0]]),
    nowNs: 0n,
    random: seededRandom('hostile'),
    accepts: { casefold: true, verity: true, largeXattrs: true },
  });
  allOf(
    migrateSteps(device, ext4, plan, {
      random: seededRandom('hostile'),
      nowNs: 0n,
      verifiesData: true,
      dropsLargeXattrs: true,
    }),
  );
}

const hashOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/** Regular files and links by what is in them; names and targets as their bytes. */
function filesOf(filesystem: Filesystem): Record<string, string> {
  const { entries, complaints } = treeManifest(filesystem, () => undefined);
  expect(complaints).toEqual([]);
  const latin = (text: string | undefined, base64: string | undefined) =>
    Buffer.from(text ?? base64 ?? '', text === undefined ? 'base64' : 'utf8').toString('latin1');
  return Object.fromEntries(
    entries.flatMap(({ type, sha256, target, target_b64, path, path_b64 }) => {
      const name = latin(path, path_b64);
      const what = type === 'reg' ? sha256 : type === 'lnk' ? `to ${latin(target, target_b64)}` : undefined;
      return what === undefined || name.startsWith('.migrated') ? [] : [[name, what]];
    }),
  );
}

/** The same by debugfs, which knows nothing of us. */
function dumped(image: string): Record<string, string> {
  const to = `${image}.files`;
  rmSync(to, { recursive: true, force: true });
  mkdirSync(to);
  e2('debugfs', ['-R', `rdump / ${to}`, image]);
  const found: Record<string, string> = {};
  const walk = (directory: Buffer) => {
    chmodSync(directory, 0o700);
    for (const entry of readdirSync(directory, { encoding: 'buffer' })) {
      const at = Buffer.concat([directory, Buffer.from('/'), entry]);
      const name = at.subarray(to.length + 1).toString('latin1');
      const stat = lstatSync(at);
      if (stat.isDirectory()) walk(at);
      else if (stat.isSymbolicLink()) found[name] = `to ${readlinkSync(at, 'buffer').toString('latin1')}`;
      else if (stat.isFile()) {
        chmodSync(at, 0o600);
        found[name] = hashOf(readFileSync(at));
      }
    }
  };
  walk(Buffer.from(to));
  return found;
}

describe.skipIf(whyNoE2fsprogs !== undefined)('damaged sources', () => {
  const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-migrate-hostile-'));
  const seed = testSeed();
  /** With and without checksums: without, damage is found by what contradicts it only. */
  const images = ['', '^metadata_csum'].map((features, i) => ({ features, path: join(folder, `${i}.img`) }));
  beforeAll(async () => {
    await loadChecksums();
    makeSmallTree(join(folder, 'tree'), 1);
    for (const { features, path } of images) {
      const words = ['-t', 'ext4', '-b', '4096', ...(features === '' ? [] : ['-O', features])];
      makeExt4(path, { size: '72M', words }, join(folder, 'tree'));
    }
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  test.each(images)(
    `mutants of one with features "$features" (TEST_SEED=${seed})`,
    { timeout: patient(300_000) },
    ({ path }) => {
      const random = randomFrom(seed);
      const bytes = readFileSync(path);
      const original = loadImage(path);
      const { blockBytes, isFree } = usedBlocks(path);
      const used = Array.from({ length: bytes.length / blockBytes }, (_, block) => block).filter(
        block => !isFree(block),
      );
      // Where something is: most of what ext4 uses is zeroes, and an inode that is not in use may hold anything.
      const bytesInUse: number[] = [];
      for (let at = 1024; at < 80 * blockBytes; at++) if (bytes[at] !== 0) bytesInUse.push(at);
      const seen = { refused: 0, migrated: 0 };
      for (let round = 0; round < sized(15, 20, 1000); round++) {
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
        const device = new WrittenTo(mutant.clone());
        try {
          migrate(device);
        } catch (thrown) {
          if (!OURS.some(kind => thrown instanceof kind)) throw thrown;
          seen.refused++;
          expect(device.writes, `${thrown}`).toBe(0);
          continue;
        }
        seen.migrated++;
        expect(migrationState(device).kind).toBe('migrated');
        const image = join(folder, 'mutant.img');
        saveImage(mutant, image);
        expect(filesOf(openOn([device]))).toEqual(dumped(image));
      }
      console.info(`mutants: ${JSON.stringify(seen)}`);
      expect(seen.refused).toBeGreaterThan(0);
    },
  );
});
