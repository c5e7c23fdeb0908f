// Bytes that are meant as text but can be anything: file names, attribute names and values.

import { UsageError } from '../ondisk/errors.ts';

/** Keeps a byte order mark at the start, which is part of a name. */
const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** The text, or undefined when the bytes are not UTF-8. */
export function utf8Text(source: Uint8Array): string | undefined {
  try {
    return strictUtf8.decode(source);
  } catch {
    return undefined;
  }
}

export function areEqual(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** The order of names: that of their bytes, as Buffer.compare has it. */
export function compareBytes(a: Uint8Array, b: Uint8Array): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    if (a[i] !== b[i]) return a[i]! - b[i]!;
  }
  return a.length - b.length;
}

/**
 * What text that is shown never holds, since a terminal obeys it or a reader is misled by it: C0, DEL and C1, the two separators that end a
 * line in some programs, and what turns the direction of writing (`gpj.\u202eexe`).
 */
export function isUnprintable(code: number): boolean {
  return (
    code < 0x20 ||
    (code >= 0x7f && code < 0xa0) ||
    code === 0x61c ||
    (code >= 0x200e && code <= 0x200f) ||
    (code >= 0x2028 && code <= 0x202e) ||
    (code >= 0x2066 && code <= 0x2069)
  );
}

/** Bytes 0x80 to 0xff of a word that are not UTF-8 are U+DC80 to U+DCFF in its text, which no other text has alone. */
const RAW_BASE = 0xdc00;
/** A byte that could not be known. */
const UNKNOWN = '\udfff';
const isRawByte = (char: string): boolean => char >= '\udc80' && char <= '\udfff';

/** The text of a word of the command line, from which `bytesOfWord` makes the same bytes again. */
export function wordOfBytes(bytes: Uint8Array): string {
  let word = '';
  for (let i = 0; i < bytes.length; ) {
    const length = utf8Length(bytes, i);
    const char = length === 0 ? undefined : utf8Text(bytes.subarray(i, i + length));
    word += char ?? String.fromCharCode(RAW_BASE + bytes[i]!);
    i += char === undefined ? 1 : length;
  }
  return word;
}

/** A word of which the bytes that are not UTF-8 are lost: they are U+FFFD in it. */
export const wordOfUnknown = (word: string): string => word.replaceAll('\ufffd', UNKNOWN);

/** Whether a word has bytes that are not UTF-8. */
export const hasRawBytes = (word: string): boolean => /(?<![\ud800-\udbff])[\udc80-\udfff]/.test(word);

/** @throws UsageError when some of them are not known */
export function bytesOfWord(word: string): Uint8Array {
  if (!hasRawBytes(word)) return encoder.encode(word);
  if (word.includes(UNKNOWN)) {
    throw new UsageError(
      `${printable(word)}: has bytes that are not UTF-8, and this system does not say which; give them as \\xff`,
    );
  }
  return Uint8Array.from(
    Array.from(word).flatMap(char => (isRawByte(char) ? [char.charCodeAt(0) - RAW_BASE] : [...encoder.encode(char)])),
  );
}

/** The characters of `isUnprintable` above ASCII: in text that has line breaks and colours of our own. */
const MISLEADING = /[\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]|(?<![\ud800-\udbff])[\udc80-\udfff]/g;
const UNPRINTABLE = new RegExp(`[\\u0000-\\u001f]|${MISLEADING.source}`, 'g');
const encoder = new TextEncoder();
const escaped = (char: string): string =>
  isRawByte(char)
    ? `\\x${char === UNKNOWN ? '??' : (char.charCodeAt(0) - RAW_BASE).toString(16)}`
    : Array.from(encoder.encode(char), byte => `\\x${byte.toString(16).padStart(2, '0')}`).join('');

/** Text in one line, safe to print: what `isUnprintable` names is shown as `\x1b`, by the bytes of its UTF-8 as in printableBytes. */
export const printable = (text: string): string => text.replace(UNPRINTABLE, escaped);

/** Whole output, with its line breaks and colours: for everything that was not escaped before. */
export const withoutMisleading = (text: string): string => text.replace(MISLEADING, escaped);

/** JSON that says the same in characters that a terminal shows. */
export const printableJson = (json: string): string =>
  json.replace(MISLEADING, char => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`);

/** As printable, of bytes: UTF-8 as it is, bytes that are not UTF-8 as `\xff`. */
export function printableBytes(source: Uint8Array): string {
  if (areAllPlain(source)) return latin1Text(source);
  let text = '';
  for (let i = 0; i < source.length; ) {
    const length = utf8Length(source, i);
    const char = length === 0 ? undefined : utf8Text(source.subarray(i, i + length));
    if (char === undefined || isUnprintable(char.codePointAt(0)!)) {
      for (const byte of source.subarray(i, i + Math.max(1, char === undefined ? 1 : length))) {
        text += `\\x${byte.toString(16).padStart(2, '0')}`;
      }
      i += char === undefined ? 1 : length;
    } else {
      text += char;
      i += length;
    }
  }
  return text;
}

function areAllPlain(source: Uint8Array): boolean {
  for (let i = 0; i < source.length; i++) if (source[i]! < 0x20 || source[i]! >= 0x7f) return false;
  return true;
}

/** The length that a first byte announces; 0 for one that cannot be first. */
function utf8Length(source: Uint8Array, at: number): number {
  const first = source[at]!;
  if (first < 0x80) return 1;
  if (first < 0xc2) return 0;
  const length = first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
  return at + length <= source.length ? length : 0;
}

/** Each byte as the character of that number: text that can be written back as the same bytes. */
export function latin1Text(source: Uint8Array): string {
  // A spread goes through an iterator, which takes three times as long.
  if (source.length <= 4096) return Reflect.apply(String.fromCharCode, undefined, source);
  let text = '';
  for (let i = 0; i < source.length; i += 4096) text += latin1Text(source.subarray(i, i + 4096));
  return text;
}
