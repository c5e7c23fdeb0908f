// Fields of keys by name, to be looked at and changed one by one: members of the structs that values begin with, the packed fields of inodes,
// the entries of extents, names and values of dirents and xattrs, counters, and the size and the version in a key's header. What a
// change means for other keys is not asked here, nor whether the key is valid afterwards.
//
//   setKeyField(key, 'bi_nlink', '5')           an inode, packed anew
//   setKeyField(key, 'ptr[1].dev', '5')         the second pointer of an extent
//   setKeyField(key, 'state', 'will_delete')    values by their names, where they have one
//   setKeyField(key, 'raw[3]', '0xff')          any byte of any value
//
// Source: the words are those of src/commands/kvdb.rs, v1.39.2, which has fields of fixed places only.

import { BKEY_U64S, type Key } from '../bkey.ts';
import { bpos, bposText } from '../bpos.ts';
import { btrees } from '../btrees.ts';
import { dataTypes } from '../data-types.ts';
import { UsageError } from '../errors.ts';
import {
  decodeExtentEntries,
  type ExtentEntry,
  encodeExtentEntries,
  extentEntryTypes,
  type WritableExtentEntry,
} from '../extent-entries.ts';
import { fileTypes, inodeFields, inodeFieldsV2, inodeFlags } from '../inode-tables.ts';
import type { Inode } from '../inode-unpack.ts';
import { viewOf } from '../layout.ts';
import { parsePosition } from '../notation.ts';
import { strHashTypes } from '../str-hash-types.ts';
import { type BitPlace, elementCount, parseNumber, placeInStruct, readPlace, withPlace } from '../struct-fields.ts';
import type { Row, Table } from '../table.ts';
import { dirent } from './dirent.ts';
import { inode, inodeV2, inodeV3 } from './inode.ts';
import { type KeyTypeName, keyTypes } from './key-types.ts';
import type { KeyKind } from './kind.ts';
import { snapshotFlags, snapshotStates } from './snapshot.ts';
import { subvolumeFlags, subvolumeStates } from './subvolume.ts';
import { valueLayoutOf } from './value-layouts.ts';
import { xattr } from './xattr.ts';

/** What a field holds: a number, several of them, a position or a text. */
export type KeyFieldValue = bigint | readonly bigint[] | string;

/** One field of one key. */
interface KeyField {
  get(): KeyFieldValue;
  /** @throws UsageError for what cannot be its value */
  set(text: string): Key;
}

/** @throws UsageError for fields that the key does not have */
export function keyField(key: Key, path: string): KeyFieldValue {
  return fieldOf(key, path).get();
}

/**
 * The key with another value in one of its fields; its length follows.
 * @throws UsageError for fields that it does not have, and values that they cannot hold
 */
export function setKeyField(key: Key, path: string, value: string): Key {
  return fieldOf(key, path).set(value);
}

/** Values that have names. */
const NAMED_VALUES: { readonly [name in KeyTypeName]?: Readonly<Record<string, Table<Row>>> } = {
  snapshot: { state: snapshotStates },
  subvolume: { state: subvolumeStates },
  alloc_v4: { data_type: dataTypes },
  backpointer: { data_type: dataTypes, btree_id: btrees },
  dirent: { d_type: fileTypes },
  inode: { str_hash: strHashTypes },
  inode_v2: { str_hash: strHashTypes },
  inode_v3: { str_hash: strHashTypes },
};

/** Bits that have names. */
const NAMED_BITS: { readonly [name in KeyTypeName]?: readonly [field: string, names: Table<Row>] } = {
  snapshot: ['flags', snapshotFlags],
  subvolume: ['flags', subvolumeFlags],
  inode: ['bi_flags', inodeFlags],
  inode_v2: ['bi_flags', inodeFlags],
  inode_v3: ['bi_flags', inodeFlags],
};

