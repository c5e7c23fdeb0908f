// Sub-entries: what the body of a journal entry is made of, and the clean section of the superblock too. Each has an 8-byte header
// and a payload that depends on its type: keys, roots, clocks, log messages.
// Source: struct jset_entry and its kin in bcachefs_format.h, journal/read.c (v1.36.1), journal/validate.c (v1.39.2).

import { printable } from '../util/byte-text.ts';
import { toHex } from '../util/hex.ts';
import type { PrintBuffer } from '../util/print-buffer.ts';
import { decodeKeys, type Key } from './bkey.ts';
import { btrees } from './btrees.ts';
import { CorruptError } from './errors.ts';
import type { FaultName } from './faults.ts';
import { fsUsageTypes, type JsetEntryTypeName, jsetEntryTypes } from './jset-entry-types.ts';
import { keyJson, keyText } from './keys/index.ts';
import type { KeyFormat, KeyTextContext } from './keys/kind.ts';
import { quickKeyText } from './keys/quick-text.ts';
import { at, bytes, count64, i64, layout, type Struct, u8, u16, u32, u64, viewOf } from './layout.ts';
import { nameAt, type Release } from './releases.ts';
import { dataTypeText, type ReplicasEntry, replicasEntryJson, replicasEntryText } from './replicas-entry.ts';

/** struct jset_entry: the header of a sub-entry. */
export const JsetEntryHeader = layout('jset_entry', 8, {
  u64s: at(0, u16), // length of the payload
  btree_id: at(2, u8), // for keys; the kind of a `usage` entry
  level: at(3, u8),
  type: at(4, u8), // see jset-entry-types.ts
  pad: at(5, bytes(3)),
});
export type JsetEntryHeader = Struct<typeof JsetEntryHeader>;

/** A sub-entry and the bytes of its payload. */
export interface JsetEntry extends JsetEntryHeader {
  readonly payload: Uint8Array;
}

/** Sub-entries, and what ended them early. */
export interface JsetEntries {
  readonly entries: readonly JsetEntry[];
  /** journal_entry_past_jset_end, when one is longer than what is left: nothing after it can be read. */
  readonly damage: CorruptError | undefined;
}

/** Takes a row of sub-entries apart, as far as it goes. */
export function decodeJsetEntries(source: Uint8Array): JsetEntries {
  const view = viewOf(source);
  const entries: JsetEntry[] = [];
  for (let start = 0; start < source.length; ) {
    const left = source.length - start;
    const size = JsetEntryHeader.size + (left < JsetEntryHeader.size ? 0 : 8 * view.getUint16(start, true));
    if (size > left) {
      const detail = `entry ${entries.length} is ${size} bytes long, only ${left} are left`;
      return { entries, damage: new CorruptError('journal_entry_past_jset_end', {}, detail) };
    }
    // Member by member, as bkeyAt.
    entries.push({
      u64s: view.getUint16(start, true),
      btree_id: view.getUint8(start + 2),
      level: view.getUint8(start + 3),
      type: view.getUint8(start + 4),
      pad: source.subarray(start + 5, start + 8),
      payload: source.subarray(start + JsetEntryHeader.size, start + size),
    });
    start += size;
  }
  return { entries, damage: undefined };
}

/** Puts sub-entries together; `u64s` comes from the payloads, which are multiples of 8 bytes. */
export function encodeJsetEntries(entries: readonly JsetEntry[]): Uint8Array {
  const target = new Uint8Array(entries.reduce((sum, entry) => sum + JsetEntryHeader.size + entry.payload.length, 0));
  const view = viewOf(target);
  let start = 0;
  for (const entry of entries) {
    JsetEntryHeader.put(view, start, { ...entry, u64s: entry.payload.length / 8 });
    target.set(entry.payload, start + JsetEntryHeader.size);
    start += JsetEntryHeader.size + entry.payload.length;
  }
  return target;
}

