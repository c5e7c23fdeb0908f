// tree: a directory and all below it, drawn as tree(1) draws it. Directories that lead back to themselves are named and not entered again.

import {
  atOption,
  bytesFields,
  CommandFailed,
  type Context,
  DamageLog,
  defineStreamCommand,
  filesystemWord,
  lookUp,
  type Out,
  openTree,
  treeOptions,
} from '@bcachefs-ts/command';
import {
  type FileStat,
  type FileTypeName,
  isDirectory,
  printable,
  printableBytes,
  UsageError,
} from '@bcachefs-ts/core/engine';
import { coloredName, statJson, targetOf, typeOf } from '../entry-text.ts';
import { isHidden, sortedWalk } from '../sorted-walk.ts';

interface Branch {
  readonly kind: 'entry';
  /** What is drawn in front of the name: `│   └── `. */
  readonly lead: string;
  readonly depth: number;
  readonly path: Uint8Array;
  readonly name: Uint8Array;
  readonly type: FileTypeName;
  readonly stat: FileStat | undefined;
  readonly target: Uint8Array | undefined;
  readonly isLost: boolean;
  readonly isRepeated: boolean;
}

type Item =
  | Branch
  | { readonly kind: 'root'; readonly path: string }
  | { readonly kind: 'summary'; readonly directories: number; readonly files: number; readonly hasFiles: boolean };

export const treeCommand = defineStreamCommand({
  name: 'tree',
  summary: 'Draw the tree of directories and files',
  description:
    'Names come in the order of their bytes; those that begin with a dot are left out without --all. Control characters, and bytes that are ' +
    'not UTF-8, are shown as \\x1b. Subvolumes and snapshots are shown where they lie. A directory that was drawn before is not entered again.\n\n' +
    '--json prints one object a line, each with its depth, and the counts last; see docs/json/tree.md.',
  examples: [
    { command: 'bcachefs tree -L 2 disk.img', does: 'Draws two levels of directories' },
    { command: 'bcachefs tree -d disk.img home', does: 'Draws the directories below home' },
  ],
  positionals: {
    ...filesystemWord,
    path: { count: 'optional', inside: 'all', bytes: true, help: 'where to begin; the root' },
  },
  options: {
    level: { type: 'number', alias: 'L', min: 1, max: 4096, help: 'go down so many directories' },
    directories: { type: 'flag', alias: 'd', help: 'directories only' },
    all: { type: 'flag', alias: 'a', help: 'also names that begin with a dot' },
    ...treeOptions,
    ...atOption,
  },
  async *run(context: Context, { path: typed = '/', level, directories: only, all, ...args }): AsyncGenerator<Item> {
    const log = new DamageLog(context);
    const opened = await openTree(context, args, log.onDamage);
    const { tree } = opened;
    try {
      const { node: start, path } = lookUp(tree, typed);
      if (!isDirectory(start.inode)) throw new UsageError(`${printable(typed)}: not a directory`, undefined, 'ENOTDIR');
      yield { kind: 'root', path: typed };
      let [directories, files] = [0, 0];
      const leads: string[] = [];
      const takes = (entry: { readonly name: Uint8Array; readonly type: number }) =>
        (all || !isHidden(entry)) && (!only || ['dir', 'subvol'].includes(typeOf(entry.type)));
      for (const item of sortedWalk(tree, start, path, { takes, depthMax: level })) {
        const { entry, node, depth, isLast, isRepeated } = item;
        const stat = node === undefined ? undefined : tree.stat(node);
        const type = stat?.type ?? typeOf(entry.type);
        if (type === 'dir' || type === 'subvol') directories++;
        else files++;
        leads.length = depth - 1;
        const lead = leads.join('') + (isLast ? '└── ' : '├── ');
        leads.push(isLast ? '    ' : '│   ');
        const target = node === undefined || stat === undefined ? undefined : targetOf(tree, node, stat, item.path);
        const isLost = node === undefined;
        yield { kind: 'entry', lead, depth, path: item.path, name: entry.name, type, stat, target, isLost, isRepeated };
      }
      yield { kind: 'summary', directories, files, hasFiles: !only };
    } finally {
      opened.close();
    }
    log.finish();
    if (log.count > 0) throw new CommandFailed('the tree may lack names, because parts of the filesystem are lost');
  },
  text: printItem,
  json: itemJson,
});

function printItem(item: Item, out: Out): void {
  if (item.kind === 'root') out.line(out.color.bold(out.color.blue(printable(item.path))));
  else if (item.kind === 'summary') {
    const { directories, files, hasFiles } = item;
    const counts = [`${directories} ${directories === 1 ? 'directory' : 'directories'}`];
    if (hasFiles) counts.push(`${files} ${files === 1 ? 'file' : 'files'}`);
    out.line();
    out.line(counts.join(', '));
  } else {
    const { lead, name, type, stat, target, isLost, isRepeated } = item;
    const text = isLost
      ? out.color.red(printableBytes(name))
      : coloredName(printableBytes(name), type, stat?.mode, out.color);
    const arrow = target === undefined ? '' : ` -> ${printableBytes(target)}`;
    out.line(`${lead}${text}${arrow}${isLost ? ' [lost]' : ''}${isRepeated ? ' [recursive, not followed]' : ''}`);
  }
}

function itemJson(item: Item): object {
  if (item.kind === 'root') return { kind: 'root', path: item.path };
  if (item.kind === 'summary') return { kind: 'summary', directories: item.directories, files: item.files };
  const { depth, path, name, type, stat, target, isLost, isRepeated } = item;
  return {
    kind: 'entry',
    depth,
    ...bytesFields('path', path),
    ...bytesFields('name', name),
    ...(stat === undefined ? { type } : statJson(stat)),
    ...(target === undefined ? {} : bytesFields('target', target)),
    ...(isLost ? { lost: true } : {}),
    ...(isRepeated ? { repeated: true } : {}),
  };
}
