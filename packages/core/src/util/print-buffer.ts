// Text built line by line with an indent and tab stops, with the exact rules of the reference's printbuf (util/printbuf.c,
// v1.36.1), because show-super's columns come out of them:
//
//   \n  starts a line, indented, at the first tab stop again
//   \t  pads with spaces up to one column before the next tab stop; vanishes where the text is already there
//   \r  right-justifies the text since the last tab stop, so that it ends at the next one
//
// Past the last tab stop \t and \r stay in the output as they are. Nothing here knows what is printed.

import { assert } from '../ondisk/errors.ts';

export class PrintBuffer {
  #finished: string[] = [];
  #line = '';
  /** The column where the text since the last tab stop began. */
  #fieldColumn = 0;
  #indent = 0;
  #tabStops: number[] = [];
  /** How many tab stops of this line have been passed. */
  #tabsUsed = 0;

  get tabStopCount(): number {
    return this.#tabStops.length;
  }

  get indent(): number {
    return this.#indent;
  }

  /** Appends text; \n, \t and \r in it act as described above. */
  print(text: string): this {
    if (text.includes('\t') || text.includes('\r')) return this.#printWithTabs(text);
    let start = 0;
    for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n', start)) {
      this.#line += text.slice(start, end);
      this.newline();
      start = end + 1;
    }
    this.#line += start === 0 ? text : text.slice(start);
    return this;
  }

  /** Appends text in which \n, \t and \r are nothing special. */
  printAsIs(text: string): this {
    this.#line += text;
    return this;
  }

  /** Appends text whose lines after the first have their indent already. */
  printIndented(text: string): this {
    const end = text.lastIndexOf('\n');
    if (end < 0) return this.printAsIs(text);
    this.#finished.push(this.#line + text.slice(0, end));
    this.#line = text.slice(end + 1);
    this.#fieldColumn = this.#indent;
    this.#tabsUsed = 0;
    return this;
  }

  /** Pads to the next tab stop itself, with nothing where the text is already there or no tab stop is left. */
  tab(): this {
    const stop = this.#tabStops[this.#tabsUsed];
    if (stop === undefined) return this;
    this.#line += ' '.repeat(Math.max(0, stop - this.#line.length));
    this.#fieldColumn = this.#line.length;
    this.#tabsUsed++;
    return this;
  }

  newline(): this {
    this.#finished.push(this.#line);
    this.#line = ' '.repeat(this.#indent);
    this.#fieldColumn = this.#indent;
    this.#tabsUsed = 0;
    return this;
  }

  /** Adds a tab stop `columns` after the last one. Tab stops stay until they are popped, as in the reference. */
  pushTabStop(columns: number): this {
    this.#tabStops.push((this.#tabStops.at(-1) ?? 0) + columns);
    return this;
  }

  popTabStop(): this {
    this.#tabStops.pop();
    return this;
  }

  /** Indents the lines to come, and (where the line is still empty) this one. */
  addIndent(columns: number): this {
    this.#indent += columns;
    this.#line += ' '.repeat(columns);
    return this;
  }

  /** Indents the lines to come, not this one. */
  addIndentNextLine(columns: number): this {
    this.#indent += columns;
    return this;
  }

  removeIndent(columns: number): this {
    assert(columns <= this.#indent, `cannot take ${columns} columns from an indent of ${this.#indent}`);
    if (this.#line.length === this.#indent) this.#line = this.#line.slice(columns);
    this.#indent -= columns;
    return this;
  }

  /** Runs `body` with its lines indented by two columns; the indent goes away again even when it throws. */
  indented(body: () => void): this {
    this.addIndent(2);
    try {
      body();
    } finally {
      this.removeIndent(2);
    }
    return this;
  }

  toString(): string {
    return [...this.#finished, this.#line].join('\n');
  }

  #printWithTabs(text: string): this {
    let start = 0;
    for (let i = 0; i < text.length; i++) {
      const char = text.charCodeAt(i);
      if (char !== 10 && char !== 9 && char !== 13) continue;
      this.#line += text.slice(start, i);
      start = i + 1;
      if (char === 10) this.newline();
      else this.#control(char === 9 ? '\t' : '\r');
    }
    this.#line += text.slice(start);
    return this;
  }

  #control(char: '\t' | '\r'): void {
    const stop = this.#tabStops[this.#tabsUsed];
    if (stop === undefined) {
      this.#line += char;
      return;
    }
    if (char === '\t') {
      this.#line += ' '.repeat(Math.max(0, stop - this.#line.length - 1));
    } else {
      const pad = Math.max(0, stop - this.#line.length);
      this.#line = this.#line.slice(0, this.#fieldColumn) + ' '.repeat(pad) + this.#line.slice(this.#fieldColumn);
    }
    this.#fieldColumn = this.#line.length;
    this.#tabsUsed++;
  }
}
