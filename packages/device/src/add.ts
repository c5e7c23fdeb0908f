// device add: devices and images join a filesystem. They are looked at before anything is written, as format does it: what is recognised on
// them is said and asked about.

import {
  allowMissingOption,
  bytesText,
  defineCommand,
  devicesPositional,
  openForWriting,
  parseSize,
  secondsOf,
  undoWrap,
  valueHints,
} from '@bcachefs-ts/command';
import {
  type AddPlan,
  addMembers,
  type BlockDevice,
  completeMembers,
  type FilesystemWriter,
  type JoiningDevice,
  loadChecksums,
  members,
  openDevice,
  option,
  parseOptionValue,
  planAdd,
  printable,
  probeSignatures,
  sectorsToBytes,
  signatureText,
  systemRandom,
  UsageError,
} from '@bcachefs-ts/core/engine';
import { addedBefore, realPath } from './members-at.ts';
import {
  carryOut,
  type Outcome,
  type Plan,
  plannedJson,
  planOptions,
  printPlanned,
  reshapedPositional,
} from './plan.ts';

const RELEASE = '1.13';
const ALL_DATA = 0b11100;
const CACHE_DATA = 0b10000;

export const deviceAddCommand = defineCommand({
  name: 'add',
  summary: 'Add devices or images to a filesystem',
  description:
    'Makes each a member, with its journal and the list of its free buckets: nothing is left for a kernel to do. The sizes of blocks and of ' +
    'btree nodes are those of the filesystem. What was on the devices is lost; where something is recognised, --force is needed, and it is ' +
    'named before you are asked.\n\n' +
    'Options hold for all devices of one command. New data goes to the new members as well as to the others; what is there already stays ' +
    'where it is.\n\n' +
    'If it is stopped, the filesystem has all its files, with the new members or without them; running it again completes it.',
  examples: [
    { command: 'bcachefs device add -y disk.img new.img', does: 'Adds an image' },
    { command: 'bcachefs device add --label=ssd.new --durability=0 -y /dev/sda /dev/nvme0n1', does: 'Adds a cache' },
    { command: 'bcachefs device add -n disk.img new.img', does: 'Says what the new member would be like' },
  ],
  positionals: {
    ...reshapedPositional,
    devices: { ...devicesPositional.devices, help: 'the devices or images that join; an image has its size already' },
  },
  options: {
    label: { type: 'string', alias: 'l', value: 'PATH', help: 'disk label, such as ssd.ssd1' },
    bucket_size: {
      type: 'string',
      value: 'SIZE',
      parse: parseSize,
      help: 'size of the unit of allocation, a multiple of the block size (default by the size of the device)',
    },
    durability: {
      type: 'number',
      min: 0,
      max: 2,
      help: 'how many copies one copy on the device counts for; 0 makes it a cache (default 1)',
    },
    discard: {
      type: 'boolean',
      help: 'discard space that becomes free, so that the device can reuse it (default yes)',
    },
    data_allowed: {
      type: 'string',
      value: 'TYPES',
      parse: (text: string): number => Number(parseOptionValue(option('data_allowed'), text, RELEASE)),
      ...valueHints(option('data_allowed'), RELEASE),
      help: 'what may be stored on the device: journal, btree, user (default all; user for a cache)',
    },
    force: { type: 'flag', alias: 'f', help: 'overwrite whatever is recognised on the devices' },
    ...allowMissingOption,
    ...planOptions,
  },
  async run(context, args) {
    await loadChecksums();
    const { filesystem, uuid, passphrase_file, allow_missing, dry_run: isTrial } = args;
    const now = secondsOf(context.date());
    const options = { random: systemRandom, now: () => now };
    // One undo file for all of them: the members are wrapped here too.
    const undoable = isTrial ? (device: BlockDevice) => device : undoWrap(context, args);
    refuseTwins(args.devices);
    const before = addedBefore(filesystem, args.devices);
    const request = { devices: before.devices, uuid, passphrase_file, allow_missing, isTrial };
    const opened: BlockDevice[] = [];
    const writer = await openForWriting(context, request, () => options, undoable);
    const { set, key } = writer.filesystem;
    try {
      const paths = args.devices.filter(path => !before.joined.includes(path));
      for (const path of paths) opened.push(undoable(openDevice(path, { write: !isTrial, exclusive: true })));
      const joining = opened.map(
        (device): JoiningDevice => ({ ...joiningDevice(device, args), signatures: probeSignatures(device) }),
      );
      const plan = planAdd(writer.filesystem, joining, { random: systemRandom, nowSeconds: now });
      const isAllowed = ({ device }: JoiningDevice) => before.leftOver.includes(device.name);
      if (!args.force && !args.dry_run) refuseSignatures(joining.filter(one => !isAllowed(one)));
      return await carryOut(context, args, planOf(writer, plan, before.joined), () => {
        if (plan.added.length === 0) {
          completeMembers(writer, plan.unfinished);
          return outcomeOf(writer, plan);
        }
        const joined = addMembers(writer, plan, { ...options, key, allowMissing: allow_missing });
        return outcomeOf(joined, plan);
      });
    } finally {
      for (const device of [...set.members.map(member => member.device), ...opened]) device.close();
    }
  },
  text: printPlanned,
  json: plannedJson,
});

