// The file for keys that cannot be kept: JSON lines with the key, its value and the reason; bytes that cannot be read as keys are there too. It is a new file, only for its owner to read,
// and on stable storage before the commit that gives the keys up. Where no name was given, it is made when there is something to put
// into it; where one was given, before anything else, so that a name that cannot be used stops the command in time.

import { closeSync, fsyncSync, openSync, rmSync, writeSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { bposText, btrees, type Key, keyTypes } from '@bcachefs-ts/core/engine';

const PIECE_CHARACTERS = 64 * 1024;

export class Quarantine {
  readonly #path: string;
  #fd: number | undefined;
  #pending: string[] = [];
  #pendingCharacters = 0;
  #count = 0;
  #isKept = false;

  constructor(path: string) {
    this.#path = resolve(path);
  }

  /** Where the keys are; undefined when it has none. */
  get file(): string | undefined {
    return this.#count > 0 ? this.#path : undefined;
  }

  /**
   * Makes the file. The system follows no link at the end of the path, since nothing may be there.
   * @throws the system's error, with the path
   */
  create(): void {
    this.#fd ??= openSync(this.#path, 'wx', 0o600);
  }

  add(btree: number, { k, value }: Key, reason: string): void {
    this.#line({
      btree: btrees.nameOf(btree),
      pos: bposText(k.p),
      size: k.size,
      type: keyTypes.nameOf(k.type),
      value: hexOf(value),
      reason,
    });
  }

  /** What cannot be read as a key. */
  addBytes(btree: number, bytes: Uint8Array, reason: string): void {
    this.#line({ btree: btrees.nameOf(btree), bytes: hexOf(bytes), reason });
  }

  #line(entry: object): void {
    this.create();
    const line = JSON.stringify(entry);
    this.#count++;
    this.#pending.push(`${line}\n`);
    this.#pendingCharacters += line.length;
    if (this.#pendingCharacters >= PIECE_CHARACTERS) this.#write();
  }

  /** Brings it to stable storage; from then on it stays. */
  keep(): void {
    if (this.#fd === undefined || this.#count === 0) return;
    this.#write();
    fsyncSync(this.#fd);
    syncFolder(dirname(this.#path));
    this.#isKept = true;
  }

  /** Removes it unless it was kept: what it has is still in the filesystem then. */
  close(): void {
    if (this.#fd === undefined) return;
    closeSync(this.#fd);
    this.#fd = undefined;
    if (!this.#isKept) rmSync(this.#path, { force: true });
  }

  #write(): void {
    if (this.#fd === undefined) return;
    const bytes = Buffer.from(this.#pending.join(''));
    for (let done = 0; done < bytes.length; ) done += writeSync(this.#fd, bytes, done);
    this.#pending = [];
    this.#pendingCharacters = 0;
  }
}

const hexOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

/** The name of a file is in its folder, which Windows does not open. */
function syncFolder(path: string): void {
  if (process.platform === 'win32') return;
  const fd = openSync(path, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
