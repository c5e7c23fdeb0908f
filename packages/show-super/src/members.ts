// Opens the devices that a command line names, all of them or none, and closes them again whatever happens.

import {
  type BlockDevice,
  listedPaths,
  type MemberSet,
  openDevice,
  openMembers,
  type SameFilesystem,
} from '@bcachefs-ts/core';

/** `a:b:c` stands for three devices, as in mount's source. */
export function splitDeviceList(words: readonly string[]): readonly string[] {
  return words.flatMap(word => listedPaths(word));
}

/** Runs `use` with one device open. */
export function withDevice<T>(path: string, write: boolean, use: (device: BlockDevice) => T): T {
  const device = openDevice(path, { write });
  try {
    return use(device);
  } finally {
    device.close();
  }
}

/** Runs `use` with the members of one filesystem open. */
export function withMembers<T>(
  words: readonly string[],
  write: boolean,
  use: (set: MemberSet) => T,
  isSame?: SameFilesystem,
): T {
  const opened: BlockDevice[] = [];
  try {
    for (const path of splitDeviceList(words)) opened.push(openDevice(path, { write }));
    return use(openMembers(opened, isSame));
  } finally {
    for (const device of opened) device.close();
  }
}

/** Seconds since 1970, as superblocks count them. */
export function secondsOf(date: Date): bigint {
  return BigInt(Math.floor(date.getTime() / 1000));
}

/** Members that are not there are an error, unless this option is given. */
export const allowMissingOption = {
  allow_missing: {
    type: 'flag',
    help: 'go on when members are missing; they keep the old state until a kernel brings them up to date',
  },
} as const;

export const devicesPositional = {
  devices: { count: 'some', file: true, help: 'every device or image of one filesystem' },
} as const;
