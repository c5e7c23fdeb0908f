// Running out of room: reported with numbers, and before anything is written.

import { NoSpaceError } from '../ondisk/errors.ts';
import { sectorsToBytes } from '../util/sizes.ts';

/** What one device had to offer. */
export interface DeviceSpace {
  readonly dev: number;
  /** Buckets that could have been taken. */
  readonly freeBuckets: number;
  /** Of these, kept back for what has to be written then. */
  readonly reservedBuckets: number;
  readonly bucketSizeSectors: number;
}

/** There are too few buckets for what is to be written. */
export class NoBucketsError extends NoSpaceError {
  override readonly name = 'NoBucketsError';
  constructor(
    readonly what: 'btree' | 'user',
    /** Sectors, of one copy. */
    readonly neededSectors: number,
    /** How many copies are wanted, and for how many there was room. */
    readonly replicas: number,
    readonly placed: number,
    readonly devices: readonly DeviceSpace[],
    /** Sectors that the filesystem had left for users before the change, where that is what is used up. */
    readonly leftSectors?: number,
  ) {
    super(noSpaceText(what, neededSectors, replicas, placed, devices, leftSectors));
  }
}

function noSpaceText(
  what: string,
  sectors: number,
  replicas: number,
  placed: number,
  devices: readonly DeviceSpace[],
  leftSectors: number | undefined,
): string {
  const each = devices.map(({ dev, freeBuckets, reservedBuckets, bucketSizeSectors }) => {
    const [free, reserved] = [freeBuckets, reservedBuckets].map(buckets => bytesText(buckets * bucketSizeSectors));
    return `device ${dev}: ${free} free in buckets of ${bytesText(bucketSizeSectors)}, ${reserved} kept back`;
  });
  const copies = replicas === 1 ? '' : ` in ${replicas} copies`;
  const fewer = placed < replicas && replicas > 1 ? `, there is room for ${placed}` : '';
  const left =
    leftSectors === undefined ? '' : `, ${bytesText(leftSectors)} were left besides what the filesystem keeps back`;
  const where = each.length === 0 ? 'no device may take it' : each.join('; ');
  return `no space left for ${bytesText(sectors)} of ${what === 'btree' ? 'metadata' : 'data'}${copies}${fewer}${left} (${where})`;
}

/** Exact, as numbers that are compared have to be. */
function bytesText(sectors: number): string {
  return `${sectorsToBytes(sectors)} bytes`;
}
