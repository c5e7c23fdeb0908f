// npm run hex -- IMAGE --at BYTE --as STRUCT: an annotated hexdump of one on-disk struct, from the same layouts that the program
// reads with. Without --as it lists the structs. (`bcachefs explain --hex` finds out by itself what lies at a byte of a filesystem.)

import { parseSize } from '@bcachefs-ts/command';
import * as core from '@bcachefs-ts/core/engine';
import { allLayouts } from './layouts.ts';

const words = process.argv.slice(2);
const option = (name: string) =>
  words.find(word => word.startsWith(`--${name}=`))?.slice(name.length + 3) ?? words[words.indexOf(`--${name}`) + 1];
const has = (name: string) => words.some(word => word === `--${name}` || word.startsWith(`--${name}=`));

const [image] = words.filter((word, nr) => !word.startsWith('--') && !['--at', '--as'].includes(words[nr - 1] ?? ''));
const wanted = has('as') ? option('as') : undefined;
const layout = allLayouts.find(({ type }) => type === wanted);
if (image === undefined || layout === undefined) {
  console.error(
    `usage: npm run hex -- IMAGE --at BYTE --as STRUCT; structs: ${allLayouts.map(({ type }) => type).join(', ')}`,
  );
  process.exitCode = 2;
} else {
  const at = has('at') ? parseSize(option('at') ?? '') : 0;
  const device = core.openDevice(image, { write: false });
  const bytes = core.readBytes(device, at, layout.size);
  for (const row of core.hexRows(bytes, at, core.annotateLayout(layout, core.viewOf(bytes), 0, at))) {
    console.log(core.hexRowText(row));
  }
  device.close();
}
