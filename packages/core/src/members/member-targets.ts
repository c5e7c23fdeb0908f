// The options of the filesystem that say where data goes, and the members that they mean: by number, or by a label.

import { type AllocDevice, allocDevices, isInTarget } from '../alloc/alloc-devices.ts';
import { getBits, withBits } from '../ondisk/bits.ts';
import { sbBits } from '../ondisk/sb-bits.ts';
import type { Superblock } from '../ondisk/superblock.ts';
import { decodeTarget, encodeTarget } from '../ondisk/targets.ts';

const TARGETS = {
  foreground_target: sbBits.FOREGROUND_TARGET,
  background_target: sbBits.BACKGROUND_TARGET,
  metadata_target: sbBits.METADATA_TARGET,
  promote_target: sbBits.PROMOTE_TARGET,
} as const;

export type MemberTarget = keyof typeof TARGETS;

const names = Object.keys(TARGETS) as readonly MemberTarget[];

/** Those that name a member itself, and no label. */
export function targetsNaming(sb: Superblock, dev: number): readonly MemberTarget[] {
  return names.filter(name => {
    const target = decodeTarget(getBits(sb.flags, TARGETS[name]));
    return target.type === 'dev' && target.dev === dev;
  });
}

/** Those of whose members this is the only one that counts. */
export function targetsOnlyWith(
  sb: Superblock,
  dev: number,
  isCounted: (device: AllocDevice) => boolean = () => true,
): readonly MemberTarget[] {
  const devices = allocDevices(sb);
  return names.filter(name => {
    const value = getBits(sb.flags, TARGETS[name]);
    const inside = devices.filter(device => device !== undefined && isInTarget(device, value) && isCounted(device));
    return inside.length === 1 && inside[0]?.index === dev;
  });
}

export function withoutTargets(sb: Superblock, cleared: readonly MemberTarget[]): Superblock {
  return { ...sb, flags: cleared.reduce((bits, name) => withBits(bits, TARGETS[name], 0), sb.flags) };
}

/** Those that name a member name another one. */
export function withTargetsMoved(sb: Superblock, from: number, to: number): Superblock {
  const target = encodeTarget({ type: 'dev', dev: to });
  return {
    ...sb,
    flags: targetsNaming(sb, from).reduce((bits, name) => withBits(bits, TARGETS[name], target), sb.flags),
  };
}
