// Asks for a passphrase once: commands that are run later find it in the environment that they are given.

import { type Context, PASSPHRASE_VARIABLE, passphraseFor, type TreeArgs, withMembers } from '@bcachefs-ts/command';
import { encryptionOf } from '@bcachefs-ts/core/engine';

/** @throws as withMembers and passphraseFor do */
export async function passphraseOnce<A extends TreeArgs>(
  context: Context,
  args: A,
): Promise<{ readonly context: Context; readonly args: A }> {
  const { filesystem, uuid, passphrase_file: file } = args;
  const isGiven = (file !== undefined && file !== '-') || (context.env[PASSPHRASE_VARIABLE] ?? '') !== '';
  if (isGiven) return { context, args };
  const isSealed = withMembers(context, { devices: [filesystem], uuid }, { write: false }, ({ newest }) => {
    return encryptionOf(newest.sb) === 'passphrase';
  });
  if (!isSealed) return { context, args };
  const passphrase = new TextDecoder().decode(await passphraseFor(context, file));
  return {
    args: { ...args, passphrase_file: undefined },
    context: { ...context, env: { ...context.env, [PASSPHRASE_VARIABLE]: passphrase } },
  };
}
