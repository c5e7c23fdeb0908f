// device resize: a member gets larger or smaller. An image file is made longer first, or cut afterwards; a disk or a partition is not
// touched: it has to be longer before, and may be cut afterwards to the length that is said.

import {
  bytesText,
  type Context,
  defineCommand,
  openForWriting,
  parseSize,
  runSteps,
  secondsOf,
} from '@bcachefs-ts/command';
import {
  type BlockDevice,
  declaredCompressionTypes,
  type FileDevice,
  type FilesystemWriter,
  growMember,
  isGrowthUnfinished,
  isResizable,
  loadChecksums,
  loadCompression,
  members,
  planShrink,
  printable,
  sectorsToBytes,
  shrinkSteps,
  smallestBucketCount,
  systemRandom,
  UsageError,
} from '@bcachefs-ts/core/engine';
import { memberNamed, memberPositional } from './member-named.ts';
import {
  carryOut,
  type Outcome,
  type Plan,
  plannedJson,
  planOptions,
  printPlanned,
  reshapedPositional,
} from './plan.ts';

export const deviceResizeCommand = defineCommand({
  name: 'resize',
  summary: 'Make a member larger or smaller',
  description:
    'Larger: an image file is made longer first; a disk or partition has to be longer already, and without a size all of it is used. ' +
    'Smaller: what lies in the part that is cut off is moved, the journal and the last copy of the superblock too. An image file is then ' +
    'cut; a partition you can cut yourself, to the length that is printed. The size is rounded down to whole buckets.\n\n' +
    'Erasure-coded data with a block in that part becomes plain data, with as many copies as it shall have.\n\n' +
    'min makes it as small as possible, and a dry run says how small that is.\n\n' +
    'If it is stopped, no file is lost; running it again finishes it.',
  examples: [
    { command: 'bcachefs device resize -y disk.img disk.img 128M', does: 'Makes an image and its filesystem larger' },
    { command: 'bcachefs device resize -n disk.img disk.img min', does: 'Says how small it can get' },
    { command: 'bcachefs device resize -y a.img:b.img b.img min', does: 'Makes a member as small as it gets' },
  ],
  positionals: {
    ...reshapedPositional,
    ...memberPositional,
    size: {
      count: 'optional',
      usage: '[SIZE|min]',
      help: 'its new size, such as 500G, or min; all of the device when it is not given',
    },
  },
  options: planOptions,
  async run(context, args) {
    await loadChecksums();
    const { filesystem, uuid, undo_file, passphrase_file, dry_run: isTrial } = args;
    const wanted = args.size === undefined || args.size === 'min' ? args.size : parseSize(args.size);
    const files = new Map<string, FileDevice>();
    const now = secondsOf(context.date());
    const writer = await openForWriting(
      context,
      { devices: [filesystem], uuid, undo_file, passphrase_file, isTrial },
      () => ({ random: systemRandom, now: () => now }),
      file => {
        files.set(file.name, file);
        return file;
      },
    );
    try {
      await loadCompression(declaredCompressionTypes(writer.filesystem.sb));
      const resize = resizeOf(writer, args.member, wanted);
      const isFile = (name: string) => files.get(name)?.kind === 'file';
      return await carryOut(context, args, planOf(writer, resize, isTrial, isFile), () => {
        return resize.bucketCount < resize.before
          ? shrink(context, writer, resize, isFile)
          : grow(writer, resize, isFile);
      });
    } finally {
      writer.filesystem.close();
    }
  },
  text: printPlanned,
  json: plannedJson,
});

interface Resize {
  readonly index: number;
  readonly device: BlockDevice;
  readonly bucketBytes: number;
  /** In buckets. */
  readonly before: number;
  readonly bucketCount: number;
  readonly least: number;
  /** How long the device is to be: what was asked for, where it is more than its buckets need. */
  readonly sizeBytes: number;
  /** The member has that size already, and its device is longer: making it smaller was cut off before the image file was cut. */
  readonly isOnlyCut: boolean;
  /** It has that size by its superblock only: making it larger was cut off. */
  readonly isUnfinished: boolean;
}

function resizeOf(writer: FilesystemWriter, word: string, wanted: number | 'min' | undefined): Resize {
  const { filesystem } = writer;
  const { index, member } = memberNamed(filesystem.set, word);
  const slot = members(filesystem.sb)[index];
  if (member === undefined || slot === undefined)
    throw new UsageError(`member ${index} is missing: only one that is here can be resized`);
  const { device } = member;
  const bucketBytes = sectorsToBytes(slot.bucket_size);
  const least = smallestBucketCount(filesystem, index);
  const bucketCount = wanted === 'min' ? least : Math.floor((wanted ?? device.sizeBytes) / bucketBytes);
  if (bucketCount < least) {
    throw new UsageError(
      `${device.name} cannot be smaller than ${bytesText(least * bucketBytes)} (${least * bucketBytes} bytes): its contents, and what a kernel ` +
        'needs to work, take that much',
      'SIZE',
    );
  }
  const isGrowing = bucketCount > slot.nbuckets;
  const sizeBytes = isGrowing && typeof wanted === 'number' ? wanted : bucketCount * bucketBytes;
  const isOnlyCut = wanted !== undefined && bucketCount === slot.nbuckets && device.sizeBytes > sizeBytes;
  const isUnfinished = bucketCount === slot.nbuckets && isGrowthUnfinished(filesystem, index);
  return { index, device, bucketBytes, before: slot.nbuckets, bucketCount, least, sizeBytes, isOnlyCut, isUnfinished };
}