/** What a sub-entry of each type says. */
export type JsetEntryValue =
  | { readonly type: 'keys'; readonly keys: readonly Key[] }
  | { readonly type: 'none' }
  | { readonly type: 'blacklist'; readonly seq: number }
  | { readonly type: 'blacklist_v2'; readonly start: number; readonly end: number }
  | { readonly type: 'usage'; readonly usage: number; readonly v: bigint }
  | { readonly type: 'data_usage'; readonly v: bigint; readonly entry: ReplicasEntry }
  | { readonly type: 'clock'; readonly rw: number; readonly time: bigint }
  | { readonly type: 'dev_usage'; readonly dev: number; readonly types: readonly JsetEntryDevUsageType[] }
  | { readonly type: 'log'; readonly message: string }
  | { readonly type: 'datetime'; readonly seconds: bigint }
  | { readonly type: 'rewind_limit'; readonly seq: number }
  | { readonly type: 'rewind'; readonly from: number; readonly to: number };

const JsetEntryBlacklist = layout('jset_entry_blacklist', 8, { seq: at(0, count64) });
const JsetEntryBlacklistV2 = layout('jset_entry_blacklist_v2', 16, { start: at(0, count64), end: at(8, count64) });
const JsetEntryUsage = layout('jset_entry_usage', 8, { v: at(0, u64) });
const JsetEntryDataUsage = layout('jset_entry_data_usage', 11, {
  v: at(0, u64), // sectors
  data_type: at(8, u8),
  nr_devs: at(9, u8),
  nr_required: at(10, u8),
});
const JsetEntryClock = layout('jset_entry_clock', 16, {
  rw: at(0, u8), // 0 read, 1 write
  pad: at(1, bytes(7)),
  time: at(8, u64), // sectors
});
const JsetEntryDevUsage = layout('jset_entry_dev_usage', 24, {
  dev: at(0, u32),
  pad: at(4, u32),
  buckets_ec: at(8, u64), // no longer used
  buckets_unavailable: at(16, u64), // no longer used
});
/** By data type. */
const JsetEntryDevUsageType = layout('jset_entry_dev_usage_type', 24, {
  buckets: at(0, u64),
  sectors: at(8, u64),
  fragmented: at(16, u64), // sectors
});
type JsetEntryDevUsageType = Struct<typeof JsetEntryDevUsageType>;
const JsetEntryDatetime = layout('jset_entry_datetime', 8, { seconds: at(0, i64) });
const JsetEntryRewindLimit = layout('jset_entry_rewind_limit', 8, { seq: at(0, count64) });
const JsetEntryRewind = layout('jset_entry_rewind', 16, { from: at(0, count64), to: at(8, count64) });

/** @throws CorruptError when the payload is shorter than the type needs */
function need(entry: JsetEntry, size: number, error: FaultName): DataView {
  if (entry.payload.length < size) {
    throw new CorruptError(error, {}, `${entry.payload.length} bytes, expected ${size} or more`);
  }
  return viewOf(entry.payload);
}

const keysOf = (entry: JsetEntry): JsetEntryValue => ({ type: 'keys', keys: decodeKeys(entry.payload) });

