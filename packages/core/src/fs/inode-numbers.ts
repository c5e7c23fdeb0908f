// Numbers for new inodes: upwards from the highest that is taken, 4096 at the least, which one lookup finds. The kernel looks for a hole from
// the start of its processor's share of the numbers; here holes are filled only when nothing is left above.
// Source: bch2_inode_create in inode.c, v1.13.0.

import type { Transaction } from '../btree/transaction.ts';
import { bposOffsetNumber, makeBpos } from '../ondisk/bpos.ts';
import { BLOCKDEV_INODE_MAX } from '../ondisk/inode-unpack.ts';
import { FileError } from './file-error.ts';

/** Numbers are given from here on, below INUM_END, as with the option inodes_32bit: programs of 32 bits can hold them. */
const INUM_MIN = Number(BLOCKDEV_INODE_MAX);
const INUM_END = 0x7fff_ffff;

/** Numbers of inodes that are free: from the first, below the second. */
interface FreeInums {
  next: number;
  readonly end: number;
  /** Others follow; else it is what lies above all that were taken. */
  readonly isHole: boolean;
  /** Where that begins. */
  readonly holesEnd: number;
}

export class InodeNumbers {
  readonly #tx: Transaction;
  #free: FreeInums | undefined;

  constructor(tx: Transaction) {
    this.#tx = tx;
  }

  /**
   * The next number that no snapshot has an inode of, or had.
   * @throws FileError ENOSPC when all are taken
   */
  next(): bigint {
    let free = this.#free ?? this.#aboveAll();
    if (free.next >= free.end) free = this.#nextHole(free);
    this.#free = free;
    return BigInt(free.next++);
  }

  /** What is free above all numbers that are taken; may be nothing. */
  #aboveAll(): FreeInums {
    const [from, to] = [makeBpos(0n, BigInt(INUM_MIN), 0), makeBpos(0n, BigInt(INUM_END - 1), 0xffff_ffff)];
    let start = INUM_MIN;
    for (const { k } of this.#tx.btree('inodes').keys({ from, to, backward: true })) {
      start = bposOffsetNumber(k.p) + 1;
      break;
    }
    return { next: start, end: INUM_END, isHole: false, holesEnd: start };
  }

  /** The next hole below the numbers that were the highest at first; those above have been given since, or were taken. */
  #nextHole({ end: before, isHole, holesEnd }: FreeInums): FreeInums {
    let next = isHole ? before : INUM_MIN;
    let end = holesEnd;
    for (const { k } of this.#tx.btree('inodes').keys({ from: makeBpos(0n, BigInt(next), 0) })) {
      const taken = bposOffsetNumber(k.p);
      if (taken > next || taken >= holesEnd) {
        end = Math.min(taken, holesEnd);
        break;
      }
      next = taken + 1;
    }
    if (next >= end) throw new FileError('ENOSPC', 'a new inode');
    return { next, end, isHole: true, holesEnd };
  }
}
