// set-passphrase, remove-passphrase and unlock: the passphrase of an encrypted filesystem, offline.

import { CommandFailed, type Context, defineCommand, readNewPassphrase, readPassphrase } from '@bcachefs-ts/command';
import { editSuperblock, encryptionOf, masterKey, UsageError, withPassphrase } from '@bcachefs-ts/core';
import { allowMissingOption, devicesPositional, secondsOf, withMembers } from './members.ts';

const passphraseFile = {
  type: 'string',
  value: 'FILE',
  file: true,
  help: 'read the current passphrase from this file instead of asking',
} as const;

/** Seals the master key with the new passphrase, or leaves it in the clear without one, on every member. */
function reseal(
  context: Context,
  { devices, allow_missing }: { readonly devices: readonly string[]; readonly allow_missing: boolean },
  old: Uint8Array | undefined,
  next: Uint8Array | undefined,
) {
  return withMembers(devices, true, set => {
    const key = masterKey(set.newest.sb, old);
    if (key === undefined)
      throw new CommandFailed('the passphrase is wrong; nothing was changed', { code: 'wrong_passphrase' });
    const sb = editSuperblock(set, edited => withPassphrase(edited, key, next), {
      now: secondsOf(context.date()),
      allowMissing: allow_missing,
    });
    return { uuid: sb.user_uuid, members: set.members.map(({ device }) => device.name), seq: sb.seq };
  });
}

/** Refuses filesystems without encryption before anything is asked. */
function neededEncryption(words: readonly string[]): 'passphrase' | 'no passphrase' {
  return withMembers(words, false, ({ newest }) => {
    const encryption = encryptionOf(newest.sb);
    if (encryption !== 'none') return encryption;
    throw new CommandFailed(`${newest.device.name} is not encrypted; encryption is chosen when a filesystem is made`, {
      code: 'not_encrypted',
    });
  });
}

export const setPassphraseCommand = defineCommand({
  name: 'set-passphrase',
  summary: 'Change the passphrase of an encrypted filesystem',
  description:
    'Seals the master key with a new passphrase. The data stay as they are: whoever knows the master key or keeps an old ' +
    'copy of the superblock and the old passphrase can still read them.\n\n' +
    'All members have to be named, and none may be mounted.',
  examples: [
    {
      command: 'bcachefs set-passphrase /dev/sda /dev/sdb',
      does: 'Asks for the old passphrase and twice for the new one',
    },
    {
      command: 'bcachefs set-passphrase --passphrase_file=old --new_passphrase_file=new disk.img',
      does: 'Asks for nothing',
    },
  ],
  positionals: devicesPositional,
  options: {
    passphrase_file: passphraseFile,
    new_passphrase_file: { type: 'string', value: 'FILE', file: true, help: 'read the new passphrase from this file' },
    ...allowMissingOption,
  },
  async run(context, args) {
    const before = neededEncryption(args.devices);
    const old =
      before === 'passphrase'
        ? await readPassphrase(context, {
            file: args.passphrase_file,
            flag: '--passphrase_file',
            question: 'Enter current passphrase',
          })
        : undefined;
    const next = await readNewPassphrase(context, {
      file: args.new_passphrase_file,
      flag: '--new_passphrase_file',
      question: 'Enter new passphrase',
    });
    return reseal(context, args, old, next);
  },
  text(result, out) {
    out.line(`The passphrase of ${result.uuid} was changed on ${result.members.join(', ')}.`);
  },
});

export const removePassphraseCommand = defineCommand({
  name: 'remove-passphrase',
  summary: 'Store the key of an encrypted filesystem without a passphrase',
  description:
    'The filesystem stays encrypted, but its master key stands readable in the superblock: no passphrase is needed any ' +
    'more, and anyone who has the devices can read the data. set-passphrase puts a passphrase back.',
  examples: [{ command: 'bcachefs remove-passphrase /dev/sda', does: 'Asks for the passphrase and removes it' }],
  positionals: devicesPositional,
  options: { passphrase_file: passphraseFile, ...allowMissingOption },
  async run(context, args) {
    if (neededEncryption(args.devices) === 'no passphrase') {
      throw new CommandFailed('the filesystem has no passphrase; its key is in the clear already', {
        code: 'no_passphrase',
      });
    }
    const old = await readPassphrase(context, {
      file: args.passphrase_file,
      flag: '--passphrase_file',
      question: 'Enter passphrase',
    });
    return reseal(context, args, old, undefined);
  },
  text(result, out) {
    out.line(`The passphrase of ${result.uuid} was removed on ${result.members.join(', ')}.`);
    out.line('Anyone who has the devices can now read the data.');
  },
});

export const unlockCommand = defineCommand({
  name: 'unlock',
  summary: 'Check the passphrase of an encrypted filesystem',
  description:
    'Only checks: with --check alone, whether a passphrase is needed; with a passphrase file (or --ask), whether it is ' +
    'the right one. Handing the key to a running kernel is done by the mount helper of the system that mounts it.',
  examples: [
    { command: 'bcachefs unlock --check disk.img', does: 'Succeeds if the filesystem needs a passphrase' },
    { command: 'bcachefs unlock --check --file=pw disk.img', does: 'Succeeds if the passphrase in the file is right' },
  ],
  positionals: { device: { count: 'one', file: true, help: 'a device or image of the filesystem' } },
  options: {
    check: { type: 'flag', alias: 'c', help: 'check, and change nothing; the only thing that can be done here' },
    file: { type: 'string', alias: 'f', value: 'FILE', file: true, help: 'check the passphrase in this file' },
    ask: { type: 'flag', conflictsWith: ['file'], help: 'ask for a passphrase and check it' },
  },
  exitCodes: [
    { code: 0, means: 'encrypted; the passphrase that was given is right' },
    { code: 1, means: 'not encrypted, encrypted without a passphrase, or the passphrase is wrong' },
  ],
  async run(context, args) {
    if (!args.check) throw new UsageError('only checking is possible here; give --check', '--check');
    const device = args.device;
    const encryption = withMembers([device], false, ({ newest }) => encryptionOf(newest.sb));
    const isAsked = args.file !== undefined || args.ask;
    if (encryption !== 'passphrase' || !isAsked) return { device, encryption, passphrase: 'not checked' as const };
    const passphrase = await readPassphrase(context, {
      file: args.file,
      flag: '--file',
      question: 'Enter passphrase',
    });
    const key = withMembers([device], false, ({ newest }) => masterKey(newest.sb, passphrase));
    return { device, encryption, passphrase: key === undefined ? ('wrong' as const) : ('right' as const) };
  },
  text({ device, encryption, passphrase }, out) {
    const states = {
      none: 'is not encrypted',
      'no passphrase': 'is encrypted, but has no passphrase',
      passphrase: 'is encrypted and needs a passphrase',
    };
    out.line(
      `${device} ${states[encryption]}${passphrase === 'not checked' ? '' : `; this passphrase is ${passphrase}`}`,
    );
  },
  exitCode: ({ encryption, passphrase }) => (encryption === 'passphrase' && passphrase !== 'wrong' ? 0 : 1),
});
