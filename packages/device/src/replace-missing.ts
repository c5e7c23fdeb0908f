// device replace, of a member that is missing: a device joins with its settings, copies are made, and it is taken out, as one plan.

import { bytesText, type Context, openForWriting, runSteps, secondsOf, undoWrap } from '@bcachefs-ts/command';
import {
  type BlockDevice,
  diskGroups,
  type FilesystemWriter,
  labelText,
  type MissingReplacePlan,
  type MissingReplaceReport,
  memberAlive,
  memberGroup,
  memberSetOf,
  members,
  memberText,
  openDevice,
  planReplaceMissing,
  printable,
  probeSignatures,
  replaceMissingSteps,
  type Signature,
  signatureText,
  systemRandom,
  UsageError,
  writtenBytesOf,
} from '@bcachefs-ts/core/engine';
import { commitsText, keysText } from './evacuate.ts';
import { type LostFiles, lostNames, NOTHING_LOST } from './lost-paths.ts';
import { indexesNamed } from './member-named.ts';
import { addedBefore, memberAtPath, membersBeside } from './members-at.ts';
import { carryOut, type Outcome, type Plan, type PlanArgs, type Planned } from './plan.ts';
import { leftJson, leftLines, workJson, workLines } from './rereplicate.ts';

export interface ReplaceArgs extends PlanArgs {
  readonly filesystem: string;
  readonly old: string;
  readonly new: string;
  readonly uuid: string | undefined;
  readonly passphrase_file: string | undefined;
  readonly undo_file: string | undefined;
  readonly allow_missing: boolean;
  readonly force: boolean;
}

export interface Replaced extends Planned {
  /** What was to be done is not all done. */
  readonly isUnfinished: boolean;
}

/**
 * The index of the member that is meant, if it is one that is missing.
 * @throws UsageError, DeviceError, IncompatibleError
 */
export function missingNamed({ filesystem, old, new: fresh }: Pick<ReplaceArgs, 'filesystem' | 'old' | 'new'>) {
  const others = membersBeside(filesystem, [fresh]).map(({ member }) => member);
  const [first] = others;
  if (first === undefined || others.some(({ sb }) => sb.uuid !== first.sb.uuid)) return undefined;
  const set = memberSetOf(others);
  const [dev, ...more] = indexesNamed(set, old);
  if (dev === undefined || more.length > 0 || !set.missing.includes(dev)) return undefined;
  const own = memberAtPath(fresh);
  // The new device has its place already.
  return own?.sb.uuid === first.sb.uuid && own.sb.dev_idx === dev ? undefined : dev;
}

export async function replaceMissing(context: Context, args: ReplaceArgs, dev: number): Promise<Replaced> {
  const { uuid, passphrase_file, allow_missing, dry_run: isTrial } = args;
  const now = secondsOf(context.date());
  const undoable = isTrial ? (device: BlockDevice) => device : undoWrap(context, args);
  const before = addedBefore(args.filesystem, [args.new]);
  const writer = await openForWriting(
    context,
    { devices: before.devices, uuid, passphrase_file, allow_missing, isTrial },
    () => ({ random: systemRandom, now: () => now }),
    undoable,
  );
  const { filesystem } = writer;
  const opened = filesystem.set.members.map(({ device }) => device);
  try {
    const options = { random: systemRandom, now: () => now, key: filesystem.key, allowMissing: allow_missing };
    const joined = filesystem.set.members.find(({ device }) => before.joined.includes(device.name))?.sb.dev_idx;
    let signatures: readonly Signature[] = [];
    let plan: MissingReplacePlan;
    if (joined !== undefined) plan = planReplaceMissing(writer, dev, { dev: joined }, options);
    else {
      const device = undoable(openDevice(args.new, { write: !isTrial, exclusive: true }));
      opened.push(device);
      signatures = probeSignatures(device);
      const [found] = signatures;
      const isOverwritten = args.force || args.dry_run || before.leftOver.length > 0;
      if (found !== undefined && !isOverwritten)
        throw new UsageError(`${args.new} contains ${signatureText(found)}; --force overwrites it`, '--force');
      plan = planReplaceMissing(writer, dev, { device, signatures }, options);
    }
    const files =
      plan.removal.lostBytes === 0 ? NOTHING_LOST : lostNames(filesystem, dev, message => context.warn(message));
    let isUnfinished = false;
    const oldName = memberText(filesystem.sb, dev);
    const planned = await carryOut(context, args, planOf(writer, plan, args, signatures, files), async () => {
      const total = writtenBytesOf(plan.copies);
      const task = context.progress.start({ what: 'making copies', total, unit: 'bytes' });
      const report = await runSteps(replaceMissingSteps(writer, plan, options), step => {
        if (step !== undefined) task.at(Math.min(total, step.writtenBytes));
      });
      task.end();
      isUnfinished = report.removal === undefined || report.copies.leftBy['no room'] > 0;
      return outcomeOf(report.writer, oldName, args, plan, report);
    });
    return { ...planned, isUnfinished };
  } finally {
    for (const device of opened) device.close();
  }
}

