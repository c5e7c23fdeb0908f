// Bytes with the names and values of what they are: from the layouts that the program reads with, so that a dump cannot drift from the
// code. An annotation is a run of bytes with a name; where annotations nest, the shorter one says more.

import { CorruptError } from '../ondisk/errors.ts';
import { type AnyLayout, type Codec, isLayout } from '../ondisk/layout.ts';

export interface Annotation {
  /** The first byte, on the device. */
  readonly at: number;
  readonly lengthBytes: number;
  /** With what it is in: `bset 2.journal_seq`. */
  readonly name: string;
  /** Undefined for what is only a heading of what follows. */
  readonly value: string | undefined;
}

/** One line of a hexdump. */
export interface HexRow {
  readonly at: number;
  /** Up to 16 bytes of it; empty when they stand in a row before. */
  readonly bytes: Uint8Array;
  /** There are more than 16. */
  readonly isCut: boolean;
  /** Undefined for bytes that nothing is known of. */
  readonly name: string | undefined;
  readonly value: string | undefined;
}

const ROW_BYTES = 16;
const VALUE_CHARACTERS_MAX = 160;

/**
 * The members of a struct, those of structs in it too.
 * @param view holds the struct whole
 * @param at where it begins in the view
 * @param base where it begins on the device
 * @param prefix what names begin with
 */
export function* annotateLayout(
  layout: AnyLayout,
  view: DataView,
  at: number,
  base: number,
  prefix = '',
): Generator<Annotation> {
  for (const [name, field] of Object.entries(layout.fields)) {
    const { codec } = field;
    const full = `${prefix}${name}`;
    const place = { at: base + field.at, lengthBytes: codec.size, name: full };
    if (isLayout(codec)) {
      yield { ...place, value: undefined };
      yield* annotateLayout(codec, view, at + field.at, base + field.at, `${full}.`);
    } else {
      yield { ...place, value: fieldText(codec, view, at + field.at) };
    }
  }
}

/** A value that cannot be one (a count above 2^53) says so. */
function fieldText(codec: Codec<unknown>, view: DataView, at: number): string {
  try {
    return valueText(codec.get(view, at));
  } catch (thrown) {
    if (!(thrown instanceof CorruptError)) throw thrown;
    return thrown.detail;
  }
}

/** A decoded value on one line: text as text, opaque numbers as hex. */
export function valueText(value: unknown): string {
  if (value instanceof Uint32Array) return [...value].join(' ');
  if (value instanceof Uint8Array) {
    const text = new TextDecoder('latin1').decode(value).replace(/\0+$/, '');
    return JSON.stringify(text).slice(0, VALUE_CHARACTERS_MAX);
  }
  if (Array.isArray(value)) return `[${value.map(valueText).join(', ').slice(0, VALUE_CHARACTERS_MAX)}]`;
  return typeof value === 'bigint' ? `0x${value.toString(16)}` : String(value);
}

/** The annotation that says the most about a byte: the shortest one, and of two alike the one with a value. */
export function annotationAt(annotations: Iterable<Annotation>, at: number): Annotation | undefined {
  let found: Annotation | undefined;
  for (const one of annotations) {
    if (at < one.at || at >= one.at + one.lengthBytes) continue;
    const isShorter = found === undefined || one.lengthBytes < found.lengthBytes;
    if (isShorter || (one.lengthBytes === found?.lengthBytes && found.value === undefined)) found = one;
  }
  return found;
}

/**
 * A hexdump: a row for each annotation, plain rows for what lies between.
 * @param bytes of the device from byte `base` on
 * @param annotations in the order of their places
 */
export function* hexRows(bytes: Uint8Array, base: number, annotations: Iterable<Annotation> = []): Generator<HexRow> {
  const end = base + bytes.length;
  let shown = base;
  for (const { at, lengthBytes, name, value } of annotations) {
    const first = Math.max(at, base);
    const last = Math.min(at + lengthBytes, end);
    if (last <= first) continue;
    if (first > shown) yield* plainRows(bytes, base, shown, first);
    const isShown = value === undefined || last <= shown;
    const rowEnd = isShown ? first : Math.min(last, first + ROW_BYTES);
    yield {
      at: first,
      bytes: bytes.subarray(first - base, rowEnd - base),
      isCut: !isShown && last > rowEnd,
      name,
      value,
    };
    // What a heading stands for is shown below it.
    shown = Math.max(shown, value === undefined ? first : last);
  }
  if (shown < end) yield* plainRows(bytes, base, shown, end);
}

function* plainRows(bytes: Uint8Array, base: number, from: number, to: number): Generator<HexRow> {
  for (let at = from; at < to; ) {
    const next = Math.min(to, at - (at % ROW_BYTES) + ROW_BYTES);
    yield { at, bytes: bytes.subarray(at - base, next - base), isCut: false, name: undefined, value: undefined };
    at = next;
  }
}

/** `      4096  c6 85 73 f6 …  magic: …`; plain rows end with their characters. */
export function hexRowText({ at, bytes, isCut, name, value }: HexRow): string {
  const hex = Array.from(bytes, byte => byte.toString(16).padStart(2, '0')).join(' ') + (isCut ? ' …' : '');
  const meaning = name === undefined ? characters(bytes) : value === undefined ? `${name}:` : `${name}: ${value}`;
  return `${String(at).padStart(12)}  ${hex.padEnd(3 * ROW_BYTES + 1)}  ${meaning}`.trimEnd();
}

const characters = (bytes: Uint8Array): string =>
  `|${Array.from(bytes, byte => (byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : '.')).join('')}|`;
