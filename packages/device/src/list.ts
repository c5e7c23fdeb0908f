// device list: the members of a filesystem, those that are missing included: what is on each, and what would be lost without it. Reads only.

import { basename } from 'node:path';
import {
  bytesText,
  defineCommand,
  devicesPositional,
  EXIT,
  filesystemOptions,
  type Out,
  openForReading,
} from '@bcachefs-ts/command';
import {
  type DependentFile,
  type DeviceUsage,
  dataTypes,
  dataTypeText,
  type FsUsage,
  type Losses,
  leadingMember,
  loadChecksums,
  lossesOf,
  type MemberStanding,
  memberStandings,
  memberStates,
  printable,
  readUsage,
  type Superblock,
} from '@bcachefs-ts/core/engine';
import { lossesJson, lossText, setLines } from './loss-text.ts';
import { lostFileJson, lostFileLines, lostFilesOf } from './lost-paths.ts';
import { standingText } from './standing-text.ts';

interface Listed extends MemberStanding {
  /** Undefined for a device that was removed. */
  readonly usage: DeviceUsage | undefined;
  /** If it died now; of a missing one, what is lost while it is away. */
  readonly losses: Losses;
  /** Undefined when it was not asked for. */
  readonly files: readonly DependentFile[] | undefined;
}

interface Listing {
  readonly usage: FsUsage;
  /** The superblock that a mount would take for the filesystem's. */
  readonly leading: Superblock;
  readonly members: readonly Listed[];
  readonly damages: number;
}

export const deviceListCommand = defineCommand({
  name: 'list',
  summary: 'List the members of a filesystem, and what would be lost without each',
  description:
    'Prints each member, missing ones too, with its state, its size, what is on it, and what would be lost if it died now, by sets of ' +
    'replicas as in `fs usage --fields=replicas`. It explains members that missed the last changes, or that were changed without the ' +
    'others.\n\n' +
    'Sizes are as the filesystem counts them. Cached copies do not count as lost: the data is elsewhere as well.',
  examples: [
    { command: 'bcachefs device list a.img:b.img', does: 'Lists the members' },
    {
      command: "bcachefs device list --json /dev/sda /dev/sdb | jq '.devices[].if_lost'",
      does: 'Prints what depends on each',
    },
  ],
  positionals: devicesPositional,
  options: {
    paths: { type: 'flag', help: 'list the files that would be lost; erasure-coded ones are left out' },
    ...filesystemOptions,
  },
  async run(context, args): Promise<Listing> {
    await loadChecksums();
    const filesystem = await openForReading(context, { ...args, degraded: true });
    try {
      let damages = 0;
      const usage = readUsage(filesystem, damage => {
        damages++;
        context.warn(damage.message);
      });
      const { sb, set } = filesystem;
      const listed = memberStandings(set).map((standing): Listed => {
        const { index } = standing;
        const others = set.missing.filter(missing => missing !== index);
        return {
          ...standing,
          usage: usage.devices.find(device => device.index === index),
          // With counters that cannot be read, only the superblock says what is where.
          losses: lossesOf(damages > 0 ? undefined : usage, sb, [index], others),
          files: args.paths ? lostFilesOf(filesystem, [index, ...others], message => context.warn(message)) : undefined,
        };
      });
      return { usage, leading: leadingMember(set).sb, members: listed, damages };
    } finally {
      filesystem.close();
    }
  },
  async text({ leading, members }, out) {
    await printMembers(members, out);
    await printTypes(members, out);
    out.line();
    for (const { index, standing, member, losses, files } of members) {
      if (standing === 'removed') continue;
      const isMissing = standing === 'missing';
      const name = isMissing ? `${index} is missing` : `If ${index} (${printable(member?.device.name ?? '')}) died now`;
      out.line(`${name}: ${lossText(losses, isMissing)}`);
      for (const line of setLines(losses)) out.line(`  ${line}`);
      for (const line of lostFileLines(files ?? [])) out.line(`  ${line}`);
    }
    const notes = members.map(each => standingText(each, leading)).filter(note => note !== undefined);
    if (notes.length > 0) out.line();
    for (const note of notes) out.line(note);
  },
  json({ usage, leading, members }) {
    return { filesystem: usage.uuid, label: usage.label, seq: leading.seq, devices: members.map(listedJson) };
  },
  exitCode: ({ damages }) => (damages > 0 ? EXIT.failed : EXIT.ok),
});

