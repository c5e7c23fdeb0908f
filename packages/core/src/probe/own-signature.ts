// bcachefs itself: the superblock at sector 8, the layout at sector 7, and every copy that a layout names. A device that was once ours is
// recognised by any of them. (bcachefs_format.h, v1.13.0; full verification is superblock/'s.)

import { sectorsToBytes } from '../util/sizes.ts';
import { hex, type ProbeReader, type Signature, type Superblock, signature } from './signature.ts';

const MAGIC = hex('c68573f666ce90a9d96a60cf803df7ef');
/** Before 2022 bcachefs had bcache's; it differs by knowing its own sector at another place. */
const OLD_MAGIC = hex('c68573f64e1a45ca8265f57f48ba6d81');
const MAGIC_BYTES = 16;

/** Members of struct bch_sb and struct bch_sb_layout. */
const SB = { version: 16, magic: 24, user_uuid: 56, label: 72, offset: 104, layout: 240 };
const LAYOUT = { nr_superblocks: 18, sb_offset: 24 };
const LAYOUT_SECTOR = 7;
const SB_SECTOR = 8;
const MAX_SUPERBLOCKS = 61;
const SB_BYTES = 752; // fixed part, layout included

export function findBcachefs(reader: ProbeReader): Signature[] {
  const layout = reader.superblock(sectorsToBytes(LAYOUT_SECTOR), 512);
  const primary = superblockAt(reader, SB_SECTOR);
  const sectors = new Set<number>([SB_SECTOR]);
  if (layout !== undefined && hasMagic(layout, 0)) for (const sector of listed(layout, 0)) sectors.add(sector);
  if (primary !== undefined) for (const sector of listed(primary, SB.layout)) sectors.add(sector);
  // Where tools look without a layout: after a lost first superblock of the usual sizes, at 2 MiB, and near the end.
  for (const sector of [SB_SECTOR + 256, SB_SECTOR + 2048, 4096, Math.floor(reader.sizeBytes / 512) - 2048]) {
    sectors.add(sector);
  }

  const superblocks = [...sectors].map(sector => superblockAt(reader, sector)).filter(found => found !== undefined);
  const at = superblocks.map(sb => ({ offset: sb.offset + SB.magic, length: MAGIC_BYTES }));
  if (layout !== undefined && hasMagic(layout, 0)) at.push({ offset: layout.offset, length: MAGIC_BYTES });
  if (at.length === 0) return [];
  // wipefs does not know the layout.
  if (superblocks.length === 0) return [{ ...signature('filesystem', 'bcachefs', {}, at), isRemnant: true }];

  const [first] = superblocks;
  const details = {
    version: `${first!.le16(SB.version) >> 10}.${first!.le16(SB.version) & 0x3ff}`,
    label: first!.text(SB.label, 32),
    uuid: first!.uuid(SB.user_uuid),
  };
  return [signature('filesystem', 'bcachefs', details, at)];
}

function superblockAt(reader: ProbeReader, sector: number): Superblock | undefined {
  const found = reader.superblock(sectorsToBytes(sector), SB_BYTES);
  if (found?.has({ ...MAGIC, at: SB.magic })) return found;
  return found?.has({ ...OLD_MAGIC, at: SB.magic }) && found.le64(SB.offset) === BigInt(sector) ? found : undefined;
}

/** The sectors that a layout lists; nonsense is left to be found unreadable. */
function listed(holder: Superblock, at: number): number[] {
  const count = Math.min(holder.u8(at + LAYOUT.nr_superblocks), MAX_SUPERBLOCKS);
  return Array.from({ length: count }, (_, i) => Number(holder.le64(at + LAYOUT.sb_offset + 8 * i)));
}

function hasMagic(holder: Superblock, at: number): boolean {
  return holder.has({ ...MAGIC, at }) || holder.has({ ...OLD_MAGIC, at });
}
