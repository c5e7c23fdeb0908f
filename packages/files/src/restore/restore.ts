// Restoring a tree: walks it, writes each entry to the destination, and gathers a verdict for each. Folders get their times and
// permissions when everything in them is there.
//
// What is damaged does not get its name in the destination, unless errors are to be ignored; the walk goes on either way. What the host
// refuses for one file (a name too long, a clash) is that file's verdict; what it refuses for all (no space left) ends the restore, which
// can be continued.
//
// Memory: verdicts that are not "intact", and for each file with several links what became of its first one.

import { ftruncateSync, lstatSync } from 'node:fs';
import type { NativeCalls } from '@bcachefs-ts/command';
import {
  type ExtendedAttribute,
  type FileStat,
  hasNulInside,
  joinPath,
  latin1Text,
  printableBytes,
} from '@bcachefs-ts/core/engine';
import type { PathFilter } from '../filter.ts';
import { AttributeWriter, NEEDS_NATIVE, refusal } from './attributes.ts';
import { chmodUnfollowed, type Destination, hostFailure, NotWritten, taking, writeAll } from './destination.ts';
import type { Folder } from './folder.ts';
import { type FileVerdict, FindingTally, pathFields, type Report, type UnkeptKind } from './report.ts';
import { selectedItems } from './selection.ts';
import type { RestoreSource, SourceItem, SourceNode } from './source.ts';
import type { RestoreState } from './state.ts';

/** How long the event loop waits at most, so that Ctrl-C is heard. */
const TURN_MS = 50;
/** PATH_MAX of Linux; longer targets are none. */
const LINK_TARGET_MAX = 4096;
const S_IFMT: Readonly<Record<string, number>> = { fifo: 0o010000, chr: 0o020000, blk: 0o060000, sock: 0o140000 };
const decoder = new TextDecoder();
const NO_DEVICE = { major: 0, minor: 0 };

export interface RestoreRequest<Node extends SourceNode> {
  readonly source: RestoreSource<Node>;
  readonly filter: PathFilter;
  readonly destination: Destination;
  readonly state: RestoreState;
  readonly report: Report;
  readonly native: NativeCalls | undefined;
  readonly user: { readonly uid: number; readonly gid: number } | undefined;
  /** Keeps damaged files, with holes where data is lost. */
  readonly ignoreErrors: boolean;
  /** Replaces what is in the destination. */
  readonly merge: boolean;
  /** Where files go that no folder names; undefined leaves them. */
  readonly orphansFolder: string | undefined;
  /** Called with the bytes of data that are done. */
  readonly onBytes: (bytes: number) => void;
}

/** A folder of the walk that has not been left yet. */
interface Level<Node extends SourceNode> {
  readonly node: Node;
  readonly stat: FileStat;
  /** How long its path is: of very deep trees the paths of all levels would be much. */
  readonly pathBytes: number;
  readonly name: Uint8Array;
  readonly nr: number;
  /** Made when it is first needed. Its name may turn out to be none: then all below it is refused as well. */
  folder: Folder | NotWritten | undefined;
}

/** What became of the first name of a file with several. */
type FirstLink =
  /** The others are made from what the destination keeps under this key. */
  | { readonly key: string }
  | { readonly verdict: FileVerdict }
  /** The host made none, and will not. */
  | NotMade
  /** The host has no links: each name gets a file of its own. */
  | 'copied';

/** A device node, fifo or socket that the host does not make. */
interface NotMade {
  readonly kind: UnkeptKind;
  readonly reason: string;
}

interface HostPlace {
  readonly folder: Folder;
  readonly name: Uint8Array;
  readonly path: Uint8Array;
  /** Whether a file of this name may be replaced: ours from before the interruption, or any when merging. */
  readonly replaces: boolean;
  /** Of a file with several names: the file, and what to keep it under. */
  readonly link?: { readonly id: string; readonly key: string };
}

