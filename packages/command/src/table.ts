// Tables through cli-table3, in the plain style of the classic filesystem tools: no borders, two spaces between columns.
// Loaded by `Out.table` only (about 7 ms).

import Table from 'cli-table3';
import type { Palette } from './color.ts';
import type { TableSpec } from './out.ts';

const noBorders = {
  top: '',
  'top-mid': '',
  'top-left': '',
  'top-right': '',
  bottom: '',
  'bottom-mid': '',
  'bottom-left': '',
  'bottom-right': '',
  left: '',
  'left-mid': '',
  mid: '',
  'mid-mid': '',
  right: '',
  'right-mid': '',
  middle: '  ',
};

/** The table's lines, each with its line break and without trailing blanks. */
export function tableText(table: TableSpec, color: Palette): string {
  const letters = [...(table.align ?? '')];
  const grid = new Table({
    chars: noBorders,
    style: { head: [], border: [], 'padding-left': 0, 'padding-right': 0 },
    colAligns: letters.map(letter => (letter === 'r' ? 'right' : 'left')),
  });
  if (table.head !== undefined) grid.push(table.head.map(cell => color.bold(cell)));
  for (const row of table.rows) grid.push(row.map(cell => String(cell)));
  if (grid.length === 0) return '';
  return `${grid
    .toString()
    .split('\n')
    .map(line => line.trimEnd())
    .join('\n')}\n`;
}
