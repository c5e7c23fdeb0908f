// The options that all commands which change files share.

import { filesystemOptions } from '@bcachefs-ts/command';
import { UsageError } from '@bcachefs-ts/core';

export const changedFilesystemPositional = {
  filesystem: {
    count: 'one',
    file: true,
    help: 'a device or image, all members joined by colons, or a directory of images; not mounted',
  },
} as const;

/** @see ChangeArgs */
export const changeOptions = {
  dry_run: { type: 'flag', help: 'write nothing, say what would be done' },
  seed: {
    type: 'string',
    value: 'TEXT',
    help: 'make all random numbers from this text, for images that are equal byte for byte; not for encrypted filesystems',
  },
  damaged_journal: {
    type: 'flag',
    help: 'change it although its journal is damaged: what that has lost is lost for good, and the next mount checks everything',
  },
  uuid: filesystemOptions.uuid,
  passphrase_file: filesystemOptions.passphrase_file,
} as const;

export interface Owner {
  readonly uid: number;
  readonly gid: number;
}

const ID_MAX = 0xffff_fffe;

export function parseOwner(text: string): Owner {
  const match = /^(\d{1,10}):(\d{1,10})$/.exec(text);
  const [uid, gid] = [Number(match?.[1] ?? Number.NaN), Number(match?.[2] ?? Number.NaN)];
  if (uid <= ID_MAX && gid <= ID_MAX) return { uid, gid };
  throw new UsageError(`found ${JSON.stringify(text)}, expected two numbers such as 1000:1000`);
}

export function parseMode(text: string): number {
  if (/^[0-7]{1,5}$/.test(text) && Number.parseInt(text, 8) <= 0o7777) return Number.parseInt(text, 8);
  throw new UsageError(`found ${JSON.stringify(text)}, expected permissions in octal such as 0755`);
}

/** Of directories and subvolumes that are made. */
export const newDirectoryOptions = {
  mode: {
    type: 'string',
    alias: 'm',
    value: 'MODE',
    parse: parseMode,
    help: 'permissions, in octal (default 0755, or as the default ACL of the directory above says)',
  },
  owner: { type: 'string', value: 'UID:GID', parse: parseOwner, help: 'owner and group (default 0:0)' },
} as const;

/** What new files and directories lose of 0666 and 0777, unless a default ACL says what they have. */
export const UMASK = 0o022;
