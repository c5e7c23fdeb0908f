// Section `extent_type_u64s` (since 1.32): the length of each type of extent entry, one byte each, so that older readers can step
// over entries that they do not know. Source: data/extents_sb.c, v1.36.1.

import { extentEntryTypes } from '../extent-entries.ts';
import { problem, type SbFieldKind } from './kind.ts';

/** A type is the number of a 64-bit word's lowest set bit. */
const TYPES_MAX = 64;

/** Lengths in u64s by entry type, up to the first zero. */
export const extentTypeU64sField: SbFieldKind<readonly number[]> = {
  name: 'extent_type_u64s',
  decode(payload) {
    const lengths = payload.subarray(0, TYPES_MAX);
    const end = lengths.indexOf(0);
    return [...(end < 0 ? lengths : lengths.subarray(0, end))];
  },
  validate(value) {
    const wrong = extentEntryTypes.rows.find(row => (value[row.id] ?? row.u64s) !== row.u64s);
    if (wrong === undefined) return [];
    const detail = `${value[wrong.id]} u64s, expected ${wrong.u64s}`;
    return [problem('invalid_sb_extent_type_u64s', `extent_type_u64s.${wrong.name}`, detail)];
  },
  text(out, value) {
    value.forEach((u64s, type) => {
      out.print(`${extentEntryTypes.byId(type)?.name ?? `(unknown type ${type})`}:\t${u64s}\n`);
    });
  },
  json: value => Object.fromEntries(value.map((u64s, type) => [extentEntryTypes.nameOf(type), u64s])),
};
