// What an entry of a source becomes: the type and mode of its inode, its times, its extended attributes as a filesystem keeps them.

import { noLaterThan } from '@bcachefs-ts/command';
import {
  type Attributes,
  type ExtendedAttribute,
  type FileRef,
  type FileTypeName,
  printableBytes,
  type TreeEditor,
} from '@bcachefs-ts/core/engine';
import { modeOfAcl } from './acl-words.ts';
import type { SourceEntry, SourceLink } from './source.ts';

/** An entry that is a file of its own. */
export type OwnEntry = Exclude<SourceEntry, SourceLink>;

// biome-ignore format: a table
export const kinds: Readonly<Record<OwnEntry['type'], { readonly mode: number; readonly name: FileTypeName }>> = {
  dir:     { mode: 0o040000, name: 'dir' },
  file:    { mode: 0o100000, name: 'reg' },
  symlink: { mode: 0o120000, name: 'lnk' },
  chr:     { mode: 0o020000, name: 'chr' },
  blk:     { mode: 0o060000, name: 'blk' },
  fifo:    { mode: 0o010000, name: 'fifo' },
  sock:    { mode: 0o140000, name: 'sock' },
};

/**
 * The times that an entry's inode gets.
 * @param fixedTimeNs nothing is newer than this, and only times of change are taken: where the result must not depend on when
 */
export function timesOf({ mtimeNs, atimeNs, ctimeNs, btimeNs }: OwnEntry, fixedTimeNs: bigint | undefined): Attributes {
  if (fixedTimeNs !== undefined) return noLaterThan(fixedTimeNs, mtimeNs);
  return given({ mtimeNs, atimeNs: atimeNs ?? mtimeNs, ctimeNs, btimeNs });
}

/** What else an inode gets of what the source says. */
export function setFurther(files: TreeEditor, file: FileRef, { projectId }: OwnEntry): void {
  if (projectId === undefined) return;
  const { bi_project } = files.inode(file);
  // Stored as one more; 0 is what the directory has.
  if (bi_project === (projectId === 0 ? 0 : projectId + 1)) return;
  files.setOption(file, 'project', projectId === 0 ? undefined : projectId);
}

/** Flags, where the source says them. */
export const flagsOf = ({ flags }: OwnEntry): Attributes => (flags === undefined ? {} : { flags });

/** Without what is undefined. */
function given(times: { readonly [name in 'mtimeNs' | 'atimeNs' | 'ctimeNs' | 'btimeNs']: bigint | undefined }) {
  const { mtimeNs, atimeNs, ctimeNs, btimeNs } = times;
  const said: { mtimeNs?: bigint; atimeNs?: bigint; ctimeNs?: bigint; btimeNs?: bigint } = {};
  if (mtimeNs !== undefined) said.mtimeNs = mtimeNs;
  if (atimeNs !== undefined) said.atimeNs = atimeNs;
  if (ctimeNs !== undefined) said.ctimeNs = ctimeNs;
  if (btimeNs !== undefined) said.btimeNs = btimeNs;
  return said;
}

/** Those that are kept: an ACL that says what the mode says is not. */
export const keptXattrs = ({ xattrs }: OwnEntry): readonly ExtendedAttribute[] =>
  xattrs.filter(({ name, value }) => {
    return Buffer.from(name).toString('latin1') !== ACCESS_ACL || modeOfAcl(value) === undefined;
  });

const ACCESS_ACL = 'system.posix_acl_access';

/** For messages. */
export const pathText = (path: Uint8Array): string => printableBytes(path) || '/';
