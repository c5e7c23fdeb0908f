// The options that all commands which change files share.

import { allowMissingOption, filesystemOptions, parseMode, parseOwner, undoFileOption } from '@bcachefs-ts/command';

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
  ...allowMissingOption,
  uuid: filesystemOptions.uuid,
  passphrase_file: filesystemOptions.passphrase_file,
  ...undoFileOption,
} as const;

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
