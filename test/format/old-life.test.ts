// Formatting again with the same seed: the device may hold journal entries, nodes and bsets of an earlier life under the same UUIDs, whatever
// was made on it in between. None of them may be taken for the new filesystem's, and the same seed gives the same bytes.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  btreeNodeMagic,
  loadChecksums,
  loadCompression,
  MemoryDevice,
  openDevice,
  openMembers,
  readBytes,
  readJournal,
} from '@bcachefs-ts/core/engine';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { succeed } from '../support/cli.ts';
import { formatAnew, liveOn, nodePlaces } from '../support/old-life.ts';

const MIB = 2 ** 20;

beforeAll(async () => {
  await loadChecksums();
  await loadCompression();
});

/** Heads of nodes that bear the device's own magic, by sector. */
function nodesFound(device: MemoryDevice): number[] {
  const { sb } = openMembers([device]).newest;
  const magic = btreeNodeMagic(sb.uuid);
  const found: number[] = [];
  for (let at = 0; at + 4096 <= device.sizeBytes; at += 4096) {
    if (Buffer.from(readBytes(device, at, 24)).readBigUInt64LE(16) === magic) found.push(at);
  }
  return found;
}

describe('formatting again with the same seed', () => {
  const device = new MemoryDevice(64 * MIB, { name: 'disk' });
  const fresh = new MemoryDevice(64 * MIB, { name: 'disk' });
  beforeAll(() => {
    formatAnew(device, 'ci');
    liveOn(device);
    formatAnew(device, 'other');
    formatAnew(device, 'ci');
    formatAnew(fresh, 'ci');
  });

  test('the journal holds one entry', () => {
    expect(readJournal(openMembers([device])).entries.map(({ seq }) => seq)).toEqual([1]);
  });

  test('no node is found but its own', () => {
    expect(nodesFound(device)).toEqual(nodePlaces(device).map(({ offset }) => offset));
  });

  test('no bset lies past the end of a node', () => {
    const places = nodePlaces(device);
    expect(places.length).toBeGreaterThan(5);
    for (const { offset, length, seq } of places) {
      const node = Buffer.from(readBytes(device, offset, length));
      for (let at = 4096; at < length; at += 4096) expect(node.readBigUInt64LE(at + 16)).not.toBe(seq);
    }
  });

  test('the same bytes as on an empty device, wherever that was written to', () => {
    for (const { offset, length } of fresh.writtenRanges()) {
      for (let at = offset; at < offset + length; at += 4096) {
        // Between superblock and journal, what is never read stays.
        const wanted = readBytes(fresh, at, 4096);
        if (wanted.some(byte => byte !== 0))
          expect(Buffer.compare(readBytes(device, at, 4096), wanted), `${at}`).toBe(0);
      }
    }
    expect(nodesFound(fresh)).toEqual(nodesFound(device));
  });
});

const reason = (() => {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return 'no root on Linux';
  try {
    execFileSync('losetup', ['--find'], { stdio: 'ignore' });
    return undefined;
  } catch {
    return 'no free loop device';
  }
})();
if (reason !== undefined) console.warn(`formatting a loop device again is skipped: ${reason}`);

describe.runIf(reason === undefined)('on a disk', () => {
  const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-old-life-'));
  const undo: (() => void)[] = [() => rmSync(folder, { recursive: true, force: true })];
  afterAll(() => {
    for (const one of undo.toReversed()) one();
  });

  test('as in the report: six commits, another filesystem, and the seed again', async () => {
    const image = join(folder, 'disk');
    writeFileSync(image, '');
    truncateSync(image, 128 * MIB);
    const loop = execFileSync('losetup', ['--find', '--show', image], { encoding: 'utf8' }).trim();
    undo.push(() => execFileSync('losetup', ['--detach', loop]));
    const env = { SOURCE_DATE_EPOCH: '0' };
    await succeed('format', ['--quiet', '--seed=ci', loop], { env });
    for (let nr = 1; nr <= 6; nr++) await succeed('mkdir', ['--quiet', loop, `old${nr}`], { env });
    await succeed('format', ['--force', '--quiet', '--seed=other', loop], { env });
    await succeed('format', ['--force', '--quiet', '--seed=ci', loop], { env });
    // At once, over the same UUID, too.
    await succeed('mkdir', ['--quiet', loop, 'new'], { env });
    await succeed('format', ['--force', '--quiet', '--seed=ci', loop], { env });
    const device = openDevice(loop, { write: false });
    expect(readJournal(openMembers([device])).entries.length).toBe(1);
    device.close();
    await succeed('mkdir', ['--quiet', loop, 'new'], { env });
    expect(await succeed('ls', [loop])).not.toContain('old');
  });
});
