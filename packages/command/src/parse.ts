// From the words of a command line to the values that a command declared. Two steps: `canonicalWords` brings every way of
// spelling an option (`-fqLx`, `--fs-size 1G`, `--acl=no`) to one long form and refuses what isn't declared; yargs' parser
// then tells options, values and positionals apart. Values are read by the declarations, each error naming its option.
//
// An option whose value starts with a dash is written `--label=-x`: a forgotten value is a commoner mistake.

import { assert, UsageError } from '@bcachefs-ts/core';
import Parser from 'yargs-parser';
import type { CommandDeclaration } from './command.ts';
import { commonOptions } from './common-options.ts';
import {
  type OptionSpec,
  type OptionSpecs,
  takesValue,
  type ValuedOption,
  valueName,
  type WithOptions,
} from './option.ts';
import { suggest } from './suggest.ts';
import { parseBoolean, parseInteger, parseSize } from './values.ts';

/** Declared names to values. Its type is regained in `defineCommand`, from the same declarations. */
export type ParsedArgs = Readonly<Record<string, unknown>>;

type Given = Readonly<Record<string, readonly string[]>>;

/**
 * @param words what follows the command's name
 * @param usage the usage line, for messages about missing or surplus words
 * @returns the command's arguments together with the common options
 * @throws UsageError naming the option or word at fault
 */
export function parseArguments(command: CommandDeclaration, words: readonly string[], usage: string): ParsedArgs {
  if (command.takesAnything) return { words, ...commonDefaults() };
  const options = allOptions(command);
  const end = words.indexOf('--');
  const canonical = canonicalWords(end < 0 ? words : words.slice(0, end), options);
  const literal = end < 0 ? [] : words.slice(end + 1);

  const { given, positionals } = split(canonical, options);
  checkCombinations(given, options);
  const values: Record<string, unknown> = {};
  for (const [name, option] of Object.entries(options)) {
    // Values that belong to a positional are read where it stands, below.
    if (option.each === undefined) values[name] = optionValue(name, option, given[name]);
  }
  return { ...values, ...positionalValues(command, canonical, [...positionals, ...literal], literal, usage) };
}

/** The command's own options, then those that every command has. The command's letters win. */
export function allOptions(command: CommandDeclaration): OptionSpecs {
  const letters = new Set(Object.values(command.options).map(option => option.alias));
  const common = Object.entries(commonOptions).map(([name, option]): [string, OptionSpec] => {
    assert(!Object.hasOwn(command.options, name), `${command.name} declares --${name}, which every command has`);
    if (!('alias' in option) || !letters.has(option.alias)) return [name, option];
    const { alias: _taken, ...rest } = option;
    return [name, rest];
  });
  return { ...command.options, ...Object.fromEntries(common) };
}

function commonDefaults(): ParsedArgs {
  return Object.fromEntries(
    Object.entries(commonOptions).map(([name, option]) => [name, optionValue(name, option, undefined)]),
  );
}

/** Options in the form `--name`, `--name=value` or `--name` `value`, values of booleans as 1 and 0; the rest as it is. */
function canonicalWords(words: readonly string[], options: OptionSpecs): string[] {
  const byLetter = new Map<string, string>();
  for (const [name, option] of Object.entries(options))
    if (option.alias !== undefined) byLetter.set(option.alias, name);

  return words.flatMap(word => {
    if (!word.startsWith('-') || word === '-' || isNegativeNumber(word)) return [word];
    return word.startsWith('--') ? [canonicalLong(word, options)] : canonicalLetters(word, options, byLetter);
  });
}

/** What yargs' parser takes for a value rather than for letters. */
function isNegativeNumber(word: string): boolean {
  return /^-(\d+(\.\d+)?|\.\d+)$/.test(word);
}

function canonicalLong(word: string, options: OptionSpecs): string {
  const equals = word.indexOf('=');
  const spelled = equals < 0 ? word : word.slice(0, equals);
  const value = equals < 0 ? undefined : word.slice(equals + 1);
  const name = spelled.slice(2).replaceAll('-', '_');

  const negated = name.startsWith('no_') ? name.slice(3) : undefined;
  if (negated !== undefined && !Object.hasOwn(options, name) && isBoolean(options, negated)) {
    if (value !== undefined) throw new UsageError(`takes no value, but '${value}' was given`, spelled);
    return `--${negated}=0`;
  }
  if (!Object.hasOwn(options, name)) throw unknownOption(spelled, options);
  const option = options[name]!;
  if (takesValue(option)) return withValue(name, option, value);
  if (option.type === 'boolean') {
    return `--${name}=${value === undefined || readValue(spelled, () => parseBoolean(value)) ? 1 : 0}`;
  }
  if (value !== undefined) throw new UsageError(`takes no value, but '${value}' was given`, spelled);
  return `--${name}`;
}

