// The one opener of all commands: from the words of a command line to a filesystem that is open for reading, for looking around in what is
// left of it, or for writing; or to its members alone, for what only concerns superblocks. Every word may be a device, an image, several joined
// by colons, or a directory of images.

import {
  type BlockDevice,
  CorruptError,
  encryptionOf,
  type FileDevice,
  Filesystem,
  FilesystemWriter,
  type FindMembersOptions,
  filesystemOf,
  findFilesystems,
  findMasterKey,
  findMembers,
  keyToWriteWith,
  locationText,
  type MemberSet,
  masterKey,
  memberPaths,
  memberText,
  missingText,
  NO_REPLAY,
  OverlayDevice,
  openDevice,
  openMembers,
  refuseContestedKey,
  refuseUnwritable,
  type SameFilesystem,
  shortfallText,
  staleMembers,
  UsageError,
  type WriterOptions,
} from '@bcachefs-ts/core/engine';
import type { Context } from './context.ts';
import { PASSPHRASE_VARIABLE, readPassphrase } from './passphrase.ts';
import { type UndoFileArgs, type UndoWrap, undoWrap } from './undo-file.ts';

export const passphraseOption = {
  passphrase_file: {
    type: 'string',
    value: 'FILE',
    file: true,
    help: `read the passphrase from this file, - for a line of standard input; else from the environment's ${PASSPHRASE_VARIABLE}, else it is asked for`,
  },
} as const;

/** How a filesystem is chosen and opened for reading, for every command that has `devicesPositional`. */
export const filesystemOptions = {
  uuid: {
    type: 'string',
    value: 'UUID',
    parse: parseUuid,
    help: 'the filesystem that is meant, where the devices belong to several; the others are left out',
  },
  degraded: { type: 'flag', help: 'do not warn about missing members' },
  ...passphraseOption,
} as const;

/** For commands whose further words are paths: one word names all members. */
export const filesystemPositional = {
  count: 'one',
  file: true,
  help: 'a device or image, several members joined by colons, or a directory of images',
} as const;

/** For commands that write. Members that are not there are an error, unless this option is given. */
export const allowMissingOption = {
  allow_missing: {
    type: 'flag',
    help: 'go on when members are missing; they keep the old state until a kernel brings them up to date',
  },
} as const;

export const devicesPositional = {
  devices: {
    count: 'some',
    file: true,
    help: 'the members, in any order: devices, images, several joined by colons, or a directory of images',
  },
} as const;

/** What `devicesPositional` and `filesystemOptions` give; commands with the passphrase's option only take no others. */
export interface FilesystemArgs {
  readonly devices: readonly string[];
  readonly passphrase_file: string | undefined;
  readonly uuid?: string | undefined;
  readonly degraded?: boolean;
  /** Refuse devices that something else uses. */
  readonly exclusive?: boolean;
  /** Write although members are missing. */
  readonly allow_missing?: boolean;
  /** Opened for writing, only read the devices: what is written stays in memory. */
  readonly isTrial?: boolean;
}

const overlaid: UndoWrap = device => new OverlayDevice(device);

/**
 * Opens for reading although members are missing, which is reported. The caller closes it.
 * @throws UsageError, DeviceError, CorruptError, IncompatibleError as openFilesystem does
 */
export async function openForReading(context: Context, args: FilesystemArgs): Promise<Filesystem> {
  return await openSet(context, findMembersForReading(context, args), args);
}

/**
 * Opens every filesystem that the devices belong to, one after the other; each is closed when the next one is asked for.
 * @throws as openForReading does
 */
export async function* openEachForReading(context: Context, args: FilesystemArgs): AsyncGenerator<Filesystem> {
  const sets = findFilesystems(args.devices, searchOf(context, args));
  try {
    for (const set of sets) {
      reportMembers(context, set, args);
      const filesystem = await openSet(context, set, args);
      try {
        yield filesystem;
      } finally {
        filesystem.close();
      }
    }
  } finally {
    for (const set of sets) closeSet(set);
  }
}

/**
 * The members alone, without opening the filesystem; missing and stale ones are reported. The caller closes their devices.
 * @throws as findMembers does
 */
export function findMembersForReading(context: Context, args: FilesystemArgs): MemberSet {
  const set = findMembers(args.devices, searchOf(context, args));
  reportMembers(context, set, args);
  return set;
}

