// A command as plain data: the JSON of `help --json`, and what text help, markdown and completions are made from.

import type { Command, Example } from './command.ts';
import { isGroup, type Listed } from './command-list.ts';
import type { ExitCodeRow } from './exit-codes.ts';
import { type OptionSpec, takesValue, valueName } from './option.ts';
import { allOptions } from './parse.ts';
import { type Program, positionalText, usageLine } from './program.ts';

export interface OptionDescription {
  readonly name: string;
  readonly letter: string | null;
  readonly type: OptionSpec['type'];
  /** What stands for the value; null where the option takes none. */
  readonly value: string | null;
  readonly choices: readonly string[] | null;
  readonly default: string | number | boolean | null;
  /** The value is the path of a file. */
  readonly file: boolean;
  readonly repeat: boolean;
  readonly required: boolean;
  /** The positional whose following items it applies to. */
  readonly each: string | null;
  readonly heading: string;
  readonly help: string;
}

export interface PositionalDescription {
  readonly name: string;
  readonly count: 'one' | 'optional' | 'some' | 'any';
  /** How a usage line shows it. */
  readonly usage: string;
  readonly choices: readonly string[] | null;
  /** Which of its words are paths in the filesystem that the first word names; null for none. */
  readonly inside: 'all' | 'all_but_last' | 'last' | null;
  readonly help: string;
}

export interface CommandDescription {
  /** The words that name it: `device add`. */
  readonly command: string;
  readonly summary: string;
  readonly description: string | null;
  readonly usage: string;
  readonly positionals: readonly PositionalDescription[];
  readonly options: readonly OptionDescription[];
  readonly examples: readonly Example[];
  /** Null where the common table applies. */
  readonly exit_codes: readonly ExitCodeRow[] | null;
  readonly json_version: number;
  readonly json_stream: boolean;
}

/** @param title how the command is started: `bcachefs format`, `mkfs.bcachefs` */
export function describeCommand(title: string, words: readonly string[], command: Command): CommandDescription {
  return {
    command: words.join(' '),
    summary: command.summary,
    description: command.description ?? null,
    usage: usageLine(title, command),
    positionals: Object.entries(command.positionals).map(([name, spec]) => ({
      name,
      count: spec.count,
      usage: positionalText(name, spec),
      choices: spec.choices ?? null,
      inside: spec.inside ?? null,
      help: spec.help,
    })),
    options: Object.entries(allOptions(command)).flatMap(([name, option]) =>
      option.hidden ? [] : [describeOption(name, option)],
    ),
    examples: command.examples ?? [],
    exit_codes: command.exitCodes ?? null,
    json_version: command.schemaVersion ?? 1,
    json_stream: command.stream,
  };
}

function describeOption(name: string, option: OptionSpec): OptionDescription {
  const valued = takesValue(option);
  return {
    name,
    letter: option.alias ?? null,
    type: option.type,
    value: valued ? valueName(option) : null,
    choices: offeredValues(option),
    default: option.type === 'flag' ? null : (option.default ?? null),
    file: option.type === 'string' && option.file === true,
    repeat: valued && option.repeat === true,
    required: valued && option.required === true,
    each: option.each ?? null,
    heading: option.heading ?? (option.each === undefined ? 'Options' : `Options for the ${option.each} after them`),
    help: option.help,
  };
}

/** Of a number with so few values, each is offered. */
const NUMBERS_OFFERED = 5;

/** All values there are, or those worth offering; null where they cannot be listed. */
function offeredValues(option: OptionSpec): readonly string[] | null {
  switch (option.type) {
    case 'choice':
      return option.choices;
    case 'string':
      return option.hints ?? null;
    case 'number': {
      const { min = 0, max = Infinity } = option;
      return max - min < NUMBERS_OFFERED ? Array.from({ length: max - min + 1 }, (_, i) => String(min + i)) : null;
    }
    default:
      return null;
  }
}

export interface EntryDescription {
  readonly name: string;
  readonly aliases: readonly string[];
  readonly summary: string;
  readonly heading: string;
}

/** The list of commands, without loading any. */
export function describeEntries(entries: readonly Listed[]): EntryDescription[] {
  return entries.flatMap(({ name, aliases, summary, heading, hidden }) =>
    hidden ? [] : [{ name, aliases: aliases ?? [], summary, heading: heading ?? 'Commands' }],
  );
}

/** Every listed command below `entries`, loaded. */
export async function describeTree(
  program: Program,
  entries: readonly Listed[],
  path: readonly string[],
): Promise<CommandDescription[]> {
  const found: CommandDescription[] = [];
  for (const entry of entries) {
    if (entry.hidden) continue;
    const words = [...path, entry.name];
    if (isGroup(entry)) found.push(...(await describeTree(program, entry.commands, words)));
    else found.push(describeCommand([program.name, ...words].join(' '), words, await entry.load()));
  }
  return found;
}

/** `-f, --force`, `    --fs_size=SIZE` */
export function optionTerm(option: OptionDescription): string {
  const letter = option.letter === null ? '    ' : `-${option.letter}, `;
  const no = option.type === 'boolean' ? '[no_]' : '';
  return `${letter}--${no}${option.name}${option.value === null ? '' : `=${option.value}`}`;
}

/** The help of an option with its choices and default. */
export function optionText(option: OptionDescription): string {
  const notes: string[] = [];
  if (option.required) notes.push('required');
  if (option.repeat) notes.push('can be given several times');
  // Choices that fit are already in the place of the value.
  if (option.choices !== null && option.type === 'choice' && option.value !== option.choices.join('|')) {
    notes.push(`one of ${option.choices.join(', ')}`);
  }
  if (option.default !== null) notes.push(`default ${defaultText(option)}`);
  return notes.length === 0 ? option.help : `${option.help} (${notes.join('; ')})`;
}

function defaultText(option: OptionDescription): string {
  if (typeof option.default === 'boolean') return option.default ? 'yes' : 'no';
  if (option.type !== 'size' || typeof option.default !== 'number') return String(option.default);
  let value = option.default;
  let suffix = 0;
  while (value >= 1024 && value % 1024 === 0 && suffix < 6) {
    value /= 1024;
    suffix++;
  }
  return `${value}${['', 'k', 'M', 'G', 'T', 'P', 'E'][suffix]}`;
}

export function positionalTerm(positional: PositionalDescription): string {
  return positional.usage;
}

/** The help of a positional with its choices. */
export function positionalHelp(positional: PositionalDescription): string {
  return positional.choices === null ? positional.help : `${positional.help} (one of ${positional.choices.join(', ')})`;
}

/** Things in the order in which their headings first appear. */
export function byHeading<T extends { readonly heading: string }>(items: readonly T[]): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const group = groups.get(item.heading);
    if (group === undefined) groups.set(item.heading, [item]);
    else group.push(item);
  }
  return groups;
}
