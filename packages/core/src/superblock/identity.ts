// What a filesystem is called: its label, and its two UUIDs. Users see and mount by the external one (`user_uuid`); the internal one
// (`uuid`) is what members are known by. The first half of the internal UUID is part of the magic of every btree node and journal
// entry and of the nonce of the sealed key (__bch2_sb_magic and bch2_sb_key_nonce, v1.13.0) and has to stay. The second half is nowhere
// but in superblocks. A kernel has only one filesystem of an internal UUID open (bch2_fs_online compares all of it), so that a copy of an
// image can be mounted beside the original only when both the external UUID and that half are its own.

import { UsageError } from '../ondisk/errors.ts';
import { SB_LABEL_BYTES, type Superblock } from '../ondisk/superblock.ts';
import { type RandomSource, randomUuid } from '../util/random.ts';

/**
 * A label as superblocks keep it.
 * @throws UsageError when it is too long
 */
export function fsLabelBytes(label: string): Uint8Array {
  const encoded = new TextEncoder().encode(label);
  if (encoded.length > SB_LABEL_BYTES) {
    throw new UsageError(
      `${JSON.stringify(label)} is ${encoded.length} bytes long, at most ${SB_LABEL_BYTES} fit`,
      '--fs_label',
    );
  }
  const padded = new Uint8Array(SB_LABEL_BYTES);
  padded.set(encoded);
  return padded;
}

/** The superblock of what a kernel takes for another filesystem, with the same nodes and the same journal. */
export function withNewUuid(sb: Superblock, externalUuid: string, random: RandomSource): Superblock {
  return { ...sb, user_uuid: externalUuid, uuid: `${seedOf(sb)}${randomUuid(random).slice(SEED_CHARACTERS)}` };
}

/**
 * Whether two members can be of one filesystem that was getting a new UUID when the power went: one has it already, and is one
 * superblock ahead. Copies that were used since are further apart.
 */
export function isSameButForUuid(a: Superblock, b: Superblock): boolean {
  return a.uuid === b.uuid || (seedOf(a) === seedOf(b) && Math.abs(a.seq - b.seq) === 1);
}

const seedOf = ({ uuid }: Superblock): string => uuid.slice(0, SEED_CHARACTERS);
/** `01234567-89ab-cdef-`: 8 bytes. */
const SEED_CHARACTERS = 19;
