// npm run docs: writes what is generated under docs/ from the values that the program itself uses, so that it cannot drift:
//
//   docs/commands/*.md   one page for each command, from its declaration
//   docs/options.md      the filesystem and device options, from the option table
//   docs/fsck-errors.md  what each error means and what its repair does, and what raises it, from the source
//   docs/versions.md     what can be done with each metadata version, and which kernels have it
//   docs/format/*.md     the on-disk format: pages that people write, with regions that are filled in (format-regions.ts)
//   packages/bcachefs/man/*.8   man pages, from the same declarations as docs/commands, which its package.json lists for npm to install
//
// With --check it writes nothing and fails when a file would change. Either way it fails when docs/format lacks something.

import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { commandToMarkdown, listedEntries, manPages, singleManPage } from '@bcachefs-ts/command';
import * as core from '@bcachefs-ts/core/engine';
import { bcachefs } from '../packages/bcachefs/src/programs/bcachefs.ts';
import { fsckBcachefs } from '../packages/bcachefs/src/programs/fsck.bcachefs.ts';
import { mkfsBcachefs } from '../packages/bcachefs/src/programs/mkfs.bcachefs.ts';
import { mountBcachefs } from '../packages/bcachefs/src/programs/mount.bcachefs.ts';
import { errorPlaces } from './error-places.ts';
import { filledPages, formatProblems } from './format-regions.ts';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const docs = join(root, 'docs');

/** Generated files by their paths from docs; folders in `ownedFolders` hold nothing else. */
const files = new Map<string, string>();
const man = '../packages/bcachefs/man';
const ownedFolders = ['commands', 'format', man];
/** What pages lack, for people. */
const problems: string[] = [];

async function commandPages(): Promise<void> {
  const index = ['# Commands', '', '| Command | |', '|---|---|'];
  for (const { words, entry } of listedEntries(bcachefs.commands)) {
    const name = words.join('-');
    files.set(`commands/${name}.md`, commandToMarkdown(bcachefs.name, words, await entry.load()));
    index.push(`| [${words.join(' ')}](${name}.md) | ${entry.summary} |`);
  }
  files.set('commands/README.md', `${index.join('\n')}\n`);
}

