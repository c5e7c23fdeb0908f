// Members of structs by the paths that people write: `parent`, `children[1]`, `c[0].hardlimit`, `btime.hi`, `min_key.offset`. A path leads to
// a run of bits, which is read and written as one number; which bits these are follows from the layouts that the program reads with.

import { UsageError } from './errors.ts';
import { type AnyLayout, type Codec, isLayout } from './layout.ts';

/** Bits of a struct, counted from its first byte's lowest one. */
export interface BitPlace {
  readonly bit: number;
  readonly bits: number;
  readonly isSigned?: boolean;
}

/** One step of a path: a name, or the number of an element. */
type Step = string | number;

/** @throws UsageError for what is not a path */
function stepsOf(path: string): readonly Step[] {
  const steps: Step[] = [];
  for (const part of path.split('.')) {
    const found = /^([A-Za-z0-9_]+)((?:\[\d{1,9}\])*)$/.exec(part);
    if (found === null) throw new UsageError(`'${path.slice(0, 80)}' is not a field such as parent or children[1]`);
    steps.push(found[1]!);
    for (const [, index] of found[2]!.matchAll(/\[(\d+)\]/g)) steps.push(Number(index));
  }
  return steps;
}

/** Parts of what is one value to the program. */
const PARTS: Readonly<Record<string, Readonly<Record<string, BitPlace>>>> = {
  bpos: { snapshot: { bit: 0, bits: 32 }, offset: { bit: 32, bits: 64 }, inode: { bit: 96, bits: 64 } },
  'u8[16]': { lo: { bit: 0, bits: 64 }, hi: { bit: 64, bits: 64 } },
  bch_csum: { lo: { bit: 0, bits: 64 }, hi: { bit: 64, bits: 64 } },
};

/**
 * Where a path leads to.
 * @throws UsageError for paths that lead nowhere, or to more than a number
 */
export function placeInStruct(layout: AnyLayout, path: string): BitPlace {
  let codec: Codec<unknown> = layout;
  let at = 0;
  const steps = stepsOf(path);
  for (const [i, step] of steps.entries()) {
    if (typeof step === 'number') {
      const { element } = codec;
      if (element === undefined || (step + 1) * element.size > codec.size) {
        throw new UsageError(`${path}: there is no element ${step} in a ${codec.type}`);
      }
      at += step * element.size;
      codec = element;
      continue;
    }
    const parts = PARTS[codec.type] ?? {};
    const part = Object.hasOwn(parts, step) ? parts[step] : undefined;
    if (part !== undefined && i === steps.length - 1) return { ...part, bit: 8 * at + part.bit };
    const field = isLayout(codec) && Object.hasOwn(codec.fields, step) ? codec.fields[step] : undefined;
    if (field === undefined) {
      const names = isLayout(codec) ? Object.keys(codec.fields) : Object.keys(PARTS[codec.type] ?? {});
      throw new UsageError(`there is no field ${path}${names.length === 0 ? '' : `, only ${names.join(', ')}`}`);
    }
    at += field.at;
    codec = field.codec;
  }
  if (!/^(u8|u16|u32|u64|i64|count64)$/.test(codec.type)) {
    const parts = [...Object.keys(PARTS[codec.type] ?? {}), ...(isLayout(codec) ? Object.keys(codec.fields) : [])].map(
      part => `${path}.${part}`,
    );
    const element = codec.element === undefined ? [] : [`${path}[0]`];
    throw new UsageError(`${path} is a ${codec.type}, name one of its parts: ${[...parts, ...element].join(', ')}`);
  }
  return { bit: 8 * at, bits: 8 * codec.size, ...(codec.type === 'i64' ? { isSigned: true } : {}) };
}

/** How many elements the field at a path has; undefined where it is not a row of numbers. */
export function elementCount(layout: AnyLayout, name: string): number | undefined {
  const codec = Object.hasOwn(layout.fields, name) ? layout.fields[name]?.codec : undefined;
  if (codec?.element === undefined || isLayout(codec.element) || PARTS[codec.type] !== undefined) return undefined;
  return codec.size / codec.element.size;
}

/** The number in these bits; what lies past the end of the bytes is zero, as in values of older versions. */
export function readPlace(bytes: Uint8Array, { bit, bits, isSigned = false }: BitPlace): bigint {
  let word = 0n;
  const first = Math.floor(bit / 8);
  const end = Math.ceil((bit + bits) / 8);
  for (let at = end - 1; at >= first; at--) word = (word << 8n) | BigInt(bytes[at] ?? 0);
  const value = BigInt.asUintN(bits, word >> BigInt(bit - 8 * first));
  return isSigned ? BigInt.asIntN(bits, value) : value;
}

/**
 * A copy of the bytes with a number in these bits, longer where it lies past the end: a multiple of 8 bytes stays one.
 * @throws UsageError for numbers that do not fit
 */
export function withPlace(bytes: Uint8Array, { bit, bits }: BitPlace, value: bigint): Uint8Array {
  const fits = value >= 0n ? value >> BigInt(bits) === 0n : value >= -(1n << BigInt(bits - 1));
  if (!fits) throw new UsageError(`${value} does not fit into ${bits} bits`);
  const end = Math.ceil((bit + bits) / 8);
  const target = new Uint8Array(Math.max(bytes.length, 8 * Math.ceil(end / 8)));
  target.set(bytes);
  const first = Math.floor(bit / 8);
  const shift = BigInt(bit - 8 * first);
  const mask = ((1n << BigInt(bits)) - 1n) << shift;
  const wanted = BigInt.asUintN(bits, value) << shift;
  for (let at = first; at < end; at++) {
    const down = BigInt(8 * (at - first));
    const kept = BigInt(target[at]!) & ~(mask >> down) & 0xffn;
    target[at] = Number(kept | ((wanted >> down) & 0xffn));
  }
  return target;
}

/**
 * `12`, `0xff`, `-1`; undefined for what is not a number.
 */
export function parseNumber(text: string): bigint | undefined {
  if (/^(\d{1,20}|0x[0-9a-fA-F]{1,16})$/.test(text)) return BigInt(text);
  return /^-\d{1,19}$/.test(text) ? -BigInt(text.slice(1)) : undefined;
}
