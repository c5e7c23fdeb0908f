// Filesystems that open although something in them is not as it should be, being changed: superblocks with fields that mean nothing, nodes
// and journals with other keys, all with right checksums. A change either is refused with an error that is thrown on purpose, and then
// nothing was written that counts; or it is made, and the filesystem opens again, no worse in the eyes of the checker than it was.

import {
  BchSb,
  type BlockDevice,
  CorruptError,
  checkInvariants,
  DeviceError,
  editSuperblock,
  encryptionOf,
  FileEdit,
  FileError,
  type FileRef,
  Filesystem,
  FilesystemWriter,
  FileTree,
  findingText,
  IncompatibleError,
  masterKey,
  NoSpaceError,
  OverlayDevice,
  openMember,
  openMembers,
  option,
  planRecovery,
  RecordingDevice,
  readBytes,
  readReplayState,
  recoverSuperblock,
  type Superblock,
  seededRandom,
  shrinkMember,
  smallestBucketCount,
  superblockBytes,
  UsageError,
  viewOf,
  withCountersReset,
  withDeviceOption,
  withFilesystemOption,
  withOption,
  withPassphrase,
} from '@bcachefs-ts/core/engine';
import { type SourceEntry, type UpdateOptions, updateFiles } from '@bcachefs-ts/sources';
import { journalRanges } from '../support/commits.ts';
import { type Random, randomFrom } from '../support/random.ts';
import { mutant, originals } from './mutants.ts';
import { mutate, mutateFields } from './superblock-mutants.ts';

/** What became of one change. */
export interface Changed {
  readonly end: 'refused' | 'made';
  /** The error's name, where it was refused. */
  readonly error?: string;
  /** The original had nothing wrong before, nor has it now. */
  readonly isSound?: boolean;
}

const SB_OFFSET_BYTES = 4096;
const text = new TextEncoder();

/** @throws Error for what must not be */
export function changeMutant(kind: 'superblocks' | 'contents', seed: number, nr: number): Changed {
  const random = randomFrom(seed + nr);
  const original = originals[nr % originals.length]!;
  const key = original.key;
  const mutated: readonly BlockDevice[] =
    kind === 'contents'
      ? mutant(original, random, random.below(4) > 0).set.members.map(({ device }) => device)
      : original.set.members.map(({ device }) => new OverlayDevice(device));
  if (kind === 'superblocks') mutateSuperblocks(mutated, random);
  const overlays = mutated.map(device => new OverlayDevice(device));
  const devices = overlays.map(device => new RecordingDevice(device));
  /** How many events of each device belong to commits that were made. */
  const committed = devices.map(() => 0);
  const change = random.pick(kind === 'contents' || random.below(3) > 0 ? FILE_CHANGES : SUPERBLOCK_CHANGES);
  try {
    change.run(devices, key, random, () => {
      for (const [i, device] of devices.entries()) committed[i] = device.events.length;
    });
  } catch (thrown) {
    if (!isTyped(thrown)) throw new Error(`${change.name}: ${messageOf(thrown)}`, { cause: thrown });
    refuseWrites(devices, committed, change, thrown);
    return {
      end: 'refused',
      error: thrown instanceof CorruptError || thrown instanceof IncompatibleError ? thrown.error : thrown.name,
    };
  }
  try {
    let before: readonly string[];
    try {
      before = findingsOf(mutated, key);
    } catch (thrown) {
      // Superblocks can be changed where nothing else can be read.
      if (!isTyped(thrown) || !SUPERBLOCK_CHANGES.includes(change)) throw thrown;
      // Nor has it become what cannot be opened; where that was so before, it is of another member.
      if (canOpen(mutated)) openMembers(overlays);
      return { end: 'made', isSound: false };
    }
    const after = findingsOf(overlays, key);
    if (before.length === 0 && after.length > 0) throw new Error(`the checker finds ${after.slice(0, 5).join('; ')}`);
    return { end: 'made', isSound: before.length === 0 };
  } catch (thrown) {
    throw new Error(`after ${change.name}: ${messageOf(thrown)}`, { cause: thrown });
  }
}

