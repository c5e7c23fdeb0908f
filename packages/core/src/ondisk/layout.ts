// The struct helper: one declaration per on-disk struct that reads like the C one, checked when the module loads
// (no gap, no overlap, the right total), and used for reading, writing, offsets in hot loops and documentation.
//
//   export const Bset = layout('bset', 24, { seq: at(0, u64), …, u64s: at(22, u16) });
//   Bset.get(view, at)        a plain object, C member names
//   Bset.offset.u64s          22, for hot loops
//
// All integers are little-endian. Layouts are codecs themselves, so that structs nest.

import { assert, CorruptError } from './errors.ts';

/** How a run of bytes becomes a value and back. */
export interface Codec<T> {
  /** What documentation calls it: `u32`, `uuid`, `bch_sb_layout`. */
  readonly type: string;
  readonly size: number;
  get(view: DataView, at: number): T;
  put(view: DataView, at: number, value: T): void;
  /** What one element is, where it is a row of equal ones. */
  readonly element?: Codec<unknown>;
}

export interface FieldAt<T> {
  readonly at: number;
  readonly codec: Codec<T>;
}

type Fields = Record<string, FieldAt<unknown>>;
type ValueOf<F> = F extends FieldAt<infer T> ? T : never;
type StructOf<F extends Fields> = { readonly [K in keyof F]: ValueOf<F[K]> };

export interface Layout<F extends Fields> extends Codec<StructOf<F>> {
  readonly fields: F;
  /** Byte offset of each member. */
  readonly offset: { readonly [K in keyof F]: number };
}

/** A struct of any kind. */
export interface AnyLayout extends Codec<unknown> {
  readonly fields: Readonly<Record<string, FieldAt<unknown>>>;
}

export const isLayout = (codec: Codec<unknown>): codec is AnyLayout => 'fields' in codec;

/** The decoded form of a layout. */
export type Struct<L> = L extends Layout<infer F> ? StructOf<F> : never;

/** A member at a byte offset. */
export function at<T>(offset: number, codec: Codec<T>): FieldAt<T> {
  return { at: offset, codec };
}

/**
 * Declares a struct.
 * @param name the C struct's name
 * @param size its whole size in bytes
 * @param fields members in order of their offsets
 * @throws InvariantError at import when members leave a gap, overlap, or do not add up to `size`
 */
export function layout<F extends Fields>(name: string, size: number, fields: F): Layout<F> {
  const members = Object.entries(fields);
  let end = 0;
  for (const [member, field] of members) {
    assert(field.at === end, `${name}.${member} is declared at ${field.at}, the member before it ends at ${end}`);
    end += field.codec.size;
  }
  assert(end === size, `${name} is declared as ${size} bytes, its members end at ${end}`);

  return {
    type: name,
    size,
    fields,
    offset: Object.fromEntries(members.map(([member, field]) => [member, field.at])) as Layout<F>['offset'],
    get(view, base) {
      const value: Record<string, unknown> = {};
      for (const [member, field] of members) value[member] = field.codec.get(view, base + field.at);
      return value as StructOf<F>;
    },
    put(view, base, value) {
      for (const [member, field] of members) field.codec.put(view, base + field.at, value[member]);
    },
  };
}

export const u8: Codec<number> = {
  type: 'u8',
  size: 1,
  get: (view, offset) => view.getUint8(offset),
  put: (view, offset, value) => view.setUint8(offset, value),
};

export const u16: Codec<number> = {
  type: 'u16',
  size: 2,
  get: (view, offset) => view.getUint16(offset, true),
  put: (view, offset, value) => view.setUint16(offset, value, true),
};

export const u32: Codec<number> = {
  type: 'u32',
  size: 4,
  get: (view, offset) => view.getUint32(offset, true),
  put: (view, offset, value) => view.setUint32(offset, value, true),
};

/** An opaque 64-bit number: flags, magics, checksums, random sequence numbers. */
export const u64: Codec<bigint> = {
  type: 'u64',
  size: 8,
  get: (view, offset) => view.getBigUint64(offset, true),
  put: (view, offset, value) => view.setBigUint64(offset, value, true),
};

/** A signed 64-bit number, such as a time before 1970. */
export const i64: Codec<bigint> = {
  type: 'i64',
  size: 8,
  get: (view, offset) => view.getBigInt64(offset, true),
  put: (view, offset, value) => view.setBigInt64(offset, value, true),
};

/** A 64-bit number that counts something: exact as a number up to 2^53, corrupt above, never rounded. */
export const count64: Codec<number> = {
  type: 'count64',
  size: 8,
  get(view, offset) {
    const high = view.getUint32(offset + 4, true);
    if (high >= 0x20_0000) {
      const found = view.getBigUint64(offset, true);
      throw new CorruptError('count_out_of_range', {}, `a count of ${found} at byte ${offset}, expected below 2^53`);
    }
    return high * 0x1_0000_0000 + view.getUint32(offset, true);
  },
  put(view, offset, value) {
    assert(Number.isSafeInteger(value) && value >= 0, `a count must be a whole number below 2^53, got ${value}`);
    view.setUint32(offset, value % 0x1_0000_0000, true);
    view.setUint32(offset + 4, Math.floor(value / 0x1_0000_0000), true);
  },
};

/** Raw bytes: a view into the buffer when read, not a copy. */
export function bytes(length: number): Codec<Uint8Array> {
  return {
    type: `u8[${length}]`,
    size: length,
    element: u8,
    get: (view, offset) => new Uint8Array(view.buffer, view.byteOffset + offset, length),
    put(view, offset, value) {
      assert(value.length === length, `expected ${length} bytes, got ${value.length}`);
      new Uint8Array(view.buffer, view.byteOffset + offset, length).set(value);
    },
  };
}

/** Sixteen bytes in the usual text form, lower case. */
export const uuid: Codec<string> = {
  type: 'uuid',
  size: 16,
  get(view, offset) {
    let hex = '';
    for (let i = 0; i < 16; i++)
      hex += view
        .getUint8(offset + i)
        .toString(16)
        .padStart(2, '0');
    return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
  },
  put(view, offset, value) {
    const hex = value.replaceAll('-', '');
    assert(/^[0-9a-fA-F]{32}$/.test(hex), `not a UUID: ${value}`);
    for (let i = 0; i < 16; i++) view.setUint8(offset + i, Number.parseInt(hex.slice(2 * i, 2 * i + 2), 16));
  },
};

/** A fixed number of equal elements. */
export function array<T>(element: Codec<T>, length: number): Codec<readonly T[]> {
  return {
    type: `${element.type}[${length}]`,
    size: element.size * length,
    element: element as Codec<unknown>,
    get: (view, offset) => Array.from({ length }, (_, i) => element.get(view, offset + i * element.size)),
    put(view, offset, value) {
      assert(value.length === length, `expected ${length} elements, got ${value.length}`);
      value.forEach((item, i) => {
        element.put(view, offset + i * element.size, item);
      });
    },
  };
}

/** A DataView over exactly these bytes. */
export function viewOf(source: Uint8Array): DataView {
  return new DataView(source.buffer, source.byteOffset, source.byteLength);
}

/** The sixteen bytes of a UUID in text form. */
export function uuidBytes(text: string): Uint8Array {
  const raw = new Uint8Array(uuid.size);
  uuid.put(viewOf(raw), 0, text);
  return raw;
}
