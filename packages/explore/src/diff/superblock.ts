// What differs between two superblocks, field by field, by the names that show-super --json has.

import type { JsonValue } from '@bcachefs-ts/core/engine';
import type { Change } from './compare.ts';

export function superblockChanges(first: JsonValue, second: JsonValue): readonly Change[] {
  const [a, b] = [leavesOf(first), leavesOf(second)];
  return [...new Set([...a.keys(), ...b.keys()])].flatMap(what => {
    const [left, right] = [a.get(what), b.get(what)];
    return left === right ? [] : [{ what, first: left, second: right }];
  });
}

/** Values by their way from the top: `members.0.nbuckets`. Nesting is that of our own JSON: a few levels. */
function leavesOf(value: JsonValue, path = '', into = new Map<string, string>()): Map<string, string> {
  if (typeof value === 'object' && value !== null) {
    for (const [name, inner] of Object.entries(value)) leavesOf(inner, path === '' ? name : `${path}.${name}`, into);
  } else into.set(path, `${value}`);
  return into;
}
