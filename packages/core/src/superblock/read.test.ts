import { describe, expect, test } from 'vitest';
import { cpuMs, patient } from '../../../../test/support/patience.ts';
import { MemoryDevice } from '../device/memory-device.ts';
import { CorruptError } from '../ondisk/errors.ts';
import { uuid, viewOf } from '../ondisk/layout.ts';
import { BCHFS_MAGIC, BchSb } from '../ondisk/superblock.ts';
import { readSuperblock, scanForSuperblocks } from './read.ts';

const MIB = 2 ** 20;

describe('a device with a magic in every sector, each claiming to be as long as possible', () => {
  const contents = new Uint8Array(64 * MIB);
  const view = viewOf(contents);
  const magicAt = BchSb.offset.magic;
  for (let at = 0; at + 512 <= contents.length; at += 512) {
    uuid.put(view, at + magicAt, BCHFS_MAGIC);
    view.setUint32(at + BchSb.offset.u64s, 4 * MIB - 94, true);
    contents[at + BchSb.offset.layout + 17] = 16; // sb_max_size_bits of a struct that begins here
  }
  const device = MemoryDevice.from(contents);

  test('is given up on soon', { timeout: patient(20_000) }, () => {
    const started = cpuMs();
    expect(scanForSuperblocks(device)).toEqual([]);
    expect(() => readSuperblock(device)).toThrow(CorruptError);
    expect(cpuMs() - started).toBeLessThan(5000);
  });
});
