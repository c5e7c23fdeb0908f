// Makes a filesystem: what format and image create have in common. What to write is decided by core's planFormat; what is in the way
// is looked at in targets.ts, what to fill it with in source-options.ts.

import {
  CommandFailed,
  type Context,
  countsText,
  creationTime,
  type FileCounts,
  type Out,
  readNewPassphrase,
  type UndoFileArgs,
  undoWrap,
} from '@bcachefs-ts/command';
import {
  BUCKETS_MIN,
  compressionTypeOf,
  DEVICE_BYTES_MIN,
  type FormatPlan,
  type FormatRequest,
  filledContents,
  type Kernel,
  loadChecksums,
  loadCompression,
  loadCompressors,
  members,
  newFilesystemDefault,
  type OptionName,
  type OptionNumber,
  type OptionValue,
  planContents,
  planFormat,
  planGeometry,
  printable,
  type RandomSource,
  roundUp,
  sectorsToBytes,
  seededRandom,
  shrinkSteps,
  signatureText,
  superblockJson,
  superblockText,
  systemRandom,
  type TargetOption,
  targetOptions,
  UsageError,
  VERSION_CURRENT_WRITTEN,
  versionFor,
} from '@bcachefs-ts/core/engine';
import { MIN } from './options.ts';
import { bytesNeeded, checkRoom, FileSource, type SourceArgs, type SourceSize } from './source-options.ts';
import { printSummary } from './summary.ts';
import { type ChosenDevice, type FormatTarget, formatTargets, setSize, withFormatTargets } from './targets.ts';

/** The values of `makeOptions` and `sourceOptions`. */
export interface MakeArgs extends SourceArgs, UndoFileArgs {
  readonly fs_label: string | undefined;
  readonly uuid: string | undefined;
  readonly replicas: number | undefined;
  readonly superblock_size: number | undefined;
  readonly version: number | undefined;
  readonly for: Kernel | undefined;
  readonly no_initialize: boolean;
  readonly force: boolean;
  readonly verbose: boolean;
  readonly encrypted: boolean;
  readonly passphrase_file: string | undefined;
  readonly no_passphrase: boolean;
  readonly seed: string | undefined;
  readonly source: string | undefined;
}

/** A device of the new filesystem. */
export interface DeviceArgs {
  readonly path: string;
  /** What it will be called, where that is another path. */
  readonly shownPath?: string;
  readonly fs_size: number | typeof MIN | undefined;
  readonly bucket_size?: number | undefined;
  readonly label?: string | undefined;
  readonly durability?: number | undefined;
  readonly discard?: boolean | undefined;
  readonly data_allowed?: number | undefined;
}

/** @param given what was given of the table of options */
export async function makeFilesystem(
  context: Context,
  args: MakeArgs,
  given: ReadonlyMap<OptionName, OptionValue>,
  devices: readonly DeviceArgs[],
) {
  const { options, targets } = filesystemOptions(given, args.replicas);
  checkSizes(args, devices);
  if (args.source === '-') context.prompt.claimInput('the archive of --source');
  const passphrase = await passphraseOf(context, args);
  const time = creationTime(context);
  await loadChecksums();
  if (args.source !== undefined) await loadCodecs(options);
  const source = await openSource(context, args, devices);
  try {
    const toFit = source === undefined ? undefined : sizesToFit(devices, source.size, options, args);
    const chosen = devices.map(
      ({ path, fs_size }): ChosenDevice => ({
        path,
        sizeBytes: fs_size === MIN ? toFit?.workBytes : fs_size,
      }),
    );
    return await withFormatTargets(context, chosen, undoWrap(context, args), async found => {
      const totalBytes = found.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
      if (source !== undefined) checkRoom(source.size, totalBytes);
      const asked: Omit<FormatRequest, 'random'> = {
        devices: found.map((device, index) => ({ ...deviceRequest(device, devices[index]!), ...toFit?.device })),
        options: toFit === undefined ? options : new Map([...options, ...toFit.options]),
        targets,
        version: args.version ?? (args.for === undefined ? VERSION_CURRENT_WRITTEN : versionFor(args.for)),
        fsLabel: args.fs_label,
        uuid: args.uuid,
        superblockBytes: toFit?.superblockBytes ?? args.superblock_size,
        encryption: args.encrypted ? { passphrase } : undefined,
        now: time.nowNs,
      };
      const request: FormatRequest = { ...asked, random: randomSource(context, args.seed, asked) };
      const plan = planFormat(request);
      warnOfReplicas(context, request);
      warnOfBlocks(context, plan);
      if (!args.force) await askBeforeOverwriting(context, found);
      const made = await writeTargets({ plan, found, request, args, source, time, isToFit: toFit !== undefined });
      return {
        plan,
        ...made,
        devices: found.map(({ path, file }, index) => ({
          path: devices[index]!.shownPath ?? path,
          isCreated: file.created,
          sizeBytes: file.sizeBytes,
          isFile: file.kind === 'file',
        })),
        options,
        targets,
        isUninitialized: args.no_initialize,
        verbose: args.verbose,
      };
    });
  } finally {
    source?.close();
  }
}