function canOpen(devices: readonly BlockDevice[]): boolean {
  try {
    openMembers(devices);
    return true;
  } catch (thrown) {
    if (!isTyped(thrown)) throw thrown;
    return false;
  }
}

const messageOf = (thrown: unknown) => (thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown));

const isTyped = (thrown: unknown): thrown is Error =>
  [CorruptError, IncompatibleError, DeviceError, NoSpaceError, UsageError].some(kind => thrown instanceof kind);

/** Data may have gone where nothing is; nothing else. */
function refuseWrites(
  devices: readonly RecordingDevice[],
  committed: readonly number[],
  change: FileChange,
  thrown: Error,
): void {
  if (change.isMany) return;
  for (const [i, device] of devices.entries()) {
    const writes = device.events.slice(committed[i]).filter(event => event.kind === 'write');
    if (writes.length === 0) continue;
    const counts = change.writesData ? placesThatCount(device) : [{ offset: 0, length: device.sizeBytes }];
    for (const { offset, bytes } of writes) {
      if (counts.every(place => offset >= place.offset + place.length || offset + bytes.length <= place.offset))
        continue;
      const where = `${bytes.length} bytes at ${offset} of ${device.name}`;
      throw new Error(`${change.name} was refused after writing ${where}: ${messageOf(thrown)}`);
    }
  }
}

/** Superblocks and the journal. */
function placesThatCount(device: BlockDevice) {
  const { layout } = openMember(device).sb;
  const length = 512 * 2 ** layout.sb_max_size_bits;
  const copies = layout.sb_offset
    .slice(0, layout.nr_superblocks)
    .map(sector => ({ offset: 512 * Number(sector), length }));
  return [{ offset: 0, length: SB_OFFSET_BYTES }, ...copies, ...journalRanges(device)];
}

function findingsOf(devices: readonly BlockDevice[], key: Uint8Array | undefined): readonly string[] {
  const set = openMembers(devices);
  const filesystem = new Filesystem(set, readReplayState(set, key), key);
  return checkInvariants(filesystem).findings.map(findingText);
}

/** The first copy of one member: the one that is read. */
function mutateSuperblocks(devices: readonly BlockDevice[], random: Random): void {
  const device = random.pick(devices);
  const header = readBytes(device, SB_OFFSET_BYTES, BchSb.size);
  const bytes = readBytes(device, SB_OFFSET_BYTES, superblockBytes(viewOf(header), 0));
  device.write(SB_OFFSET_BYTES, random.below(3) === 0 ? mutate(bytes, random) : mutateFields(bytes, random));
}

interface FileChange {
  readonly name: string;
  /** Before the commit. */
  readonly writesData?: boolean;
  /** Several commits, of which the later ones may be refused. */
  readonly isMany?: boolean;
  /** @param onCommit called after each commit: what comes after it may be refused all the same */
  readonly run: (
    devices: readonly BlockDevice[],
    key: Uint8Array | undefined,
    random: Random,
    onCommit: () => void,
  ) => void;
}

const superblockChange = (name: string, change: (sb: Superblock) => Superblock): FileChange => ({
  name,
  run: devices => void editSuperblock(openMembers(devices), change, { now: 1_800_000_000n, allowMissing: true }),
});

const SUPERBLOCK_CHANGES: readonly FileChange[] = [
  superblockChange('an option', sb => withOption(sb, 'errors', 1)),
  superblockChange('counters', sb => withCountersReset(sb)),
  superblockChange('a label', sb => withDeviceOption(sb, sb.dev_idx, option('label'), 'a.b.c')),
  superblockChange('durability', sb => withDeviceOption(sb, 0, option('durability'), 2)),
  superblockChange('a target', sb => withFilesystemOption(sb, option('promote_target'), 'ssd', '1.13', new Map())),
  superblockChange('a passphrase', sb => withPassphrase(sb, masterKey(sb, undefined) ?? new Uint8Array(32), undefined)),
  { name: 'recovery', run: ([first]) => recoverSuperblock(first!, planRecovery(first!)) },
];

