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
 * Safe to print, one line: UTF-8 as it is, control characters (which a terminal would obey) and bytes that are not UTF-8 as `\x1b`.
 */
export function printableBytes(source: Uint8Array): string {
  if (areAllPlain(source)) return latin1Text(source);
  let text = '';
  for (let i = 0; i < source.length; ) {
    const length = utf8Length(source, i);
    const char = length === 0 ? undefined : utf8Text(source.subarray(i, i + length));
    if (char === undefined || isControl(char.codePointAt(0)!)) {
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

/** C0, DEL and C1, and the two separators that end a line in some programs. */
function isControl(code: number): boolean {
  return code < 0x20 || (code >= 0x7f && code < 0xa0) || code === 0x2028 || code === 0x2029;
}

/** Each byte as the character of that number: text that can be written back as the same bytes. */
export function latin1Text(source: Uint8Array): string {
  // A spread goes through an iterator, which takes three times as long.
  if (source.length <= 4096) return Reflect.apply(String.fromCharCode, undefined, source);
  let text = '';
  for (let i = 0; i < source.length; i += 4096) text += latin1Text(source.subarray(i, i + 4096));
  return text;
}
