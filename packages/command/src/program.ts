// The list of commands of a program. An entry is enough to list and find a command; the command itself is loaded when it
// is run or asked about, so that starting one command costs nothing for the others.
// `--help` and `--version`, wherever they stand, become the commands `help` and `version`.

import { assert } from '@bcachefs-ts/core/engine';
import type { Command, CommandDeclaration } from './command.ts';
import { type CommandEntry, findEntry, isElsewhere, isGroup, type Listed } from './command-list.ts';
import { commonOptions } from './common-options.ts';
import { type ElsewhereRow, withElsewhere } from './elsewhere.ts';
import { CommandLineError } from './errors.ts';
import { EXIT } from './exit-codes.ts';
import type { PositionalSpec } from './option.ts';
import { suggest } from './suggest.ts';

export interface Program {
  /** What it is started as: `bcachefs`. */
  readonly name: string;
  readonly version: string;
  readonly summary: string;
  readonly commands: readonly Listed[];
  /** Commands of the reference that only say what to use instead; see elsewhere.ts. */
  readonly elsewhere?: readonly ElsewhereRow[];
}

/** A binary that is a single command under a name of its own: `mkfs.bcachefs`. */
export interface SingleCommandProgram {
  readonly name: string;
  readonly version: string;
  readonly summary: string;
  /** What `--help` ends with, where it isn't 0. */
  readonly helpExitCode?: number;
  load(): Promise<Command>;
}

