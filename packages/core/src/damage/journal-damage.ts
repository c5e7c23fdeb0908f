// Damages journal entries in their bytes, in every copy.

import { canChecksum, sealVstruct } from '../checksum/checksum.ts';
import { journalNonce } from '../crypto/nonce.ts';
import { readBytes } from '../device/block-device.ts';
import { type JournalEntry, readJournal } from '../journal/journal.ts';
import { decryptJset } from '../journal/scan.ts';
import { UsageError } from '../ondisk/errors.ts';
import { JSET, Jset } from '../ondisk/jset.ts';
import { viewOf } from '../ondisk/layout.ts';
import { sectorsToBytes } from '../util/sizes.ts';
import type { DamageTarget } from './target.ts';

/** The entries whose checksums are good, oldest first. */
export const journalEntries = (target: DamageTarget): readonly JournalEntry[] =>
  readJournal(target.members(), target.key).entries.filter(({ checksumGood }) => checksumGood);

/** @throws UsageError for a journal without entries */
export function newestEntry(target: DamageTarget): JournalEntry {
  const newest = journalEntries(target).at(-1);
  if (newest === undefined) throw new UsageError('there is no journal entry to damage', undefined, 'nothing_to_damage');
  return newest;
}

/** Changes the bytes of an entry as they are stored; its checksum stays as it is. */
export function spoilEntry(target: DamageTarget, entry: JournalEntry, spoil: (bytes: Uint8Array) => void): string {
  return editCopies(target, entry, spoil);
}

/** Changes what an entry says, and makes its checksum right again. @param edit gets it decrypted */
export function editEntry(
  target: DamageTarget,
  entry: JournalEntry,
  edit: (view: DataView, bytes: Uint8Array) => void,
): string {
  return editCopies(target, entry, bytes => {
    const { key } = target;
    decryptJset(bytes, key);
    edit(viewOf(bytes), bytes);
    decryptJset(bytes, key); // the same operation
    const view = viewOf(bytes);
    const type = JSET.csumType(view.getUint32(Jset.offset.flags, true));
    const mac = key === undefined ? undefined : { key, nonce: journalNonce(entry.seq) };
    if (canChecksum(type, mac)) sealVstruct(type, bytes, mac);
  });
}

function editCopies(target: DamageTarget, entry: JournalEntry, edit: (bytes: Uint8Array) => void): string {
  const { members } = target.members();
  const places = entry.ptrs.map(({ dev, sector }) => {
    const device = members.find(({ sb }) => sb.dev_idx === dev)?.device;
    if (device === undefined)
      throw new UsageError(`member ${dev}, which has a copy of the journal entry, is not there`);
    const bytes = readBytes(device, sectorsToBytes(sector), entry.sizeBytes);
    edit(bytes);
    return { device, sector, bytes };
  });
  for (const { device, sector, bytes } of places) {
    device.write(sectorsToBytes(sector), bytes);
    device.flush();
  }
  const where = places.map(({ device, sector }) => `${device.name} sector ${sector}`).join(', ');
  return `journal entry ${entry.seq}: ${where}`;
}
