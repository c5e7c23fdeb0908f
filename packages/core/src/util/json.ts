// Values as JSON can hold them.

import { InvariantError } from '../ondisk/errors.ts';
import { toHex } from './hex.ts';

/** What JSON.stringify writes without a loss. */
export type JsonValue =
  | null
  | boolean
  | number
  | string
  | readonly JsonValue[]
  | { readonly [name: string]: JsonValue };

/**
 * A copy with bigints up to 2^53 as numbers and greater ones as decimal strings, bytes as hex, and members that are undefined left
 * out.
 */
export function toJson(value: unknown): JsonValue {
  if (value === null || value === undefined) return null;
  switch (typeof value) {
    case 'bigint':
      return value >= BigInt(Number.MIN_SAFE_INTEGER) && value <= BigInt(Number.MAX_SAFE_INTEGER)
        ? Number(value)
        : `${value}`;
    case 'number':
    case 'boolean':
    case 'string':
      return value;
    case 'object':
      if (value instanceof Uint8Array) return toHex(value);
      if (Array.isArray(value)) return value.map(toJson);
      return Object.fromEntries(
        Object.entries(value).flatMap(([name, member]) => (member === undefined ? [] : [[name, toJson(member)]])),
      );
    default:
      throw new InvariantError(`a ${typeof value} has no JSON form`);
  }
}