function planOf(
  writer: FilesystemWriter,
  plan: MissingReplacePlan,
  words: ReplaceArgs,
  signatures: readonly Signature[],
  files: LostFiles,
): Plan {
  const { sb, set } = writer.filesystem;
  const { dev, newDev, copies, removal } = plan;
  const newName = printable(words.new);
  const oldName = memberText(sb, dev);
  const group = memberGroup(members(sb)[dev]!);
  const label = group === undefined ? undefined : labelText(diskGroups(sb), group);
  const found = signatures.map(signatureText);
  const size = `${bytesText(plan.sizeBytes)} in buckets of ${bytesText(plan.bucketBytes)}`;
  const lines = [
    plan.isBegun
      ? `${newName} is member ${newDev} already, with the settings of ${oldName}, which is missing: what is left to do is done`
      : `${newName} becomes member ${newDev}, with the settings of ${oldName}, which is missing: ${size}`,
  ];
  if (plan.isOtherBucketSize) lines.push(`buckets as on the old one do not fit the new one`);
  if (found.length > 0) lines.push(`${found.join(', ')} on ${newName} will be gone`);
  lines.push(
    ...workLines('data', copies.extents, 'extent'),
    ...workLines('shared data', copies.indirect, 'extent'),
    ...workLines('metadata', copies.nodes, 'btree node'),
  );
  const written = writtenBytesOf(copies);
  if (written > 0)
    lines.push(`${bytesText(written)} will be written; the members have room for ${bytesText(copies.availableBytes)}`);
  if (copies.stuck.noMember > 0)
    lines.push(
      `${keysText(copies.stuck.noMember)} will have fewer copies than wanted: no member is left for another one`,
    );
  for (const option of plan.targets) lines.push(`${option} names the old member, and will name the new one`);
  lines.push(`then ${oldName} is not a member any more; if the disk turns up again, it is ignored`);
  if (removal.lostBytes > 0) {
    lines.push(`${bytesText(removal.lostBytes)} will be lost: no other copy exists of some or all of these files:`);
    for (const file of files.names) lines.push(`  ${file}`);
    if (!files.isAll) lines.push('  and others: `device list --paths` lists all');
  }
  const isLoss = removal.lostBytes > 0;
  return {
    uuid: sb.user_uuid,
    members: set.members.map(({ device }) => device.name),
    lines,
    question: isLoss ? `Replace member ${dev} by ${newName}, and lose data?` : `Replace member ${dev} by ${newName}?`,
    json: {
      member: newDev,
      old: null,
      new: words.new,
      completes: plan.isBegun,
      copied: 0,
      size_before: null,
      size: plan.sizeBytes,
      found,
      missing: {
        member: dev,
        bucket_size: plan.bucketBytes,
        label: label ?? null,
        extents: workJson(copies.extents),
        indirect_extents: workJson(copies.indirect),
        btree: workJson(copies.nodes),
        available: copies.availableBytes,
        no_member: copies.stuck.noMember,
        lost: removal.lostBytes,
        lost_files: files.names,
        lost_files_complete: files.isAll,
        targets_moved: plan.targets,
      },
    },
  };
}

function outcomeOf(
  writer: FilesystemWriter,
  oldName: string,
  words: ReplaceArgs,
  plan: MissingReplacePlan,
  { copies, removal }: MissingReplaceReport,
): Outcome {
  const newName = printable(words.new);
  const commits = copies.commits + (removal?.commits ?? 0);
  const lost = removal?.lostKeys ?? 0;
  // What is lost has been said, and has no place any more.
  const left = removal === undefined ? copies.left : copies.left.filter(({ why }) => why !== 'no good copy');
  const leftCount = copies.leftCount - (removal === undefined ? 0 : copies.leftBy['no good copy']);
  const lines = [
    `${newName} is member ${plan.newDev}; wrote ${bytesText(copies.writtenBytes)} of copies in ${commitsText(commits)}`,
  ];
  if (removal === undefined) {
    lines.push(
      `${oldName} stays a member: copies that are here turned out to be bad, and it may have good ones; ` +
        '`device remove --allow_missing` gives these up',
    );
  } else lines.push(`${oldName} is not a member any more`);
  if (lost > 0)
    lines.push(lost === 1 ? '1 extent is lost: reading it fails' : `${lost} extents are lost: reading them fails`);
  lines.push(...leftLines(writer, left, leftCount));
  const isMember = memberAlive(members(writer.filesystem.sb)[plan.dev]!);
  return {
    lines,
    json: {
      size: plan.sizeBytes,
      written: copies.writtenBytes,
      commits,
      lost_extents: lost,
      removed: !isMember,
      ...leftJson(writer, left, leftCount),
    },
  };
}
