// Small filesystems with damage of a known kind, as files.

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runCli } from '@bcachefs-ts/command';
import { inodeOfKey, isDirectory, type MemoryDevice, type Transaction } from '@bcachefs-ts/core/engine';
import { fsckCommand } from '@bcachefs-ts/fsck';
import { saveImage } from '../support/memory-images.ts';
import { smallTree, tamper } from '../support/recovered.ts';

/** An inode, so that its name leads nowhere: not safe. */
export function lostInode(tx: Transaction): void {
  const files = [...tx.btree('inodes').keys()].filter(key => {
    const inode = inodeOfKey(key, undefined);
    return inode !== undefined && !isDirectory(inode) && inode.bi_nlink === 0 && inode.bi_size === 300n;
  });
  const [file] = files;
  if (file === undefined) throw new Error('the small tree has no file of 300 bytes');
  tx.delete('inodes', file.k.p);
}

export interface Damaged {
  readonly folder: string;
  readonly image: string;
  contents(): Buffer;
  fsck(...words: readonly string[]): ReturnType<typeof runCli>;
  /** At a terminal, on which the lines are typed. */
  asked(typed: string, ...words: readonly string[]): ReturnType<typeof runCli>;
}

/** Made once for each kind of damage. */
const devices = new Map<((tx: Transaction) => void) | undefined, MemoryDevice>();

function damagedDevice(alter: ((tx: Transaction) => void) | undefined): MemoryDevice {
  const known = devices.get(alter);
  if (known !== undefined) return known;
  const [device] = smallTree();
  if (device === undefined) throw new Error('the small tree has a device');
  if (alter !== undefined) tamper([device], alter);
  devices.set(alter, device);
  return device;
}

export async function withDamaged(
  alter: ((tx: Transaction) => void) | undefined,
  use: (damaged: Damaged) => Promise<void>,
): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'fsck-'));
  try {
    const image = join(folder, 'disk.img');
    saveImage(damagedDevice(alter), image);
    await use({
      folder,
      image,
      contents: () => readFileSync(image),
      fsck: (...words) => runCli(fsckCommand, [...words, image]),
      asked: (typed, ...words) => runCli(fsckCommand, [...words, image], { stdin: typed, isTerminal: true }),
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
}
