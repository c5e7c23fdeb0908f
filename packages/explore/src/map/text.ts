// The bucket map on a terminal: half blocks where there are colours, letters elsewhere; and in both cases what each colour or letter is, with its
// numbers.

import { bytesText, type DotColor, type Out } from '@bcachefs-ts/command';
import { type DeviceMap, dataTypeText, printable, sectorsToBytes } from '@bcachefs-ts/core/engine';
import { type Dot, dotOf, isEmptyType, joined, letterOf, lookOf } from './dots.ts';

const COLUMNS_MAX = 128;
const INDENT = '  ';

export async function printDevice(device: DeviceMap, rows: number, out: Out): Promise<void> {
  const { index, label, bucketSizeSectors, buckets, cells } = device;
  const columns = Math.max(8, Math.min(COLUMNS_MAX, out.columns) - INDENT.length - 1);
  const { halves } = out.color;
  const shown = joined(cells, columns * rows * (halves === undefined ? 1 : 2));
  const dots = shown.map(cell => dotOf(cell, bucketSizeSectors));
  const size = bytesText(sectorsToBytes(bucketSizeSectors));
  const each = shown[0]?.buckets ?? 1;
  out.line(
    `${out.color.bold(nameOf(device))}: member ${index}${label === undefined ? '' : `, label ${printable(label)}`}, ` +
      `${buckets} buckets of ${size}, ${each === 1 ? 'one' : each} each`,
  );
  if (halves === undefined) printLetters(dots, columns, out);
  else printBlocks(dots, columns, halves, out);
  out.line();
  await printLegend(device, out);
}

/** What a device is called where there is no path. */
export const nameOf = ({ path, index }: DeviceMap): string =>
  path === undefined ? `member ${index}, which is missing` : printable(path);

function printLetters(dots: readonly Dot[], columns: number, out: Out): void {
  for (let at = 0; at < dots.length; at += columns) {
    out.line(
      INDENT +
        dots
          .slice(at, at + columns)
          .map(letterOf)
          .join(''),
    );
  }
}

/** Two rows of dots in one line of characters. */
function printBlocks(
  dots: readonly Dot[],
  columns: number,
  halves: NonNullable<Out['color']['halves']>,
  out: Out,
): void {
  const colorAt = (nr: number) => (dots[nr] === undefined ? undefined : lookOf(dots[nr].dataType).color);
  for (let at = 0; at < dots.length; at += 2 * columns) {
    let line = INDENT;
    const end = Math.min(at + columns, dots.length);
    for (let nr = at; nr < end; ) {
      const [upper, lower] = [colorAt(nr)!, colorAt(nr + columns)];
      let count = 1;
      while (nr + count < end && colorAt(nr + count) === upper && colorAt(nr + count + columns) === lower) count++;
      // Past the end the upper half alone.
      line += lower === undefined ? inColor(upper, '▀'.repeat(count), out) : halves(upper, lower, count);
      nr += count;
    }
    out.line(line);
  }
}

const inColor = (color: DotColor, text: string, { color: palette }: Out): string =>
  palette[color === 'gray' ? 'dim' : color](text);

async function printLegend({ totals, bucketSizeSectors }: DeviceMap, out: Out): Promise<void> {
  const rows = totals.map(({ dataType, buckets, sectors, fragmentedSectors }) => {
    const { letter, color } = lookOf(dataType);
    const isEmpty = isEmptyType(dataType);
    const room = buckets * bucketSizeSectors;
    return [
      INDENT + inColor(color, out.color.halves === undefined ? letter : '█', out),
      dataTypeText(dataType),
      buckets,
      bytesText(sectorsToBytes(isEmpty ? room : sectors)),
      isEmpty || room === 0 ? '' : `${Math.round((100 * sectors) / room)}%`,
      isEmpty ? '' : bytesText(sectorsToBytes(fragmentedSectors)),
    ];
  });
  await out.table({ head: ['', 'type', 'buckets', 'size', 'full', 'fragmented'], rows, align: 'llrrrr' });
}
