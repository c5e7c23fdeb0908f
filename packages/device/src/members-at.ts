// What is at the paths of a command line before anything is opened for long: commands that complete what was cut off look there for what it left.

import { existsSync, realpathSync } from 'node:fs';
import {
  CorruptError,
  joinedBefore,
  memberPaths,
  type OpenMember,
  openDevice,
  openMember,
  UsageError,
} from '@bcachefs-ts/core/engine';

interface MemberAt {
  readonly path: string;
  readonly member: OpenMember;
}

/** The same for all names of one file; a name of nothing stays as it is. */
export const realPath = (path: string): string => (existsSync(path) ? realpathSync(path) : path);

/** Undefined where no superblock can be read. Its device is closed again. @throws DeviceError, IncompatibleError */
export function memberAtPath(path: string): OpenMember | undefined {
  const device = openDevice(path, { write: false });
  try {
    return openMember(device);
  } catch (thrown) {
    if (thrown instanceof CorruptError) return undefined;
    throw thrown;
  } finally {
    device.close();
  }
}

/**
 * Those that have a superblock, of all that a word means but some.
 * @throws as memberPaths and memberAtPath do
 */
export function membersBeside(word: string, paths: readonly string[]): readonly MemberAt[] {
  const left = new Set(paths.map(realPath));
  return memberPaths([word]).flatMap(path => {
    const member = left.has(realPath(path)) ? undefined : memberAtPath(path);
    return member === undefined ? [] : [{ path, member }];
  });
}

/** What an addition of the same devices has left that was cut off. */
interface AddedBefore {
  /** What the filesystem is opened with: the word for it when nothing was begun, else the paths of its members, these devices among them. */
  readonly devices: readonly string[];
  /** Devices that are members. */
  readonly joined: readonly string[];
  /** Devices that say that they are, while no member has heard of them: they are added anew. */
  readonly leftOver: readonly string[];
}

/** @throws UsageError, DeviceError, IncompatibleError */
export function addedBefore(filesystem: string, paths: readonly string[]): AddedBefore {
  const found = paths.flatMap(path => {
    const member = memberAtPath(path);
    return member === undefined ? [] : [{ path, member }];
  });
  if (found.length === 0) return { devices: [filesystem], joined: [], leftOver: [] };
  const others = membersBeside(filesystem, paths);
  const joined: string[] = [];
  const leftOver: string[] = [];
  for (const { path, member } of found) {
    const siblings = others.filter(other => other.member.sb.uuid === member.sb.uuid);
    if (siblings.length === 0) continue;
    const standing = joinedBefore(
      siblings.map(other => other.member),
      member,
    );
    if (standing === 'member') joined.push(path);
    else if (standing === 'left over') leftOver.push(path);
  }
  const named = new Set(memberPaths([filesystem]).map(realPath));
  const twin = paths.find(path => named.has(realPath(path)) && !joined.includes(path) && !leftOver.includes(path));
  if (twin !== undefined) throw new UsageError(`${twin} is one of the filesystem's devices already`);
  const isBegun = joined.length + leftOver.length > 0;
  return { devices: isBegun ? [...others.map(({ path }) => path), ...joined] : [filesystem], joined, leftOver };
}
