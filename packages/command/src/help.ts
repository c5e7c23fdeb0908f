// Help on the terminal, and the command tree as JSON. What there is to say comes from `describe.ts`.

import { type Command, defineCommand } from './command.ts';
import { elsewhereWords, findEntry, isGroup, type Listed } from './command-list.ts';
import {
  byHeading,
  type CommandDescription,
  describeCommand,
  describeEntries,
  describeTree,
  type EntryDescription,
  optionTerm,
  optionText,
  positionalHelp,
  positionalTerm,
} from './describe.ts';
import type { Out } from './out.ts';
import { type Program, type SingleCommandProgram, unknownCommand } from './program.ts';
import { twoColumns, wrap } from './wrap.ts';

/** What help was asked about. */
type Topic =
  | { readonly kind: 'command'; readonly command: CommandDescription }
  | {
      readonly kind: 'list';
      /** `bcachefs`, `bcachefs device` */
      readonly title: string;
      readonly version: string;
      readonly summary: string;
      readonly entries: readonly EntryDescription[];
      /** Commands of the reference that only say what to use instead, by their words. */
      readonly elsewhere: { readonly kernel: readonly string[]; readonly unbuilt: readonly string[] };
      /** Filled only where JSON wants it: it takes loading every command. */
      readonly commands: readonly CommandDescription[];
    };

/** `bcachefs help [command]...` */
export function helpCommand(program: Program): Command {
  return defineCommand({
    name: 'help',
    summary: 'Explain a command',
    description:
      'Without words, lists the commands. With the words of a command, explains it: `help format` is the same as `format --help`.\n\nWith --json, prints what is known about the command, or about all of them, as data.',
    examples: [{ command: `${program.name} help format`, does: 'Explains format' }],
    positionals: { command: { count: 'any', help: 'the words that name a command or a group of commands' } },
    options: {},
    run: (context, { command }) => findTopic(program, command, context.json),
    text: printTopic,
    json: topicJson,
  });
}

/** What `--help` runs in a program that is a single command. */
export function singleHelpCommand(program: SingleCommandProgram): Command {
  return defineCommand({
    name: 'help',
    summary: 'Explain the command',
    positionals: {},
    options: {},
    run: async (): Promise<Topic> => ({
      kind: 'command',
      command: describeCommand(program.name, [program.name], await program.load()),
    }),
    text: printTopic,
    json: topicJson,
  });
}

async function findTopic(program: Program, words: readonly string[], json: boolean): Promise<Topic> {
  let entries: readonly Listed[] = program.commands;
  let summary = program.summary;
  const path: string[] = [];
  for (const word of words) {
    const entry = findEntry(entries, word);
    if (entry === undefined) throw unknownCommand(word, entries);
    path.push(entry.name);
    if (!isGroup(entry)) {
      return { kind: 'command', command: describeCommand([program.name, ...path].join(' '), path, await entry.load()) };
    }
    entries = entry.commands;
    summary = entry.summary;
  }
  return {
    kind: 'list',
    title: [program.name, ...path].join(' '),
    version: program.version,
    summary,
    entries: describeEntries(entries),
    elsewhere: { kernel: elsewhereWords(entries, 'kernel'), unbuilt: elsewhereWords(entries, 'unbuilt') },
    commands: json ? await describeTree(program, entries, path) : [],
  };
}

function topicJson(topic: Topic): object {
  if (topic.kind === 'command') return topic.command;
  const { title, version, summary, commands, elsewhere } = topic;
  return { title, program_version: version, summary, commands, elsewhere };
}

function printTopic(topic: Topic, out: Out): void {
  if (topic.kind === 'command') printCommand(topic.command, out);
  else printList(topic, out);
}

/** Terminals wider than this are not easier to read. */
const WIDEST = 100;

function helpWidth(out: Out): number {
  return Math.max(40, Math.min(out.columns, WIDEST));
}

function printList(topic: Topic & { kind: 'list' }, out: Out): void {
  out.line(`${out.color.bold(topic.title)}: ${topic.summary}`);
  out.line();
  out.line(`Usage: ${topic.title} <command> [options] ...`);
  for (const [heading, entries] of byHeading(topic.entries)) {
    printSection(
      heading,
      entries.map(entry => ({ term: [entry.name, ...entry.aliases].join(', '), text: entry.summary })),
      out,
    );
  }
  printWords('They need a running kernel; each says what to use', topic.elsewhere.kernel, out);
  printWords('Not in this version', topic.elsewhere.unbuilt, out);
  out.line();
  out.line(`'${topic.title} <command> --help' explains a command and gives examples.`);
}

/** Not white space, so that wrapping does not break there. */
const KEPT_SPACE = '\u2060';

/** Names alone, as many as fit a line. */
function printWords(heading: string, names: readonly string[], out: Out): void {
  if (names.length === 0) return;
  out.line();
  out.line(out.color.bold(`${heading}:`));
  // The words of one command stay together.
  const text = names.map(name => name.replaceAll(' ', KEPT_SPACE)).join(', ');
  for (const line of wrap(text, helpWidth(out) - 2)) out.line(`  ${line.replaceAll(KEPT_SPACE, ' ')}`);
}

function printCommand(command: CommandDescription, out: Out): void {
  const title = command.usage.slice(0, command.usage.indexOf(' [options]'));
  out.line(`${out.color.bold(title)}: ${command.summary}`);
  out.line();
  out.line(`Usage: ${command.usage}`);
  for (const paragraph of command.description?.split('\n\n') ?? []) {
    out.line();
    for (const line of wrap(paragraph, helpWidth(out))) out.line(line);
  }
  printSection(
    'Arguments',
    command.positionals.map(each => ({ term: positionalTerm(each), text: positionalHelp(each) })),
    out,
  );
  for (const [heading, options] of byHeading(command.options)) {
    printSection(
      heading,
      options.map(option => ({ term: optionTerm(option), text: optionText(option) })),
      out,
    );
  }
  printExamples(command, out);
  if (command.exit_codes !== null) {
    const rows = command.exit_codes.map(row => ({ term: String(row.code), text: row.means }));
    printSection('Exit codes', rows, out);
  }
}

function printExamples(command: CommandDescription, out: Out): void {
  if (command.examples.length === 0) return;
  out.line();
  out.line(out.color.bold('Examples:'));
  for (const example of command.examples) {
    out.line(`  ${out.color.cyan(example.command)}`);
    for (const line of wrap(example.does, helpWidth(out) - 6)) out.line(`      ${line}`);
  }
}

function printSection(heading: string, rows: readonly { term: string; text: string }[], out: Out): void {
  if (rows.length === 0) return;
  out.line();
  out.line(out.color.bold(`${heading}:`));
  for (const { term, text } of twoColumns(rows, helpWidth(out))) out.line(`${term}${text}`.trimEnd());
}
