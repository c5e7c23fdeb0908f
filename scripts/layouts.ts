// The on-disk structs, for documentation and dumps: the layouts that core exports, as values, and every layout that is declared
// below core's ondisk/, as it reads in the source: with the comments of its members, which are the members' documentation, and the
// file that it is in. `layoutDocs` checks the two against each other.

import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as core from '@bcachefs-ts/core/engine';

export interface AnyLayout extends core.Codec<unknown> {
  readonly fields: Readonly<Record<string, core.FieldAt<unknown>>>;
}

const isLayout = (value: unknown): value is AnyLayout =>
  typeof value === 'object' && value !== null && 'fields' in value && 'offset' in value && 'size' in value;

/** By name. */
export const allLayouts: readonly AnyLayout[] = Object.values<unknown>(core)
  .filter(isLayout)
  .toSorted((a, b) => a.type.localeCompare(b.type));

export interface MemberDoc {
  readonly name: string;
  readonly offset: number;
  readonly size: number;
  readonly type: string;
  /** What follows it in the source; empty when nothing does. */
  readonly comment: string;
}

export interface LayoutDoc {
  /** The C struct's name. */
  readonly type: string;
  readonly size: number;
  readonly members: readonly MemberDoc[];
  /** Relative to the repository. */
  readonly file: string;
}

const repository = dirname(dirname(fileURLToPath(import.meta.url)));

/** Sources below core's ondisk/, without tests, by path relative to the repository. */
export function ondiskSources(): ReadonlyMap<string, string> {
  const folder = join(repository, 'packages/core/src/ondisk');
  const names = readdirSync(folder, { recursive: true, encoding: 'utf8' }).toSorted();
  const sources = names.filter(name => name.endsWith('.ts') && !name.endsWith('.test.ts') && name !== 'layout.ts');
  return new Map(
    sources.map(name => [
      relative(repository, join(folder, name)).replaceAll('\\', '/'),
      readFileSync(join(folder, name), 'utf8'),
    ]),
  );
}

const DECLARATION = /^(?:export )?const (\w+) = layout\('(\w+)', (\d+), \{([\s\S]*?)\}\);/gm;
const MEMBER = /(\w+): at\(\s*(\d+), ((?:[^()]|\([^()]*\))*)\),?(?:[ \t]*\/\/ ?(.*))?/g;

/** Every layout, by name. @throws Error when the source and the layout that core exports do not say the same */
export function layoutDocs(): readonly LayoutDoc[] {
  const sources = ondiskSources();
  const declared = [...sources].flatMap(([file, source]) =>
    [...source.matchAll(DECLARATION)].map(([, constant = '', type = '', size = '', body = '']) => {
      return { file, constant, type, size: Number(size), body };
    }),
  );
  const written = [...sources.values()].join('').match(/= layout\('/g)?.length ?? 0;
  if (written !== declared.length)
    throw new Error(`${written} layouts are declared, ${declared.length} were understood`);
  const named = new Map(declared.map(({ constant, type }) => [constant, type]));
  const numbers = new Map(
    [...sources.values()].flatMap(source =>
      [...source.matchAll(/const ([A-Z_0-9]+) = (\d+);/g)].map(([, name = '', value = '']) => [name, value] as const),
    ),
  );
  const typeText = (expression: string): string => {
    const bytes = /^bytes\((\w+)\)$/.exec(expression);
    if (bytes !== null) return `u8[${numbers.get(bytes[1]!) ?? bytes[1]}]`;
    const array = /^array\((\w+), (\w+)\)$/.exec(expression);
    if (array !== null) return `${typeText(array[1]!)}[${numbers.get(array[2]!) ?? array[2]}]`;
    return named.get(expression) ?? expression;
  };
  const docs = declared.map(({ file, type, size, body }): LayoutDoc => {
    const found = [...body.matchAll(MEMBER)];
    const members = found.map(([, name = '', offset = '', codec = '', comment = ''], i) => ({
      name,
      offset: Number(offset),
      size: Number(found[i + 1]?.[2] ?? size) - Number(offset),
      type: typeText(codec),
      comment,
    }));
    return { type, size, members, file };
  });
  for (const layout of allLayouts) compare(layout, docs);
  return docs.toSorted((a, b) => a.type.localeCompare(b.type));
}

function compare(layout: AnyLayout, docs: readonly LayoutDoc[]): void {
  const doc = docs.find(({ type }) => type === layout.type);
  const asValue = Object.entries(layout.fields).map(
    ([name, { at, codec }]) => `${name} ${at} ${codec.size} ${codec.type}`,
  );
  const asSource = doc?.members.map(({ name, offset, size, type }) => `${name} ${offset} ${size} ${type}`) ?? [];
  const difference = asValue.find((line, i) => line !== asSource[i]);
  if (difference === undefined && asValue.length === asSource.length) return;
  throw new Error(`struct ${layout.type}: found ${difference ?? 'fewer members'}, its source was not understood`);
}
