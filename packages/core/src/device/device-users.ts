// Who uses a device or image right now: mounts, swap, loop devices, RAID and device mapper above it, programs that have locked it.
// A whole disk is in use when one of its partitions is, and a partition when its whole disk is. Linux only; elsewhere
// the exclusive open itself (file-device.ts) has to refuse.

import { DeviceError } from '../ondisk/errors.ts';
import {
  type DeviceNumber,
  devicePath,
  diskOf,
  type Identity,
  type LinuxSystem,
  type Mount,
  parseLocks,
  parseMountinfo,
  parseSwaps,
  partitionsOf,
  sameIdentity,
  thisSystem,
} from './linux-system.ts';

interface UserOf {
  /** What is used: the device itself, or a partition or loop device on the way to it (`/dev/sdb1`). */
  readonly through: string | undefined;
}

export type DeviceUser = UserOf &
  (
    | { readonly kind: 'mount'; readonly mountPoint: string; readonly fsType: string }
    | { readonly kind: 'swap' }
    /** A loop device shows this image (or device) to the kernel. */
    | { readonly kind: 'loop'; readonly loopDevice: string }
    /** RAID, LVM, crypt, bcache, … above it. */
    | { readonly kind: 'holder'; readonly holder: string; readonly holderName: string | undefined }
    /** A POSIX or OFD lock, as virtual machines hold on their images. */
    | { readonly kind: 'lock'; readonly pid: number | undefined }
  );

/** What stands on top of the others (a mount through a loop device) comes first: it is what the user knows and must stop first. */
const MESSAGE_ORDER: readonly DeviceUser['kind'][] = ['mount', 'swap', 'holder', 'lock', 'loop'];

/**
 * Everything that uses what `path` leads to, most visible first. Empty when nothing does, or on systems without /proc.
 * @param system a machine described by a test
 */
export function deviceUsers(path: string, system: LinuxSystem = thisSystem): DeviceUser[] {
  const target = system.identify(path);
  if (target === undefined) return [];

  const mounts = parseMountinfo(system.text('/proc/self/mountinfo') ?? '');
  const swaps = parseSwaps(system.text('/proc/swaps') ?? '').map(swap => system.identify(swap));
  const loops = attachedLoops(system);
  const users: DeviceUser[] = [];
  const seen = new Set<string>();

  // Ends: each device or file is visited once, and a machine has finitely many.
  const visit = (identity: Identity, through: string | undefined): void => {
    const key = 'block' in identity ? identity.block : identity.file;
    if (seen.has(key)) return;
    seen.add(key);

    for (const { mountPoint, fsType } of mountsOf(system, mounts, identity)) {
      users.push({ kind: 'mount', through, mountPoint, fsType });
    }
    if (swaps.some(swap => sameIdentity(swap, identity))) users.push({ kind: 'swap', through });
    for (const loop of loops) {
      if (!sameIdentity(loop.backing, identity)) continue;
      const loopDevice = devicePath(system, loop.device);
      users.push({ kind: 'loop', through, loopDevice });
      visit({ block: loop.device }, loopDevice);
    }
    if ('file' in identity) {
      for (const pid of lockers(system, identity.file)) users.push({ kind: 'lock', through, pid });
      return;
    }
    for (const holder of holdersOf(system, identity.block)) {
      users.push({ kind: 'holder', through, holder: devicePath(system, holder.device), holderName: holder.name });
      visit({ block: holder.device }, devicePath(system, holder.device));
    }
    for (const partition of partitionsOf(system, identity.block)) {
      visit({ block: partition }, devicePath(system, partition));
    }
  };
  visit(target, undefined);

  // The whole disk's own users (a filesystem without a partition table), but not those of the sibling partitions.
  const disk = 'block' in target ? diskOf(system, target.block) : undefined;
  if (disk !== undefined) {
    const through = devicePath(system, disk);
    for (const { mountPoint, fsType } of mountsOf(system, mounts, { block: disk })) {
      users.push({ kind: 'mount', through, mountPoint, fsType });
    }
    for (const holder of holdersOf(system, disk)) {
      users.push({ kind: 'holder', through, holder: devicePath(system, holder.device), holderName: holder.name });
    }
  }
  return users.sort((a, b) => MESSAGE_ORDER.indexOf(a.kind) - MESSAGE_ORDER.indexOf(b.kind));
}

