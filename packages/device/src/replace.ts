// device replace: a device takes the place of a member. What a replacement that was cut off has left is found by the superblocks, and the same
// words finish it: the old device has been wiped then, or is about to be.

import {
  allowMissingOption,
  bytesText,
  type Context,
  defineCommand,
  EXIT,
  openForWriting,
  runSteps,
  secondsOf,
  undoWrap,
} from '@bcachefs-ts/command';
import {
  type BegunReplacement,
  type BlockDevice,
  begunReplacement,
  CorruptError,
  completeReplace,
  type FilesystemWriter,
  isReplaceUnfinished,
  isSuccessor,
  loadChecksums,
  type MemberReplacePlan,
  memberSetOf,
  type OpenMember,
  openDevice,
  openMember,
  planReplace,
  printable,
  probeSignatures,
  replaceSteps,
  type Signature,
  signatureText,
  systemRandom,
  UsageError,
  wipeMember,
} from '@bcachefs-ts/core/engine';
import { indexesNamed, memberNamed } from './member-named.ts';
import { memberAtPath, membersBeside, realPath } from './members-at.ts';
import {
  carryOut,
  type Outcome,
  type Plan,
  type Planned,
  plannedJson,
  planOptions,
  printPlanned,
  reshapedPositional,
} from './plan.ts';
import { missingNamed, type ReplaceArgs, type Replaced, replaceMissing } from './replace-missing.ts';

export const deviceReplaceCommand = defineCommand({
  name: 'replace',
  summary: 'Put a device in the place of a member',
  description:
    'What is on the old device is copied to the new one: only buckets that are in use, and each to the place that it had. The new device gets ' +
    'the index of the old one, its label and its other settings, and all of it is used if it is larger. It must not be smaller than the part ' +
    'of the old device that is used: `device resize` makes that smaller first, and the message says to what. At the end the superblocks ' +
    'on the old device are wiped. Its data is not: a disk that is given away has to be erased.\n\n' +
    'A member that is missing is named by its index or UUID, with --allow_missing. There is nothing to copy then: the new device joins, with ' +
    'the label and the other settings of the old one, and with an index of its own; what had a copy on the old one gets another, as ' +
    '`data rereplicate` does it; and the old one is taken out. What has no copy but there is lost, and is listed by path before you are ' +
    'asked. If only it has some btree node, it cannot be replaced. Options of the filesystem that name it (`foreground_target` and the ' +
    'like) name the new one.\n\n' +
    'What was on the new device is lost; where something is recognised, --force is needed, and it is named before you are asked.\n\n' +
    'If it is stopped, the filesystem has all its files, with the old device or with the new one, and a kernel never takes both; running it ' +
    'again finishes it. When the old device cannot be read, nothing on it has changed.',
  examples: [
    { command: 'bcachefs device replace -n a.img:b.img b.img new.img', does: 'Says what would be copied' },
    { command: 'bcachefs device replace -y a.img:b.img b.img new.img', does: 'Replaces one image by another' },
    { command: 'bcachefs device replace -y /dev/sda:/dev/sdb 1 /dev/sdc', does: 'Replaces member 1 by a disk' },
    {
      command: 'bcachefs device replace --allow_missing -y /dev/sda:/dev/sdb 2 /dev/sdd',
      does: 'Replaces member 2, which is dead, by a disk',
    },
  ],
  positionals: {
    ...reshapedPositional,
    old: { count: 'one', file: true, help: 'the member that leaves: its path, its index, or its UUID' },
    new: { count: 'one', file: true, help: 'the device or image that takes its place; an image has its size already' },
  },
  options: {
    force: { type: 'flag', alias: 'f', help: 'overwrite whatever is recognised on the new device' },
    ...allowMissingOption,
    ...planOptions,
  },
  async run(context, args): Promise<Replaced> {
    await loadChecksums();
    const missing = missingNamed(args);
    if (missing !== undefined) return await replaceMissing(context, args, missing);
    return { ...(await replaceThere(context, args)), isUnfinished: false };
  },
  text: printPlanned,
  json: plannedJson,
  exitCode: ({ isUnfinished }) => (isUnfinished ? EXIT.failed : EXIT.ok),
});

/** A member that is there, or was when the replacement began. */
async function replaceThere(context: Context, args: ReplaceArgs): Promise<Planned> {
  const { uuid, passphrase_file, allow_missing, dry_run: isTrial } = args;
  const now = secondsOf(context.date());
  const options = { random: systemRandom, now: () => now };
  // One undo file for all of them.
  const undoable = isTrial ? (device: BlockDevice) => device : undoWrap(context, args);
  const begun = begunBefore(args);
  const devices = begun?.members ?? [args.filesystem];
  const writer = await openForWriting(
    context,
    { devices, uuid, passphrase_file, allow_missing, isTrial },
    () => options,
    undoable,
  );
  const opened = writer.filesystem.set.members.map(({ device }) => device);
  const open = (path: string): BlockDevice => {
    const device = undoable(openDevice(path, { write: !isTrial, exclusive: true }));
    opened.push(device);
    return device;
  };
  try {
    if (begun !== undefined) {
      const left = begun.oldPath === undefined ? undefined : openMember(open(begun.oldPath));
      return await carryOut(context, args, completion(writer, begun, left, args), () => {
        if (left !== undefined) wipeMember(left);
        return outcomeOf(args, completeReplace(writer, begun.dev).sizeBytes);
      });
    }
    const { set, key } = writer.filesystem;
    const { index: dev } = memberNamed(set, args.old);
    if (set.members.some(({ device }) => realPath(device.name) === realPath(args.new)))
      throw new UsageError(`${args.new} is a member of the filesystem already`);
    const device = open(args.new);
    const signatures = probeSignatures(device);
    const plan = planReplace(writer.filesystem, dev, device);
    // What a replacement of this filesystem has left before is worth nothing without the old device.
    const isOverwritten = args.force || args.dry_run || isLeftOver(device, writer);
    const [first] = signatures;
    if (first !== undefined && !isOverwritten)
      throw new UsageError(`${args.new} contains ${signatureText(first)}; --force overwrites it`, '--force');
    return await carryOut(context, args, planOf(writer, plan, args, signatures), async () => {
      const task = context.progress.start({ what: 'copying', total: plan.copiedBytes, unit: 'bytes' });
      const more = { ...options, key, allowMissing: allow_missing, signatures };
      const { sizeBytes } = await runSteps(replaceSteps(writer, plan, device, more), copied => task.at(copied));
      task.end();
      return outcomeOf(args, sizeBytes);
    });
  } finally {
    for (const device of opened) device.close();
  }
}

