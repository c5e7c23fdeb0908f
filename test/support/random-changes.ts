// Random changes of files' extents as an engine's user makes them: written and written over, punched, promised, shared, moved, in whichever
// snapshot, with the file's inode kept in step. Data is not written: what is proved is what follows from keys.

import {
  atSnapshot,
  bposInode,
  deleteExtents,
  type ExtentEntry,
  encodeExtentEntries,
  extent,
  extentEnd,
  extentStart,
  getBits,
  type Inode,
  insertExtent,
  type Key,
  keyTypes,
  makeBpos,
  makeKey,
  modeType,
  packInodeV3,
  reflinkP,
  reservation,
  sbBits,
  unpackInodeV3,
  viewOf,
  visibleKeyAt,
} from '@bcachefs-ts/core/engine';
import type { Change } from './engine.ts';
import type { Random } from './random.ts';

const TYPE = {
  extent: keyTypes.idOf('extent'),
  reservation: keyTypes.idOf('reservation'),
  reflinkP: keyTypes.idOf('reflink_p'),
  reflinkV: keyTypes.idOf('reflink_v'),
  inode: keyTypes.idOf('inode_v3'),
};
const REGULAR = 8;
/** Sectors of a file that random ranges lie in. */
const FILE_SECTORS = 600;

/** A file in a snapshot that nothing descends from. */
interface File {
  readonly inum: bigint;
  readonly snapshot: number;
}

export class RandomChanges {
  readonly #change: Change;
  readonly #random: Random;
  readonly #files: readonly File[];
  readonly #blockSectors: number;
  readonly #replicas: number;
  #reflinkEnd: number;
  readonly counts: Record<string, number> = {};

  constructor(change: Change, random: Random) {
    this.#change = change;
    this.#random = random;
    const { tx, table } = change;
    const leaves = table.nodes().filter(({ children }) => children.length === 0);
    const inums = new Set(
      [...tx.btree('inodes').keys()].filter(isRegular).map(({ k }) => (BigInt(k.p[2]!) << 32n) | BigInt(k.p[1]!)),
    );
    this.#files = [...inums].flatMap(inum =>
      leaves
        .filter(({ id }) => this.#inodeKey({ inum, snapshot: id }) !== undefined)
        .map(({ id }) => ({ inum, snapshot: id })),
    );
    this.#blockSectors = tx.sb.block_size;
    this.#replicas = getBits(tx.sb.flags, sbBits.DATA_REPLICAS_WANT);
    this.#reflinkEnd = 0;
    for (const key of tx.btree('reflink').keys()) this.#reflinkEnd = extentEnd(key);
  }

  get isPossible(): boolean {
    return this.#files.length > 0;
  }

  step(): void {
    const random = this.#random;
    const kinds = [
      'write',
      'write',
      'write',
      'compressed',
      'punch',
      'punch',
      'reserve',
      'share',
      'share',
      'move',
      'truncate',
    ] as const;
    const kind = random.pick(kinds);
    const file = random.pick(this.#files);
    const block = this.#blockSectors;
    const start = random.below(FILE_SECTORS / block) * block;
    const end = start + (1 + random.below(12)) * block;
    this.counts[kind] = (this.counts[kind] ?? 0) + 1;
    switch (kind) {
      case 'write':
        this.#write(file, start, end);
        return;
      case 'compressed':
        this.#writeCompressed(file, start, Math.min(end, start + 128));
        return;
      case 'punch':
        this.#punch(file, start, end);
        return;
      case 'truncate':
        this.#punch(file, start, FILE_SECTORS * 4);
        return;
      case 'reserve': {
        const value = reservation.encode({ generation: 0, nr_replicas: this.#replicas, pad: new Uint8Array(3) });
        this.#insert(file, makeKey(TYPE.reservation, endAt(file, end), value, { size: end - start }));
        return;
      }
      case 'share':
        this.#share(file, random.pick(this.#files), start);
        return;
      case 'move':
        this.#move(file, start);
    }
  }

  #write(file: File, start: number, end: number): void {
    let at = start;
    for (const { sectors, pointers } of this.#room(end - start)) {
      at += sectors;
      this.#insert(file, makeKey(TYPE.extent, endAt(file, at), encodeExtentEntries(pointers), { size: sectors }));
    }
  }

  #writeCompressed(file: File, start: number, end: number): void {
    const [piece] = this.#room(this.#blockSectors);
    if (piece === undefined) return;
    const crc = {
      type: 'crc32',
      compressed_size: piece.sectors,
      uncompressed_size: end - start,
      offset: 0,
      nonce: 0,
      csum_type: 0,
      compression_type: 3,
      csum_lo: 0n,
      csum_hi: 0n,
    } as const;
    const value = encodeExtentEntries([crc, ...piece.pointers]);
    this.#insert(file, makeKey(TYPE.extent, endAt(file, end), value, { size: end - start }));
  }

  #room(sectors: number) {
    return this.#change.allocator.allocateData({ replicas: this.#replicas, target: 0, sectors });
  }

