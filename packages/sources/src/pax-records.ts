// The records of an extended header: `LENGTH KEYWORD=VALUE\n`, one after the other, where the length counts all of the record. A value may
// be any bytes, newlines and NULs too; a keyword comes up to the first `=`.
// Source: pax in POSIX.1-2017.

import { TarHeaderError } from './tar-header.ts';

/** By keyword, each byte of it as a character; the last record of a keyword counts. */
export type PaxRecords = Map<string, Uint8Array>;

/** One region of GNU's sparse format 0.0 after the other, which repeats its keywords. */
export interface ParsedRecords {
  readonly records: PaxRecords;
  readonly sparsePairs: readonly (readonly [keyword: 'offset' | 'numbytes', value: Uint8Array])[];
}

/** @throws TarHeaderError */
export function parsePaxRecords(body: Uint8Array): ParsedRecords {
  const records: PaxRecords = new Map();
  const sparsePairs: [keyword: 'offset' | 'numbytes', value: Uint8Array][] = [];
  for (let at = 0; at < body.length; ) {
    // Some programs fill the rest with zeroes instead of counting exactly.
    if (body[at] === 0 && body.subarray(at).every(byte => byte === 0)) break;
    let [length, start] = [0, at];
    while (start < body.length && start - at < 10 && body[start]! >= 0x30 && body[start]! <= 0x39) {
      length = length * 10 + body[start]! - 0x30;
      start++;
    }
    const end = at + length;
    const equals = body.indexOf(0x3d, start + 1);
    const isWhole = start > at && body[start] === 0x20 && end <= body.length && body[end - 1] === 0x0a;
    if (!isWhole || equals < 0 || equals >= end - 1)
      throw new TarHeaderError(`an extended header is damaged at byte ${at} of it`);
    const keyword = Buffer.from(body.subarray(start + 1, equals)).toString('latin1');
    const value = body.slice(equals + 1, end - 1);
    if (keyword === 'GNU.sparse.offset') sparsePairs.push(['offset', value]);
    else if (keyword === 'GNU.sparse.numbytes') sparsePairs.push(['numbytes', value]);
    else records.set(keyword, value);
    at = end;
  }
  return { records, sparsePairs };
}

export const recordText = (value: Uint8Array): string => Buffer.from(value).toString('latin1');

/** Of digits only. @throws TarHeaderError */
export function recordNumber(records: PaxRecords, keyword: string): bigint | undefined {
  const value = records.get(keyword);
  if (value === undefined || value.length === 0) return undefined;
  const text = recordText(value);
  if (!/^\d{1,20}$/.test(text)) throw new TarHeaderError(`${keyword} of an extended header is not a number`);
  return BigInt(text);
}

/** `1700000000.123456789`, in nanoseconds; digits after the ninth are dropped, towards the past. @throws TarHeaderError */
export function recordTimeNs(records: PaxRecords, keyword: string): bigint | undefined {
  const value = records.get(keyword);
  if (value === undefined || value.length === 0) return undefined;
  const match = /^(-?)(\d{1,20})(?:\.(\d*))?$/.exec(recordText(value));
  if (match === null) throw new TarHeaderError(`${keyword} of an extended header is not a time`);
  const [, sign, seconds = '0', fraction = ''] = match;
  const ns = BigInt(seconds) * 1_000_000_000n + BigInt(fraction.padEnd(9, '0').slice(0, 9));
  if (sign !== '-') return ns;
  return /[1-9]/.test(fraction.slice(9)) ? -ns - 1n : -ns;
}
