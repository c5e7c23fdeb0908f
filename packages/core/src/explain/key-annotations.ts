// Names for the bytes of keys: headers, packed or not, and values, from the layouts that key types are read with.

import { BKEY_U64S, Bkey, KEY_FORMAT_CURRENT } from '../ondisk/bkey.ts';
import type { BkeyFormat } from '../ondisk/bkey-format.ts';
import { decodeExtentEntries, type ExtentEntry, extentEntryTypes } from '../ondisk/extent-entries.ts';
import { valueLayoutOf } from '../ondisk/keys/value-layouts.ts';
import { viewOf } from '../ondisk/layout.ts';
import { type Annotation, annotateLayout, valueText } from './annotate.ts';

/**
 * A key that is not packed.
 * @param bytes from the key's first byte on
 * @param lengthBytes of the whole key
 */
export function* annotateKey(
  bytes: Uint8Array,
  lengthBytes: number,
  base: number,
  prefix: string,
): Generator<Annotation> {
  const head = bytes.subarray(0, lengthBytes);
  if (head.length < Bkey.size) return;
  const view = viewOf(head);
  yield* annotateLayout(Bkey, view, 0, base, prefix);
  yield* annotateValue(view.getUint8(Bkey.offset.type), head.subarray(Bkey.size), base + Bkey.size, prefix);
}

/** A key in a node, whose header may be packed. @param bytes those of the whole key, header and value */
export function* annotateNodeKey(
  bytes: Uint8Array,
  format: BkeyFormat,
  base: number,
  prefix: string,
): Generator<Annotation> {
  const isPacked = ((bytes[1] ?? 0) & 0x7f) !== KEY_FORMAT_CURRENT;
  if (!isPacked) {
    yield* annotateKey(bytes, bytes.length, base, prefix);
    return;
  }
  const headerBytes = 8 * Math.min(format.key_u64s, BKEY_U64S);
  if (bytes.length < headerBytes) return;
  const byte = (at: number, name: string) => ({
    at: base + at,
    lengthBytes: 1,
    name: `${prefix}${name}`,
    value: String(bytes[at]),
  });
  yield byte(0, 'u64s');
  yield byte(1, 'format');
  yield byte(2, 'type');
  yield* packedFields(bytes.subarray(0, headerBytes), format, base, prefix);
  yield* annotateValue(bytes[2]!, bytes.subarray(headerBytes), base + headerBytes, prefix);
}

const FIELD_NAMES = ['inode', 'offset', 'snapshot', 'size', 'version.hi', 'version.lo'] as const;

/** From the lowest bits up, which is the last field first. */
function* packedFields(header: Uint8Array, format: BkeyFormat, base: number, prefix: string): Generator<Annotation> {
  const whole = header.reduceRight((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
  let bit = 8 * header.length;
  const found: Annotation[] = [];
  for (const [i, name] of FIELD_NAMES.entries()) {
    const width = format.bits_per_field[i] ?? 0;
    const offset = format.field_offset[i] ?? 0n;
    bit -= width;
    if (width === 0 || bit < 0) continue;
    const stored = (whole >> BigInt(bit)) & ((1n << BigInt(width)) - 1n);
    const first = Math.floor(bit / 8);
    const sum = offset === 0n ? '' : ` = ${stored} + ${offset}`;
    found.push({
      at: base + first,
      lengthBytes: Math.ceil((bit + width) / 8) - first,
      name: `${prefix}${name}`,
      value: `${stored + offset}${sum} (bits ${bit} to ${bit + width - 1})`,
    });
  }
  yield* found.toReversed();
}

/** The value of a key. */
function* annotateValue(type: number, value: Uint8Array, base: number, prefix: string): Generator<Annotation> {
  const known = valueLayoutOf(type);
  if (known === undefined) {
    if (value.length > 0) yield { at: base, lengthBytes: value.length, name: `${prefix}value`, value: undefined };
    return;
  }
  const fixedBytes = known.layout?.size ?? 0;
  if (value.length < fixedBytes) return;
  if (known.layout !== undefined) yield* annotateLayout(known.layout, viewOf(value), 0, base, `${prefix}value.`);
  if (known.entries === undefined) return;
  let at = fixedBytes;
  for (const entry of decodeExtentEntries(value.subarray(fixedBytes))) {
    const lengthBytes = 8 * (extentEntryTypes.byName(entry.type)?.u64s ?? 1);
    yield { at: base + at, lengthBytes, name: `${prefix}value.${entry.type}`, value: entryText(entry) };
    at += lengthBytes;
  }
}

function entryText({ type: _type, ...fields }: ExtentEntry): string {
  return Object.entries(fields)
    .map(([name, value]) => `${name} ${valueText(value)}`)
    .join(', ');
}
