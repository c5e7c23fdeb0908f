// The half of the explorer that has the filesystem: it answers what the screen asks, one request after the other. A list that is being read stops
// when something else is asked for; details are only made for the newest row.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { bytesText, type Collected, describeError } from '@bcachefs-ts/command';
import { printable } from '@bcachefs-ts/core/engine';
import type { Lists, Shown, ShownFile } from './lists.ts';
import type { Answer, Request } from './messages.ts';

/** A file for the pager is held whole. A sparse one can say that it has exbibytes. */
const PAGED_BYTES_MAX = 64 * 2 ** 20;
/** Lists whose rows are kept. */
const LISTS_MAX = 16;

/** @returns what a command of the program has printed, given the words after its name */
export type RunCommand = (name: string, file: ShownFile, words: readonly string[]) => Promise<Collected>;

export class Reader {
  readonly #lists: Pick<Lists, 'open'>;
  readonly #run: RunCommand;
  readonly #answer: (answer: Answer) => void;
  readonly #waiting: Request[] = [];
  readonly #known = new Map<string, Shown>();
  #folder: string | undefined;
  #isWorking = false;
  #isClosed = false;

  /** @param answer takes answers, in any order */
  constructor(lists: Pick<Lists, 'open'>, run: RunCommand, answer: (answer: Answer) => void) {
    this.#lists = lists;
    this.#run = run;
    this.#answer = answer;
  }

  /** Settles when nothing is left to do. @throws what is wrong with this program; what is wrong with a filesystem is an answer */
  async ask(request: Request): Promise<void> {
    this.#waiting.push(request);
    if (this.#isWorking) return;
    this.#isWorking = true;
    try {
      for (let next = this.#next(); next !== undefined; next = this.#next()) await this.#serve(next);
    } finally {
      this.#isWorking = false;
    }
  }

  close(): void {
    this.#isClosed = true;
    if (this.#folder !== undefined) rmSync(this.#folder, { recursive: true, force: true });
  }

  #next(): Request | undefined {
    if (this.#isClosed) return undefined;
    const request = this.#waiting.shift();
    const isStale = request?.kind === 'detail' && this.#waiting.some(({ kind }) => kind === 'detail');
    return isStale ? this.#next() : request;
  }

  async #serve(request: Request): Promise<void> {
    try {
      this.#answer(await this.#answerTo(request));
    } catch (thrown) {
      const { kind, message } = describeError(thrown);
      if (kind === 'bug') throw thrown;
      this.#answer({ id: request.id, kind: 'said', message: printable(message) });
    }
  }

  async #answerTo(request: Request): Promise<Answer> {
    const { id } = request;
    const shown = this.#shown(request);
    switch (request.kind) {
      case 'rows': {
        const wanted = request.from === 'end' ? Number.POSITIVE_INFINITY : request.from + request.count;
        await shown.items.fill(wanted, this.#turn);
        const { count, isWhole } = shown.items;
        const from = request.from === 'end' ? Math.max(0, count - request.count) : Math.min(request.from, count);
        const length = Math.min(request.count, count - from);
        const rows = Array.from({ length }, (_, nr) => shown.row(from + nr));
        return { id, kind: 'rows', from, rows, count, isWhole };
      }
      case 'search':
        return { id, kind: 'found', row: await this.#search(shown, request.text.toLowerCase(), request.from) };
      case 'detail':
        return { id, kind: 'detail', lines: await shown.detail(request.row, request.room) };
      case 'page':
        return await this.#page(id, shown, request.row);
      case 'copy':
        return await this.#copy(id, shown, request.row, request.to);
    }
  }

  #shown({ place }: Request): Shown {
    const name = JSON.stringify(place);
    const shown = this.#known.get(name) ?? this.#lists.open(place);
    this.#known.delete(name);
    this.#known.set(name, shown);
    for (const [oldest] of this.#known) {
      if (this.#known.size <= LISTS_MAX) break;
      this.#known.delete(oldest);
    }
    return shown;
  }

  /** Details do not stop what goes on: they come after it. */
  readonly #turn = async (): Promise<boolean> => {
    await new Promise(setImmediate);
    return !this.#isClosed && !this.#waiting.some(({ kind }) => kind !== 'detail');
  };

  async #search(shown: Shown, text: string, from: number): Promise<number | undefined> {
    for (let nr = from; ; nr++) {
      if (nr >= shown.items.count) await shown.items.fill(nr + 256, this.#turn);
      if (nr >= shown.items.count) return undefined;
      if (shown.row(nr).text.toLowerCase().includes(text)) return nr;
      if (nr % 256 === 0 && !(await this.#turn())) return undefined;
    }
  }

  async #page(id: number, shown: Shown, row: number): Promise<Answer> {
    const file = shown.file?.(row);
    if (file === undefined || file.isDirectory) return { id, kind: 'said', message: 'only files are shown in a pager' };
    if (file.sizeBytes > PAGED_BYTES_MAX) {
      const limit = bytesText(PAGED_BYTES_MAX);
      const message = `${bytesText(file.sizeBytes)}, a pager gets at most ${limit}: c copies the file`;
      return { id, kind: 'said', message };
    }
    const { exitCode, stderr, stdoutBytes } = await this.#run('cat', file, [file.path]);
    if (exitCode !== 0) return { id, kind: 'said', message: firstLine(stderr) };
    this.#folder ??= mkdtempSync(join(tmpdir(), 'bcachefs-explore-'));
    const path = join(this.#folder, 'file');
    writeFileSync(path, stdoutBytes ?? new Uint8Array(0), { mode: 0o600 });
    return { id, kind: 'page', file: path };
  }

  async #copy(id: number, shown: Shown, row: number, to: string): Promise<Answer> {
    const file = shown.file?.(row);
    if (file === undefined) return { id, kind: 'said', message: 'only files and directories are copied' };
    const { exitCode, stderr } = await this.#run('get', file, [...(file.isDirectory ? ['-r'] : []), file.path, to]);
    const message = exitCode === 0 ? `copied ${basename(file.path)} to ${to}` : firstLine(stderr);
    return { id, kind: 'said', message: printable(message) };
  }
}

const firstLine = (text: string): string => printable(text.trimEnd().split('\n').at(-1) ?? '');
