// set-passphrase, remove-passphrase and unlock: the passphrase of an encrypted filesystem, offline.

import {
  type AddKey,
  addKeyOf,
  allowMissingOption,
  CommandFailed,
  type Context,
  defineCommand,
  devicesPositional,
  type FilesystemArgs,
  filesystemOptions,
  type KeyringName,
  keyringNames,
  loadAddKey,
  neededAddKey,
  type PassphraseSource,
  passphraseOption,
  readNewPassphrase,
  readPassphrase,
  secondsOf,
  type UndoFileArgs,
  undoFileOption,
  withMembers,
} from '@bcachefs-ts/command';
import {
  type Encryption,
  editSuperblock,
  encryptionOf,
  findMasterKey,
  keyringKey,
  keyToWriteWith,
  withPassphrase,
} from '@bcachefs-ts/core/engine';

/** Where the passphrase of the filesystem as it is comes from. */
const current = (file: string | undefined, question: string): PassphraseSource => ({
  file,
  flag: '--passphrase_file',
  question,
});

/** Seals the master key with the new passphrase, or leaves it in the clear without one, on every member. */
function reseal(
  context: Context,
  args: Pick<FilesystemArgs, 'devices' | 'uuid'> & UndoFileArgs & { readonly allow_missing: boolean },
  old: Uint8Array | undefined,
  next: Uint8Array | undefined,
) {
  return withMembers(context, args, { write: true }, set => {
    const found = findMasterKey(set, old);
    if (found === undefined)
      throw new CommandFailed('the passphrase is wrong; nothing was changed', { code: 'wrong_passphrase' });
    const key = keyToWriteWith(found);
    const sb = editSuperblock(set, edited => withPassphrase(edited, key, next), {
      now: secondsOf(context.date()),
      allowMissing: args.allow_missing,
    });
    return { uuid: sb.user_uuid, members: set.members.map(({ device }) => device.name), seq: sb.seq };
  });
}

