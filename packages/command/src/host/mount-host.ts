// What mounting asks of the machine: which block devices there are, what its kernel can mount, its keyrings, and its mount program. One interface,
// so that tests can describe a machine; Linux only.

import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, realpathSync, statSync } from 'node:fs';
import { type AddKey, type HasKey, loadAddKey, loadHasKey } from './keyring.ts';

export interface BlockDeviceName {
  /** `/dev/sda1` */
  readonly path: string;
  /** Another device is made of it, such as the one path of a disk that has several. */
  readonly isPartOfAnother: boolean;
}

export interface ProgramRun {
  /** Its exit code; undefined when a signal ended it. */
  readonly status: number | undefined;
  /** What it printed to both streams. */
  readonly output: string;
}

export interface MountHost {
  /** `linux`, as Node has it. */
  readonly platform: string;
  /** The text of a small file; undefined when there is none, or it may not be read. */
  text(path: string): string | undefined;
  /** All that may have a filesystem on it. */
  blockDevices(): readonly BlockDeviceName[];
  /** A path with every symbolic link followed, and what it leads to; undefined when there is nothing. */
  look(path: string): { readonly realPath: string; readonly kind: 'block device' | 'file' | 'other' } | undefined;
  /** Undefined where no keyring can be reached. */
  addKey(): AddKey | undefined;
  hasKey(): HasKey | undefined;
  /** Runs a program of the host, found by its name, without a shell. Undefined when there is none. */
  run(program: string, args: readonly string[]): ProgramRun | undefined;
  wait(milliseconds: number): Promise<void>;
}

/** This machine. */
export const thisMountHost: MountHost = {
  platform: process.platform,
  text,
  blockDevices: () => blockDevicesOf({ text, names }),
  look(path) {
    try {
      const realPath = realpathSync(path);
      const stat = statSync(realPath);
      return { realPath, kind: stat.isBlockDevice() ? 'block device' : stat.isFile() ? 'file' : 'other' };
    } catch {
      return undefined;
    }
  },
  addKey: loadAddKey,
  hasKey: loadHasKey,
  run(program, args) {
    const { error, status, stdout, stderr } = spawnSync(program, args, {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
      shell: false,
    });
    if (error !== undefined && 'code' in error && error.code === 'ENOENT') return undefined;
    if (error !== undefined) throw error;
    return { status: status ?? undefined, output: `${stdout}${stderr}` };
  },
  wait: milliseconds => new Promise(resolve => setTimeout(resolve, milliseconds)),
};

/** From sysfs: devices without a medium are left out. */
export function blockDevicesOf({
  text: read,
  names: list,
}: {
  readonly text: (path: string) => string | undefined;
  readonly names: (path: string) => readonly string[];
}): readonly BlockDeviceName[] {
  return list('/sys/class/block').flatMap(name => {
    const directory = `/sys/class/block/${name}`;
    const device = /^DEVNAME=(.*)$/m.exec(read(`${directory}/uevent`) ?? '')?.[1];
    const sectors = Number(read(`${directory}/size`));
    if (device === undefined || !(sectors > 0)) return [];
    return [{ path: `/dev/${device}`, isPartOfAnother: list(`${directory}/holders`).length > 0 }];
  });
}

function text(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

function names(path: string): readonly string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}
