// Man pages in roff, from the same descriptions as the help: one for each command, one for each group of commands and one for the program
// itself. Only macros of man(7) that groff and mandoc share are used. What a page shows is a value of the declaration, so every character of
// it that roff would read as its own has to be escaped; `roffText` is the one place for that.

import type { Command } from './command.ts';
import { isGroup, type Listed } from './command-list.ts';
import {
  byHeading,
  type CommandDescription,
  describeCommand,
  describeEntries,
  optionTerm,
  optionText,
  positionalHelp,
  positionalTerm,
} from './describe.ts';
import { type ExitCodeRow, exitCodeTable } from './exit-codes.ts';
import { PASSPHRASE_VARIABLE } from './passphrase.ts';
import type { Program, SingleCommandProgram } from './program.ts';

/** Pages about the administration of a system. */
const SECTION = 8;

/** What roff reads otherwise than it stands: its escape character, and ASCII that becomes typographic signs in UTF-8. */
const SPECIAL: Readonly<Record<string, string>> = {
  '\\': '\\(rs',
  '-': '\\-',
  "'": '\\(aq',
  '"': '\\(dq',
  '`': '\\(ga',
  '^': '\\(ha',
  '~': '\\(ti',
};

/**
 * One line of text as it is, for a place where roff reads text or the quoted argument of a macro: also at the start of a line, where a dot or
 * an apostrophe would begin a request.
 */
export function roffText(text: string): string {
  const escaped = text.replaceAll(/[\\\-'"`^~]|[^ -~]/gu, character => {
    return SPECIAL[character] ?? `\\[u${character.codePointAt(0)!.toString(16).toUpperCase().padStart(4, '0')}]`;
  });
  return escaped.startsWith('.') ? `\\&${escaped}` : escaped;
}

const bold = (text: string): string => `\\fB${roffText(text)}\\fR`;

/** Text of a declaration, in which what stands between backquotes is typed. */
function prose(text: string): string {
  const parts = text.split('`');
  // A backquote without its other half is one of the text.
  if (parts.length % 2 === 0) return roffText(text);
  return parts.map((part, nr) => (nr % 2 === 0 ? roffText(part) : bold(part))).join('');
}

/** The name of a page: `bcachefs-device-add`. */
function manPageName(programName: string, words: readonly string[]): string {
  return [programName, ...words].join('-');
}

/** The pages of a program and of all its listed commands, by the names of their files: `bcachefs-ls.8`. */
export async function manPages(program: Program): Promise<Map<string, string>> {
  const pages = new Map<string, string>();
  const add = (words: readonly string[], page: string) => {
    pages.set(`${manPageName(program.name, words)}.${SECTION}`, page);
  };
  const visit = async (entries: readonly Listed[], path: readonly string[]): Promise<void> => {
    for (const entry of entries) {
      if (entry.hidden) continue;
      const words = [...path, entry.name];
      if (isGroup(entry)) {
        add(words, listPage(program, words, entry.summary, entry.commands));
        await visit(entry.commands, words);
      } else {
        const about = describeCommand([program.name, ...words].join(' '), words, await entry.load());
        add(words, commandPage(program.name, program.version, manPageName(program.name, words), about));
      }
    }
  };
  add([], listPage(program, [], program.summary, program.commands));
  await visit(program.commands, []);
  return pages;
}

/** The page of a program that is a single command, and the name of its file: `mkfs.bcachefs.8`. */
export async function singleManPage(
  program: SingleCommandProgram,
): Promise<{ readonly name: string; readonly page: string }> {
  const command: Command = await program.load();
  const about = { ...describeCommand(program.name, [], command), summary: program.summary };
  const family = program.name.slice(program.name.indexOf('.') + 1);
  return {
    name: `${program.name}.${SECTION}`,
    page: commandPage(family, program.version, program.name, about),
  };
}