async function passphraseOf(context: Context, { encrypted, no_passphrase, passphrase_file }: MakeArgs) {
  if (!encrypted || no_passphrase) return undefined;
  return await readNewPassphrase(context, {
    file: passphrase_file,
    flag: '--passphrase_file',
    question: 'Enter passphrase',
  });
}

async function openSource(context: Context, args: MakeArgs, devices: readonly DeviceArgs[]) {
  if (args.source === undefined) return undefined;
  // What is being written to, in case that the source holds it.
  const omit = devices.flatMap(({ path, shownPath }) => (shownPath === undefined ? [path] : [path, shownPath]));
  return await FileSource.open(context, args.source, args, { omit, data: devices[0]?.fs_size === MIN });
}

/** What is to be written, when all has been decided. */
interface DecidedFilesystem {
  readonly plan: FormatPlan;
  readonly found: readonly FormatTarget[];
  readonly request: FormatRequest;
  readonly args: MakeArgs;
  readonly source: FileSource | undefined;
  readonly time: ReturnType<typeof creationTime>;
  /** The only device becomes as small as its files allow. */
  readonly isToFit: boolean;
}

/** The empty filesystem or one with the source's files in it, all in one go. */
async function writeTargets({ plan, found, request, args, source, time, isToFit }: DecidedFilesystem) {
  const blockDevices = found.map(({ device }) => device);
  let contents = args.no_initialize ? undefined : planContents(plan, blockDevices, request);
  let filled: FileCounts | undefined;
  let sizeBytes: number | undefined;
  if (source !== undefined && contents !== undefined) {
    contents = filledContents(plan, blockDevices, contents, {
      random: request.random,
      now: request.now,
      willBeCut: isToFit,
      *fill(edit) {
        filled = yield* source.fill(edit, time.isFixed ? time.nowNs : undefined);
      },
      *finish(writer) {
        if (isToFit) ({ sizeBytes } = yield* shrinkSteps(writer, 0, 'min'));
      },
    });
  }
  const formatted = await formatTargets(plan, found, contents, args.seed !== undefined);
  const [only] = found;
  if (sizeBytes !== undefined && only?.file.kind === 'file') setSize(only.device, sizeBytes);
  return { ...formatted, filled };
}

export type Made = Awaited<ReturnType<typeof makeFilesystem>>;

/** A summary, or with --verbose all of the superblock as show-super prints it. */
export function printMade(made: Made, out: Out): void {
  const { superblocks, devices, wiped, filled, verbose } = made;
  for (const [index, ranges] of wiped.entries()) {
    for (const range of ranges)
      out.line(`${devices[index]!.path}: wiped ${printable(range.name)} at byte ${range.offset}`);
  }
  if (!verbose) {
    printSummary({ ...made, sb: superblocks[0]! }, out);
    return;
  }
  out.write(
    superblockText(superblocks[0]!, {
      layout: true,
      fields: ['members_v2'],
      memberName: index => devices[index]?.path,
    }),
  );
  if (filled !== undefined) out.line(`put into it: ${countsText(filled)}`);
}

