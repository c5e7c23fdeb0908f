// bcachefs image update: the files of an image become those of a directory or an archive, and no more is written than what differs. The image
// is made larger while it is changed, by a hole at its end, and as small as it can be afterwards.
//
// The change is one commit, as everything that changes files: whatever stops it, the image has the old files or the new ones. Before the
// first difference is found nothing is written. Cut off before the commit, the file is longer than it was, with a hole; cut off after
// it, the image is not yet as small as it could be. The next update sets both right.

import {
  bytesText,
  type Context,
  changeRandom,
  countsText,
  creationTime,
  defineCommand,
  type FileCounts,
  GarbageLimit,
  type Out,
  openForWriting,
  passphraseOption,
  runSteps,
  type UndoFileArgs,
  undoFileOption,
} from '@bcachefs-ts/command';
import {
  BatchedEdit,
  BUCKETS_MAX,
  type CommitReport,
  declaredCompressionTypes,
  type FileDevice,
  FileEdit,
  type FilesystemWriter,
  getBigBits,
  getBits,
  growMember,
  isResizable,
  loadChecksums,
  loadCompression,
  loadCompressors,
  type MemberSet,
  members,
  printable,
  type RandomSource,
  type ResizableDevice,
  sbBits,
  sectorsToBytes,
  shrinkSteps,
  smallestBucketCount,
  UsageError,
} from '@bcachefs-ts/core/engine';
import type { UpdateReport, UpdateSession } from '@bcachefs-ts/sources';
import { bytesNeeded, FileSource, type SourceArgs, type SourceSize, sourceOptions } from './source-options.ts';

export interface ImageUpdateArgs extends SourceArgs, UndoFileArgs {
  readonly image: string;
  readonly source: string;
  readonly dry_run: boolean;
  readonly trust_times: boolean;
  readonly seed: string | undefined;
  readonly passphrase_file: string | undefined;
}

export interface ImageUpdated extends UpdateReport {
  readonly uuid: string;
  readonly image: string;
  readonly isDryRun: boolean;
  readonly sizeBefore: number;
  readonly sizeAfter: number;
  /** Undefined when the files are what they were. */
  readonly commit: CommitReport | undefined;
}

export const imageUpdateCommand = defineCommand({
  name: 'update',
  summary: 'Make the files of an image equal to those of a directory or an archive, writing only what differs',
  description:
    'Files that are the same keep their place in the image. Compared are types, permissions, owners, times of change, devices, link targets, ' +
    'extended attributes and ACLs, which names are one file, and contents, by reading both; --trust_times takes regular files of the same ' +
    'size and time of change for the same. What the source does not have is removed. New data is compressed, checksummed and ' +
    'encrypted as the image says. Afterwards the image is as small as it can be without moving what is in its lower part.\n\n' +
    'Subvolumes that are directories in the source stay subvolumes, also read-only ones. One that the source does not have is an error, since ' +
    'it may be a snapshot: `subvolume delete` removes it. lost+found stays.\n\n' +
    'All of it is one commit: whatever stops it, the image has the old files or the new ones. If it is killed, the file may have a hole at ' +
    'its end and room that it does not need; the next update takes both away. An image that is the same already is not written to.\n\n' +
    'With --seed and SOURCE_DATE_EPOCH in the environment, equal images and equal files give the same image byte for byte.',
  examples: [
    { command: 'bcachefs image update --source=rootfs root.img', does: 'Brings an image up to date with a directory' },
    {
      command: 'bcachefs image update --dry_run --source=rootfs root.img',
      does: 'Says how much differs, and writes nothing',
    },
    {
      command: 'docker export web | bcachefs image update --source=- web.img',
      does: 'Brings an image up to date with an archive on standard input',
    },
  ],
  positionals: { image: { count: 'one', file: true, help: 'the image file, of one member; not mounted' } },
  options: {
    ...sourceOptions,
    source: {
      ...sourceOptions.source,
      required: true,
      help: sourceOptions.source.help.replace('fill it with', 'make it equal to'),
    },
    trust_times: {
      type: 'flag',
      help: 'files whose size and time of change are the same are the same: do not read them',
    },
    dry_run: { type: 'flag', help: 'write nothing, say what would be done' },
    seed: {
      type: 'string',
      value: 'TEXT',
      help: 'make all random numbers from this text, for images that are equal byte for byte; not for encrypted images',
    },
    ...passphraseOption,
    ...undoFileOption,
  },
  run: updateImage,
  text: printUpdated,
  json: updatedJson,
});

