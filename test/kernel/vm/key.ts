// The key that unlocks an encrypted filesystem, from its passphrase. Written apart from the toolchain's own code for the
// same thing, so that the two can be held against each other. Source: bcachefs_format.h and c_src/crypto.c, v1.13.0.

import { scryptSync } from 'node:crypto';
import { closeSync, openSync, readSync } from 'node:fs';
import type { VolumeKey } from './steps.ts';

const SUPERBLOCK_OFFSET = 4096;
const SUPERBLOCK_READ_BYTES = 1 << 20;
const USER_UUID_AT = 56;
const U64S_AT = 124;
const FIELDS_AT = 752;
const FIELD_CRYPT = 2;
const SALT = 'bcache\0'; // the terminator is part of it

/** Derives the key of a filesystem from its passphrase. Takes about a quarter of a second, by design. */
export function unlockKey(image: string, passphrase: string): VolumeKey {
  const superblock = readSuperblock(image);
  const crypt = findCryptField(superblock);
  if (!crypt) throw new Error(`${image}: not encrypted`);
  const parameters = crypt.readBigUInt64LE(16); // kdf_flags: log2 of N, r and p, 16 bits each
  const [n, r, p] = [0n, 16n, 32n].map(shift => 2 ** Number((parameters >> shift) & 0xffffn)) as [
    number,
    number,
    number,
  ];
  const key = scryptSync(passphrase, SALT, 32, { N: n, r, p, maxmem: 256 * n * r + (1 << 20) });
  return { uuid: uuidOf(superblock), hex: key.toString('hex') };
}

/** The external UUID of a filesystem, which names its key. */
export function volumeUuid(image: string): string {
  return uuidOf(readSuperblock(image));
}

function uuidOf(superblock: Buffer): string {
  const hex = superblock.toString('hex', USER_UUID_AT, USER_UUID_AT + 16);
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

function readSuperblock(image: string): Buffer {
  const fd = openSync(image, 'r');
  try {
    const bytes = Buffer.alloc(SUPERBLOCK_READ_BYTES);
    readSync(fd, bytes, 0, bytes.length, SUPERBLOCK_OFFSET);
    return bytes;
  } finally {
    closeSync(fd);
  }
}

function findCryptField(superblock: Buffer): Buffer | undefined {
  const end = Math.min(superblock.length, FIELDS_AT + superblock.readUInt32LE(U64S_AT) * 8);
  for (let at = FIELDS_AT; at + 8 <= end; ) {
    const lengthBytes = superblock.readUInt32LE(at) * 8;
    if (lengthBytes === 0) return undefined;
    if (superblock.readUInt32LE(at + 4) === FIELD_CRYPT) return superblock.subarray(at, at + lengthBytes);
    at += lengthBytes;
  }
  return undefined;
}
