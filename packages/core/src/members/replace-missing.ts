// A device comes instead of a member that is missing: it joins with what the superblock says of that member, data and btree nodes get back the
// copies that they lack, and then the missing member is taken out. One plan for all three, made on what the first makes of the filesystem in
// memory: whether there is room, and what is lost, is known before the first write.
//
// The new device gets a slot of its own. With that of the old one, pointers to the old device would lead into what the new one has there.
//
// A crash leaves what one in the three leaves: a filesystem with all its files. Doing the same again goes on: a device that has joined with the
// settings of the missing member is the one that is to come instead of it.

import type { FilesystemWriter, WriterOptions } from '../change/writer.ts';
import type { BlockDevice } from '../device/block-device.ts';
import { getBits, withBits } from '../ondisk/bits.ts';
import { UsageError } from '../ondisk/errors.ts';
import { memberBits } from '../ondisk/member-bits.ts';
import { memberStates } from '../ondisk/member-states.ts';
import { memberAlive, members, withMember } from '../ondisk/sb-fields/members.ts';
import type { Signature } from '../probe/index.ts';
import { memberText } from '../superblock/member-set.ts';
import { sectorsToBytes } from '../util/sizes.ts';
import { type AddPlan, addInMemory, addMembers, completeMembers, planAdd } from './add.ts';
import type { JobOptions } from './copy-job.ts';
import { type MemberTarget, targetsNaming, withTargetsMoved } from './member-targets.ts';
import { planRemove, type RemovePlan, type RemoveReport, removeSteps } from './remove.ts';
import {
  planRereplicate,
  type RereplicatePlan,
  type RereplicateProgress,
  type RereplicateReport,
  rereplicateSteps,
} from './rereplicate.ts';

export interface MissingReplacePlan {
  /** The missing member. */
  readonly dev: number;
  /** What the new device is, or will be. */
  readonly newDev: number;
  /** Adds nothing when the new device is a member already. */
  readonly add: AddPlan;
  readonly isBegun: boolean;
  readonly sizeBytes: number;
  readonly bucketBytes: number;
  /** The new device cannot have the buckets of the old one. */
  readonly isOtherBucketSize: boolean;
  /** By what will be when the new device has joined. */
  readonly copies: RereplicatePlan;
  readonly removal: RemovePlan;
  /** Options of the filesystem that name the old member, and will name the new one. */
  readonly targets: readonly MemberTarget[];
}

/** What comes instead: a device, or the index of the member that it has become. */
export type Replacing =
  | { readonly device: BlockDevice; readonly signatures: readonly Signature[] }
  | { readonly dev: number };

export interface MissingReplaceReport {
  readonly copies: RereplicateReport;
  /** Undefined when copies were found to be bad whose others may be on the missing member: it stays one then. */
  readonly removal: RemoveReport | undefined;
}

const RW = memberStates.idOf('rw');
const SPARE = memberStates.idOf('spare');
/** What the superblock says of a member that is meant for whichever device has its place. */
const SETTINGS = ['DISCARD', 'DATA_ALLOWED', 'GROUP', 'DURABILITY'] as const;

/**
 * What it takes. Reads all keys of files; nothing is written.
 * @param options those that the writer was opened with, with its key
 * @throws UsageError for a member that is there, a device that does not fit, and when the missing member alone has some btree node; NoSpaceError
 * with the numbers; CorruptError, DeviceError
 */
export function planReplaceMissing(
  writer: FilesystemWriter,
  dev: number,
  replacing: Replacing,
  options: WriterOptions,
): MissingReplacePlan {
  const { sb } = writer.filesystem;
  const old = members(sb)[dev];
  if (old === undefined || !memberAlive(old)) throw new UsageError(`the filesystem has no member ${dev}`);
  if (writer.filesystem.device(dev) !== undefined) throw new UsageError(`${memberText(sb, dev)} is not missing`);
  const add = addPlanOf(writer, dev, replacing, options);
  const newDev = 'dev' in replacing ? replacing.dev : add.added[0]!.dev;
  const joined = addInMemory(writer, add, options).filesystem;
  const removal = planRemove(joined, dev);
  const { nbuckets, bucket_size } = members(joined.sb)[newDev]!;
  return {
    dev,
    newDev,
    add,
    isBegun: 'dev' in replacing,
    sizeBytes: nbuckets * sectorsToBytes(bucket_size),
    bucketBytes: sectorsToBytes(bucket_size),
    isOtherBucketSize: bucket_size !== old.bucket_size,
    copies: planRereplicate(joined),
    removal,
    targets: targetsNaming(sb, dev),
  };
}