/** `-fqLx`: letters up to the first that takes a value; what follows that one is its value. */
function canonicalLetters(word: string, options: OptionSpecs, byLetter: ReadonlyMap<string, string>): string[] {
  const canonical: string[] = [];
  const letters = [...word.slice(1)];
  for (const [i, letter] of letters.entries()) {
    const name = byLetter.get(letter);
    if (name === undefined) {
      const where = letters.length > 1 ? ` in ${word}` : '';
      // A single dash before a long name is a common slip.
      const long = suggest(word.slice(1), Object.keys(options));
      const meant = letters.length > 2 && long !== undefined ? `, did you mean --${long}?` : '';
      throw new UsageError(`unknown option -${letter}${where}${meant}`);
    }
    const option = options[name]!;
    if (takesValue(option)) {
      const rest = letters.slice(i + 1).join('');
      canonical.push(withValue(name, option, rest === '' ? undefined : rest.replace(/^=/, '')));
      return canonical;
    }
    canonical.push(option.type === 'boolean' ? `--${name}=1` : `--${name}`);
  }
  return canonical;
}

/** @param joined the value in the same word, if there is one */
function withValue(name: string, { bare }: ValuedOption, joined: string | undefined): string {
  const value = joined ?? bare;
  return value === undefined ? `--${name}` : `--${name}=${value}`;
}

function isBoolean(options: OptionSpecs, name: string): boolean {
  return Object.hasOwn(options, name) && options[name]!.type === 'boolean';
}

function unknownOption(spelled: string, options: OptionSpecs): UsageError {
  const known = Object.entries(options).flatMap(([name, option]) =>
    option.hidden ? [] : option.type === 'boolean' ? [`--${name}`, `--no_${name}`] : [`--${name}`],
  );
  const meant = suggest(spelled, known);
  return new UsageError(`unknown option ${spelled}${meant === undefined ? '' : `, did you mean ${meant}?`}`);
}

/** Tells options with their values from positionals, in canonical words. */
function split(words: readonly string[], options: OptionSpecs): { given: Given; positionals: readonly string[] } {
  const found = splitLeniently(words, options);
  if (found.missing !== undefined) {
    const name = found.missing;
    throw new UsageError(`needs a value: --${name}=${valueName(options[name]!)}`, `--${name}`);
  }
  return found;
}

function splitLeniently(words: readonly string[], options: OptionSpecs) {
  const flags: string[] = [];
  const valued: string[] = [];
  for (const [name, option] of Object.entries(options)) (option.type === 'flag' ? flags : valued).push(name);
  const { argv, error } = Parser.detailed([...words], {
    boolean: flags,
    string: valued,
    narg: Object.fromEntries(valued.map(name => [name, 1])),
    configuration: {
      'boolean-negation': false,
      'camel-case-expansion': false,
      'dot-notation': false,
      'duplicate-arguments-array': true,
      'greedy-arrays': false,
      'parse-numbers': false,
      'parse-positional-numbers': false,
    },
    // The only complaint left for yargs' parser is a missing value; its message becomes the option's name.
    __: (_format: string, ...names: readonly unknown[]) => String(names[0]),
  } as Parameters<typeof Parser.detailed>[1]);
  const given: Record<string, readonly string[]> = {};
  for (const name of Object.keys(options)) {
    const value: unknown = argv[name];
    if (value !== undefined) given[name] = (Array.isArray(value) ? value : [value]).map(String);
  }
  return { given, positionals: argv._.map(String), missing: error?.message };
}

function checkCombinations(given: Given, options: OptionSpecs): void {
  for (const name of Object.keys(given)) {
    const option = options[name]!;
    const against = option.conflictsWith?.find(other => given[other] !== undefined);
    if (against !== undefined) throw new UsageError(`cannot be given together with --${against}`, `--${name}`);
    const lacking = option.needs?.find(other => given[other] === undefined);
    if (lacking !== undefined) throw new UsageError(`makes sense only together with --${lacking}`, `--${name}`);
  }
}

/** The value that a command sees, from the texts that were given for an option. The last one wins. */
function optionValue(name: string, option: OptionSpec, texts: readonly string[] | undefined): unknown {
  if (option.type === 'flag') return texts !== undefined;
  if (option.type === 'boolean') return texts === undefined ? option.default : texts.at(-1) === '1';
  const read = (text: string): unknown => readValue(`--${name}`, () => readText(option, text));
  if (texts !== undefined) return option.repeat ? texts.map(read) : read(texts.at(-1)!);
  if (option.required) throw new UsageError(`is required: --${name}=${valueName(option)}`, `--${name}`);
  if (option.default !== undefined) return typeof option.default === 'string' ? read(option.default) : option.default;
  return option.repeat ? [] : undefined;
}