  #punch(file: File, start: number, end: number): void {
    const { tx, table } = this.#change;
    this.#updateInode(file, deleteExtents(tx, table, { ...file, start, end }).sectors, 0);
  }

  /** Makes an extent an indirect one, and another file refers to a part of it. */
  #share(from: File, to: File, start: number): void {
    const { tx } = this.#change;
    let shared = this.#extentAt(from, start);
    // An older snapshot's stays what it is: its sectors may have one owner only.
    if (shared?.k.type === TYPE.extent && shared.k.p[0] === from.snapshot && !this.#isUnwritten(shared)) {
      this.#reflinkEnd += shared.k.size;
      const value = new Uint8Array(8 + shared.value.length);
      value.set(shared.value, 8);
      tx.update('reflink', makeKey(TYPE.reflinkV, makeBpos(0n, BigInt(this.#reflinkEnd), 0), value, shared.k));
      this.#insert(
        from,
        this.#reference(from, extentEnd(shared), BigInt(this.#reflinkEnd - shared.k.size), shared.k.size),
      );
      shared = this.#extentAt(from, start);
    }
    if (shared?.k.type !== TYPE.reflinkP) return;
    const { idx } = reflinkP.decode(shared.value);
    const skipped = this.#random.below(shared.k.size);
    const size = 1 + this.#random.below(shared.k.size - skipped);
    this.#insert(to, this.#reference(to, start + size, idx + BigInt(skipped), size));
  }

  #reference(file: File, end: number, idx: bigint, size: number): Key {
    const value = reflinkP.encode({
      idx,
      error: false,
      may_update_options: false,
      unknown_flags: 0n,
      front_pad: 0,
      back_pad: 0,
    });
    return makeKey(TYPE.reflinkP, endAt(file, end), value, { size });
  }

  /** Writes an extent's sectors somewhere else. */
  #move(file: File, start: number): void {
    const old = this.#extentAt(file, start);
    if (old?.k.type !== TYPE.extent) return;
    const [from, to] = [extentStart(old), extentEnd(old)];
    this.#punch(file, from, to);
    const room = Math.ceil((to - from) / this.#blockSectors) * this.#blockSectors;
    let at = from;
    for (const { sectors, pointers } of this.#room(room)) {
      const size = Math.min(sectors, to - at);
      if (size <= 0) break;
      at += size;
      this.#insert(file, makeKey(TYPE.extent, endAt(file, at), encodeExtentEntries(pointers), { size }));
    }
  }

  #isUnwritten(key: Key): boolean {
    return extent.decode(key.value).entries.some((entry: ExtentEntry) => entry.type === 'ptr' && entry.unwritten);
  }

  #extentAt({ inum, snapshot }: File, sector: number): Key | undefined {
    const { tx, table } = this.#change;
    const from = makeBpos(inum, BigInt(sector + 1), 0);
    for (const key of tx.btree('extents').keys({ from })) {
      if (bposInode(key.k.p) !== inum) return undefined;
      if (key.k.size === 0 || !table.isAncestor(snapshot, key.k.p[0]!)) continue;
      const seen = visibleKeyAt(tx.btree('extents'), table, snapshot, key.k.p);
      if (seen !== undefined) return seen;
    }
    return undefined;
  }

  #insert(file: File, key: Key): void {
    const { tx, table } = this.#change;
    this.#updateInode(file, insertExtent(tx, table, key).sectors, extentEnd(key));
  }

  /** The inode's own version in this snapshot, with its sectors and its size. */
  #updateInode(file: File, sectors: number, end: number): void {
    const { tx } = this.#change;
    const key = this.#inodeKey(file);
    if (key === undefined) throw new Error('a file has an inode');
    const inode = unpackInodeV3(key.value);
    const bytes = BigInt(end) * 512n;
    const changed: Inode = {
      ...inode,
      bi_sectors: inode.bi_sectors + BigInt(sectors),
      bi_size: inode.bi_size > bytes ? inode.bi_size : bytes,
    };
    tx.update('inodes', makeKey(TYPE.inode, atSnapshot(key.k.p, file.snapshot), packInodeV3(changed)));
  }

  #inodeKey({ inum, snapshot }: File): Key | undefined {
    const { tx, table } = this.#change;
    const key = visibleKeyAt(tx.btree('inodes'), table, snapshot, makeBpos(0n, inum, snapshot));
    return key !== undefined && isRegular(key) ? key : undefined;
  }
}

const endAt = ({ inum, snapshot }: File, end: number) => makeBpos(inum, BigInt(end), snapshot);

const isRegular = ({ k, value }: Key): boolean =>
  k.type === TYPE.inode &&
  modeType(unpackInodeV3(value).bi_mode) === REGULAR &&
  // One that is to be deleted is nobody's file.
  (viewOf(value).getUint32(16, true) & (1 << 7)) === 0;
