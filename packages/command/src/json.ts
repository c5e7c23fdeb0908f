// How results become JSON: plain numbers, u64 above 2^53 as strings (never rounded), bytes as hex, keys in the order in
// which the command builds them. Characters that mislead on a terminal are escaped, which leaves the strings what they are.

import { printableBytes, printableJson, utf8Text } from '@bcachefs-ts/core/engine';

/** A document that carries its schema's name and version in front. */
export function jsonDocument(command: string, version: number, body: object): string {
  return `${printableJson(JSON.stringify({ schema: schemaName(command), version, ...body }, replaceValue, 2))}\n`;
}

/** One object on one line: events, errors, and the items of a stream. */
export function jsonLine(value: object): string {
  return `${printableJson(JSON.stringify(value, replaceValue))}\n`;
}

/** `bcachefs-ts/show-super`; the words of a nested command are joined with dashes. */
export function schemaName(command: string): string {
  return `bcachefs-ts/${command.replaceAll(' ', '-')}`;
}

/** A name or path in JSON: its text, and its bytes where they are not UTF-8. */
export function bytesFields<Name extends string>(name: Name, bytes: Uint8Array): Readonly<Record<string, string>> {
  const text = utf8Text(bytes);
  if (text !== undefined) return { [name]: text };
  return { [name]: printableBytes(bytes), [`${name}_hex`]: bytesToHex(bytes) };
}

function replaceValue(_key: string, value: unknown): unknown {
  if (typeof value === 'bigint') {
    const exact = value >= BigInt(Number.MIN_SAFE_INTEGER) && value <= BigInt(Number.MAX_SAFE_INTEGER);
    return exact ? Number(value) : value.toString();
  }
  if (typeof value === 'number' && !Number.isFinite(value)) return value.toString();
  if (value instanceof Uint8Array) return bytesToHex(value);
  if (value instanceof Map) return Object.fromEntries(value);
  if (value instanceof Set) return [...value];
  return value;
}

function bytesToHex(bytes: Uint8Array): string {
  let hex = '';
  for (const byte of bytes) hex += byte.toString(16).padStart(2, '0');
  return hex;
}
