import { describe, expect, test } from 'vitest';
import { PrintBuffer } from '../util/print-buffer.ts';
import { decodeJsetEntries, encodeJsetEntries, type JsetEntry, jsetEntryJson, jsetEntryText } from './jset-entries.ts';
import { type JsetEntryTypeName, jsetEntryTypes } from './jset-entry-types.ts';

const context = {
  style: '1.39' as const,
  dateTime: (seconds: bigint) => `<${seconds}>`,
  device: () => undefined,
  label: () => '',
};

function entry(type: JsetEntryTypeName, payload: readonly number[], btree_id = 0): JsetEntry {
  const id = jsetEntryTypes.idOf(type);
  return {
    u64s: payload.length / 8,
    btree_id,
    level: 0,
    type: id,
    pad: new Uint8Array(3),
    payload: Uint8Array.from(payload),
  };
}

function text(of: JsetEntry): string {
  const out = new PrintBuffer();
  jsetEntryText(out, of, context);
  return out.toString();
}

const u64 = (value: number) => [value, 0, 0, 0, 0, 0, 0, 0];

describe('what each type says', () => {
  test.each([
    [entry('prio_ptrs', u64(1)), 'prio_ptrs: ', {}],
    [entry('blacklist', u64(5)), 'blacklist: seq=5', { seq: 5 }],
    [entry('blacklist_v2', [...u64(5), ...u64(9)]), 'blacklist_v2: start=5 end=9', { start: 5, end: 9 }],
    [entry('usage', u64(3), 2), 'usage: type=key_version v=3', { usage: 'key_version', v: 3n }],
    [entry('usage', u64(3), 9), 'usage: type=(unknown fs_usage_type 9) v=3', { usage: 'unknown(9)' }],
    [
      entry('data_usage', [...u64(3), 4, 2, 1, 0, 1, 0, 0, 0]),
      'data_usage: user: 1/2 [0 1]=3',
      { replicas: { data_type: 'user', nr_required: 1, devices: [0, 1] }, sectors: 3n },
    ],
    [entry('clock', [...u64(0), ...u64(8)]), 'clock: read=8', { clock: 'read', time: 8n }],
    [
      entry('dev_usage', [...u64(1), ...u64(0), ...u64(0), ...u64(2), ...u64(3), ...u64(4)]),
      'dev_usage: dev=1  \n  free: buckets=2 sectors=3 fragmented=4',
      { device: 1, data_types: [{ data_type: 'free', buckets: 2n, sectors: 3n, fragmented: 4n }] },
    ],
    [entry('log', [104, 105, 27, 33, 0, 0, 0, 0]), 'log: hi\\x1b!', { message: 'hi\u001b!' }],
    [entry('datetime', u64(100)), 'datetime: <100>', { seconds: 100n }],
    [entry('rewind_limit', u64(7)), 'rewind_limit: seq 7', { seq: 7 }],
    [entry('rewind', [...u64(9), ...u64(7)]), 'rewind: from 9 to 7', { from: 9, to: 7 }],
  ])('%#: $type', (of, expected, json) => {
    expect(text(of)).toBe(expected);
    expect(jsetEntryJson(of)).toMatchObject(json);
  });
});

test('payloads that do not fit their type are reported by name', () => {
  const short = [
    'blacklist',
    'blacklist_v2',
    'usage',
    'data_usage',
    'clock',
    'dev_usage',
    'datetime',
    'rewind_limit',
    'rewind',
  ] as const;
  for (const type of short) {
    expect(text(entry(type, []))).toMatch(/^\w+: \(damaged: 0 bytes, expected \d+ or more\)$/);
    expect(jsetEntryJson(entry(type, []))).toMatchObject({
      type,
      error: expect.stringMatching(/^journal_entry_\w+_bad_size$/),
    });
  }
  expect(text(entry('data_usage', [...u64(3), 4, 200, 1, 0, 0, 0, 0, 0]))).toBe(
    'data_usage: (damaged: 16 bytes, expected 211 or more)',
  );
  expect(text(entry('btree_root', u64(1)))).toBe('btree_root: (damaged: key 0 has u64s 1, expected 5 or more)');
});

test.each([
  ['journal_entry_blacklist_v2_start_past_end', entry('blacklist_v2', [...u64(9), ...u64(8)])],
  ['journal_entry_clock_bad_rw', entry('clock', [...u64(2), ...u64(5)])],
  ['journal_entry_dev_usage_bad_pad', entry('dev_usage', [0, 0, 0, 0, 1, 0, 0, 0, ...u64(0), ...u64(0)])],
])('%s', (error, of) => {
  expect(jsetEntryJson(of)).toMatchObject({ error });
});

test('a row of entries, and back', () => {
  const entries = [entry('usage', u64(1)), entry('log', [...u64(65), ...u64(66)]), entry('prio_ptrs', [])];
  const bytes = encodeJsetEntries(entries);
  expect(decodeJsetEntries(bytes)).toEqual({ entries, damage: undefined });
  const cut = decodeJsetEntries(bytes.subarray(0, -16));
  expect(cut.entries).toEqual(entries.slice(0, 1));
  expect(cut.damage?.error).toBe('journal_entry_past_jset_end');
  expect(decodeJsetEntries(bytes.subarray(0, 20)).damage?.detail).toBe('entry 1 is 8 bytes long, only 4 are left');
});
