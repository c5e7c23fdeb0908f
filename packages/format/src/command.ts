// bcachefs format, mkfs.bcachefs: makes a filesystem on devices or image files. This file is the command line; what to write
// is decided by core's planFormat, and what is in the way is looked at in targets.ts.

import {
  CommandFailed,
  type Context,
  defineCommand,
  type OptionSpec,
  printable,
  readNewPassphrase,
  tableOptions,
  tableOptionValues,
} from '@bcachefs-ts/command';
import {
  type FormatRequest,
  formatOptions,
  newFilesystemDefault,
  type OptionName,
  type OptionNumber,
  type OptionValue,
  option,
  parseOptionValue,
  parseVersion,
  planContents,
  planFormat,
  type RandomSource,
  seededRandom,
  signatureText,
  superblockJson,
  superblockText,
  systemRandom,
  type TargetOption,
  targetOptions,
  UsageError,
  VERSION_CURRENT_WRITTEN,
  versionNumber,
} from '@bcachefs-ts/core';
import { type ChosenDevice, type FormatTarget, formatTargets, withFormatTargets } from './targets.ts';

const RELEASE = '1.13';
const filesystemRows = formatOptions(RELEASE, 'fs');
const DEVICE_HEADING = 'Device options, for the devices after them';

/** Their values are read by `tableOptionValues`, so that they need no types of their own here. */
const filesystemOptionSpecs: Record<never, OptionSpec> = tableOptions(filesystemRows, {
  release: RELEASE,
  heading: 'Filesystem options',
  defaultOf: name => (name === 'block_size' || name === 'btree_node_size' ? undefined : newFilesystemDefault(name)),
});