export class Restore<Node extends SourceNode> {
  readonly #request: RestoreRequest<Node>;
  readonly #attributes: AttributeWriter;
  readonly #levels: Level<Node>[] = [];
  /** The path of the last of them; those of the others are its beginnings. */
  #path: Uint8Array = new Uint8Array(0);
  readonly #firstLinks = new Map<string, FirstLink>();
  /** Folders whose permissions would shut ourselves out, with what to do at the end. */
  readonly #late: (() => void)[] = [];
  /** What a merge has made: two names may be one for the host, or be there twice. By folder that is open now. */
  readonly #made = new WeakMap<Folder, Set<string>>();
  #turnEndsMs = 0;

  constructor(request: RestoreRequest<Node>) {
    this.#request = request;
    const { native, report, user, destination } = request;
    const chmod = (path: Buffer, mode: number) => chmodUnfollowed(path, mode, destination.usesDescriptors);
    this.#attributes = new AttributeWriter({ native, report, user, chmod });
  }

  /** @throws DeviceError when the host cannot go on */
  async run(): Promise<void> {
    const { source, filter, orphansFolder, destination } = this.#request;
    let nr = 0;
    for (const item of selectedItems(source, filter)) {
      nr = item.nr + 1;
      await this.#item(item, item.choice === 'taken', item.nr);
    }
    if (orphansFolder !== undefined) nr = await this.#orphans(orphansFolder, nr);
    // The topmost gets its times when the work folder is gone from it.
    this.#leaveTo(1);
    for (const finish of this.#late) finish();
    destination.finish();
    this.#leaveTo(0);
  }

  async #item(item: SourceItem<Node>, isTaken: boolean, nr: number): Promise<void> {
    const { path, depth, node } = item;
    try {
      this.#leaveTo(depth);
      const verdict = await this.#restore(item, isTaken, nr);
      if (verdict !== undefined) this.#request.report.add(verdict);
      this.#request.state.finished(nr, verdict);
    } catch (thrown) {
      throw hostFailure(thrown, joinPath([this.#request.destination.top.name, path]));
    }
    if (node !== undefined && performance.now() > this.#turnEndsMs) await this.#turn();
  }

  /** Lets the event loop run: a signal may be waiting. */
  async #turn(): Promise<void> {
    await new Promise(resolve => setImmediate(resolve));
    this.#turnEndsMs = performance.now() + TURN_MS;
  }

  /** @returns the verdict, unless it is nothing but intact and was counted as such */
  async #restore(item: SourceItem<Node>, isTaken: boolean, nr: number): Promise<FileVerdict | undefined> {
    const { source, state } = this.#request;
    const { path, depth, node } = item;
    const name = item.entry?.name ?? path;
    if (node === undefined) {
      return isTaken
        ? { ...pathFields(path), verdict: 'unreadable', restored: false, detail: 'what the name leads to is lost' }
        : undefined;
    }
    const stat = source.stat(node);
    if (stat.type === 'dir') {
      this.#path = path;
      this.#levels.push({
        node,
        stat,
        pathBytes: path.length,
        name,
        nr,
        folder: depth === 0 ? this.#request.destination.top : undefined,
      });
      return isTaken ? this.#madeFolder(path) : undefined;
    }
    if (!isTaken) return undefined;
    const before = state.before.get(nr);
    const isSettled =
      before !== undefined && !before.restored && (before.verdict === 'not_written' || !this.#request.ignoreErrors);
    if (isSettled) return before;
    try {
      const folder = this.#folderAt(depth - 1);
      const place = { folder, name, path, replaces: this.#mayReplace(folder, name, nr) };
      return await this.#file(node, stat, place, nr, before);
    } catch (thrown) {
      return notWritten(path, thrown);
    }
  }

  #mayReplace(folder: Folder, name: Uint8Array, nr: number): boolean {
    // The one after the last that was noted may have got its name before it was noted.
    if (!this.#request.merge) return this.#request.state.mayHaveMade(nr);
    const made = this.#made.get(folder) ?? new Set<string>();
    this.#made.set(folder, made);
    const { ignoresCase } = this.#request.destination;
    const key = ignoresCase ? decoder.decode(name).normalize('NFC').toLowerCase() : latin1Text(name);
    if (made.has(key)) return false;
    made.add(key);
    return true;
  }

  /** The folder of a level, and those above it; made if need be. @throws NotWritten */
  #folderAt(depth: number): Folder {
    const { destination, report, state, merge } = this.#request;
    let folder = destination.top;
    for (const level of this.#levels.slice(0, depth + 1)) {
      if (level.folder === undefined) {
        try {
          const mayExist = merge ? this.#mayReplace(folder, level.name, level.nr) : state.mayHaveMade(level.nr);
          level.folder = destination.folder(folder, level.name, mayExist, merge ? undefined : level.stat.uid);
          report.totals.directories++;
        } catch (thrown) {
          if (!(thrown instanceof NotWritten)) throw thrown;
          level.folder = new NotWritten(thrown.message);
          throw thrown;
        }
      } else if (level.folder instanceof NotWritten) {
        throw new NotWritten(`its folder could not be made: ${level.folder.message}`);
      }
      folder = level.folder;
    }
    return folder;
  }

  #madeFolder(path: Uint8Array): FileVerdict | undefined {
    try {
      this.#folderAt(this.#levels.length - 1);
      this.#request.report.addIntact(path);
      return undefined;
    } catch (thrown) {
      return notWritten(path, thrown);
    }
  }

