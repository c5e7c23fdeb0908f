// The list of commands of a program. An entry is enough to list and find a command; the command itself is loaded when it
// is run or asked about, so that starting one command costs nothing for the others.
// `--help` and `--version`, wherever they stand, become the commands `help` and `version`.

import { UsageError } from '@bcachefs-ts/core';
import type { Command, CommandDeclaration } from './command.ts';
import type { PositionalSpec } from './option.ts';
import { suggest } from './suggest.ts';

export interface CommandEntry {
  readonly name: string;
  readonly aliases?: readonly string[];
  /** The same line as the command's own; a test compares them. */
  readonly summary: string;
  /** The heading in the list of commands. */
  readonly heading?: string;
  /** Can be run, but isn't listed. */
  readonly hidden?: true;
  load(): Promise<Command>;
}

/** Commands that belong together under one word: `bcachefs device add`. */
export interface CommandGroup {
  readonly name: string;
  readonly aliases?: readonly string[];
  readonly summary: string;
  readonly heading?: string;
  readonly hidden?: true;
  readonly commands: readonly Listed[];
}

export type Listed = CommandEntry | CommandGroup;

export interface Program {
  /** What it is started as: `bcachefs`. */
  readonly name: string;
  readonly version: string;
  readonly summary: string;
  readonly commands: readonly Listed[];
}

/** A binary that is a single command under a name of its own: `mkfs.bcachefs`. */
export interface SingleCommandProgram {
  readonly name: string;
  readonly version: string;
  readonly summary: string;
  load(): Promise<Command>;
}

/** A program with the commands that each one has: completions, help and version. */
export function defineProgram(program: Program): Program {
  const heading = 'About this program';
  const whole: Program = {
    ...program,
    commands: [
      ...program.commands,
      {
        name: 'completions',
        summary: 'Print a script that completes command lines in bash, zsh or fish',
        heading,
        load: async () => (await import('./completions.ts')).completionsCommand(whole),
      },
      {
        name: 'help',
        summary: 'Explain a command',
        heading,
        load: async () => (await import('./help.ts')).helpCommand(whole),
      },
      {
        name: 'version',
        summary: 'Print the version',
        heading,
        load: async () => (await import('./version-command.ts')).versionCommand(whole),
      },
    ],
  };
  return whole;
}

export function isGroup(entry: Listed): entry is CommandGroup {
  return 'commands' in entry;
}

export function findEntry(entries: readonly Listed[], word: string): Listed | undefined {
  return entries.find(entry => entry.name === word || entry.aliases?.includes(word));
}

/** Each command that is listed, with its words, in the order of the list. */
export function* listedEntries(
  entries: readonly Listed[],
  words: readonly string[] = [],
): Generator<{ readonly words: readonly string[]; readonly entry: CommandEntry }> {
  for (const entry of entries) {
    if (entry.hidden) continue;
    const path = [...words, entry.name];
    if (isGroup(entry)) yield* listedEntries(entry.commands, path);
    else yield { words: path, entry };
  }
}

/** @throws UsageError with the closest known name */
export function unknownCommand(word: string, entries: readonly Listed[]): UsageError {
  const known = entries.flatMap(entry => (entry.hidden ? [] : [entry.name, ...(entry.aliases ?? [])]));
  const meant = suggest(word, known);
  return new UsageError(`unknown command '${word}'${meant === undefined ? '' : `, did you mean '${meant}'?`}`);
}

export interface Located {
  readonly entry: Pick<CommandEntry, 'load'>;
  /** The words that name the command; none for a program that is one command. */
  readonly path: readonly string[];
  /** The command's own words. */
  readonly rest: readonly string[];
}

/**
 * Which command a command line means.
 * @throws UsageError when it names none
 */
export function locate(program: Program | SingleCommandProgram, words: readonly string[]): Located {
  return 'load' in program ? locateSingle(program, words) : locateInList(program, words);
}

function locateSingle(program: SingleCommandProgram, words: readonly string[]): Located {
  if (asksForHelp(words)) {
    return {
      entry: { load: async () => (await import('./help.ts')).singleHelpCommand(program) },
      path: [],
      rest: common(words),
    };
  }
  if (words[0] === '-V') {
    return {
      entry: { load: async () => (await import('./version-command.ts')).versionCommand(program) },
      path: [],
      rest: words.slice(1),
    };
  }
  return { entry: program, path: [], rest: words };
}

function locateInList(program: Program, words: readonly string[]): Located {
  // Common options may stand before the command: `bcachefs --json show-super disk.img`.
  let start = 0;
  while (words[start]?.startsWith('-') && words[start] !== '--') {
    start += words[start] === '--color' || words[start] === '--progress' ? 2 : 1;
  }
  const leading = words.slice(0, start);
  const path: string[] = [];
  let entries = program.commands;
  for (let at = start; ; at++) {
    const word = words[at];
    const asked = word === undefined || word.startsWith('-');
    if (asked && leading.some(option => option === '--version' || option === '-V')) {
      return { entry: builtIn(program, 'version'), path: ['version'], rest: common(leading) };
    }
    if (asked && asksForHelp(words)) return help(program, path, words);
    if (asked) throw new UsageError('a command is missing');
    const entry = findEntry(entries, word);
    if (entry === undefined) throw unknownCommand(word, entries);
    path.push(entry.name);
    if (isGroup(entry)) {
      entries = entry.commands;
      continue;
    }
    const rest = [...leading, ...words.slice(at + 1)];
    if (entry.name !== 'help' && asksForHelp(rest)) return help(program, path, words);
    return { entry, path, rest };
  }
}

function help(program: Program, path: readonly string[], words: readonly string[]): Located {
  return { entry: builtIn(program, 'help'), path: ['help'], rest: [...common(words), ...path] };
}

function builtIn(program: Program, name: string): CommandEntry {
  const entry = findEntry(program.commands, name);
  if (entry === undefined || isGroup(entry)) throw new UsageError(`${program.name} has no '${name}'`);
  return entry;
}

function asksForHelp(words: readonly string[]): boolean {
  const end = words.indexOf('--');
  return (end < 0 ? words : words.slice(0, end)).some(word => word === '--help' || word === '-h');
}

/** Of a line that asks for help or the version, only these options matter. */
function common(words: readonly string[]): readonly string[] {
  return words.filter(word => word === '--json' || word.startsWith('--color='));
}

/** `bcachefs format [options] <devices>...` */
export function usageLine(title: string, command: Pick<CommandDeclaration, 'positionals'>): string {
  const positionals = Object.entries(command.positionals).map(([name, { count }]) => positionalText(name, count));
  return [title, '[options]', ...positionals].join(' ');
}

export function positionalText(name: string, count: PositionalSpec['count']): string {
  return { one: `<${name}>`, optional: `[${name}]`, some: `<${name}>...`, any: `[${name}]...` }[count];
}
