// Opens the filesystem that a command line names, for reading: all members that are there, and the passphrase where one is needed.

import {
  type BlockDevice,
  encryptionOf,
  type Filesystem,
  filesystemOf,
  locationText,
  memberPaths,
  missingText,
  openDevice,
  openMembers,
} from '@bcachefs-ts/core';
import type { Context } from './context.ts';
import { readPassphrase } from './passphrase.ts';

/** Where a passphrase may come from, besides the terminal. */
export const PASSPHRASE_VARIABLE = 'BCACHEFS_PASSPHRASE';

export const passphraseOption = {
  passphrase_file: {
    type: 'string',
    value: 'FILE',
    file: true,
    help: `read the passphrase from this file; else from the environment's ${PASSPHRASE_VARIABLE}, else it is asked for`,
  },
} as const;

export const devicesPositional = {
  devices: {
    count: 'some',
    file: true,
    help: 'the members, in any order: devices, images, several joined by colons, or a directory of images',
  },
} as const;

/**
 * Opens for reading although members are missing, which is told. The caller closes it.
 * @throws UsageError, DeviceError, CorruptError, IncompatibleError as openFilesystem does
 */
export async function openForReading(
  context: Context,
  args: { readonly devices: readonly string[]; readonly passphrase_file: string | undefined },
): Promise<Filesystem> {
  const opened: BlockDevice[] = [];
  try {
    for (const path of memberPaths(args.devices)) opened.push(openDevice(path, { write: false }));
    const set = openMembers(opened);
    if (set.missing.length > 0) context.warn(`${missingText(set)}; what is only there cannot be read`);
    const isSealed = encryptionOf(set.newest.sb) === 'passphrase';
    const passphrase = isSealed ? await passphraseFor(context, args.passphrase_file) : undefined;
    const filesystem = filesystemOf(set, { degraded: true, passphrase });
    for (const { where, detail } of filesystem.replay.problems) {
      context.warn([locationText(where), detail].filter(Boolean).join(': '));
    }
    return filesystem;
  } catch (thrown) {
    for (const device of opened) device.close();
    throw thrown;
  }
}

export async function passphraseFor(context: Context, file: string | undefined): Promise<Uint8Array> {
  const given = context.env[PASSPHRASE_VARIABLE];
  if (file === undefined && given !== undefined && given !== '') return new TextEncoder().encode(given);
  return await readPassphrase(context, { file, flag: '--passphrase_file', question: 'Passphrase' });
}