async function updateImage(context: Context, args: ImageUpdateArgs): Promise<ImageUpdated> {
  if (args.source === '-') context.prompt.claimInput('the archive of --source');
  const time = creationTime(context);
  await loadChecksums();
  const image = new Image(time.nowNs, args.seed);
  const { image: word, passphrase_file, undo_file } = args;
  const writer = await openForWriting(
    context,
    { devices: [word], passphrase_file, undo_file },
    set => image.writerOptions(set),
    file => image.opened(file),
  );
  let source: FileSource | undefined;
  try {
    image.writer = writer;
    const types = declaredCompressionTypes(writer.filesystem.sb);
    await loadCompression(types);
    await loadCompressors(types);
    source = await FileSource.open(context, args.source, args, { omit: [image.device.name], links: true });
    return await update(context, args, image, source, time.isFixed ? time.nowNs : undefined);
  } finally {
    source?.close();
    writer.filesystem.close();
  }
}

async function update(
  context: Context,
  args: ImageUpdateArgs,
  image: Image,
  source: FileSource,
  fixedTimeNs: bigint | undefined,
): Promise<ImageUpdated> {
  const { uuid, sizeBytes: sizeBefore } = image;
  const session = new Session(image, source.size, args.dry_run);
  let commit: CommitReport | undefined;
  let report: UpdateReport;
  try {
    report = await runSteps(source.update(session, fixedTimeNs, args.trust_times), () => {});
    commit = session.finish();
  } catch (thrown) {
    // What stopped it is what counts; the old files are there in any case.
    try {
      await image.giveBack();
    } catch (failure) {
      if (!(failure instanceof Error)) throw failure;
      context.warn(
        `${image.device.name}: has the old files, but could not be made as small as before: ${failure.message}`,
      );
    }
    throw thrown;
  }
  if (!args.dry_run) await image.shrink(context, commit !== undefined);
  const { name } = image.device;
  return { ...report, uuid, image: name, isDryRun: args.dry_run, sizeBefore, sizeAfter: image.sizeBytes, commit };
}

/** The image file and the filesystem in it. */
class Image {
  writer!: FilesystemWriter;
  device!: ResizableDevice;
  random!: RandomSource;
  readonly nowNs: bigint;
  readonly #seed: string | undefined;
  #isFile = false;
  #isLarger = false;

  constructor(nowNs: bigint, seed: string | undefined) {
    this.nowNs = nowNs;
    this.#seed = seed;
  }

  /** @throws UsageError for what is not an image file of one member: before a passphrase is asked for */
  writerOptions(set: MemberSet) {
    const { device, sb } = set.newest;
    if (set.members.length > 1 || members(sb).length > 1)
      throw new UsageError(`${device.name}: has several members, expected an image of one`);
    if (!this.#isFile || !isResizable(device))
      throw new UsageError(`${device.name}: is not an image file; put changes devices`);
    this.device = device;
    this.random = changeRandom(set, this.#seed);
    return { random: this.random, now: () => this.nowNs / 1_000_000_000n };
  }

  opened(file: FileDevice): FileDevice {
    this.#isFile = file.kind === 'file';
    return file;
  }

  get uuid(): string {
    return this.writer.filesystem.sb.user_uuid;
  }

  get sizeBytes(): number {
    return this.device.sizeBytes;
  }

  get #bucketBytes(): number {
    return sectorsToBytes(members(this.writer.filesystem.sb)[0]!.bucket_size);
  }

  get #bucketCount(): number {
    return members(this.writer.filesystem.sb)[0]!.nbuckets;
  }

  edit(): FileEdit {
    return new FileEdit(this.writer, { random: this.random, now: () => this.nowNs });
  }

  batches(): BatchedEdit {
    const { random, nowNs } = this;
    return new BatchedEdit(this.writer, { random, now: () => nowNs, isOneCommit: true });
  }

