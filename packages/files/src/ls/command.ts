// ls: the names in directories, in the order of their bytes, in columns on a terminal; with -l a line as ls(1) prints it for each. Control
// characters and bytes that are not text are shown as \x1b, so that no name can talk to the terminal.

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
  type TreeArgs,
  treeOptions,
} from '@bcachefs-ts/command';
import {
  bytesOfWord,
  type FileEntry,
  type FileNode,
  type FileStat,
  type FileTree,
  type FileTypeName,
  humanText,
  isDirectory,
  printableBytes,
} from '@bcachefs-ts/core/engine';
import { coloredName, modeText, statJson, targetOf, timeText, typeOf } from '../entry-text.ts';
import { isHidden, pathBelow, type SortedItem, sortedDirectories, sortedWalk } from '../sorted-walk.ts';

interface LsArgs extends TreeArgs {
  readonly paths: readonly string[];
  readonly long: boolean;
  readonly all: boolean;
  readonly recursive: boolean;
  readonly inode: boolean;
  readonly human: boolean;
  readonly directory: boolean;
  readonly one: boolean;
}

interface Line {
  readonly name: Uint8Array;
  readonly path: Uint8Array;
  readonly type: FileTypeName;
  /** Undefined for names alone, and where the inode is lost. */
  readonly stat: FileStat | undefined;
  readonly isLost: boolean;
  readonly inode: bigint | undefined;
  readonly target: Uint8Array | undefined;
}

/** What is printed together, with columns of one width: a directory, or the files that were named. */
interface Listing {
  readonly kind: 'listing';
  readonly title: string | undefined;
  readonly isFirst: boolean;
  readonly lines: readonly Line[];
  readonly args: LsArgs;
}

type Item = Listing | { readonly kind: 'entry'; readonly line: Line };

export const lsCommand = defineStreamCommand({
  name: 'ls',
  summary: 'List files and directories',
  description:
    'Names come in the order of their bytes; those that begin with a dot are left out without --all. Control characters, and bytes that are ' +
    'not UTF-8, are shown as \\x1b; such a name can be given to the other commands as it was printed. Times are local, in the zone of TZ.\n\n' +
    'What is lost is reported on stderr, the rest is listed, and the exit code is 1.\n\n' +
    '--json prints one object a line; see docs/json/ls.md.',
  examples: [
    { command: 'bcachefs ls disk.img', does: 'Lists the root directory' },
    {
      command: 'bcachefs ls -lR sda:sdb home',
      does: 'Lists home and all below it, with modes, owners, sizes and times',
    },
    { command: 'bcachefs ls --subvolume=snapshots/monday disk.img', does: 'Lists what a snapshot holds' },
  ],
  positionals: {
    ...filesystemWord,
    paths: {
      count: 'any',
      inside: 'all',
      bytes: true,
      help: 'directories and files, as paths from the root; the root',
    },
  },
  options: {
    long: { type: 'flag', alias: 'l', help: 'mode, links, owner, group, size, time of change and target of each' },
    all: { type: 'flag', alias: 'a', help: 'also names that begin with a dot' },
    recursive: { type: 'flag', alias: 'R', help: 'the directories below as well' },
    one: { type: 'flag', alias: '1', help: 'one name a line, on a terminal as well' },
    inode: { type: 'flag', alias: 'i', help: 'the inode number of each' },
    human: { type: 'flag', alias: 'h', help: 'sizes as 1.5M instead of bytes' },
    directory: { type: 'flag', alias: 'd', help: 'directories themselves, not what is in them' },
    ...treeOptions,
    ...atOption,
  },
  async *run(context: Context, args): AsyncGenerator<Item> {
    const log = new DamageLog(context);
    const opened = await openTree(context, args, log.onDamage);
    try {
      for (const listing of listings(opened.tree, args, args.long || context.json)) {
        if (!context.json) yield listing;
        else for (const line of listing.lines) yield { kind: 'entry', line };
      }
    } finally {
      opened.close();
    }
    log.finish();
    if (log.count > 0)
      throw new CommandFailed('the listing may lack names or attributes, because parts of the filesystem are lost');
  },
  text(item, out) {
    if (item.kind === 'listing') printListing(item, out);
  },
  json: item => (item.kind === 'entry' ? lineJson(item.line) : {}),
});

function* listings(tree: FileTree, args: LsArgs, withStat: boolean): Generator<Listing> {
  const typed = args.paths.length === 0 ? ['/'] : args.paths;
  const found = typed.map(text => ({ text, ...lookUp(tree, text, { followLinks: !args.long && !args.directory }) }));
  const files = found.filter(({ node }) => args.directory || !isDirectory(node.inode));
  const directories = found.filter(one => !files.includes(one));
  const isTitled = found.length > 1 || args.recursive;
  let isFirst = true;
  const listing = (title: string | undefined, lines: readonly Line[]): Listing => {
    const made: Listing = { kind: 'listing', title, isFirst, lines, args };
    isFirst = false;
    return made;
  };
  if (files.length > 0) {
    const lines = files.map(({ node, path, text }) => fileLine(tree, node, path, bytesOfWord(text)));
    yield listing(undefined, lines);
  }
  const takes = (entry: FileEntry) => args.all || !isHidden(entry);
  for (const { node, path } of directories) {
    const title = (at: Uint8Array) => (isTitled ? `/${printableBytes(at)}:` : undefined);
    if (!args.recursive) {
      yield listing(title(path), directoryLines(tree, sortedWalk(tree, node, path, { takes, depthMax: 1 }), withStat));
      continue;
    }
    for (const { path: at, items } of sortedDirectories(tree, node, path, takes)) {
      yield listing(title(at), directoryLines(tree, items, withStat));
    }
  }
}