export const madeJson = ({ plan, superblocks, devices, wiped, filled }: Made): object => ({
  uuid: superblocks[0]!.user_uuid,
  devices: devices.map((device, index) => ({
    path: device.path,
    index,
    created: device.isCreated,
    size: device.sizeBytes,
    bucket_size: plan.geometry.devices[index]!.bucketBytes,
    buckets: Number(members(superblocks[0]!)[index]!.nbuckets),
    wiped: wiped[index],
  })),
  block_size: plan.geometry.blockBytes,
  btree_node_size: plan.geometry.btreeNodeBytes,
  files: filled === undefined ? null : countsJson(filled),
  superblock: superblockJson(superblocks[0]!),
});

/** In a new filesystem there is nothing to replace. */
function countsJson({ replaced: _, ...counts }: FileCounts): object {
  return counts;
}

/** What can be decided from the words alone. */
function checkSizes({ source, no_initialize, encrypted, seed }: MakeArgs, devices: readonly DeviceArgs[]): void {
  const isMin = devices.some(({ fs_size }) => fs_size === MIN);
  if (isMin && source === undefined)
    throw new UsageError('needs --source: it is the size of its files', '--fs_size=min');
  if (isMin && devices.length > 1) throw new UsageError('goes with one device only', '--fs_size=min');
  if (source !== undefined && encrypted && seed !== undefined) {
    // The key would be the same for all sources, and so would be the numbers that their files are encrypted with.
    throw new UsageError(
      'not together with --encrypted and files: who has two images of one seed could read what differs between them',
      '--seed',
    );
  }
  if (source !== undefined && no_initialize) {
    throw new UsageError('leaves nothing to put files into: not together with --source', '--no_initialize');
  }
}

/** Of a filesystem that is first made with more than enough room, and then cut. */
interface SizesToFit {
  readonly workBytes: number;
  readonly superblockBytes: number;
  readonly device: { readonly bucketBytes: number };
  readonly options: ReadonlyMap<OptionName, OptionNumber>;
}

