// What there is to know of a filesystem as a whole, in few words: from the newest superblock, and from the counters of its space.

import { getBits } from '../ondisk/bits.ts';
import { memberBits } from '../ondisk/member-bits.ts';
import { memberStates } from '../ondisk/member-states.ts';
import { diskGroups, labelText, memberGroup } from '../ondisk/sb-fields/disk-groups.ts';
import { memberAlive, members } from '../ondisk/sb-fields/members.ts';
import { fsLabelText } from '../ondisk/superblock.ts';
import { versionNumber } from '../ondisk/versions.ts';
import type { Filesystem } from '../opened/filesystem.ts';
import { encryptionOf } from '../superblock/passphrase.ts';
import type { FsUsage } from '../usage/usage.ts';
import { sectorsToBytes } from '../util/sizes.ts';

/** One member, whether it was given or not. */
export interface MemberSummary {
  readonly index: number;
  readonly uuid: string;
  /** With its groups: `ssd.fast`; undefined for none. */
  readonly label: string | undefined;
  /** `rw`, `ro`, `evacuating` (which was called `failed` up to 1.13) or `spare`; undefined for one that is not known here. */
  readonly state: string | undefined;
  /** What the filesystem uses of the device. */
  readonly sizeBytes: number;
  readonly bucketBytes: number;
  /** What it was opened as; undefined when it is missing. */
  readonly name: string | undefined;
}

export interface FilesystemSummary {
  /** The external UUID, which mount(8) and blkid know. */
  readonly uuid: string;
  /** Empty for none. */
  readonly label: string;
  /** Of the metadata, `1.13`; and the oldest that is in it, as far as that was tracked. */
  readonly version: string;
  readonly versionMin: string;
  /** False when it was not unmounted: what is seen includes what its journal says. */
  readonly isClean: boolean;
  readonly isEncrypted: boolean;
  readonly blockBytes: number;
  readonly btreeNodeBytes: number;
  /** By index. */
  readonly members: readonly MemberSummary[];
}

/** Bytes. As statfs(2) and df(1) have it. */
export interface SpaceUsage {
  /** What there is for files and metadata. */
  readonly capacityBytes: bigint;
  readonly usedBytes: bigint;
  readonly freeBytes: bigint;
  /** Free for data: less what its metadata may need. */
  readonly availableBytes: bigint;
  readonly inodes: bigint;
}

/** @throws CorruptError when the section of members is damaged */
export function summaryOf({ sb, set, replay, reader }: Filesystem): FilesystemSummary {
  const groups = diskGroups(sb);
  const names = new Map(set.members.map(({ sb: own, device }) => [own.dev_idx, device.name]));
  return {
    uuid: sb.user_uuid,
    label: fsLabelText(sb.label),
    version: versionNumber(sb.version),
    versionMin: versionNumber(sb.version_min),
    isClean: replay.from !== 'journal',
    isEncrypted: encryptionOf(sb) !== 'none',
    blockBytes: sectorsToBytes(sb.block_size),
    btreeNodeBytes: sectorsToBytes(reader.nodeSectors),
    members: members(sb).flatMap((member, index): MemberSummary[] => {
      if (!memberAlive(member)) return [];
      const group = memberGroup(member);
      return [
        {
          index,
          uuid: member.uuid,
          label: group === undefined ? undefined : labelText(groups, group),
          state: memberStates.byId(getBits([member.flags], memberBits.STATE))?.name,
          sizeBytes: member.nbuckets * sectorsToBytes(member.bucket_size),
          bucketBytes: sectorsToBytes(member.bucket_size),
          name: names.get(index),
        },
      ];
    }),
  };
}

export function spaceUsage({ statfs, inodes }: FsUsage): SpaceUsage {
  const { capacitySectors, freeSectors, availableSectors } = statfs;
  return {
    capacityBytes: capacitySectors << 9n,
    usedBytes: (capacitySectors - freeSectors) << 9n,
    freeBytes: freeSectors << 9n,
    availableBytes: availableSectors << 9n,
    inodes,
  };
}
