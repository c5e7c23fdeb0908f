// From the words of a command line to the values that a command declared. Two steps: `canonicalWords` brings every way of
// spelling an option (`-fqLx`, `--fs-size 1G`, `--fs_si=1G`, `--acl=no`) to one long form and refuses what isn't declared;
// yargs' parser then tells options, values and positionals apart. Values are read by the declarations, each error naming its
// option.
//
// What getopt_long(3) takes is taken here, as scripts are written for tools that use it: a long option may be cut short as long
// as one option begins so, and the word after an option that needs a value is its value, whatever it looks like.

import { assert, hasRawBytes, UsageError } from '@bcachefs-ts/core/engine';
import Parser from 'yargs-parser';
import type { CommandDeclaration } from './command.ts';
import { commonOptions } from './common-options.ts';
import { CommandLineError, HelpAsked } from './errors.ts';
import {
  type OptionSpec,
  type OptionSpecs,
  type ParsedArgs,
  takesValue,
  type ValuedOption,
  valueName,
  type WithOptions,
} from './option.ts';
import { suggest } from './suggest.ts';
import { parseBoolean, parseInteger, parseSize } from './values.ts';

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
  const { canonical, literal } = canonicalWords(words, options);
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

interface CanonicalWords {
  /** Options in the form `--name` or `--name=value`, values of booleans as 1 and 0; positionals as they are. */
  readonly canonical: readonly string[];
  /** What follows `--`. */
  readonly literal: readonly string[];
}

function canonicalWords(words: readonly string[], options: OptionSpecs): CanonicalWords {
  const byLetter = new Map<string, string>();
  for (const [name, option] of Object.entries(options))
    if (option.alias !== undefined) byLetter.set(option.alias, name);

  const canonical: string[] = [];
  for (let i = 0; i < words.length; i++) {
    const word = words[i]!;
    if (word === '--') return { canonical, literal: words.slice(i + 1) };
    if (!word.startsWith('-') || word === '-' || isNegativeNumber(word, byLetter)) {
      canonical.push(word);
      continue;
    }
    const spelled = word.startsWith('--') ? [longOption(word, options)] : letterOptions(word, options, byLetter);
    for (const { name, value } of spelled) {
      if (name === 'help') throw new HelpAsked();
      // Only the last of several letters can wait for a value.
      const given = value === 'next' ? nextWord(words, ++i, name, options[name]!) : value?.text;
      canonical.push(given === undefined ? `--${name}` : `--${name}=${given}`);
    }
  }
  return { canonical, literal: [] };
}

function nextWord(words: readonly string[], at: number, name: string, option: OptionSpec): string {
  const word = words[at];
  if (word === undefined) throw new CommandLineError(`needs a value: --${name}=${valueName(option)}`, `--${name}`);
  return word;
}

/** One option as it was given: without a value, with one, or waiting for the next word to be it. */
interface Spelled {
  readonly name: string;
  readonly value: { readonly text: string } | 'next' | undefined;
}

/** What yargs' parser takes for a value rather than for letters, unless the command has an option of that letter: `ls -1`. */
function isNegativeNumber(word: string, byLetter: ReadonlyMap<string, string>): boolean {
  return /^-(\d+(\.\d+)?|\.\d+)$/.test(word) && !byLetter.has(word.charAt(1));
}

function longOption(word: string, options: OptionSpecs): Spelled {
  const equals = word.indexOf('=');
  const spelled = equals < 0 ? word : word.slice(0, equals);
  const value = equals < 0 ? undefined : word.slice(equals + 1);
  const { name, isNegated } = findLong(spelled, options);
  const option = options[name]!;
  if (takesValue(option)) return { name, value: waitingValue(option, value) };
  if (option.type === 'boolean' && !isNegated) {
    const isYes = value === undefined || readValue(`--${name}`, () => parseBoolean(value));
    return { name, value: { text: isYes ? '1' : '0' } };
  }
  if (value !== undefined) throw new CommandLineError(`takes no value, but '${value}' was given`, spelled);
  return { name, value: isNegated ? { text: '0' } : undefined };
}

/** A way to write a long option. */
interface LongName {
  readonly text: string;
  readonly name: string;
  readonly isNegated: boolean;
}

/**
 * Which option is meant: the one of that name, else the only one that begins so.
 * @param spelled with its dashes, without a value
 * @throws UsageError which lists the candidates, or names the closest
 */
function findLong(spelled: string, options: OptionSpecs): LongName {
  const text = spelled.slice(2).replaceAll('-', '_');
  const names = Object.entries(options).flatMap(([name, option]): LongName[] => [
    { text: name, name, isNegated: false },
    ...(option.type === 'boolean' && !Object.hasOwn(options, `no_${name}`)
      ? [{ text: `no_${name}`, name, isNegated: true }]
      : []),
  ]);
  const exact = names.find(each => each.text === text);
  if (exact !== undefined) return exact;
  const starting = text === '' ? [] : names.filter(each => each.text.startsWith(text));
  const shown = starting.filter(({ name }) => !options[name]!.hidden);
  // What help does not list makes nothing ambiguous.
  const candidates = shown.length > 0 ? shown : starting;
  if (candidates.length === 1) return candidates[0]!;
  if (candidates.length > 1) {
    throw new CommandLineError(`can be ${listed(candidates.map(each => `--${each.text}`))}`, spelled);
  }
  const known = names.filter(({ name }) => !options[name]!.hidden).map(each => `--${each.text}`);
  const meant = suggest(spelled, known);
  throw new CommandLineError(`unknown option ${spelled}${meant === undefined ? '' : `, did you mean ${meant}?`}`);
}

