// The bucket map as a drawing that stands by itself: no script, no font, nothing that is fetched. Names come from the disk and from file names;
// they are text in every place, never markup.

import { bytesText } from '@bcachefs-ts/command';
import { type DeviceMap, dataTypeText, printable, sectorsToBytes } from '@bcachefs-ts/core/engine';
import { type Dot, dotOf, isEmptyType, lookOf } from './dots.ts';
import { nameOf } from './text.ts';

const COLUMNS = 128;
const STEP = 8;
const SIDE = 7;
const MARGIN = 16;
const LINE = 18;

/** Of an attribute or of text between tags; control characters, which no XML may hold, are shown as `\x1b`. */
export function escapeXml(text: string): string {
  return printable(text)
    .replace(/[\ufffe\uffff]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g, '\ufffd')
    .replace(/[&<>"']/g, char => `&#${char.charCodeAt(0)};`);
}

export function mapSvg(title: string, devices: readonly DeviceMap[]): string {
  const width = 2 * MARGIN + COLUMNS * STEP;
  const body: string[] = [];
  let y = MARGIN + LINE;
  body.push(text(MARGIN, y, title, 'h'));
  for (const device of devices) {
    y += 2 * LINE;
    const { buckets, bucketSizeSectors, label } = device;
    const size = bytesText(sectorsToBytes(bucketSizeSectors));
    const caption = `${nameOf(device)}${label === undefined ? '' : `, label ${label}`}: ${buckets} buckets of ${size}`;
    body.push(text(MARGIN, y, caption, 'd'));
    y += LINE / 2;
    for (const [nr, cell] of device.cells.entries()) {
      const dot = dotOf(cell, bucketSizeSectors);
      body.push(rect(MARGIN + (nr % COLUMNS) * STEP, y + Math.floor(nr / COLUMNS) * STEP, dot));
    }
    y += Math.ceil(device.cells.length / COLUMNS) * STEP + LINE;
    let x = MARGIN;
    for (const { dataType, buckets: own, sectors } of device.totals) {
      const what = `${dataTypeText(dataType)} ${own}${isEmptyType(dataType) ? '' : `, ${bytesText(sectorsToBytes(sectors))}`}`;
      if (x + STEP * (what.length + 2) > width && x > MARGIN) [x, y] = [MARGIN, y + LINE];
      body.push(`<rect x="${x}" y="${y - SIDE}" width="${SIDE}" height="${SIDE}" fill="${lookOf(dataType).fill}"/>`);
      body.push(text(x + 2 * SIDE - 2, y, what, 'l'));
      x += STEP * (what.length + 3);
    }
  }
  const height = y + MARGIN;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" role="img" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}">`,
    `<title>${escapeXml(title)}</title>`,
    '<style>svg{background:#ffffff}text{font-family:monospace;fill:#1f2328}.h{font-size:15px}.d,.l{font-size:12px}' +
      '@media(prefers-color-scheme:dark){svg{background:#0d1117}text{fill:#e6edf3}}</style>',
    ...body,
    '</svg>',
    '',
  ].join('\n');
}

const text = (x: number, y: number, what: string, kind: string): string =>
  `<text class="${kind}" x="${x}" y="${y}">${escapeXml(what)}</text>`;

function rect(x: number, y: number, { firstBucket, buckets, dataType, fullness }: Dot): string {
  const last = firstBucket + buckets - 1;
  const where = buckets === 1 ? `bucket ${firstBucket}` : `buckets ${firstBucket} to ${last}`;
  const isEmpty = isEmptyType(dataType);
  const what = `${where}: ${dataTypeText(dataType)}${isEmpty ? '' : `, ${Math.round(100 * fullness)}% full`}`;
  const opacity = isEmpty ? 0.3 : 0.35 + 0.65 * Math.min(1, fullness);
  return (
    `<rect x="${x}" y="${y}" width="${SIDE}" height="${SIDE}" fill="${lookOf(dataType).fill}" fill-opacity="${opacity.toFixed(2)}">` +
    `<title>${escapeXml(what)}</title></rect>`
  );
}
