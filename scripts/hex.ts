// npm run hex -- IMAGE --at BYTE --as STRUCT: an annotated hexdump of one on-disk struct, from the same layouts that the program
// reads with. Without --as it lists the structs.

import { parseSize } from '@bcachefs-ts/command';
import * as core from '@bcachefs-ts/core';
import { type AnyLayout, allLayouts } from './layouts.ts';

const words = process.argv.slice(2);
const option = (name: string) =>
  words.find(word => word.startsWith(`--${name}=`))?.slice(name.length + 3) ?? words[words.indexOf(`--${name}`) + 1];
const has = (name: string) => words.some(word => word === `--${name}` || word.startsWith(`--${name}=`));

function show(view: DataView, layout: AnyLayout, base: number, at: number, indent: string): void {
  for (const [name, field] of Object.entries(layout.fields)) {
    const place = at + field.at;
    const raw = new Uint8Array(view.buffer, view.byteOffset + place, field.codec.size);
    const hex = Array.from(raw.subarray(0, 16), byte => byte.toString(16).padStart(2, '0')).join(' ');
    const more = raw.length > 16 ? ' …' : '';
    const nested = allLayouts.find(other => other === field.codec);
    const value = nested === undefined ? valueText(field.codec.get(view, place)) : nested.type;
    console.log(`${String(base + place).padStart(10)}  ${(hex + more).padEnd(50)} ${indent}${name}: ${value}`);
    if (nested !== undefined) show(view, nested, base, place, `${indent}  `);
  }
}

function valueText(value: unknown): string {
  if (value instanceof Uint8Array) return JSON.stringify(new TextDecoder().decode(value).replace(/\0+$/, ''));
  if (Array.isArray(value)) return `[${value.map(valueText).join(', ').slice(0, 160)}]`;
  return typeof value === 'bigint' ? `0x${value.toString(16)}` : String(value);
}

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
  show(core.viewOf(core.readBytes(device, at, layout.size)), layout, at, 0, '');
  device.close();
}
