// Journal entries, and what a superblock's clean section has in common with them, taken apart by place: which sub-entry and which key a byte
// is in. Lengths come from disk: what is longer than the bytes that are there ends the walk.

import { BKEY_U64S, Bkey } from '../ondisk/bkey.ts';
import { Jset } from '../ondisk/jset.ts';
import { JsetEntryHeader } from '../ondisk/jset-entries.ts';
import { type JsetEntryTypeName, jsetEntryTypes } from '../ondisk/jset-entry-types.ts';
import { viewOf } from '../ondisk/layout.ts';
import { type Annotation, annotateLayout } from './annotate.ts';
import type { SubEntryPlace } from './explanation.ts';
import { annotateKey } from './key-annotations.ts';

const TYPES_WITH_KEYS: readonly JsetEntryTypeName[] = [
  'btree_keys',
  'btree_root',
  'overwrite',
  'write_buffer_keys',
  'log_bkey',
];

interface SubEntryRange {
  readonly nr: number;
  /** Of its header, in the bytes. */
  readonly at: number;
  readonly end: number;
  readonly header: JsetEntryHeader;
  readonly hasKeys: boolean;
}

/** Sub-entries one after the other. @param from where the first begins */
function* subEntries(bytes: Uint8Array, from: number): Generator<SubEntryRange> {
  const view = viewOf(bytes);
  for (let at = from, nr = 0; at + JsetEntryHeader.size <= bytes.length; nr++) {
    const header = JsetEntryHeader.get(view, at);
    const end = at + JsetEntryHeader.size + 8 * header.u64s;
    if (end > bytes.length) return;
    const name = jsetEntryTypes.byId(header.type)?.name;
    yield { nr, at, end, header, hasKeys: name !== undefined && TYPES_WITH_KEYS.includes(name) };
    at = end;
  }
}

function* keysOf(bytes: Uint8Array, { at, end }: SubEntryRange): Generator<{ nr: number; at: number; end: number }> {
  for (let key = at + JsetEntryHeader.size, nr = 0; key + Bkey.size <= end; nr++) {
    const keyEnd = key + 8 * bytes[key]!;
    if (bytes[key]! < BKEY_U64S || keyEnd > end) return;
    yield { nr, at: key, end: keyEnd };
    key = keyEnd;
  }
}

/** The sub-entry, and the key in it, that a byte is in. @param offset in `bytes` */
export function subEntryAt(bytes: Uint8Array, from: number, offset: number): SubEntryPlace | undefined {
  for (const range of subEntries(bytes, from)) {
    if (offset < range.at) return undefined;
    if (offset >= range.end) continue;
    const { nr, header, hasKeys } = range;
    const place = { nr, type: jsetEntryTypes.nameOf(header.type), btree: header.btree_id, level: header.level };
    for (const key of hasKeys ? keysOf(bytes, range) : []) {
      if (offset < key.at || offset >= key.end) continue;
      return { ...place, key: { nr: key.nr, key: keyAt(bytes, key) } };
    }
    return { ...place, key: undefined };
  }
  return undefined;
}

/** Versions above 2^64 do not occur: the header is of integers of which any is possible. */
function keyAt(bytes: Uint8Array, { at, end }: { readonly at: number; readonly end: number }) {
  return { k: Bkey.get(viewOf(bytes), at), value: bytes.subarray(at + Bkey.size, end) };
}

/**
 * Names of the bytes of a row of sub-entries that touch a range.
 * @param base of the first of `bytes`, on the device
 * @param first and `last`: the range, on the device
 */
export function* annotateSubEntries(
  bytes: Uint8Array,
  from: number,
  base: number,
  { first, last }: { readonly first: number; readonly last: number },
  prefix = '',
): Generator<Annotation> {
  for (const range of subEntries(bytes, from)) {
    if (base + range.end <= first) continue;
    if (base + range.at >= last) return;
    const name = `${prefix}entry ${range.nr} ${jsetEntryTypes.nameOf(range.header.type)}`;
    yield* annotateLayout(JsetEntryHeader, viewOf(bytes), range.at, base + range.at, `${name}.`);
    if (!range.hasKeys) {
      const payload = range.at + JsetEntryHeader.size;
      if (range.end > payload) {
        yield { at: base + payload, lengthBytes: range.end - payload, name: `${name}.payload`, value: undefined };
      }
      continue;
    }
    for (const key of keysOf(bytes, range)) {
      if (base + key.end <= first || base + key.at >= last) continue;
      yield* annotateKey(bytes.subarray(key.at, key.end), key.end - key.at, base + key.at, `${name}, key ${key.nr}: `);
    }
  }
}

/** Names of the bytes of a journal entry. @param bytes the whole entry, decrypted */
export function* annotateJset(
  bytes: Uint8Array,
  base: number,
  range: { readonly first: number; readonly last: number },
): Generator<Annotation> {
  if (bytes.length < Jset.size) return;
  yield* annotateLayout(Jset, viewOf(bytes), 0, base, 'jset.');
  yield* annotateSubEntries(bytes, Jset.size, base, range);
}
