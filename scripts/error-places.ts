// Where the source names each error, for docs/fsck-errors.md and the test that holds it and its explanations together.

import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { fsckErrors, ownFaults } from '@bcachefs-ts/core/engine';

const source = join(dirname(dirname(fileURLToPath(import.meta.url))), 'packages/core/src');

/** What names errors without raising them. */
const NOT_RAISED_IN = [
  /\.test\.ts$/,
  /^report\/(explanations\/|answer-groups|facts)/,
  /^ondisk\/(fsck-errors|faults|own-faults|upgrade-downgrade)\.ts$/,
  /^check\/rules\.ts$/,
  // What a later kernel is to pass over in silence.
  /^superblock\/strip-alloc\.ts$/,
];

/** Names that are put together from a kind: `device_${kind}`. */
const COMPOSED: readonly (readonly [prefix: string, place: string])[] = [['device_', 'ondisk/errors']];

/** By the name of an error, the files of core/src without their ending, in order. */
export function errorPlaces(): ReadonlyMap<string, readonly string[]> {
  const places = new Map<string, Set<string>>();
  const add = (name: string, place: string) => places.set(name, (places.get(name) ?? new Set()).add(place));
  const paths = readdirSync(source, { recursive: true, encoding: 'utf8' }).map(path => path.replaceAll('\\', '/'));
  for (const path of paths.filter(one => one.endsWith('.ts')).sort()) {
    if (NOT_RAISED_IN.some(pattern => pattern.test(path))) continue;
    for (const [, name = ''] of readFileSync(join(source, path), 'utf8').matchAll(/'([A-Za-z][\w-]+)'/g)) {
      if (fsckErrors.byName(name) !== undefined || ownFaults.byName(name) !== undefined)
        add(name, path.replace(/\.ts$/, ''));
    }
  }
  for (const { name } of ownFaults.rows)
    for (const [prefix, place] of COMPOSED) if (name.startsWith(prefix)) add(name, place);
  return new Map([...places].map(([name, found]) => [name, [...found]]));
}