/** @param family the program whose page is the first to see also */
function commandPage(family: string, version: string, pageName: string, about: CommandDescription): string {
  const lines = head(pageName, version, about.summary);
  const synopsisEnd = about.usage.indexOf(' [options]');
  lines.push('.SH SYNOPSIS', `${bold(about.usage.slice(0, synopsisEnd))}${roffText(about.usage.slice(synopsisEnd))}`);
  lines.push('.SH DESCRIPTION', ...paragraphs(about.description ?? `${about.summary}.`));
  if (about.positionals.length > 0) {
    lines.push('.SH ARGUMENTS');
    for (const each of about.positionals) lines.push(...tagged(positionalTerm(each), prose(positionalHelp(each))));
  }
  lines.push('.SH OPTIONS');
  const groups = byHeading(about.options);
  for (const [heading, options] of groups) {
    if (groups.size > 1 && heading !== 'Options') lines.push(`.SS "${roffText(heading)}"`);
    for (const option of options) lines.push(...tagged(optionTerm(option).trim(), prose(optionText(option))));
  }
  if (about.examples.length > 0) {
    lines.push('.SH EXAMPLES');
    for (const { command, does } of about.examples) {
      lines.push('.PP', `${prose(does)}:`, '.PP', '.RS 4', '.nf', bold(command), '.fi', '.RE');
    }
  }
  lines.push(...exitStatus(about.exit_codes ?? exitCodeTable));
  return page(lines, [family, ...(pageName === family ? [] : [`${family}-help`])], pageName);
}

function listPage(program: Program, words: readonly string[], summary: string, commands: readonly Listed[]): string {
  const pageName = manPageName(program.name, words);
  const title = [program.name, ...words].join(' ');
  const lines = head(pageName, program.version, summary);
  lines.push('.SH SYNOPSIS', `${bold(title)} <command> [options] ...`);
  const isWhole = words.length === 0;
  lines.push(
    '.SH DESCRIPTION',
    `${bold(`${title} <command> --help`)} explains a command and gives examples; each has a page of its own as well.`,
  );
  for (const [heading, entries] of byHeading(describeEntries(commands))) {
    lines.push(`.SH "${roffText(heading.toUpperCase())}"`);
    for (const { name, aliases, summary: line } of entries) {
      const also = aliases.length === 0 ? '' : ` Also ${aliases.map(bold).join(', ')}.`;
      const see = `${bold(manPageName(program.name, [...words, name]))}(${SECTION})`;
      lines.push(...tagged(name, `${prose(line)}.${also} See ${see}.`));
    }
  }
  if (isWhole) {
    lines.push('.SH ENVIRONMENT');
    lines.push(
      ...tagged(PASSPHRASE_VARIABLE, 'the passphrase of the filesystem as it is, or that of one that is made'),
      ...tagged('NO_COLOR', 'no colours, unless they are asked for'),
      ...tagged('TZ', 'the zone of the times that are shown'),
    );
    lines.push(...exitStatus(exitCodeTable));
  }
  const others = isWhole ? ['mkfs.bcachefs', 'fsck.bcachefs', 'mount.bcachefs'] : [program.name];
  return page(lines, others, pageName);
}

function head(pageName: string, version: string, summary: string): string[] {
  return [
    `.TH "${roffText(pageName.toUpperCase())}" "${SECTION}" "" "bcachefs\\-ts ${roffText(version)}" "bcachefs"`,
    // Ragged lines without hyphenation: names of options stay whole.
    '.nh',
    '.ad l',
    '.SH NAME',
    `${roffText(pageName)} \\- ${prose(summary)}`,
  ];
}

function exitStatus(rows: readonly ExitCodeRow[]): string[] {
  return ['.SH "EXIT STATUS"', ...rows.flatMap(({ code, means }) => tagged(String(code), prose(means)))];
}

function page(lines: readonly string[], others: readonly string[], pageName: string): string {
  const also = others.filter(name => name !== pageName).map(name => `${bold(name)}(${SECTION})`);
  return `${[...lines, '.SH "SEE ALSO"', also.join(', ')].join('\n')}\n`;
}

/** A paragraph of several lines is a table, whose lines stay as they are. */
function paragraphs(text: string): string[] {
  return text.split('\n\n').flatMap((paragraph, nr) => {
    const lines = paragraph.split('\n');
    const begin = nr === 0 ? [] : ['.PP'];
    return lines.length === 1 ? [...begin, prose(paragraph)] : [...begin, '.nf', ...lines.map(prose), '.fi'];
  });
}

/** @param text escaped already */
function tagged(term: string, text: string): string[] {
  return ['.TP', bold(term), text];
}
