// From the words of a command line to the members of filesystems. A word is a device or an image, several of them joined by `:`, or a
// directory, which stands for the members in it. What is found may belong to more than one filesystem: a UUID chooses. A file
// that is named twice, also through a symbolic link, is one member; two files with the same member are an error.

import { openDevice } from '#open-device';
import { platform } from '#platform';
import type { BlockDevice } from '../device/block-device.ts';
import { CorruptError, DeviceError, IncompatibleError, UsageError } from '../ondisk/errors.ts';
import { viewOf } from '../ondisk/layout.ts';
import { hasSuperblockMagic, SB_SECTOR } from '../ondisk/superblock.ts';
import type { HostFiles } from '../platform/platform.ts';
import { SECTOR_BYTES } from '../util/sizes.ts';
import {
  filesystemText,
  groupMembers,
  type MemberSet,
  memberSetOf,
  type OpenMember,
  openMember,
} from './member-set.ts';

const { files } = platform;

export interface FindMembersOptions {
  /** The external UUID of the filesystem that is meant, in any case: devices of others are left out. */
  readonly uuid?: string | undefined;
  /**
   * Called with devices that are left out since no superblock can be read, when a UUID says what is looked for. Without it, and without a
   * UUID, that is thrown.
   */
  readonly onUnreadable?: (error: CorruptError | DeviceError | IncompatibleError) => void;
  /** Refuse devices that anything else uses, such as a mount: what is read of them must not change meanwhile. */
  readonly exclusive?: boolean;
}

/**
 * Opens the members of one filesystem for reading. The caller closes their devices.
 * @throws UsageError when they are of several filesystems or none is of the one that is meant, or when two are the same member
 * @throws DeviceError, CorruptError, IncompatibleError as readSuperblock does
 */
export function findMembers(words: readonly string[], options: FindMembersOptions = {}): MemberSet {
  const sets = findFilesystems(words, options);
  const [only] = sets;
  if (only !== undefined && sets.length === 1) return only;
  for (const { members } of sets) for (const { device } of members) device.close();
  const isSame = options.uuid !== undefined;
  const found = listText(sets.map(({ members }) => members));
  const message = isSame
    ? `${sets.length} filesystems have this UUID: ${found}; name the devices of one`
    : `the devices belong to ${sets.length} filesystems: ${found}; choose one with --uuid`;
  throw new UsageError(message);
}

/**
 * The same of every filesystem that there are members of, in the order of the words.
 * @returns at least one
 */
export function findFilesystems(
  words: readonly string[],
  { uuid, onUnreadable, exclusive = false }: FindMembersOptions = {},
): readonly MemberSet[] {
  const opened: BlockDevice[] = [];
  try {
    const readable: OpenMember[] = [];
    for (const path of memberPaths(words)) {
      const device = openDevice(path, { write: false, exclusive });
      opened.push(device);
      try {
        readable.push(openMember(device));
      } catch (thrown) {
        if (uuid === undefined || onUnreadable === undefined || !isOfTheDevice(thrown)) throw thrown;
        onUnreadable(thrown);
      }
    }
    const groups = groupMembers(readable);
    const wanted = uuid?.toLowerCase();
    const chosen = groups.filter(group => wanted === undefined || group.some(({ sb }) => sb.user_uuid === wanted));
    if (chosen.length === 0) {
      throw new UsageError(
        `no device belongs to filesystem ${uuid}${groups.length > 0 ? `, only to ${listText(groups)}` : ''}`,
      );
    }
    const sets = chosen.map(memberSetOf);
    const kept = new Set(sets.flatMap(({ members }) => members.map(({ device }) => device)));
    for (const device of opened) if (!kept.has(device)) device.close();
    return sets;
  } catch (thrown) {
    for (const device of opened) device.close();
    throw thrown;
  }
}

function isOfTheDevice(thrown: unknown): thrown is CorruptError | DeviceError | IncompatibleError {
  return thrown instanceof CorruptError || thrown instanceof DeviceError || thrown instanceof IncompatibleError;
}

const listText = (groups: readonly (readonly OpenMember[])[]) => groups.map(filesystemText).join('; ');

/**
 * Paths of members: lists taken apart at their colons, directories replaced by the members in them, and each file once, under the name
 * that came first.
 * @throws UsageError for a directory without members; DeviceError when one cannot be read
 */
export function memberPaths(words: readonly string[]): readonly string[] {
  const byFile = new Map<string, string>();
  for (const path of words.flatMap(devicePaths)) {
    const file = files.exists(path) ? files.realPath(path) : path;
    if (!byFile.has(file)) byFile.set(file, path);
  }
  return [...byFile.values()];
}

/**
 * The same of one word, each file as often as it is named.
 * @throws as memberPaths does
 */
export const devicePaths = (word: string): readonly string[] =>
  listedPaths(word).flatMap(path => (isDirectory(path) ? membersInFolder(path) : [path]));

export type PathHost = Pick<HostFiles, 'platform' | 'exists'>;

/**
 * The paths of a word, a list joined by colons. A file whose name has a colon stands for itself; on Windows the colon after the letter of a
 * drive, with a slash of either kind after it, belongs to the path (`C:\x.img:D:/y.img`, `\\?\C:\x.img`).
 */
export function listedPaths(word: string, { platform, exists }: PathHost = files): readonly string[] {
  if (!word.includes(':') || exists(word)) return [word];
  const parts = word.split(':');
  if (platform !== 'win32') return parts;
  const paths: string[] = [];
  for (const part of parts) {
    const before = paths.at(-1);
    const isRest = before !== undefined && DRIVE.test(before) && /^[\\/]/.test(part);
    if (isRest) paths[paths.length - 1] = `${before}:${part}`;
    else paths.push(part);
  }
  return paths;
}

/** What comes before the colon of a drive. */
const DRIVE = /^([\\/]{2}[.?][\\/])?[a-z]$/i;

function isDirectory(path: string): boolean {
  return files.kind(path) === 'directory';
}

/** The files in a folder that begin as members of a filesystem do, in the order of their names. */
function membersInFolder(folder: string): readonly string[] {
  let paths: readonly string[];
  try {
    paths = files.list(folder);
  } catch (cause) {
    throw new DeviceError('io', folder, `cannot be listed: ${cause instanceof Error ? cause.message : String(cause)}`, {
      cause,
    });
  }
  const found = paths.filter(isMemberFile);
  if (found.length === 0) throw new UsageError(`no member of a bcachefs filesystem is in ${folder}`);
  return found;
}

/** Whether a path leads to a device or an image that begins as members do. */
export function isMemberFile(path: string): boolean {
  const kind = files.kind(path);
  if (kind !== 'file' && kind !== 'block device') return false;
  const device = openIfReadable(path);
  if (device === undefined) return false;
  try {
    const head = new Uint8Array((SB_SECTOR + 2) * SECTOR_BYTES);
    if (device.sizeBytes < head.length) return false;
    device.read(0, head);
    return hasSuperblockMagic(viewOf(head), SB_SECTOR * SECTOR_BYTES);
  } finally {
    device.close();
  }
}

/** Undefined for a qcow2 file that cannot be read: an image of a virtual machine on top of another one, say. */
function openIfReadable(path: string): BlockDevice | undefined {
  try {
    return openDevice(path, { write: false });
  } catch (thrown) {
    if (thrown instanceof CorruptError || thrown instanceof IncompatibleError) return undefined;
    throw thrown;
  }
}
