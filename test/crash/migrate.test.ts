// Power cuts at the writes of a migration, of its rollback and of its end: what is left is ext4 with all its files or bcachefs with all of them, by the
// readers of both, and what was begun can be completed or taken back.

import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type BlockDevice,
  checkInvariants,
  findingText,
  loadChecksums,
  type MemoryDevice,
} from '@bcachefs-ts/core/engine';
import { openExt4 } from '@bcachefs-ts/ext4';
import { LaidDevice, migrationState, planRollback } from '@bcachefs-ts/migrate';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openOn } from '../support/cut-states.ts';
import { makeExt4, whyNoE2fsprogs } from '../support/ext4.ts';
import { makeSmallTree } from '../support/ext4-trees.ts';
import { KnownReadings } from '../support/known-readings.ts';
import { isSoak, sized } from '../support/long.ts';
import { loadImage } from '../support/memory-images.ts';
import { allOf, finishIt, migrateIt, rollItBack } from '../support/migrations.ts';
import { patient } from '../support/patience.ts';
import { cutText, PowerCuts } from '../support/power-cuts.ts';
import { randomFrom, testSeed } from '../support/random.ts';
import { treeManifest } from '../support/tree-manifest.ts';

const seed = testSeed();

const hashOf = (value: unknown) => createHash('sha256').update(JSON.stringify(value)).digest('hex').slice(0, 16);

/** All that ext4 has, read as if it were not marked. */
function ext4Text(device: BlockDevice): string {
  const ext4 = openExt4(device);
  ext4.usage();
  const entries: unknown[] = [];
  for (const { path, inode } of ext4.tree()) {
    const bytes = new Uint8Array(inode.kind === 'file' ? inode.sizeBytes : 0);
    if (bytes.length > 0) ext4.read(inode, 0, bytes);
    entries.push([
      hashOf([...path]),
      inode.mode,
      inode.nlink,
      `${inode.mtimeNs}`,
      createHash('sha256').update(bytes).digest('hex'),
    ]);
  }
  return hashOf(entries);
}

/**
 * Findings of a filesystem of which the buckets of superblocks are marked and no copy is there yet, or any more; the first bucket is none of the
 * filesystem's then.
 */
const UNLISTED = [
  'alloc_key_to_missing_dev_bucket',
  'alloc_key_data_type_wrong',
  'alloc_key_dirty_sectors_wrong',
  'accounting_mismatch',
];

function bcachefsText(device: BlockDevice): string {
  const filesystem = openOn([device]);
  const { entries: all, complaints } = treeManifest(filesystem, () => undefined);
  // The file that owns what is ext4's has the marked sectors in it.
  const entries = all.filter(({ path = '' }) => !path.startsWith('.migrated'));
  const findings = checkInvariants(filesystem).findings.filter(({ error }) => !UNLISTED.includes(error));
  const wrong = [...complaints, ...findings.map(findingText)];
  return wrong.length > 0 ? `broken:\n${wrong.slice(0, 5).join('\n')}` : hashOf(entries);
}

/** @param isFinishing ext4 need not be whole any more */
function judge([device]: readonly BlockDevice[], isFinishing = false): string {
  try {
    const state = migrationState(device!);
    switch (state.kind) {
      case 'ext4':
        return `ext4 ${ext4Text(device!)}`;
      case 'interrupted': {
        // It mounts as it is, for reading.
        if (state.mark !== 'closing') return `ext4 is ${state.mark}`;
        return `ext4 marked ${ext4Text(device!)}`;
      }
      case 'migrated':
        if (!isFinishing) ext4Text(new LaidDevice(device!, state.original));
        return `migrated ${bcachefsText(device!)}`;
      case 'bcachefs':
        return `bcachefs ${bcachefsText(device!)}`;
      default:
        return state.kind;
    }
  } catch (thrown) {
    return `threw ${thrown}`;
  }
}

/** All but the soak take one of them, another one each time. */
const blockSizes = isSoak ? ['4096', '1024'] : [['4096', '1024'][Number(seed) % 2]!];