async function printMembers(members: readonly Listed[], out: Out): Promise<void> {
  const rows = members.map(({ index, standing, member, usage }) => [
    `${index}`,
    member === undefined ? '(missing)' : printable(basename(member.device.name)),
    printable(usage?.label ?? '-'),
    usage === undefined ? 'removed' : stateName(usage.state),
    usage === undefined ? '-' : `${usage.durability}`,
    usage === undefined ? '-' : bytesText(Number(sizeOf(usage))),
    usage === undefined ? '-' : bytesText(Number(usedOf(usage))),
    standing === 'missing' || standing === 'removed' ? '-' : `${member?.sb.seq}`,
    usage?.uuid ?? '-',
  ]);
  const head = ['dev', 'device', 'label', 'state', 'durability', 'size', 'used', 'seq', 'uuid'];
  await out.table({ head, rows, align: 'rlllrrrrl' });
}

/** What is on each, by type of data, types that none has left out. */
async function printTypes(members: readonly Listed[], out: Out): Promise<void> {
  const usages = members.flatMap(({ usage }) => (usage === undefined ? [] : [usage]));
  const types = [...new Set(usages.flatMap(({ types }) => types.map(({ dataType }) => dataType)))].filter(type =>
    usages.some(usage => sizeOfType(usage, type) !== 0n),
  );
  if (types.length === 0) return;
  out.line();
  await out.table({
    head: ['dev', ...types.map(dataTypeText)],
    rows: usages.map(usage => [`${usage.index}`, ...types.map(type => bytesText(Number(sizeOfType(usage, type))))]),
    align: `r${'r'.repeat(types.length)}`,
  });
}

const stateName = (state: number): string => memberStates.nameOf(state);
const sizeOf = ({ buckets, bucketSizeSectors }: DeviceUsage): bigint => buckets * BigInt(bucketSizeSectors) * 512n;

/** Buckets that hold something. */
const usedOf = ({ types, bucketSizeSectors }: DeviceUsage): bigint =>
  types.reduce((sum, { dataType, buckets }) => (dataTypes.byId(dataType)?.isEmpty ? sum : sum + buckets), 0n) *
  BigInt(bucketSizeSectors) *
  512n;

function sizeOfType({ types, bucketSizeSectors }: DeviceUsage, type: number): bigint {
  const found = types.find(({ dataType }) => dataType === type);
  if (found === undefined) return 0n;
  return 512n * (dataTypes.byId(type)?.isEmpty ? found.buckets * BigInt(bucketSizeSectors) : found.sectors);
}

function listedJson({ index, standing, member, believedSeq, usage, losses, files }: Listed): object {
  return {
    index,
    path: member?.device.name ?? null,
    uuid: usage?.uuid ?? null,
    label: usage?.label ?? null,
    standing,
    state: usage === undefined ? null : stateName(usage.state),
    durability: usage?.durability ?? null,
    seq: member?.sb.seq ?? null,
    believed_seq: believedSeq,
    bucket_size: usage === undefined ? null : usage.bucketSizeSectors * 512,
    size: usage === undefined ? null : sizeOf(usage),
    used: usage === undefined ? null : usedOf(usage),
    data_types: (usage?.types ?? []).map(({ dataType, buckets, fragmentedSectors }) => ({
      data_type: dataTypeText(dataType),
      buckets,
      size: usage === undefined ? 0n : sizeOfType(usage, dataType),
      fragmented: 512n * fragmentedSectors,
    })),
    if_lost: { ...lossesJson(losses), files: files?.map(lostFileJson) ?? null },
  };
}
