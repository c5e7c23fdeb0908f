// Parsers over literal texts, and machines described as a list of files.

import { describe, expect, it } from 'vitest';
import { assertNotInUse, assertNotMounted, deviceUsers, deviceUserText } from './device-users.ts';
import {
  blockFacts,
  deviceNumber,
  type Identity,
  type LinuxSystem,
  parseLocks,
  parseMountinfo,
  parseSwaps,
  systemOn,
} from './linux-system.ts';

describe('on other systems', () => {
  it.each(['win32', 'darwin'] as const)('%s: nothing is read from /proc or /sys', platform => {
    const system = systemOn(platform);
    expect(system.text('/proc/self/mountinfo')).toBeUndefined();
    expect(system.names('/sys/block')).toEqual([]);
    expect(system.names('/')).toEqual([]);
    expect(deviceUsers(process.execPath, system)).toEqual([]);
    expect(blockFacts(system, '8:0').sizeBytes).toBeUndefined();
  });
});

describe('parseMountinfo', () => {
  it('reads device, place, type and source; optional fields or none; escaped names', () => {
    expect(
      parseMountinfo(
        [
          '27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard',
          '36 35 98:0 /mnt1 /mnt/my\\040disk\\134x rw,noatime master:1 shared:7 - xfs /dev/root rw,errors=continue',
          '60 27 0:52 / /data rw,relatime shared:30 - bcachefs /dev/sdb:/dev/sdc1 rw',
          '61 27 0:53 / /none rw - tmpfs  rw',
          'nonsense',
          '',
        ].join('\n'),
      ),
    ).toEqual([
      { device: '254:0', mountPoint: '/', fsType: 'ext4', source: '/dev/vda' },
      { device: '98:0', mountPoint: '/mnt/my disk\\x', fsType: 'xfs', source: '/dev/root' },
      { device: '0:52', mountPoint: '/data', fsType: 'bcachefs', source: '/dev/sdb:/dev/sdc1' },
      { device: '0:53', mountPoint: '/none', fsType: 'tmpfs', source: '' },
    ]);
  });
});

it('parseSwaps leaves out the heading', () => {
  expect(
    parseSwaps(
      'Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n/dev/sda2                               partition\t8\t0\t-2\n/my\\040swap file 8 0 -3\n',
    ),
  ).toEqual(['/dev/sda2', '/my swap']);
});

it('parseLocks reads who locks what', () => {
  expect(
    parseLocks(
      [
        '1: POSIX  ADVISORY  WRITE 3568 fd:00:2531452 0 EOF',
        '2: OFDLCK ADVISORY  READ  -1 08:11:77 100 101',
        '2: -> FLOCK  ADVISORY  WRITE 99 08:11:77 0 EOF',
        '3: LEASE  ACTIVE    READ  5 <none>:0 0 EOF',
      ].join('\n'),
    ),
  ).toEqual([
    { kind: 'POSIX', pid: 3568, file: '253:0:2531452' },
    { kind: 'OFDLCK', pid: undefined, file: '8:17:77' },
    { kind: 'FLOCK', pid: 99, file: '8:17:77' },
  ]);
});

it('deviceNumber takes both halves of major and minor together', () => {
  // The expected numbers are glibc's.
  expect(deviceNumber(0x0801n)).toBe('8:1');
  expect(deviceNumber(0x1234_5801n)).toBe('1112:74497');
  expect(deviceNumber(0x1_0000_0000_0801n)).toBe('65544:1');
});

/**
 * A machine with a disk sda of two partitions: sda1 is mounted, sda2 carries LVM (dm-0, mounted on /home). sdb is one of two devices of
 * a mounted bcachefs. disk.img is attached to loop0, whose filesystem is mounted. swap.img is swapped to. vm.img is locked by a virtual
 * machine, fuse.img is mounted through FUSE, idle.img and sdc are free. sdd has a filesystem over the whole disk, and a stale partition.
 */
