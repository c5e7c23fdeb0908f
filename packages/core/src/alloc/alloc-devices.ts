// The members of a filesystem as allocation sees them: their buckets, and what may be put into these.
// Source: bch2_mi_to_cpu in sb-members.h, bch2_dev_in_target and target_rw_devs in disk_groups.c, v1.13.0.

import { getBits } from '../ondisk/bits.ts';
import { type DataTypeName, dataTypes } from '../ondisk/data-types.ts';
import { memberBits } from '../ondisk/member-bits.ts';
import { sbBits } from '../ondisk/sb-bits.ts';
import { diskGroups, memberGroup, parentGroup } from '../ondisk/sb-fields/disk-groups.ts';
import { memberAlive, members } from '../ondisk/sb-fields/members.ts';
import type { Superblock } from '../ondisk/superblock.ts';
import { decodeTarget } from '../ondisk/targets.ts';

export interface AllocDevice {
  readonly index: number;
  readonly bucketSizeSectors: number;
  readonly firstBucket: number;
  /** Buckets lie below it. */
  readonly bucketEnd: number;
  /** Its state is rw: new data may go there. */
  readonly isWritable: boolean;
  /** Bits of data types. */
  readonly dataAllowed: number;
  /** How many copies one here counts for; 0 for a cache. */
  readonly durability: number;
  /** Its label and all above it, as indexes of groups. */
  readonly groups: ReadonlySet<number>;
}

const STATE_RW = 0;

/** Of each slot; undefined where there is no device. */
export function allocDevices(sb: Superblock): readonly (AllocDevice | undefined)[] {
  const groups = diskGroups(sb);
  return members(sb).map((member, index): AllocDevice | undefined => {
    if (!memberAlive(member)) return undefined;
    const own = new Set<number>();
    for (let group = memberGroup(member) ?? -1; group >= 0 && !own.has(group); ) {
      own.add(group);
      const row = groups[group];
      group = row === undefined ? -1 : parentGroup(row);
    }
    const durability = getBits([member.flags], memberBits.DURABILITY);
    return {
      index,
      bucketSizeSectors: member.bucket_size,
      firstBucket: member.first_bucket,
      bucketEnd: member.nbuckets,
      isWritable: getBits([member.flags], memberBits.STATE) === STATE_RW,
      dataAllowed: getBits([member.flags], memberBits.DATA_ALLOWED),
      durability: durability === 0 ? 1 : durability - 1,
      groups: own,
    };
  });
}

export const allowsData = ({ dataAllowed }: AllocDevice, type: DataTypeName): boolean =>
  ((dataAllowed >> dataTypes.idOf(type)) & 1) !== 0;

/** Whether its free buckets are in the list of them; those of a member that has just joined are not yet. */
export const hasFreespace = (sb: Superblock, dev: number): boolean =>
  getBits([members(sb)[dev]!.flags], memberBits.FREESPACE_INITIALIZED) === 1;

/** Whether a device is what a target option means; nothing is in no target. */
export function isInTarget({ index, groups }: AllocDevice, value: number): boolean {
  const target = decodeTarget(value);
  if (target.type === 'none') return false;
  return target.type === 'dev' ? target.dev === index : groups.has(target.group);
}

/**
 * The members that a journal entry goes to: as many as metadata shall have copies, those of the target first.
 * @param isPresent whether a member is at hand
 * @returns in the order of their indexes; none when no member may hold the journal
 */
export function journalDevices(
  sb: Superblock,
  isPresent: (index: number) => boolean = () => true,
): readonly AllocDevice[] {
  const target = getBits(sb.flags, sbBits.METADATA_TARGET);
  const replicas = getBits(sb.flags, sbBits.META_REPLICAS_WANT);
  const able = allocDevices(sb).filter(
    device => device !== undefined && isPresent(device.index) && mayHoldJournal(device),
  );
  const isLater = (device: AllocDevice) => (target !== 0 && !isInTarget(device, target) ? 1 : 0);
  const sorted = able.filter(device => device !== undefined).sort((a, b) => isLater(a) - isLater(b));
  const chosen: AllocDevice[] = [];
  for (let durability = 0; durability < replicas; ) {
    const device = sorted[chosen.length];
    if (device === undefined) break;
    chosen.push(device);
    durability += device.durability;
  }
  return chosen.sort((a, b) => a.index - b.index);
}

const mayHoldJournal = (device: AllocDevice): boolean =>
  device.isWritable && device.durability > 0 && allowsData(device, 'journal');