/** A program with the commands that each one has: completions, help and version. */
export function defineProgram(program: Program): Program {
  const heading = 'About this program';
  const whole: Program = {
    ...program,
    commands: [
      ...withElsewhere(program.commands, program.elsewhere ?? []),
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

/** @throws UsageError with the closest known name */
export function unknownCommand(word: string, entries: readonly Listed[]): CommandLineError {
  const known = entries.flatMap(entry =>
    entry.hidden && !isElsewhere(entry) ? [] : [entry.name, ...(entry.aliases ?? [])],
  );
  const meant = suggest(word, known);
  return new CommandLineError(`unknown command '${word}'${meant === undefined ? '' : `, did you mean '${meant}'?`}`);
}

export interface Located {
  readonly entry: Pick<CommandEntry, 'load'>;
  /** The command's own words. */
  readonly rest: readonly string[];
  /** What the program ends with when the command has done its work, where it isn't the command's to say. */
  readonly exitCode?: number | undefined;
}

/**
 * Which command a command line means.
 * @param path is given the words that name the command, also when the rest of them cannot be made out; none for a program
 *   that is one command
 * @throws UsageError when it names none
 */
export function locate(program: Program | SingleCommandProgram, words: readonly string[], path: string[]): Located {
  return 'load' in program ? locateSingle(program, words) : locateInList(program, words, path);
}

function locateSingle(program: SingleCommandProgram, words: readonly string[]): Located {
  if (asksForHelp(words)) {
    const load = async () => (await import('./help.ts')).singleHelpCommand(program);
    return { entry: { load }, rest: common(words), exitCode: program.helpExitCode };
  }
  if (words[0] === '-V') {
    const load = async () => (await import('./version-command.ts')).versionCommand(program);
    return { entry: { load }, rest: common(words) };
  }
  return { entry: program, rest: words };
}

function locateInList(program: Program, words: readonly string[], path: string[]): Located {
  const builtIn = (name: string, rest: readonly string[], exitCode?: number): Located => {
    const entry = findEntry(program.commands, name);
    assert(entry !== undefined && !isGroup(entry), `${program.name} has no command '${name}'; see defineProgram`);
    path.splice(0, path.length, name);
    return { entry, rest, exitCode };
  };

  // Common options may stand before the command: `bcachefs --json show-super disk.img`.
  let at = 0;
  while (words[at]?.startsWith('-') && words[at] !== '--') {
    const name = leadingOption(words[at]!);
    at += name === '--color' || name === '--progress' ? 2 : 1;
  }
  const leading = words.slice(0, at);

  let entries = program.commands;
  let otherwise: string | undefined;
  for (; ; at++) {
    const word = words[at];
    const usual = usualEntry(entries, otherwise, words.slice(at));
    if (usual !== undefined) {
      path.push(usual.name);
      checkLeading(leading);
      return { entry: usual, rest: [...leading, ...words.slice(at)] };
    }
    if (word === undefined || word.startsWith('-')) {
      const asksForVersion = leading.some(option => option === '-V' || leadingOption(option) === '--version');
      if (asksForVersion) return builtIn('version', common(leading));
      if (asksForHelp(words)) return builtIn('help', [...common(words), ...path]);
      // As the reference does: a program or group by itself shows what it has, and has done nothing.
      if (words.length === path.length) return builtIn('help', path.slice(), EXIT.failed);
      checkLeading(leading);
      throw new CommandLineError('a command is missing');
    }
    const entry = findEntry(entries, word);
    if (entry === undefined) throw unknownCommand(word, entries);
    path.push(entry.name);
    if (isGroup(entry)) {
      entries = entry.commands;
      otherwise = entry.otherwise;
      continue;
    }
    const own = words.slice(at + 1);
    if (asksForHelp(leading) || asksForHelp(own, entry.ownsLetterH)) {
      const topic = entry.name === 'help' ? own.filter(each => !each.startsWith('-')) : [];
      const exitCode = asksForHelp(leading) ? undefined : entry.helpExitCode;
      return builtIn('help', [...common(words), ...(topic.length > 0 ? topic : path)], exitCode);
    }
    checkLeading(leading);
    return { entry, rest: [...leading, ...own] };
  }
}

/** In a group, the command that is meant by words that name none of its commands: what they are about, with options before or after it. */
function usualEntry(
  entries: readonly Listed[],
  otherwise: string | undefined,
  words: readonly string[],
): CommandEntry | undefined {
  if (otherwise === undefined || words.length === 0 || asksForHelp(words)) return undefined;
  if (findEntry(entries, words[0]!) !== undefined) return undefined;
  const usual = findEntry(entries, otherwise);
  assert(usual !== undefined && !isGroup(usual), `the group has no command '${otherwise}'`);
  return usual;
}

const leadingNames = [...Object.keys(commonOptions).map(name => `--${name}`), '--version'];

/** The full name of an option before the command, which may be cut short as after it; undefined when it is not an option. */
function leadingOption(word: string): string | undefined {
  const spelled = word.split('=', 1)[0]!;
  if (spelled.length < 3) return undefined;
  const starting = leadingNames.filter(name => name.startsWith(spelled));
  return starting.length === 1 ? starting[0] : undefined;
}

/** Only options that every command has may stand before the command. */
function checkLeading(leading: readonly string[]): void {
  for (const word of leading) {
    if (!word.startsWith('-') || word === '-q' || leadingOption(word) !== undefined) continue;
    const name = word.split('=', 1)[0]!;
    const meant = suggest(name, leadingNames);
    throw new CommandLineError(
      `unknown option ${name} before the command${meant === undefined ? '' : `, did you mean ${meant}?`}`,
    );
  }
}

function asksForHelp(words: readonly string[], ownsLetterH = false): boolean {
  const end = words.indexOf('--');
  const options = end < 0 ? words : words.slice(0, end);
  return options.some(word => word === '--help' || (word === '-h' && !ownsLetterH));
}

/** Of a line that asks for help or the version, only these options matter. */
function common(words: readonly string[]): readonly string[] {
  return words.filter(word => word === '--json' || word.startsWith('--color='));
}

/** `bcachefs format [options] <devices>...` */
export function usageLine(title: string, command: Pick<CommandDeclaration, 'positionals'>): string {
  const positionals = Object.entries(command.positionals).map(([name, spec]) => positionalText(name, spec));
  return [title, '[options]', ...positionals].join(' ');
}

export function positionalText(name: string, { count, usage }: Pick<PositionalSpec, 'count' | 'usage'>): string {
  return usage ?? { one: `<${name}>`, optional: `[${name}]`, some: `<${name}>...`, any: `[${name}]...` }[count];
}
