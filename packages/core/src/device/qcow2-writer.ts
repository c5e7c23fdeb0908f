// Writes a qcow2 file in one go: the clusters of the disk come in the order of their places, those of nothing but zeroes are left out, and
// the same contents give the same bytes. Version 2, which every reader knows (the reference's undump knows no other), with true
// reference counts, so that QEMU has nothing to complain of. In the file: the header; each L2 table after the clusters that it
// names; the L1 table; the reference counts. Memory: one cluster, one L2 table, the L1 table.

import { assert } from '../ondisk/errors.ts';
import { viewOf } from '../ondisk/layout.ts';
import { roundUp } from '../util/sizes.ts';
import { isZero } from '../util/zero-bytes.ts';
import { assertSize } from './block-device.ts';
import {
  QCOW2,
  QCOW2_CLUSTER_BITS_MAX,
  QCOW2_COPIED,
  QCOW2_ENTRY_BYTES,
  QCOW2_L1_BYTES_MAX,
  QCOW2_MAGIC,
} from './qcow2.ts';

/** Where the file goes. Places that are never written read as zeroes. */
export interface Qcow2Output {
  write(offset: number, from: Uint8Array): void;
}

/** QEMU's default. */
const CLUSTER_BITS = 16;
/** Bytes of one reference count. */
const REFCOUNT_BYTES = 2;

const VERSION = 2;

/** As small as the default, unless the disk is so large (over 2 PiB) that its L1 table would be too large. */
function clusterBitsFor(sizeBytes: number): number {
  let bits = CLUSTER_BITS;
  while (bits < QCOW2_CLUSTER_BITS_MAX && l1EntriesOf(sizeBytes, bits) * QCOW2_ENTRY_BYTES > QCOW2_L1_BYTES_MAX) bits++;
  return bits;
}

const l1EntriesOf = (sizeBytes: number, clusterBits: number) =>
  Math.ceil(sizeBytes / (2 ** clusterBits * (2 ** clusterBits / QCOW2_ENTRY_BYTES)));

export class Qcow2Writer {
  readonly #out: Qcow2Output;
  readonly #sizeBytes: number;
  readonly #clusterBits: number;
  readonly #clusterBytes: number;
  readonly #entriesPerTable: number;
  readonly #l1: DataView;
  readonly #l2: Uint8Array;
  readonly #cluster: Uint8Array;
  /** Numbers of the L2 table and of the cluster of the disk that are being filled. */
  #tableNr = -1;
  #clusterNr = -1;
  /** Where the disk's contents were written up to. */
  #doneBytes = 0;
  #isTableUsed = false;
  #isFinished = false;
  /** After the last cluster of the file; the first one is the header's. */
  #fileBytes: number;

  /** @param sizeBytes of the disk */
  constructor(out: Qcow2Output, sizeBytes: number) {
    assertSize(sizeBytes);
    this.#out = out;
    this.#sizeBytes = sizeBytes;
    this.#clusterBits = clusterBitsFor(sizeBytes);
    this.#clusterBytes = 2 ** this.#clusterBits;
    this.#entriesPerTable = this.#clusterBytes / QCOW2_ENTRY_BYTES;
    this.#l1 = viewOf(new Uint8Array(l1EntriesOf(sizeBytes, this.#clusterBits) * QCOW2_ENTRY_BYTES));
    this.#l2 = new Uint8Array(this.#clusterBytes);
    this.#cluster = new Uint8Array(this.#clusterBytes);
    this.#fileBytes = this.#clusterBytes;
  }

