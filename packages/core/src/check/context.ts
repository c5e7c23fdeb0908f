// What all rule groups share: the filesystem, its members, and the keys of a btree with what is lost turned into findings.

import type { WalkOptions } from '../btree/iterate.ts';
import { type KeyRun, keyRuns } from '../btree/key-runs.ts';
import { getBits } from '../ondisk/bits.ts';
import type { Key } from '../ondisk/bkey.ts';
import { type Bpos, bposText } from '../ondisk/bpos.ts';
import { type BtreeName, btrees } from '../ondisk/btrees.ts';
import type { Location } from '../ondisk/errors.ts';
import { memberBits } from '../ondisk/member-bits.ts';
import { sbBits } from '../ondisk/sb-bits.ts';
import { type Member, memberAlive, members } from '../ondisk/sb-fields/members.ts';
import type { Superblock } from '../ondisk/superblock.ts';
import { type VersionName, versionOf } from '../ondisk/versions.ts';
import type { FilesystemState } from '../opened/filesystem.ts';
import type { Damage } from '../report/finding.ts';
import type { InvariantReport } from './report.ts';

/** A member, present or not. */
export interface CheckedDevice {
  readonly index: number;
  readonly member: Member;
  readonly bucketSizeSectors: number;
  readonly firstBucket: number;
  readonly bucketCount: number;
  readonly hasFreespace: boolean;
  /** Its own superblock; undefined for a member that is missing. */
  readonly sb: Superblock | undefined;
}

export class InvariantContext {
  readonly devices: ReadonlyMap<number, CheckedDevice>;
  readonly nodeSectors: number;
  /** Nodes read by each walk are reported only once. */
  readonly #reported = new Set<string>();

  constructor(
    readonly source: FilesystemState,
    readonly report: InvariantReport,
  ) {
    const { sb, set } = source;
    this.nodeSectors = getBits(sb.flags, sbBits.BTREE_NODE_SIZE);
    const open = new Map(set.members.map(member => [member.sb.dev_idx, member.sb]));
    this.devices = new Map(
      members(sb).flatMap((member, index) =>
        memberAlive(member) ? [[index, checkedDevice(index, member, open.get(index))] as const] : [],
      ),
    );
  }

  get sb(): Superblock {
    return this.source.sb;
  }

  get isClean(): boolean {
    return this.source.replay.from === 'clean';
  }

  atLeast(version: VersionName): boolean {
    return this.sb.version >= versionOf(version);
  }

  /** The keys of a btree; what cannot be read becomes a finding. */
  keys(btree: BtreeName | number, options: WalkOptions = {}): Generator<Key> {
    return this.source.btree(btree).keys({ ...options, onDamage: damage => this.damaged(damage) });
  }

  /** The same as rows. */
  runs(btree: BtreeName): Generator<KeyRun> {
    return keyRuns(this.source.btree(btree), { onDamage: damage => this.damaged(damage) });
  }

  damaged(damage: Damage): void {
    const text = damage.message;
    if (this.#reported.has(text)) return;
    this.#reported.add(text);
    this.report.damaged(damage);
  }
}

function checkedDevice(index: number, member: Member, sb: Superblock | undefined): CheckedDevice {
  return {
    index,
    member,
    bucketSizeSectors: member.bucket_size,
    firstBucket: member.first_bucket,
    bucketCount: member.nbuckets,
    hasFreespace: getBits([member.flags], memberBits.FREESPACE_INITIALIZED) !== 0,
    sb,
  };
}

/** Where a key is. */
export function keyPlace(btree: number, pos: Bpos, level = 0): Location {
  return { btree: btrees.nameOf(btree), pos: bposText(pos), ...(level === 0 ? {} : { level }) };
}

/** Where a bucket is. */
export const bucketPlace = (dev: number, bucket: number): Location => ({ btree: 'alloc', pos: `${dev}:${bucket}:0` });