export const formatCommand = defineCommand({
  name: 'format',
  summary: 'Make a new filesystem on one or more devices or image files',
  description:
    `Writes metadata version ${versionNumber(VERSION_CURRENT_WRITTEN)}, that of Linux 6.12. The filesystem is complete: ` +
    'journal, btrees and root directory are there, and can be read and changed before any kernel has seen it.\n\n' +
    'Nothing is overwritten without asking: a device that holds a filesystem, a partition table or anything else that is ' +
    'recognised is shown and left alone, unless --force is given. A mounted device is refused always. All sizes are checked ' +
    'before the first write.\n\n' +
    'The result depends on the arguments and the sizes of the devices only. With --seed and SOURCE_DATE_EPOCH in the ' +
    'environment, it is the same byte for byte each time.',
  examples: [
    {
      command: 'bcachefs format --fs_size=1G disk.img',
      does: 'Makes an image file of 1 GiB, sparse, with a filesystem on it',
    },
    {
      command: 'bcachefs format --compression=zstd:3 --fs_label=data /dev/sdb',
      does: 'Makes a compressed filesystem on a disk',
    },
    {
      command:
        'bcachefs format --replicas=2 --foreground_target=ssd --background_target=hdd --label=ssd.a /dev/sda --label=hdd.a /dev/sdb --label=hdd.b /dev/sdc',
      does: 'Keeps two copies of everything on three devices, writing to the fast one first',
    },
    {
      command: 'bcachefs format --encrypted --passphrase_file=pw disk.img',
      does: 'Makes an encrypted filesystem without asking',
    },
    {
      command: 'SOURCE_DATE_EPOCH=0 bcachefs format --seed=ci --fs_size=1G disk.img',
      does: 'Makes the same image each time',
    },
  ],
  positionals: {
    devices: {
      count: 'some',
      file: true,
      help: 'devices, or image files; an image that does not exist is made with --fs_size',
    },
  },
  options: {
    fs_label: { type: 'string', alias: 'L', value: 'NAME', help: 'name of the filesystem, at most 32 bytes' },
    uuid: { type: 'string', alias: 'U', value: 'UUID', parse: parseUuid, help: 'external UUID (default random)' },
    replicas: {
      type: 'string',
      value: 'N',
      parse: text => Number(parseOptionValue(option('metadata_replicas'), text, RELEASE)),
      help: 'copies of data and of metadata, 1 to 3; sets both options',
    },
    superblock_size: {
      type: 'size',
      help: 'room for each copy of the superblock, a power of two (default 1M, less on small devices)',
    },
    version: {
      type: 'string',
      value: 'VERSION',
      parse: parseVersion,
      help: `metadata version to write; only ${versionNumber(VERSION_CURRENT_WRITTEN)} for now`,
    },
    no_initialize: { type: 'flag', help: 'write superblocks only; the kernel makes the rest at the first mount' },
    force: { type: 'flag', alias: 'f', help: 'overwrite whatever is recognised on the devices' },
    verbose: { type: 'flag', alias: 'v', help: 'show the layout of the superblocks as well' },
    encrypted: { type: 'flag', heading: 'Encryption', help: 'encrypt all of it (ChaCha20/Poly1305)' },
    passphrase_file: {
      type: 'string',
      value: 'FILE',
      file: true,
      heading: 'Encryption',
      needs: ['encrypted'],
      conflictsWith: ['no_passphrase'],
      help: 'read the passphrase from this file instead of asking',
    },
    no_passphrase: {
      type: 'flag',
      heading: 'Encryption',
      needs: ['encrypted'],
      help: 'store the key in the clear; set-passphrase can seal it later',
    },
    seed: {
      type: 'string',
      value: 'TEXT',
      heading: 'Reproducible images',
      help: 'make all random numbers from this text; not for encryption that matters, since the text then tells the key',
    },
    fs_size: {
      type: 'size',
      each: 'devices',
      once: true,
      heading: DEVICE_HEADING,
      help: 'size of the filesystem on the next device; makes the image file, sparse, where there is none',
    },
    bucket_size: {
      type: 'size',
      each: 'devices',
      heading: DEVICE_HEADING,
      help: 'size of the unit of allocation, a multiple of the block size (default by the sizes of the devices)',
    },
    label: {
      type: 'string',
      alias: 'l',
      value: 'PATH',
      each: 'devices',
      heading: DEVICE_HEADING,
      help: 'disk label, such as ssd.ssd1',
    },
    durability: {
      type: 'number',
      min: 0,
      max: 2,
      each: 'devices',
      heading: DEVICE_HEADING,
      help: 'how many copies one copy on the device counts for; 0 makes it a cache (default 1)',
    },
    discard: {
      type: 'boolean',
      each: 'devices',
      heading: DEVICE_HEADING,
      help: 'tell the device which space is free (default yes)',
    },
    data_allowed: {
      type: 'string',
      value: 'TYPES',
      each: 'devices',
      heading: DEVICE_HEADING,
      parse: text => Number(parseOptionValue(option('data_allowed'), text, RELEASE)),
      help: 'what may be stored on the device: journal, btree, user (default all; user for a cache)',
    },
    ...filesystemOptionSpecs,
  },
  async run(context, args) {
    const chosen: ChosenDevice[] = args.devices.map(({ word, options }) => ({
      path: word,
      sizeBytes: options.fs_size,
    }));
    const { options, targets } = filesystemOptions(tableOptionValues(filesystemRows, args), args.replicas);
    const passphrase =
      args.encrypted && !args.no_passphrase
        ? await readNewPassphrase(context, {
            file: args.passphrase_file,
            flag: '--passphrase_file',
            question: 'Enter passphrase',
          })
        : undefined;

    return withFormatTargets(chosen, async found => {
      const request: FormatRequest = {
        devices: found.map((device, index) => deviceRequest(device, args.devices[index]!.options)),
        options,
        targets,
        version: args.version ?? VERSION_CURRENT_WRITTEN,
        fsLabel: args.fs_label,
        uuid: args.uuid,
        superblockBytes: args.superblock_size,
        encryption: args.encrypted ? { passphrase } : undefined,
        now: creationTime(context),
        random: randomSource(context, args.seed, args.encrypted),
      };
      const plan = planFormat(request);
      checkReplicas(request, args.force);
      if (plan.geometry.blockBytes > PAGE_BYTES) {
        context.warn(
          `blocks of ${plan.geometry.blockBytes} bytes: kernels with pages of ${PAGE_BYTES} bytes refuse to mount it`,
        );
      }
      if (!args.force) await askBeforeOverwriting(context, found);
      const contents = args.no_initialize
        ? undefined
        : planContents(
            plan,
            found.map(({ device }) => device),
            request,
          );
      const formatted = formatTargets(plan, found, contents, args.seed !== undefined);
      return {
        plan,
        ...formatted,
        devices: found.map(({ path, device }) => ({ path, isCreated: device.created })),
        verbose: args.verbose,
      };
    });
  },
  text({ superblocks, devices, wiped, verbose }, out) {
    for (const [index, ranges] of wiped.entries()) {
      for (const range of ranges)
        out.line(`${devices[index]!.path}: wiped ${printable(range.name)} at byte ${range.offset}`);
    }
    out.write(
      superblockText(superblocks[0]!, {
        layout: verbose,
        fields: ['members_v2'],
        memberName: index => devices[index]?.path,
      }),
    );
  },
  json({ plan, superblocks, devices, wiped }) {
    return {
      uuid: superblocks[0]!.user_uuid,
      devices: devices.map((device, index) => ({
        path: device.path,
        index,
        created: device.isCreated,
        bucket_size: plan.geometry.devices[index]!.bucketBytes,
        buckets: plan.geometry.devices[index]!.bucketCount,
        wiped: wiped[index],
      })),
      block_size: plan.geometry.blockBytes,
      btree_node_size: plan.geometry.btreeNodeBytes,
      superblock: superblockJson(superblocks[0]!),
    };
  },
});

