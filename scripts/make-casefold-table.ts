// Writes packages/core/src/fs/casefold-table.ts: what Unicode 12.1 folds, ignores and has assigned, from the npm package
// @unicode/unicode-12.1.0. Run it with `scripts/run-ts make-casefold-table.ts`; there is no need to unless the form of the table is to
// change, since the kernel's table never does.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import assigned from '@unicode/unicode-12.1.0/Binary_Property/Assigned/code-points.mjs';
import ignored from '@unicode/unicode-12.1.0/Binary_Property/Default_Ignorable_Code_Point/code-points.mjs';
import common from '@unicode/unicode-12.1.0/Case_Folding/C/code-points.mjs';
import full from '@unicode/unicode-12.1.0/Case_Folding/F/code-points.mjs';

const hex = (value: number) => (value < 0 ? `-${(-value).toString(16)}` : value.toString(16));

/** How far the start is from the end before it, and how many more follow. */
function packRanges(codePoints: readonly number[]): string {
  const words: string[] = [];
  let end = 0;
  for (let i = 0; i < codePoints.length; ) {
    const first = codePoints[i]!;
    let last = first;
    while (codePoints[++i] === last + 1) last++;
    words.push(last === first ? hex(first - end) : `${hex(first - end)}+${hex(last - first)}`);
    end = last;
  }
  return words.join(' ');
}

/** first,count,step,distance: of those that fold to one code point. */
function packRuns(folds: ReadonlyMap<number, number>): string {
  const words: string[] = [];
  const all = [...folds].sort(([a], [b]) => a - b);
  for (let i = 0; i < all.length; ) {
    const [first, to] = all[i]!;
    const distance = to - first;
    const step = all[i + 1] === undefined ? 1 : all[i + 1]![0] - first;
    let count = 1;
    while (
      step <= 2 &&
      all[i + count]?.[0] === first + count * step &&
      all[i + count]![1] - all[i + count]![0] === distance
    )
      count++;
    words.push([first, count, count === 1 ? 1 : step, distance].map(hex).join(','));
    i += count;
  }
  return words.join(' ');
}

const packFull = (folds: ReadonlyMap<number, readonly number[]>) =>
  [...folds]
    .sort(([a], [b]) => a - b)
    .map(([from, to]) => [from, ...to].map(hex).join(','))
    .join(' ');

const constant = (name: string, comment: string, packed: string) => {
  const lines = packed.match(/.{1,130}(?: |$)/g) ?? [];
  return `/** ${comment} */\nexport const ${name}: string =\n${lines.map(line => `  '${line}'`).join(' +\n')};\n`;
};

const out = [
  '// Unicode 12.1 as far as folding names needs it, packed: casefold.ts unpacks it. Written by scripts/make-casefold-table.ts.',
  '',
  constant(
    'FOLDED_RUNS',
    'Case_Folding C: first code point, how many, how far from one to the next, how far to the folded one.',
    packRuns(common),
  ),
  constant('FOLDED_ALONE', 'Case_Folding F: a code point and what it folds to.', packFull(full)),
  constant('IGNORED', 'Default_Ignorable_Code_Point, as ranges.', packRanges(ignored)),
  constant('ASSIGNED', 'Assigned, as ranges.', packRanges(assigned)),
].join('\n');
writeFileSync(join(import.meta.dirname, '../packages/core/src/fs/casefold-table.ts'), out);