interface Found {
  readonly directory: FileRef;
  readonly name: Uint8Array;
  readonly ref: FileRef;
}

const fileChange = (
  name: string,
  change: (edit: FileEdit, random: Random, found: readonly Found[]) => void,
  writesData = false,
): FileChange => ({
  name,
  writesData,
  run: (devices, key, random, onCommit) => {
    let clock = 1_800_000_000_000_000_000n;
    const common = { random: seededRandom(`${random.seed}`), now: () => (clock += 1_000_003n) };
    const set = openMembers(devices);
    // A superblock may say now that its filesystem is not encrypted, or that another is.
    const own = encryptionOf(set.newest.sb) === 'none' ? undefined : key;
    const writer = new FilesystemWriter(set, {
      ...common,
      key: own,
      now: () => clock / 10n ** 9n,
      allowDamagedJournal: random.below(2) === 0,
    });
    for (let commits = 1 + random.below(2); commits > 0; commits--) {
      const onDamage = random.below(4) === 0 ? () => {} : undefined;
      const edit = new FileEdit(writer, { ...common, onDamage });
      try {
        change(edit, random, filesIn(edit));
      } catch (thrown) {
        // What files do not allow (a directory that is not empty), no fault of the filesystem's: the rest is committed.
        if (!(thrown instanceof FileError)) throw thrown;
      }
      edit.commit();
      onCommit();
      // A second one begins on what the first made, and may be refused for what it finds there.
      if (commits > 1 && random.below(2) === 0) break;
    }
  },
});

/** Names that are there, some of them, as far as they can be read. */
function filesIn({ tx }: FileEdit): readonly Found[] {
  const found: Found[] = [];
  const tree = FileTree.open(tx, { onDamage: () => {} });
  for (const { entry, node } of tree.walk()) {
    if (entry === undefined || node === undefined) continue;
    found.push({ ...entry, ref: { subvolume: node.subvolume, inum: node.inum } });
    if (found.length === 200) break;
  }
  return found;
}

const UPDATE: UpdateOptions = {
  subvolumes: [],
  fixedTimeNs: undefined,
  trustsTimes: false,
  linkPaths: () => [],
  onBytes: () => {},
  onCopiedLink: () => {},
};

/** What an update leaves: a directory with a file in it, and nothing else. */
function fewEntries(): readonly SourceEntry[] {
  const attributes = { mode: 0o755, uid: 0, gid: 0, mtimeNs: 1n, atimeNs: 1n, ctimeNs: 1n, btimeNs: 1n, xattrs: [] };
  const bytes = new Uint8Array(5000).fill(1);
  const chunks = () => [{ kind: 'data', offset: 0, length: bytes.length, bytes } as const];
  const place = (path: string, depth: number) => ({
    path: text.encode(path),
    name: text.encode(path.split('/').at(-1)),
    depth,
  });
  return [
    { type: 'dir', ...place('', 0), ...attributes },
    { type: 'dir', ...place('d', 1), ...attributes },
    { type: 'file', ...place('d/f', 2), ...attributes, linkId: undefined, sizeBytes: bytes.length, chunks },
  ];
}

