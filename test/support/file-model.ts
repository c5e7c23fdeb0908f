// Files as a plain tree in memory, changed by random operations together with a filesystem: what the filesystem holds afterwards has to be
// what this says. Nothing of the engine is used here but its doors.

import {
  atSnapshot,
  bposInode,
  DataReader,
  extent,
  extentEnd,
  extentStart,
  type FileEdit,
  FileError,
  type FileRef,
  type FilesystemSource,
  FileTree,
  fileSize,
  IndirectExtents,
  inodeLinkCount,
  insertExtent,
  type Key,
  keyTypes,
  makeBpos,
  makeKey,
  readFile,
  reflinkP,
  SnapshotTable,
} from '@bcachefs-ts/core/engine';
import type { Random } from './random.ts';

interface ModelFile {
  readonly kind: 'file' | 'dir' | 'link' | 'fifo';
  mode: number;
  links: number;
  bytes: Uint8Array;
  readonly xattrs: Map<string, string>;
  /** Of directories. */
  readonly names: Map<string, ModelFile>;
  /** The subvolume whose root it is; 0 for none. */
  subvolume: number;
}

const text = new TextEncoder();
const S_IF = { file: 0o100000, dir: 0o040000, link: 0o120000, fifo: 0o010000 } as const;
const SIZE_MAX = 150_000;

const newFile = (kind: ModelFile['kind'], mode: number): ModelFile => ({
  kind,
  mode,
  links: 1,
  bytes: new Uint8Array(0),
  xattrs: new Map(),
  names: new Map(),
  subvolume: 0,
});

/** A directory in the model and in the filesystem. */
interface Place {
  readonly dir: ModelFile;
  readonly ref: FileRef;
  /** The root of its subvolume. */
  readonly home: number;
  readonly parents: readonly ModelFile[];
}

export class FileModel {
  readonly root: ModelFile = newFile('dir', 0o755);
  readonly #random: Random;
  #count = 0;
  readonly done: Record<string, number> = {};

  constructor(random: Random) {
    this.#random = random;
    this.root.subvolume = 1;
  }

