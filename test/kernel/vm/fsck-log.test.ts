// The logs of the reference images' own checks, which a real kernel wrote: which of them have complaints, and which.

import { describe, expect, test } from 'vitest';
import { fixture, fixtureNames, fixturesDir } from '../../support/fixtures.ts';
import { complaintsIn, type FsckReport, readFsckLog, troubleIn } from './fsck-log.ts';

test('harmless lines, a repaired and an unrepaired complaint, one that was never met before', () => {
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

test('a background job that an unmount stopped is not a complaint, one that failed is', () => {
  const job = 'bcachefs (vda): bch2_evacuate_bucket(): error flushing btree write buffer';
  expect(complaintsIn([`${job} erofs_no_writes`])).toEqual([]);
  expect(complaintsIn(['bcachefs (vda): bch2_do_discards_fast_work(): error erofs_trans_commit'])).toEqual([]);
  expect(complaintsIn([`${job} EIO`])).toHaveLength(1);
});

test('lines that a caller allows are not complaints', () => {
  const log = ['bcachefs (vda): journal checksum error, type crc32c: got 1 should be 2'];
  expect(complaintsIn(log)).toHaveLength(1);
  expect(complaintsIn(log, [/^journal checksum error/])).toEqual([]);
});

/** As Linux 6.12 prints them when the machine is slow. */
const OTHERS = [
  'clocksource: timekeeping watchdog on CPU0: hpet wd-wd read-back delay of 268220us',
  'clocksource: wd-tsc-wd read-back delay of 115560us, clock-skew test skipped!',
  "clocksource: timekeeping watchdog on CPU0: Marking clocksource 'tsc' as unstable because the skew is too large:",
  "clocksource:                       'hpet' wd_nsec: 544327190 wd_now: 9bf9b2f wd_last: 951b86b mask: ffffffff",
  'tsc: Marking TSC unstable due to clocksource watchdog',
  "TSC found unstable after boot, most likely due to broken BIOS. Use 'tsc=unstable'.",
  'sched_clock: Marking unstable (18446744073, 1234)<-(18446744080, -5678)',
  'hrtimer: interrupt took 22311760 ns',
  'perf: interrupt took too long (2523 > 2500), lowering kernel.perf_event_max_sample_rate to 79000',
  'workqueue: btree_write_submit [bcachefs] hogged CPU for >10000us 4 times, consider switching to WQ_UNBOUND',
  'sched: DL replenish lagged too much',
  'random: crng init done',
  'python3 (1): drop_caches: 3',
];

const STALL = [
  'rcu: INFO: rcu_preempt self-detected stall on CPU',
  'rcu: \t0-....: (5249 ticks this GP) idle=5b1c/1/0x4000000000000000 softirq=10231/10231 fqs=2624',
  'rcu: \t(t=5250 jiffies g=5641 q=63 ncpus=1)',
  'CPU: 0 UID: 0 PID: 63 Comm: kworker/u4:3 Not tainted 6.12.95+deb12-cloud-amd64 #1  Debian 6.12.95-1~bpo12+1',
  'Hardware name: QEMU Standard PC (Q35 + ICH9, 2009), BIOS 1.16.2-debian-1.16.2-1 04/01/2014',
  'Workqueue: btree_update btree_interior_update_work [bcachefs]',
  'RIP: 0010:bch2_bkey_pack_pos_lossy+0x4b/0x340 [bcachefs]',
  'Code: 8b 04 25 28 00 00 00 48 89 44 24 40 31 c0',
  'RSP: 0018:ffffb2e6c01bf8f0 EFLAGS: 00000246',
  'RAX: 0000000000000000 RBX: ffff9a1e4326c000 RCX: 0000000000000003',
  'CR2: 00007f1ad4b1e000 CR3: 0000000002a5c000 CR4: 00000000000006f0',
  'Call Trace:',
  ' <IRQ>',
  ' ? rcu_dump_cpu_stacks+0xc4/0x100',
  ' </IRQ>',
  ' <TASK>',
  ' __bch2_btree_node_iter_set_pos+0x1a7/0x2c0 [bcachefs]',
  ' ret_from_fork_asm+0x1a/0x30',
  ' </TASK>',
];

const WARNING = [
  '------------[ cut here ]------------',
  'WARNING: CPU: 0 PID: 212 at fs/bcachefs/fs-io.c:120 bch2_i_sectors_acct+0x6b/0x90 [bcachefs]',
  'Modules linked in: bcachefs lz4hc_compress lz4_compress libcrc32c virtio_blk',
  'CPU: 0 UID: 0 PID: 212 Comm: python3 Not tainted 6.12.95+deb12-cloud-amd64 #1  Debian 6.12.95-1~bpo12+1',
  'RIP: 0010:bch2_i_sectors_acct+0x6b/0x90 [bcachefs]',
  'Call Trace:',
  ' <TASK>',
  ' bch2_truncate+0x1a7/0x2c0 [bcachefs]',
  ' </TASK>',
  '---[ end trace 0000000000000000 ]---',
];

const FINDING = [
  'inode 5 has wrong backpointer:',
  'got       0:7',
  'old: u64s 7 type dirent 1:2:U32_MAX len 0 ver 0: f1 -> 5 type reg',
  'should be 1:7, not fixing',
];

describe('what other parts of the kernel say', () => {
  test.each([...OTHERS, ...STALL.slice(0, 3)])('is not a complaint: %s', line => {
    expect(complaintsIn([line])).toEqual([]);
  });

  test('nor is where the machine was held up', () => {
    expect(complaintsIn(STALL)).toEqual([]);
    expect(
      complaintsIn(['watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [kworker/u4:3:63]', ...STALL.slice(3)]),
    ).toEqual([]);
    expect(troubleIn([...OTHERS, ...STALL])).toEqual([]);
  });

  test.each([1, 2, 3])('changes nothing between the lines of a finding, before line %d', at => {
    const others = [...OTHERS, ...STALL];
    const log = ['bcachefs (vda): check_dirents...', ...FINDING.slice(0, at), ...others, ...FINDING.slice(at), ' done'];
    const report = readFsckLog(log, { mounted: true });
    expect(report.complaints).toEqual([{ pass: 'check_dirents', fixed: false, text: FINDING.join('\n') }]);
    expect(report.passes).toEqual(['check_dirents']);
  });

  test('changes nothing between the name of a pass and its end', () => {
    const log = ['bcachefs (vda): check_dirents...', ...OTHERS, ' done', 'bcachefs (vda): check_xattrs... done'];
    expect(readFsckLog(log, { mounted: true })).toMatchObject({
      passes: ['check_dirents', 'check_xattrs'],
      clean: true,
    });
  });
});

describe('a machine that is slow', () => {
  const SLOW = 'btree trans held srcu lock (delaying memory reclaim) for 10 seconds';
  const [cut, , ...rest] = WARNING;
  const slow = [
    cut!,
    SLOW,
    'WARNING: CPU: 0 PID: 1 at fs/bcachefs/btree_iter.c:3028 bch2_trans_put+0x206/0x240',
    ...rest,
  ];

  test('is not broken, and what comes before and after counts', () => {
    expect(troubleIn(slow)).toEqual([]);
    expect(complaintsIn(slow)).toEqual([]);
    expect(complaintsIn([...slow, ...WARNING, ...slow]).map(({ text }) => text)).toEqual([WARNING.join('\n')]);
  });

  test('hides nothing where its trace has no end', () => {
    expect(troubleIn([...slow.slice(0, -1), 'Kernel panic - not syncing'])).toHaveLength(3);
  });
});

describe('a kernel that is broken', () => {
  test('complains, with all of its trace, whatever comes before', () => {
    const log = [
      'hrtimer: interrupt took 22311760 ns',
      ...STALL,
      ...WARNING,
      ...OTHERS,
      'bcachefs (vda): shutting down',
    ];
    expect(complaintsIn(log)).toEqual([{ fixed: false, text: WARNING.join('\n') }]);
    expect(troubleIn(log)).toEqual(WARNING.slice(0, 2));
  });

  test('ends the finding before it', () => {
    expect(complaintsIn([...FINDING.slice(0, 2), ...WARNING]).map(({ text }) => text)).toEqual([
      FINDING.slice(0, 2).join('\n'),
      WARNING.join('\n'),
    ]);
  });

  test.each([
    'BUG: kernel NULL pointer dereference, address: 0000000000000010',
    'kernel BUG at fs/bcachefs/btree_cache.c:120!',
    'Oops: Oops: 0000 [#1] PREEMPT SMP NOPTI',
    'int3: 0000 [#1] PREEMPT SMP NOPTI',
    'INFO: task bch-copygc/vdc:77 blocked for more than 120 seconds.',
    'general protection fault, probably for non-canonical address 0xdead000000000100',
  ])('%s', line => {
    expect(complaintsIn([line])).toHaveLength(1);
    expect(troubleIn([line])).toEqual([line]);
  });

  test.each([
    'I/O error, dev vdc, sector 2048 op 0x1:(WRITE) flags 0x800 phys_seg 1 prio class 2',
    '__bch2_print: 5 callbacks suppressed',
    'bch2_btree_node_read_done: 5 callbacks suppressed',
    '[kernel-vm: 12 lines left out]',
    ' bch2_truncate+0x1a7/0x2c0 [bcachefs]',
    'directory structure loop, not fixing',
  ])('other complaints stay: %s', line => {
    expect(complaintsIn([line])).toHaveLength(1);
  });
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

describe('buckets that are discarded while they are checked', () => {
  const alloc = (type: string, bucket = 123) => [
    `  u64s 13 type alloc_v4 0:${bucket}:0 len 0 ver 0: `,
    `  gen 1 oldest_gen 0 data_type ${type}`,
    '  need_discard      1',
    ', not fixing',
  ];
  const log = (...found: readonly string[]) => ['bcachefs (vdc): check_alloc_info...', ...found, ' done'];
  const end = 'bcachefs (vdc): done going read-only, filesystem not clean';
  const gone = 'incorrect key in need_discard btree (got deleted should be set)';
  const free = 'incorrect key in freespace btree (got set should be deleted)';

  test('are not complaints, nor is what follows from them', () => {
    const lines = [...log(gone, ...alloc('need_discard')), ...log(free, ...alloc('need_discard')), end];
    expect(readFsckLog(lines, { mounted: true })).toMatchObject({ clean: true, complaints: [] });
  });

  test('hide nothing else', () => {
    const others = [...log(gone, ...alloc('user')), end];
    expect(readFsckLog(others, { mounted: true }).complaints).toHaveLength(2);
    const two = [...log(gone, ...alloc('need_discard')), ...log(gone, ...alloc('need_discard', 124)), end];
    expect(readFsckLog(two, { mounted: true }).complaints).toHaveLength(3);
    const beside = [...log(gone, ...alloc('need_discard')), ...log('incorrect gen in bucket_gens btree'), end];
    expect(readFsckLog(beside, { mounted: true }).complaints.map(({ text }) => text)).toEqual([
      'incorrect gen in bucket_gens btree',
    ]);
    expect(readFsckLog([end], { mounted: true }).complaints).toHaveLength(1);
  });
});
