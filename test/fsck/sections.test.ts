// fsck on an image whose superblocks are wrong in one section, in every copy: no other command opens it for writing.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DamageTarget, loadChecksums, sectionPayload, seededRandom, withSection } from '@bcachefs-ts/core/engine';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { editSuperblocks } from '../../packages/core/src/damage/superblock-damage.ts';
import { run } from '../support/cli.ts';
import { saveImage } from '../support/memory-images.ts';
import { smallTree } from '../support/recovered.ts';
import { hashFile } from '../support/sparse.ts';

const folder = mkdtempSync(join(tmpdir(), 'fsck-sections-'));
afterAll(() => rmSync(folder, { recursive: true }));
beforeAll(loadChecksums);

const hash = (path: string) => hashFile(path);

test('-p makes a torn first copy again, since the others agree', async () => {
  const image = join(folder, 'torn.img');
  const devices = smallTree();
  devices[0]!.write(8 * 512 + 100, new Uint8Array(16).fill(0xa5));
  saveImage(devices[0]!, image);
  const repaired = await run('fsck', ['-p', image]);
  expect(repaired.stdout).toContain('invalid_sb_csum');
  expect(repaired.exitCode, repaired.stdout + repaired.stderr).toBe(1);
  const again = await run('fsck', ['-f', '-n', image]);
  expect(again.exitCode, again.stdout + again.stderr).toBe(0);
});

describe('a section of superblocks', () => {
  test.each(['journal_v2', 'replicas_v0', 'members_v2'] as const)('%s', async name => {
    const image = join(folder, `${name}.img`);
    const devices = smallTree();
    const target = new DamageTarget(devices, { random: seededRandom(name), now: () => 0n });
    editSuperblocks(target, sb => {
      const payload = Uint8Array.from(sectionPayload(sb, name) ?? []);
      // A length of replicas, the high half of a number of buckets, and of where the journal is.
      payload[{ journal_v2: 4, replicas_v0: 1, members_v2: 8 + 21 }[name]] = 0xfe;
      return withSection(sb, name, payload);
    });
    saveImage(devices[0]!, image);
    const before = hash(image);
    const looked = await run('fsck', ['-n', image]);
    expect(looked.exitCode, looked.stdout + looked.stderr).toBe(4);
    expect(looked.stdout).toContain(name);
    expect(hash(image)).toBe(before);
    const repaired = await run('fsck', ['-y', `--quarantine=${image}.lost`, image]);
    expect(repaired.exitCode, repaired.stdout + repaired.stderr).toBe(1);
    const again = await run('fsck', ['-f', '-n', image]);
    expect(again.exitCode, again.stdout + again.stderr).toBe(0);
  });
});
