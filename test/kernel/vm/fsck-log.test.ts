// The logs of the reference images' own checks, which a real kernel wrote: which of them have complaints, and which.

import { describe, expect, test } from 'vitest';
import { fixture, fixtureNames, fixturesDir } from '../../support/fixtures.ts';
import { complaintsIn, type FsckReport, readFsckLog } from './fsck-log.ts';

test('harmless lines, a repaired and an unrepaired complaint, one nobody has met before', () => {
  const report = readFsckLog(
    [
      'bcachefs (vda): starting version 1.13: inode_has_child_snapshots opts=ro,fsck,fix_errors=no',
      'bcachefs (vda): recovering from clean shutdown, journal seq 40',
      'bcachefs (vda): check_inodes... done',
      'bcachefs (vda): check_dirents...',
      'dirent points to missing inode:',
      '  u64s 7 type dirent 1:2:U32_MAX len 0 ver 0: f1 -> 5 type reg, not fixing',
      'inode 5 has wrong backpointer:',
      'got       0:7',
      'should be 1:7, fixing',
      ' done',
      'bcachefs (vda): something new happened',
      'and it has a second line',
      'bcachefs (vda): shutdown complete, journal seq 42',
    ],
    { mounted: true },
  );
  expect(report.passes).toEqual(['check_inodes', 'check_dirents']);
  expect(report.clean).toBe(false);
  expect(report.complaints).toEqual([
    {
      pass: 'check_dirents',
      fixed: false,
      text: 'dirent points to missing inode:\n  u64s 7 type dirent 1:2:U32_MAX len 0 ver 0: f1 -> 5 type reg, not fixing',
    },
    {
      pass: 'check_dirents',
      fixed: true,
      text: 'inode 5 has wrong backpointer:\ngot       0:7\nshould be 1:7, fixing',
    },
    { fixed: false, text: 'something new happened\nand it has a second line' },
  ]);
});

test('lines that a caller allows are no complaints', () => {
  const log = ['bcachefs (vda): journal checksum error, type crc32c: got 1 should be 2'];
  expect(complaintsIn(log)).toHaveLength(1);
  expect(complaintsIn(log, [/^journal checksum error/])).toEqual([]);
});

/** Damage that a check of the structures does not see, or does not mind. */
const CLEAN_DESPITE_DAMAGE = ['dmg-data-csum', 'sb-backup-bitflip'];

describe.skipIf(!fixturesDir())('logs of the reference images', () => {
  const checked = fixtureNames().filter(name => fixture(name).json.kernel_fsck);

  test.each(checked)('%s', name => {
    const { mounted, log } = fixture(name).json.kernel_fsck!;
    const report: FsckReport = readFsckLog(log.split('\n'), { mounted });
    const damaged = /^(dmg|sb)-|-torn$|-orphan$/.test(name) && !CLEAN_DESPITE_DAMAGE.includes(name);
    expect({ clean: report.clean, complaints: damaged ? 'some' : report.complaints }).toEqual({
      clean: !damaged,
      complaints: damaged ? 'some' : [],
    });
    expect(report.error === undefined).toBe(mounted);
  });
});
