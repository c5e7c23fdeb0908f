// npm run docs: writes what is generated under docs/ from the values that the program itself uses, so that it cannot drift:
//
//   docs/commands/*.md   one page for each command, from its declaration
//   docs/options.md      the filesystem and device options, from the option table
//   docs/format/*.md     on-disk structs and tables, from their layouts
//
// With --check it writes nothing and fails when a file would change.

import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { commandToMarkdown, listedEntries } from '@bcachefs-ts/command';
import * as core from '@bcachefs-ts/core';
import { bcachefs } from '../packages/bcachefs/src/programs/bcachefs.ts';
import { allLayouts } from './layouts.ts';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const docs = join(root, 'docs');

/** Generated files by path; folders in `ownedFolders` hold nothing else. */
const files = new Map<string, string>();
const ownedFolders = ['commands', 'format'];

async function commandPages(): Promise<void> {
  const index = ['# Commands', '', '| Command | |', '|---|---|'];
  for (const { words, entry } of listedEntries(bcachefs.commands)) {
    const name = words.join('-');
    files.set(`commands/${name}.md`, commandToMarkdown(bcachefs.name, words, await entry.load()));
    index.push(`| [${words.join(' ')}](${name}.md) | ${entry.summary} |`);
  }
  files.set('commands/README.md', `${index.join('\n')}\n`);
}

function optionPage(): void {
  const cell = (text: string) => text.replaceAll('|', '\\|');
  const rows = core.options.rows.map(row => {
    const release = row.until ?? '1.39';
    const { scopes, type, default: standard } = core.optionAt(release, row);
    const value = core.optionToText(row, standard, { choices: 'value' });
    const since = row.until === undefined ? row.since : `${row.since} to ${row.until}`;
    return `| \`${row.name}\` | ${type.kind} | ${cell(value)} | ${scopes.join(', ')} | ${since} | ${cell(row.help)} |`;
  });
  files.set(
    'options.md',
    [
      '# Options',
      '',
      'Every option of the filesystem and of its devices, as of the newest release that has it (of 1.13, 1.36 and 1.39). What `format` ' +
        'takes, with its ranges, is in [commands/format.md](commands/format.md); which defaults it takes from later releases in ' +
        '[format-defaults.md](format-defaults.md).',
      '',
      '| Option | Type | Default | Where | Since | |',
      '|---|---|---|---|---|---|',
      ...rows,
      '',
    ].join('\n'),
  );
}

function structPage(): void {
  const sections = allLayouts.map(layout =>
    [
      `## struct ${layout.type}`,
      '',
      `${layout.size} bytes.`,
      '',
      '| Offset | Bytes | Type | Member |',
      '|---:|---:|---|---|',
      ...Object.entries(layout.fields).map(
        ([name, { at, codec }]) => `| ${at} | ${codec.size} | ${codec.type} | \`${name}\` |`,
      ),
      '',
    ].join('\n'),
  );
  const intro =
    'All integers are little-endian. `count64` is a u64 that counts something. What the members mean stands beside their declarations.';
  files.set('format/structs.md', ['# On-disk structs', '', intro, '', ...sections].join('\n'));
}

function tablePage(): void {
  const tables: [string, core.Table<core.Row & { readonly since?: string }>][] = [
    ['Metadata versions', core.versions],
    ['Superblock sections', core.sbFieldIds],
    ['Incompatible features', core.incompatFeatures],
    ['Compat features', core.compatFeatures],
    ['Btrees', core.btrees],
    ['Key types', core.keyTypes],
    ['Data types', core.dataTypes],
    ['Checksum types', core.checksumTypes],
    ['Member states', core.memberStates],
    ['Recovery passes, in the order in which they run', core.passes],
    ['Persistent counters', core.counters],
    ['fsck errors', core.fsckErrors],
  ];
  const sections = tables.map(([title, { rows }]) =>
    [
      `## ${title}`,
      '',
      '| Number | Name | Since |',
      '|---:|---|---|',
      ...rows.map(
        row =>
          `| ${title === 'Metadata versions' ? core.versionNumber(row.id) : row.id} | \`${row.name}\` | ${row.since ?? ''} |`,
      ),
      '',
    ].join('\n'),
  );
  files.set('format/tables.md', ['# Tables of named numbers', '', ...sections].join('\n'));
}

await commandPages();
optionPage();
structPage();
tablePage();

const present = ownedFolders.flatMap(folder => {
  mkdirSync(join(docs, folder), { recursive: true });
  return readdirSync(join(docs, folder)).map(name => `${folder}/${name}`);
});
const stale = present.filter(path => !files.has(path));
const changed = [...files].filter(([path, text]) => read(join(docs, path)) !== text).map(([path]) => path);

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (thrown) {
    if (thrown instanceof Error && 'code' in thrown && thrown.code === 'ENOENT') return undefined;
    throw thrown;
  }
}

if (process.argv.includes('--check')) {
  for (const path of [...changed, ...stale])
    console.error(`${relative(root, join(docs, path))} is out of date: npm run docs`);
  process.exitCode = changed.length + stale.length === 0 ? 0 : 1;
} else {
  for (const path of changed) writeFileSync(join(docs, path), files.get(path)!);
  for (const path of stale) rmSync(join(docs, path));
  console.error(`docs: ${changed.length} written, ${stale.length} removed, ${files.size} in all`);
}
