// Section `clean`: written at a clean shutdown, so that the next mount need not read the journal: sub-entries as in a journal entry,
// above all the roots of all btrees. After the last one there are zeroes, which read as empty btree_keys entries.
// Source: struct bch_sb_field_clean in bcachefs_format.h and sb/clean.c, v1.36.1.

import { CorruptError } from '../errors.ts';
import { decodeJsetEntries, encodeJsetEntries, type JsetEntry, jsetEntryJson, jsetEntryText } from '../jset-entries.ts';
import { jsetEntryTypes } from '../jset-entry-types.ts';
import { at, count64, layout, type Struct, u16, u32, viewOf } from '../layout.ts';
import { textDevices } from './devices.ts';
import type { SbFieldKind } from './kind.ts';

/** struct bch_sb_field_clean without its header and without the entries. */
export const BchSbClean = layout('bch_sb_field_clean', 16, {
  flags: at(0, u32),
  read_clock: at(4, u16), // no longer used
  write_clock: at(6, u16), // no longer used
  journal_seq: at(8, count64), // that of the journal's last entry
});
export type BchSbClean = Struct<typeof BchSbClean>;

export interface Clean extends BchSbClean {
  readonly entries: readonly JsetEntry[];
  /** Set when an entry is longer than the section: those before it are whole. */
  readonly damage: CorruptError | undefined;
}

const EMPTY_TYPE = jsetEntryTypes.idOf('btree_keys');
const isPadding = (entry: JsetEntry) => entry.type === EMPTY_TYPE && entry.payload.length === 0;

/** @throws CorruptError invalid_sb_clean */
export function decodeClean(payload: Uint8Array): Clean {
  if (payload.length < BchSbClean.size) {
    throw new CorruptError(
      'invalid_sb_clean',
      { field: 'clean' },
      `${payload.length} bytes, expected ${BchSbClean.size} or more`,
    );
  }
  const { entries, damage } = decodeJsetEntries(payload.subarray(BchSbClean.size));
  return { ...BchSbClean.get(viewOf(payload), 0), entries, damage };
}

export function encodeClean(value: Clean): Uint8Array {
  if (value.damage !== undefined) throw value.damage;
  const entries = encodeJsetEntries(value.entries);
  const target = new Uint8Array(BchSbClean.size + entries.length);
  BchSbClean.put(viewOf(target), 0, value);
  target.set(entries, BchSbClean.size);
  return target;
}

export const cleanField: SbFieldKind<Clean> = {
  name: 'clean',
  decode: decodeClean,
  encode: encodeClean,
  validate: ({ damage }) =>
    damage === undefined ? [] : [{ error: 'sb_clean_entry_overrun', where: { field: 'clean' }, detail: damage.detail }],
  text(out, value, context) {
    out.print(`flags:          ${value.flags.toString(16)}\njournal_seq:    ${value.journal_seq}\n`);
    const keyContext = { ...textDevices(context), style: context.style, dateTime: context.dateTime };
    for (const entry of value.entries) {
      if (isPadding(entry)) continue;
      jsetEntryText(out, entry, keyContext);
      out.newline();
    }
    if (value.damage !== undefined) out.print(`(damaged: ${value.damage.detail})\n`);
  },
  json: value => ({
    flags: value.flags,
    journal_seq: value.journal_seq,
    entries: value.entries.filter(entry => !isPadding(entry)).map(entry => jsetEntryJson(entry)),
    ...(value.damage === undefined ? {} : { error: value.damage.error, detail: value.damage.detail }),
  }),
};
