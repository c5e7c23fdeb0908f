// Which argument of which command the last word of an unfinished command line is: what completions ask before they offer anything.

import type { Command } from './command.ts';
import { CommandLineError, HelpAsked } from './errors.ts';
import type { ParsedArgs, PositionalSpec } from './option.ts';
import { parseArguments } from './parse.ts';
import { locate, type Program } from './program.ts';

export interface TypedWord {
  readonly command: Command;
  readonly spec: PositionalSpec;
  /** Of the words of its positional, from 0. */
  readonly nr: number;
  /** What the words before it gave. Positionals from its own on have stand-ins. */
  readonly args: ParsedArgs;
}

/** Stands for the word that is being typed, and for required ones after it. */
const STAND_IN = '\u0001';
const REQUIRED_MAX = 3;

/**
 * @param words the command line up to the cursor without the program's name, the unfinished word last
 * @returns undefined where the line names no command, cannot be made out, or the word is an option or the value of one
 */
export async function typedWord(program: Program, words: readonly string[]): Promise<TypedWord | undefined> {
  if (words.at(-1)?.startsWith('-') !== false) return undefined;
  try {
    const { entry, rest } = locate(program, words.slice(0, -1), []);
    const command = await entry.load();
    if (command.takesAnything) return undefined;
    const args = parsedUpTo(command, rest);
    for (const [name, spec] of Object.entries(command.positionals)) {
      const value = args[name];
      const nr = (Array.isArray(value) ? value : [value]).indexOf(STAND_IN);
      if (nr >= 0) return { command, spec, nr, args };
    }
    return undefined;
  } catch (thrown) {
    if (thrown instanceof CommandLineError || thrown instanceof HelpAsked) return undefined;
    throw thrown;
  }
}

/** @throws CommandLineError of the line with the fewest words added that something is wrong with all the same */
function parsedUpTo(command: Command, words: readonly string[], added = 1): ParsedArgs {
  try {
    return parseArguments(command, [...words, ...Array<string>(added).fill(STAND_IN)], command.name);
  } catch (thrown) {
    if (!(thrown instanceof CommandLineError) || added === REQUIRED_MAX) throw thrown;
    return parsedUpTo(command, words, added + 1);
  }
}
