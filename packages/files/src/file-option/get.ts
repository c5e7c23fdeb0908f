// get-file-option: the options of files in a filesystem that is not mounted, with the lines of the reference (v1.39.2).

import {
  atOption,
  bytesFields,
  DamageLog,
  defineCommand,
  EXIT,
  filesystemWord,
  lookUp,
  type OpenedTree,
  type Out,
  openTree,
  treeOptions,
} from '@bcachefs-ts/command';
import { option, optionFromSuperblock, optionToText, pathText, targetText } from '@bcachefs-ts/core/engine';
import { fileOptionsOf } from './rows.ts';

interface ShownOption {
  readonly name: string;
  /** As it can be given to set-file-option; null: it is not set anywhere. */
  readonly value: string | null;
  /** Who says so: the file itself, a directory above it when it was made or since, or the filesystem. */
  readonly from: 'file' | 'directory' | 'filesystem';
}

interface ShownFile {
  readonly path: Uint8Array;
  readonly options: readonly ShownOption[];
}

export const getFileOptionCommand = defineCommand({
  name: 'get-file-option',
  summary: 'Print the options of files and directories',
  description:
    'One line for each option: its name and its value, and before them the file when several are named. Without --effective those that ' +
    'are set on the file itself; with it also those that it has from a directory, in both cases as a kernel shows them in the attributes ' +
    '`bcachefs.*` and `bcachefs_effective.*`. The JSON has all of them, and says who each is from.',
  examples: [
    { command: 'bcachefs get-file-option disk.img var/log', does: 'Prints what is set on a directory' },
    { command: 'bcachefs get-file-option -e disk.img var/log/syslog', does: 'Prints what is inherited as well' },
    {
      command: 'bcachefs get-file-option --json disk.img / home',
      does: 'Prints all options of two directories as JSON',
    },
  ],
  positionals: {
    ...filesystemWord,
    paths: { count: 'some', inside: 'all', help: 'files and directories, as paths from the root' },
  },
  options: {
    effective: { type: 'flag', alias: 'e', help: 'also options that the file has from a directory' },
    all: { type: 'flag', alias: 'a', help: "also options that are not set, as '-'" },
    ...treeOptions,
    ...atOption,
  },
  async run(context, { paths, effective, all, ...args }) {
    const log = new DamageLog(context);
    const opened = await openTree(context, args, log.onDamage);
    try {
      const files = paths.map(typed => shownFile(opened, typed));
      log.finish();
      return { files, effective, all, damages: log.messages };
    } finally {
      opened.close();
    }
  },
  text({ files, effective, all }, out) {
    for (const file of files) printFile(file, files.length > 1, { effective, all }, out);
  },
  json: ({ files, damages }) => ({
    files: files.map(({ path, options }) => ({ ...bytesFields('path', path), options })),
    damages,
  }),
  exitCode: ({ damages }) => (damages.length > 0 ? EXIT.failed : EXIT.ok),
});

function shownFile({ tree, filesystem: { sb } }: OpenedTree, typed: string): ShownFile {
  const { node, path } = lookUp(tree, typed);
  const known = new Map(tree.options(node).map(each => [each.name, each]));
  const options = fileOptionsOf(sb).map(({ name, row }): ShownOption => {
    const found = known.get(name);
    if (found !== undefined) return { name, value: found.text, from: found.isOwn ? 'file' : 'directory' };
    // Projects belong to inodes only.
    if (name === 'project') return { name, value: null, from: 'filesystem' };
    const value = optionFromSuperblock(option(name), sb);
    const text = optionToText(row, value, { choices: 'value', targetText: target => targetText(sb, target) });
    return { name, value: text, from: 'filesystem' };
  });
  return { path, options };
}

function printFile(
  { path, options }: ShownFile,
  isNamed: boolean,
  { effective, all }: { readonly effective: boolean; readonly all: boolean },
  out: Out,
): void {
  for (const { name, value, from } of options) {
    const isShown = from === 'file' || (from === 'directory' && effective);
    if (!isShown && !all) continue;
    out.line([...(isNamed ? [pathText(path)] : []), name, isShown && value !== null ? value : '-'].join('\t'));
  }
}