/** `-fqLx`: letters up to the first that takes a value; what follows that one is its value. */
function letterOptions(word: string, options: OptionSpecs, byLetter: ReadonlyMap<string, string>): Spelled[] {
  const found: Spelled[] = [];
  const letters = [...word.slice(1)];
  for (const [i, letter] of letters.entries()) {
    const name = byLetter.get(letter);
    if (name === undefined) {
      const where = letters.length > 1 ? ` in ${word}` : '';
      // A single dash before a long name is a common slip.
      const long = suggest(word.slice(1), Object.keys(options));
      const meant = letters.length > 2 && long !== undefined ? `, did you mean --${long}?` : '';
      throw new CommandLineError(`unknown option -${letter}${where}${meant}`);
    }
    const option = options[name]!;
    if (takesValue(option)) {
      const rest = letters.slice(i + 1).join('');
      return [...found, { name, value: waitingValue(option, rest === '' ? undefined : rest.replace(/^=/, '')) }];
    }
    found.push({ name, value: option.type === 'boolean' ? { text: '1' } : undefined });
  }
  return found;
}

/** @param joined the value in the same word, if there is one */
function waitingValue({ bare }: ValuedOption, joined: string | undefined): Spelled['value'] {
  const text = joined ?? bare;
  return text === undefined ? 'next' : { text };
}

/** Separates options with their values from positionals, in canonical words. */
function split(
  words: readonly string[],
  options: OptionSpecs,
): { readonly given: Given; readonly positionals: readonly string[] } {
  const flags: string[] = [];
  const valued: string[] = [];
  for (const [name, option] of Object.entries(options)) (option.type === 'flag' ? flags : valued).push(name);
  const argv = Parser([...words], {
    boolean: flags,
    string: valued,
    // Without it, quotes around a value are taken off.
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
  });
  const given: Record<string, readonly string[]> = {};
  for (const name of Object.keys(options)) {
    const value: unknown = argv[name];
    if (value !== undefined) given[name] = (Array.isArray(value) ? value : [value]).map(String);
  }
  return { given, positionals: argv._.map(String) };
}

function checkCombinations(given: Given, options: OptionSpecs): void {
  for (const name of Object.keys(given)) {
    const option = options[name]!;
    const against = option.conflictsWith?.find(other => given[other] !== undefined);
    if (against !== undefined) throw new CommandLineError(`cannot be given together with --${against}`, `--${name}`);
    const lacking = option.needs?.find(other => given[other] === undefined);
    if (lacking !== undefined) throw new CommandLineError(`makes sense only together with --${lacking}`, `--${name}`);
  }
}

/** The value that a command sees, from the texts that were given for an option. The last one wins. */
function optionValue(name: string, option: OptionSpec, texts: readonly string[] | undefined): unknown {
  if (option.type === 'flag') return texts !== undefined;
  if (option.type === 'boolean') return texts === undefined ? option.default : texts.at(-1) === '1';
  const read = (text: string): unknown => {
    checkText(text, `--${name}`);
    return readValue(`--${name}`, () => readText(option, text));
  };
  if (texts !== undefined) return option.repeat ? texts.map(read) : read(texts.at(-1)!);
  if (option.required) throw new CommandLineError(`is required: --${name}=${valueName(option)}`, `--${name}`);
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
  throw new CommandLineError(
    `'${text}' is not known, expected ${listed(choices)}${meant === undefined ? '' : `; did you mean ${meant}?`}`,
  );
}

/** `a, b or c` */
function listed(words: readonly string[]): string {
  return words.length < 2 ? words.join('') : `${words.slice(0, -1).join(', ')} or ${words.at(-1)}`;
}

/** Only paths in a filesystem, and files that are put or restored, have names of any bytes. */
function checkText(word: string, what: string): void {
  if (hasRawBytes(word))
    throw new CommandLineError(`${word}: has bytes that are not UTF-8, which is not possible here`, what);
}

/** Adds the option to a complaint about its value. */
function readValue<T>(option: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (error instanceof UsageError && error.option === undefined) throw new CommandLineError(error.detail, option);
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
      throw new CommandLineError(`${spec.usage ?? `<${name}>`} is missing; usage: ${usage}`);
    }
    if (spec.choices !== undefined) {
      const { choices } = spec;
      for (const word of taken) readValue(`<${name}>`, () => checkChoice(word, choices));
    }
    if (!spec.bytes) for (const word of taken) checkText(word, `<${name}>`);
    const each = eachOptions(command, name);
    values[name] = !repeated
      ? taken[0]
      : each === undefined
        ? taken
        : [...itemsWithOptions(name, each, allOptions(command), canonical, literal)].slice(next);
    next += taken.length;
  }
  if (next < words.length) throw new CommandLineError(`'${words[next]}' is one word too many; usage: ${usage}`);
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
    const { given, positionals } = split(stretch, options);
    if (positionals.length === 0) continue;
    addGiven(given);
    yield item(positionals[0]!);
    stretch = [];
  }
  const unused = addGiven(split(stretch, options).given);
  if (unused !== undefined && literal.length === 0) {
    throw new CommandLineError(`applies to the ${positional} that come after it, but none does`, `--${unused}`);
  }
  for (const word of literal) yield item(word);
}