async function manualPages(): Promise<void> {
  for (const [name, page] of await manPages(bcachefs)) files.set(`${man}/${name}`, page);
  for (const program of [mkfsBcachefs, fsckBcachefs, mountBcachefs]) {
    const { name, page } = await singleManPage(program);
    files.set(`${man}/${name}`, page);
  }
  // npm links only what is listed by name.
  const pages = [...files.keys()].filter(path => path.startsWith(`${man}/`)).sort();
  const manifest = `${dirname(man)}/package.json`;
  const described: object = JSON.parse(readFileSync(join(docs, manifest), 'utf8'));
  const listed = { ...described, man: pages.map(path => `./man/${basename(path)}`) };
  files.set(manifest, `${JSON.stringify(listed, undefined, 2)}\n`);
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

/** Which of Debian's kernels has a version as its own, and judges what is written of it. */
const KERNELS: Readonly<Partial<Record<core.VersionName, string>>> = {
  inode_has_child_snapshots: 'Linux 6.12',
  inode_has_case_insensitive: 'Linux 6.16',
};

function versionsPage(): void {
  const mark = (does: boolean) => (does ? 'yes' : '');
  const rows = core.versions.rows.map(({ id, name, incompat }) => {
    const { isWritten } = core.rulesFor({ version: id });
    const cells = [
      core.versionNumber(id),
      `\`${name}\``,
      mark(id >= core.VERSION_MIN),
      mark(id >= core.VERSION_MIN),
      mark(isWritten),
      mark(isWritten),
      [KERNELS[name] ?? '', incompat ? 'optional' : ''].filter(word => word !== '').join(', '),
    ];
    return `| ${cells.join(' | ')} |`;
  });
  files.set(
    'versions.md',
    [
      '# Metadata versions',
      '',
      'What can be done with a filesystem of each version. To read is every command that changes nothing; to check is `fsck -n`; to repair is ' +
        '`fsck` with any other answer; to write is `format --version`, and every command that changes something. The version that counts is ' +
        'the one that the superblock has now, which `show-super` prints; how old the filesystem was when it was made does not matter once a ' +
        'kernel has upgraded it ([adr/0028](adr/0028-upgraded-filesystems.md)). A version that is optional only allows something: a ' +
        'filesystem of a later version need not use it.',
      '',
      `\`format\` makes ${core.versionNumber(core.VERSION_CURRENT_WRITTEN)} unless it is asked for another version: every kernel since Linux 6.12 mounts it ` +
        '([adr/0037](adr/0037-later-versions.md)).',
      '',
      '| Version | Name | Read | Check | Repair | Write | |',
      '|---|---|---|---|---|---|---|',
      ...rows,
      '',
    ].join('\n'),
  );
}

/** What each error means, what its repair does and what is lost; and where the source names it. */
async function fsckErrorsPage(): Promise<void> {
  const places = errorPlaces();
  const explanationOf = await core.loadExplanations();
  const cell = (text: string) => text.replaceAll('|', '\\|');
  const whereOf = (name: string) => (places.get(name) ?? []).map(path => `\`${path}\``).join(', ');
  const raisedRow = ({ id, name }: { readonly id: number; readonly name: core.FaultName }) => {
    const about = explanationOf(name);
    if (about === undefined || !('repair' in about)) {
      problems.push(`report/explanations: ${name} is named in ${whereOf(name)} and is not explained`);
      return '';
    }
    const { severity, safe } = core.faultOf(name);
    const words = [about.means, about.repair, about.lost].map(cell).join(' | ');
    return `| ${id} | \`${name}\` | ${severity}${safe ? ', safe' : ''} | ${words} | ${whereOf(name)} |`;
  };
  const isNever = ({ name }: { readonly name: core.FaultName }) => 'whyNever' in (explanationOf(name) ?? {});
  const neverRow = ({ id, name }: core.FsckError) => {
    const about = explanationOf(name);
    return about !== undefined && 'whyNever' in about
      ? `| ${id} | \`${name}\` | ${cell(about.means)} | ${cell(about.whyNever)} |`
      : '';
  };
  const known = core.fsckErrors.rows.filter(({ since }) => since === '1.13');
  const later = core.fsckErrors.rows.filter(({ since, name }) => since !== '1.13' && places.has(name));
  const raised = known.filter(row => !isNever(row));
  const head = ['| Number | Error | Severity | Meaning | Repair | Lost | Named in |', '|---|---|---|---|---|---|---|'];
  files.set(
    'fsck-errors.md',
    [
      '# Errors of fsck',
      '',
      `Linux 6.12 has ${known.length} errors, by name and number. ${raised.length} of them are raised here, and ` +
        `${known.length - raised.length} are not, each for the reason that is given. The last column has the files of \`packages/core/src\` that name an ` +
        'error; a file of `recovery/passes` is a pass. `-p` repairs the safe ones. What the table calls lost is lost only if it is nowhere else. ' +
        'A key that goes to the quarantine file is written there before the commit; one that is left out is not. [fsck.md](fsck.md) says what a ' +
        'check does; `bcachefs fsck --explain` prints the sentences of what it finds.',
      '',
      '## Errors of Linux 6.12',
      '',
      ...head,
      ...raised.map(raisedRow),
      '',
      '## Errors of Linux 6.12 that are not raised here',
      '',
      '| Number | Error | Meaning | Why |',
      '|---|---|---|---|',
      ...known.filter(isNever).map(neverRow),
      '',
      '## Errors of later kernels',
      '',
      ...head,
      ...later.map(raisedRow),
      '',
      '## Our own errors',
      '',
      ...head,
      ...core.ownFaults.rows.map(raisedRow),
      '',
    ].join('\n'),
  );
}

/** Pages that people write; the regions between their marks are filled in. */
async function formatPages(): Promise<void> {
  const folder = join(docs, 'format');
  const names = readdirSync(folder).filter(name => name.endsWith('.md'));
  await core.loadCompression();
  const pages = filledPages(new Map(names.map(name => [name, readFileSync(join(folder, name), 'utf8')])));
  for (const [name, text] of pages) files.set(`format/${name}`, text);
  problems.push(...formatProblems(pages));
}

await commandPages();
await manualPages();
optionPage();
versionsPage();
await fsckErrorsPage();
await formatPages();

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

for (const problem of problems) console.error(problem);
if (problems.length > 0) process.exitCode = 1;

if (process.argv.includes('--check')) {
  for (const path of [...changed, ...stale])
    console.error(`${relative(root, join(docs, path))} is out of date: npm run docs`);
  if (changed.length + stale.length > 0) process.exitCode = 1;
} else {
  for (const path of changed) writeFileSync(join(docs, path), files.get(path)!);
  for (const path of stale) rmSync(join(docs, path));
  console.error(`docs: ${changed.length} written, ${stale.length} removed, ${files.size} in all`);
}