function directoryLines(tree: FileTree, items: Iterable<SortedItem>, withStat: boolean): readonly Line[] {
  const lines: Line[] = [];
  for (const { entry, node, path: at } of items) {
    if (node !== undefined && withStat) lines.push(fileLine(tree, node, at, entry.name));
    else {
      const inode = node?.inum ?? ('inum' in entry.target ? entry.target.inum : undefined);
      const type = typeOf(entry.type);
      lines.push({
        name: entry.name,
        path: at,
        type,
        stat: undefined,
        isLost: node === undefined,
        inode,
        target: undefined,
      });
    }
  }
  return lines;
}

function fileLine(tree: FileTree, node: FileNode, path: Uint8Array, name: Uint8Array): Line {
  const stat = tree.stat(node);
  const target = targetOf(tree, node, stat, path);
  return { name, path, type: stat.type, stat, isLost: false, inode: node.inum, target };
}

function lineJson({ name, path, type, stat, isLost, inode, target }: Line): object {
  return {
    ...bytesFields('path', pathBelow(new Uint8Array(0), path)),
    ...bytesFields('name', name),
    ...(stat === undefined ? { type, ...(inode === undefined ? {} : { inode }) } : statJson(stat)),
    ...(target === undefined ? {} : bytesFields('target', target)),
    ...(isLost ? { lost: true } : {}),
  };
}

function printListing({ title, isFirst, lines, args }: Listing, out: Out): void {
  if (!isFirst) out.line();
  if (title !== undefined) out.line(title);
  if (args.long) printLong(lines, args, out);
  else printNames(lines, args, out);
}

function printLong(lines: readonly Line[], args: LsArgs, out: Out): void {
  const rows = lines.map(line => {
    const { stat } = line;
    const inode = args.inode ? [`${line.inode ?? '?'}`] : [];
    if (stat === undefined) return [...inode, modeText(line.type, 0).replace(/-/g, '?'), '?', '?', '?', '?', '?'];
    const size = stat.rdev === undefined ? sizeText(stat.sizeBytes, args) : `${stat.rdev.major}, ${stat.rdev.minor}`;
    const { type, mode, nlink, uid, gid, mtimeNs } = stat;
    return [
      ...inode,
      modeText(type, mode),
      `${nlink}`,
      `${uid}`,
      `${gid}`,
      size,
      timeText(mtimeNs, { fraction: false }),
    ];
  });
  const widths = rows.reduce<number[]>((all, row) => row.map((cell, i) => Math.max(all[i] ?? 0, cell.length)), []);
  const modeColumn = args.inode ? 1 : 0;
  for (const [nr, row] of rows.entries()) {
    const line = lines[nr]!;
    const cells = row.map((cell, i) => (i === modeColumn ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!)));
    const target = line.target === undefined ? '' : ` -> ${printableBytes(line.target)}`;
    out.line(`${cells.join(' ')} ${nameText(line, out)}${target}`);
  }
}

const sizeText = (bytes: bigint, { human }: LsArgs): string => (human ? humanText(bytes) : `${bytes}`);

function nameText({ name, type, stat, isLost }: Line, out: Out): string {
  const text = printableBytes(name);
  return isLost ? out.color.red(text) : coloredName(text, type, stat?.mode, out.color);
}

/** Columns filled downwards on a terminal, one name a line elsewhere. */
function printNames(lines: readonly Line[], args: LsArgs, out: Out): void {
  const cells = lines.map(line => {
    const inode = args.inode ? `${line.inode ?? '?'} ` : '';
    // Wide characters take two columns; counting them needs tables that nothing else here needs.
    return { text: inode + nameText(line, out), width: inode.length + [...printableBytes(line.name)].length };
  });
  if (args.one || !out.isTerminal) {
    for (const { text } of cells) out.line(text);
    return;
  }
  const { columns, widths } = columnsFor(
    cells.map(cell => cell.width),
    out.columns,
  );
  const rowCount = Math.ceil(cells.length / columns);
  for (let row = 0; row < rowCount; row++) {
    let line = '';
    for (let column = 0; column < columns; column++) {
      const cell = cells[column * rowCount + row];
      if (cell === undefined) break;
      const isEnd = (column + 1) * rowCount + row >= cells.length;
      line += isEnd ? cell.text : cell.text + ' '.repeat(widths[column]! - cell.width + 2);
    }
    out.line(line);
  }
}

/** As many columns as fit, each as wide as its widest cell, two blanks between. */
export function columnsFor(
  cellWidths: readonly number[],
  lineWidth: number,
): { readonly columns: number; readonly widths: readonly number[] } {
  // A column takes three places at least, which bounds the tries.
  for (let columns = Math.min(cellWidths.length, Math.floor((lineWidth + 2) / 3)); columns > 1; columns--) {
    const rowCount = Math.ceil(cellWidths.length / columns);
    const widths: number[] = [];
    for (let at = 0; at < cellWidths.length; at += rowCount) {
      widths.push(cellWidths.slice(at, at + rowCount).reduce((most, width) => Math.max(most, width), 0));
    }
    if (widths.reduce((sum, width) => sum + width + 2, -2) <= lineWidth) return { columns: widths.length, widths };
  }
  return { columns: 1, widths: [0] };
}
