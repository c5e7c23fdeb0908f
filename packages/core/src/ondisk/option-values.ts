// Values of options: read from text, checked, printed, and moved between a superblock or member and what they mean.
// Everything follows from the option's row; an option never appears here by name.
// Source: bch2_opt_parse, bch2_opt_validate, bch2_opt_to_text, bch2_opt_from_sb, __bch2_opt_set_sb in opts.c, v1.13.0
// to v1.39.2.

import { exactText, humanText, parseHuman } from '../util/human.ts';
import { type BitRange, getBigBits, withBits } from './bits.ts';
import { compressionText, isCompressionValid, parseCompression } from './compression-types.ts';
import { assert, UsageError } from './errors.ts';
import type { FaultName } from './faults.ts';
import {
  isOptionKnownTo,
  isOptionOf,
  type OptionEncoding,
  type OptionName,
  type OptionRow,
  type OptionStorage,
  type OptionType,
  option,
  optionAt,
  options,
} from './options.ts';
import type { Release } from './releases.ts';

/** A number where it fits 53 bits, a bigint above. Sizes are bytes, choices are indexes, bools 0 and 1. */
export type OptionNumber = number | bigint;

/** Targets, labels and free texts stay text until something resolves them. */
export type OptionValue = OptionNumber | string;

function asNumber(value: bigint): OptionNumber {
  return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value;
}

export function defaultOptionValue(name: OptionName, release: Release = '1.13'): OptionNumber {
  return optionAt(release, option(name)).default;
}

// ---- stored numbers

/** What a stored number means; plusOne's zero means that nothing was set, thus `unset`. */
export function storedToOption(encoding: OptionEncoding, stored: bigint, unset: OptionNumber): OptionNumber {
  switch (encoding) {
    case 'plain':
      return asNumber(stored);
    case 'sectors':
      return asNumber(stored * 512n);
    case 'log2Sectors':
      return asNumber(512n << stored);
    case 'plusOne':
      return stored === 0n ? unset : asNumber(stored - 1n);
  }
}

/** The number to store; the value has been validated. */
export function optionToStored(encoding: OptionEncoding, value: OptionNumber): bigint {
  const wanted = BigInt(value);
  switch (encoding) {
    case 'plain':
      return wanted;
    case 'plusOne':
      return wanted + 1n;
    case 'sectors':
      assert(wanted % 512n === 0n, `${value} is not a whole number of sectors`);
      return wanted / 512n;
    case 'log2Sectors': {
      const log2 = wanted.toString(2).length - 10;
      assert(log2 >= 0 && wanted === 512n << BigInt(log2), `${value} is not a power of two of at least 512`);
      return BigInt(log2);
    }
  }
}

function getSplit(words: readonly bigint[], ranges: readonly BitRange[]): bigint {
  let value = 0n;
  let shift = 0n;
  for (const range of ranges) {
    value |= getBigBits(words, range) << shift;
    shift += BigInt(range.hi - range.lo);
  }
  return value;
}

function withSplit(words: readonly bigint[], ranges: readonly BitRange[], value: bigint): readonly bigint[] {
  let changed = words;
  let rest = value;
  ranges.forEach((range, index) => {
    const width = BigInt(range.hi - range.lo);
    const isLast = index === ranges.length - 1;
    changed = withBits(changed, range, isLast ? rest : rest & ((1n << width) - 1n));
    rest >>= width;
  });
  return changed;
}

/** The members of a superblock that hold options. */
export interface SbOptionSource {
  /** Sectors. */
  readonly block_size: number;
  readonly flags: readonly bigint[];
}

/** The members of a bch_member that hold options. */
export interface MemberOptionSource {
  readonly flags: bigint;
  /** Sectors. */
  readonly bucket_size: number;
}

/**
 * The value that a superblock holds; what is not stored there has its default. Reads what the bits say: see
 * sb-fixups.ts for what the reference changes before it does.
 * @param extFlags0 `flags0` of the ext section, where it has one
 */
export function optionFromSuperblock(
  row: OptionRow,
  sb: SbOptionSource,
  extFlags0: bigint = 0n,
  release: Release = '1.39',
): OptionNumber {
  const { storage, default: standard } = optionAt(release, row);
  switch (storage.in) {
    case 'sb':
      return storedToOption(storage.encoding, getSplit(sb.flags, storage.bits), standard);
    case 'ext':
      return storedToOption(storage.encoding, getBigBits([extFlags0], storage.bits), standard);
    case 'block_size':
      return storedToOption(storage.encoding, BigInt(sb.block_size), standard);
    case 'member':
    case 'member_field':
    case 'nowhere':
      return standard;
  }
}