/** Refuses filesystems without encryption before anything is asked. */
function neededEncryption(
  context: Context,
  args: Pick<FilesystemArgs, 'devices' | 'uuid'>,
): 'passphrase' | 'no passphrase' {
  return withMembers(context, args, { write: false }, ({ newest }) => {
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
    'Seals the master key with a new passphrase. The data stay as they are: anyone who knows the master key, or keeps an old ' +
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
    {
      command: "printf '%s\\n' old new | bcachefs set-passphrase disk.img",
      does: 'Takes both from standard input, a line each',
    },
  ],
  positionals: devicesPositional,
  options: {
    ...passphraseOption,
    new_passphrase_file: {
      type: 'string',
      value: 'FILE',
      file: true,
      help: 'read the new passphrase from this file, - for a line of standard input; else it is asked for',
    },
    uuid: filesystemOptions.uuid,
    ...allowMissingOption,
    ...undoFileOption,
  },
  async run(context, args) {
    const before = neededEncryption(context, args);
    const old =
      before === 'passphrase'
        ? await readPassphrase(context, current(args.passphrase_file, 'Enter current passphrase'))
        : undefined;
    const next = await readNewPassphrase(context, {
      file: args.new_passphrase_file,
      flag: '--new_passphrase_file',
      question: 'Enter new passphrase',
      ignoresEnvironment: true,
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
  options: { uuid: filesystemOptions.uuid, ...passphraseOption, ...allowMissingOption, ...undoFileOption },
  async run(context, args) {
    if (neededEncryption(context, args) === 'no passphrase') {
      throw new CommandFailed('the filesystem has no passphrase; its key is in the clear already', {
        code: 'no_passphrase',
      });
    }
    const old = await readPassphrase(context, current(args.passphrase_file, 'Enter passphrase'));
    return reseal(context, args, old, undefined);
  },
  text(result, out) {
    out.line(`The passphrase of ${result.uuid} was removed on ${result.members.join(', ')}.`);
    out.line('Anyone who has the devices can now read the data.');
  },
});

interface UnlockArgs {
  readonly device: string;
  readonly check: boolean;
  readonly ask: boolean;
  readonly keyring: KeyringName;
  readonly passphrase_file: string | undefined;
  readonly file: string | undefined;
}

/** @param loadCall finds the host's add_key; undefined where there is none */
export function unlockCommandOn(loadCall: () => AddKey | undefined) {
  return defineCommand({
    name: 'unlock',
    summary: 'Hand the key of an encrypted filesystem to the kernel, or check a passphrase',
    description:
      "Adds the key that the passphrase gives to a keyring of the running kernel, where mount finds it. This takes Linux; it is the host's " +
      'kernel that is asked, whichever device or image the filesystem is on.\n\n' +
      'With --check nothing is added. With --check alone, it says whether a passphrase is needed; with a passphrase file (or --ask), whether ' +
      'it is the right one.',
    examples: [
      {
        command: 'bcachefs unlock /dev/sda',
        does: 'Asks for the passphrase, and adds the key to the keyring of the user',
      },
      {
        command: 'bcachefs unlock -k session --passphrase_file=pw /dev/sda',
        does: 'Adds it to the keyring of the session',
      },
      { command: 'bcachefs unlock --check disk.img', does: 'Succeeds if the filesystem needs a passphrase' },
      {
        command: 'bcachefs unlock --check --passphrase_file=pw disk.img',
        does: 'Succeeds if the passphrase in the file is right',
      },
    ],
    positionals: { device: { count: 'one', file: true, help: 'a device or image of the filesystem' } },
    options: {
      keyring: {
        type: 'choice',
        alias: 'k',
        choices: keyringNames,
        default: 'user',
        help: 'the keyring that the key is added to',
      },
      check: { type: 'flag', alias: 'c', help: 'check, and change nothing' },
      passphrase_file: { ...passphraseOption.passphrase_file, alias: 'f' },
      file: {
        type: 'string',
        value: 'FILE',
        file: true,
        hidden: true,
        conflictsWith: ['passphrase_file'],
        help: 'another name of --passphrase_file',
      },
      ask: {
        type: 'flag',
        conflictsWith: ['file', 'passphrase_file'],
        help: 'with --check: check a passphrase that is not in a file',
      },
    },
    exitCodes: [
      { code: 0, means: 'the key was added; with --check: encrypted, and the passphrase that was given is right' },
      {
        code: 1,
        means:
          'not encrypted, encrypted without a passphrase, the passphrase is wrong, or the kernel does not take the key',
      },
    ],
    run: (context, args) => (args.check ? check(context, args) : unlock(context, args, loadCall)),
    text({ device, encryption, passphrase, added }, out) {
      const states = {
        none: 'is not encrypted',
        'no passphrase': 'is encrypted, but has no passphrase',
        passphrase: 'is encrypted and needs a passphrase',
      };
      if (added !== null) out.line(`added the key ${added.description} to the keyring ${added.keyring}`);
      else {
        out.line(
          `${device} ${states[encryption]}${passphrase === 'not checked' ? '' : `; this passphrase is ${passphrase}`}`,
        );
      }
    },
    exitCode: ({ encryption, passphrase }) => (encryption === 'passphrase' && passphrase !== 'wrong' ? 0 : 1),
  });
}

export const unlockCommand = unlockCommandOn(loadAddKey);

interface Unlocked {
  readonly device: string;
  readonly encryption: Encryption;
  readonly passphrase: 'not checked' | 'wrong' | 'right';
  /** Null with --check. */
  readonly added: { readonly keyring: KeyringName; readonly description: string } | null;
}

async function check(context: Context, args: UnlockArgs): Promise<Unlocked> {
  const { device } = args;
  const encryption = withMembers(context, { devices: [device] }, { write: false }, ({ newest }) =>
    encryptionOf(newest.sb),
  );
  const file = args.passphrase_file ?? args.file;
  if (encryption !== 'passphrase' || (file === undefined && !args.ask)) {
    return { device, encryption, passphrase: 'not checked', added: null };
  }
  const passphrase = await readPassphrase(context, current(file, 'Enter passphrase'));
  const key = withMembers(context, { devices: [device] }, { write: false }, ({ newest }) =>
    keyringKey(newest.sb, passphrase),
  );
  return { device, encryption, passphrase: key === undefined ? 'wrong' : 'right', added: null };
}

async function unlock(context: Context, args: UnlockArgs, loadCall: () => AddKey | undefined): Promise<Unlocked> {
  const { device, keyring } = args;
  if (neededEncryption(context, { devices: [device] }) === 'no passphrase') {
    throw new CommandFailed(`${device} has no passphrase: a kernel mounts it as it is`, { code: 'no_passphrase' });
  }
  // Before anybody types a passphrase for nothing.
  const addKey = neededAddKey(loadCall());
  const passphrase = await readPassphrase(context, current(args.passphrase_file ?? args.file, 'Enter passphrase'));
  const { description } = withMembers(context, { devices: [device] }, { write: false }, ({ newest: { sb } }) =>
    addKeyOf(sb, passphrase, keyring, addKey),
  );
  return { device, encryption: 'passphrase', passphrase: 'right', added: { keyring, description } };
}
