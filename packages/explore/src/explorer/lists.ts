// What the lists of the explorer are: for each place its items, how one looks as a row, and what is known about it.

import { bytesText, type OpenedTree } from '@bcachefs-ts/command';
import {
  allSubEntries,
  type Bpos,
  type BtreeNode,
  type BtreeView,
  bkeyText,
  bposSuccessor,
  bposText,
  btrees,
  bucketMap,
  bytesOfWord,
  compareBytes,
  type DeviceMap,
  dateTimeText,
  type FileEntry,
  type FileNode,
  FileTree,
  fileChunks,
  fileSize,
  fileTypes,
  indentOf,
  type JournalEntry,
  type JournalReading,
  joinPath,
  jsetEntryText,
  type Key,
  keyText,
  makeBpos,
  nodeFill,
  nodeFillText,
  type OnDamage,
  POS_MIN,
  PrintBuffer,
  parsePosition,
  pathsOf,
  pathText,
  printable,
  printableBytes,
  readJournal,
  releaseForVersion,
  SPOS_MAX,
  type SubvolumeEntry,
  sbFieldIds,
  sectorsToBytes,
  superblockText,
  wordOfBytes,
} from '@bcachefs-ts/core/engine';
import type { Line, PaneName, Place, Room, Row } from './messages.ts';
import { PagedList } from './paged-list.ts';
import { mapPicture } from './picture.ts';

/** A place, with what its items are. */
export interface Shown {
  readonly items: Pick<PagedList<unknown>, 'count' | 'isWhole' | 'fill'>;
  row(nr: number): Row;
  /** What a search looks into. */
  detail(nr: number, room: Room): readonly Line[] | Promise<readonly Line[]>;
  /** A file or a directory. */
  file?(nr: number): ShownFile;
}

/** As commands are are given it. */
export interface ShownFile {
  /** As in Place. */
  readonly subvolume: number;
  readonly snapshot: number;
  readonly path: string;
  readonly isDirectory: boolean;
  /** 0 where its inode is lost. */
  readonly sizeBytes: number;
}

export interface ListsContext extends OpenedTree {
  readonly onDamage: OnDamage;
  readonly hasColor: boolean;
  /** What `explain` prints about a byte of a member. */
  explain(device: number, offset: number): Promise<string>;
}

const PREVIEW_BYTES = 4096;
/** Lines of details: what is longer is for the commands that print it. */
const LINES_MAX = 2000;
const CELLS_MAX = 4096;
const NANOSECONDS = 1_000_000_000n;

/** Text that may have line breaks, but nothing else that a terminal obeys. */
export const linesOf = (text: string): readonly Line[] => {
  const lines = text.replaceAll('\t', '        ').split('\n');
  if (lines.at(-1) === '') lines.pop();
  const shown = lines.slice(0, LINES_MAX).map(line => [{ text: printable(line) }]);
  return lines.length > LINES_MAX ? [...shown, [{ text: `… and ${lines.length - LINES_MAX} more lines` }]] : shown;
};

const plainRow = (text: string, rest: Omit<Row, 'text'> = {}): Row => ({ text: printable(text), ...rest });

/** The lists of one filesystem. What was read once for a pane is kept. */
export class Lists {
  readonly #context: ListsContext;
  readonly #trees = new Map<string, FileTree>();
  #maps: readonly DeviceMap[] | undefined;
  #journal: JournalReading | undefined;

  constructor(context: ListsContext) {
    this.#context = context;
  }

  /** @throws typed errors for what is lost altogether */
  open(place: Place): Shown {
    switch (place.kind) {
      case 'pane':
        return this.#pane(place.pane);
      case 'directory':
        return this.#directory(place);
      case 'btree':
        return this.#levels(place.btree);
      case 'nodes':
        return this.#nodes(place.btree, place.level);
      case 'keys':
        return this.#keys(place.btree, parsePosition(place.from), parsePosition(place.to));
      case 'buckets':
        return this.#buckets(place.device);
    }
  }

