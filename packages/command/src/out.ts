// Where a command's text goes: lines, tables, and colours that are there only when they are wanted. Output is gathered
// in pieces of 64 KiB and written synchronously, so that nothing is lost when the process ends.

import { withoutMisleading } from '@bcachefs-ts/core/engine';
import type { Palette } from './color.ts';
import type { Sink } from './host.ts';

const PIECE_CHARACTERS = 64 * 1024;

export interface TableSpec {
  readonly head?: readonly string[];
  readonly rows: readonly (readonly (string | number)[])[];
  /** One letter for each column, left or right: `lrr`. Left where it is not given. */
  readonly align?: string;
}

/** What `text(result, out)` writes to. */
export interface Out {
  readonly color: Palette;
  readonly isTerminal: boolean;
  readonly columns: number;
  /** One line; the line break is added. */
  line(text?: string): void;
  /** Text as it is. */
  write(text: string): void;
  /** Columns without borders, two spaces apart. To be awaited: the table library is loaded on first use. */
  table(table: TableSpec): Promise<void>;
  /** Writes what has been gathered: before bytes go to standard output past it, and where somebody waits for it. */
  flush(): void;
}

export class SinkOut implements Out {
  readonly color: Palette;
  readonly #sink: Sink;
  #pending: string[] = [];
  #pendingCharacters = 0;

  constructor(sink: Sink, palette: Palette) {
    this.#sink = sink;
    this.color = palette;
  }

  get isTerminal(): boolean {
    return this.#sink.isTerminal;
  }

  get columns(): number {
    return this.#sink.columns;
  }

  line(text = ''): void {
    this.write(`${text}\n`);
  }

  write(text: string): void {
    this.#pending.push(text);
    this.#pendingCharacters += text.length;
    if (this.#pendingCharacters >= PIECE_CHARACTERS) this.flush();
  }

  async table(table: TableSpec): Promise<void> {
    const { tableText } = await import('./table.ts');
    this.write(tableText(table, this.color));
  }

  /** @throws PipeClosed when the reader has gone */
  flush(): void {
    if (this.#pending.length === 0) return;
    const text = this.#pending.join('');
    this.#pending = [];
    this.#pendingCharacters = 0;
    this.#sink.write(isPlain(text) ? text : withoutMisleading(text));
  }
}

/** Nearly all text is ASCII, of which only DEL misleads. Seeing that takes a third of the time of looking for what may mislead. */
const isPlain = (text: string): boolean => Buffer.byteLength(text) === text.length && !text.includes('\x7f');
