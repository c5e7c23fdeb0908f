// The list of commands. A line here is what `bcachefs --help` shows; the command itself is loaded when it is run. Names and
// summaries are the commands' own, which a test compares.

import { defineProgram } from '@bcachefs-ts/command';
import { version } from '../version.ts';
import { elsewhere } from './elsewhere.ts';

const making = 'Making filesystems';
const superblock = 'Superblock';
const looking = 'Looking into filesystems';
const files = 'Files without a mount';
const changing = 'Changing files without a mount';

export const bcachefs = defineProgram({
  name: 'bcachefs',
  version,
  summary: 'make and look into bcachefs filesystems, without the kernel and without root',
  commands: [
    {
      name: 'format',
      aliases: ['mkfs'],
      summary: 'Make a new filesystem on one or more devices or image files',
      heading: making,
      load: async () => (await import('../commands/format.ts')).command,
    },
    {
      name: 'image',
      summary: 'Make images, and bring them up to date',
      heading: making,
      commands: [
        {
          name: 'create',
          summary: 'Make an image with the files of a directory or an archive',
          load: async () => (await import('../commands/image-create.ts')).command,
        },
        {
          name: 'update',
          summary: 'Make the files of an image equal to those of a directory or an archive, writing only what differs',
          load: async () => (await import('../commands/image-update.ts')).command,
        },
      ],
    },
    {
      name: 'show-super',
      summary: 'Print the superblock of a device or image',
      heading: superblock,
      load: async () => (await import('../commands/show-super.ts')).command,
    },
    {
      name: 'recover-super',
      summary: 'Restore a damaged superblock from one of its copies',
      heading: superblock,
      load: async () => (await import('../commands/recover-super.ts')).command,
    },
    {
      name: 'set-fs-option',
      summary: 'Change options that are stored in the superblock',
      heading: superblock,
      load: async () => (await import('../commands/set-fs-option.ts')).command,
    },
    {
      name: 'reset-counters',
      summary: 'Set the counters in the superblock back to zero',
      heading: superblock,
      load: async () => (await import('../commands/reset-counters.ts')).command,
    },
    {
      name: 'recovery-pass',
      summary: 'List, schedule or cancel recovery passes of the next mount',
      heading: superblock,
      load: async () => (await import('../commands/recovery-pass.ts')).command,
    },
    {
      name: 'strip-alloc',
      summary: 'Drop the allocation info of a filesystem that is only read',
      heading: superblock,
      load: async () => (await import('../commands/strip-alloc.ts')).command,
    },
    {
      name: 'list',
      summary: 'Print the keys of a btree, or its nodes',
      heading: looking,
      load: async () => (await import('../commands/list.ts')).command,
    },
    {
      name: 'list_journal',
      summary: 'Print the contents of the journal',
      heading: looking,
      load: async () => (await import('../commands/list-journal.ts')).command,
    },
    {
      name: 'dump',
      summary: 'Write the metadata of a filesystem to qcow2 files',
      heading: looking,
      load: async () => (await import('../commands/dump.ts')).command,
    },
    {
      name: 'undump',
      summary: 'Turn qcow2 files of dump back into images',
      heading: looking,
      load: async () => (await import('../commands/undump.ts')).command,
    },
    {
      name: 'explain',
      summary: 'Say what lies at a byte of a device',
      heading: looking,
      load: async () => (await import('../commands/explain.ts')).command,
    },
    {
      name: 'locate',
      summary: 'Say where on the devices files are',
      heading: looking,
      load: async () => (await import('../commands/locate.ts')).command,
    },
    {
      name: 'fs',
      summary: 'Show filesystem-wide information',
      heading: looking,
      commands: [
        {
          name: 'usage',
          summary: 'Print how the space of a filesystem is used',
          ownsLetterH: true,
          load: async () => (await import('../commands/fs-usage.ts')).command,
        },
      ],
    },
    {
      name: 'ls',
      summary: 'List files and directories',
      heading: files,
      ownsLetterH: true,
      load: async () => (await import('../commands/ls.ts')).command,
    },
    {
      name: 'tree',
      summary: 'Draw the tree of directories and files',
      heading: files,
      load: async () => (await import('../commands/tree.ts')).command,
    },
    {
      name: 'stat',
      summary: 'Show everything that is known about files',
      heading: files,
      load: async () => (await import('../commands/stat.ts')).command,
    },
    {
      name: 'cat',
      summary: 'Write the contents of files to standard output',
      heading: files,
      load: async () => (await import('../commands/cat.ts')).command,
    },
    {
      name: 'get-file-option',
      summary: 'Print the options of files and directories',
      heading: files,
      load: async () => (await import('../commands/get-file-option.ts')).command,
    },
    {
      name: 'get',
      summary: 'Copy files out of a filesystem to where they are wanted',
      heading: files,
      load: async () => (await import('../commands/get.ts')).command,
    },
    {
      name: 'restore',
      summary: 'Copy files out of a filesystem, and say whether they are whole',
      heading: files,
      load: async () => (await import('../commands/restore.ts')).command,
    },
    {
      name: 'tar',
      summary: 'Write files as a tar archive',
      heading: files,
      load: async () => (await import('../commands/tar.ts')).command,
    },
    {
      name: 'put',
      summary: 'Copy files of the host into a filesystem',
      heading: changing,
      load: async () => (await import('../commands/put.ts')).command,
    },
    {
      name: 'rm',
      summary: 'Remove files and directories',
      heading: changing,
      load: async () => (await import('../commands/rm.ts')).command,
    },
    {
      name: 'mkdir',
      summary: 'Make directories',
      heading: changing,
      load: async () => (await import('../commands/mkdir.ts')).command,
    },
    {
      name: 'mv',
      summary: 'Rename or move a file or directory',
      heading: changing,
      load: async () => (await import('../commands/mv.ts')).command,
    },
    {
      name: 'set-file-option',
      summary: 'Set options on files and directories',
      heading: changing,
      load: async () => (await import('../commands/set-file-option.ts')).command,
    },
    {
      name: 'subvolume',
      aliases: ['subvol'],
      summary: 'Make, delete and list subvolumes and snapshots',
      heading: changing,
      commands: [
        {
          name: 'create',
          aliases: ['new'],
          summary: 'Make an empty subvolume',
          load: async () => (await import('../commands/subvolume-create.ts')).command,
        },
        {
          name: 'delete',
          aliases: ['del'],
          summary: 'Delete a subvolume or snapshot with all that is in it',
          load: async () => (await import('../commands/subvolume-delete.ts')).command,
        },
        {
          name: 'snapshot',
          aliases: ['snap'],
          summary: 'Make a snapshot of a subvolume',
          load: async () => (await import('../commands/subvolume-snapshot.ts')).command,
        },
        {
          name: 'list',
          aliases: ['ls'],
          summary: 'List subvolumes and snapshots',
          load: async () => (await import('../commands/subvolume-list.ts')).command,
        },
        {
          name: 'list-snapshots',
          aliases: ['ls-snap', 'list-snap'],
          summary: 'List snapshot nodes and the space that each takes',
          load: async () => (await import('../commands/subvolume-list-snapshots.ts')).command,
        },
      ],
    },
    {
      name: 'unlock',
      summary: 'Hand the key of an encrypted filesystem to the kernel, or check a passphrase',
      heading: 'Encryption',
      load: async () => (await import('../commands/unlock.ts')).command,
    },
    {
      name: 'set-passphrase',
      summary: 'Change the passphrase of an encrypted filesystem',
      heading: 'Encryption',
      load: async () => (await import('../commands/set-passphrase.ts')).command,
    },
    {
      name: 'remove-passphrase',
      summary: 'Store the key of an encrypted filesystem without a passphrase',
      heading: 'Encryption',
      load: async () => (await import('../commands/remove-passphrase.ts')).command,
    },
    {
      name: 'fsck',
      summary: 'Check a filesystem, and repair it',
      heading: 'Checking and repairing',
      helpExitCode: 16, // as fsck.bcachefs.ts has it
      load: async () => (await import('../commands/fsck.ts')).command,
    },
  ],
  elsewhere,
});