  /**
   * The next contents of the disk. What lies before the end of the last ones was written already and is left as it is.
   * @param offset on the disk, not below that of the last call
   */
  write(offset: number, bytes: Uint8Array): void {
    assert(!this.#isFinished, 'a finished qcow2 file takes nothing more');
    assert(offset >= 0 && offset + bytes.length <= this.#sizeBytes, `${bytes.length} bytes at ${offset} are outside`);
    for (let done = Math.min(bytes.length, Math.max(0, this.#doneBytes - offset)); done < bytes.length; ) {
      const clusterNr = Math.floor((offset + done) / this.#clusterBytes);
      if (clusterNr !== this.#clusterNr) {
        this.#endCluster();
        this.#clusterNr = clusterNr;
      }
      const inCluster = offset + done - clusterNr * this.#clusterBytes;
      const length = Math.min(this.#clusterBytes - inCluster, bytes.length - done);
      this.#cluster.set(bytes.subarray(done, done + length), inCluster);
      done += length;
    }
    this.#doneBytes = Math.max(this.#doneBytes, offset + bytes.length);
  }

  /** Writes the tables and, last, the header. @returns the length of the file in bytes */
  finish(): number {
    assert(!this.#isFinished, 'a qcow2 file is finished once');
    this.#endCluster();
    this.#endTable();
    this.#isFinished = true;
    const l1At = this.#append(new Uint8Array(this.#l1.buffer));
    const refcounts = this.#writeRefcounts();
    this.#writeHeader(l1At, refcounts);
    return this.#fileBytes;
  }

  #endCluster(): void {
    const nr = this.#clusterNr;
    this.#clusterNr = -1;
    if (nr < 0 || isZero(this.#cluster)) return;
    const tableNr = Math.floor(nr / this.#entriesPerTable);
    if (tableNr !== this.#tableNr) {
      this.#endTable();
      this.#tableNr = tableNr;
    }
    const at = this.#append(this.#cluster);
    putEntry(viewOf(this.#l2), nr % this.#entriesPerTable, at, QCOW2_COPIED);
    this.#isTableUsed = true;
    this.#cluster.fill(0);
  }

  #endTable(): void {
    if (!this.#isTableUsed) return;
    const at = this.#append(this.#l2);
    putEntry(this.#l1, this.#tableNr, at, QCOW2_COPIED);
    this.#isTableUsed = false;
    this.#l2.fill(0);
  }

  /** @returns where the bytes went: at the start of a cluster */
  #append(bytes: Uint8Array): number {
    const at = this.#fileBytes;
    this.#out.write(at, bytes);
    this.#fileBytes += roundUp(bytes.length, this.#clusterBytes);
    return at;
  }

  /** One for each cluster of the file, those of the counts included. */
  #writeRefcounts(): { readonly tableAt: number; readonly tableClusters: number } {
    const clusterBytes = this.#clusterBytes;
    const perBlock = clusterBytes / REFCOUNT_BYTES;
    const before = this.#fileBytes / clusterBytes;
    let blocks = 0;
    let tableClusters = 0;
    let total = before;
    // More clusters can need more counts; two rounds are nearly always enough.
    for (;;) {
      blocks = Math.ceil(total / perBlock);
      tableClusters = Math.ceil((blocks * QCOW2_ENTRY_BYTES) / clusterBytes);
      if (before + blocks + tableClusters <= total) break;
      total = before + blocks + tableClusters;
    }
    const table = viewOf(new Uint8Array(tableClusters * clusterBytes));
    const block = new Uint8Array(clusterBytes);
    for (let i = 0; i < blocks; i++) {
      block.fill(0);
      const count = Math.min(perBlock, before + blocks + tableClusters - i * perBlock);
      for (let c = 0; c < count; c++) block[c * REFCOUNT_BYTES + 1] = 1;
      putEntry(table, i, this.#append(block), 0);
    }
    // After the blocks: 7-Zip takes the end of the last table for the end of the file.
    const tableAt = this.#append(new Uint8Array(table.buffer));
    return { tableAt, tableClusters };
  }

  #writeHeader(l1At: number, refcounts: { readonly tableAt: number; readonly tableClusters: number }): void {
    const header = new Uint8Array(this.#clusterBytes);
    const view = viewOf(header);
    view.setUint32(QCOW2.magic, QCOW2_MAGIC, false);
    view.setUint32(QCOW2.version, VERSION, false);
    view.setUint32(QCOW2.cluster_bits, this.#clusterBits, false);
    view.setBigUint64(QCOW2.size, BigInt(this.#sizeBytes), false);
    view.setUint32(QCOW2.l1_size, this.#l1.byteLength / QCOW2_ENTRY_BYTES, false);
    view.setBigUint64(QCOW2.l1_table_offset, BigInt(l1At), false);
    view.setBigUint64(QCOW2.refcount_table_offset, BigInt(refcounts.tableAt), false);
    view.setUint32(QCOW2.refcount_table_clusters, refcounts.tableClusters, false);
    this.#out.write(0, header);
  }
}

function putEntry(table: DataView, index: number, at: number, flagsHigh: number): void {
  table.setUint32(index * QCOW2_ENTRY_BYTES, (Math.floor(at / 2 ** 32) | flagsHigh) >>> 0, false);
  table.setUint32(index * QCOW2_ENTRY_BYTES + 4, at % 2 ** 32, false);
}
