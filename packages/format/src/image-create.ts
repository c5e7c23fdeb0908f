// bcachefs image create: an image file with the files of a directory or an archive, as small as it can be. It is made beside its place and
// put there when it is done: OUT is the old file, or a whole image.

import { lstatSync, renameSync, rmSync } from 'node:fs';
import { CommandFailed, defineCommand, type OptionSpec, tableOptionValues } from '@bcachefs-ts/command';
import { openDevice, UsageError } from '@bcachefs-ts/core/engine';
import { type DeviceArgs, madeJson, makeFilesystem, printMade } from './make.ts';
import { filesystemOptionSpecs, filesystemRows, MIN, makeOptions, onlyDeviceOptions, parseFsSize } from './options.ts';
import { sourceOptions } from './source-options.ts';

const { no_initialize: _, force: __, ...imageOptions } = makeOptions;

export const imageCreateCommand = defineCommand({
  name: 'create',
  summary: 'Make an image with the files of a directory or an archive',
  description:
    'As format --source, for one image file, and by default as small as its files allow (--fs_size=min). All that format keeps is kept: ' +
    'owners, permissions, times in nanoseconds, links, device nodes, extended attributes and ACLs.\n\n' +
    'The image is made under the name OUT.partial and gets its own name when it is complete and on the disk; whatever goes wrong, ' +
    'there is no half image, and an image that --force replaces stays until then. Only kill -9 leaves OUT.partial behind, which ' +
    'the next run removes.\n\n' +
    'With --seed and SOURCE_DATE_EPOCH in the environment, equal files give the same image byte for byte on every machine.',
  examples: [
    { command: 'bcachefs image create --source=rootfs root.img', does: 'Makes an image of a directory' },
    {
      command: 'docker export web | bcachefs image create --source=- --compression=zstd web.img',
      does: 'Makes a compressed image of an archive on standard input',
    },
    {
      command: 'SOURCE_DATE_EPOCH=0 bcachefs image create --seed=v1 --owner=0:0 --source=rootfs root.img',
      does: 'Makes the same image of the same files everywhere',
    },
  ],
  positionals: { out: { count: 'one', file: true, help: 'the image file to make' } },
  options: {
    ...sourceOptions,
    source: { ...sourceOptions.source, required: true },
    fs_size: {
      type: 'string',
      value: 'SIZE|min',
      parse: parseFsSize,
      hints: [MIN],
      help: 'size of the image (default min: what the files need)',
    },
    ...onlyDeviceOptions,
    ...imageOptions,
    force: { type: 'flag', alias: 'f', help: 'replace OUT if it is there' } satisfies OptionSpec,
    ...filesystemOptionSpecs,
  },
  run(context, args) {
    const device = { fs_size: args.fs_size ?? MIN, bucket_size: args.bucket_size, label: args.label };
    return atomically(args.out, args.force, path =>
      makeFilesystem(context, { ...args, no_initialize: false, force: true }, tableOptionValues(filesystemRows, args), [
        { ...device, path, shownPath: args.out },
      ] satisfies DeviceArgs[]),
    );
  },
  text: printMade,
  json: madeJson,
});

/** What `make` leaves at the path that it is given becomes `out`. */
async function atomically<T>(out: string, isReplacing: boolean, make: (path: string) => Promise<T>): Promise<T> {
  const there = lstatSync(out, { throwIfNoEntry: false });
  if (there !== undefined && !there.isFile()) {
    throw new UsageError(`${out} is not a regular file; format makes filesystems on devices`);
  }
  if (there !== undefined && !isReplacing)
    throw new CommandFailed(`${out} is there already; --force replaces it`, { code: 'EEXIST' });
  const partial = `${out}.partial`;
  removeLeftOver(partial);
  try {
    const made = await make(partial);
    renameSync(partial, out);
    return made;
  } catch (thrown) {
    rmSync(partial, { force: true });
    throw thrown;
  }
}

/** Of a run that was killed. @throws DeviceError when it is still running */
function removeLeftOver(partial: string): void {
  if (lstatSync(partial, { throwIfNoEntry: false }) === undefined) return;
  openDevice(partial, { write: true }).close();
  rmSync(partial);
}
