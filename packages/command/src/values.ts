// Values as people write them on a command line, read into what a command computes with. Each throws a UsageError that
// says what was found and what was expected; the parser adds which option it was.

import { parseHuman, UsageError } from '@bcachefs-ts/core/engine';

/**
 * A size in bytes, read as the reference does: `4096`, `64k`, `1.5G`, `2TiB` are powers of 1024, `100MB` of 1000; and `0x1000`.
 * A u64 is never rounded: more than 2^53 bytes or a fraction of a byte is refused.
 */
export function parseSize(text: string): number {
  const expected = 'expected a number of bytes such as 4096, 64k, 1.5G or 2T';
  const trimmed = text.trim();
  // Longer texts are not sizes, and would be echoed in full.
  const isSize = /^(0[xX][0-9a-fA-F]{1,16}|\d{1,20}(\.\d{1,19})? ?([kKMGTPE](iB|B)?|B)?)$/.test(trimmed);
  if (!isSize) throw new UsageError(`'${text.slice(0, 40)}' is not a size, ${expected}`);
  if (/^[\d.]+ ?B?$/.test(trimmed) && trimmed.includes('.')) {
    throw new UsageError(`'${text}' is not a whole number of bytes, ${expected}`);
  }
  const bytes = trimmed.toLowerCase().startsWith('0x') ? BigInt(trimmed) : parseHuman(trimmed);
  if (bytes > BigInt(Number.MAX_SAFE_INTEGER))
    throw new UsageError(`'${text}' is too large, at most 8P can be handled`);
  return Number(bytes);
}

/** A whole number within the given limits, decimal or `0x` hexadecimal. */
export function parseInteger(text: string, min = 0, max = Number.MAX_SAFE_INTEGER): number {
  const range = max === Number.MAX_SAFE_INTEGER ? `of at least ${min}` : `from ${min} to ${max}`;
  const value = /^(-?\d+|0x[0-9a-f]+)$/i.test(text) ? Number(text) : Number.NaN;
  if (!Number.isSafeInteger(value)) throw new UsageError(`'${text}' is not a whole number, expected one ${range}`);
  if (value < min || value > max) throw new UsageError(`${value} is out of range, expected a whole number ${range}`);
  return value;
}

/** One entry of a mount-option string; `value` is undefined for a bare name. */
export interface MountOption {
  readonly name: string;
  readonly value: string | undefined;
}

/** A mount-option string: `ro,errors=continue,compression=zstd:3`. */
export function parseMountOptions(text: string): readonly MountOption[] {
  return text.split(',').map(part => {
    const equals = part.indexOf('=');
    const name = equals < 0 ? part : part.slice(0, equals);
    if (name === '') throw new UsageError(`'${text}' has an empty entry, expected NAME or NAME=VALUE between commas`);
    return { name, value: equals < 0 ? undefined : part.slice(equals + 1) };
  });
}

/** yes/no in the spellings that people and the kernel use. */
export function parseBoolean(text: string): boolean {
  if (/^(1|y|yes|true|on)$/i.test(text)) return true;
  if (/^(0|n|no|false|off)$/i.test(text)) return false;
  throw new UsageError(`'${text}' is neither yes nor no, expected 1, yes, true, on or 0, no, false, off`);
}

/** @throws UsageError for what is not a UUID, and for the one that is all zeroes, which a kernel refuses */
export function parseUuid(text: string): string {
  const hex = text.toLowerCase().replaceAll('-', '');
  if (!/^[0-9a-f]{32}$/.test(hex) || /^0+$/.test(hex)) {
    throw new UsageError(`${JSON.stringify(text)} is not a UUID, expected 32 hexadecimal digits that are not all zero`);
  }
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

export interface Owner {
  readonly uid: number;
  readonly gid: number;
}

/** Ids are 32 bits, of which all ones means none. */
export const ID_MAX = 0xffff_fffe;

/** @throws UsageError */
export function parseOwner(text: string): Owner {
  const match = /^(\d{1,10}):(\d{1,10})$/.exec(text);
  const [uid, gid] = [Number(match?.[1] ?? Number.NaN), Number(match?.[2] ?? Number.NaN)];
  if (uid <= ID_MAX && gid <= ID_MAX) return { uid, gid };
  throw new UsageError(
    `found ${JSON.stringify(text)}, expected UID:GID, two numbers up to ${ID_MAX} such as 1000:1000`,
  );
}

/** @throws UsageError */
export function parseMode(text: string): number {
  if (/^[0-7]{1,5}$/.test(text) && Number.parseInt(text, 8) <= 0o7777) return Number.parseInt(text, 8);
  throw new UsageError(`found ${JSON.stringify(text)}, expected permissions in octal such as 0755`);
}