/**
 * Opens all members for writing, and for nothing else: until then, none may be mounted. The caller closes the devices of
 * `writer.filesystem`.
 * @param options made when the superblock is known
 * @throws UsageError for missing members and wrong passphrases; IncompatibleError for versions that are not written; DeviceError,
 * CorruptError, also for a damaged journal where `allowDamagedJournal` is not set
 */
export async function openForWriting(
  context: Context,
  args: FilesystemArgs & UndoFileArgs,
  options: (set: MemberSet) => Omit<WriterOptions, 'key'>,
  wrap: (device: FileDevice) => BlockDevice = device => device,
): Promise<FilesystemWriter> {
  const devices: BlockDevice[] = [];
  const undoable = undoWrap(context, args);
  try {
    for (const path of memberPathsOf(context, args)) {
      if (args.isTrial) devices.push(new OverlayDevice(openDevice(path, { write: false, exclusive: true })));
      else devices.push(undoable(wrap(openDevice(path, { write: true }))));
    }
    const set = openMembers(devices);
    const allowMissing = args.allow_missing ?? false;
    // Before a passphrase is asked for.
    refuseUnwritable(set, { allowMissing });
    reportMembers(context, set, args);
    const given = options(set);
    const key = await masterKeyOf(context, set, args);
    const writer = new FilesystemWriter(set, { allowMissing, ...given, key });
    reportProblems(context, writer.filesystem);
    return writer;
  } catch (thrown) {
    for (const device of devices) device.close();
    throw thrown;
  }
}

export interface MembersRequest {
  readonly write: boolean;
  /** What counts as the same filesystem; by default, that the internal UUIDs are equal. */
  readonly isSame?: SameFilesystem | undefined;
}

/**
 * Runs `use` with the members of one filesystem open: all of them or none, closed whatever happens. For what only concerns superblocks.
 * @throws UsageError when they are of several filesystems; DeviceError, CorruptError, IncompatibleError; what `use` throws
 */
export function withMembers<T>(
  context: Context,
  args: Pick<FilesystemArgs, 'devices' | 'uuid'> & UndoFileArgs,
  { write, isSame }: MembersRequest,
  use: (set: MemberSet) => T,
): T {
  const opened: BlockDevice[] = [];
  const undoable = write ? undoWrap(context, args) : (device: BlockDevice) => device;
  try {
    for (const path of memberPathsOf(context, args)) opened.push(undoable(openDevice(path, { write })));
    const set = openMembers(opened, isSame);
    if (write) refuseContestedKey(set);
    return use(set);
  } finally {
    for (const device of opened) device.close();
  }
}

/**
 * The same for what asks somebody in between: the members stay open, for nothing else, until it is done. With `isTrial` the devices are only
 * read, and what is written stays in memory.
 */
export async function withMembersOpen<T>(
  context: Context,
  args: Pick<FilesystemArgs, 'devices' | 'uuid' | 'isTrial'> & UndoFileArgs,
  use: (set: MemberSet) => Promise<T>,
): Promise<T> {
  const opened: BlockDevice[] = [];
  const isTrial = args.isTrial === true;
  const undoable = isTrial ? overlaid : undoWrap(context, args);
  try {
    for (const path of memberPathsOf(context, args))
      opened.push(undoable(openDevice(path, { write: !isTrial, exclusive: true })));
    const set = openMembers(opened);
    refuseContestedKey(set);
    return await use(set);
  } finally {
    for (const device of opened) device.close();
  }
}

/** Runs `use` with one device open, whatever is on it. @param undoable see undoWrap, for writing */
export function withDevice<T>(
  path: string,
  write: boolean,
  use: (device: BlockDevice) => T,
  undoable: UndoWrap = device => device,
): T {
  const device = undoable(openDevice(path, { write }));
  try {
    return use(device);
  } finally {
    device.close();
  }
}

/** The paths of all members that are meant. Without a UUID to choose by, nothing has to be readable on them yet. */
function memberPathsOf(context: Context, args: Pick<FilesystemArgs, 'devices' | 'uuid'>): readonly string[] {
  if (args.uuid === undefined) return memberPaths(args.devices);
  const set = findMembers(args.devices, searchOf(context, args));
  closeSet(set);
  return set.members.map(({ device }) => device.name);
}

/**
 * The key of an encrypted filesystem, to write with, for those that have their members open already.
 * @throws UsageError for a wrong passphrase; CorruptError for a key that is not the filesystem's
 */
