// Two trees of files gone through side by side, in the order of names. In memory are the entries of the directories on the way, and a piece of each
// side of one file. What is on one side only is said once, and not again for all below it.

import type { OpenedTree } from '@bcachefs-ts/command';
import {
  CorruptError,
  compareBytes,
  type FileEntry,
  type FileNode,
  type FileStat,
  type FileTypeName,
  fileTypes,
  isDirectory,
  joinPath,
  type OnDamage,
  printableBytes,
  sortedByName,
} from '@bcachefs-ts/core/engine';
import { firstDifference } from './contents.ts';

export type Side = 'first' | 'second';

/** One attribute, as text. Undefined: it is not there. */
export interface Change {
  readonly what: string;
  readonly first: string | undefined;
  readonly second: string | undefined;
}

export type Difference =
  | { readonly kind: 'only'; readonly side: Side; readonly path: Uint8Array; readonly type: FileTypeName }
  | { readonly kind: 'changed'; readonly path: Uint8Array; readonly changes: readonly Change[] }
  /** Could not be compared: what one side leads to is lost, which was reported. */
  | { readonly kind: 'lost'; readonly path: Uint8Array };

export interface CompareOptions {
  /** Whether times of change count. */
  readonly times: boolean;
  /** Whether contents are read; extents that are the same on the same devices never are. */
  readonly contents: boolean;
  /** Both sides are of one filesystem: equal pointers are equal data. */
  readonly isSameFilesystem: boolean;
  /** Called with each pair of files. */
  step(): void;
  readonly onDamage: OnDamage;
}

interface Pair {
  readonly first: FileNode;
  readonly second: FileNode;
  readonly path: Uint8Array;
  readonly depth: number;
}

/** As every walk has it: names add up to paths. */
const DEPTH_MAX = 4096;

export function* compareTrees(
  first: OpenedTree,
  second: OpenedTree,
  start: Omit<Pair, 'depth'>,
  options: CompareOptions,
): Generator<Difference> {
  const comparing = new Comparing(first, second, options);
  const entered = new Set<string>();
  const ahead: Pair[] = [{ ...start, depth: 0 }];
  for (let pair = ahead.pop(); pair !== undefined; pair = ahead.pop()) {
    options.step();
    const changes = comparing.changesOf(pair);
    if (changes.length > 0) yield { kind: 'changed', path: pair.path, changes };
    if (!isDirectory(pair.first.inode) || !isDirectory(pair.second.inode)) continue;
    const id = `${idOf(pair.first)} ${idOf(pair.second)}`;
    if (entered.has(id) || pair.depth >= DEPTH_MAX) {
      options.onDamage(new CorruptError('dir_loop', { path: printableBytes(pair.path) }, 'not entered again'));
      continue;
    }
    entered.add(id);
    // Below a directory comes what is in it, before its next neighbour.
    const below: Pair[] = [];
    for (const found of comparing.entriesOf(pair)) {
      if ('kind' in found) yield found;
      else below.push(found);
    }
    ahead.push(...below.toReversed());
  }
}

const idOf = ({ subvolume, snapshot, inum }: FileNode): string => `${subvolume}:${snapshot}:${inum}`;

class Comparing {
  readonly #first: OpenedTree;
  readonly #second: OpenedTree;
  readonly #options: CompareOptions;

  constructor(first: OpenedTree, second: OpenedTree, options: CompareOptions) {
    this.#first = first;
    this.#second = second;
    this.#options = options;
  }