const decoders: { readonly [name in JsetEntryTypeName]: (entry: JsetEntry) => JsetEntryValue } = {
  btree_keys: keysOf,
  btree_root: keysOf,
  overwrite: keysOf,
  write_buffer_keys: keysOf,
  log_bkey: keysOf,
  prio_ptrs: () => ({ type: 'none' }), // obsolete
  blacklist(entry) {
    const view = need(entry, JsetEntryBlacklist.size, 'journal_entry_blacklist_bad_size');
    return { type: 'blacklist', ...JsetEntryBlacklist.get(view, 0) };
  },
  blacklist_v2(entry) {
    const view = need(entry, JsetEntryBlacklistV2.size, 'journal_entry_blacklist_v2_bad_size');
    const { start, end } = JsetEntryBlacklistV2.get(view, 0);
    if (start > end) {
      const detail = `from ${start} to ${end}, expected an end that is not before the start`;
      throw new CorruptError('journal_entry_blacklist_v2_start_past_end', {}, detail);
    }
    return { type: 'blacklist_v2', start, end };
  },
  usage(entry) {
    const view = need(entry, JsetEntryUsage.size, 'journal_entry_usage_bad_size');
    return { type: 'usage', usage: entry.btree_id, ...JsetEntryUsage.get(view, 0) };
  },
  data_usage(entry) {
    const view = need(entry, JsetEntryDataUsage.size, 'journal_entry_data_usage_bad_size');
    const { v, data_type, nr_devs, nr_required } = JsetEntryDataUsage.get(view, 0);
    need(entry, JsetEntryDataUsage.size + nr_devs, 'journal_entry_data_usage_bad_size');
    const devs = [...entry.payload.subarray(JsetEntryDataUsage.size, JsetEntryDataUsage.size + nr_devs)];
    return { type: 'data_usage', v, entry: { data_type, nr_required, devs } };
  },
  clock(entry) {
    const { rw, time } = JsetEntryClock.get(need(entry, JsetEntryClock.size, 'journal_entry_clock_bad_size'), 0);
    if (rw > 1) throw new CorruptError('journal_entry_clock_bad_rw', {}, `clock ${rw}, expected 0 (read) or 1 (write)`);
    return { type: 'clock', rw, time };
  },
  dev_usage(entry) {
    const view = need(entry, JsetEntryDevUsage.size, 'journal_entry_dev_usage_bad_size');
    const { dev, pad } = JsetEntryDevUsage.get(view, 0);
    if (pad !== 0) throw new CorruptError('journal_entry_dev_usage_bad_pad', {}, `padding ${pad}, expected 0`);
    const count = Math.floor((entry.payload.length - JsetEntryDevUsage.size) / JsetEntryDevUsageType.size);
    const types = Array.from({ length: count }, (_, i) =>
      JsetEntryDevUsageType.get(view, JsetEntryDevUsage.size + i * JsetEntryDevUsageType.size),
    );
    return { type: 'dev_usage', dev, types };
  },
  log(entry) {
    let end = entry.payload.length;
    while (end > 0 && entry.payload[end - 1] === 0) end--;
    return { type: 'log', message: new TextDecoder().decode(entry.payload.subarray(0, end)) };
  },
  datetime(entry) {
    const view = need(entry, JsetEntryDatetime.size, 'journal_entry_dev_usage_bad_size'); // sic: the reference's name for it
    return { type: 'datetime', ...JsetEntryDatetime.get(view, 0) };
  },
  rewind_limit(entry) {
    const view = need(entry, JsetEntryRewindLimit.size, 'journal_entry_rewind_limit_bad_size');
    return { type: 'rewind_limit', ...JsetEntryRewindLimit.get(view, 0) };
  },
  rewind(entry) {
    const view = need(entry, JsetEntryRewind.size, 'journal_entry_rewind_bad_size');
    return { type: 'rewind', ...JsetEntryRewind.get(view, 0) };
  },
};

/**
 * What a sub-entry says, or undefined for a type that is not known here.
 * @throws CorruptError when the payload does not fit its type
 */
export function decodeJsetEntry(entry: JsetEntry): JsetEntryValue | undefined {
  const row = jsetEntryTypes.byId(entry.type);
  return row === undefined ? undefined : decoders[row.name](entry);
}

/** What printing sub-entries needs. */
export interface JsetEntryTextContext extends KeyTextContext {
  readonly style: Release;
  dateTime(seconds: bigint): string;
}

/** Prints a sub-entry as the reference does; what cannot be taken apart is said in its place. */
export function jsetEntryText(out: PrintBuffer, entry: JsetEntry, context: JsetEntryTextContext): void {
  const row = jsetEntryTypes.byId(entry.type);
  if (row === undefined) {
    out.print(`(unknown jset_entry_type ${entry.type})`);
    return;
  }
  const name = nameAt(context.style, row);
  out.print(`${name}: `);
  try {
    valueText(out, entry, name, decoders[row.name](entry), context);
  } catch (thrown) {
    if (!(thrown instanceof CorruptError)) throw thrown;
    out.print(`(damaged: ${thrown.message})`);
  }
}

/**
 * What `jsetEntryText` prints of a sub-entry with keys, at an indent and with the line break after it, in half of the time: there is no
 * buffer that knows about columns between the keys and the text. Undefined where something about it is unusual.
 */
