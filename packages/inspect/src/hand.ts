// How a filesystem is opened that is to be edited or damaged below everything that keeps it sound: images only, unless somebody insists.

import {
  type Context,
  type FilesystemArgs,
  passphraseFor,
  secondsOf,
  type UndoFileArgs,
  undoWrap,
  withMembers,
} from '@bcachefs-ts/command';
import {
  type BlockDevice,
  DamageTarget,
  encryptionOf,
  FileDevice,
  findMasterKey,
  keyToWriteWith,
  loadChecksums,
  type MemberSet,
  openDevice,
  openMembers,
  type RandomSource,
  UsageError,
} from '@bcachefs-ts/core/engine';

export const forceOption = {
  force: { type: 'flag', help: 'also on block devices; without it only image files are written to' },
} as const;

/** @throws UsageError */
function refuseBlockDevices({ members }: MemberSet): void {
  for (const { device } of members) {
    if (!(device instanceof FileDevice) || device.kind !== 'block') continue;
    throw new UsageError(
      `${device.name} is a block device, and only image files are damaged or edited by hand; --force insists`,
      undefined,
      'block_device',
    );
  }
}

/**
 * The master key. Nothing is asked for where nothing is encrypted.
 * @throws UsageError for a wrong passphrase; CorruptError for a key that is not the filesystem's
 */
function keyOf(set: MemberSet, passphrase: Uint8Array | undefined): Uint8Array | undefined {
  if (encryptionOf(set.newest.sb) === 'none') return undefined;
  const found = findMasterKey(set, passphrase);
  if (found === undefined) throw new UsageError('wrong passphrase', undefined, 'wrong_passphrase');
  return keyToWriteWith(found);
}

/** What is to be damaged, open for writing until it is closed. */
export interface OpenTarget {
  readonly target: DamageTarget;
  readonly set: MemberSet;
  close(): void;
}

/** Opens all members for writing. @throws UsageError for block devices without `force` */
export async function openTarget(
  context: Context,
  args: FilesystemArgs & UndoFileArgs & { readonly force: boolean },
  random: RandomSource,
): Promise<OpenTarget> {
  await loadChecksums();
  const { encryption, paths } = withMembers(context, args, { write: false }, set => {
    if (!args.force) refuseBlockDevices(set);
    return { encryption: encryptionOf(set.newest.sb), paths: set.members.map(({ device }) => device.name) };
  });
  const passphrase = encryption === 'passphrase' ? await passphraseFor(context, args.passphrase_file) : undefined;
  const undoable = undoWrap(context, args);
  const devices: BlockDevice[] = [];
  const close = () => {
    for (const device of devices) device.close();
  };
  try {
    for (const path of paths) devices.push(undoable(openDevice(path, { write: true })));
    const set = openMembers(devices);
    const now = () => secondsOf(context.date());
    const target = new DamageTarget(
      set.members.map(({ device }) => device),
      { key: keyOf(set, passphrase), random, now },
    );
    return { target, set, close };
  } catch (thrown) {
    close();
    throw thrown;
  }
}

/** Runs `use` with what is to be damaged: all members, open for writing. @throws UsageError for block devices without `force` */
export async function withTarget<T>(
  context: Context,
  args: FilesystemArgs & UndoFileArgs & { readonly force: boolean },
  random: RandomSource,
  use: (target: DamageTarget, set: MemberSet) => T,
): Promise<T> {
  const { target, set, close } = await openTarget(context, args, random);
  try {
    return use(target, set);
  } finally {
    close();
  }
}