/** Blocks, buckets and nodes are those of the size that it will have; undefined when the size is given. */
function sizesToFit(
  [device]: readonly DeviceArgs[],
  size: SourceSize,
  options: ReadonlyMap<OptionName, OptionNumber>,
  args: MakeArgs,
): SizesToFit | undefined {
  if (device?.fs_size !== MIN) return undefined;
  const numberOf = (name: OptionName) => Number(options.get(name) ?? newFilesystemDefault(name));
  const givenOf = (name: OptionName) => (options.has(name) ? numberOf(name) : undefined);
  const files = bytesNeeded(size, { data: numberOf('data_replicas'), metadata: numberOf('metadata_replicas') });
  // Smaller ones are refused.
  const leastBytes = Math.max(DEVICE_BYTES_MIN, BUCKETS_MIN * (device.bucket_size ?? 0));
  const needed = Math.max(files, leastBytes);
  const geometryOf = (sizeBytes: number, blockSize: number | undefined) =>
    planGeometry({
      devices: [
        {
          name: device.path,
          sizeBytes,
          physicalSectorBytes: 0,
          logicalSectorBytes: 0,
          bucketBytes: device.bucket_size,
        },
      ],
      blockBytes: blockSize,
      btreeNodeBytes: givenOf('btree_node_size'),
      encodedExtentMaxBytes: numberOf('encoded_extent_max'),
      superblockBytes: args.superblock_size,
    });
  const { blockBytes } = geometryOf(needed, givenOf('block_size'));
  // A member has 512 buckets at the least: with those of the size that the files have at the most, it could not become as small as they are.
  const isCompressed = numberOf('compression') !== 0 || numberOf('background_compression') !== 0;
  const likely = Math.max(leastBytes, files / (isCompressed ? LIKELY_RATIO_COMPRESSED : LIKELY_RATIO));
  const { btreeNodeBytes, devices } = geometryOf(likely, blockBytes);
  const { bucketBytes, layout } = devices[0]!;
  const [reserved, reservedBytes] = [numberOf('gc_reserve_percent') / 100, numberOf('gc_reserve_bytes')];
  return {
    workBytes: roundUp((needed + needed / 4 + SPARE_BYTES) / (1 - reserved) + reservedBytes, bucketBytes),
    superblockBytes: sectorsToBytes(2 ** layout.sb_max_size_bits),
    device: { bucketBytes },
    options: new Map([
      ['block_size', blockBytes],
      ['btree_node_size', btreeNodeBytes],
    ]),
  };
}
/** Written zeroes turn out to be holes. */
const LIKELY_RATIO = 4;
/** Few trees of files become smaller than that. */
const LIKELY_RATIO_COMPRESSED = 16;
/** So that small filesystems have room for a few commits of nodes at once. */
const SPARE_BYTES = 128 * 2 ** 20;

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
  { bucket_size, label, durability, discard, data_allowed }: DeviceArgs,
): FormatRequest['devices'][number] {
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

function randomSource(context: Context, seed: string | undefined, asked: Omit<FormatRequest, 'random'>): RandomSource {
  if (seed === undefined) return systemRandom;
  if (asked.encryption === undefined) return seededRandom(seed);
  context.warn('the encryption key comes from --seed: anyone who knows the seed can read the filesystem');
  return seededRandom(`${seed}\0${contentsText(asked)}`);
}

/**
 * All that the contents of an empty filesystem follow from, its random numbers aside: with other contents, an encrypted filesystem has
 * another key and another UUID, or one seed would encrypt two things with the same numbers. Names of devices are in no filesystem, and the
 * passphrase is left out since only the key that is made of it encrypts something else.
 */
function contentsText({ devices, options, targets, encryption: _, ...rest }: Omit<FormatRequest, 'random'>): string {
  const names = devices.map(({ name }) => name);
  const targetWords = Object.entries(targets).map(([option, word]) => [option, names.indexOf(word), word]);
  return JSON.stringify(
    [
      devices.map(({ name: _name, ...device }) => device),
      [...options],
      targetWords.map(([option, index, word]) => [option, index === -1 ? word : index]),
      rest,
    ],
    (_key, value: unknown) => (typeof value === 'bigint' ? `${value}n` : value),
  );
}

/** As the reference, which makes it without a word: devices that are added later bring the missing copies. */
function warnOfReplicas(context: Context, request: FormatRequest): void {
  const available = request.devices.reduce((sum, device) => sum + device.durability, 0);
  for (const name of ['metadata_replicas', 'data_replicas'] as const) {
    const wanted = Number(request.options.get(name) ?? 1);
    if (wanted <= available) continue;
    context.warn(
      `--${name}: ${wanted} copies do not fit on these devices, which are worth ${available} together; ` +
        `there will be ${available} until devices are added`,
    );
  }
}

function warnOfBlocks(context: Context, { geometry: { blockBytes } }: FormatPlan): void {
  if (blockBytes <= PAGE_BYTES) return;
  context.warn(`blocks of ${blockBytes} bytes: kernels with pages of ${PAGE_BYTES} bytes refuse to mount it`);
}

async function askBeforeOverwriting(context: Context, found: readonly FormatTarget[]): Promise<void> {
  const inTheWay = found.flatMap(({ path, signatures }) =>
    signatures.filter(({ isRemnant }) => !isRemnant).map(signature => `${path} has ${signatureText(signature)}`),
  );
  if (inTheWay.length === 0) return;
  if (!context.prompt.isAttended) {
    throw new CommandFailed(`${inTheWay.join('; ')}; nothing was written (--force overwrites it)`);
  }
  for (const line of inTheWay) context.warn(line);
  const agreed = await context.prompt.confirm('Overwrite?', { flag: '--force' });
  if (!agreed) throw new CommandFailed('nothing was written');
}

/** For the data of a source: what the options choose, to write it and, where blocks are filled up, to read it again. */
async function loadCodecs(options: ReadonlyMap<OptionName, OptionValue>): Promise<void> {
  const types = (['compression', 'background_compression'] as const).map(name =>
    compressionTypeOf(Number(options.get(name) ?? 0)),
  );
  await Promise.all([loadCompression(types), loadCompressors(types)]);
}
