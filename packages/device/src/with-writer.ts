// How the commands that move or change what is on members open the filesystem: for writing, or for reading where nothing is to be written, with
// a writer that is closed with what the command ends with.

import { type Context, openForWriting, secondsOf } from '@bcachefs-ts/command';
import { type FilesystemWriter, loadChecksums, systemRandom } from '@bcachefs-ts/core/engine';

export interface WriterArgs {
  readonly filesystem: string;
  readonly uuid: string | undefined;
  readonly undo_file: string | undefined;
  readonly passphrase_file: string | undefined;
  readonly allow_missing?: boolean;
  readonly dry_run: boolean;
}

/** @throws as openForWriting does, and what `act` throws */
export async function withWriter<T>(
  context: Context,
  { filesystem, uuid, undo_file, passphrase_file, allow_missing, dry_run: isTrial }: WriterArgs,
  act: (writer: FilesystemWriter) => Promise<T>,
): Promise<T> {
  await loadChecksums();
  const now = secondsOf(context.date());
  const missing = allow_missing === undefined ? {} : { allow_missing };
  const request = { devices: [filesystem], uuid, undo_file, passphrase_file, isTrial, ...missing };
  const writer = await openForWriting(context, request, () => ({ random: systemRandom, now: () => now }));
  // The set that was opened: a member that leaves is closed too.
  const { set } = writer.filesystem;
  try {
    return await act(writer);
  } finally {
    for (const { device } of set.members) device.close();
  }
}
