// Command-line options for the filesystem's own options, from core's option table: a row becomes an option with its help, its
// range and its default, so that nothing about an option is written twice.

import {
  exactText,
  type OptionName,
  type OptionNumber,
  type OptionRow,
  type OptionValue,
  optionAt,
  optionToText,
  parseOptionValue,
  type Release,
  UsageError,
} from '@bcachefs-ts/core/engine';
import type { OptionSpec, OptionSpecs } from './option.ts';

export interface TableOptionsRequest {
  /** Whose ranges count. */
  readonly release: Release;
  /** The heading in help. */
  readonly heading: string;
  /** What the option is when it is not given, where help should say so. */
  readonly defaultOf?: (name: OptionName) => OptionNumber | undefined;
}

/** One command-line option for each row. Their values arrive validated; see `tableOptionValues`. */
export function tableOptions(rows: readonly OptionRow[], request: TableOptionsRequest): OptionSpecs {
  return Object.fromEntries(rows.map(row => [row.name, tableOption(row, request)]));
}

function tableOption(row: OptionRow, { release, heading, defaultOf }: TableOptionsRequest): OptionSpec {
  const { type } = optionAt(release, row);
  const standard = defaultOf?.(row.name);
  const help = `${lowerFirst(row.help)}${limits(row, release)}`;
  if (type.kind === 'bool') {
    return {
      type: 'boolean',
      help: standard === undefined ? help : `${help} (default ${standard ? 'yes' : 'no'})`,
      heading,
    };
  }
  return {
    type: 'string',
    value: (row.hint ?? 'value').toUpperCase(),
    help: standard === undefined ? help : `${help} (default ${optionToText(row, standard, { choices: 'value' })})`,
    heading,
    parse: text => parseValue(row, text, release),
    ...valueHints(row, release),
  };
}

/** Of a number with so few values, each is offered. */
const NUMBERS_OFFERED = 5;
/** Of powers of two, from 512 bytes to 1 MiB. */
const SIZES_OFFERED = 12;

/** The values of an option that completions offer, where there are few that make sense without looking at a filesystem. */
export function valueHints(row: OptionRow, release: Release): { readonly hints?: readonly string[] } {
  const { type } = optionAt(release, row);
  switch (type.kind) {
    case 'bool':
      return { hints: ['0', '1'] };
    case 'choice':
      return { hints: type.choices };
    case 'flags': {
      const { choices, allowed = -1n } = type;
      return { hints: choices.filter((_, bit) => (allowed >> BigInt(bit)) & 1n) };
    }
    case 'compression':
      return { hints: ['none', 'lz4', 'gzip', 'zstd'] };
    case 'target':
      return { hints: ['none'] };
    case 'uint': {
      if (type.powerOfTwo) {
        const sizes: string[] = [];
        for (let size = BigInt(type.min); size <= BigInt(type.max); size *= 2n) sizes.push(exactText(size));
        return sizes.length > SIZES_OFFERED ? {} : { hints: sizes };
      }
      const [min, count] = [Number(type.min), Number(type.max) - Number(type.min) + 1];
      return count > NUMBERS_OFFERED ? {} : { hints: Array.from({ length: count }, (_, i) => String(min + i)) };
    }
    default:
      return {};
  }
}

/** The parser names the option as the user spelled it, so an error says only what is wrong with the value. */
function parseValue(row: OptionRow, text: string, release: Release): OptionValue {
  try {
    return parseOptionValue(row, text, release);
  } catch (thrown) {
    if (thrown instanceof UsageError) throw new UsageError(thrown.detail);
    throw thrown;
  }
}

/** The range of a number and the choices of a list, as part of the help. */
function limits(row: OptionRow, release: Release): string {
  const { type } = optionAt(release, row);
  switch (type.kind) {
    case 'uint': {
      const show = (value: OptionNumber) => (type.human ? exactText(value) : String(value));
      return `, ${show(type.min)} to ${show(type.max)}`;
    }
    case 'choice':
      return `: ${type.choices.join(', ')}`;
    case 'compression':
      return ': none, lz4, gzip, zstd, with :LEVEL up to 15';
    default:
      return '';
  }
}

function lowerFirst(text: string): string {
  return /^[A-Z][a-z]/.test(text) ? text[0]!.toLowerCase() + text.slice(1) : text;
}

/** The values of the rows' options that were given; a bool's as 0 or 1. */
export function tableOptionValues(
  rows: readonly OptionRow[],
  args: Readonly<Record<string, unknown>>,
): ReadonlyMap<OptionName, OptionValue> {
  const given = new Map<OptionName, OptionValue>();
  for (const row of rows) {
    const value = args[row.name];
    if (value === undefined) continue;
    given.set(row.name, typeof value === 'boolean' ? Number(value) : (value as OptionValue)); // from parseOptionValue
  }
  return given;
}