interface DeviceWishes {
  readonly label: string | undefined;
  readonly bucket_size: number | undefined;
  readonly durability: number | undefined;
  readonly discard: boolean | undefined;
  readonly data_allowed: number | undefined;
}

function joiningDevice(device: BlockDevice, args: DeviceWishes): Omit<JoiningDevice, 'signatures'> {
  const durability = args.durability ?? 1;
  return {
    device,
    label: args.label,
    bucketBytes: args.bucket_size,
    durability,
    discard: args.discard ?? true,
    dataAllowed: args.data_allowed ?? (durability === 0 ? CACHE_DATA : ALL_DATA),
  };
}

/** @throws UsageError for a device that is named twice */
function refuseTwins(paths: readonly string[]): void {
  const seen = new Set<string>();
  for (const path of paths) {
    if (seen.has(realPath(path))) throw new UsageError(`${path} is named twice`);
    seen.add(realPath(path));
  }
}

/** @throws UsageError for what would be overwritten */
function refuseSignatures(joining: readonly JoiningDevice[]): void {
  for (const { device, signatures } of joining) {
    const [first] = signatures;
    if (first === undefined) continue;
    throw new UsageError(`${device.name} contains ${signatureText(first)}; --force overwrites it`, '--force');
  }
}

function planOf(writer: FilesystemWriter, plan: AddPlan, joined: readonly string[]): Plan {
  const { sb, set } = writer.filesystem;
  const lines = plan.added.map(({ dev, device, geometry: { bucketBytes, bucketCount } }, nr) => {
    const found = plan.joining[nr]!.signatures.map(signatureText);
    const lost = found.length === 0 ? '' : `; ${found.join(', ')} on it will be gone`;
    return `${printable(device.name)} becomes member ${dev}: ${bytesText(bucketBytes * bucketCount)} in buckets of ${bytesText(bucketBytes)}${lost}`;
  });
  for (const path of joined) {
    const dev = set.members.find(({ device }) => device.name === path)?.sb.dev_idx;
    const isWhole = dev === undefined || !plan.unfinished.includes(dev);
    if (isWhole) lines.push(`${printable(path)} is member ${dev} already`);
  }
  for (const dev of plan.unfinished) lines.push(`member ${dev}, whose addition was cut off, will be completed`);
  const names = plan.added.map(({ device }) => printable(device.name));
  return {
    uuid: sb.user_uuid,
    members: set.members.map(({ device }) => device.name),
    lines,
    question: names.length === 0 ? 'Complete it?' : `Add ${names.join(' and ')}?`,
    isDone: names.length === 0 && plan.unfinished.length === 0,
    json: {
      added: plan.added.map(({ dev, device, geometry: { bucketBytes, bucketCount } }, nr) => ({
        member: dev,
        path: device.name,
        bucket_size: bucketBytes,
        size: bucketBytes * bucketCount,
        label: plan.joining[nr]!.label ?? null,
        found: plan.joining[nr]!.signatures.map(signatureText),
      })),
      completed: plan.unfinished,
    },
  };
}

function outcomeOf({ filesystem }: FilesystemWriter, plan: AddPlan): Outcome {
  const known = members(filesystem.sb);
  const sizes = [...plan.unfinished, ...plan.added.map(({ dev }) => dev)].map(dev => {
    const { nbuckets = 0, bucket_size = 0 } = known[dev] ?? {};
    return nbuckets * sectorsToBytes(bucket_size);
  });
  const total = sizes.reduce((sum, size) => sum + size, 0);
  const completed = plan.unfinished.map(dev => `member ${dev}`);
  const names = plan.added.map(({ dev, device }) => `${printable(device.name)} as member ${dev}`);
  return { lines: [`added ${[...completed, ...names].join(', ')}: ${bytesText(total)} more`], json: { size: total } };
}