function addPlanOf(
  writer: FilesystemWriter,
  dev: number,
  replacing: Replacing,
  { random, now }: WriterOptions,
): AddPlan {
  const { filesystem } = writer;
  const { sb } = filesystem;
  const facts = { random, nowSeconds: now() };
  if ('dev' in replacing) {
    if (!hasSettingsOf(filesystem, replacing.dev, dev)) {
      throw new UsageError(
        `${memberText(sb, replacing.dev)} is a member already, and has other settings than ${memberText(sb, dev)}: it cannot come instead of ` +
          'that. `data rereplicate` makes copies on it, and `device remove` takes out the missing member',
      );
    }
    return planAdd(filesystem, [], facts);
  }
  const { device, signatures } = replacing;
  const wishes = { device, signatures, durability: 1, discard: false, dataAllowed: ANY_DATA };
  const plan = planWithBuckets(
    bucketBytes => planAdd(filesystem, [{ ...wishes, bucketBytes }], facts),
    bytesOf(writer, dev),
  );
  const fresh = plan.added[0]!.dev;
  return { ...plan, sb: withTargetsMoved(withSettings(plan.sb, dev, fresh), dev, fresh) };
}

const bytesOf = ({ filesystem }: FilesystemWriter, dev: number): number =>
  sectorsToBytes(members(filesystem.sb)[dev]!.bucket_size);

/** With the buckets of the old device if they fit the new one. */
function planWithBuckets(planOf: (bucketBytes: number | undefined) => AddPlan, bucketBytes: number): AddPlan {
  try {
    return planOf(bucketBytes);
  } catch (thrown) {
    if (!(thrown instanceof UsageError)) throw thrown;
    return planOf(undefined);
  }
}

/** Any: the settings of the old member come instead. */
const ANY_DATA = 0b11100;

/** A spare stays one; what was read-only or has failed was so for a reason of the old device. */
function withSettings(sb: AddPlan['sb'], from: number, to: number): AddPlan['sb'] {
  const old = [members(sb)[from]!.flags];
  const state = getBits(old, memberBits.STATE) === SPARE ? SPARE : RW;
  return withMember(sb, to, member => {
    const words = SETTINGS.reduce<readonly bigint[]>(
      (bits, name) => withBits(bits, memberBits[name], getBits(old, memberBits[name])),
      [member.flags],
    );
    return { ...member, flags: withBits(words, memberBits.STATE, state)[0]! };
  });
}

function hasSettingsOf({ sb }: FilesystemWriter['filesystem'], dev: number, old: number): boolean {
  const all = members(sb);
  return SETTINGS.every(
    name => getBits([all[dev]!.flags], memberBits[name]) === getBits([all[old]!.flags], memberBits[name]),
  );
}

/**
 * Does it, a commit a step.
 * @param options those of the plan
 * @throws as planReplaceMissing, before the first write; CorruptError, DeviceError, NoSpaceError later: the filesystem is whole then, and doing
 * the same again goes on
 */
export function* replaceMissingSteps(
  writer: FilesystemWriter,
  plan: MissingReplacePlan,
  options: WriterOptions & JobOptions,
): Generator<RereplicateProgress, MissingReplaceReport & { readonly writer: FilesystemWriter }, void> {
  const { dev, add } = plan;
  let joined = writer;
  if (add.added.length > 0) joined = addMembers(writer, add, options);
  else completeMembers(writer, add.unfinished);
  const copies = yield* rereplicateSteps(joined, options);
  // The disk may turn up again, and have the good copy.
  if (copies.leftBy['no good copy'] > plan.copies.stuck.noCopy) return { copies, removal: undefined, writer: joined };
  const { keysPerCommit } = options;
  const steps = removeSteps(joined, dev, keysPerCommit === undefined ? {} : { keysPerCommit });
  const done = { writtenBytes: copies.writtenBytes, plannedBytes: copies.writtenBytes };
  for (;;) {
    const step = steps.next();
    if (step.done) return { copies, removal: step.value, writer: joined };
    yield done;
  }
}
