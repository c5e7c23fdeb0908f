// Commands of the reference that are not here, as rows of a table: each answers in one line what it is and what to use. They are found by
// their words and named at the end of the list of commands; completions, documentation and `help --json` leave them out.

import { UsageError } from '@bcachefs-ts/core/engine';
import { type CommandEntry, type CommandGroup, isGroup, type Listed } from './command-list.ts';

export interface ElsewhereRow {
  /** What is typed: `fs top`. */
  readonly words: string;
  /** `shows what a mounted filesystem is doing` */
  readonly does: string;
  /** What to use, as a clause: `fs usage says …`. */
  readonly instead: string;
  /** It asks a running kernel about a mounted filesystem, or it is not built yet. */
  readonly why: 'kernel' | 'unbuilt';
}

const reasons = {
  kernel: { code: 'needs_kernel', text: 'which takes a running kernel and is not done here' },
  unbuilt: { code: 'not_built', text: 'which this version cannot do yet' },
} as const;

/** The commands with those of the rows among them, hidden; a command that is here is never replaced. */
export function withElsewhere(commands: readonly Listed[], rows: readonly ElsewhereRow[]): readonly Listed[] {
  return rows.reduce((whole, row) => withRow(whole, row.words.split(' '), row), commands);
}

function withRow(commands: readonly Listed[], words: readonly string[], row: ElsewhereRow): readonly Listed[] {
  const [name = '', ...below] = words;
  const there = commands.find(entry => entry.name === name);
  if (below.length === 0) return there === undefined ? [...commands, elsewhereEntry(name, row)] : commands;
  if (there === undefined) {
    const group: CommandGroup = { name, summary: 'Commands that are not here', hidden: true, commands: [] };
    return [...commands, { ...group, commands: withRow([], below, row) }];
  }
  if (!isGroup(there)) return commands;
  return commands.map(entry => (entry === there ? { ...there, commands: withRow(there.commands, below, row) } : entry));
}

function elsewhereEntry(name: string, row: ElsewhereRow): CommandEntry {
  const summary = `Not here: ${row.does}`;
  return { name, summary, hidden: true, elsewhere: row.why, load: () => elsewhereCommand(name, summary, row) };
}

async function elsewhereCommand(name: string, summary: string, { does, instead, why }: ElsewhereRow) {
  const { code, text } = reasons[why];
  const line = `${does}, ${text}; ${instead}`;
  const { defineCommand } = await import('./command.ts');
  return defineCommand({
    name,
    summary,
    description: `It ${line}.`,
    positionals: {},
    options: {},
    takesAnything: true,
    run(): object {
      throw new UsageError(line, undefined, code);
    },
    text: () => {},
  });
}