export function quickJsetKeysText(entry: JsetEntry, context: JsetEntryTextContext, indent: number): string | undefined {
  const row = jsetEntryTypes.byId(entry.type);
  if (row === undefined || decoders[row.name] !== keysOf) return undefined;
  let keys: readonly Key[];
  try {
    keys = decodeKeys(entry.payload);
  } catch (thrown) {
    // The plain way to print it reports it.
    if (!(thrown instanceof CorruptError)) throw thrown;
    return undefined;
  }
  const quick = quickKeyText(context, indent);
  const btree = btreeText(entry.btree_id, context.style);
  const before = `${' '.repeat(indent)}${nameAt(context.style, row)}: btree=${btree} level=${entry.level} `;
  let text = '';
  for (const key of keys) {
    const keyed = quick.text(key);
    if (keyed === undefined) return undefined;
    text += `${before}${keyed}\n`;
  }
  return keys.length === 0 ? undefined : text;
}

function valueText(
  out: PrintBuffer,
  entry: JsetEntry,
  name: string,
  value: JsetEntryValue,
  context: JsetEntryTextContext,
): void {
  switch (value.type) {
    case 'none':
      return;
    case 'keys': {
      const quick = quickKeyText(context, out.indent);
      value.keys.forEach((key, i) => {
        if (i > 0) out.print(`\n${name}: `);
        out.print(`btree=${btreeText(entry.btree_id, context.style)} level=${entry.level} `);
        const text = quick.text(key);
        if (text === undefined) keyText(out, key, context);
        else out.printIndented(text);
      });
      return;
    }
    case 'blacklist':
      out.print(`seq=${value.seq}`);
      return;
    case 'blacklist_v2':
      out.print(`start=${value.start} end=${value.end}`);
      return;
    case 'usage':
      out.print(
        `type=${fsUsageTypes.byId(value.usage)?.name ?? `(unknown fs_usage_type ${value.usage})`} v=${value.v}`,
      );
      return;
    case 'data_usage':
      out.print(`${replicasEntryText(value.entry)}=${value.v}`);
      return;
    case 'clock':
      out.print(`${value.rw ? 'write' : 'read'}=${value.time}`);
      return;
    case 'dev_usage':
      out.print(`dev=${value.dev}`);
      out.indented(() => {
        value.types.forEach(({ buckets, sectors, fragmented }, type) => {
          out.print(`\n${dataTypeText(type)}: buckets=${buckets} sectors=${sectors} fragmented=${fragmented}`);
        });
      });
      return;
    case 'log':
      out.print(printable(value.message));
      return;
    case 'datetime':
      out.print(context.dateTime(value.seconds));
      return;
    case 'rewind_limit':
      out.print(`seq ${value.seq}`);
      return;
    case 'rewind':
      out.print(`from ${value.from} to ${value.to}`);
  }
}

function btreeText(id: number, style: Release): string {
  const row = btrees.byId(id);
  return row === undefined ? `(unknown btree ${id})` : nameAt(style, row);
}

/**
 * A sub-entry as a plain value.
 * @param format of the filesystem that it is from: what its keys mean can depend on that
 */
export function jsetEntryJson(entry: JsetEntry, format: KeyFormat = {}): unknown {
  const type = jsetEntryTypes.nameOf(entry.type);
  try {
    const value = decodeJsetEntry(entry);
    return value === undefined ? { type, raw: toHex(entry.payload) } : { type, ...valueJson(entry, value, format) };
  } catch (thrown) {
    if (!(thrown instanceof CorruptError)) throw thrown;
    return { type, error: thrown.error, detail: thrown.detail, raw: toHex(entry.payload) };
  }
}

function valueJson(entry: JsetEntry, value: JsetEntryValue, format: KeyFormat): Record<string, unknown> {
  switch (value.type) {
    case 'none':
      return {};
    case 'keys':
      return {
        btree: btrees.nameOf(entry.btree_id),
        level: entry.level,
        keys: value.keys.map(key => keyJson(key, format)),
      };
    case 'usage':
      return { usage: fsUsageTypes.nameOf(value.usage), v: value.v };
    case 'data_usage':
      return { replicas: replicasEntryJson(value.entry), sectors: value.v };
    case 'clock':
      return { clock: value.rw ? 'write' : 'read', time: value.time };
    case 'dev_usage':
      return {
        device: value.dev,
        data_types: value.types.map((counts, type) => ({ data_type: dataTypeText(type), ...counts })),
      };
    default: {
      const { type: _type, ...rest } = value;
      return rest;
    }
  }
}
