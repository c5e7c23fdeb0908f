// THE list of commands. A row here is what `bcachefs --help` shows, and what completions and docs/commands are made from; the command itself
// is loaded when it is run. Names and summaries are the commands' own, which a test compares. A command that a package has and that is
// forgotten here does not compile.

import { defineProgram, type Listed, type Program } from '@bcachefs-ts/command';
import { version } from '../version.ts';
import { elsewhere } from './elsewhere.ts';
import { type Forgotten, from, fromProgram } from './from.ts';

const making = 'Making filesystems';
const superblock = 'Superblock';
const members = 'Members of filesystems';
const looking = 'Looking into filesystems';
const files = 'Files without a mount';
const changing = 'Changing files without a mount';
const byHand = 'By hand, for tests and experts';

const commands = [
  {
    name: 'format',
    aliases: ['mkfs'],
    summary: 'Make a new filesystem on one or more devices or image files',
    heading: making,
    ...from(() => import('@bcachefs-ts/format'), 'formatCommand'),
  },
  {
    name: 'image',
    summary: 'Make images, and bring them up to date',
    heading: making,
    commands: [
      {
        name: 'create',
        summary: 'Make an image with the files of a directory or an archive',
        ...from(() => import('@bcachefs-ts/format'), 'imageCreateCommand'),
      },
      {
        name: 'update',
        summary: 'Make the files of an image equal to those of a directory or an archive, writing only what differs',
        ...from(() => import('@bcachefs-ts/format'), 'imageUpdateCommand'),
      },
    ],
  },
  {
    name: 'migrate',
    summary: 'Turn an ext4 filesystem into bcachefs in place, and back',
    heading: making,
    otherwise: 'start',
    commands: [
      {
        name: 'start',
        summary: 'Turn an ext4 filesystem into bcachefs, in place',
        ...from(() => import('@bcachefs-ts/migrate'), 'migrateStartCommand'),
      },
      {
        name: 'status',
        summary: 'Say in which state of a migration a device is',
        ...from(() => import('@bcachefs-ts/migrate'), 'migrateStatusCommand'),
      },
      {
        name: 'rollback',
        summary: 'Go back to ext4 after a migration',
        ...from(() => import('@bcachefs-ts/migrate'), 'migrateRollbackCommand'),
      },
      {
        name: 'finish',
        summary: 'End a migration: the superblocks go to their usual places, and ext4 is gone',
        ...from(() => import('@bcachefs-ts/migrate'), 'migrateFinishCommand'),
      },
    ],
  },
  {
    name: 'migrate-superblock',
    summary: 'Give a filesystem that bcachefs-tools has migrated its superblocks at the usual places',
    heading: making,
    ...from(() => import('@bcachefs-ts/migrate'), 'migrateSuperblockCommand'),
  },
  {
    name: 'show-super',
    summary: 'Print the superblock of a device or image',
    heading: superblock,
    ...from(() => import('@bcachefs-ts/show-super'), 'showSuperCommand'),
  },
  {
    name: 'recover-super',
    summary: 'Restore a damaged superblock from one of its copies',
    heading: superblock,
    ...from(() => import('@bcachefs-ts/show-super'), 'recoverSuperCommand'),
  },
  {
    name: 'set-fs-option',
    summary: 'Change options that are stored in the superblock',
    heading: superblock,
    ...from(() => import('@bcachefs-ts/show-super'), 'setFsOptionCommand'),
  },
  {
    name: 'reset-counters',
    summary: 'Set the counters in the superblock back to zero',
    heading: superblock,
    ...from(() => import('@bcachefs-ts/show-super'), 'resetCountersCommand'),
  },
  {
    name: 'recovery-pass',
    summary: 'List, schedule or cancel recovery passes of the next mount',
    heading: superblock,
    ...from(() => import('@bcachefs-ts/show-super'), 'recoveryPassCommand'),
  },
  {
    name: 'upgrade',
    summary: 'Take a filesystem to another metadata version, up or down',
    heading: superblock,
    ...from(() => import('@bcachefs-ts/fsck'), 'upgradeCommand'),
  },
  {
    name: 'strip-alloc',
    summary: 'Drop the allocation info of a filesystem that is only read',
    heading: superblock,
    ...from(() => import('@bcachefs-ts/show-super'), 'stripAllocCommand'),
  },
  {
    name: 'undo',
    summary: 'Undo a command, from the file that its --undo_file made',
    heading: superblock,
    ...from(() => import('@bcachefs-ts/show-super'), 'undoCommand'),
  },
  {
    name: 'device',
    aliases: ['dev'],
    summary: 'Look at the members of a filesystem, and change them',
    heading: members,
    commands: [
      {
        name: 'list',
        aliases: ['ls'],
        summary: 'List the members of a filesystem, and what would be lost without each',
        ...from(() => import('@bcachefs-ts/device'), 'deviceListCommand'),
      },
      {
        name: 'add',
        summary: 'Add devices or images to a filesystem',
        ...from(() => import('@bcachefs-ts/device'), 'deviceAddCommand'),
      },
      {
        name: 'remove',
        aliases: ['rm'],
        summary: 'Take a member out of a filesystem',
        ...from(() => import('@bcachefs-ts/device'), 'deviceRemoveCommand'),
      },
      {
        name: 'replace',
        summary: 'Put a device in the place of a member',
        ...from(() => import('@bcachefs-ts/device'), 'deviceReplaceCommand'),
      },
      {
        name: 'evacuate',
        summary: 'Move everything off a member',
        ...from(() => import('@bcachefs-ts/device'), 'deviceEvacuateCommand'),
      },
      {
        name: 'set-state',
        summary: 'Set the state of a member, also of a missing one',
        ...from(() => import('@bcachefs-ts/device'), 'deviceSetStateCommand'),
      },
      {
        name: 'resync',
        summary: 'Bring members back that missed some mounts',
        ...from(() => import('@bcachefs-ts/device'), 'deviceResyncCommand'),
      },
      {
        name: 'resize',
        summary: 'Make a member larger or smaller',
        ...from(() => import('@bcachefs-ts/device'), 'deviceResizeCommand'),
      },
      {
        name: 'resize-journal',
        summary: 'Make the journal of a member longer or shorter',
        ...from(() => import('@bcachefs-ts/device'), 'deviceResizeJournalCommand'),
      },
    ],
  },
  {
    name: 'mount',
    summary: 'Mount a filesystem with the driver of the running kernel',
    heading: members,
    ...from(() => import('@bcachefs-ts/device'), 'mountCommand'),
  },
  {
    name: 'data',
    summary: 'Bring data to where it is to be, in as many copies as wanted',
    heading: members,
    commands: [
      {
        name: 'rereplicate',
        summary: 'Make the copies that data and btree nodes lack',
        ...from(() => import('@bcachefs-ts/device'), 'dataRereplicateCommand'),
      },
      {
        name: 'drop_extra_replicas',
        summary: 'Drop copies of data and btree nodes beyond those wanted',
        ...from(() => import('@bcachefs-ts/device'), 'dataDropExtraReplicasCommand'),
      },
      {
        name: 'rebalance',
        summary: 'Move and compress data as its options say it is to rest',
        ...from(() => import('@bcachefs-ts/device'), 'dataRebalanceCommand'),
      },
    ],
  },
  {
    name: 'explore',
    summary: 'Look around in a filesystem, on a terminal',
    heading: looking,
    ...fromProgram(
      () => import('@bcachefs-ts/explore'),
      'exploreOf',
      () => bcachefs,
    ),
  },
  {
    name: 'list',
    summary: 'Print the keys of a btree, or its nodes',
    heading: looking,
    ...from(() => import('@bcachefs-ts/dump'), 'listCommand'),
  },
  {
    name: 'list_journal',
    summary: 'Print the contents of the journal',
    heading: looking,
    ...from(() => import('@bcachefs-ts/dump'), 'listJournalCommand'),
  },
  {
    name: 'journal_rewind_info',
    summary: 'List the earlier states that the journal still reaches',
    heading: looking,
    ...from(() => import('@bcachefs-ts/explore'), 'journalRewindInfoCommand'),
  },
  {
    name: 'dump',
    summary: 'Write the metadata of a filesystem to qcow2 files',
    heading: looking,
    ...from(() => import('@bcachefs-ts/dump'), 'dumpCommand'),
  },
  {
    name: 'undump',
    summary: 'Turn qcow2 files of dump back into images',
    heading: looking,
    ...from(() => import('@bcachefs-ts/dump'), 'undumpCommand'),
  },
  {
    name: 'explain',
    summary: 'Say what lies at a byte of a device',
    heading: looking,
    ...from(() => import('@bcachefs-ts/dump'), 'explainCommand'),
  },
  {
    name: 'locate',
    summary: 'Say where on the devices files are',
    heading: looking,
    ...from(() => import('@bcachefs-ts/dump'), 'locateCommand'),
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
        ...from(() => import('@bcachefs-ts/dump'), 'fsUsageCommand'),
      },
      {
        name: 'failure-domains',
        summary: 'Say what the loss of each failure domain would cost',
        ...from(() => import('@bcachefs-ts/device'), 'fsFailureDomainsCommand'),
      },
    ],
  },
  {
    name: 'map',
    summary: 'Draw what is in the buckets of every device',
    heading: looking,
    ...from(() => import('@bcachefs-ts/explore'), 'mapCommand'),
  },
  {
    name: 'view',
    summary: 'Show a filesystem in a browser',
    heading: looking,
    ...from(() => import('@bcachefs-ts/viewer'), 'viewCommand'),
  },
  {
    name: 'du',
    summary: 'Say what files and directories take, and what is theirs alone',
    heading: looking,
    ...from(() => import('@bcachefs-ts/explore'), 'duCommand'),
  },
  {
    name: 'diff',
    summary: 'Say what differs between two filesystems, or two snapshots of one',
    heading: looking,
    ...from(() => import('@bcachefs-ts/explore'), 'diffCommand'),
  },
  {
    name: 'ls',
    summary: 'List files and directories',
    heading: files,
    ownsLetterH: true,
    ...from(() => import('@bcachefs-ts/files'), 'lsCommand'),
  },
  {
    name: 'tree',
    summary: 'Draw the tree of directories and files',
    heading: files,
    ...from(() => import('@bcachefs-ts/files'), 'treeCommand'),
  },
  {
    name: 'stat',
    summary: 'Show everything that is known about files',
    heading: files,
    ...from(() => import('@bcachefs-ts/files'), 'statCommand'),
  },
  {
    name: 'cat',
    summary: 'Write the contents of files to standard output',
    heading: files,
    ...from(() => import('@bcachefs-ts/files'), 'catCommand'),
  },
  {
    name: 'get-file-option',
    summary: 'Print the options of files and directories',
    heading: files,
    ...from(() => import('@bcachefs-ts/files'), 'getFileOptionCommand'),
  },
  {
    name: 'get',
    summary: 'Copy files out of a filesystem to where they are wanted',
    heading: files,
    ...from(() => import('@bcachefs-ts/files'), 'getCommand'),
  },
  {
    name: 'restore',
    summary: 'Copy files out of a filesystem, and say whether they are whole',
    heading: files,
    ...from(() => import('@bcachefs-ts/files'), 'restoreCommand'),
  },
  {
    name: 'tar',
    summary: 'Write files as a tar archive',
    heading: files,
    ...from(() => import('@bcachefs-ts/files'), 'tarCommand'),
  },
  {
    name: 'put',
    summary: 'Copy files of the host into a filesystem',
    heading: changing,
    ...from(() => import('@bcachefs-ts/files'), 'putCommand'),
  },
  {
    name: 'rm',
    summary: 'Remove files and directories',
    heading: changing,
    ...from(() => import('@bcachefs-ts/files'), 'rmCommand'),
  },
  {
    name: 'mkdir',
    summary: 'Make directories',
    heading: changing,
    ...from(() => import('@bcachefs-ts/files'), 'mkdirCommand'),
  },
  {
    name: 'mv',
    summary: 'Rename or move a file or directory',
    heading: changing,
    ...from(() => import('@bcachefs-ts/files'), 'mvCommand'),
  },
  {
    name: 'set-file-option',
    summary: 'Set options on files and directories',
    heading: changing,
    ...from(() => import('@bcachefs-ts/files'), 'setFileOptionCommand'),
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
        ...from(() => import('@bcachefs-ts/files'), 'subvolumeCreateCommand'),
      },
      {
        name: 'delete',
        aliases: ['del'],
        summary: 'Delete a subvolume or snapshot with all that is in it',
        ...from(() => import('@bcachefs-ts/files'), 'subvolumeDeleteCommand'),
      },
      {
        name: 'snapshot',
        aliases: ['snap'],
        summary: 'Make a snapshot of a subvolume',
        ...from(() => import('@bcachefs-ts/files'), 'subvolumeSnapshotCommand'),
      },
      {
        name: 'list',
        aliases: ['ls'],
        summary: 'List subvolumes and snapshots',
        ...from(() => import('@bcachefs-ts/files'), 'subvolumeListCommand'),
      },
      {
        name: 'list-snapshots',
        aliases: ['ls-snap', 'list-snap'],
        summary: 'List snapshot nodes and the space that each takes',
        ...from(() => import('@bcachefs-ts/files'), 'subvolumeListSnapshotsCommand'),
      },
    ],
  },
  {
    name: 'unlock',
    summary: 'Hand the key of an encrypted filesystem to the kernel, or check a passphrase',
    heading: 'Encryption',
    ...from(() => import('@bcachefs-ts/show-super'), 'unlockCommand'),
  },
  {
    name: 'set-passphrase',
    summary: 'Change the passphrase of an encrypted filesystem',
    heading: 'Encryption',
    ...from(() => import('@bcachefs-ts/show-super'), 'setPassphraseCommand'),
  },
  {
    name: 'remove-passphrase',
    summary: 'Store the key of an encrypted filesystem without a passphrase',
    heading: 'Encryption',
    ...from(() => import('@bcachefs-ts/show-super'), 'removePassphraseCommand'),
  },
  {
    name: 'fsck',
    summary: 'Check a filesystem, and repair it',
    heading: 'Checking and repairing',
    helpExitCode: 16, // as fsck.bcachefs.ts has it
    ...from(() => import('@bcachefs-ts/fsck'), 'fsckCommand'),
  },
  {
    name: 'scrub',
    summary: 'Verify all checksums, and repair bad copies from good ones',
    heading: 'Checking and repairing',
    ...from(() => import('@bcachefs-ts/fsck'), 'scrubCommand'),
  },
  {
    name: 'damage',
    summary: 'Show what a filesystem has recorded as damaged',
    heading: 'Checking and repairing',
    commands: [
      {
        name: 'ls',
        summary: 'List files that a kernel has recorded as damaged',
        ...from(() => import('@bcachefs-ts/files'), 'damageLsCommand'),
      },
      {
        name: 'clear',
        summary: 'Clear what a kernel has recorded as damage',
        ...from(() => import('@bcachefs-ts/files'), 'damageClearCommand'),
      },
    ],
  },
  {
    name: 'corrupt',
    summary: 'Damage an image on purpose, for tests',
    heading: byHand,
    ...from(() => import('@bcachefs-ts/inspect'), 'corruptCommand'),
  },
  {
    name: 'kill_btree_node',
    summary: 'Damage single btree nodes on purpose, for tests',
    heading: byHand,
    ...from(() => import('@bcachefs-ts/inspect'), 'killBtreeNodeCommand'),
  },
  {
    name: 'kvdb',
    summary: 'Look at keys and edit them by hand, by the names of their fields',
    heading: byHand,
    ...from(() => import('@bcachefs-ts/inspect'), 'kvdbCommand'),
  },
  {
    name: 'shell',
    summary: 'Look at files and change them, one command after the other',
    heading: files,
    ...fromProgram(
      () => import('@bcachefs-ts/explore'),
      'shellOf',
      () => bcachefs,
    ),
  },
  {
    name: 'complete-path',
    summary: 'Complete a path in a filesystem, for the scripts of completions',
    hidden: true,
    ...fromProgram(
      () => import('@bcachefs-ts/files'),
      'pathCompletion',
      () => bcachefs,
    ),
  },
] as const satisfies readonly Listed[];

export const bcachefs: Program = defineProgram({
  name: 'bcachefs',
  version,
  summary: 'make and look into bcachefs filesystems, without the kernel and without root',
  // Where this is an error, the type that is expected is the name of the command that was forgotten.
  commands: commands satisfies [Forgotten<typeof commands>] extends [never]
    ? readonly Listed[]
    : Forgotten<typeof commands>,
  elsewhere,
});