  #pane(pane: PaneName): Shown {
    switch (pane) {
      case 'files': {
        const { subvolume, snapshot } = this.#context.tree;
        return this.#directory({ subvolume, snapshot, path: '' });
      }
      case 'subvolumes':
        return this.#subvolumes();
      case 'btrees':
        return this.#btrees();
      case 'buckets':
        return this.#devices();
      case 'journal':
        return this.#entries();
      case 'superblock':
        return this.#sections();
    }
  }

  #tree(subvolume: number, snapshot: number): FileTree {
    const { tree, filesystem, onDamage } = this.#context;
    if (subvolume === tree.subvolume && snapshot === tree.snapshot) return tree;
    const name = `${subvolume}:${snapshot}`;
    const which = subvolume === 0 ? { snapshot } : { subvolume };
    const known = this.#trees.get(name) ?? FileTree.open(filesystem, { ...which, table: tree.table, onDamage });
    this.#trees.set(name, known);
    return known;
  }

  #directory({ subvolume, snapshot, path }: Pick<ShownFile, 'subvolume' | 'snapshot' | 'path'>): Shown {
    const tree = this.#tree(subvolume, snapshot);
    const here = bytesOfWord(path);
    const directory = path === '' ? tree.root() : tree.lookup(here, { followLinks: false });
    const items = new PagedList<FileEntry>(tree.entries(directory, { path: here }), (a, b) =>
      compareBytes(a.name, b.name),
    );
    const pathOf = ({ name }: FileEntry) => (path === '' ? name : joinPath([here, name]));
    const isFolder = ({ type }: FileEntry) => ['dir', 'subvol'].includes(fileTypes.byId(type)?.name ?? '');
    const opened = (entry: FileEntry) => tree.open(entry, { path: pathOf(entry) });
    return {
      items,
      row(nr) {
        const entry = items.items[nr]!;
        const text = printableBytes(entry.name);
        if (isFolder(entry)) {
          const place: Place = { kind: 'directory', subvolume, snapshot, path: wordOfBytes(pathOf(entry)) };
          return { text: `${text}/`, color: 'blue', opens: { place, title: pathText(pathOf(entry)) } };
        }
        const node = opened(entry);
        const color = fileTypes.byId(entry.type)?.name === 'lnk' ? { color: 'cyan' } : {};
        const size = node === undefined ? 'lost' : bytesText(Number(tree.stat(node).sizeBytes));
        return { text: `${text}  ${size}`, ...color };
      },
      detail: nr => {
        const entry = items.items[nr]!;
        const node = opened(entry);
        const name = `${pathText(pathOf(entry))}\n`;
        return linesOf(name + (node === undefined ? 'its inode is lost' : this.#aboutFile(tree, node, pathOf(entry))));
      },
      file: nr => {
        const entry = items.items[nr]!;
        const node = opened(entry);
        const sizeBytes = node === undefined ? 0 : Number(tree.stat(node).sizeBytes);
        return { subvolume, snapshot, path: wordOfBytes(pathOf(entry)), isDirectory: isFolder(entry), sizeBytes };
      },
    };
  }

  #aboutFile(tree: FileTree, node: FileNode, path: Uint8Array): string {
    const stat = tree.stat(node);
    const lines = [
      `${stat.type} ${stat.mode.toString(8).padStart(4, '0')}  ${stat.uid}:${stat.gid}  ${stat.nlink} links`,
      `${stat.sizeBytes} bytes  inode ${node.inum}  snapshot ${node.keySnapshot}`,
      dateTimeText(stat.mtimeNs / NANOSECONDS),
      '',
    ];
    if (stat.type === 'lnk') lines.push(`-> ${printableBytes(tree.linkTarget(node, { path }))}`);
    else if (stat.type === 'reg') lines.push(this.#beginning(tree, node, stat.sizeBytes));
    else if (stat.type === 'dir') {
      for (const { name } of tree.entries(node, { path })) {
        if (lines.push(printableBytes(name)) > 50) break;
      }
    }
    return lines.join('\n');
  }

  /** Of a regular file; what has control characters in it is shown as bytes. */
  #beginning(tree: FileTree, { inum, snapshot, keySnapshot }: FileNode, size: bigint): string {
    const { data, reflinks } = this.#context;
    const sizeBytes = fileSize(size, `0:${inum}:${keySnapshot}`);
    const to = Math.min(sizeBytes, PREVIEW_BYTES);
    const bytes = new Uint8Array(to);
    for (const chunk of fileChunks(data, tree.table, { inum, snapshot, sizeBytes }, { reflinks, to })) {
      if (chunk.kind === 'lost') return `lost from byte ${chunk.offset} on: ${chunk.error.message}`;
      if (chunk.kind === 'data') bytes.set(chunk.bytes.subarray(0, to - chunk.offset), chunk.offset);
    }
    if (!bytes.some(byte => byte < 0x20 && byte !== 0x0a && byte !== 0x09 && byte !== 0x0d)) {
      return new TextDecoder().decode(bytes).replaceAll('\r\n', '\n');
    }
    const rows: string[] = [];
    for (let at = 0; at < Math.min(to, 512); at += 8) {
      const row = [...bytes.subarray(at, at + 8)].map(byte => byte.toString(16).padStart(2, '0'));
      rows.push(`${at.toString(16).padStart(4, '0')}  ${row.join(' ')}`);
    }
    return rows.join('\n');
  }

  #subvolumes(): Shown {
    const { tree, filesystem } = this.#context;
    const { table } = tree;
    type Item = SubvolumeEntry | number;
    const nodes = table.nodes().filter(({ subvolume }) => subvolume === 0);
    const list = new PagedList<Item>([...table.subvolumes(), ...nodes.map(({ id }) => id)]);
    const pathText_ = (entry: SubvolumeEntry) => {
      const [found] = pathsOf(this.#tree(entry.id, entry.snapshot), entry.rootInode, { search: 'none' });
      return found?.isWhole ? pathText(found.path) : '(no name leads to it)';
    };
    const context = filesystem.textContext();
    const about = (btree: 'subvolumes' | 'snapshots', id: number) => {
      const key = filesystem.btree(btree).get(makeBpos(0n, BigInt(id), 0), { onDamage: this.#context.onDamage });
      return key === undefined ? 'its key is lost' : textOfKey(key, context);
    };
    return {
      items: list,
      row(nr) {
        const item = list.items[nr]!;
        const [subvolume, snapshot] = typeof item === 'number' ? [0, item] : [item.id, item.snapshot];
        const title = subvolume === 0 ? `snapshot ${snapshot}` : `subvolume ${subvolume}`;
        const text =
          typeof item === 'number'
            ? `snapshot node ${item}, no subvolume`
            : `${item.id} ${pathText_(item)}${item.isReadOnly ? ' ro' : ''}${item.isSnapshot ? ` of ${item.creationParent}` : ''}`;
        return plainRow(text, { opens: { place: { kind: 'directory', subvolume, snapshot, path: '' }, title } });
      },
      detail(nr) {
        const item = list.items[nr]!;
        if (typeof item === 'number') return linesOf(about('snapshots', item));
        return linesOf(`${about('subvolumes', item.id)}\n\n${about('snapshots', item.snapshot)}`);
      },
    };
  }

  #btrees(): Shown {
    const { filesystem } = this.#context;
    const known = btrees.rows.map(({ id }) => id);
    const others = [...filesystem.replay.roots.keys()].filter(id => !known.includes(id));
    const list = new PagedList([...known, ...others].map(id => [id, filesystem.btree(id)] as const));
    return {
      items: list,
      row(nr) {
        const [id, view] = list.items[nr]!;
        const depth = view.root === undefined ? 'empty' : `depth ${view.depth}`;
        return plainRow(`${view.name.padEnd(24)} ${depth}`, {
          opens: { place: { kind: 'btree', btree: id }, title: view.name },
        });
      },
      detail: nr => {
        const [, view] = list.items[nr]!;
        const key = view.root?.key;
        if (key === undefined) return linesOf(view.root === undefined ? 'there are no keys' : 'its root is lost');
        return linesOf(`root:\n${textOfKey(key, filesystem.textContext())}`);
      },
    };
  }

  /** Of a btree: all of its keys, and its nodes level by level. */
  #levels(btree: number): Shown {
    const view = this.#context.filesystem.btree(btree);
    const depth = view.root === undefined ? 0 : view.depth;
    const list = new PagedList([-1, ...Array.from({ length: depth }, (_, level) => level)]);
    return {
      items: list,
      row(nr) {
        const level = list.items[nr]!;
        if (level >= 0) {
          const title = `${view.name}, nodes of level ${level}`;
          return plainRow(`nodes of level ${level}`, { opens: { place: { kind: 'nodes', btree, level }, title } });
        }
        return plainRow('keys', { opens: { place: wholeKeys(btree), title: `${view.name}, keys` } });
      },
      detail: () => [],
    };
  }

  #nodes(btree: number, level: number): Shown {
    const { filesystem, onDamage } = this.#context;
    const view = filesystem.btree(btree);
    // Of the nodes only the pointers to them are kept.
    const items = new PagedList<Key>(pointersOf(view.nodes({ level, onDamage })));
    const context = filesystem.textContext();
    return {
      items,
      row(nr) {
        const key = items.items[nr]!;
        const first = nr === 0 ? POS_MIN : bposSuccessor(items.items[nr - 1]!.k.p);
        const place: Place = { kind: 'keys', btree, from: bposText(first), to: bposText(key.k.p) };
        const title = `${view.name}, keys up to ${bposText(key.k.p)}`;
        return plainRow(`up to ${bposText(key.k.p)}`, level === 0 ? { opens: { place, title } } : {});
      },
      detail(nr) {
        const key = items.items[nr]!;
        for (const node of view.nodes({ level, from: key.k.p, to: key.k.p, onDamage })) {
          return linesOf(nodeFillText(nodeFill(node, filesystem.reader.nodeSectors), key, context));
        }
        return linesOf(`the node is lost\n${textOfKey(key, context)}`);
      },
    };
  }

  #keys(btree: number, from: Bpos, to: Bpos): Shown {
    const { filesystem, onDamage } = this.#context;
    const view: BtreeView = filesystem.btree(btree);
    const items = new PagedList<Key>(view.keys({ from, to, onDamage }));
    const context = filesystem.textContext();
    return {
      items,
      row: nr => plainRow(bkeyText(items.items[nr]!.k).replace(/^u64s \d+ type (\S+) (\S+)/, '$2 $1')),
      detail: nr => linesOf(textOfKey(items.items[nr]!, context)),
    };
  }

  #devices(): Shown {
    const { filesystem, onDamage, hasColor } = this.#context;
    this.#maps ??= bucketMap(filesystem, { cellsMax: CELLS_MAX, onDamage });
    const list = new PagedList(this.#maps);
    return {
      items: list,
      row(nr) {
        const { index, path } = list.items[nr]!;
        const title = `member ${index}, buckets`;
        return plainRow(`${index} ${path ?? '(missing)'}`, {
          opens: { place: { kind: 'buckets', device: index }, title },
        });
      },
      detail: (nr, room) => mapPicture(list.items[nr]!, room, hasColor),
    };
  }

  #buckets(device: number): Shown {
    const { filesystem, onDamage, explain } = this.#context;
    this.#maps ??= bucketMap(filesystem, { cellsMax: CELLS_MAX, onDamage });
    const map = this.#maps.find(({ index }) => index === device)!;
    const view = filesystem.btree('alloc');
    const context = filesystem.textContext();
    const keyOf = (bucket: number) => view.get(makeBpos(BigInt(device), BigInt(bucket), 0), { onDamage });
    return {
      items: { count: map.buckets, isWhole: true, fill: async () => {} },
      row(nr) {
        const bucket = map.firstBucket + nr;
        const key = keyOf(bucket);
        if (key === undefined) return plainRow(`${bucket} free, never used`);
        const text = textOfKey(key, context);
        const fields = ['data_type', 'dirty_sectors'].map(name => new RegExp(`${name} +(\\S+)`).exec(text)?.[1]);
        return plainRow(`${bucket} ${fields[0] ?? bkeyText(key.k)}${fields[1] === undefined ? '' : ` ${fields[1]}`}`);
      },
      async detail(nr) {
        const bucket = map.firstBucket + nr;
        const offset = bucket * sectorsToBytes(map.bucketSizeSectors);
        const key = keyOf(bucket);
        const about = map.path === undefined ? 'the member is missing' : await explain(device, offset);
        return linesOf(`${about}\n${key === undefined ? '' : textOfKey(key, context)}`);
      },
    };
  }

  #entries(): Shown {
    const { filesystem } = this.#context;
    const { set, key, sb } = filesystem;
    this.#journal ??= filesystem.replay.journal ?? readJournal(set, key);
    const reading = this.#journal;
    const list = new PagedList<JournalEntry>(reading.entries.toReversed());
    const keyContext = filesystem.textContext();
    const context = {
      ...keyContext,
      style: keyContext.style ?? releaseForVersion(sb.version),
      dateTime: (seconds: number | bigint) => keyContext.dateTime?.(seconds) ?? `${seconds}`,
    };
    return {
      items: list,
      row(nr) {
        const { seq, use, sizeBytes, isFlush } = list.items[nr]!;
        return plainRow(`${seq} ${bytesText(sizeBytes)} ${use}${isFlush ? '' : ', not flushed'}`);
      },
      detail(nr) {
        const entry = list.items[nr]!;
        const out = new PrintBuffer();
        out.print(`entry ${entry.seq}, last seq ${entry.lastSeq}, ${entry.sizeBytes} bytes, ${entry.use}`);
        out.newline();
        if (!entry.checksumGood) {
          out.print('its checksum is wrong');
          out.newline();
        }
        for (const { entry: sub } of allSubEntries(reading.read(entry).entries)) {
          const indent = indentOf(sub);
          out.addIndent(indent);
          jsetEntryText(out, sub, context);
          out.newline();
          out.removeIndent(indent);
        }
        return linesOf(out.toString());
      },
    };
  }

  /** The superblock, then its sections: members among them. */
  #sections(): Shown {
    const { filesystem } = this.#context;
    const { sb } = filesystem;
    const names = sb.sections.flatMap(({ type }) => sbFieldIds.byId(type)?.name ?? []);
    const list = new PagedList<(typeof names)[number] | undefined>([undefined, ...names]);
    const memberName = (index: number) => filesystem.device(index)?.name;
    return {
      items: list,
      row: nr => plainRow(list.items[nr] ?? 'superblock'),
      detail(nr) {
        const name = list.items[nr];
        if (name === undefined) return linesOf(superblockText(sb, { memberName, fields: [] }));
        return linesOf(superblockText(sb, { memberName, fieldOnly: name }));
      },
    };
  }
}

const wholeKeys = (btree: number): Place => ({
  kind: 'keys',
  btree,
  from: bposText(POS_MIN),
  to: bposText(SPOS_MAX),
});

function* pointersOf(nodes: Iterable<BtreeNode>): Generator<Key> {
  for (const { facts } of nodes) yield facts.ptr;
}

function textOfKey(key: Key, context: Parameters<typeof keyText>[2]): string {
  const out = new PrintBuffer();
  keyText(out, key, context);
  return out.toString();
}