/**
 * The value of a device option that a member holds; other options have their default. Free texts are fields of the
 * member.
 */
export function optionFromMember(row: OptionRow, member: MemberOptionSource, release: Release = '1.39'): OptionNumber {
  const { storage, default: standard } = optionAt(release, row);
  if (storage.in === 'member') {
    return storedToOption(storage.encoding, getBigBits([member.flags], storage.bits), standard);
  }
  if (storage.in === 'member_field' && storage.field === 'bucket_size') return member.bucket_size * 512;
  return standard;
}

/** Whether `withOption` can put it into a superblock. @param version the filesystem's, where it is of one */
export function isStoredInSuperblock(row: OptionRow, release: Release = '1.13', version?: number): boolean {
  if (!(version === undefined ? isOptionKnownTo(release, row) : isOptionOf(version, release, row))) return false;
  const { storage } = optionAt(release, row);
  return storage.in === 'sb' || storage.in === 'block_size';
}

/**
 * A copy of the superblock with the option set. The option must be stored there and the value valid.
 * @throws InvariantError otherwise
 */
export function withOption<S extends SbOptionSource>(sb: S, name: OptionName, value: OptionNumber): S {
  const { storage }: { readonly storage: OptionStorage } = option(name);
  if (storage.in === 'block_size') {
    return { ...sb, block_size: Number(optionToStored(storage.encoding, value)) };
  }
  assert(storage.in === 'sb', `${name} is not stored in the superblock's flags`);
  return { ...sb, flags: withSplit(sb.flags, storage.bits, optionToStored(storage.encoding, value)) };
}

/** The same for `flags0` of the ext section. */
export function withExtOption(extFlags0: bigint, name: OptionName, value: OptionNumber): bigint {
  const { storage }: { readonly storage: OptionStorage } = option(name);
  assert(storage.in === 'ext', `${name} is not stored in the ext section`);
  const [changed = 0n] = withBits([extFlags0], storage.bits, optionToStored(storage.encoding, value));
  return changed;
}

/** The same for a member. */
export function withMemberOption<M extends MemberOptionSource>(member: M, name: OptionName, value: OptionNumber): M {
  const { storage }: { readonly storage: OptionStorage } = option(name);
  if (storage.in === 'member_field' && storage.field === 'bucket_size') {
    return { ...member, bucket_size: Number(optionToStored(storage.encoding, value)) };
  }
  assert(storage.in === 'member', `${name} is not stored in the members' flags`);
  const [flags = 0n] = withBits([member.flags], storage.bits, optionToStored(storage.encoding, value));
  return { ...member, flags };
}

// ---- checking

export interface OptionProblem {
  /** The reference's name for it: `ERANGE_option_too_small`, `opt_parse_error`, … */
  readonly error: FaultName;
  /** What was found and what was expected, without the option's name. */
  readonly detail: string;
}

/** What is wrong with a value, or null; mirrors bch2_opt_validate. Texts are checked by what resolves them. */
export function validateOption(row: OptionRow, value: OptionValue, release: Release = '1.13'): OptionProblem | null {
  const { type } = optionAt(release, row);
  if (typeof value === 'string') return validateText(type, value);
  switch (type.kind) {
    case 'bool':
      return value === 0 || value === 1 ? null : problem('option_not_bool', value, '0 or 1');
    case 'uint':
      return validateUint(type, value);
    case 'choice':
      return value >= 0 && value < type.choices.length
        ? null
        : problem('ERANGE_option_too_big', value, `the number of one of ${type.choices.join(', ')}`);
    case 'flags':
      return validateFlags(type, BigInt(value));
    case 'compression':
      return isCompressionValid(Number(value))
        ? null
        : problem('invalid_sb_opt_compression', value, 'a known type, and a level only with a type');
    case 'target':
    case 'label':
    case 'text':
      return value >= 0 ? null : problem('option_negative', value, 'no negative number');
  }
}

