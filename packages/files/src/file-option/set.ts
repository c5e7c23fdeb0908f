// set-file-option: options of files in a filesystem that is not mounted. What is set on a directory goes on to all that is in it and has no
// such option of its own, as the reference does it through the kernel (do_setattr in c_src/cmd_attr.c, v1.36.1).

import {
  CommandLineError,
  defineCommand,
  lookUp,
  type OptionSpec,
  type OptionSpecs,
  valueHints,
} from '@bcachefs-ts/command';
import {
  atPath,
  encodeTarget,
  type FileNode,
  type FileTree,
  fileTypes,
  isDirectory,
  modeType,
  optionAt,
  parseOptionValue,
  pathText,
  resolveTarget,
  rulesOf,
  type Superblock,
  UsageError,
  versionNumber,
} from '@bcachefs-ts/core/engine';
import { changeFiles, changeJson, type FileChange, printChange } from '../change/edit.ts';
import { changedFilesystemPositional, changeOptions } from '../change/options.ts';
import { type FileOptionRow, fileOptionRows, fileOptionsOf, RELEASE } from './rows.ts';

/** Memory goes by changed keys: this many inodes take some hundred MB. */
const ENTRIES_MAX = 200_000;

/** What gives an option back to the directory, as in the reference. */
const REMOVE = '-';

const optionSpecs: Record<never, OptionSpec> = Object.fromEntries(
  fileOptionRows.map(({ row }): [string, OptionSpec] => {
    const { type } = optionAt(RELEASE, row);
    const hints = { hints: [...(valueHints(row, RELEASE).hints ?? []), REMOVE] };
    const value = type.kind === 'bool' ? '0|1' : (row.hint ?? 'value').toUpperCase();
    return [row.name, { type: 'string', value: `${value}|-`, heading: 'File options', help: row.help, ...hints }];
  }),
) satisfies OptionSpecs;

/** One option to be set, or with undefined to be taken away. */
interface Wish {
  readonly name: FileOptionRow['name'];
  readonly value: number | undefined;
}

export const setFileOptionCommand = defineCommand({
  name: 'set-file-option',
  summary: 'Set options on files and directories',
  description:
    'Options of a file count more than those of the filesystem. Those of a directory go on to all that is made in it later, and here also ' +
    'to everything that is in it already and has no such option of its own; symbolic links and read-only snapshots are left out.\n\n' +
    'What files have already stays as it is until a kernel compresses or moves it in the background, or they are written anew. ' +
    '--OPTION=- takes an option away again: the file has what its directory has. All of it is one commit.',
  examples: [
    {
      command: 'bcachefs set-file-option --compression=zstd disk.img var/log',
      does: 'Lets a directory and what is in it be compressed',
    },
    {
      command: 'bcachefs set-file-option --nocow=1 --data_replicas=2 disk.img swap',
      does: 'Sets two options on a file',
    },
    { command: 'bcachefs set-file-option --compression=- disk.img var/log', does: 'Takes one away' },
    { command: 'bcachefs set-file-option --remove-all disk.img /', does: 'Takes all away from the root' },
  ],
  positionals: {
    ...changedFilesystemPositional,
    paths: { count: 'some', inside: 'all', help: 'files and directories, as paths from the root' },
  },
  options: {
    remove_all: { type: 'flag', help: 'take all options away that are set on the files, before others are set' },
    ...optionSpecs,
    ...changeOptions,
  },
  run(context, args) {
    const given = args as Readonly<Record<string, unknown>>;
    const isAnyGiven = args.remove_all || fileOptionRows.some(({ row }) => given[row.name] !== undefined);
    if (!isAnyGiven) throw new CommandLineError('no option to set was given');
    return changeFiles(context, args, change => {
      const { sb } = change.edit.tx;
      const wishes = fileOptionRows.flatMap(each => wishOf(each, given[each.row.name], sb, change.memberIndexes));
      const warn = (message: string) => context.warn(message);
      let inherited = 0;
      for (const typed of args.paths) {
        const tree = change.tree();
        const { node, path } = lookUp(tree, typed);
        atPath(pathText(path), () => {
          if (args.remove_all)
            for (const { name } of ownOptions(tree, node)) change.edit.files.setOption(node, name, undefined);
          for (const { name, value } of wishes) change.edit.files.setOption(node, name, value);
        });
        if (isDirectory(node.inode)) inherited += handDown(change, node, path, warn);
      }
      const downward = inherited === 0 ? '' : `, and handed down to ${inherited} more`;
      return {
        summary: `options set on ${args.paths.length === 1 ? '1 file' : `${args.paths.length} files`}${downward}`,
      };
    });
  },
  text: printChange,
  json: changeJson,
});

function wishOf(
  { name, row }: FileOptionRow,
  text: unknown,
  sb: Superblock,
  devices: ReadonlyMap<string, number>,
): Wish[] {
  if (typeof text !== 'string') return [];
  try {
    if (!fileOptionsOf(sb).some(each => each.name === name)) {
      throw new UsageError(`files of metadata version ${versionNumber(sb.version)} have no such option`);
    }
    if (text === REMOVE) return [{ name, value: undefined }];
    const value = parseOptionValue(row, text, rulesOf(sb).release);
    return [
      { name, value: Number(typeof value === 'string' ? encodeTarget(resolveTarget(sb, row, value, devices)) : value) },
    ];
  } catch (thrown) {
    if (thrown instanceof UsageError) throw new UsageError(thrown.detail, `--${row.name}`);
    throw thrown;
  }
}

function ownOptions(tree: FileTree, node: FileNode): readonly FileOptionRow[] {
  const own = new Set(tree.options(node).flatMap(({ name, isOwn }) => (isOwn ? [name] : [])));
  return fileOptionRows.filter(({ name }) => own.has(name));
}

/**
 * A directory's options go to what is in it, and on into those directories that they changed, as the reference does it.
 * @returns how many files have other options now
 */
function handDown(change: FileChange, top: FileNode, path: Uint8Array, warn: (message: string) => void): number {
  const { files } = change.edit;
  const tree = change.tree();
  let changed = 0;
  const directories = [{ node: top, path }];
  for (let directory = directories.pop(); directory !== undefined; directory = directories.pop()) {
    // All of them before the first changes: the transaction is not read while it is written to.
    for (const entry of [...tree.entries(directory.node, { path: directory.path })]) {
      const at = pathBelow(directory.path, entry.name);
      const node = tree.open(entry, { path: at });
      if (node === undefined || fileTypeOf(node) === 'lnk') continue;
      if (tree.table.subvolume(node.subvolume)?.isReadOnly) {
        warn(`${pathText(at)}: a read-only snapshot keeps its options`);
        continue;
      }
      if (!files.reinherit(directory.node, node)) continue;
      if (++changed > ENTRIES_MAX) {
        throw new UsageError(
          `${pathText(path)}: more than ${ENTRIES_MAX} files take on its options; set them further down first`,
        );
      }
      if (isDirectory(node.inode)) directories.push({ node, path: at });
    }
  }
  return changed;
}

const fileTypeOf = ({ inode }: FileNode) => fileTypes.nameOf(modeType(inode.bi_mode));

function pathBelow(above: Uint8Array, name: Uint8Array): Uint8Array {
  return Uint8Array.of(...above, ...(above.length === 0 ? [] : [0x2f]), ...name);
}
