// A device that is to become a member: what its slot in the superblock says.

import { withBits } from '../ondisk/bits.ts';
import { UsageError } from '../ondisk/errors.ts';
import { memberBits } from '../ondisk/member-bits.ts';

/** What a device is used for, as it is asked for. */
export interface MemberWishes {
  /** For messages. */
  readonly name: string;
  /** How many replicas a copy on this device counts for, 0 to 2. */
  readonly durability: number;
  readonly discard: boolean;
  /** Bits of data types: what may be stored on the device. */
  readonly dataAllowed: number;
}

/** @param group its label's index plus one; 0 for none @throws UsageError */
export function memberFlags(device: MemberWishes, group: number): bigint {
  if (device.dataAllowed === 0)
    throw new UsageError(`${device.name} would not be allowed to hold anything`, '--data_allowed');
  if (!Number.isInteger(device.durability) || device.durability < 0 || device.durability > DURABILITY_MAX) {
    throw new UsageError(`${device.durability}, expected 0 to ${DURABILITY_MAX}`, '--durability');
  }
  let words: readonly bigint[] = [0n];
  words = withBits(words, memberBits.DISCARD, device.discard);
  words = withBits(words, memberBits.DATA_ALLOWED, device.dataAllowed);
  words = withBits(words, memberBits.DURABILITY, device.durability + 1);
  words = withBits(words, memberBits.GROUP, group);
  return words[0]!;
}

/** The field has two bits and holds the value plus one. The reference at 1.13 accepts more and stores something else. */
const DURABILITY_MAX = 2;
