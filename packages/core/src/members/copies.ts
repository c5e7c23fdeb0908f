// What emptying members and completing copies have in common: which copies count, and whether there is room for new ones.

import { type AllocDevice, allocDevices } from '../alloc/alloc-devices.ts';
import { TYPE } from '../alloc/bucket-state.ts';
import { availableSectors, countersOf, nodeReserveBuckets } from '../alloc/reserve.ts';
import type { FilesystemSource } from '../btree/source.ts';
import { getBits } from '../ondisk/bits.ts';
import { NoSpaceError } from '../ondisk/errors.ts';
import { rulesOf } from '../ondisk/format-rules.ts';
import { memberBits } from '../ondisk/member-bits.ts';
import { memberStates } from '../ondisk/member-states.ts';
import { optionFromSuperblock } from '../ondisk/option-values.ts';
import { option } from '../ondisk/options.ts';
import type { ReplicasEntry } from '../ondisk/replicas-entry.ts';
import { sbBits } from '../ondisk/sb-bits.ts';
import { members } from '../ondisk/sb-fields/members.ts';
import type { Superblock } from '../ondisk/superblock.ts';
import type { Filesystem } from '../opened/filesystem.ts';
import { memberText } from '../superblock/member-set.ts';
import { sectorsToBytes } from '../util/sizes.ts';

const READABLE: readonly number[] = [memberStates.idOf('rw'), memberStates.idOf('ro')];

export const isReadable = (sb: Superblock, dev: number): boolean =>
  READABLE.includes(getBits([members(sb)[dev]!.flags], memberBits.STATE));

/** How many copies one on each member counts for: none on those that are missing, have failed, or are leaving. By index. */
export function countedDurability(filesystem: Filesystem, leaving: ReadonlySet<number> = new Set()): readonly number[] {
  return allocDevices(filesystem.sb).map((device, dev) => {
    const isThere = device !== undefined && filesystem.device(dev) !== undefined;
    return isThere && isReadable(filesystem.sb, dev) && !leaving.has(dev) ? device.durability : 0;
  });
}

export const fsOption = (
  sb: Superblock,
  name: 'data_replicas' | 'metadata_replicas' | 'foreground_target' | 'background_target',
): number => Number(optionFromSuperblock(option(name), sb, 0n, rulesOf(sb).release));

/** What the counters have of one set of devices. */
export function sectorsIn(filesystem: FilesystemSource, entry: ReplicasEntry): number {
  const devs = [...entry.devs].sort((a, b) => a - b);
  const [sectors = 0] = countersOf(filesystem, { type: 'replicas', entry: { ...entry, devs } });
  return Math.max(0, sectors);
}

/** Sectors of copies that may go to some members only. */
export class CopyDemands {
  readonly #byPlaces = new Map<string, { readonly places: readonly number[]; sectors: number }>();

  add(places: readonly number[], sectors: number): void {
    const demand = this.#byPlaces.get(places.join()) ?? { places, sectors: 0 };
    demand.sectors += sectors;
    this.#byPlaces.set(places.join(), demand);
  }

  /**
   * What has a copy on a large member already may go to a small one only.
   * @param lead what the message begins with
   * @throws NoSpaceError with the numbers
   */
  refuseTooLarge(filesystem: FilesystemSource, lead: string): void {
    const { sb } = filesystem;
    const devices = allocDevices(sb);
    const demands = [...this.#byPlaces.values()];
    for (const { places } of demands) {
      const within = demands.filter(demand => demand.places.every(dev => places.includes(dev)));
      const least = sectorsToBytes(Math.ceil(within.reduce((sum, { sectors }) => sum + sectors, 0)));
      const room = sectorsToBytes(places.reduce((sum, dev) => sum + movableSectors(filesystem, devices[dev]!), 0));
      if (least <= room) continue;
      throw new NoSpaceError(
        `${lead}${least} bytes of data may go to ${places.map(dev => memberText(sb, dev)).join(', ')} only, since the other members have ` +
          `copies of it already or may not hold data, and there is room for ${room}: ${least - room} bytes too few; nothing was changed`,
      );
    }
  }
}

/** What members have for new copies, besides what the filesystem keeps back. In bytes. */
export const availableBytes = (filesystem: FilesystemSource, devices: readonly AllocDevice[]): number =>
  sectorsToBytes(Math.max(0, availableSectors(filesystem, devices)));

/** What `allocateMoved` can give on a device. */
function movableSectors(filesystem: FilesystemSource, device: AllocDevice): number {
  const buckets = (['free', 'needDiscard'] as const).reduce((sum, type) => {
    const [count = 0] = countersOf(filesystem, {
      type: 'dev_data_type',
      dev: device.index,
      data_type: TYPE[type],
    });
    return sum + Math.max(0, count);
  }, 0);
  const kept = nodeReserveBuckets(device, getBits(filesystem.sb.flags, sbBits.BTREE_NODE_SIZE));
  return Math.max(0, buckets - kept) * device.bucketSizeSectors;
}