const files: Record<string, string> = {
  '/proc/self/mountinfo': [
    '27 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw',
    '28 27 253:0 / /home rw,relatime - xfs /dev/mapper/vg-home rw',
    '29 27 0:52 / /data rw,relatime - bcachefs /dev/sdb:/dev/sde rw',
    '30 27 7:0 / /mnt/loop rw,relatime - vfat /dev/loop0 rw',
    '31 27 0:60 / /mnt/fuse rw - fuse.fuse2fs /images/fuse.img rw',
    '32 27 8:48 / /whole rw - ext4 /dev/sdd rw',
    '33 27 0:61 / /tmp rw - tmpfs tmpfs rw',
  ].join('\n'),
  '/proc/swaps': 'Filename Type Size Used Priority\n/images/swap.img file 8 0 -2\n',
  '/proc/locks': '1: OFDLCK ADVISORY  READ  -1 08:01:13 100 101\n2: FLOCK  ADVISORY  WRITE 9 08:01:10 0 EOF\n',
  '/sys/block/loop0/loop/backing_file': '/images/disk.img\n',
  '/sys/block/loop0/dev': '7:0\n',
  '/sys/block/loop1/dev': '7:1\n',
  '/sys/dev/block/7:0/uevent': 'MAJOR=7\nMINOR=0\nDEVNAME=loop0\nDEVTYPE=disk\n',
  '/sys/dev/block/8:0/uevent': 'DEVNAME=sda\n',
  '/sys/dev/block/8:0/size': '1953525168\n',
  '/sys/dev/block/8:0/queue/logical_block_size': '512\n',
  '/sys/dev/block/8:0/queue/physical_block_size': '4096\n',
  '/sys/dev/block/8:0/queue/rotational': '1\n',
  '/sys/dev/block/8:0/sda1/partition': '1\n',
  '/sys/dev/block/8:0/sda1/dev': '8:1\n',
  '/sys/dev/block/8:0/sda2/partition': '2\n',
  '/sys/dev/block/8:0/sda2/dev': '8:2\n',
  '/sys/dev/block/8:1/partition': '1\n',
  '/sys/dev/block/8:1/size': '1000\n',
  '/sys/dev/block/8:1/uevent': 'DEVNAME=sda1\n',
  '/sys/dev/block/8:1/../dev': '8:0\n',
  '/sys/dev/block/8:1/../queue/logical_block_size': '512\n',
  '/sys/dev/block/8:1/../queue/physical_block_size': '4096\n',
  '/sys/dev/block/8:1/../queue/rotational': '1\n',
  '/sys/dev/block/8:2/partition': '2\n',
  '/sys/dev/block/8:2/uevent': 'DEVNAME=sda2\n',
  '/sys/dev/block/8:2/../dev': '8:0\n',
  '/sys/dev/block/8:2/holders/dm-0/dev': '253:0\n',
  '/sys/dev/block/8:2/holders/dm-0/dm/name': 'vg-home\n',
  '/sys/dev/block/253:0/uevent': 'DEVNAME=dm-0\n',
  '/sys/dev/block/8:48/uevent': 'DEVNAME=sdd\n',
  '/sys/dev/block/8:49/partition': '1\n',
  '/sys/dev/block/8:49/../dev': '8:48\n',
};
const identities: Record<string, Identity> = {
  '/dev/sda': { block: '8:0' },
  '/dev/sda1': { block: '8:1' },
  '/dev/sda2': { block: '8:2' },
  '/dev/mapper/vg-home': { block: '253:0' },
  '/dev/loop0': { block: '7:0' },
  '/dev/sdb': { block: '8:16' },
  '/dev/sdc': { block: '8:32' },
  '/dev/sdd': { block: '8:48' },
  '/dev/sdd1': { block: '8:49' },
  '/dev/sde': { block: '8:64' },
  '/images/idle.img': { file: '8:1:10' },
  '/images/disk.img': { file: '8:1:11' },
  '/images/hardlink.img': { file: '8:1:11' },
  '/images/swap.img': { file: '8:1:12' },
  '/images/vm.img': { file: '8:1:13' },
  '/images/fuse.img': { file: '8:1:14' },
};
const machine: LinuxSystem = {
  text: path => files[path],
  names(path) {
    const below = Object.keys(files).filter(file => file.startsWith(`${path}/`));
    return [...new Set(below.map(file => file.slice(path.length + 1).split('/')[0] ?? ''))].filter(
      name => name !== '..',
    );
  },
  identify: path => identities[path],
};
const usersText = (path: string) => deviceUsers(path, machine).map(deviceUserText);