function problem(error: FaultName, found: OptionNumber | string, expected: string): OptionProblem {
  return { error, detail: `found ${found}, expected ${expected}` };
}

function validateText(type: OptionType, text: string): OptionProblem | null {
  if (type.kind === 'target' || type.kind === 'label') return null;
  if (type.kind !== 'text') return problem('opt_parse_error', JSON.stringify(text), 'a number');
  const lengthBytes = new TextEncoder().encode(text).length;
  return lengthBytes <= type.maxBytes
    ? null
    : problem('ENAMETOOLONG', `${lengthBytes} bytes`, `at most ${type.maxBytes}`);
}

function validateUint(type: OptionType & { kind: 'uint' }, value: OptionNumber): OptionProblem | null {
  const text = type.human ? exactText : String;
  const found = value < 0 ? `${value}` : text(value);
  const range = `${text(type.min)} to ${text(type.max)}`;
  if (value < 0) return problem('option_negative', found, range);
  if (value < type.min) return problem('ERANGE_option_too_small', found, range);
  if (value > type.max) return problem('ERANGE_option_too_big', found, range);
  const whole = BigInt(value);
  if (type.wholeSectors && whole % 512n !== 0n) return problem('opt_parse_error', found, 'a multiple of 512');
  if (type.powerOfTwo && (whole === 0n || (whole & (whole - 1n)) !== 0n)) {
    return problem('opt_parse_error', found, `a power of two from ${range}`);
  }
  return null;
}

function validateFlags(type: OptionType & { kind: 'flags' }, value: bigint): OptionProblem | null {
  const allowed = type.allowed ?? (1n << BigInt(type.choices.length)) - 1n;
  if ((value & ~allowed) === 0n) return null;
  const names = type.choices.filter((_, bit) => (allowed >> BigInt(bit)) & 1n);
  return problem('opt_parse_error', `bits 0x${value.toString(16)}`, `some of ${names.join(', ')}`);
}

/**
 * What is wrong with the options that a superblock holds: a release that finds any of it refuses the filesystem.
 * Expects flags that went through `fixedOnRead`. The ext section is left out: its zeroes get their defaults later.
 */
export function storedOptionProblems(
  sb: SbOptionSource,
  release: Release = '1.13',
  version?: number,
): readonly (OptionProblem & { readonly option: OptionName })[] {
  return options.rows
    .filter(row => isStoredInSuperblock(row, release, version))
    .flatMap(row => {
      const wrong = validateOption(row, optionFromSuperblock(row, sb, 0n, release), release);
      return wrong === null ? [] : [{ option: row.name, ...wrong }];
    });
}

// ---- text to value

const yes = ['1', 'y', 'yes', 'true', 'on'];
const no = ['0', 'n', 'no', 'false', 'off'];

/**
 * Reads and validates what a user gave.
 * @param text undefined when the option stands without a value
 * @param release whose options and ranges count; 1.13 for what we write
 * @throws UsageError naming the option, what was found and what was expected
 */
export function parseOptionValue(row: OptionRow, text: string | undefined, release: Release = '1.13'): OptionValue {
  if (!isOptionKnownTo(release, row)) {
    throw new UsageError(
      row.until === undefined
        ? `does not exist in the ${release} format, only since ${row.since}`
        : `does not exist in the ${release} format, only up to ${row.until}`,
      row.name,
    );
  }
  const { type } = optionAt(release, row);
  let value: OptionValue;
  try {
    value = parse(type, text);
  } catch (thrown) {
    if (!(thrown instanceof UsageError)) throw thrown;
    throw new UsageError(thrown.detail, row.name);
  }
  const wrong = validateOption(row, value, release);
  if (wrong !== null) throw new UsageError(wrong.detail, row.name);
  return value;
}

function parse(type: OptionType, text: string | undefined): OptionValue {
  if (type.kind === 'bool') return parseBool(text ?? '1');
  if (type.kind === 'choice') return parseChoice(type, text);
  if (text === undefined) throw new UsageError('needs a value');
  switch (type.kind) {
    case 'uint':
      return parseUint(type, text);
    case 'flags':
      return parseFlags(type, text);
    case 'compression':
      return parseCompression(text);
    case 'target':
    case 'label':
    case 'text':
      return text;
  }
}