  /** What is in two directories: pairs to compare, and what has no counterpart. */
  *entriesOf({ first, second, path, depth }: Pair): Generator<Difference | Pair> {
    const [own, other] = [this.#sorted(this.#first, first, path), this.#sorted(this.#second, second, path)];
    for (let [i, j] = [0, 0]; i < own.length || j < other.length; ) {
      const [a, b] = [own[i], other[j]];
      const order = a === undefined ? 1 : b === undefined ? -1 : compareBytes(a.name, b.name);
      if (order < 0) i++;
      else if (order > 0) j++;
      else [i, j] = [i + 1, j + 1];
      const entry = order <= 0 ? a! : b!;
      const at = path.length === 0 ? entry.name : joinPath([path, entry.name]);
      if (order !== 0) {
        yield { kind: 'only', side: order < 0 ? 'first' : 'second', path: at, type: typeOf(entry.type) };
        continue;
      }
      const nodes = [this.#first.tree.open(a!, { path: at }), this.#second.tree.open(b!, { path: at })] as const;
      if (nodes[0] === undefined || nodes[1] === undefined) yield { kind: 'lost', path: at };
      else yield { first: nodes[0], second: nodes[1], path: at, depth: depth + 1 };
    }
  }

  changesOf({ first, second, path }: Pair): readonly Change[] {
    const [a, b] = [this.#first.tree, this.#second.tree];
    const stats = [a.stat(first), b.stat(second)] as const;
    const changes = statChanges(...stats, this.#options.times);
    const compare = (what: string, left: string | undefined, right: string | undefined) => {
      if (left !== right) changes.push({ what, first: left, second: right });
    };
    compareMaps(compare, optionsOf(this.#first, first), optionsOf(this.#second, second));
    compareMaps(compare, xattrsOf(this.#first, first, path), xattrsOf(this.#second, second, path));
    if (stats[0].type !== stats[1].type) return changes;
    if (stats[0].type === 'lnk') {
      const targets = [a.linkTarget(first, { path }), b.linkTarget(second, { path })] as const;
      compare('target', printableBytes(targets[0]), printableBytes(targets[1]));
    }
    if (stats[0].type === 'reg' && stats[0].sizeBytes === stats[1].sizeBytes && this.#options.contents) {
      const at = this.#contentDiffers(first, second, path, stats[0]);
      if (at !== undefined) changes.push({ what: 'contents', first: `byte ${at}`, second: `byte ${at}` });
    }
    return changes;
  }

  #contentDiffers(first: FileNode, second: FileNode, path: Uint8Array, { sizeBytes }: FileStat): number | undefined {
    const { isSameFilesystem, onDamage } = this.#options;
    const where = printableBytes(path);
    if (sizeBytes > BigInt(Number.MAX_SAFE_INTEGER)) {
      onDamage(
        new CorruptError('vfs_i_size_bad', { path: where }, `bi_size ${sizeBytes}: its contents are not compared`),
      );
      return undefined;
    }
    const of = (opened: OpenedTree, { inum, snapshot }: FileNode) => ({
      opened,
      file: { inum, snapshot, sizeBytes: Number(sizeBytes) },
    });
    return firstDifference(of(this.#first, first), of(this.#second, second), { isSameFilesystem, onDamage, where });
  }

  #sorted({ tree }: OpenedTree, node: FileNode, path: Uint8Array): readonly FileEntry[] {
    return sortedByName(tree.entries(node, { path }));
  }
}

const typeOf = (id: number): FileTypeName => fileTypes.byId(id)?.name ?? 'unknown';

function statChanges(first: FileStat, second: FileStat, times: boolean): Change[] {
  const changes: Change[] = [];
  const compare = (what: string, of: (stat: FileStat) => string) => {
    const [a, b] = [of(first), of(second)];
    if (a !== b) changes.push({ what, first: a, second: b });
  };
  compare('type', ({ type }) => type);
  compare('mode', ({ mode }) => mode.toString(8).padStart(4, '0'));
  compare('uid', ({ uid }) => `${uid}`);
  compare('gid', ({ gid }) => `${gid}`);
  compare('project', ({ projectId }) => `${projectId}`);
  compare('flags', ({ flags }) => `0x${flags.toString(16)}`);
  compare('device', ({ rdev }) => (rdev === undefined ? '-' : `${rdev.major}:${rdev.minor}`));
  // How many entries a directory has says its contents.
  if (first.type !== 'dir' || second.type !== 'dir') compare('size', ({ sizeBytes }) => `${sizeBytes}`);
  if (times) compare('mtime', ({ mtimeNs }) => timeText(mtimeNs));
  return changes;
}

function timeText(ns: bigint): string {
  const seconds = ns / 1_000_000_000n - (ns % 1_000_000_000n < 0n ? 1n : 0n);
  const date = new Date(Number(seconds) * 1000);
  const rest = `${ns - seconds * 1_000_000_000n}`.padStart(9, '0');
  if (Number.isNaN(date.getTime())) return `${seconds}.${rest}`;
  return `${date.toISOString().slice(0, -'.000Z'.length)}.${rest}Z`;
}

function optionsOf({ tree }: OpenedTree, node: FileNode): ReadonlyMap<string, string> {
  return new Map(
    tree.options(node).flatMap(({ name, text, isOwn }) => (isOwn ? [[`option ${name}`, text] as const] : [])),
  );
}

/** Longer values are told apart, and not shown. */
const VALUE_SHOWN_BYTES = 64;

function xattrsOf({ tree }: OpenedTree, node: FileNode, path: Uint8Array): ReadonlyMap<string, string> {
  return new Map(
    tree.xattrs(node, { path }).map(({ name, value }) => [`xattr ${printableBytes(name)}`, latin1(value)]),
  );
}

/** One character for each byte, to be compared; see `shown`. */
function latin1(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) text += String.fromCharCode(byte);
  return text;
}

const shown = (what: string, text: string | undefined): string | undefined => {
  if (text === undefined || !what.startsWith('xattr ')) return text;
  if (text.length > VALUE_SHOWN_BYTES) return `${text.length} bytes`;
  return printableBytes(Uint8Array.from(text, char => char.charCodeAt(0)));
};

function compareMaps(
  compare: (what: string, left: string | undefined, right: string | undefined) => void,
  first: ReadonlyMap<string, string>,
  second: ReadonlyMap<string, string>,
): void {
  for (const what of [...new Set([...first.keys(), ...second.keys()])].toSorted()) {
    const [a, b] = [first.get(what), second.get(what)];
    if (a === b) continue;
    const [left, right] = [shown(what, a), shown(what, b)];
    // Values that look alike when they are cut short do differ.
    compare(what, left, left === right && right !== undefined ? `other ${right}` : right);
  }
}
