// Damages superblocks: single copies in their bytes, or what all of them say, under checksums that are right.

import { readBytes } from '../device/block-device.ts';
import { UsageError } from '../ondisk/errors.ts';
import { SB_SECTOR, type Superblock } from '../ondisk/superblock.ts';
import type { OpenMember } from '../superblock/member-set.ts';
import { writeSuperblocks } from '../superblock/write.ts';
import { SECTOR_BYTES, sectorsToBytes } from '../util/sizes.ts';
import type { DamageTarget } from './target.ts';

/** Says something else in every copy on every member. Whether it makes sense is not asked. */
export function editSuperblocks(target: DamageTarget, edit: (sb: Superblock) => Superblock): string {
  const { members } = target.members();
  writeSuperblocks(members.map(({ device, sb }) => ({ device, sb: edit(sb) })));
  return `superblocks of ${members.map(({ device }) => device.name).join(', ')}`;
}

/** The sectors of the first copy, or of the others. */
export function copySectors({ sb }: OpenMember, which: 'first' | 'others'): readonly number[] {
  const all = sb.layout.sb_offset.slice(0, sb.layout.nr_superblocks).map(Number);
  return all.filter(sector => (sector === SB_SECTOR) === (which === 'first'));
}

/** Changes the first sector of copies on every member. @throws UsageError where there is none */
export function spoilCopies(
  target: DamageTarget,
  which: 'first' | 'others',
  spoil: (bytes: Uint8Array) => void,
): string {
  const places = target
    .members()
    .members.flatMap(member => copySectors(member, which).map(sector => ({ device: member.device, sector })));
  if (places.length === 0) throw new UsageError(`there is no copy to damage: ${which}`, undefined, 'nothing_to_damage');
  for (const { device, sector } of places) {
    const bytes = readBytes(device, sectorsToBytes(sector), SECTOR_BYTES);
    spoil(bytes);
    device.write(sectorsToBytes(sector), bytes);
    device.flush();
  }
  return `superblocks at ${places.map(({ device, sector }) => `${device.name} sector ${sector}`).join(', ')}`;
}