interface Words {
  readonly filesystem: string;
  readonly old: string;
  readonly new: string;
}

interface Begun extends BegunReplacement {
  /** Paths of all members, the new device among them and the old one not. */
  readonly members: readonly string[];
  readonly oldPath: string | undefined;
}

/**
 * What was cut off before, or is done; undefined when there is nothing of the kind.
 * @throws UsageError, DeviceError, IncompatibleError
 */
function begunBefore(words: Words): Begun | undefined {
  const fresh = memberAtPath(words.new);
  if (fresh === undefined) return undefined;
  const others = membersBeside(words.filesystem, [words.new]);
  const members = others.map(({ member }) => member);
  const begun = begunReplacement(members, fresh);
  if (begun === undefined) return undefined;
  const named = members.length === 0 ? [] : indexesNamed(memberSetOf(members), words.old);
  const rest = others.filter(({ member }) => member !== begun.old);
  const old = others.find(({ member }) => member === begun.old);
  // Another member is meant.
  const isOther = rest.some(({ member }) => named.includes(member.sb.dev_idx));
  if (old === undefined ? isOther : !named.includes(begun.dev)) return undefined;
  return { ...begun, members: [...rest.map(({ path }) => path), words.new], oldPath: old?.path };
}

/** Of the same filesystem and with the same index as a member that is there, so that it is none. */
function isLeftOver(device: BlockDevice, { filesystem }: FilesystemWriter): boolean {
  try {
    const own = openMember(device);
    return filesystem.set.members.some(member => isSuccessor(own, member));
  } catch (thrown) {
    if (thrown instanceof CorruptError) return false;
    throw thrown;
  }
}

function planOf(
  writer: FilesystemWriter,
  { dev, old, copiedBytes, bucketBytes, bucketsBefore, bucketCount, becomesWritable }: MemberReplacePlan,
  words: Words,
  signatures: readonly Signature[],
): Plan {
  const [oldName, newName] = [printable(old.device.name), printable(words.new)];
  const [before, after] = [bucketsBefore * bucketBytes, bucketCount * bucketBytes];
  const found = signatures.map(signatureText);
  const lines = [
    `${newName} becomes member ${dev} instead of ${oldName}: ${bytesText(copiedBytes)} will be copied`,
    after === before
      ? `it has ${bytesText(before)}, as before`
      : `it grows from ${bytesText(before)} to ${bytesText(after)}`,
  ];
  if (becomesWritable) lines.push('its state becomes rw');
  if (found.length > 0) lines.push(`${found.join(', ')} on ${newName} will be gone`);
  lines.push(`the superblocks on ${oldName} will be wiped`);
  return {
    uuid: writer.filesystem.sb.user_uuid,
    members: writer.filesystem.set.members.map(({ device }) => device.name),
    lines,
    question: `Replace ${oldName} by ${newName}?`,
    json: {
      member: dev,
      old: old.device.name,
      new: words.new,
      completes: false,
      copied: copiedBytes,
      size_before: before,
      size: after,
      found,
    },
  };
}

function completion(
  { filesystem }: FilesystemWriter,
  { dev }: Begun,
  left: OpenMember | undefined,
  words: Words,
): Plan {
  const newName = printable(words.new);
  const isDone = left === undefined && !isReplaceUnfinished(filesystem, dev);
  const lines = isDone
    ? [`${newName} is member ${dev} already, and nothing is left to do`]
    : [`${newName} is member ${dev} already: the replacement was cut off, and is completed`];
  if (left !== undefined) lines.push(`the superblocks on ${printable(left.device.name)} will be wiped`);
  return {
    uuid: filesystem.sb.user_uuid,
    members: filesystem.set.members.map(({ device }) => device.name),
    lines,
    question: 'Complete it?',
    isDone,
    json: {
      member: dev,
      old: left?.device.name ?? null,
      new: words.new,
      completes: true,
      copied: 0,
      size_before: null,
      size: null,
      found: [],
    },
  };
}

function outcomeOf(words: Words, sizeBytes: number): Outcome {
  return {
    lines: [`${printable(words.new)} has replaced ${printable(words.old)}, and has ${bytesText(sizeBytes)}`],
    json: { size: sizeBytes },
  };
}