function parseBool(text: string): number {
  const lower = text.toLowerCase();
  if (yes.includes(lower)) return 1;
  if (no.includes(lower)) return 0;
  throw new UsageError(`found ${JSON.stringify(text)}, expected yes or no`);
}

/** Where the choices know yes and no, other words for them are taken as well. */
function parseChoice(type: OptionType & { kind: 'choice' }, text: string | undefined): number {
  const given = text ?? type.bare;
  if (given === undefined) throw new UsageError(`needs a value, one of ${type.choices.join(', ')}`);
  const exact = type.choices.indexOf(given);
  if (exact >= 0) return exact;
  const lower = given.toLowerCase();
  const word = yes.includes(lower) ? 'yes' : no.includes(lower) ? 'no' : undefined;
  const index = word === undefined || !type.choices.includes('yes') ? -1 : type.choices.indexOf(word);
  if (index < 0) throw new UsageError(`found ${JSON.stringify(given)}, expected one of ${type.choices.join(', ')}`);
  return index;
}

function parseUint(type: OptionType & { kind: 'uint' }, text: string): OptionNumber {
  if (text.startsWith('-')) throw new UsageError(`found ${text}, expected no negative number`);
  if (type.human) return asNumber(parseHuman(text));
  if (!/^\d{1,20}$/.test(text)) throw new UsageError(`found ${JSON.stringify(text)}, expected a whole number`);
  return asNumber(BigInt(text));
}

function parseFlags(type: OptionType & { kind: 'flags' }, text: string): OptionNumber {
  let mask = 0n;
  for (const name of text.trim().split(/[,;]/)) {
    const bit = type.choices.indexOf(name);
    const isAllowed = bit >= 0 && (type.allowed === undefined || (type.allowed >> BigInt(bit)) & 1n);
    if (!isAllowed) {
      const known = type.choices.filter((_, i) => type.allowed === undefined || (type.allowed >> BigInt(i)) & 1n);
      throw new UsageError(`found ${JSON.stringify(name)}, expected some of ${known.join(',')}`);
    }
    mask |= 1n << BigInt(bit);
  }
  return asNumber(mask);
}

// ---- value to text

export interface OptionTextStyle {
  /** Whose names, choices and rounding of sizes; 1.13 takes its own options but prints as 1.36 does. */
  readonly release?: Release;
  /** `list`: all choices, the chosen one in brackets, as show-super prints; `value`: only the value. */
  readonly choices?: 'list' | 'value';
  /** Names a target; the value is never 0, which is `none`. */
  readonly targetText?: (target: number) => string;
  /** Names a label; the value is never 0, which is `none`. */
  readonly labelText?: (label: number) => string;
}

/** What show-super prints after an option's name; mirrors bch2_opt_to_text. Lists of choices end with a space. */
export function optionToText(row: OptionRow, value: OptionValue, style: OptionTextStyle = {}): string {
  const { release = '1.36', choices = 'list' } = style;
  if (typeof value === 'string') return value;
  const { type } = optionAt(release, row);
  switch (type.kind) {
    case 'bool':
      return `${value}`;
    case 'uint':
      return type.human
        ? humanText(value, release === '1.39' ? '1.39' : '1.36')
        : `${BigInt.asIntN(64, BigInt(value))}`;
    case 'choice': {
      const chosen = type.choices[Number(value)];
      if (chosen === undefined) return `(invalid option ${value})`;
      if (choices === 'value') return chosen;
      return type.choices.map(name => (name === chosen ? `[${name}] ` : `${name} `)).join('');
    }
    case 'flags':
      return type.choices.filter((_, bit) => (BigInt(value) >> BigInt(bit)) & 1n).join(',');
    case 'compression':
      return compressionText(Number(value));
    case 'target':
      return value === 0 ? 'none' : (style.targetText?.(Number(value)) ?? `target ${value}`);
    case 'label':
      return value === 0 ? 'none' : (style.labelText?.(Number(value)) ?? `label ${value}`);
    case 'text':
      return '';
  }
}

/** `acl`, `noacl`, `errors=ro`: as the reference shows mount options. */
export function mountOptionText(row: OptionRow, value: OptionValue, style: OptionTextStyle = {}): string {
  if (optionAt(style.release ?? '1.36', row).type.kind === 'bool') return value === 0 ? `no${row.name}` : row.name;
  return `${row.name}=${optionToText(row, value, { ...style, choices: 'value' })}`;
}
