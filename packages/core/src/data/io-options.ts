// How the data of a file are to be written: the options of its inode where it has them, else those of the filesystem.
// Source: bch2_inode_opts_get in inode.c, bch2_data_checksum_type in checksum.h, background_compression in rebalance.h, v1.13.0.

import { getBits } from '../ondisk/bits.ts';
import { dataChecksumType } from '../ondisk/checksum-types.ts';
import { rulesOf } from '../ondisk/format-rules.ts';
import type { InodeOptionName } from '../ondisk/inode-tables.ts';
import { type Inode, inodeOption } from '../ondisk/inode-unpack.ts';
import { optionFromSuperblock } from '../ondisk/option-values.ts';
import { option } from '../ondisk/options.ts';
import { sbBits } from '../ondisk/sb-bits.ts';
import type { Superblock } from '../ondisk/superblock.ts';

export interface IoOptions {
  /** The checksum type of new extents. */
  readonly csumType: number;
  /** Values of options. */
  readonly compression: number;
  readonly backgroundCompression: number;
  readonly foregroundTarget: number;
  readonly backgroundTarget: number;
  readonly replicas: number;
}

/** @param inode undefined for what belongs to no file of its own */
export function ioOptionsOf(sb: Superblock, inode?: Inode): IoOptions {
  const common = commonOptionsOf(sb);
  const value = (name: InodeOptionName & keyof typeof sbNames): number =>
    (inode === undefined ? undefined : inodeOption(inode, name)) ?? common[name];
  const isNocow = (inode !== undefined && inodeOption(inode, 'nocow') === 1) || common.nocow === 1;
  const compression = isNocow ? 0 : value('compression');
  return {
    csumType: isNocow ? 0 : dataChecksumType(value('data_checksum'), common.encryption),
    compression,
    backgroundCompression: isNocow ? 0 : value('background_compression') || compression,
    foregroundTarget: value('foreground_target'),
    backgroundTarget: value('background_target'),
    replicas: value('data_replicas'),
  };
}

type CommonOptions = { readonly [name in keyof typeof sbNames | 'nocow']: number } & {
  readonly encryption: { readonly wideMacs: boolean } | null;
};

/** By the superblock that they are of, which is never changed in its place: each file asks for them. */
const known = new WeakMap<Superblock, CommonOptions>();

/** What is true for a file whose inode says nothing. */
function commonOptionsOf(sb: Superblock): CommonOptions {
  const found = known.get(sb);
  if (found !== undefined) return found;
  const { release } = rulesOf(sb);
  const value = (name: InodeOptionName): number => Number(optionFromSuperblock(option(name), sb, 0n, release));
  const common = {
    data_checksum: value('data_checksum'),
    compression: value('compression'),
    background_compression: value('background_compression'),
    data_replicas: value('data_replicas'),
    foreground_target: value('foreground_target'),
    background_target: value('background_target'),
    nocow: value('nocow'),
    encryption:
      getBits(sb.flags, sbBits.ENCRYPTION_TYPE) === 0
        ? null
        : { wideMacs: getBits(sb.flags, sbBits['128_BIT_MACS']) !== 0 },
  };
  known.set(sb, common);
  return common;
}

/** Options that both a filesystem and an inode can have. */
const sbNames = {
  data_checksum: true,
  compression: true,
  background_compression: true,
  data_replicas: true,
  foreground_target: true,
  background_target: true,
} as const;
