// Where passphrases come from, the same for every command: the file of its option (- for a line of standard input), else the
// environment, else the terminal, where it is typed unseen, else the next line of standard input. So `echo pw | bcachefs format
// --encrypted` works as with the reference's tools, which read one line there too.

import { readFileSync } from 'node:fs';
import { DeviceError, UsageError } from '@bcachefs-ts/core/engine';
import type { Context } from './context.ts';

/** Of a filesystem as it is; of one that is made, the one that it gets. */
export const PASSPHRASE_VARIABLE = 'BCACHEFS_PASSPHRASE';

/** For a line of standard input, where a file is expected. */
const STDIN = '-';

export interface PassphraseSource {
  /** The file that the option named, if it was given. */
  readonly file: string | undefined;
  /** That option, as the user writes it: `--passphrase_file`. */
  readonly flag: string;
  readonly question: string;
  /** The environment holds another one: that of the filesystem as it is. */
  readonly ignoresEnvironment?: boolean;
}

/** The passphrase of a filesystem. */
export async function readPassphrase(context: Context, source: PassphraseSource): Promise<Uint8Array> {
  return (
    (await unaskedPassphrase(context, source)) ?? encoded(await context.prompt.passphrase(source.question, source))
  );
}

/** A new passphrase: asked for twice at a terminal. From elsewhere it is taken as it is, since it was not typed. */
export async function readNewPassphrase(context: Context, source: PassphraseSource): Promise<Uint8Array> {
  return (
    (await unaskedPassphrase(context, source)) ?? encoded(await context.prompt.newPassphrase(source.question, source))
  );
}

/** Undefined when it has to be asked for. */
async function unaskedPassphrase(context: Context, source: PassphraseSource): Promise<Uint8Array | undefined> {
  const { file, flag } = source;
  if (file === STDIN) return await passphraseFromInput(context, source);
  if (file !== undefined) return checked(withoutLineEnd(contentsOf(file)), file, flag);
  const given = source.ignoresEnvironment ? undefined : context.env[PASSPHRASE_VARIABLE];
  if (given !== undefined && given !== '') return checked(encoded(given), PASSPHRASE_VARIABLE, undefined);
  return context.prompt.isPiped ? await passphraseFromInput(context, source) : undefined;
}

async function passphraseFromInput(context: Context, { flag, question }: PassphraseSource): Promise<Uint8Array> {
  const line = await context.prompt.line({ flag });
  if (line === undefined) {
    throw new UsageError(
      `a passphrase is needed (${question}): standard input has no line with it; give ${flag}, or set ${PASSPHRASE_VARIABLE}`,
      undefined,
      'passphrase_needed',
    );
  }
  return checked(line, 'the line of standard input', undefined);
}

function contentsOf(file: string): Uint8Array {
  try {
    return readFileSync(file);
  } catch (cause) {
    throw new DeviceError('io', file, `cannot be read: ${cause instanceof Error ? cause.message : String(cause)}`, {
      cause,
    });
  }
}

/** As the reference's tools read files: all of it but the last line's end. */
function withoutLineEnd(contents: Uint8Array): Uint8Array {
  return contents.at(-1) === 0x0a ? contents.subarray(0, -1) : contents;
}

/** @param from for people; @param flag the option at fault, if one was given */
function checked(passphrase: Uint8Array, from: string, flag: string | undefined): Uint8Array {
  if (passphrase.length === 0) throw new UsageError(`${from} is empty, a passphrase has at least one byte`, flag);
  if (passphrase.includes(0)) {
    throw new UsageError(`${from} holds a NUL byte, where the kernel's tools would stop reading`, flag);
  }
  return new Uint8Array(passphrase);
}

function encoded(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}
