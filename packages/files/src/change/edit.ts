// A command that changes files: opens the filesystem for writing, lets the command do its work in one transaction, and commits it. It
// happened or it did not: whatever is thrown on the way, and whatever stops the process, leaves the filesystem as it was.
//
// No cleanup is registered for Ctrl-C: until the commit only free room is written to, and a commit survives being cut off anywhere.

import {
  type Context,
  changeRandom,
  creationTime,
  type FileCounts,
  type FilesystemArgs,
  GarbageLimit,
  KeptHoles,
  noCounts,
  type Out,
  openForWriting,
  type UndoFileArgs,
} from '@bcachefs-ts/command';
import {
  BatchedEdit,
  type CommitReport,
  declaredCompressionTypes,
  type FileEdit,
  type FileEditOptions,
  FileTree,
  loadChecksums,
  loadCompression,
  loadCompressors,
  type MemberSet,
  type RandomSource,
  systemRandom,
} from '@bcachefs-ts/core/engine';

/** What `filesystemWord` and `changeOptions` give. */
export interface ChangeArgs
  extends Omit<FilesystemArgs, 'devices' | 'degraded' | 'exclusive' | 'allow_missing'>,
    UndoFileArgs {
  readonly filesystem: string;
  readonly dry_run: boolean;
  readonly damaged_journal: boolean;
  readonly allow_missing: boolean;
  readonly seed: string | undefined;
}

/** What a command gets to work with. */
export interface FileChange {
  /** Another one after each `step`. */
  readonly edit: FileEdit;
  /** Names of devices. */
  readonly members: readonly string[];
  /** The indexes of members, by the names of their devices. */
  readonly memberIndexes: ReadonlyMap<string, number>;
  /** Nothing is committed, and contents need not be written. */
  readonly isDryRun: boolean;
  /** Nanoseconds since 1970: of the whole change. */
  readonly nowNs: bigint;
  /** Whether SOURCE_DATE_EPOCH said so. */
  readonly isFixedTime: boolean;
  /** The files as they have become by now; until the next `step`. */
  tree(): FileTree;
  /** Between two files of many: bounds the memory. */
  step(): void;
}

/** What it did. */
export interface Done {
  /** One line, without a full stop: `removed 3 files`. */
  readonly summary: string;
  readonly counts?: FileCounts;
  /** There was nothing to do: nothing is committed. */
  readonly isUnchanged?: boolean;
}

export interface ChangeResult {
  readonly uuid: string;
  readonly members: readonly string[];
  readonly isDryRun: boolean;
  readonly summary: string;
  readonly counts: FileCounts;
  /** Undefined when nothing was written. */
  readonly commit: CommitReport | undefined;
}

/** What a command that writes no files may write without a look at the image's holes: some nodes of btrees. */
const SMALL_BYTES = 4 << 20;

export interface ChangeOptions extends Pick<FileEditOptions, 'makesRoom'> {
  /** Data are written, which may have to be compressed. */
  readonly writesFiles?: boolean;
}

/** @throws what openForWriting and the command throw, and NoSpaceError; the filesystem is then as it was */
export async function changeFiles(
  context: Context,
  args: ChangeArgs,
  work: (change: FileChange) => Done | Promise<Done>,
  { writesFiles = false, ...options }: ChangeOptions = {},
): Promise<ChangeResult> {
  await loadChecksums();
  const { nowNs, isFixed: isFixedTime } = creationTime(context);
  let random: RandomSource = systemRandom;
  const { filesystem: word, ...others } = args;
  const writerOptions = (set: MemberSet) => {
    random = changeRandom(set, args.seed);
    return { random, now: () => nowNs / 1_000_000_000n, allowDamagedJournal: args.damaged_journal };
  };
  const images: KeptHoles[] = [];
  const writer = await openForWriting(context, { ...others, devices: [word] }, writerOptions, device => {
    const image = new KeptHoles(device, writesFiles ? 0 : SMALL_BYTES);
    images.push(image);
    return image;
  });
  try {
    const types = declaredCompressionTypes(writer.filesystem.sb);
    await loadCompression(types);
    if (writesFiles) await loadCompressors(types);
    const { user_uuid: uuid } = writer.filesystem.sb;
    const { set } = writer.filesystem;
    const members = set.members.map(({ device }) => device.name);
    const memberIndexes = new Map(set.members.map(({ device, sb }) => [device.name, sb.dev_idx]));
    const onDamage = args.damaged_journal ? (damage: Error) => context.warn(damage.message) : undefined;
    const batches = new BatchedEdit(writer, {
      random,
      now: () => nowNs,
      onDamage,
      isOneCommit: true,
      ...options,
    });
    const isDryRun = args.dry_run;
    const garbage = new GarbageLimit();
    const done = await work({
      get edit() {
        return batches.edit;
      },
      members,
      memberIndexes,
      isDryRun,
      nowNs,
      isFixedTime,
      tree() {
        batches.edit.content.flush();
        return FileTree.open(batches.edit.tx, { table: batches.edit.files.table });
      },
      // A dry run keeps all of it in memory, since nothing is to be written.
      step() {
        garbage.step();
        if (!isDryRun) batches.step();
      },
    });
    const commit = isDryRun || done.isUnchanged ? undefined : batches.finish();
    return { uuid, members, isDryRun, summary: done.summary, counts: done.counts ?? noCounts(), commit };
  } catch (thrown) {
    // Up to the commit only free room was written to, which need not keep blocks of the host.
    if (!writer.isUnfinished) giveBack(context, images);
    throw thrown;
  } finally {
    writer.filesystem.close();
  }
}

/** What stopped the change is what counts: room that stays taken on the host is only worth a warning. */
function giveBack(context: Context, images: readonly KeptHoles[]): void {
  for (const image of images) {
    try {
      image.giveBack();
    } catch (failure) {
      if (!(failure instanceof Error)) throw failure;
      context.warn(`${image.name}: what the failed change wrote still takes room on the host: ${failure.message}`);
    }
  }
}

export function printChange({ summary, isDryRun }: ChangeResult, out: Out): void {
  out.line(isDryRun ? `dry run, nothing was written: ${summary}` : summary);
}

/** The JSON of all commands that change files: docs/json/change.md. */
export function changeJson({ uuid, members, isDryRun, summary, counts, commit }: ChangeResult): object {
  return {
    filesystem: uuid,
    members,
    dry_run: isDryRun,
    summary,
    counts,
    commit:
      commit === undefined
        ? null
        : { journal_seq: commit.seq, btree_nodes: commit.nodeCount, btree_bytes: commit.sizeBytes },
  };
}