  async #file(
    node: Node,
    stat: FileStat,
    place: HostPlace,
    nr: number,
    before: FileVerdict | undefined,
  ): Promise<FileVerdict | undefined> {
    if (stat.nlink <= 1) return await this.#content(node, stat, place, nr, before);
    const id = linkId(node);
    const first = this.#firstLinks.get(id);
    if (first === 'copied') return await this.#content(node, stat, place, nr, before);
    if (first !== undefined) return this.#link(first, place);
    const link = { id, key: `link-${nr}` };
    const verdict = await this.#content(node, stat, { ...place, link }, nr, before);
    if (verdict !== undefined && !verdict.restored) this.#firstLinks.set(id, { verdict });
    return verdict;
  }

  #link(first: Exclude<FirstLink, 'copied'>, { folder, name, path, replaces }: HostPlace): FileVerdict | undefined {
    const { destination, report } = this.#request;
    if ('verdict' in first) return { ...first.verdict, ...pathFields(path) };
    if ('kind' in first) {
      report.reportUnkept(first.kind, printableBytes(path), first.reason);
      return undefined;
    }
    destination.link(first.key, folder, name, replaces);
    report.totals.links++;
    report.addIntact(path);
    return undefined;
  }

  async #content(
    node: Node,
    stat: FileStat,
    place: HostPlace,
    nr: number,
    before: FileVerdict | undefined,
  ): Promise<FileVerdict | undefined> {
    switch (stat.type) {
      case 'reg':
        if (nr < this.#request.state.doneBefore && this.#isThere(place, stat)) return this.#skip(stat, place, before);
        return await this.#regular(node, stat, place);
      case 'lnk':
        return this.#symlink(node, stat, place);
      case 'fifo':
      case 'sock':
      case 'chr':
      case 'blk':
        return this.#special(node, stat, place);
      default:
        return {
          ...pathFields(place.path),
          verdict: 'unreadable',
          restored: false,
          detail: 'its inode does not say what it is',
        };
    }
  }

  /** Whether an earlier run has written the file: its size and time are looked at, in case somebody else was there since. */
  #isThere({ folder, name, link }: HostPlace, stat: FileStat): boolean {
    if (link !== undefined && !this.#request.destination.isKept(link.key, folder, name)) return false;
    const there = lstatSync(folder.at(name), { bigint: true, throwIfNoEntry: false });
    if (!there?.isFile() || there.size !== stat.sizeBytes) return false;
    const precisionNs = this.#request.native === undefined ? 1_000_000n : 1n;
    const difference = there.mtimeNs - stat.mtimeNs;
    return difference > -precisionNs && difference < precisionNs;
  }

  #skip(stat: FileStat, place: HostPlace, before: FileVerdict | undefined): FileVerdict | undefined {
    const { report, onBytes } = this.#request;
    report.totals.files++;
    report.totals.resumed++;
    onBytes(expectedBytes(stat));
    if (place.link !== undefined) this.#firstLinks.set(place.link.id, { key: place.link.key });
    if (before === undefined) report.addIntact(place.path);
    return before;
  }

  async #regular(node: Node, stat: FileStat, place: HostPlace): Promise<FileVerdict | undefined> {
    const { source, destination, report, ignoreErrors, onBytes } = this.#request;
    destination.checkName(place.folder, place.name);
    const sizeBytes = Number(stat.sizeBytes);
    if (stat.sizeBytes > BigInt(Number.MAX_SAFE_INTEGER)) {
      return {
        ...pathFields(place.path),
        verdict: 'unreadable',
        restored: false,
        detail: `a size of ${stat.sizeBytes} bytes`,
      };
    }
    const tally = new FindingTally();
    const fd = destination.createFile();
    let dataBytes = 0;
    let toCount = expectedBytes(stat);
    try {
      for (const chunk of source.chunks(node, sizeBytes, { onFinding: finding => tally.add(finding), ignoreErrors })) {
        // A damaged file is read to its end, since the report names all that is lost, but written only where it is kept.
        if (chunk.kind === 'data' && (ignoreErrors || tally.kind === 'intact')) {
          taking(() => writeAll(fd, chunk.bytes, chunk.offset));
          dataBytes += chunk.length;
        }
        if (chunk.kind !== 'hole') {
          const bytes = Math.min(chunk.length, toCount);
          toCount -= bytes;
          onBytes(bytes);
        }
        if (performance.now() > this.#turnEndsMs) await this.#turn();
      }
    } catch (thrown) {
      destination.discardNew();
      throw thrown;
    }
    onBytes(toCount);
    const isKept = ignoreErrors || tally.kind === 'intact';
    const verdict = tally.verdict(place.path, isKept);
    if (!isKept) {
      destination.discardNew();
      return verdict;
    }
    taking(() => ftruncateSync(fd, sizeBytes));
    this.#finish(stat, source.xattrs(node, place.path), place);
    report.totals.files++;
    report.totals.data_bytes += dataBytes;
    if (verdict.verdict !== 'intact' || verdict.healed_bytes !== undefined) return verdict;
    report.addIntact(place.path);
    return undefined;
  }

  #symlink(node: Node, stat: FileStat, place: HostPlace): FileVerdict | undefined {
    const { source, destination, report } = this.#request;
    destination.checkName(place.folder, place.name);
    const tally = new FindingTally();
    const unreadable = (detail: string): FileVerdict => ({
      ...pathFields(place.path),
      verdict: 'unreadable',
      restored: false,
      detail,
    });
    if (stat.sizeBytes > BigInt(LINK_TARGET_MAX)) return unreadable(`a symlink of ${stat.sizeBytes} bytes`);
    const stored = new Uint8Array(Number(stat.sizeBytes));
    const onFinding = tally.add.bind(tally);
    for (const chunk of source.chunks(node, stored.length, { onFinding, ignoreErrors: false })) {
      if (chunk.kind === 'data') stored.set(chunk.bytes, chunk.offset);
    }
    if (tally.kind !== 'intact') return tally.verdict(place.path, false);
    if (hasNulInside(stored)) return unreadable('a symlink whose target has a NUL in it, which no target can have');
    const end = stored.indexOf(0);
    const target = end < 0 ? stored : stored.subarray(0, end);
    if (target.length === 0) return unreadable('a symlink without a target');
    taking(() => destination.makeSymlink(target));
    this.#finish(stat, source.xattrs(node, place.path), place);
    report.totals.symlinks++;
    report.addIntact(place.path);
    return undefined;
  }

  #special(node: Node, stat: FileStat, place: HostPlace): undefined {
    const { source, destination, report, native } = this.#request;
    const kind: UnkeptKind = stat.type === 'fifo' ? 'fifos' : stat.type === 'sock' ? 'sockets' : 'devices';
    destination.checkName(place.folder, place.name);
    const notMade = (reason: string): undefined => {
      report.reportUnkept(kind, printableBytes(place.path), reason);
      if (place.link !== undefined) this.#firstLinks.set(place.link.id, { kind, reason });
    };
    if (native === undefined) return notMade(NEEDS_NATIVE);
    try {
      destination.makeNode(native, (S_IFMT[stat.type] ?? 0) | 0o600, stat.rdev ?? NO_DEVICE);
    } catch (thrown) {
      const reason = refusal(thrown);
      // Lack of space does not concern this one file only.
      if (reason === 'ENOSPC' || reason === 'EDQUOT' || reason === 'EROFS') throw thrown;
      return notMade(reason);
    }
    this.#finish(stat, source.xattrs(node, place.path), place);
    report.totals.special++;
    report.addIntact(place.path);
    return undefined;
  }

  /** Attributes, then the name. */
  #finish(
    stat: FileStat,
    xattrs: readonly ExtendedAttribute[],
    { folder, name, path, replaces, link }: HostPlace,
  ): void {
    const { destination, report } = this.#request;
    this.#attributes.apply(destination.newTarget, stat, xattrs, path);
    if (link !== undefined) {
      const isKept = destination.keep(link.key);
      this.#firstLinks.set(link.id, isKept ? { key: link.key } : 'copied');
      if (!isKept) report.reportUnkept('links', printableBytes(path), 'each name got a file of its own');
    }
    destination.place(folder, name, replaces);
  }

  /** Leaves the folders that are deeper. */
  #leaveTo(depth: number): void {
    for (let level = this.#levels.length > depth ? this.#levels.pop() : undefined; level !== undefined; ) {
      this.#leave(level);
      level = this.#levels.length > depth ? this.#levels.pop() : undefined;
    }
  }

  #leave({ node, stat, pathBytes, folder, nr }: Level<Node>): void {
    const { source, user, destination, filter } = this.#request;
    if (folder === undefined || folder instanceof NotWritten) return;
    const isTop = folder === destination.top;
    // The user's own folder stays as it was, unless it became the root of the tree.
    if (isTop && !(destination.isNew && filter.takesRoot && nr === 0)) return;
    const path = this.#path.subarray(0, pathBytes);
    const finish = () => {
      folder.withDescriptor(target => this.#attributes.apply(target, stat, source.xattrs(node, path), path));
      folder.close();
    };
    const shutsOut = user !== undefined && user.uid !== 0 && (stat.mode & 0o700) !== 0o700;
    if (shutsOut && !isTop) this.#late.push(finish);
    else finish();
  }

  /** Files that no folder names, each under its inode number. @returns the number of the next entry */
  async #orphans(folderName: string, firstNr: number): Promise<number> {
    const { source, destination, merge, user } = this.#request;
    const encoder = new TextEncoder();
    let nr = firstNr;
    this.#leaveTo(1);
    let folder: Folder | undefined;
    for (const { node, isUnlinked } of source.orphans()) {
      const mayExist = merge || destination.isResumed;
      folder ??= destination.folder(
        destination.top,
        encoder.encode(folderName),
        mayExist,
        merge ? undefined : user?.uid,
      );
      const name = encoder.encode(`${node.inum}${isUnlinked ? '.deleted' : ''}`);
      const top = joinPath([encoder.encode(folderName), name]);
      // Stands in for the folder of the orphans, which has no inode of its own.
      const base = this.#levels.length;
      this.#path = encoder.encode(folderName);
      this.#levels.push({ node, stat: source.stat(node), pathBytes: this.#path.length, name, nr, folder });
      const standIn = this.#levels[base]!;
      for (const item of source.walk({ from: node, descend: () => true })) {
        const path = item.path.length === 0 ? top : joinPath([top, item.path]);
        const entry = item.entry ?? { name };
        await this.#item({ path, entry, node: item.node, depth: item.depth + base + 1 }, true, nr);
        nr++;
      }
      this.#leaveTo(base + 1);
      standIn.folder = undefined;
      this.#leaveTo(base);
    }
    return nr;
  }
}

const linkId = ({ inum, subvolume, snapshot }: SourceNode): string => `${subvolume}:${snapshot}:${inum}`;

/** @throws what is not a refusal of one file */
function notWritten(path: Uint8Array, thrown: unknown): FileVerdict {
  if (!(thrown instanceof NotWritten)) throw thrown;
  return { ...pathFields(path), verdict: 'not_written', restored: false, detail: thrown.message };
}

/** Bytes of data that a file is taken to have before it is read. */
export function expectedBytes({ type, sizeBytes, blocks }: FileStat): number {
  const stored = 512n * blocks;
  return type === 'reg' ? Number(sizeBytes < stored ? sizeBytes : stored) : 0;
}
