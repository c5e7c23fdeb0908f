// Hashes of names: where a dirent or an xattr is in its btree. Each inode has a seed and the type of its hash; a name goes to the
// first free position at its hash or after it. Names of directories that ignore case are hashed in their folded form.
// Sources: str_hash.h, dirent.c and xattr.c, v1.13.0; fs/str_hash.h and fs/dirent.c (31-bit offsets, case folding), v1.39.2.

import { platform } from '#platform';
import { crc32c } from '../checksum/crc32c.ts';
import { crc64 } from '../checksum/crc64.ts';
import { hasInodeFlag, type Inode } from '../ondisk/inode-unpack.ts';
import { viewOf } from '../ondisk/layout.ts';
import { strHashTypes } from '../ondisk/str-hash-types.ts';
import { siphash24, type Words64 } from './siphash.ts';

/** Offsets 0 and 1 of a directory are for `.` and `..`. */
const FIRST_DIRENT_OFFSET = 2;

const CRC32C = strHashTypes.idOf('crc32c');
const CRC64 = strHashTypes.idOf('crc64');
const SIPHASH_OLD = strHashTypes.idOf('siphash_old');
const SIPHASH = strHashTypes.idOf('siphash');

/** How the names of one inode are hashed. Mirrors bch2_hash_info_init. */
export class StrHash {
  readonly #type: number;
  readonly #seed: bigint;
  readonly #is31Bit: boolean;
  #key: Uint32Array | undefined;

  constructor(inode: Inode) {
    this.#type = inode.str_hash;
    this.#seed = inode.bi_hash_seed;
    this.#is31Bit = hasInodeFlag(inode, '31bit_dirent_offset');
  }

  /** Whether the type is one that is known: without it nothing can be looked up, but everything listed. */
  get isKnown(): boolean {
    return strHashTypes.byId(this.#type) !== undefined;
  }

  /** @param name folded, in a directory that ignores case */
  dirent(name: Uint8Array): Words64 {
    const { lo, hi } = this.#hash(name);
    const words = this.#is31Bit ? { lo: lo & 0x7fff_ffff, hi: 0 } : { lo, hi };
    return words.hi === 0 && words.lo < FIRST_DIRENT_OFFSET ? { lo: FIRST_DIRENT_OFFSET, hi: 0 } : words;
  }

  /** @param type see xattrTypes; @param name without its prefix */
  xattr(type: number, name: Uint8Array): Words64 {
    const message = new Uint8Array(1 + name.length);
    message[0] = type;
    message.set(name, 1);
    const isSiphash = this.#type === SIPHASH || this.#type === SIPHASH_OLD;
    return this.#hash(isSiphash ? asHashedInPieces(message) : message);
  }

  #hash(message: Uint8Array): Words64 {
    switch (this.#type) {
      case CRC32C:
        return { lo: crc32c(crc32c(0xffff_ffff, this.#seedBytes()), message) >>> 0, hi: 0 };
      case CRC64: {
        const crc = { hi: 0xffff_ffff, lo: 0xffff_ffff };
        crc64(crc, this.#seedBytes());
        crc64(crc, message);
        return halved(crc);
      }
      case SIPHASH_OLD:
      case SIPHASH:
        this.#key ??= this.#siphashKey();
        return halved(siphash24(this.#key, message));
      default:
        return { lo: 0, hi: 0 };
    }
  }

  /** The seed and zeroes; of the old kind, the start of the seed's SHA-256. */
  #siphashKey(): Uint32Array {
    if (this.#type !== SIPHASH_OLD) {
      return Uint32Array.of(Number(this.#seed & 0xffff_ffffn), Number(this.#seed >> 32n), 0, 0);
    }
    const view = viewOf(platform.sha256(this.#seedBytes()));
    return Uint32Array.from({ length: 4 }, (_, i) => view.getUint32(4 * i, true));
  }

  #seedBytes(): Uint8Array {
    const bytes = new Uint8Array(8);
    viewOf(bytes).setBigUint64(0, this.#seed, true);
    return bytes;
  }
}

/**
 * The reference hashes the type and the name of an xattr one after the other, and its SipHash_Update then puts what is left behind the
 * last whole block one byte too far into a buffer that still begins with the type; the byte at its end is lost. Mirrors what comes of it.
 * See siphash.c, v1.13.0 to v1.39.2.
 */
function asHashedInPieces(message: Uint8Array): Uint8Array {
  const tail = message.length & ~7;
  if (tail === 0 || tail === message.length) return message;
  const hashed = message.slice();
  hashed[tail] = message[0]!;
  hashed.set(message.subarray(tail, message.length - 1), tail + 1);
  return hashed;
}

/** 63 bits: offsets of directories are signed where they are used. */
function halved({ lo, hi }: Words64): Words64 {
  return { lo: ((lo >>> 1) | (hi << 31)) >>> 0, hi: hi >>> 1 };
}

/** Negative, zero or positive. */
export function compareWords(aLo: number, aHi: number, bLo: number, bHi: number): number {
  return aHi - bHi || aLo - bLo;
}
