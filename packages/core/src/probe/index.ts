// Recognising what other tools would recognise on a device, before anything is written over it: filesystems, RAID, volume managers,
// encryption, swap, partition tables, and bcachefs itself. Everything is reported, copies and backups included (as wipefs does, not the one
// best guess of blkid), since after wiping nothing of it may come back to life. Bounded reads: about 3 MiB near both ends.
// Tables: filesystems.ts, containers.ts, partition-tables.ts; searches of their own: bcachefs, ZFS, optical discs.

import type { BlockDevice, ByteRange } from '../device/block-device.ts';
import { readBytes } from '../device/block-device.ts';
import { CONTAINERS } from './containers.ts';
import { FILESYSTEMS } from './filesystems.ts';
import { findOptical } from './optical-signature.ts';
import { findBcachefs } from './own-signature.ts';
import { PARTITION_TABLES } from './partition-tables.ts';
import { ProbeReader, type Signature, type SignatureFinder, type SignatureRow, signature } from './signature.ts';
import { findZfs } from './zfs-signature.ts';

export type { Signature, SignatureKind } from './signature.ts';

const ROWS: readonly SignatureRow[] = [...PARTITION_TABLES, ...CONTAINERS, ...FILESYSTEMS];
const FINDERS: readonly SignatureFinder[] = [findBcachefs, findZfs, findOptical];
const DEFAULT_SUPERBLOCK_BYTES = 512;

/**
 * Everything that is recognised, partition tables first.
 * @throws DeviceError when a place cannot be read
 */
export function probeSignatures(device: BlockDevice): Signature[] {
  const reader = new ProbeReader(device);
  const found = [...ROWS.flatMap(row => probeRow(reader, row)), ...FINDERS.flatMap(find => find(reader))];
  return joinCopies(found);
}

/** `ext4 filesystem "root" (uuid …) at byte 1080` */
export function signatureText(found: Signature): string {
  const kind = found.kind === 'other' || found.kind === found.name ? '' : ` ${found.kind.replace('-', ' ')}`;
  const label = found.label === undefined ? '' : ` "${found.label}"`;
  const uuid = found.uuid === undefined ? '' : ` (uuid ${found.uuid})`;
  const [first, ...more] = found.at;
  const places = more.length === 0 ? '' : ` and ${more.length} more place${more.length === 1 ? '' : 's'}`;
  return `${found.name}${kind}${label}${uuid} at byte ${first?.offset ?? 0}${places}`;
}

/** What was at a place before it was wiped: enough to undo it by hand. */
export interface WipedRange {
  readonly name: string;
  readonly offset: number;
  /** The old bytes. */
  readonly hex: string;
}

/**
 * Zeroes the magic bytes of what was found, copies and backups included, and flushes. The rest of the old contents stays.
 * @returns what was there, in the order of wiping; bytes that two signatures share come once
 * @throws DeviceError
 */
export function wipeSignatures(device: BlockDevice, found: readonly Signature[]): WipedRange[] {
  const wiped: WipedRange[] = [];
  const done = new Set<string>();
  for (const { name, at } of found) {
    for (const { offset, length } of at) {
      if (done.has(`${offset}+${length}`)) continue;
      done.add(`${offset}+${length}`);
      wiped.push({ name, offset, hex: hexOf(readBytes(device, offset, length)) });
      device.write(offset, new Uint8Array(length));
    }
  }
  device.flush();
  return wiped;
}

function probeRow(reader: ProbeReader, row: SignatureRow): Signature[] {
  const found: Signature[] = [];
  for (const base of new Set(row.places.map(place => place(reader)))) {
    const marks = row.magics.filter(magic => base >= 0 && reader.has(base + magic.at, magic.bytes));
    if (marks.length === 0) continue;
    const superblock = reader.superblock(base, row.superblockBytes ?? DEFAULT_SUPERBLOCK_BYTES);
    if (superblock === undefined || row.check?.(superblock) === false) continue;
    const at: ByteRange[] = [...marks.map(({ at, bytes }) => ({ offset: at, length: bytes.length }))];
    for (const range of row.alsoWipe?.(superblock) ?? []) {
      if (!at.some(known => known.offset === range.offset)) at.push(range);
    }
    found.push(
      signature(
        row.kind,
        row.name,
        row.details?.(superblock) ?? {},
        at.map(({ offset, length }) => ({ offset: base + offset, length })),
      ),
    );
  }
  return found;
}

/** A backup is the same thing as what it backs up, unless it says otherwise. */
function joinCopies(found: readonly Signature[]): Signature[] {
  const joined: Signature[] = [];
  for (const next of found) {
    const index = joined.findIndex(known => known.name === next.name && known.uuid === next.uuid);
    const known = joined[index];
    if (known === undefined) joined.push(next);
    else joined[index] = { ...known, at: [...known.at, ...next.at] };
  }
  return joined;
}

function hexOf(bytes: Uint8Array): string {
  return Array.from(bytes, byte => byte.toString(16).padStart(2, '0')).join('');
}