function fieldOf(key: Key, path: string): KeyField {
  const type = keyTypes.byId(key.k.type)?.name;
  const known = headerField(key, path) ?? rawField(key, path);
  if (known !== undefined) return known;
  switch (type) {
    case 'inode':
      return inodeField(key, path, type, inode);
    case 'inode_v2':
      return inodeField(key, path, type, inodeV2);
    case 'inode_v3':
      return inodeField(key, path, type, inodeV3);
    case 'accounting':
      return elementField(key, path, 'counters', { bits: 64, isSigned: true });
    case 'bucket_gens':
      return elementField(key, path, 'gens', { bits: 8 });
    case 'error':
      if (path === 'reason') return placeField(key, { bit: 0, bits: 8 }, path);
      break;
    case 'dirent':
      if (path === 'd_name') return textField(key, path, dirent, 'name');
      if (path === 'd_cf_name') return textField(key, path, dirent, 'casefoldedName');
      // The highest bits of the byte say something else.
      if (path === 'd_type') return placeField(key, { bit: 64, bits: 5 }, path, fileTypes);
      break;
    case 'xattr':
      if (path === 'x_name') return textField(key, path, xattr, 'name');
      if (path === 'x_value') return textField(key, path, xattr, 'value');
      break;
  }
  return valueField(key, path, type);
}

/** The size and the version, which are not part of the value. */
function headerField(key: Key, path: string): KeyField | undefined {
  const { k } = key;
  const header = (get: bigint, bits: number, change: (value: bigint) => Partial<Key['k']>): KeyField => ({
    get: () => get,
    set: text => ({ ...key, k: { ...k, ...change(numberOf(path, text, bits)) } }),
  });
  if (path === 'k.size') return header(BigInt(k.size), 32, value => ({ size: Number(value) }));
  if (path === 'k.version.lo') return header(k.bversion_lo, 64, value => ({ bversion_lo: value }));
  if (path === 'k.version.hi') return header(BigInt(k.bversion_hi), 32, value => ({ bversion_hi: Number(value) }));
  return undefined;
}

/** A byte of the value, whatever the type. */
function rawField(key: Key, path: string): KeyField | undefined {
  const found = /^raw\[(\d{1,6})\]$/.exec(path);
  if (found === null) return undefined;
  const at = Number(found[1]);
  if (at >= key.value.length) throw new UsageError(`${path}: the value has ${key.value.length} bytes`);
  return placeField(key, { bit: 8 * at, bits: 8 }, path);
}

/** What lies at a fixed place, or in an extent entry. */
function valueField(key: Key, path: string, type: KeyTypeName | undefined): KeyField {
  const { layout, entries } = valueLayoutOf(key.k.type) ?? {};
  if (layout !== undefined && type !== undefined) {
    const bits = NAMED_BITS[type];
    const row = bits?.[1].byName(path.startsWith(`${bits[0]}.`) ? path.slice(bits[0].length + 1) : path);
    // A field of the same name goes first.
    if (bits !== undefined && row !== undefined && !Object.hasOwn(layout.fields, path)) {
      const place = placeInStruct(layout, bits[0]);
      return placeField(key, { bit: place.bit + row.id, bits: 1 }, path);
    }
    if (Object.hasOwn(layout.fields, path) && layout.fields[path]!.codec === bpos) {
      return positionField(key, layout.fields[path]!.at, path);
    }
    const count = elementCount(layout, path);
    if (count !== undefined) {
      const places = Array.from({ length: count }, (_, i) => placeInStruct(layout, `${path}[${i}]`));
      return {
        get: () => places.map(place => readPlace(key.value, place)),
        set: () => {
          throw new UsageError(`${path} has ${count} elements, set one of them: ${path}[0]`);
        },
      };
    }
  }
  const entry = entries === undefined ? undefined : entryField(key, path, layout?.size ?? 0);
  if (entry !== undefined) return entry;
  if (layout === undefined) {
    const what = type === undefined ? 'of an unknown type' : `of type ${type}`;
    throw new UsageError(`a key ${what} has no field ${path.slice(0, 80)}; raw[N] is a byte of its value`);
  }
  return placeField(
    key,
    placeInStruct(layout, path),
    path,
    type === undefined ? undefined : NAMED_VALUES[type]?.[path],
  );
}