const FILE_CHANGES: readonly FileChange[] = [
  fileChange('new names', ({ files, content }, random, found) => {
    const directory = random.below(2) === 0 || found.length === 0 ? files.root() : random.pick(found).directory;
    const made = files.create(directory, text.encode('made'), { mode: 0o040755 });
    content.write(files.create(made, text.encode('short'), { mode: 0o100644 }), 0, text.encode('inline'));
    files.setXattr(made, 'user.changed', text.encode('value'));
  }),
  fileChange('names removed', ({ files }, random, found) => {
    for (let count = 1 + random.below(8); count > 0 && found.length > 0; count--) {
      const { directory, name } = random.pick(found);
      if (files.lookup(directory, name) !== undefined) files.remove(directory, name);
    }
  }),
  fileChange('names moved', ({ files }, random, found) => {
    if (found.length === 0) return;
    const { directory, name } = random.pick(found);
    files.rename(directory, name, files.root(), text.encode('moved'));
    const other = random.pick(found);
    if (files.lookup(other.directory, other.name) !== undefined)
      files.link(files.root(), text.encode('linked'), other.ref);
  }),
  fileChange('a subvolume and its snapshot', ({ files }) => {
    const volume = files.createSubvolume(files.root(), text.encode('new volume'));
    files.create(volume, text.encode('in it'), { mode: 0o100644 });
    files.createSnapshot(files.root(), text.encode('new snapshot'), volume.subvolume);
  }),
  fileChange('a snapshot', ({ files }, random) => {
    const ids = files.table.subvolumes().map(({ id }) => id);
    if (ids.length > 0) files.createSnapshot(files.root(), text.encode('of another'), random.pick(ids));
  }),
  fileChange('a subvolume deleted', ({ files }, random, found) => {
    const volumes = found.filter(({ directory, ref }) => directory.subvolume !== ref.subvolume);
    if (volumes.length === 0) return;
    const { directory, name } = random.pick(volumes);
    files.deleteSubvolume(directory, name);
  }),
  fileChange(
    'a long file',
    ({ files, content }) => {
      const made = files.create(files.root(), text.encode('long'), { mode: 0o100644 });
      content.write(made, 0, new Uint8Array(100_000).fill(7));
    },
    true,
  ),
  fileChange(
    'contents changed',
    ({ files, content }, random, found) => {
      for (let count = 4; count > 0 && found.length > 0; count--) {
        const { ref } = random.pick(found);
        const { bi_size, bi_mode } = files.inode(ref);
        if (bi_mode >> 12 !== 8) continue;
        if (random.below(2) === 0) content.truncate(ref, random.below(Math.min(Number(bi_size), 2 ** 30) + 1));
        else content.write(ref, random.below(20_000), text.encode('in between'));
      }
    },
    true,
  ),
  fileChange(
    'an update',
    (edit, _random, found) => {
      // An update refuses to take one away; those inside of others go first.
      const volumes = found.filter(({ directory, ref }) => directory.subvolume !== ref.subvolume).toReversed();
      for (const { directory, name } of volumes) edit.files.deleteSubvolume(directory, name);
      const session = { edit, change: () => edit, step: () => {}, isDryRun: false };
      for (const _ of updateFiles(session, fewEntries(), UPDATE));
    },
    true,
  ),
  {
    name: 'a smaller member',
    writesData: true,
    isMany: true,
    run: (devices, key, random) => {
      const set = openMembers(devices);
      const own = encryptionOf(set.newest.sb) === 'none' ? undefined : key;
      const writer = new FilesystemWriter(set, {
        random: seededRandom(`${random.seed}`),
        now: () => 1_800_000_000n,
        key: own,
      });
      shrinkMember(
        writer,
        0,
        random.below(2) === 0 ? 'min' : smallestBucketCount(writer.filesystem, 0) + random.below(50),
      );
    },
  },
];

/** For a test of the tests: nothing was mutated. */
export function changeOriginals(
  name: string,
): readonly { readonly name: string; readonly findings: readonly string[] }[] {
  const { set, key } = originals.find(original => original.name === name)!;
  return FILE_CHANGES.map(change => {
    const devices = set.members.map(({ device }) => new OverlayDevice(device));
    change.run(devices, key, randomFrom(1), () => {});
    return { name: change.name, findings: findingsOf(devices, key) };
  });
}
