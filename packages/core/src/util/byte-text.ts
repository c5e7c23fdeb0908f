// Bytes that are meant as text but can be anything: file names, attribute names and values.

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

/** The characters of `isUnprintable` above ASCII: in text that has line breaks and colours of our own. */
const MISLEADING = /[\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for
const UNPRINTABLE = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;
const encoder = new TextEncoder();
const escaped = (char: string): string =>
  Array.from(encoder.encode(char), byte => `\\x${byte.toString(16).padStart(2, '0')}`).join('');

/** Text in one line, safe to print: what `isUnprintable` names is shown as `\x1b`, by the bytes of its UTF-8 as in printableBytes. */
export const printable = (text: string): string => text.replace(UNPRINTABLE, escaped);

/** Whole output, with its line breaks and colours: whatever nobody thought of on the way. */
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
