// Takes out of the superblocks of a dump whose filesystem it is: its label, the disk labels, the UUIDs of the filesystem and of its members,
// names of devices, and the key of an encrypted one, which the passphrase opens. What nodes and journal are known by (the first half of
// the internal UUID) stays. An encrypted dump gets a key of its own, which has no other use and is stored in the clear: anyone who has
// the dump can check it.

import { KEY_BYTES } from '../../crypto/chacha20.ts';
import { MemoryDevice } from '../../device/memory-device.ts';
import { CorruptError, IncompatibleError } from '../../ondisk/errors.ts';
import { type BchDiskGroup, diskGroups, encodeDiskGroups, isDeletedGroup } from '../../ondisk/sb-fields/disk-groups.ts';
import { memberAlive, members, withMembers } from '../../ondisk/sb-fields/members.ts';
import { SB_LABEL_BYTES, type Superblock, withSection } from '../../ondisk/superblock.ts';
import { withNewUuid } from '../../superblock/identity.ts';
import { encryptionOf, withPassphrase } from '../../superblock/passphrase.ts';
import { readSuperblockAt } from '../../superblock/read.ts';
import { superblockCopyBytes } from '../../superblock/write.ts';
import { type RandomSource, randomUuid } from '../../util/random.ts';

/** The same in every copy of every member. */
export class AnonymousIdentity {
  /** What metadata is encrypted with in the dump; undefined on a filesystem that is not. */
  readonly key: Uint8Array | undefined;
  readonly #identified: Superblock;
  readonly #memberUuids: readonly string[];

  constructor(sb: Superblock, random: RandomSource) {
    this.key = encryptionOf(sb) === 'none' ? undefined : random.bytes(KEY_BYTES);
    this.#identified = withNewUuid(sb, randomUuid(random), random);
    this.#memberUuids = members(sb).map(() => randomUuid(random));
  }

  /**
   * A copy of the superblock with nothing left that says whose it is.
   * @param sector where it is
   * @returns undefined when it is not a sound superblock: nothing of it may be passed on
   */
  copyBytes(bytes: Uint8Array, sector: number): Uint8Array | undefined {
    const sb = decoded(bytes, sector);
    if (sb === undefined) return undefined;
    const copy = superblockCopyBytes(this.#anonymous(sb), BigInt(sector));
    const target = new Uint8Array(bytes.length);
    target.set(copy.subarray(0, target.length));
    return copy.subarray(target.length).some(byte => byte !== 0) ? undefined : target;
  }

  #anonymous(sb: Superblock): Superblock {
    const { user_uuid, uuid } = this.#identified;
    const named = { ...sb, user_uuid, uuid, label: new Uint8Array(SB_LABEL_BYTES) };
    const groups = diskGroups(sb);
    const labelled =
      groups.length === 0 ? named : withSection(named, 'disk_groups', encodeDiskGroups(groups.map(anonymousGroup)));
    const numbered = withMembers(
      labelled,
      members(labelled).map((member, index) =>
        memberAlive(member)
          ? {
              ...member,
              uuid: this.#memberUuids[index] ?? member.uuid,
              device_name: new Uint8Array(member.device_name.length),
              device_model: new Uint8Array(member.device_model.length),
              failure_domain: new Uint8Array(member.failure_domain.length),
            }
          : member,
      ),
    );
    return this.key === undefined ? numbered : withPassphrase(numbered, this.key, undefined);
  }
}

/** Targets name groups by their index: any names will do that are different. */
function anonymousGroup(group: BchDiskGroup, index: number): BchDiskGroup {
  const label = new Uint8Array(SB_LABEL_BYTES);
  if (!isDeletedGroup(group)) label.set(new TextEncoder().encode(`label${index}`));
  return { ...group, label };
}

function decoded(bytes: Uint8Array, sector: number): Superblock | undefined {
  const device = new MemoryDevice(sector * 512 + bytes.length);
  device.write(sector * 512, bytes);
  try {
    return readSuperblockAt(device, sector).sb;
  } catch (thrown) {
    if (thrown instanceof CorruptError || thrown instanceof IncompatibleError) return undefined;
    throw thrown;
  }
}