/**
 * @throws DeviceError kind `busy`, naming the mountpoint: `/dev/sdb1: is mounted on /home (ext4); unmount it first`
 */
export function assertNotMounted(path: string, system: LinuxSystem = thisSystem): void {
  refuse(
    path,
    deviceUsers(path, system).filter(user => user.kind === 'mount'),
  );
}

/** @throws DeviceError kind `busy`, naming who uses it */
export function assertNotInUse(path: string, system: LinuxSystem = thisSystem): void {
  refuse(path, deviceUsers(path, system));
}

/** `is mounted on /home (ext4); unmount it first` */
export function deviceUserText(user: DeviceUser): string {
  const through = user.through === undefined ? '' : ` through ${user.through}`;
  switch (user.kind) {
    case 'mount':
      return `is mounted on ${user.mountPoint} (${user.fsType})${through}; unmount it first`;
    case 'swap':
      return `is used as swap${through}; run swapoff first`;
    case 'loop':
      return `is attached to ${user.loopDevice}${through}; detach it first (losetup -d ${user.loopDevice})`;
    case 'holder':
      return `is part of ${user.holder}${user.holderName === undefined ? '' : ` (${user.holderName})`}${through}; stop that first`;
    case 'lock':
      return user.pid === undefined
        ? `is locked by another program${through}, such as a running virtual machine; stop that first`
        : `is locked by process ${user.pid}${through}; stop that first`;
  }
}

function refuse(path: string, users: readonly DeviceUser[]): void {
  const [first, ...more] = users;
  if (first === undefined) return;
  const others = more.length === 0 ? '' : ` (and ${more.length} other use${more.length === 1 ? '' : 's'} of it)`;
  throw new DeviceError('busy', path, deviceUserText(first) + others);
}

function mountsOf(system: LinuxSystem, mounts: readonly Mount[], identity: Identity): Mount[] {
  return mounts.filter(mount => {
    if ('block' in identity && mount.device === identity.block) return true;
    // bcachefs and btrfs have a device number of their own and name their devices; bcachefs all of them, as a:b:c.
    // FUSE filesystems name the image.
    return (
      mount.source.startsWith('/') &&
      [mount.source, ...mount.source.split(':')].some(
        path => path.startsWith('/') && sameIdentity(system.identify(path), identity),
      )
    );
  });
}

interface Loop {
  readonly device: DeviceNumber;
  readonly backing: Identity;
}

function attachedLoops(system: LinuxSystem): Loop[] {
  const loops: Loop[] = [];
  for (const name of system.names('/sys/block')) {
    if (!name.startsWith('loop')) continue;
    const path = system.text(`/sys/block/${name}/loop/backing_file`)?.replace(/\n$/, '');
    const device = system.text(`/sys/block/${name}/dev`)?.trim();
    const backing = path === undefined ? undefined : system.identify(path);
    if (device !== undefined && backing !== undefined) loops.push({ device, backing });
  }
  return loops;
}

function holdersOf(system: LinuxSystem, device: DeviceNumber): { device: DeviceNumber; name: string | undefined }[] {
  const directory = `/sys/dev/block/${device}/holders`;
  const holders: { device: DeviceNumber; name: string | undefined }[] = [];
  for (const name of system.names(directory)) {
    const number = system.text(`${directory}/${name}/dev`)?.trim();
    if (number === undefined) continue;
    holders.push({ device: number, name: system.text(`${directory}/${name}/dm/name`)?.trim() });
  }
  return holders;
}

/**
 * flock() locks do not count: `flock disk.img bcachefs format disk.img` is a usual way to take turns.
 */
function lockers(system: LinuxSystem, file: string): (number | undefined)[] {
  const locks = parseLocks(system.text('/proc/locks') ?? '').filter(
    lock => lock.file === file && (lock.kind === 'POSIX' || lock.kind === 'OFDLCK'),
  );
  return [...new Set(locks.map(lock => lock.pid))];
}
