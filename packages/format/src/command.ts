// bcachefs format, mkfs.bcachefs: makes a filesystem on devices or image files. This file is the command line; the work is in make.ts.

import { existsSync } from 'node:fs';
import { defineCommand, tableOptionValues, undoFileOption } from '@bcachefs-ts/command';
import { VERSION_CURRENT_WRITTEN, versionNumber } from '@bcachefs-ts/core/engine';
import { madeJson, makeFilesystem, printMade } from './make.ts';
import {
  DEVICE_HEADING,
  deviceOptions,
  filesystemOptionSpecs,
  filesystemRows,
  MIN,
  makeOptions,
  parseFsSize,
} from './options.ts';
import { sourceOptions } from './source-options.ts';

export const formatCommand = defineCommand({
  name: 'format',
  summary: 'Make a new filesystem on one or more devices or image files',
  description:
    `Writes metadata version ${versionNumber(VERSION_CURRENT_WRITTEN)}, that of Linux 6.12. The filesystem is complete: ` +
    'journal, btrees and root directory are there, and can be read and changed before any kernel has seen it.\n\n' +
    'Nothing is overwritten without asking: a device that holds a filesystem, a partition table or anything else that is ' +
    'recognised is shown and left alone, unless --force is given. A mounted device is always refused. All sizes are checked ' +
    'before the first write.\n\n' +
    'With --source it is filled with the files of a directory, a tar archive, or an ext2, ext3 or ext4 filesystem that is not mounted, ' +
    'without root and without a mount: owners, permissions, ' +
    'times in nanoseconds, links, device nodes, extended attributes and ACLs; blocks of zeroes become holes. Superblocks are ' +
    'written last, so that there is no filesystem before all of it is there. --fs_size=min makes an image as small as its files allow.\n\n' +
    'The result depends on the arguments, the files and the sizes of the devices only. With --seed and SOURCE_DATE_EPOCH in the ' +
    'environment, it is the same byte for byte each time and everywhere; files are then no newer than that, and times of access are those ' +
    'of change.',
  examples: [
    {
      command: 'bcachefs format --fs_size=1G disk.img',
      does: 'Makes an image file of 1 GiB, sparse, with a filesystem on it',
    },
    {
      command: 'bcachefs format --compression=zstd:3 --fs_label=data /dev/sdb',
      does: 'Makes a compressed filesystem on a disk',
    },
    {
      command:
        'bcachefs format --replicas=2 --foreground_target=ssd --background_target=hdd --label=ssd.a /dev/sda --label=hdd.a /dev/sdb --label=hdd.b /dev/sdc',
      does: 'Keeps two copies of everything on three devices, writing to the fast one first',
    },
    {
      command: 'bcachefs format --source=rootfs --fs_size=2G --compression=zstd root.img',
      does: 'Makes an image with the files of a directory',
    },
    {
      command: 'bcachefs format --encrypted --passphrase_file=pw --fs_size=1G disk.img',
      does: 'Makes an encrypted filesystem without asking',
    },
    {
      command: 'SOURCE_DATE_EPOCH=0 bcachefs format --seed=ci --fs_size=1G disk.img',
      does: 'Makes the same image each time',
    },
  ],
  positionals: {
    devices: {
      count: 'some',
      file: true,
      help: 'devices, or image files; an image that does not exist is made with --fs_size',
    },
  },
  options: {
    ...makeOptions,
    ...sourceOptions,
    fs_size: {
      type: 'string',
      value: 'SIZE|min',
      each: 'devices',
      heading: DEVICE_HEADING,
      parse: parseFsSize,
      hints: [MIN],
      help:
        'size of the filesystem on the next device, and of all image files after it that do not exist yet: they are made, sparse; ' +
        'min: what the files of --source need',
    },
    ...undoFileOption,
    ...deviceOptions,
    ...filesystemOptionSpecs,
  },
  run(context, args) {
    const devices = args.devices.map(({ word, options: { fs_size, ...options }, own }) => {
      // A disk further along must not become smaller because of a size that was given for a file.
      const isMeant = own.has('fs_size') || !existsSync(word);
      return { path: word, fs_size: isMeant ? fs_size : undefined, ...options };
    });
    return makeFilesystem(context, args, tableOptionValues(filesystemRows, args), devices);
  },
  text: printMade,
  json: madeJson,
});