const placeField = (key: Key, place: BitPlace, path: string, names?: Table<Row>): KeyField => ({
  get: () => readPlace(key.value, place),
  set: text => {
    const value = named(path, text, names) ?? numberOf(path, text, place.bits);
    return withValue(key, withPlace(key.value, place, value));
  },
});

/** Elements that fill the whole value. */
function elementField(key: Key, path: string, name: string, element: Omit<BitPlace, 'bit'>): KeyField {
  const count = (8 * key.value.length) / element.bits;
  const places = Array.from({ length: count }, (_, i): BitPlace => ({ ...element, bit: i * element.bits }));
  if (path === name) {
    return {
      get: () => places.map(place => readPlace(key.value, place)),
      set: () => {
        throw new UsageError(`${name} has ${count} elements, set one of them: ${name}[0]`);
      },
    };
  }
  const found = new RegExp(`^${name}\\[(\\d{1,4})\\]$`).exec(path);
  if (found === null) throw new UsageError(`there is no field ${path.slice(0, 80)}, only ${name} and ${name}[N]`);
  const place = { ...element, bit: Number(found[1]) * element.bits };
  if (place.bit + place.bits > 8 * VALUE_BYTES_MAX) throw new UsageError(`${path}: a value ends before that`);
  return placeField(key, place, path);
}

const positionField = (key: Key, at: number, path: string): KeyField => ({
  get: () => bposText(bpos.get(viewOf(withLength(key.value, at + bpos.size)), at)),
  set: text => {
    const value = Uint8Array.from(withLength(key.value, at + bpos.size));
    bpos.put(viewOf(value), at, positionOf(path, text));
    return withValue(key, value);
  },
});

function positionOf(path: string, text: string) {
  try {
    return parsePosition(text);
  } catch (thrown) {
    if (thrown instanceof UsageError) throw new UsageError(`${path}: ${thrown.detail}`);
    throw thrown;
  }
}

/** A packed field of an inode, its mode, its flags. */
function inodeField(key: Key, path: string, type: 'inode' | 'inode_v2' | 'inode_v3', kind: KeyKind<Inode>): KeyField {
  if (key.value.length < kind.minBytes) throw new UsageError(`a value of ${key.value.length} bytes has no fields`);
  const value = kind.decode(key.value);
  const change = (fields: Partial<Inode>) => withValue(key, kind.encode({ ...value, ...fields }));
  const flag = inodeFlags.byName(path.replace(/^bi_flags\./, ''));
  if (flag !== undefined) {
    const bit = 1 << flag.id;
    return {
      get: () => ((value.bi_flags & bit) === 0 ? 0n : 1n),
      set: text => change({ bi_flags: numberOf(path, text, 1) === 1n ? value.bi_flags | bit : value.bi_flags & ~bit }),
    };
  }
  const headerBits = Object.hasOwn(INODE_HEADER_BITS, path) ? INODE_HEADER_BITS[path] : undefined;
  const bits = headerBits ?? (type === 'inode_v3' ? inodeFields : inodeFieldsV2).byName(path)?.bits;
  if (bits === undefined) {
    const names = [...Object.keys(INODE_HEADER_BITS), ...inodeFields.rows.map(({ name }) => name)];
    throw new UsageError(`an inode has no field ${path.slice(0, 80)}, only ${names.join(', ')}, and flags by name`);
  }
  const now = value[path as keyof Inode] as number | bigint;
  return {
    get: () => BigInt(now),
    set: text => {
      const wanted = named(path, text, NAMED_VALUES[type]?.[path]) ?? numberOf(path, text, Math.min(64, bits));
      const unsigned = BigInt.asUintN(Math.min(64, bits), wanted);
      return change({ [path]: typeof now === 'bigint' ? unsigned : Number(unsigned) });
    },
  };
}