export async function masterKeyOf(
  context: Context,
  set: MemberSet,
  args: Pick<FilesystemArgs, 'passphrase_file'>,
): Promise<Uint8Array | undefined> {
  const { sb } = set.newest;
  const encryption = encryptionOf(sb);
  if (encryption === 'none') return undefined;
  const passphrase = encryption === 'passphrase' ? await passphraseFor(context, args.passphrase_file) : undefined;
  const found = findMasterKey(set, passphrase);
  if (found === undefined) throw new UsageError('wrong passphrase', undefined, 'wrong_passphrase');
  return keyToWriteWith(found);
}

function searchOf(
  context: Context,
  { uuid, exclusive = false }: Pick<FilesystemArgs, 'uuid' | 'exclusive'>,
): FindMembersOptions {
  return { uuid, exclusive, onUnreadable: error => context.warn(`${error.message}; left out`) };
}

function reportMembers(context: Context, set: MemberSet, { degraded }: FilesystemArgs): void {
  if (set.missing.length > 0 && !degraded) context.warn(`${missingText(set)}; what is only there cannot be read`);
  for (const { device, reading } of set.members) {
    const [first] = reading.failures;
    if (first === undefined) continue;
    context.warn(
      `${device.name}: the superblock at sector ${first.sector} cannot be used (${first.message}); the copy at sector ${reading.sector} ` +
        'is; recover-super writes it back',
    );
  }
  for (const { device, sb } of set.members) {
    const shortfall = shortfallText(device, set.newest.sb, sb.dev_idx);
    if (shortfall !== undefined) context.warn(`${device.name}: ${shortfall}`);
  }
  for (const { device, sb } of staleMembers(set)) {
    const { newest } = set;
    context.warn(
      `${device.name}: ${memberText(newest.sb, sb.dev_idx)} has an older superblock (number ${sb.seq}) than ${newest.device.name} ` +
        `(number ${newest.sb.seq}): it was not there when the filesystem was last written to, and what it holds may be out of date`,
    );
  }
}

/**
 * Opens a filesystem also when nothing says where its btrees are: superblocks and journal can be looked at all the same. Values of keys are
 * reported as they stand.
 * @throws as openForReading does, but for CorruptError of the journal
 */
export async function openForLooking(context: Context, args: FilesystemArgs): Promise<Filesystem> {
  const set = findMembersForReading(context, args);
  return await openSet(context, set, args, (thrown, passphrase) => {
    // With a wrong key, all that could be looked at is noise.
    if (!(thrown instanceof CorruptError) || thrown.error === 'master_key_wrong') throw thrown;
    context.warn(`${thrown.message}; only superblocks and the journal are known`);
    const { sb } = set.newest;
    const key = encryptionOf(sb) === 'none' ? undefined : masterKey(sb, passphrase);
    return new Filesystem(set, NO_REPLAY, key);
  });
}

/** Closes the set when it cannot be opened. @param otherwise what to do with what opening throws */
async function openSet(
  context: Context,
  set: MemberSet,
  args: FilesystemArgs,
  otherwise: (thrown: unknown, passphrase: Uint8Array | undefined) => Filesystem = thrown => {
    throw thrown;
  },
): Promise<Filesystem> {
  try {
    const isSealed = encryptionOf(set.newest.sb) === 'passphrase';
    const passphrase = isSealed ? await passphraseFor(context, args.passphrase_file) : undefined;
    try {
      const filesystem = filesystemOf(set, { degraded: true, passphrase });
      reportProblems(context, filesystem);
      return filesystem;
    } catch (thrown) {
      return otherwise(thrown, passphrase);
    }
  } catch (thrown) {
    closeSet(set);
    throw thrown;
  }
}

function reportProblems(context: Context, { replay }: Filesystem): void {
  for (const { where, detail } of replay.problems) {
    context.warn([locationText(where), detail].filter(Boolean).join(': '));
  }
}

function closeSet({ members }: MemberSet): void {
  for (const { device } of members) device.close();
}

function parseUuid(text: string): string {
  if (/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(text)) return text.toLowerCase();
  throw new UsageError(`found ${JSON.stringify(text)}, expected a UUID such as 01234567-89ab-cdef-0123-456789abcdef`);
}

export async function passphraseFor(context: Context, file: string | undefined): Promise<Uint8Array> {
  return await readPassphrase(context, { file, flag: '--passphrase_file', question: 'Passphrase' });
}
