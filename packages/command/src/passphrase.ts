// Reads passphrases: from a file, or asked for on the terminal.

import { readFileSync } from 'node:fs';
import { DeviceError, UsageError } from '@bcachefs-ts/core';
import type { Context } from './context.ts';

/** Where a passphrase may come from. */
export interface PassphraseSource {
  /** The file that the option named, if it was given. */
  readonly file: string | undefined;
  /** That option, as the user writes it: `--passphrase_file`. */
  readonly flag: string;
  readonly question: string;
}

/** The passphrase in the file, else what is typed unseen. */
export async function readPassphrase(context: Context, source: PassphraseSource): Promise<Uint8Array> {
  if (source.file !== undefined) return passphraseFromFile(source.file, source.flag);
  return new TextEncoder().encode(await context.prompt.passphrase(source.question, { flag: source.flag }));
}

/** A new passphrase: from the file, else typed twice. */
export async function readNewPassphrase(context: Context, source: PassphraseSource): Promise<Uint8Array> {
  if (source.file !== undefined) return passphraseFromFile(source.file, source.flag);
  return new TextEncoder().encode(await context.prompt.newPassphrase(source.question, { flag: source.flag }));
}

/** A file's contents without the line's end after it, as the reference's tools read it. */
function passphraseFromFile(file: string, flag: string): Uint8Array {
  let contents: Uint8Array;
  try {
    contents = readFileSync(file);
  } catch (cause) {
    throw new DeviceError('io', file, `cannot be read: ${cause instanceof Error ? cause.message : String(cause)}`, {
      cause,
    });
  }
  const passphrase = contents.at(-1) === 0x0a ? contents.subarray(0, -1) : contents;
  if (passphrase.length === 0) throw new UsageError(`${file} is empty, a passphrase has at least one byte`, flag);
  if (passphrase.includes(0))
    throw new UsageError(`${file} holds a NUL byte, where the kernel's tools would stop reading`, flag);
  return new Uint8Array(passphrase);
}
