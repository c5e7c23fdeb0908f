import { describe, expect, test } from 'vitest';
import { getBits, withBits } from './bits.ts';
import { type SbBitsName, sbBits } from './sb-bits.ts';
import { fixedOnRead } from './sb-fixups.ts';
import { versionOf } from './versions.ts';

const zeroes = [0n, 0n, 0n, 0n, 0n, 0n, 0n];

function sbOf(version: number, set: Partial<Record<SbBitsName, number>> = {}, devices = 1) {
  let flags: readonly bigint[] = zeroes;
  for (const [name, value] of Object.entries(set)) flags = withBits(flags, sbBits[name as SbBitsName], value);
  return { version, nr_devices: devices, flags };
}

const read = (sb: { flags: readonly bigint[] }, name: SbBitsName) => getBits(sb.flags, sbBits[name]);

describe('superblocks as 1.36 sees them', () => {
  test('zeroes become defaults', () => {
    const before = sbOf(versionOf('inode_has_child_snapshots'));
    const fixed = fixedOnRead(before);
    expect(read(fixed, 'JOURNAL_FLUSH_DELAY')).toBe(1000);
    expect(read(fixed, 'JOURNAL_RECLAIM_DELAY')).toBe(1000);
    expect(read(fixed, 'VERSION_UPGRADE_COMPLETE')).toBe(1037);
    expect(read(fixed, 'WRITE_ERROR_TIMEOUT')).toBe(30);
    expect(read(fixed, 'CSUM_ERR_RETRY_NR')).toBe(3);
    expect(read(fixed, 'ALLOCATOR_STUCK_TIMEOUT')).toBe(0);
    expect(read(fixed, 'PROMOTE_WHOLE_EXTENTS')).toBe(0);
    expect(before.flags).toEqual(zeroes);
  });

  test('filesystems up to 1.9 get two more', () => {
    const fixed = fixedOnRead(sbOf(versionOf('disk_accounting_v2')));
    expect(read(fixed, 'ALLOCATOR_STUCK_TIMEOUT')).toBe(30);
    expect(read(fixed, 'PROMOTE_WHOLE_EXTENTS')).toBe(1);
  });

  test('what is set stays', () => {
    const fixed = fixedOnRead(
      sbOf(versionOf('reconcile'), { JOURNAL_FLUSH_DELAY: 5, JOURNAL_RECLAIM_DELAY: 6, WRITE_ERROR_TIMEOUT: 7 }),
    );
    expect(read(fixed, 'JOURNAL_FLUSH_DELAY')).toBe(5);
    expect(read(fixed, 'JOURNAL_RECLAIM_DELAY')).toBe(6);
    expect(read(fixed, 'WRITE_ERROR_TIMEOUT')).toBe(7);
    expect(read(fixed, 'CSUM_ERR_RETRY_NR')).toBe(0);
  });

  test('what is allowed lies between what is in use and the version', () => {
    const tooHigh = sbOf(1037, { VERSION_INCOMPAT_ALLOWED: 1060 });
    expect(read(fixedOnRead(tooHigh), 'VERSION_INCOMPAT_ALLOWED')).toBe(1037);
    const tooLow = sbOf(1060, { VERSION_INCOMPAT_ALLOWED: 1040, VERSION_INCOMPAT: 1050 });
    expect(read(fixedOnRead(tooLow), 'VERSION_INCOMPAT_ALLOWED')).toBe(1050);
  });

  test('several devices are marked', () => {
    expect(read(fixedOnRead(sbOf(1037, {}, 2)), 'MULTI_DEVICE')).toBe(1);
    expect(read(fixedOnRead(sbOf(1037, {}, 1)), 'MULTI_DEVICE')).toBe(0);
  });
});

test('1.13 does less, 1.39 leaves defaults to opening', () => {
  const at113 = fixedOnRead(sbOf(1037, {}, 2), '1.13');
  expect(read(at113, 'JOURNAL_FLUSH_DELAY')).toBe(1000);
  expect(read(at113, 'WRITE_ERROR_TIMEOUT')).toBe(0);
  expect(read(at113, 'MULTI_DEVICE')).toBe(0);
  expect(fixedOnRead(sbOf(1063), '1.39').flags).toEqual(zeroes);
});
