// A filesystem whose journal lost what it says in one place: an entry that a mount would replay, between others.

import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import { openFilesystem } from '@bcachefs-ts/core/engine';

/** Flips a byte of such an entry in every copy. @returns its number */
export function damageJournal(images: readonly string[]): number {
  const filesystem = openFilesystem(images);
  const { journal } = filesystem.replay;
  filesystem.close();
  const replayed = journal?.entries.filter(({ use }) => use === 'replay') ?? [];
  const entry = replayed[Math.floor(replayed.length / 2)];
  if (entry === undefined || replayed.length < 3) throw new Error(`${replayed.length} entries to replay are too few`);
  for (const { dev, sector } of entry.ptrs) {
    const fd = openSync(images[dev]!, 'r+');
    try {
      const at = sector * 512 + BEHIND_HEADER;
      const byte = Buffer.alloc(1);
      readSync(fd, byte, 0, 1, at);
      writeSync(fd, Buffer.of(byte[0]! ^ 0x10), 0, 1, at);
    } finally {
      closeSync(fd);
    }
  }
  return entry.seq;
}

const BEHIND_HEADER = 100;
