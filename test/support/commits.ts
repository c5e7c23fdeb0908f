// Changes of every kind to a filesystem, a few to each commit: random ones to files of its own and to those that it came with, and
// subvolumes made, snapshotted, changed and deleted.

import {
  type BlockDevice,
  type ByteRange,
  decodeJournalV2,
  FileEdit,
  type FileRef,
  FilesystemWriter,
  FileTree,
  journalBuckets,
  members,
  openMember,
  openMembers,
  type RandomSource,
  sectionPayload,
  sectorsToBytes,
  seededRandom,
  type WriterOptions,
} from '@bcachefs-ts/core/engine';
import { FileModel } from './file-model.ts';
import { formattedImage, type MemoryImage, MIB } from './memory-images.ts';
import type { Random } from './random.ts';

const TOP = 'changed here';
const text = new TextEncoder();
const [REG, DIR] = [8, 4];

export interface CommitOptions {
  readonly random: RandomSource;
  /** Nanoseconds since 1970. */
  readonly now: () => bigint;
}

/** A writer whose numbers and times are the same each time. */
export function writerOn(
  devices: readonly BlockDevice[],
  key: Uint8Array | undefined,
  seed: number,
  more: Pick<WriterOptions, 'allowMissing'> = {},
) {
  let clock = 1_800_000_000_000_000_000n;
  const options: CommitOptions = { random: seededRandom(`${seed}`), now: () => (clock += 1_000_003n) };
  const writer = new FilesystemWriter(openMembers(devices), { ...options, ...more, key, now: () => clock / 10n ** 9n });
  return { writer, options };
}

/** A filesystem of ours of which every journal bucket holds an entry, so that the next ones are written over others. */
export function wornImage(seed: number): MemoryImage {
  const { devices, key } = formattedImage({ sizeBytes: 16 * MIB });
  const { writer, options } = writerOn(devices, key, seed);
  const count = devices.flatMap(journalRanges).length;
  for (let nr = 0; nr <= count; nr++) {
    const edit = new FileEdit(writer, options);
    edit.files.setXattr(edit.files.root(), 'user.nr', text.encode(`${nr}`));
    edit.commit();
  }
  return { devices, key };
}

/** Where a member's journal buckets are. */
export function journalRanges(device: BlockDevice): readonly ByteRange[] {
  const { sb } = openMember(device);
  const payload = sectionPayload(sb, 'journal_v2');
  const length = sectorsToBytes(members(sb)[sb.dev_idx]?.bucket_size ?? 0);
  return payload === undefined
    ? []
    : journalBuckets(decodeJournalV2(payload)).map(bucket => ({ offset: bucket * length, length }));
}

export interface PreparedCommit {
  readonly name: string;
  /** Begins anew over what is there, and leaves the commit to the caller. */
  readonly edit: () => FileEdit;
}

/** A change that is being made. */
interface Making {
  /** Another one after each part. */
  edit: FileEdit;
  /** What was done so far is a part, to be written before the rest; or not, where all is to be in memory until the commit. */
  endPart(): void;
}

/**
 * The commits, to be done one after the other.
 * @param steps random changes of files
 * @param isStaged whether they are made in parts
 */
export function commitsOf(
  writer: FilesystemWriter,
  random: Random,
  options: CommitOptions,
  steps: number,
  isStaged = false,
): readonly PreparedCommit[] {
  const commitInParts = (name: string, change: (making: Making) => void): PreparedCommit => ({
    name,
    edit: () => {
      const making: Making = {
        edit: new FileEdit(writer, options),
        endPart() {
          if (isStaged) this.edit = this.edit.stage();
        },
      };
      change(making);
      return making.edit;
    },
  });
  const commit = (name: string, ...parts: readonly ((edit: FileEdit) => void)[]): PreparedCommit =>
    commitInParts(name, making => {
      for (const [nr, part] of parts.entries()) {
        if (nr > 0) making.endPart();
        part(making.edit);
      }
    });
  const inTop = (edit: FileEdit, name: string) => edit.files.lookup(topOf(edit), text.encode(name))!;
  return [
    commitInParts('files', making => {
      const top = topOf(making.edit);
      const model = new FileModel(random);
      for (let step = 0; step < steps; step++) {
        model.step(making.edit, top);
        if (step % 4 === 3) making.endPart();
      }
      const { edit } = making;
      writeFile(edit, top, 'at least', 60_000);
      edit.content.flush();
      changeOthers(edit, random);
    }),
    commit(
      'a subvolume',
      edit => writeFile(edit, edit.files.createSubvolume(topOf(edit), text.encode('volume')), 'kept', 30_000),
      edit => writeFile(edit, inTop(edit, 'volume'), 'changed', 30_000),
    ),
    commit(
      'a snapshot',
      edit => edit.files.createSnapshot(topOf(edit), text.encode('snapshot'), inTop(edit, 'volume').subvolume),
      edit => {
        const volume = inTop(edit, 'volume');
        writeFile(edit, volume, 'new', 100);
        edit.content.write(edit.files.lookup(volume, text.encode('changed'))!, 5000, text.encode('in between'));
        edit.files.remove(volume, text.encode('kept'));
      },
    ),
    commit(
      'a subvolume deleted',
      edit => edit.files.deleteSubvolume(topOf(edit), text.encode('volume')),
      edit => edit.files.rename(topOf(edit), text.encode('snapshot'), edit.files.root(), text.encode('the last')),
    ),
  ];
}

function topOf(edit: FileEdit): FileRef {
  const root = edit.files.root();
  const name = text.encode(TOP);
  return edit.files.lookup(root, name) ?? edit.files.create(root, name, { mode: 0o040755 });
}

function writeFile(edit: FileEdit, directory: FileRef, name: string, sizeBytes: number): void {
  const ref = edit.files.create(directory, text.encode(name), { mode: 0o100644 });
  edit.content.write(ref, 0, text.encode('some text, '.repeat(Math.ceil(sizeBytes / 11))).subarray(0, sizeBytes));
}

/** Files that were there before: removed, cut, written into, renamed, given attributes. */
function changeOthers(edit: FileEdit, random: Random): void {
  const { files, content } = edit;
  const top = topOf(edit);
  const tree = FileTree.open(edit.tx);
  const found: { directory: FileRef; name: Uint8Array; ref: FileRef; type: number }[] = [];
  for (const { entry, node, path } of tree.walk()) {
    if (entry === undefined || node === undefined || Buffer.from(path).toString().startsWith(TOP)) continue;
    if (entry.type !== REG && entry.type !== DIR) continue;
    if (tree.table.subvolume(entry.directory.subvolume)?.isReadOnly || tree.table.subvolume(node.subvolume)?.isReadOnly)
      continue;
    found.push({ ...entry, ref: { subvolume: node.subvolume, inum: node.inum } });
  }
  for (let change = 0; change < 8 && found.length > 0; change++) {
    const [one] = found.splice(random.below(found.length), 1);
    if (one === undefined || files.lookup(one.directory, one.name)?.inum !== one.ref.inum) continue;
    const kind = one.type === DIR ? 4 : random.below(5);
    const to = one.directory.subvolume === top.subvolume ? top : one.directory;
    if (kind === 0) files.remove(one.directory, one.name);
    else if (kind === 1) content.truncate(one.ref, random.below(Number(files.inode(one.ref).bi_size) + 1));
    else if (kind === 2) content.write(one.ref, random.below(20_000), text.encode('in between'));
    else if (kind === 3) files.rename(one.directory, one.name, to, text.encode(`renamed ${change}`));
    else files.setXattr(one.ref, 'user.changed', text.encode(`change ${change}`));
  }
}
