// Gives restored files their attributes, as far as the host takes them: owner, extended attributes with ACLs, times, permissions, in this
// order, since a change of owner clears setuid bits and capabilities, and permissions may forbid what comes before them. What the host
// refuses is counted, never fatal.

import { fchmodSync, fchownSync, futimesSync, lchownSync, lutimesSync } from 'node:fs';
import type { NativeCalls } from '@bcachefs-ts/command';
import { type ExtendedAttribute, type FileStat, printableBytes } from '@bcachefs-ts/core/engine';
import type { Report, UnkeptKind } from './report.ts';

export const NEEDS_NATIVE = 'Node cannot do it, and the package koffi is not installed or does not fit this system';

const SET_ID_BITS = 0o6000;
const GROUP_BITS = 0o070;
/** FS_IMMUTABLE_FL and FS_APPEND_FL of include/uapi/linux/fs.h. */
const IMMUTABLE_OR_APPEND = 0x30;
const ACL_PREFIX = 'system.posix_acl_';
const ACL_GROUP_OBJ = 0x04;

/** What gets attributes: through its descriptor, or else by a path that is not followed. */
export interface AttributeTarget {
  readonly fd: number | undefined;
  readonly path: Buffer;
}

export interface AttributeSettings {
  readonly native: NativeCalls | undefined;
  readonly report: Report;
  /** Undefined on systems without users like these. */
  readonly user: { readonly uid: number; readonly gid: number } | undefined;
  /** Changes the permissions of what has no descriptor and is not a symlink. */
  readonly chmod: (path: Buffer, mode: number) => void;
}

export class AttributeWriter {
  readonly #settings: AttributeSettings;

  constructor(settings: AttributeSettings) {
    this.#settings = settings;
  }

  /**
   * @param target a file that we made
   * @param path for the report
   */
  apply(target: AttributeTarget, stat: FileStat, xattrs: readonly ExtendedAttribute[], path: Uint8Array): void {
    const report: ReportUnkept = (kind, reason, what) =>
      this.#settings.report.reportUnkept(kind, printableBytes(path), reason, what);
    const isOwned = this.#setOwner(target, stat, report);
    const groupPerm = this.#setXattrs(target, xattrs, report);
    this.#setTimes(target, stat, report);
    if (stat.type !== 'lnk') this.#setMode(target, stat, isOwned, groupPerm, report);
    if ((stat.flags & IMMUTABLE_OR_APPEND) !== 0) report('flags', 'never applied');
  }

  #setOwner({ fd, path }: AttributeTarget, { uid, gid }: FileStat, report: ReportUnkept): boolean {
    const { user } = this.#settings;
    if (user === undefined) {
      report('owners', 'this system has none like these');
      return false;
    }
    if (user.uid !== 0) {
      const isOurs = user.uid === uid && user.gid === gid;
      if (!isOurs) report('owners', 'only root can give files away');
      return isOurs;
    }
    return attempt(
      () => (fd === undefined ? lchownSync(path, uid, gid) : fchownSync(fd, uid, gid)),
      reason => report('owners', reason),
    );
  }

  /** @returns the permissions that the group has by an ACL that the host did not take; undefined when there is none */
  #setXattrs(
    { fd, path }: AttributeTarget,
    xattrs: readonly ExtendedAttribute[],
    report: ReportUnkept,
  ): number | undefined {
    const { native } = this.#settings;
    let groupPerm: number | undefined;
    for (const { name, value } of xattrs) {
      const isAcl = printableBytes(name).startsWith(ACL_PREFIX);
      const kind: UnkeptKind = isAcl ? 'acls' : 'xattrs';
      const refused = (reason: string): void => report(kind, reason, printableBytes(name));
      let isKept = false;
      if (native === undefined) refused(NEEDS_NATIVE);
      else {
        const set = (): void => native.setXattr(fd ?? path, name, value);
        isKept = attempt(set, refused);
      }
      if (!isKept && isAcl) groupPerm = groupPermOf(value) ?? groupPerm;
    }
    return groupPerm;
  }

  #setTimes({ fd, path }: AttributeTarget, { atimeNs, mtimeNs }: FileStat, report: ReportUnkept): void {
    const { native } = this.#settings;
    if (native !== undefined) {
      attempt(
        () => native.setTimes(fd ?? path, atimeNs, mtimeNs),
        reason => report('times', reason),
      );
      return;
    }
    const isSet = attempt(
      () => {
        if (fd === undefined) lutimesSync(path, seconds(atimeNs), seconds(mtimeNs));
        else futimesSync(fd, seconds(atimeNs), seconds(mtimeNs));
      },
      reason => report('times', reason),
    );
    if (isSet && mtimeNs % 1000n !== 0n) report('nanoseconds', NEEDS_NATIVE);
  }

  #setMode(
    { fd, path }: AttributeTarget,
    stat: FileStat,
    isOwned: boolean,
    groupPerm: number | undefined,
    report: ReportUnkept,
  ): void {
    let { mode } = stat;
    if (!isOwned && (mode & SET_ID_BITS) !== 0) {
      mode &= ~SET_ID_BITS;
      report('set_id', 'their owner was not kept');
    }
    // With an ACL the middle bits are its mask. Without it they would be the group's own, which may be less.
    if (groupPerm !== undefined) mode &= ~GROUP_BITS | (groupPerm << 3);
    attempt(
      () => (fd === undefined ? this.#settings.chmod(path, mode) : fchmodSync(fd, mode)),
      reason => report('modes', reason),
    );
  }
}

type ReportUnkept = (kind: UnkeptKind, reason: string, what?: string) => void;

const seconds = (ns: bigint): number => Number(ns / 1000n) / 1e6;

/** @returns whether the host did it; what a system call refuses is reported, anything else is thrown */
export function attempt(call: () => void, onRefused: (reason: string) => void): boolean {
  try {
    call();
    return true;
  } catch (thrown) {
    onRefused(refusal(thrown));
    return false;
  }
}

/** Why the system refused. @throws what was not the system's refusal */
export function refusal(thrown: unknown): string {
  const code = hostErrorCode(thrown);
  if (code === undefined) throw thrown;
  return code;
}

/** `ENOSPC`; undefined for what the system did not say. HostCallError is an error of the system as well. */
export function hostErrorCode(thrown: unknown): string | undefined {
  const isSystem =
    thrown instanceof Error && 'syscall' in thrown && 'code' in thrown && typeof thrown.code === 'string';
  return isSystem ? String(thrown.code) : undefined;
}

/** What an ACL, as setxattr takes it, gives the file's group. */
function groupPermOf(acl: Uint8Array): number | undefined {
  const view = new DataView(acl.buffer, acl.byteOffset, acl.byteLength);
  for (let at = 4; at + 8 <= acl.length; at += 8) {
    if (view.getUint16(at, true) === ACL_GROUP_OBJ) return view.getUint16(at + 2, true) & 7;
  }
  return undefined;
}
