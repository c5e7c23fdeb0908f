// Names as people see them. A name is any bytes: what would change how the text around it looks (control characters, marks that turn the
// direction of writing, line separators) is shown as an escape, and so is what is not UTF-8.

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const HIDDEN = /[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]/gu;

/** @param name as core gives it: a byte that is not UTF-8 is a code unit of U+DC80 to U+DCFF */
export function shownName(name: string): string {
  return name.replace(HIDDEN, character => {
    const code = character.codePointAt(0)!;
    if (code >= 0xdc80 && code <= 0xdcff) return `\\x${(code - 0xdc00).toString(16)}`;
    return code < 0x80 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u${code.toString(16).padStart(4, '0')}`;
  });
}

const UNITS = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'] as const;

/** `1.5 MiB` */
export function sizeText(bytes: bigint | number): string {
  let [size, unit] = [Number(bytes), 0];
  while (size >= 1024 && unit < UNITS.length - 1) {
    size /= 1024;
    unit++;
  }
  return `${unit === 0 || size >= 100 ? Math.round(size) : size.toFixed(1)} ${UNITS[unit]}`;
}

/** `drwxr-xr-x` without the type */
export const modeText = (mode: number): string =>
  Array.from('rwxrwxrwx', (letter, nr) => ((mode >> (8 - nr)) & 1 ? letter : '-')).join('');

/** @param ns nanoseconds since 1970 */
export function timeText(ns: bigint): string {
  const date = new Date(Number(ns / 1_000_000n));
  return Number.isNaN(date.getTime()) ? `${ns} ns` : date.toISOString().slice(0, 19).replace('T', ' ');
}

/** Of a file that is not text: offsets, bytes and letters, 16 a line. */
export function hexText(bytes: Uint8Array): string {
  const lines: string[] = [];
  for (let at = 0; at < bytes.length; at += 16) {
    const line = [...bytes.subarray(at, at + 16)];
    const hex = line.map(byte => byte.toString(16).padStart(2, '0')).join(' ');
    const letters = line.map(byte => (byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : '.')).join('');
    lines.push(`${at.toString(16).padStart(8, '0')}  ${hex.padEnd(47)}  ${letters}`);
  }
  return lines.join('\n');
}

/** The text of a file's start, or undefined when it is not text. @param isCut the last character may be a part of one */
export function textOfFile(bytes: Uint8Array, isCut: boolean): string | undefined {
  if (bytes.includes(0)) return undefined;
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes, { stream: isCut });
  } catch {
    // Not UTF-8.
    return undefined;
  }
}