describe('deviceUsers', () => {
  it.each([
    ['/images/idle.img', []], // flock() is how people take turns, not a use
    ['/dev/sdc', []],
    ['/dev/nothing', []],
    ['/dev/sda1', ['is mounted on / (ext4); unmount it first']],
    [
      '/dev/sda2',
      [
        'is mounted on /home (xfs) through /dev/dm-0; unmount it first',
        'is part of /dev/dm-0 (vg-home); stop that first',
      ],
    ],
    [
      '/dev/sda',
      [
        'is mounted on / (ext4) through /dev/sda1; unmount it first',
        'is mounted on /home (xfs) through /dev/dm-0; unmount it first',
        'is part of /dev/dm-0 (vg-home) through /dev/sda2; stop that first',
      ],
    ],
    ['/dev/sdb', ['is mounted on /data (bcachefs); unmount it first']],
    ['/dev/sde', ['is mounted on /data (bcachefs); unmount it first']],
    ['/dev/sdd1', ['is mounted on /whole (ext4) through /dev/sdd; unmount it first']],
    [
      '/images/disk.img',
      [
        'is mounted on /mnt/loop (vfat) through /dev/loop0; unmount it first',
        'is attached to /dev/loop0; detach it first (losetup -d /dev/loop0)',
      ],
    ],
    [
      '/images/hardlink.img',
      [
        'is mounted on /mnt/loop (vfat) through /dev/loop0; unmount it first',
        'is attached to /dev/loop0; detach it first (losetup -d /dev/loop0)',
      ],
    ],
    ['/images/swap.img', ['is used as swap; run swapoff first']],
    ['/images/vm.img', ['is locked by another program, such as a running virtual machine; stop that first']],
    ['/images/fuse.img', ['is mounted on /mnt/fuse (fuse.fuse2fs); unmount it first']],
  ])('%s', (path, expected) => {
    expect(usersText(path)).toEqual(expected);
  });

  it('refuses with the mountpoint first', () => {
    const busy = (message: string) => expect.objectContaining({ name: 'DeviceError', kind: 'busy', message });
    expect(() => assertNotInUse('/dev/sda2', machine)).toThrow(
      busy('/dev/sda2: is mounted on /home (xfs) through /dev/dm-0; unmount it first (and 1 other use of it)'),
    );
    expect(() => assertNotMounted('/dev/sda1', machine)).toThrow(
      busy('/dev/sda1: is mounted on / (ext4); unmount it first'),
    );
    expect(() => assertNotMounted('/images/swap.img', machine)).not.toThrow();
    expect(() => assertNotInUse('/dev/sdc', machine)).not.toThrow();
  });
});

describe('blockFacts', () => {
  it('takes a partition’s sector sizes from its disk', () => {
    const sectors = { logicalSectorBytes: 512, physicalSectorBytes: 4096, rotational: true };
    expect(blockFacts(machine, '8:0')).toEqual({ sizeBytes: 1953525168 * 512, ...sectors });
    expect(blockFacts(machine, '8:1')).toEqual({ sizeBytes: 512_000, ...sectors });
  });

  it('does not know where there is no sysfs', () => {
    const unknown = { sizeBytes: undefined, logicalSectorBytes: 512, physicalSectorBytes: 0, rotational: undefined };
    expect(blockFacts(machine, '9:9')).toEqual(unknown);
  });
});
