// What fsck makes of damage at random, and of a repair that was cut off, before a real kernel: its own check finds nothing left.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadChecksums, loadCompression, loadCompressors, type MemoryDevice } from '@bcachefs-ts/core/engine';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { isSoak, sized } from '../support/long.ts';
import { PASSPHRASE, saveImage } from '../support/memory-images.ts';
import { patient } from '../support/patience.ts';
import { cutText } from '../support/power-cuts.ts';
import { randomFrom, testSeed } from '../support/random.ts';
import { recovered, smallTree, tamper } from '../support/recovered.ts';
import { isSameEnd, repairedAfter, someRepairs } from '../support/repair-cuts.ts';
import { unsettledDamages } from '../support/unsettled.ts';
import { kernelFsckAll, unlockKey } from './vm/index.ts';
import { kernelSuite } from './vm/suite.ts';

const REPAIRED = sized(4, 6, 200);
const CUT = sized(3, 4, 50);
/** A machine has room for a hundred disks. */
const IMAGES_PER_BOOT = 48;

interface Sample {
  readonly name: string;
  readonly images: readonly string[];
  readonly key?: ReturnType<typeof unlockKey>;
}

/** What the kernel's check says of some images; nothing of those that it mounts without a complaint. */
async function complaintsAbout(samples: readonly Sample[]) {
  const wrong = [];
  for (let at = 0; at < samples.length; at += IMAGES_PER_BOOT) {
    const reports = await kernelFsckAll(samples.slice(at, at + IMAGES_PER_BOOT), 3000);
    for (const [name, { mounted, complaints }] of reports)
      if (!mounted || complaints.length > 0)
        wrong.push({ name, mounted, complaints: complaints.map(({ text }) => text) });
  }
  return wrong;
}

kernelSuite('damage at random', () => {
  const seed = testSeed();
  console.info(`damage at random for the kernel: TEST_SEED=${seed}`);
  const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-random-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  beforeAll(async () => {
    await loadChecksums();
    await loadCompression();
    await loadCompressors();
  });

  function saved(
    name: string,
    devices: readonly MemoryDevice[],
    masterKey: Uint8Array | undefined,
    nr: number,
  ): Sample {
    const images = devices.map((_, member) => join(folder, `${nr}.${member}.img`));
    for (const [member, device] of devices.entries()) saveImage(device, images[member]!);
    return { name, images, ...(masterKey === undefined ? {} : { key: unlockKey(images[0]!, PASSPHRASE) }) };
  }

  test('the kernel finds nothing left of it', { timeout: patient(sized(300_000, 600_000, 7_200_000)) }, async () => {
    const random = randomFrom(seed);
    const samples: Sample[] = [];
    for (const recorded of someRepairs(random, REPAIRED, { isUnnoticedToo: isSoak })) {
      const { cuts, key, name } = recorded;
      samples.push(saved(name, cuts.after({ events: cuts.count }), key, samples.length));
    }
    const wrong: string[] = [];
    for (const recorded of someRepairs(random, CUT)) {
      const cut = random.pick([...recorded.cuts.points(random)]);
      const { devices, end } = repairedAfter(recorded, cut);
      const name = `${recorded.name}, ${cutText(cut)}`;
      if (!isSameEnd(recorded, end)) wrong.push(`${name}: ${end}, expected ${recorded.end}`);
      samples.push(saved(name, devices, recorded.key, samples.length));
    }
    // What one repair had not been enough for.
    for (const { what, alter } of unsettledDamages) {
      const devices = smallTree({ hasSubvolumes: true });
      tamper(devices, alter);
      recovered(devices);
      samples.push(saved(what, devices, undefined, samples.length));
    }
    expect(wrong).toEqual([]);
    expect(await complaintsAbout(samples)).toEqual([]);
  });
});
