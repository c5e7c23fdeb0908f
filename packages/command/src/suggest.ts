// Did you mean: the closest known word to a mistyped one.

/**
 * Optimal string alignment: insertions, deletions, substitutions and swaps of neighbours, each costing one.
 * Swaps are the commonest slip of the hand ("shwo"), and Levenshtein alone counts them twice.
 */
export function editDistance(a: string, b: string): number {
  let beforePrevious: number[] = [];
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1];
      let best = Math.min(previous[j]! + 1, row[j - 1]! + 1, previous[j - 1]! + (same ? 0 : 1));
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      if (swapped) best = Math.min(best, beforePrevious[j - 2]! + 1);
      row.push(best);
    }
    beforePrevious = previous;
    previous = row;
  }
  return previous[b.length]!;
}

/**
 * The known word closest to `word`, if one is close enough to be meant: at most a third of its letters differ, or
 * it is what `word` begins. Words are compared without case and with `-` and `_` alike.
 */
export function suggest(word: string, known: Iterable<string>): string | undefined {
  const plain = (text: string) => text.toLowerCase().replaceAll('_', '-');
  const wanted = plain(word).slice(0, 64); // A word longer than any of ours can't be close to one.
  let closest: string | undefined;
  let closestDistance = Infinity;
  for (const candidate of known) {
    const distance = editDistance(wanted, plain(candidate));
    const limit = Math.max(1, Math.floor(Math.max(wanted.length, candidate.length) / 3));
    if (distance <= limit && distance < closestDistance) {
      closest = candidate;
      closestDistance = distance;
    }
  }
  if (closest !== undefined || wanted.length < 3) return closest;
  const begun = [...known].filter(candidate => plain(candidate).startsWith(wanted));
  return begun.length === 1 ? begun[0] : undefined;
}
