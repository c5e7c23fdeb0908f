// The bucket map of a member beside its row: half blocks in colours, two dots in one character, or letters.

import { bytesText } from '@bcachefs-ts/command';
import { type DeviceMap, dataTypeText, sectorsToBytes } from '@bcachefs-ts/core/engine';
import { dotOf, isEmptyType, joined, letterOf, lookOf } from '../map/dots.ts';
import type { Line, Room, Span } from './messages.ts';

/** Lines that a map leaves for what its colours are. */
const LEGEND_ROWS = 8;

export function mapPicture(device: DeviceMap, { columns, rows }: Room, hasColor: boolean): readonly Line[] {
  const { bucketSizeSectors, buckets, cells, totals } = device;
  const height = Math.max(1, rows - LEGEND_ROWS);
  const shown = joined(cells, columns * height * (hasColor ? 2 : 1));
  const dots = shown.map(cell => dotOf(cell, bucketSizeSectors));
  const each = shown[0]?.buckets ?? 1;
  const lines: Line[] = [[{ text: `${buckets} buckets, ${each} each` }]];
  if (hasColor) {
    const colors = dots.map(({ dataType }) => lookOf(dataType).color);
    for (let at = 0; at < colors.length; at += 2 * columns) lines.push(blocks(colors, at, columns));
  } else {
    const letters = dots.map(letterOf);
    for (let at = 0; at < letters.length; at += columns) {
      lines.push([{ text: letters.slice(at, at + columns).join('') }]);
    }
  }
  for (const { dataType, buckets: count, sectors } of totals) {
    const { color, letter } = lookOf(dataType);
    const size = bytesText(sectorsToBytes(isEmptyType(dataType) ? count * bucketSizeSectors : sectors));
    const mark: Span = hasColor ? { text: '█', color } : { text: letter };
    lines.push([mark, { text: ` ${dataTypeText(dataType)} ${count} ${size}` }]);
  }
  return lines;
}

function blocks(colors: readonly string[], at: number, columns: number): Line {
  const line: { text: string; color: string; background?: string }[] = [];
  for (let nr = at; nr < Math.min(at + columns, colors.length); nr++) {
    const [color, background] = [colors[nr]!, colors[nr + columns]];
    const last = line.at(-1);
    if (last !== undefined && last.color === color && last.background === background) last.text += '▀';
    else line.push({ text: '▀', color, ...(background === undefined ? {} : { background }) });
  }
  return line;
}
