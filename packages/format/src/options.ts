// The options of format and of image create: what a new filesystem is to be like. Declarations, and what their values mean.

import {
  type OptionSpec,
  type OptionSpecs,
  PASSPHRASE_VARIABLE,
  parseSize,
  parseUuid,
  tableOptions,
  valueHints,
} from '@bcachefs-ts/command';
import {
  formatOptions,
  kernels,
  newFilesystemDefault,
  option,
  parseKernel,
  parseOptionValue,
  parseVersion,
  RULES_WRITTEN,
  VERSION_CURRENT_WRITTEN,
  versionNumber,
  WRITTEN_VERSIONS,
} from '@bcachefs-ts/core/engine';

/** The release whose options count: that of the version that is written. */
export const RELEASE = RULES_WRITTEN.release;
export const filesystemRows = formatOptions(RELEASE, 'fs');
export const DEVICE_HEADING = 'Device options, for the devices after them';

/** `--fs_size=min`: what the files need, and no more. */
export const MIN = 'min';

/** Their values are read by `tableOptionValues`, so that they need no types of their own here. */
export const filesystemOptionSpecs: Record<never, OptionSpec> = tableOptions(filesystemRows, {
  release: RELEASE,
  heading: 'Filesystem options',
  defaultOf: name => (name === 'block_size' || name === 'btree_node_size' ? undefined : newFilesystemDefault(name)),
});

/** What is neither of a device nor in the table of options. */
export const makeOptions = {
  fs_label: { type: 'string', alias: 'L', value: 'NAME', help: 'name of the filesystem, at most 32 bytes' },
  uuid: { type: 'string', alias: 'U', value: 'UUID', parse: parseUuid, help: 'external UUID (default random)' },
  replicas: {
    type: 'string',
    value: 'N',
    parse: (text: string): number => Number(parseOptionValue(option('metadata_replicas'), text, RELEASE)),
    ...valueHints(option('metadata_replicas'), RELEASE),
    help: 'copies of data and of metadata, 1 to 3; sets both options',
  },
  superblock_size: {
    type: 'size',
    help: 'room for each copy of the superblock, a power of two (default 1M, less on small devices)',
  },
  version: {
    type: 'string',
    value: 'VERSION',
    parse: parseVersion,
    help: `metadata version to write, ${WRITTEN_VERSIONS} (default ${versionNumber(VERSION_CURRENT_WRITTEN)}); 1.28 is Linux 6.16's`,
  },
  for: {
    type: 'string',
    value: 'KERNEL',
    parse: parseKernel,
    hints: kernels.map(({ name }) => name),
    conflictsWith: ['version'],
    help: 'choose the version by the kernel that shall mount it: 6.12, 6.16, or latest for the newest that can be written',
  },
  no_initialize: { type: 'flag', help: 'write superblocks only; the kernel makes the rest at the first mount' },
  force: { type: 'flag', alias: 'f', help: 'overwrite whatever is recognised on the devices' },
  verbose: { type: 'flag', alias: 'v', help: 'print the whole superblock, as show-super does, instead of a summary' },
  encrypted: { type: 'flag', heading: 'Encryption', help: 'encrypt all of it (ChaCha20/Poly1305)' },
  passphrase_file: {
    type: 'string',
    value: 'FILE',
    file: true,
    heading: 'Encryption',
    needs: ['encrypted'],
    conflictsWith: ['no_passphrase'],
    help: `read the passphrase from this file, - for a line of standard input; else from the environment's ${PASSPHRASE_VARIABLE}, else it is asked for`,
  },
  no_passphrase: {
    type: 'flag',
    heading: 'Encryption',
    needs: ['encrypted'],
    help: 'store the key in the clear; set-passphrase can seal it later',
  },
  seed: {
    type: 'string',
    value: 'TEXT',
    heading: 'Reproducible images',
    help: 'make all random numbers from this text; not for encryption that matters, since the text then gives away the key, and not for encrypting files',
  },
} as const satisfies OptionSpecs;

export const parseFsSize = (text: string): number | typeof MIN => (text === MIN ? MIN : parseSize(text));

export const deviceOptions = {
  bucket_size: {
    type: 'size',
    each: 'devices',
    heading: DEVICE_HEADING,
    help: 'size of the unit of allocation, a multiple of the block size (default by the sizes of the devices)',
  },
  label: {
    type: 'string',
    alias: 'l',
    value: 'PATH',
    each: 'devices',
    heading: DEVICE_HEADING,
    help: 'disk label, such as ssd.ssd1',
  },
  durability: {
    type: 'number',
    min: 0,
    max: 2,
    each: 'devices',
    heading: DEVICE_HEADING,
    help: 'how many copies one copy on the device counts for; 0 makes it a cache (default 1)',
  },
  discard: {
    type: 'boolean',
    each: 'devices',
    heading: DEVICE_HEADING,
    help: 'discard space that becomes free, so that the device can reuse it (default yes)',
  },
  data_allowed: {
    type: 'string',
    value: 'TYPES',
    each: 'devices',
    heading: DEVICE_HEADING,
    parse: (text: string): number => Number(parseOptionValue(option('data_allowed'), text, RELEASE)),
    ...valueHints(option('data_allowed'), RELEASE),
    help: 'what may be stored on the device: journal, btree, user (default all; user for a cache)',
  },
} as const satisfies OptionSpecs;

/** Those of the only device there is. */
export const onlyDeviceOptions = {
  bucket_size: { type: 'size', help: deviceOptions.bucket_size.help },
  label: { type: 'string', alias: 'l', value: 'PATH', help: deviceOptions.label.help },
} as const satisfies OptionSpecs;