  /** Room for all of the source beside what is there, whatever of it will be needed. */
  makeRoom(size: SourceSize): void {
    const { sb } = this.writer.filesystem;
    const needed = bytesNeeded({ ...size, blockBytes: size.bytes + size.entries * 4096 }, { data: 1, metadata: 1 });
    const reserved = getBits(sb.flags, sbBits.GC_RESERVE) / 100;
    const reservedBytes = sectorsToBytes(Number(getBigBits(sb.flags, sbBits.GC_RESERVE_BYTES)));
    const bucketBytes = this.#bucketBytes;
    const bytes =
      (this.#bucketCount * bucketBytes + needed + needed / 4 + SPARE_BYTES) / (1 - reserved) + reservedBytes;
    const count = Math.min(BUCKETS_MAX, Math.ceil(bytes / bucketBytes));
    if (count <= this.#bucketCount) return;
    this.#isLarger = true;
    if (this.device.sizeBytes < count * bucketBytes) this.device.setSize(count * bucketBytes);
    growMember(this.writer, 0, count);
  }

  /** Of an update that failed: the old files are committed, and need no more than they did. */
  async giveBack(): Promise<void> {
    if (!this.#isLarger || this.writer.isUnfinished) return;
    this.writer.dropStaged();
    await this.#cut(shrinkSteps(this.writer, 0, 'min'));
  }

  /**
   * As small as it goes. Where no file was changed, only what is left of an update that was cut off is taken away: a few buckets are not worth
   * another image.
   */
  async shrink(context: Context, isChanged: boolean): Promise<void> {
    const spare = this.#bucketCount - smallestBucketCount(this.writer.filesystem, 0);
    const isLong = this.device.sizeBytes > this.#leastBytes(this.#bucketCount * this.#bucketBytes);
    if (!isChanged && !isLong && spare <= this.#bucketCount * WORTH_IT) return;
    const task = context.progress.start({ what: 'making the image smaller', unit: 'commits' });
    await this.#cut(shrinkSteps(this.writer, 0, 'min'), () => task.advance(1));
    task.end();
  }

  async #cut(steps: ReturnType<typeof shrinkSteps>, onStep: () => void = () => {}): Promise<void> {
    const { sizeBytes } = await runSteps(steps, onStep);
    const least = this.#leastBytes(sizeBytes);
    if (this.device.sizeBytes > least) this.device.setSize(least);
    this.device.flush();
  }

  /** A superblock copy may lie past the last bucket. */
  #leastBytes(sizeBytes: number): number {
    const { layout } = this.writer.filesystem.set.newest.sb;
    const ends = layout.sb_offset.slice(0, layout.nr_superblocks).map(Number);
    return Math.max(sizeBytes, ...ends.map(start => sectorsToBytes(start + 2 ** layout.sb_max_size_bits)));
  }
}

/** Of the buckets. */
const WORTH_IT = 1 / 16;
/** So that small images have room for a few parts of nodes at once. */
const SPARE_BYTES = 128 * 2 ** 20;

/** The change, which begins with the first difference. */
class Session implements UpdateSession {
  readonly isDryRun: boolean;
  readonly #image: Image;
  readonly #size: SourceSize;
  readonly #reading: FileEdit;
  #batches: BatchedEdit | undefined;
  readonly #garbage = new GarbageLimit();

  constructor(image: Image, size: SourceSize, isDryRun: boolean) {
    this.#image = image;
    this.#size = size;
    this.isDryRun = isDryRun;
    this.#reading = image.edit();
  }

  get edit(): FileEdit {
    return this.#batches?.edit ?? this.#reading;
  }

  change(): FileEdit {
    if (this.#batches === undefined) {
      if (!this.isDryRun) this.#image.makeRoom(this.#size);
      this.#batches = this.#image.batches();
    }
    return this.#batches.edit;
  }

  step(): void {
    this.#garbage.step();
    // A dry run keeps all of it in memory, since nothing is to be written.
    if (!this.isDryRun) this.#batches?.step();
  }

  finish(): CommitReport | undefined {
    return this.isDryRun ? undefined : this.#batches?.finish();
  }
}

const isNothing = (counts: FileCounts): boolean => Object.values(counts).every(count => count === 0);

function printUpdated(updated: ImageUpdated, out: Out): void {
  const { image, isDryRun, added, changed, removed, unchanged, writtenBytes, sizeBefore, sizeAfter } = updated;
  const isSame = [added, changed, removed].every(isNothing);
  const first = isDryRun ? 'Dry run, nothing was written: would update' : 'Updated';
  out.line(isSame ? `${printable(image)} is up to date` : `${first} ${printable(image)}`);
  const parts = { Added: added, Changed: changed, Removed: removed };
  for (const [word, counts] of Object.entries(parts))
    if (!isNothing(counts)) out.line(`${word}: ${countsText(counts)}`);
  out.line(`Unchanged: ${unchanged} ${unchanged === 1 ? 'name' : 'names'}`);
  if (!isSame) out.line(`Contents written: ${bytesText(writtenBytes)}`);
  if (!isDryRun) out.line(`Size: ${bytesText(sizeAfter)}, it was ${bytesText(sizeBefore)}`);
}

/** docs/json/image-update.md */
function updatedJson(updated: ImageUpdated): object {
  const { uuid, image, isDryRun, added, changed, removed, unchanged, writtenBytes, sizeBefore, sizeAfter, commit } =
    updated;
  return {
    filesystem: uuid,
    image,
    dry_run: isDryRun,
    added: countsJson(added),
    changed: countsJson(changed),
    removed: countsJson(removed),
    unchanged,
    written_bytes: writtenBytes,
    size_before: sizeBefore,
    size: sizeAfter,
    commit:
      commit === undefined
        ? null
        : { journal_seq: commit.seq, btree_nodes: commit.nodeCount, btree_bytes: commit.sizeBytes },
  };
}

/** Nothing is replaced: it is changed, or removed and added. */
function countsJson({ replaced: _, ...counts }: FileCounts): object {
  return counts;
}