/** What is not packed. */
const INODE_HEADER_BITS: Readonly<Record<string, number>> = {
  bi_journal_seq: 64,
  bi_hash_seed: 64,
  bi_flags: 20,
  bi_mode: 16,
  bi_size: 64,
  bi_sectors: 64,
  bi_version: 64,
  str_hash: 4,
};

/** Names and values that are bytes: UTF-8, with \xHH for others. */
function textField<V extends object>(key: Key, path: string, kind: KeyKind<V>, member: keyof V & string): KeyField {
  if (key.value.length < kind.minBytes) throw new UsageError(`a value of ${key.value.length} bytes has no ${path}`);
  const value = kind.decode(key.value);
  const now: unknown = value[member];
  if (!(now instanceof Uint8Array)) throw new UsageError(`this key has no ${path}`);
  return {
    get: () => bytesToText(now),
    set: text => withValue(key, kind.encode({ ...value, [member]: textToBytes(text) })),
  };
}

function bytesToText(bytes: Uint8Array): string {
  const text = new TextDecoder().decode(bytes);
  const isPlain = !/[\\\p{Cc}\ufffd]/u.test(text);
  return isPlain
    ? text
    : Array.from(bytes, byte =>
        byte > 0x20 && byte < 0x7f && byte !== 0x5c
          ? String.fromCharCode(byte)
          : `\\x${byte.toString(16).padStart(2, '0')}`,
      ).join('');
}

function textToBytes(text: string): Uint8Array {
  const parts = text
    .split(/(\\x[0-9a-fA-F]{2})/)
    .map(part =>
      /^\\x[0-9a-fA-F]{2}$/.test(part) ? [Number.parseInt(part.slice(2), 16)] : [...new TextEncoder().encode(part)],
    );
  return Uint8Array.from(parts.flat());
}

/** `ptr[1].dev`, `crc32.csum_type`: the entry by its type and its number among those, and a field of it. */
function entryField(key: Key, path: string, entriesAt: number): KeyField | undefined {
  const found = /^([a-z0-9_]+?)(?:\[(\d{1,3})\])?\.([a-z_]+)$/.exec(path);
  const row = extentEntryTypes.byName(found?.[1] ?? '');
  if (found === null || row === undefined) return undefined;
  let at = entriesAt;
  let left = Number(found[2] ?? 0);
  for (const entry of decodeExtentEntries(key.value.subarray(entriesAt))) {
    if (entry.type === row.name && left-- === 0) return fieldOfEntry(key, path, at, entry, found[3]!);
    at += 8 * (extentEntryTypes.byName(entry.type)?.u64s ?? 1);
  }
  throw new UsageError(`${path}: the key has no such ${row.name}`);
}

function fieldOfEntry(key: Key, path: string, at: number, entry: ExtentEntry, name: string): KeyField {
  const { type, ...fields } = entry;
  const now = Object.hasOwn(fields, name) ? (fields as Record<string, unknown>)[name] : undefined;
  if (now === undefined) {
    throw new UsageError(`a ${type} has no field ${name}, only ${Object.keys(fields).join(', ')}`);
  }
  return {
    get: () => BigInt(now as number | bigint | boolean),
    set: text => {
      if (!isWritable(entry))
        throw new UsageError(`${path}: entries of type ${type} are only shown; raw[N] sets a byte`);
      const wanted = numberOf(path, text, 64);
      const changed = { ...entry, [name]: valueLike(now, wanted) } as WritableExtentEntry;
      const bytes = encodeExtentEntries([fitting(path, changed, name)]);
      const value = Uint8Array.from(key.value);
      value.set(bytes, at);
      return withValue(key, value);
    },
  };
}

const isWritable = (entry: ExtentEntry): entry is WritableExtentEntry => Object.hasOwn(ENTRY_FIELD_LIMITS, entry.type);

const valueLike = (now: unknown, wanted: bigint) =>
  typeof now === 'bigint' ? wanted : typeof now === 'boolean' ? wanted !== 0n : Number(wanted);

