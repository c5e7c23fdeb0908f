// The part of a tree that is restored: its entries in the order of the walk, each with its number, so that a restore that was
// interrupted finds its place again.

import { type Choice, type PathFilter, plainPath } from '../filter.ts';
import type { RestoreSource, SourceItem, SourceNode } from './source.ts';

export interface SelectedItem<Node extends SourceNode> extends SourceItem<Node> {
  /** Counts the entries of the walk, also those that are left out. */
  readonly nr: number;
  /** passed: a folder that is made only if something in it is taken. */
  readonly choice: 'taken' | 'passed';
}

/** Walks the tree; numbers go on from `firstNr`. */
export function* selectedItems<Node extends SourceNode>(
  source: RestoreSource<Node>,
  filter: PathFilter,
): Generator<SelectedItem<Node>, number> {
  let nr = 0;
  const above: Choice[] = [];
  let enters = true;
  for (const item of source.walk({ descend: () => enters })) {
    const { depth, path } = item;
    const outer = above[depth - 1];
    const choice = outer === undefined ? (filter.takesRoot ? 'taken' : 'passed') : filter.choose(path, outer);
    above.length = depth;
    above.push(choice);
    enters = choice !== 'left';
    if (choice !== 'left') yield { ...item, nr, choice };
    nr++;
  }
  return nr;
}

/** Those of the paths that lead to nothing. */
export function missingPaths(paths: readonly string[], seen: (path: string) => boolean): readonly string[] {
  return paths.filter(path => plainPath(path) !== '' && !seen(plainPath(path)));
}
