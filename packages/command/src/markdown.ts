// A command's page for docs/commands/, from the same description as its help.

import type { Command } from './command.ts';
import { byHeading, describeCommand, optionTerm, optionText, positionalHelp, positionalTerm } from './describe.ts';

/**
 * @param programName what it is started by: `bcachefs`
 * @param words the words that name it: `['device', 'add']`
 */
export function commandToMarkdown(programName: string, words: readonly string[], command: Command): string {
  const title = [programName, ...words].join(' ');
  const about = describeCommand(title, words, command);
  const lines = [`# ${title}`, '', `${about.summary}.`, '', '```', about.usage, '```', ''];
  for (const paragraph of about.description?.split('\n\n') ?? []) lines.push(asText(paragraph), '');

  if (about.examples.length > 0) {
    lines.push('## Examples', '');
    for (const example of about.examples)
      lines.push(`${asText(example.does)}:`, '', '```sh', example.command, '```', '');
  }
  if (about.positionals.length > 0) {
    lines.push('## Arguments', '', '| Argument | |', '|---|---|');
    for (const each of about.positionals)
      lines.push(`| ${code(positionalTerm(each))} | ${cell(positionalHelp(each))} |`);
    lines.push('');
  }
  for (const [heading, options] of byHeading(about.options)) {
    lines.push(`## ${heading}`, '', '| Option | |', '|---|---|');
    for (const option of options) lines.push(`| ${code(optionTerm(option).trim())} | ${cell(optionText(option))} |`);
    lines.push('');
  }
  if (about.exit_codes !== null) {
    lines.push('## Exit codes', '', '| Code | |', '|---|---|');
    for (const row of about.exit_codes) lines.push(`| ${row.code} | ${cell(row.means)} |`);
    lines.push('');
  }
  const shape = about.json_stream ? 'one object a line, after a line with the schema' : 'one document';
  lines.push(
    `JSON (\`--json\`): ${shape}, schema \`bcachefs-ts/${words.join('-')}\`, version ${about.json_version}.`,
    '',
  );
  return lines.join('\n');
}

/** Text as it is, not as markup. */
function asText(text: string): string {
  return text.replaceAll(/[\\`*_<>[\]]/g, '\\$&');
}

function cell(text: string): string {
  return asText(text).replaceAll('|', '\\|');
}

function code(text: string): string {
  return `\`${text.replaceAll('|', '\\|')}\``;
}