/** Encoded and decoded again: what an entry cannot hold would be cut off. */
function fitting(path: string, entry: WritableExtentEntry, name: string): WritableExtentEntry {
  const limit = ENTRY_FIELD_LIMITS[entry.type]?.[name];
  const value = (entry as unknown as Record<string, number | bigint | boolean>)[name]!;
  const [least, most] = limit ?? [0n, 0n];
  if (limit === undefined || BigInt(value) < least || BigInt(value) > most) {
    throw new UsageError(
      limit === undefined ? `${path}: it is always ${value}` : `${path}: ${value} is not from ${least} to ${most}`,
    );
  }
  return entry;
}

/** What the bits of an entry can hold: least and most. Sizes are stored less one. */
type Limits = Readonly<Record<string, readonly [least: bigint, most: bigint]>>;
const upTo = (bits: number): readonly [bigint, bigint] => [0n, (1n << BigInt(bits)) - 1n];
const sizeOf = (bits: number): readonly [bigint, bigint] => [1n, 1n << BigInt(bits)];
const crcLimits = (bits: number, nonceBits: number, csumLo: number, csumHi: number): Limits => ({
  compressed_size: sizeOf(bits),
  uncompressed_size: sizeOf(bits),
  offset: upTo(bits),
  csum_type: upTo(4),
  compression_type: upTo(4),
  csum_lo: upTo(csumLo),
  ...(nonceBits === 0 ? {} : { nonce: upTo(nonceBits) }),
  ...(csumHi === 0 ? {} : { csum_hi: upTo(csumHi) }),
});
const ENTRY_FIELD_LIMITS: Readonly<Record<WritableExtentEntry['type'], Limits>> = {
  ptr: { cached: upTo(1), unwritten: upTo(1), offset: upTo(44), dev: upTo(8), gen: upTo(8) },
  crc32: crcLimits(7, 0, 32, 0),
  crc64: crcLimits(9, 10, 64, 16),
  crc128: crcLimits(13, 13, 64, 64),
  stripe_ptr: { block: upTo(8), redundancy: upTo(4), idx: upTo(47) },
  rebalance_v1: {
    promote_target: upTo(16),
    erasure_code: upTo(1),
    data_checksum: upTo(4),
    data_replicas: upTo(4),
    background_compression: upTo(8),
    background_target: upTo(16),
    from_inode: upTo(6),
  },
};

function named(path: string, text: string, names: Table<Row> | undefined): bigint | undefined {
  if (parseNumber(text) !== undefined) return undefined;
  const row = names?.byName(text);
  if (row !== undefined) return BigInt(row.id);
  const expected =
    names === undefined ? 'a number' : `a number or one of ${names.rows.map(({ name }) => name).join(', ')}`;
  throw new UsageError(`${path}: found '${text.slice(0, 80)}', expected ${expected}`);
}

function numberOf(path: string, text: string, bits: number): bigint {
  const value = parseNumber(text);
  if (value === undefined) throw new UsageError(`${path}: found '${text.slice(0, 80)}', expected a number`);
  const isIn = value >= 0n ? value >> BigInt(bits) === 0n : value >= -(1n << BigInt(bits - 1));
  if (!isIn) throw new UsageError(`${path}: ${value} does not fit into ${bits} bits`);
  return BigInt.asUintN(bits, value);
}

/** A key's length is a byte of u64s. */
const VALUE_BYTES_MAX = 8 * (0xff - BKEY_U64S);

/**
 * The key with another value, and a length to match.
 * @throws UsageError for values that no key can hold
 */
export function withValue(key: Key, value: Uint8Array): Key {
  const padded = withLength(value, 8 * Math.ceil(value.length / 8));
  if (padded.length > VALUE_BYTES_MAX) {
    throw new UsageError(`a value of ${padded.length} bytes, a key can have ${VALUE_BYTES_MAX}`);
  }
  return { k: { ...key.k, u64s: BKEY_U64S + padded.length / 8 }, value: padded };
}

function withLength(value: Uint8Array, length: number): Uint8Array {
  if (value.length >= length) return value;
  const longer = new Uint8Array(8 * Math.ceil(length / 8));
  longer.set(value);
  return longer;
}
