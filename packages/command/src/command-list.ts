// The entries of a list of commands: what is enough to list and find one. The command itself is loaded when it is run or asked about.

import type { Command } from './command.ts';

export interface CommandEntry {
  readonly name: string;
  readonly aliases?: readonly string[];
  /** The same line as the command's own; a test compares them. */
  readonly summary: string;
  /** The heading in the list of commands. */
  readonly heading?: string;
  /** Can be run, but isn't listed. */
  readonly hidden?: true;
  /** Why it only says what to use instead; see elsewhere.ts. */
  readonly elsewhere?: 'kernel' | 'unbuilt';
  /** `-h` is an option of the command: only `--help` asks for help. */
  readonly ownsLetterH?: true;
  /** What `--help` ends with, where it isn't 0. */
  readonly helpExitCode?: number;
  load(): Promise<Command>;
}

/** Commands that belong together under one word: `bcachefs device add`. */
export interface CommandGroup {
  readonly name: string;
  readonly aliases?: readonly string[];
  readonly summary: string;
  readonly heading?: string;
  readonly hidden?: true;
  /** The command that is meant when none of them is named: `migrate disk.img`. */
  readonly otherwise?: string;
  readonly commands: readonly Listed[];
}

export type Listed = CommandEntry | CommandGroup;

export function isGroup(entry: Listed): entry is CommandGroup {
  return 'commands' in entry;
}

/** Dashes and underscores count as the same, as they do in options: `list-journal`. */
export function findEntry(entries: readonly Listed[], word: string): Listed | undefined {
  const wanted = word.replaceAll('-', '_');
  return entries.find(({ name, aliases }) =>
    [name, ...(aliases ?? [])].some(each => each.replaceAll('-', '_') === wanted),
  );
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

/** Whether it only says what to use instead, or has nothing else in it. */
export function isElsewhere(entry: Listed): boolean {
  return isGroup(entry) ? entry.commands.every(isElsewhere) : entry.elsewhere !== undefined;
}

/** The words of each command below `entries` that is elsewhere for this reason, in order. */
export function elsewhereWords(entries: readonly Listed[], why: 'kernel' | 'unbuilt'): string[] {
  return entries.flatMap(entry => {
    if (isGroup(entry)) return elsewhereWords(entry.commands, why).map(words => `${entry.name} ${words}`);
    return entry.elsewhere === why ? [entry.name] : [];
  });
}
