// Real block devices: loop devices over sparse files, with a real mount and a real partition. Needs Linux, root, losetup and
// mke2fs; says so where it cannot run.

import { execFileSync } from 'node:child_process';
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readBytes } from './block-device.ts';
import { deviceUsers } from './device-users.ts';
import { openDevice, searchSize } from './file-device.ts';

const MIB = 1 << 20;
const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-loop-'));
const undo: (() => void)[] = [];

function run(command: string, ...args: string[]): string {
  return execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] }).trim();
}

function attach(image: string, ...options: string[]): string {
  const loop = run('losetup', '--find', '--show', ...options, image);
  undo.push(() => run('losetup', '--detach', loop));
  return loop;
}

function sparse(name: string, sizeBytes: number): string {
  const path = join(folder, name);
  writeFileSync(path, '');
  truncateSync(path, sizeBytes);
  return path;
}

function whyNot(): string | undefined {
  if (process.platform !== 'linux') return 'not Linux';
  if (process.getuid?.() !== 0) return 'not root';
  try {
    attach(sparse('try.img', MIB));
    run('mke2fs', '-V');
    return undefined;
  } catch (error) {
    return error instanceof Error ? (error.message.split('\n').at(-1) ?? '') : `${error}`;
  } finally {
    for (const step of undo.splice(0)) step();
  }
}

const reason = whyNot();
afterAll(() => {
  for (const step of undo.reverse()) step();
  rmSync(folder, { recursive: true });
});

if (reason !== undefined) {
  it(`block devices are not tested for real here: ${reason}`, () => {
    expect(reason).not.toBe('');
  });
}

describe.runIf(reason === undefined)('a loop device', () => {
  let image = '';
  let loop = '';
  beforeAll(() => {
    image = sparse('disk.img', 16 * MIB);
    loop = attach(image, '--sector-size', '4096');
  });

  it('reports its size and sectors', () => {
    const device = openDevice(loop, { write: true });
    expect(device).toMatchObject({ kind: 'block', sizeBytes: 16 * MIB, logicalSectorBytes: 4096, writable: true });
    expect(device.physicalSectorBytes).toBeGreaterThanOrEqual(4096);
    expect(typeof device.rotational).toBe('boolean');
    device.write(8 * MIB + 5, Uint8Array.of(1, 2, 3));
    device.flush();
    expect([...readBytes(device, 8 * MIB + 4, 5)]).toEqual([0, 1, 2, 3, 0]);
    expect(() => device.setSize(MIB)).toThrow(expect.objectContaining({ name: 'UsageError' }));
    device.close();
  });

  it('has the size that reading finds', () => {
    const fd = openSync(loop, 'r');
    expect(searchSize(loop, fd)).toBe(16 * MIB);
    closeSync(fd);
  });

  it('is open for one writer at a time', () => {
    const device = openDevice(loop, { write: true });
    expect(() => openDevice(loop, { write: true })).toThrow(
      expect.objectContaining({ name: 'DeviceError', kind: 'busy' }),
    );
    openDevice(loop, { write: false }).close();
    device.close();
    openDevice(loop, { write: true }).close();
  });

  it('makes its image busy', () => {
    expect(() => openDevice(image, { write: true })).toThrow(
      `${image}: is attached to ${loop}; detach it first (losetup -d ${loop})`,
    );
    openDevice(image, { write: false }).close();
  });

  it('is refused while mounted, by name of its mountpoint', () => {
    const mountPoint = join(folder, 'a mount point');
    mkdirSync(mountPoint);
    run('mke2fs', '-q', '-F', '-b', '4096', loop);
    run('mount', loop, mountPoint);
    try {
      const busy = `is mounted on ${mountPoint} (ext`;
      expect(() => openDevice(loop, { write: true })).toThrow(busy);
      expect(() => openDevice(image, { write: true })).toThrow(busy);
      expect(deviceUsers(loop)).toMatchObject([{ kind: 'mount', mountPoint }]);
      openDevice(loop, { write: false }).close();
    } finally {
      run('umount', mountPoint);
    }
    openDevice(loop, { write: true }).close();
  });

  it('is refused while one of its partitions is mounted', () => {
    const disk = sparse('partitioned.img', 16 * MIB);
    const whole = attach(disk, '--partscan');
    const partition = `${whole}p1`;
    // Directly through the kernel: not every kernel reads partition tables.
    run('addpart', whole, '1', `${MIB / 512}`, `${(15 * MIB) / 512}`);
    undo.push(() => run('delpart', whole, '1'));
    const mountPoint = join(folder, 'partition');
    mkdirSync(mountPoint);
    run('mke2fs', '-q', '-F', partition);
    run('mount', partition, mountPoint);
    try {
      const opened = openDevice(partition, { write: false });
      expect(opened).toMatchObject({ sizeBytes: 15 * MIB, logicalSectorBytes: 512 });
      opened.close();
      expect(() => openDevice(whole, { write: true })).toThrow(
        `${whole}: is mounted on ${mountPoint} (ext2) through ${partition}; unmount it first`,
      );
      expect(() => openDevice(disk, { write: true })).toThrow(`is mounted on ${mountPoint} (ext2) through`);
    } finally {
      run('umount', mountPoint);
    }
    openDevice(partition, { write: true }).close();
  });

  it('reports a full host filesystem', () => {
    const mountPoint = join(folder, 'small');
    mkdirSync(mountPoint);
    run('mount', '-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', mountPoint);
    try {
      const path = join(mountPoint, 'disk.img');
      const device = openDevice(path, { write: true, create: { sizeBytes: MIB } });
      expect(() => device.write(0, new Uint8Array(128 * 1024).fill(1))).toThrow(
        expect.objectContaining({ kind: 'full', device: path }),
      );
      device.close();
    } finally {
      run('umount', mountPoint);
    }
  });
});