describe.skipIf(whyNoE2fsprogs !== undefined).each(blockSizes)('cut off (blocks of %s)', blockSize => {
  const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-migrate-cuts-'));
  let before: MemoryDevice;
  let migrated: MemoryDevice;
  let texts: { readonly ext4: string; readonly bcachefs: string };
  beforeAll(async () => {
    await loadChecksums();
    makeSmallTree(join(folder, 'tree'), 1);
    const image = join(folder, 'image');
    makeExt4(image, { size: '72M', words: ['-t', 'ext4', '-b', blockSize] }, join(folder, 'tree'));
    before = loadImage(image);
    migrated = before.clone();
    migrateIt(migrated);
    texts = { ext4: ext4Text(before), bcachefs: bcachefsText(migrated) };
  }, patient(60_000));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  /** @returns how often each verdict was met */
  function tryCuts(
    base: MemoryDevice,
    act: (device: BlockDevice) => void,
    allowed: readonly string[],
    redo: (device: BlockDevice) => string,
    isFinishing = false,
  ) {
    const cuts = new PowerCuts([base.clone()]);
    act(cuts.devices[0]!);
    const random = randomFrom(seed);
    const known = new KnownReadings(devices => judge(devices, isFinishing));
    const seen = new Map<string, number>();
    const wrong: string[] = [];
    const redone = new Map<string, string>();
    for (const cut of cuts.points(random, 1)) {
      const isNearEnd = cut.events >= cuts.count - 12;
      if (!isNearEnd && random.below(100) >= sized(8, 15, 100)) continue;
      const devices = cuts.after(cut);
      const verdict = known.of(devices);
      seen.set(verdict, (seen.get(verdict) ?? 0) + 1);
      if (!allowed.includes(verdict)) wrong.push(`${cutText(cut)} of ${cuts.count}: ${verdict}`);
      else if (!redone.has(verdict) || (isNearEnd && random.below(sized(3, 3, 1)) === 0))
        redone.set(`${cutText(cut)}: ${verdict}`, redo(devices[0]!));
    }
    expect(wrong.slice(0, 5)).toEqual([]);
    console.info(
      `blocks of ${blockSize}: ${cuts.count} events, ${known.runs} read, ${[...seen].map(each => each.join(': ')).join(', ')}`,
    );
    return { seen, redone: new Set(redone.values()) };
  }

  test(`migrating (TEST_SEED=${seed})`, { timeout: patient(300_000) }, () => {
    const [ext4, marked, both] = [`ext4 ${texts.ext4}`, `ext4 marked ${texts.ext4}`, `migrated ${texts.bcachefs}`];
    const { seen, redone } = tryCuts(before, migrateIt, [ext4, marked, both], device => {
      rollItBack(device);
      return judge([device]);
    });
    for (const verdict of [ext4, marked, both]) expect(seen.get(verdict) ?? 0).toBeGreaterThan(0);
    expect(redone).toEqual(new Set([ext4]));
  });

  test(`rolling back (TEST_SEED=${seed})`, { timeout: patient(300_000) }, () => {
    const [ext4, marked, both] = [`ext4 ${texts.ext4}`, `ext4 marked ${texts.ext4}`, `migrated ${texts.bcachefs}`];
    const state = migrationState(migrated);
    expect(state.kind === 'migrated' && allOf(planRollback(migrated, state)).lost).toBe(undefined);
    const { seen, redone } = tryCuts(migrated, rollItBack, [ext4, marked, both], device => {
      rollItBack(device);
      return judge([device]);
    });
    for (const verdict of [ext4, marked, both]) expect(seen.get(verdict) ?? 0).toBeGreaterThan(0);
    expect(redone).toEqual(new Set([ext4]));
  });

  test(`finishing (TEST_SEED=${seed})`, { timeout: patient(300_000) }, () => {
    const both = `migrated ${texts.bcachefs}`;
    const bcachefs = `bcachefs ${texts.bcachefs}`;
    const { seen, redone } = tryCuts(
      migrated,
      finishIt,
      [both, bcachefs],
      device => {
        const state = migrationState(device);
        if (state.kind === 'migrated' || (state.kind === 'bcachefs' && state.hasExt4Magic)) finishIt(device);
        const left = checkInvariants(openOn([device])).findings.map(findingText);
        return left.length > 0 ? left.join() : judge([device], true);
      },
      true,
    );
    for (const verdict of [both, bcachefs]) expect(seen.get(verdict) ?? 0).toBeGreaterThan(0);
    expect(redone).toEqual(new Set([bcachefs]));
  });
});
