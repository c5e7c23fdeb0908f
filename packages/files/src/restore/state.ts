// What an interrupted restore leaves behind so that it can go on: the folder `.bcachefs-restore` in the destination, which is removed at the
// end. In it:
//
//   state   a line that says what is being restored from what, then a line for each verdict other than "intact"
//   done    how many entries of the walk are finished, in decimal
//   new     the file that is being written; it gets its name when it is whole
//   link-N  a further name of entry N, which has several: the others are made from it
//
// The walk visits the same entries in the same order each time, so their number is enough. It counts only for the kernel's memory: after
// the host was started anew, files that seemed whole may not have reached its disk, and all are written again.

import { closeSync, constants, lstatSync, openSync, readFileSync, writeSync } from 'node:fs';
import { printableBytes, UsageError } from '@bcachefs-ts/core/engine';
import type { Folder } from './folder.ts';
import type { FileVerdict } from './report.ts';

export const STATE_FOLDER = '.bcachefs-restore';
const SCHEMA = 'bcachefs-ts/restore-state';
const DONE_DIGITS = 16;

const name = (text: string): Uint8Array => new TextEncoder().encode(text);
const STATE = name('state');
const DONE = name('done');
const NOFOLLOW = constants.O_NOFOLLOW ?? 0;
const WRITING = constants.O_WRONLY | constants.O_CREAT | NOFOLLOW;
/** Node's types know flags for reading as text only. */
const READING = (constants.O_RDONLY | NOFOLLOW) as unknown as string;

/** What has to be the same for a restore to go on. */
export interface RestoreIdentity {
  /** External UUID. */
  readonly filesystem: string;
  /** Of the superblock: it grows with every change. */
  readonly sequence: number | string;
  readonly subvolume: number;
  readonly snapshot: number;
  readonly paths: readonly string[];
  readonly include: readonly string[];
  readonly exclude: readonly string[];
  readonly orphans: boolean;
}

interface StateLine extends RestoreIdentity {
  readonly schema: string;
  readonly version: number;
  /** Which start of the host it was written in. */
  readonly boot: string;
  /** How far runs before this one came; -1 when there was none. */
  readonly reached: number;
}

export class RestoreState {
  readonly #stateFd: number;
  readonly #doneFd: number;
  /** Entries that an earlier run has finished, as far as that can be relied on. */
  readonly doneBefore: number;
  /** Entries that earlier runs came to, whether what they wrote is to be relied on or not. */
  readonly #reachedBefore: number;
  /** Its verdicts, by number of the entry. */
  readonly before: ReadonlyMap<number, FileVerdict>;

  private constructor(folder: Folder, doneBefore: number, reached: number, before: ReadonlyMap<number, FileVerdict>) {
    const [append, write] = doneBefore > 0 ? [constants.O_APPEND, 0] : [constants.O_TRUNC, constants.O_TRUNC];
    checkPlain(folder, STATE);
    checkPlain(folder, DONE);
    this.#stateFd = openSync(folder.at(STATE), WRITING | append, 0o600);
    this.#doneFd = openSync(folder.at(DONE), WRITING | write, 0o600);
    this.doneBefore = doneBefore;
    this.#reachedBefore = reached;
    this.before = before;
  }

  static begin(folder: Folder, identity: RestoreIdentity, reached = -1): RestoreState {
    const state = new RestoreState(folder, 0, reached, new Map());
    const line: StateLine = { schema: SCHEMA, version: 1, boot: bootId(), reached, ...identity };
    writeSync(state.#stateFd, `${JSON.stringify(line)}\n`);
    return state;
  }

  /** @throws UsageError when it is the state of something else */
  static resume(folder: Folder, identity: RestoreIdentity, destination: string): RestoreState {
    const lines = readText(folder, STATE).split('\n');
    // A run that was stopped before its first line was out has done nothing.
    if (lines.length < 2) return RestoreState.begin(folder, identity);
    const first = parsed<StateLine>(lines[0]);
    const { schema, version, boot, reached, ...found } = first ?? {
      schema: undefined,
      version: 0,
      boot: '',
      reached: -1,
    };
    if (schema !== SCHEMA || version !== 1 || JSON.stringify(found) !== JSON.stringify(identity)) {
      throw new UsageError(
        `${destination} holds an interrupted restore of something else, or of another state of the filesystem; go on with the command ` +
          `that began it, or remove ${STATE_FOLDER} there and give --merge`,
      );
    }
    const digits = readText(folder, DONE);
    const noted = /^\d{16}$/.test(digits) ? Number(digits) : 0;
    const done = boot === bootId() ? noted : 0;
    const reachedNow = Math.max(typeof reached === 'number' ? reached : -1, noted);
    const before = new Map<number, FileVerdict>();
    for (const line of lines.slice(1)) {
      const record = parsed<{ readonly nr: number; readonly verdict: FileVerdict }>(line);
      if (record !== undefined && record.nr < done) before.set(record.nr, record.verdict);
    }
    return done === 0
      ? RestoreState.begin(folder, identity, reachedNow)
      : new RestoreState(folder, done, reachedNow, before);
  }

  /** Whether a file of an entry's name may be there because an earlier run made it; the last one may not have been noted any more. */
  mayHaveMade(nr: number): boolean {
    return nr <= this.#reachedBefore;
  }

  /** Entries up to this one are finished. */
  finished(nr: number, verdict: FileVerdict | undefined): void {
    if (verdict !== undefined && verdict !== this.before.get(nr))
      writeSync(this.#stateFd, `${JSON.stringify({ nr, verdict })}\n`);
    if (nr >= this.doneBefore) writeSync(this.#doneFd, String(nr + 1).padStart(DONE_DIGITS, '0'), 0);
  }

  close(): void {
    closeSync(this.#stateFd);
    closeSync(this.#doneFd);
  }
}

/** Others cannot write to the folder, but it can be one that an image held. @throws UsageError for what we would not have made */
function checkPlain(folder: Folder, file: Uint8Array): void {
  const there = lstatSync(folder.at(file), { throwIfNoEntry: false });
  if (there === undefined || (there.isFile() && there.nlink === 1)) return;
  throw new UsageError(
    `${printableBytes(folder.path)}: what is in it was not made by a restore; remove it, or choose another folder`,
  );
}

function readText(folder: Folder, file: Uint8Array): string {
  checkPlain(folder, file);
  try {
    return readFileSync(folder.at(file), { encoding: 'utf8', flag: READING });
  } catch (thrown) {
    if (thrown instanceof Error && 'code' in thrown && thrown.code === 'ENOENT') return '';
    throw thrown;
  }
}

/** Undefined for a line that was cut off. */
function parsed<T>(line: string | undefined): T | undefined {
  try {
    return JSON.parse(line ?? '') as T; // Our own file, whose first line says what it is.
  } catch {
    return undefined;
  }
}

/** Which start of the host this is; empty where it cannot be known. */
function bootId(): string {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  } catch {
    return '';
  }
}
