// The random numbers of a change to a filesystem that exists: the system's, or made from a seed, for results that are equal byte for byte.

import {
  encryptionOf,
  type MemberSet,
  type RandomSource,
  seededRandom,
  systemRandom,
  UsageError,
} from '@bcachefs-ts/core/engine';

/**
 * From a seed: another sequence for each state of the filesystem, so that two changes with one seed have different numbers.
 * @throws UsageError for a seed where something is encrypted
 */
export function changeRandom({ newest: { sb } }: MemberSet, seed: string | undefined): RandomSource {
  if (seed === undefined) return systemRandom;
  if (encryptionOf(sb) !== 'none') {
    throw new UsageError('not for an encrypted filesystem: numbers that can be guessed would weaken it', '--seed');
  }
  return seededRandom(`${seed}\0${sb.seq}`);
}
