// fs usage --bars: how full a filesystem and each of its members is, as bars. With colours a member's bar shows what is on it; the line below says
// it in words either way.

import { bytesText, type DotColor, type Out } from '@bcachefs-ts/command';
import {
  type DataTypeName,
  type DeviceUsage,
  dataTypes,
  dataTypeText,
  type FsUsage,
  memberStates,
  printable,
} from '@bcachefs-ts/core/engine';

const WIDTH_MAX = 60;
const INDENT = '  ';

const colors: Readonly<Partial<Record<DataTypeName, DotColor>>> = {
  sb: 'magenta',
  journal: 'cyan',
  btree: 'blue',
  user: 'green',
  cached: 'yellow',
  parity: 'red',
  stripe: 'green',
};

interface Part {
  readonly sectors: number;
  readonly color: DotColor;
}

export function printBars(usage: FsUsage, out: Out): void {
  const { uuid, label, usedSectors, capacitySectors, devices } = usage;
  const width = Math.max(10, Math.min(WIDTH_MAX, out.columns - 40));
  out.line(out.color.bold(label === '' ? uuid : `${printable(label)} (${uuid})`));
  const whole: Part = { sectors: Number(usedSectors), color: 'green' };
  out.line(INDENT + barText([whole], Number(capacitySectors), width, out));
  for (const device of devices) {
    const name = device.path === undefined ? `member ${device.index}, which is missing` : printable(device.path);
    const state = memberStates.nameOf(device.state);
    out.line();
    out.line(
      `${name}: member ${device.index}${device.label === undefined ? '' : `, label ${printable(device.label)}`}, ${state}`,
    );
    const types = device.types.filter(
      ({ dataType, sectors }) => sectors > 0n && dataTypes.byId(dataType)?.isEmpty !== true,
    );
    const parts = types.map(({ dataType, sectors }) => ({ sectors: Number(sectors), color: colorOf(dataType) }));
    out.line(INDENT + barText(parts, sizeSectors(device), width, out));
    const words = types.map(({ dataType, sectors }) => {
      const size = bytesText(512 * Number(sectors));
      return `${paint(colorOf(dataType), dataTypeText(dataType), out)} ${size}`;
    });
    out.line(INDENT + (words.length === 0 ? 'nothing is on it' : words.join(', ')));
  }
}

const sizeSectors = ({ buckets, bucketSizeSectors }: DeviceUsage): number => Number(buckets) * bucketSizeSectors;

function colorOf(dataType: number): DotColor {
  const name = dataTypes.byId(dataType)?.name;
  return (name === undefined ? undefined : colors[name]) ?? 'red';
}

/** Whatever the counters say, it is as wide as it is to be. */
function barText(parts: readonly Part[], sizeSectors: number, width: number, out: Out): string {
  const used = parts.reduce((sum, { sectors }) => sum + sectors, 0);
  let [sum, drawn, bar] = [0, 0, ''];
  for (const { sectors, color } of parts) {
    sum += sectors;
    const end = sizeSectors > 0 ? Math.min(width, Math.max(drawn, Math.ceil((width * sum) / sizeSectors))) : drawn;
    bar += paint(color, '█'.repeat(end - drawn), out);
    drawn = end;
  }
  const percent = sizeSectors > 0 ? Math.round((100 * used) / sizeSectors) : 0;
  const numbers = `${`${percent}%`.padStart(4)}  ${bytesText(512 * used)} of ${bytesText(512 * sizeSectors)}`;
  return `${bar}${out.color.dim('░'.repeat(width - drawn))} ${numbers}`;
}

const paint = (color: DotColor, text: string, { color: palette }: Out): string =>
  text === '' ? '' : palette[color === 'gray' ? 'dim' : color](text);
