// A table whose columns are as wide as the reference's where everything fits, and grow where it does not: names of image files and sizes of
// large disks never run into each other. Cells end as the control characters of the reference's text do.

export interface Cell {
  readonly text: string;
  /** left: padded up to one column before the next stop; right: ends at it; full: padded up to it; end: the rest of the line. */
  readonly align: 'left' | 'right' | 'full' | 'end';
}

export const left = (text: string): Cell => ({ text, align: 'left' });
export const right = (text: string): Cell => ({ text, align: 'right' });
export const full = (text: string): Cell => ({ text, align: 'full' });
export const end = (text: string): Cell => ({ text, align: 'end' });

interface Row {
  readonly indent: number;
  readonly cells: readonly Cell[];
}

export class GrownTable {
  readonly #rows: Row[] = [];
  readonly #widths: readonly number[];

  /** @param widths of the columns where everything fits; those after the last one are as wide as their cells */
  constructor(widths: readonly number[]) {
    this.#widths = widths;
  }

  row(cells: readonly Cell[], indent = 0): this {
    this.#rows.push({ indent, cells });
    return this;
  }

  toString(): string {
    const lines = this.#rows.map(({ indent }) => ({ text: ' '.repeat(indent), textEnd: 0 }));
    const columns = Math.max(0, ...this.#rows.map(({ cells }) => cells.length));
    let stop = 0;
    for (let column = 0; column < columns; column++) {
      stop += this.#widths[column] ?? 0;
      for (const [nr, { cells }] of this.#rows.entries()) stop = Math.max(stop, neededStop(lines[nr]!, cells, column));
      for (const [nr, { cells }] of this.#rows.entries()) append(lines[nr]!, cells[column], stop);
    }
    return lines.map(({ text }) => `${text}\n`).join('');
  }
}

interface Line {
  text: string;
  /** Where the last cell that is not empty ends; 0 before there is one. */
  textEnd: number;
}

/** Where the column has to end, so that a space is left between this cell and its neighbours. */
function neededStop({ text: line, textEnd }: Line, cells: readonly Cell[], column: number): number {
  const cell = cells[column];
  if (cell === undefined || cell.align === 'end') return 0;
  const { text, align } = cell;
  if (align === 'right') return Math.max(line.length, textEnd > 0 && text !== '' ? textEnd + 1 : 0) + text.length;
  const next = cells[column + 1];
  // A number to its right makes room for itself.
  if (next === undefined || next.align === 'right') return 0;
  return line.length + text.length + (align === 'left' ? 2 : 1);
}

function append(line: Line, cell: Cell | undefined, stop: number): void {
  if (cell === undefined) return;
  const { text, align } = cell;
  const before = line.text.length;
  if (align === 'right') line.text += text.padStart(stop - before);
  else line.text += text;
  if (text !== '') line.textEnd = line.text.length;
  if (align === 'left') line.text = line.text.padEnd(stop - 1);
  if (align === 'full') line.text = line.text.padEnd(stop);
}