function readText(option: Exclude<OptionSpec, { type: 'flag' | 'boolean' }>, text: string): unknown {
  switch (option.type) {
    case 'string':
      return option.parse === undefined ? text : option.parse(text);
    case 'number':
      return parseInteger(text, option.min, option.max);
    case 'size':
      return (option.parse ?? parseSize)(text);
    case 'choice':
      return checkChoice(text, option.choices);
  }
}

function checkChoice(text: string, choices: readonly string[]): string {
  if (choices.includes(text)) return text;
  const meant = suggest(text, choices);
  throw new UsageError(
    `'${text}' is not known, expected ${listed(choices)}${meant === undefined ? '' : `; did you mean ${meant}?`}`,
  );
}

/** `a, b or c` */
function listed(words: readonly string[]): string {
  return words.length < 2 ? words.join('') : `${words.slice(0, -1).join(', ')} or ${words.at(-1)}`;
}

/** Adds the option to a complaint about its value. */
function readValue<T>(option: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (error instanceof UsageError && error.option === undefined) throw new UsageError(error.detail, option);
    throw error;
  }
}

/**
 * @param words all positional words
 * @param literal those after `--`, which end the list
 */
function positionalValues(
  command: CommandDeclaration,
  canonical: readonly string[],
  words: readonly string[],
  literal: readonly string[],
  usage: string,
): ParsedArgs {
  const values: Record<string, unknown> = {};
  let next = 0;
  for (const [name, spec] of Object.entries(command.positionals)) {
    const repeated = spec.count === 'some' || spec.count === 'any';
    const taken = repeated ? words.slice(next) : words.slice(next, next + 1);
    if (taken.length === 0 && (spec.count === 'one' || spec.count === 'some')) {
      throw new UsageError(`<${name}> is missing; usage: ${usage}`);
    }
    if (spec.choices !== undefined) {
      const { choices } = spec;
      for (const word of taken) readValue(`<${name}>`, () => checkChoice(word, choices));
    }
    const each = eachOptions(command, name);
    values[name] = !repeated
      ? taken[0]
      : each === undefined
        ? taken
        : [...itemsWithOptions(name, each, allOptions(command), canonical, literal)].slice(next);
    next += taken.length;
  }
  if (next < words.length) throw new UsageError(`'${words[next]}' is one word too many; usage: ${usage}`);
  return values;
}

/** The options that describe the items of a repeated positional; undefined where there are none. */
function eachOptions(command: CommandDeclaration, positional: string): OptionSpecs | undefined {
  const own = Object.entries(command.options).filter(([, option]) => option.each === positional);
  return own.length === 0 ? undefined : Object.fromEntries(own);
}

/**
 * Each positional word with the options in force where it stands: the words are taken up to the first positional, then up
 * to the next one, and so on; what a stretch gives is added to what earlier stretches gave.
 */
function* itemsWithOptions(
  positional: string,
  each: OptionSpecs,
  options: OptionSpecs,
  canonical: readonly string[],
  literal: readonly string[],
): Generator<WithOptions<string, ParsedArgs>> {
  let inForce: Given = {};
  let own = new Set<string>();
  let stretch: string[] = [];
  const valuesInForce = () =>
    Object.fromEntries(Object.entries(each).map(([name, option]) => [name, optionValue(name, option, inForce[name])]));
  const addGiven = (given: Given) => {
    const added = Object.entries(given).filter(([name]) => Object.hasOwn(each, name));
    inForce = { ...inForce, ...Object.fromEntries(added) };
    own = new Set(added.map(([name]) => name));
    return added[0]?.[0];
  };
  const item = (word: string) => {
    const found = { word, options: valuesInForce(), own };
    own = new Set();
    return found;
  };

  for (const word of canonical) {
    stretch.push(word);
    // An option still waiting for its value isn't an error here: `split` has accepted the whole.
    const { given, positionals } = splitLeniently(stretch, options);
    if (positionals.length === 0) continue;
    addGiven(given);
    yield item(positionals[0]!);
    stretch = [];
  }
  const unused = addGiven(splitLeniently(stretch, options).given);
  if (unused !== undefined && literal.length === 0) {
    throw new UsageError(`applies to the ${positional} that come after it, but none does`, `--${unused}`);
  }
  for (const word of literal) yield item(word);
}