function planOf(writer: FilesystemWriter, resize: Resize, isTrial: boolean, isFile: (name: string) => boolean): Plan {
  const { filesystem } = writer;
  const { index, device, bucketBytes, before, bucketCount, least, sizeBytes, isOnlyCut, isUnfinished } = resize;
  const name = printable(device.name);
  const size = (buckets: number) => bytesText(buckets * bucketBytes);
  const { stripedBytes, copiedBytes } =
    bucketCount < before ? planShrink(filesystem, index, bucketCount) : { stripedBytes: 0, copiedBytes: 0 };
  const common = {
    uuid: filesystem.sb.user_uuid,
    members: filesystem.set.members.map(({ device: { name: each } }) => each),
    json: {
      member: index,
      bucket_size: bucketBytes,
      size_before: before * bucketBytes,
      size: bucketCount * bucketBytes,
      smallest: least * bucketBytes,
      striped: stripedBytes,
      copied: copiedBytes,
    },
  };
  const smallest = `it could be as small as ${size(least)} (${least * bucketBytes} bytes)`;
  if (isUnfinished) {
    const lines = [`making ${name} ${size(before)} large was cut off; it is completed`];
    return { ...common, lines, question: `Complete ${name}?` };
  }
  if (bucketCount === before) {
    const isDone = !isOnlyCut || (!isTrial && !isFile(device.name));
    const cut = isDone ? [] : [`its file is longer: ${device.sizeBytes - sizeBytes} bytes are cut off`];
    return {
      ...common,
      lines: [`${name} has ${size(before)} already; ${smallest}`, ...cut],
      question: isDone ? '' : `Cut ${name}?`,
      isDone,
    };
  }
  const lines = [
    `${name}: from ${size(before)} to ${size(bucketCount)} (${bucketCount} buckets of ${bytesText(bucketBytes)})`,
  ];
  if (bucketCount < before) {
    lines.push('what lies in the part that is cut off is moved', smallest);
    if (stripedBytes > 0) {
      const copies = copiedBytes === 0 ? '' : `, and ${bytesText(copiedBytes)} of copies are made of it`;
      lines.push(`${bytesText(stripedBytes)} of erasure-coded data become plain data${copies}`);
    }
    if (!isTrial && !isFile(device.name))
      lines.push(
        `${name} itself is not cut: its partition can be cut to ${bucketCount * bucketBytes} bytes afterwards`,
      );
  } else if (!isTrial && !isFile(device.name) && device.sizeBytes < sizeBytes) {
    throw new UsageError(
      `${device.name} has ${device.sizeBytes} bytes, fewer than ${sizeBytes}: make the partition longer first`,
      'SIZE',
    );
  }
  return { ...common, lines, question: `Make ${name} ${bucketCount < before ? 'smaller' : 'larger'}?` };
}

function grow(
  writer: FilesystemWriter,
  { index, device, bucketCount, sizeBytes, isOnlyCut }: Resize,
  isFile: (name: string) => boolean,
): Outcome {
  const lengthBefore = device.sizeBytes;
  const isLonger = isFile(device.name) && isResizable(device) && lengthBefore < sizeBytes;
  if (isLonger) device.setSize(sizeBytes);
  try {
    const { commits } = growMember(writer, index, bucketCount);
    if (isOnlyCut && isFile(device.name) && isResizable(device)) device.setSize(sizeBytes);
    return { lines: [`${printable(device.name)} has ${bytesText(sizeBytes)} now`], json: { commits, size: sizeBytes } };
  } catch (thrown) {
    // Nothing names what has come.
    if (isLonger && !writer.isUnfinished && members(writer.filesystem.sb)[index]?.nbuckets !== bucketCount)
      device.setSize(lengthBefore);
    throw thrown;
  }
}

async function shrink(
  context: Context,
  writer: FilesystemWriter,
  { index, device, bucketCount, before, bucketBytes }: Resize,
  isFile: (name: string) => boolean,
): Promise<Outcome> {
  const task = context.progress.start({
    what: 'moving what lies in the part that is cut off',
    unit: 'commits',
  });
  const { sizeBytes, movedBytes, commits } = await runSteps(shrinkSteps(writer, index, bucketCount), () =>
    task.advance(1),
  );
  task.end();
  const name = printable(device.name);
  const isCut = isFile(device.name) && isResizable(device);
  if (isCut) device.setSize(sizeBytes);
  const lines = [
    `${name} has ${bytesText(sizeBytes)} now, ${bytesText((before - bucketCount) * bucketBytes)} less; ${bytesText(movedBytes)} were moved`,
  ];
  if (!isCut) lines.push(`it needs ${sizeBytes} bytes of its partition; the rest can be cut off`);
  return { lines, json: { commits, size: sizeBytes, moved: movedBytes, is_cut: isCut } };
}
