// Which member of a filesystem a command line means, and what opening one for looking around takes.

import { basename } from 'node:path';
import { type Context, type FilesystemArgs, findMembersForReading, passphraseFor } from '@bcachefs-ts/command';
import {
  CorruptError,
  encryptionOf,
  Filesystem,
  filesystemOf,
  locationText,
  type MemberSet,
  masterKey,
  NO_REPLAY,
  UsageError,
} from '@bcachefs-ts/core';

/** One word that names a filesystem. */
export const filesystemPositional = {
  count: 'one',
  file: true,
  help: 'a device or image, several members joined by colons, or a directory of images',
} as const;

/**
 * Opens a filesystem also when nothing says where its btrees are: superblocks and journal can be looked at all the same. What is told of
 * the values of keys is what stands there.
 * @throws as openForReading does, but for CorruptError of the journal
 */
export async function openForLooking(context: Context, args: FilesystemArgs): Promise<Filesystem> {
  const set = findMembersForReading(context, args);
  try {
    const encryption = encryptionOf(set.newest.sb);
    const passphrase = encryption === 'passphrase' ? await passphraseFor(context, args.passphrase_file) : undefined;
    try {
      const filesystem = filesystemOf(set, { degraded: true, passphrase });
      for (const { where, detail } of filesystem.replay.problems) {
        context.warn([locationText(where), detail].filter(Boolean).join(': '));
      }
      return filesystem;
    } catch (thrown) {
      if (!(thrown instanceof CorruptError)) throw thrown;
      context.warn(`${thrown.message}; only superblocks and the journal are known`);
      const key = encryption === 'none' ? undefined : masterKey(set.newest.sb, passphrase);
      return new Filesystem(set, NO_REPLAY, key);
    }
  } catch (thrown) {
    for (const { device } of set.members) device.close();
    throw thrown;
  }
}

/**
 * The index of the member that is meant.
 * @param word a number or a path; undefined where there is only one
 * @throws UsageError when it is not among those that were given
 */
export function chosenMember({ members }: MemberSet, word: string | undefined): number {
  const names = members.map(({ sb, device }) => `${sb.dev_idx} (${device.name})`).join(', ');
  if (word === undefined) {
    const [only] = members;
    if (only !== undefined && members.length === 1) return only.sb.dev_idx;
    throw new UsageError(`the filesystem has several members here, say which one is meant: ${names}`, '--device');
  }
  const found = members.find(({ sb, device }) => {
    return String(sb.dev_idx) === word || device.name === word || basename(device.name) === word;
  });
  if (found === undefined) throw new UsageError(`found ${JSON.stringify(word)}, expected one of ${names}`, '--device');
  return found.sb.dev_idx;
}