  /**
   * One random operation on both.
   * @param top the directory of the filesystem that the model is of
   * @param among what may be chosen, each as often as it stands there
   */
  step(edit: FileEdit, top: FileRef, among: readonly Operation[] = OPERATIONS): void {
    const places = [...this.#places(edit, { dir: this.root, ref: top, home: 1, parents: [] })];
    const place = this.#random.pick(places);
    const operation = this.#random.pick(among);
    const isDone = this[operation](edit, place, places);
    if (isDone) this.done[operation] = (this.done[operation] ?? 0) + 1;
  }

  /** As it is now, to go on with when what is done next fails. */
  copy(): FileModel {
    const copy = new FileModel(this.#random);
    const copies = new Map<ModelFile, ModelFile>();
    const twinOf = (file: ModelFile): ModelFile => {
      const known = copies.get(file);
      if (known !== undefined) return known;
      const twin: ModelFile = { ...file, xattrs: new Map(file.xattrs), names: new Map() };
      copies.set(file, twin);
      for (const [name, child] of file.names) twin.names.set(name, twinOf(child));
      return twin;
    };
    for (const [name, child] of this.root.names) copy.root.names.set(name, twinOf(child));
    copy.#count = this.#count;
    return copy;
  }

  /** Goes on until everything that can be done was done at least once, whatever was drawn so far. */
  complete(edit: FileEdit, top: FileRef): void {
    for (let tries = 0; tries < COMPLETE_TRIES; tries++) {
      const missing = [...new Set(OPERATIONS)].filter(operation => this.done[operation] === undefined);
      if (missing.length === 0) return;
      // Some need what others make.
      this.step(edit, top, tries % 2 === 0 ? missing : ['make', 'subvolume']);
    }
    throw new Error(`not everything was possible: ${JSON.stringify(this.done)}`);
  }

  *#places(edit: FileEdit, place: Place): Generator<Place> {
    yield place;
    for (const [name, child] of place.dir.names) {
      if (child.kind !== 'dir') continue;
      const ref = edit.files.lookup(place.ref, text.encode(name))!;
      yield* this.#places(edit, {
        dir: child,
        ref,
        home: child.subvolume || place.home,
        parents: [...place.parents, place.dir],
      });
    }
  }

  #newName(): string {
    return `${this.#random.pick(['a', 'file-', 'ü', 'long'.repeat(20)])}${this.#count++}`;
  }

  #pickName(place: Place, kinds: readonly ModelFile['kind'][]): [string, ModelFile] | undefined {
    const fitting = [...place.dir.names].filter(([, file]) => kinds.includes(file.kind));
    return fitting.length === 0 ? undefined : this.#random.pick(fitting);
  }

  make(edit: FileEdit, place: Place): boolean {
    const kind = this.#random.pick(['file', 'file', 'file', 'dir', 'link', 'fifo'] as const);
    const file = newFile(kind, kind === 'link' ? 0o777 : this.#random.pick([0o644, 0o600, 0o755]));
    const name = this.#newName();
    const ref = edit.files.create(place.ref, text.encode(name), { mode: S_IF[kind] | file.mode });
    place.dir.names.set(name, file);
    if (kind === 'link') {
      file.bytes = text.encode(`../${'target'.repeat(this.#random.below(40))}x`);
      edit.content.write(ref, 0, file.bytes);
    }
    if (kind === 'file') this.#writeTo(edit, ref, file);
    return true;
  }

  write(edit: FileEdit, place: Place): boolean {
    const found = this.#pickName(place, ['file']);
    if (found === undefined) return false;
    this.#writeTo(edit, edit.files.lookup(place.ref, text.encode(found[0]))!, found[1]);
    return true;
  }

  #writeTo(edit: FileEdit, ref: FileRef, file: ModelFile): void {
    const random = this.#random;
    const offset = random.pick([0, 0, file.bytes.length, random.below(SIZE_MAX), 4096 * random.below(8)]);
    const length = random.pick([
      1,
      random.below(200),
      random.below(600),
      4096,
      random.below(20_000),
      random.below(SIZE_MAX),
    ]);
    const bytes = new Uint8Array(length);
    const kind = random.below(4);
    const noise = random.below(256);
    for (let i = 0; i < length; i++) {
      if (kind === 0) bytes[i] = i % 9000 < 4500 ? 0 : noise;
      else if (kind === 1) bytes[i] = random.below(256);
      else bytes[i] = (i >> 4) + noise;
    }
    edit.content.write(ref, offset, bytes);
    const grown = new Uint8Array(Math.max(file.bytes.length, offset + length));
    grown.set(file.bytes);
    grown.set(bytes, offset);
    if (length > 0) file.bytes = grown;
  }

  resize(edit: FileEdit, place: Place): boolean {
    const found = this.#pickName(place, ['file']);
    if (found === undefined) return false;
    const [name, file] = found;
    const ref = edit.files.lookup(place.ref, text.encode(name))!;
    const size = this.#random.pick([0, this.#random.below(file.bytes.length + 1), this.#random.below(SIZE_MAX)]);
    if (this.#random.below(2) === 0) {
      edit.content.truncate(ref, size);
      const bytes = new Uint8Array(size);
      bytes.set(file.bytes.subarray(0, size));
      file.bytes = bytes;
    } else {
      const end = size + this.#random.below(30_000);
      edit.content.punch(ref, size, end);
      file.bytes = file.bytes.slice();
      file.bytes.fill(0, size, end);
    }
    return true;
  }

  remove(edit: FileEdit, place: Place): boolean {
    const found = this.#pickName(place, ['file', 'dir', 'link', 'fifo']);
    if (found === undefined) return false;
    const [name, file] = found;
    if (file.names.size > 0 || file.subvolume !== 0) {
      expectRefusal(['ENOTEMPTY', 'EISDIR'], () => edit.files.remove(place.ref, text.encode(name)));
      return false;
    }
    edit.files.remove(place.ref, text.encode(name));
    place.dir.names.delete(name);
    file.links--;
    return true;
  }

  link(edit: FileEdit, place: Place, places: readonly Place[]): boolean {
    const found = this.#pickName(place, ['file', 'fifo']);
    const to = this.#random.pick(places);
    if (found === undefined) return false;
    const [name, file] = found;
    const ref = edit.files.lookup(place.ref, text.encode(name))!;
    const newName = this.#newName();
    if (to.home !== place.home) {
      expectRefusal(['EXDEV'], () => edit.files.link(to.ref, text.encode(newName), ref));
      return false;
    }
    edit.files.link(to.ref, text.encode(newName), ref);
    to.dir.names.set(newName, file);
    file.links++;
    return true;
  }

  rename(edit: FileEdit, place: Place, places: readonly Place[]): boolean {
    const random = this.#random;
    const found = this.#pickName(place, ['file', 'dir', 'link', 'fifo']);
    const to = random.pick(places);
    if (found === undefined) return false;
    const [name, file] = found;
    const target = random.below(2) === 0 ? this.#pickName(to, ['file', 'dir', 'link', 'fifo']) : undefined;
    const newName = target?.[0] ?? this.#newName();
    const exchange = target !== undefined && random.below(2) === 0;
    const run = () => edit.files.rename(place.ref, text.encode(name), to.ref, text.encode(newName), { exchange });
    const other = target?.[1];
    if (other === file) {
      run();
      return true;
    }
    const isCrossing =
      to.home !== place.home && (file.subvolume === 0 || (other !== undefined && other.subvolume === 0));
    const isLoop =
      [...to.parents, to.dir].includes(file) ||
      (exchange && other !== undefined && [...place.parents, place.dir].includes(other));
    const isWrongKind =
      other !== undefined &&
      !exchange &&
      (other.subvolume !== 0 || (file.kind === 'dir') !== (other.kind === 'dir') || other.names.size > 0);
    if (isCrossing || isLoop || isWrongKind) {
      expectRefusal(['EXDEV', 'EINVAL', 'ENOTDIR', 'EISDIR', 'ENOTEMPTY'], run);
      return false;
    }
    run();
    place.dir.names.delete(name);
    to.dir.names.set(newName, file);
    if (exchange && other !== undefined) place.dir.names.set(name, other);
    else if (other !== undefined) other.links--;
    return true;
  }

  /** A file is copied, and both refer to the same data then, as far as it is not in an older snapshot. */
  share(edit: FileEdit, place: Place): boolean {
    const found = this.#pickName(place, ['file']);
    if (found === undefined || found[1].bytes.length === 0) return false;
    const [name, file] = found;
    const ref = edit.files.lookup(place.ref, text.encode(name))!;
    const copied = this.#newName();
    const copyRef = edit.files.create(place.ref, text.encode(copied), { mode: 0o100644 });
    edit.content.write(copyRef, 0, file.bytes);
    place.dir.names.set(copied, { ...newFile('file', 0o644), bytes: file.bytes });
    edit.content.flush();
    shareExtents(edit, ref, copyRef);
    return true;
  }

  attribute(edit: FileEdit, place: Place): boolean {
    const found = this.#pickName(place, ['file', 'dir']);
    if (found === undefined) return false;
    const [name, file] = found;
    const ref = edit.files.lookup(place.ref, text.encode(name))!;
    const attribute = `user.${this.#random.pick(['a', 'b', 'comment', 'x'.repeat(60)])}`;
    if (file.xattrs.has(attribute) && this.#random.below(2) === 0) {
      edit.files.removeXattr(ref, attribute);
      file.xattrs.delete(attribute);
    } else {
      const value = 'v'.repeat(this.#random.below(300));
      edit.files.setXattr(ref, attribute, text.encode(value));
      file.xattrs.set(attribute, value);
    }
    file.mode = this.#random.pick([0o700, 0o640, 0o4755]);
    edit.files.setAttributes(ref, { mode: file.mode, uid: this.#random.below(2000) });
    return true;
  }

  subvolume(edit: FileEdit, place: Place): boolean {
    if (this.#random.below(3) !== 0) return false;
    const name = this.#newName();
    const ref = edit.files.createSubvolume(place.ref, text.encode(name));
    place.dir.names.set(name, { ...newFile('dir', 0o755), subvolume: ref.subvolume });
    return true;
  }

  snapshot(edit: FileEdit, place: Place, places: readonly Place[]): boolean {
    if (this.#random.below(3) !== 0) return false;
    const homes = places.filter(({ dir }) => dir.subvolume > 1);
    if (homes.length === 0) return false;
    const source = this.#random.pick(homes);
    const name = this.#newName();
    const ref = edit.files.createSnapshot(place.ref, text.encode(name), source.dir.subvolume);
    const copies = new Map<ModelFile, ModelFile>();
    const copy = (file: ModelFile): ModelFile => {
      const known = copies.get(file);
      if (known !== undefined) return known;
      const twin: ModelFile = { ...file, xattrs: new Map(file.xattrs), names: new Map() };
      copies.set(file, twin);
      // Subvolumes below are not part of it.
      for (const [entry, child] of file.names) if (child.subvolume === 0) twin.names.set(entry, copy(child));
      return twin;
    };
    const twin = copy({ ...source.dir });
    twin.subvolume = ref.subvolume;
    // Seen after the snapshot was taken: it is not in itself.
    twin.names.delete(place.dir === source.dir ? name : '');
    place.dir.names.set(name, twin);
    return true;
  }

  dropSubvolume(edit: FileEdit, place: Place): boolean {
    const found = [...place.dir.names].filter(([, file]) => file.subvolume !== 0);
    if (found.length === 0) return false;
    const [name, file] = this.#random.pick(found);
    if (holdsSubvolume(file)) {
      expectRefusal(['ENOTEMPTY'], () => edit.files.deleteSubvolume(place.ref, text.encode(name)));
      return false;
    }
    edit.files.deleteSubvolume(place.ref, text.encode(name));
    place.dir.names.delete(name);
    return true;
  }

  /** The model as lines of text. */
  text(): string[] {
    const lines: string[] = [];
    const walk = (path: string, file: ModelFile) => {
      const sub = [...file.names.values()].filter(({ kind, subvolume }) => kind === 'dir' && subvolume === 0).length;
      const links = file.kind === 'dir' ? 2 + sub : file.links;
      const xattrs = [...file.xattrs].map(([name, value]) => `${name}=${value}`).sort();
      lines.push(line(path, file.kind, path === '' ? 0 : file.mode, links, file.bytes, xattrs));
      for (const [name, child] of file.names) walk(`${path}/${name}`, child);
    };
    walk('', this.root);
    return lines.sort();
  }
}

const OPERATIONS = [
  'make', 'make', 'make', 'write', 'write', 'resize', 'remove', 'remove', 'link', 'rename', 'rename',
  'attribute', 'subvolume', 'snapshot', 'dropSubvolume',
] as const; // biome-ignore format: a list of names
export type Operation = (typeof OPERATIONS)[number] | 'share';
/** With shared data among them. */
export const SHARING_OPERATIONS: readonly Operation[] = [...OPERATIONS, 'share', 'share'];

/** What is missing is drawn half of the time, and possible in one of a few places: hundreds of tries are already many. */
const COMPLETE_TRIES = 20_000;

const EXTENT = keyTypes.idOf('extent');
const REFLINK_P = keyTypes.idOf('reflink_p');

/** Data of a file becomes shared, and another one that has the same where it has some refers to it. */
function shareExtents({ tx }: FileEdit, from: FileRef, to: FileRef): void {
  const table = SnapshotTable.read(tx);
  const snapshotOf = ({ subvolume }: FileRef) => table.subvolume(subvolume)!.snapshot;
  const extentsOf = (ref: FileRef): readonly Key[] =>
    [...tx.btree('extents').keys({ from: makeBpos(ref.inum, 0n, 0), to: makeBpos(ref.inum + 1n, 0n, 0) })].filter(
      ({ k }) => bposInode(k.p) === ref.inum && k.p[0] === snapshotOf(ref),
    );
  let end = 0;
  for (const { k } of tx.btree('reflink').keys()) end = extentEnd({ k } as Key);
  const own = extentsOf(to);
  const isOwned = (start: number, stop: number) => {
    let at = start;
    for (const key of own)
      if (key.k.type === EXTENT && extentStart(key) <= at && extentEnd(key) > at) at = extentEnd(key);
    return at >= stop;
  };
  for (const key of extentsOf(from)) {
    const { k, value } = key;
    if (k.type !== EXTENT) continue;
    if (extent.decode(value).entries.some(entry => entry.type === 'ptr' && entry.unwritten)) continue;
    if (!isOwned(extentStart(key), extentEnd(key))) continue;
    const shared = new Uint8Array(8 + value.length);
    shared.set(value, 8);
    const idx = BigInt(end);
    end += k.size;
    tx.update('reflink', makeKey(keyTypes.idOf('reflink_v'), makeBpos(0n, BigInt(end), 0), shared, k));
    const pointer = reflinkP.encode({
      idx,
      error: false,
      may_update_options: false,
      unknown_flags: 0n,
      front_pad: 0,
      back_pad: 0,
    });
    insertExtent(tx, table, makeKey(REFLINK_P, k.p, pointer, { size: k.size }));
    const at = atSnapshot(makeBpos(to.inum, BigInt(extentEnd(key)), 0), snapshotOf(to));
    insertExtent(tx, table, makeKey(REFLINK_P, at, pointer, { size: k.size }));
  }
}

const holdsSubvolume = (file: ModelFile): boolean =>
  [...file.names.values()].some(child => child.subvolume !== 0 || holdsSubvolume(child));

function expectRefusal(codes: readonly string[], run: () => void): void {
  try {
    run();
  } catch (error) {
    if (error instanceof FileError && codes.includes(error.code)) return;
    throw error;
  }
  throw new Error(`was not refused with ${codes.join(' or ')}`);
}

const line = (path: string, kind: string, mode: number, links: number, bytes: Uint8Array, xattrs: readonly string[]) =>
  `${path} ${kind} ${mode.toString(8)} ${links} ${bytes.length} ${hashText(bytes)} ${xattrs.join(' ')}`;

function hashText(bytes: Uint8Array): string {
  let hash = 0;
  for (let i = 0; i < bytes.length; i++) hash = (Math.imul(hash, 31) + bytes[i]!) | 0;
  return (hash >>> 0).toString(16);
}

const KINDS: Readonly<Record<number, ModelFile['kind']>> = { 8: 'file', 4: 'dir', 10: 'link', 1: 'fifo' };

/** The same lines of a directory of a filesystem. */
export function treeText(source: FilesystemSource, top: string): string[] {
  const tree = FileTree.open(source);
  const table = SnapshotTable.read(source);
  const reader = new DataReader(source);
  const reflinks = new IndirectExtents(source);
  const lines: string[] = [];
  for (const { path, node } of tree.walk({ from: tree.lookup(top) })) {
    if (node === undefined) throw new Error('a name that leads nowhere');
    const { inode } = node;
    const kind = KINDS[inode.bi_mode >>> 12] ?? 'file';
    const bytes = new Uint8Array(kind === 'dir' ? 0 : fileSize(inode.bi_size, 'an inode'));
    readFile(reader, table, { inum: node.inum, snapshot: node.snapshot, sizeBytes: bytes.length }, 0, bytes, {
      reflinks,
    });
    const xattrs = tree
      .xattrs(node)
      .map(({ name, value }) => `${Buffer.from(name)}=${Buffer.from(value)}`)
      .sort();
    const mode = path.length === 0 ? 0 : inode.bi_mode & 0o7777;
    const name = Buffer.from(path).toString();
    lines.push(line(name === '' ? '' : `/${name}`, kind, mode, inodeLinkCount(inode), bytes, xattrs));
  }
  return lines.sort();
}