function parseUuid(text: string): string {
  const hex = text.toLowerCase().replaceAll('-', '');
  if (!/^[0-9a-f]{32}$/.test(hex) || /^0+$/.test(hex)) {
    throw new UsageError(`${JSON.stringify(text)} is not a UUID, expected 32 hexadecimal digits that are not all zero`);
  }
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

/** Splits what was given into options that are numbers and targets, which are names until the labels are known. */
function filesystemOptions(given: ReadonlyMap<OptionName, OptionValue>, replicas: number | undefined) {
  const options = new Map<OptionName, OptionNumber>();
  const targets: Partial<Record<TargetOption, string>> = {};
  if (replicas !== undefined) options.set('metadata_replicas', replicas).set('data_replicas', replicas);
  for (const [name, value] of given) {
    const targetName = targetOptions.find(target => target === name);
    if (targetName !== undefined) targets[targetName] = String(value);
    else if (typeof value !== 'string') options.set(name, value);
  }
  return { options, targets };
}

function deviceRequest(
  { path, sizeBytes, device }: FormatTarget,
  options: Readonly<Record<string, unknown>>,
): FormatRequest['devices'][number] {
  const { bucket_size, label, durability, discard, data_allowed } = options as {
    bucket_size?: number;
    label?: string;
    durability?: number;
    discard?: boolean;
    data_allowed?: number;
  };
  return {
    name: path,
    sizeBytes,
    physicalSectorBytes: device.physicalSectorBytes,
    logicalSectorBytes: device.logicalSectorBytes,
    bucketBytes: bucket_size,
    label,
    durability: durability ?? 1,
    discard: discard ?? true,
    dataAllowed: data_allowed ?? (durability === 0 ? CACHE_DATA : ALL_DATA),
  };
}

/** Linux 6.12 refuses blocks that are larger than its pages; nearly all machines have this size. */
const PAGE_BYTES = 4096;

/** journal, btree and user: bits 2 to 4 of the data types. */
const ALL_DATA = 0b11100;

/**
 * A device of durability 0 is a cache and keeps user data only. The reference allows all, but then Linux 6.12 counts the
 * device's journal buckets as free journal space that it may not use, and stops with its journal full (seen at 96 MiB).
 */
const CACHE_DATA = 0b10000;

/** Nanoseconds since 1970: SOURCE_DATE_EPOCH where it is set, else now. */
function creationTime(context: Context): bigint {
  const epoch = context.env.SOURCE_DATE_EPOCH;
  if (epoch === undefined || epoch === '') return BigInt(context.date().getTime()) * 1_000_000n;
  if (!/^\d{1,11}$/.test(epoch)) {
    throw new UsageError(`${JSON.stringify(epoch)}, expected whole seconds since 1970`, 'SOURCE_DATE_EPOCH');
  }
  return BigInt(epoch) * 1_000_000_000n;
}

function randomSource(context: Context, seed: string | undefined, isEncrypted: boolean): RandomSource {
  if (seed === undefined) return systemRandom;
  if (isEncrypted) context.warn('the encryption key comes from --seed: whoever knows the seed can read the filesystem');
  return seededRandom(seed);
}

/** A kernel could not write a single btree node to a filesystem whose devices cannot hold all the copies. */
function checkReplicas(request: FormatRequest, force: boolean): void {
  const available = request.devices.reduce((sum, device) => sum + device.durability, 0);
  for (const name of ['metadata_replicas', 'data_replicas'] as const) {
    const wanted = Number(request.options.get(name) ?? 1);
    if (wanted > available && !force) {
      throw new UsageError(
        `${wanted} copies do not fit on these devices, which are worth ${available} together; ` +
          'add devices, or use --force to make it anyway and add devices later',
        `--${name}`,
      );
    }
  }
}

async function askBeforeOverwriting(context: Context, found: readonly FormatTarget[]): Promise<void> {
  const inTheWay = found.flatMap(({ path, signatures }) =>
    signatures.map(signature => `${path} has ${signatureText(signature)}`),
  );
  if (inTheWay.length === 0) return;
  if (!context.prompt.isAttended) {
    throw new CommandFailed(`${inTheWay.join('; ')}; nothing was written (--force overwrites it)`);
  }
  for (const line of inTheWay) context.warn(line);
  const agreed = await context.prompt.confirm('Overwrite?', { flag: '--force' });
  if (!agreed) throw new CommandFailed('nothing was written');
}
