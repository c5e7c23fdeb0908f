// The way to a folder that the user named. Symlinks on it are the user's choice, unless somebody else could have put them there: in a folder
// of another user, or in one that everybody may write to. Following those would let that user choose where root writes. The rule is the one of
// the kernel's protected_symlinks, for folders that are not sticky as well.
//
// On Linux each step is taken from the descriptor of the one before, so that nothing changes between the look and the step.

import { type BigIntStats, closeSync, constants, fstatSync, lstatSync, openSync, readlinkSync } from 'node:fs';
import { dirname } from 'node:path';
import { printableBytes, UsageError } from '@bcachefs-ts/core/engine';

/** Of Linux; Node has no name for it. No permission to read is needed, and opening has no effect. */
export const O_PATH = 0o10_000_000;
/** MAXSYMLINKS of Linux. */
const LINKS_MAX = 40;
const OTHERS_WRITE = 0o002n;
const STICKY = 0o1000n;
const SLASH = 0x2f;

/**
 * Opens the folder that a path leads to.
 * @returns its descriptor; undefined where paths are used instead of descriptors
 * @throws UsageError, the system's error
 */
export function openWay(path: Uint8Array, usesDescriptors: boolean): number | undefined {
  if (usesDescriptors) return openByDescriptors(path);
  if (process.platform !== 'win32') checkEach(Buffer.from(path).toString());
  return undefined;
}

function openByDescriptors(path: Uint8Array): number {
  const steps: Buffer[] = [];
  let fd = openSync(start(path, steps) ? '/' : '.', O_PATH | constants.O_DIRECTORY);
  try {
    for (let links = 0, step = steps.pop(); step !== undefined; step = steps.pop()) {
      const there = Buffer.concat([Buffer.from(`/proc/self/fd/${fd}/`), step]);
      const found = lstatSync(there, { bigint: true });
      let next: number;
      if (found.isSymbolicLink()) {
        checkLink(found, fstatSync(fd, { bigint: true }), path, step);
        if (++links > LINKS_MAX)
          throw Object.assign(new Error('ELOOP: too many links'), { code: 'ELOOP', syscall: 'open' });
        const isAbsolute = start(readlinkSync(there, { encoding: 'buffer' }), steps);
        if (!isAbsolute) continue;
        next = openSync('/', O_PATH | constants.O_DIRECTORY);
      } else next = openSync(there, O_PATH | constants.O_DIRECTORY | constants.O_NOFOLLOW);
      closeSync(fd);
      fd = next;
    }
    return openSync(`/proc/self/fd/${fd}/.`, constants.O_RDONLY | constants.O_DIRECTORY);
  } finally {
    closeSync(fd);
  }
}

/** Adds the steps of a path, the first one last. @returns whether they begin at the root */
function start(path: Uint8Array, steps: Buffer[]): boolean {
  const parts: Buffer[] = [];
  for (let at = 0; at < path.length; ) {
    const slash = path.indexOf(SLASH, at);
    const end = slash < 0 ? path.length : slash;
    if (end > at) parts.push(Buffer.from(path.subarray(at, end)));
    at = end + 1;
  }
  steps.push(...parts.toReversed());
  return path[0] === SLASH;
}

/** Without descriptors: each beginning of the path, and where its symlinks lead. */
function checkEach(path: string, depth = 0): void {
  for (let at = path; ; at = dirname(at)) {
    const found = lstatSync(at, { bigint: true, throwIfNoEntry: false });
    if (found?.isSymbolicLink() && depth < LINKS_MAX) {
      const folder = dirname(at);
      checkLink(found, lstatSync(`${folder}/.`, { bigint: true }), Buffer.from(path), Buffer.from(at));
      const target = readlinkSync(at);
      checkEach(target.startsWith('/') ? target : `${folder}/${target}`, depth + 1);
    }
    if (dirname(at) === at) return;
  }
}

function checkLink(link: BigIntStats, folder: BigIntStats, path: Uint8Array, step: Uint8Array): void {
  const isOurs = ({ uid }: BigIntStats): boolean => uid === 0n || uid === BigInt(process.geteuid?.() ?? 0);
  const isOpen = (folder.mode & OTHERS_WRITE) !== 0n && (folder.mode & STICKY) === 0n;
  if (isOurs(link) && isOurs(folder) && !isOpen) return;
  const whose = isOurs(folder)
    ? isOpen
      ? 'in a folder that everybody may write to'
      : `of user ${link.uid}`
    : `in a folder of user ${folder.uid}`;
  throw new UsageError(
    `${printableBytes(path)}: ${printableBytes(step)} is a symlink ${whose}, which is not followed; give the path that it leads to`,
  );
}
