// Names without regard to case, as directories with the option casefold compare them: decomposed (NFD), folded, ignorable code points left
// out. The kernel does it by tables of Unicode 12.1, and what a name hashes to follows from them for ever: so what is folded, ignored and
// assigned is in a table of our own (casefold-table.ts). The runtime only decomposes and orders, which Unicode promises never to change
// for what is assigned; what a later Unicode has assigned is kept away from it.
//
// Source: bch2_casefold in dirent.c, v1.36.1; utf8nfdicf of fs/unicode in Linux: each code point is folded, else decomposed, before marks are
// put in order, and names that are not UTF-8 stay as they are.

import { utf8Text } from '../util/byte-text.ts';
import { ASSIGNED, FOLDED_ALONE, FOLDED_RUNS, IGNORED } from './casefold-table.ts';

const encoder = new TextEncoder();

/** A name in its folded form; one that is not UTF-8 stays as it is. */
export function foldName(name: Uint8Array): Uint8Array {
  if (name.every(byte => byte < 0x80)) return name.map(byte => (byte >= 0x41 && byte <= 0x5a ? byte + 0x20 : byte));
  const text = utf8Text(name);
  return text === undefined ? name : encoder.encode(foldText(text));
}

function foldText(text: string): string {
  const { assigned, ignored } = tables();
  let folded = '';
  // Marks are put in order up to the next code point that is ignored, or that the table does not know, which stands for itself.
  let run = '';
  for (const char of text) {
    const code = char.codePointAt(0)!;
    const isIgnored = has(ignored, code);
    if (!isIgnored && has(assigned, code)) {
      run += foldChar(char);
      continue;
    }
    folded += run.normalize('NFD');
    if (!isIgnored) folded += char;
    run = '';
  }
  return folded + run.normalize('NFD');
}

/** What becomes of an assigned code point. It may be folded, decomposed, and its parts folded again. */
function foldChar(char: string): string {
  const { folds } = tables();
  const parts = folds.get(char) ?? char.normalize('NFD');
  return parts === char ? char : Array.from(parts, foldChar).join('');
}

interface Tables {
  /** First and last code points of runs, in order. */
  readonly assigned: readonly number[];
  readonly ignored: readonly number[];
  readonly folds: ReadonlyMap<string, string>;
}

let unpacked: Tables | undefined;

/** Unpacked when the first name that is not ASCII asks for it: 2 ms. */
function tables(): Tables {
  unpacked ??= { assigned: ranges(ASSIGNED), ignored: ranges(IGNORED), folds: folds() };
  return unpacked;
}

/** How far the start is from the end before it, and how many more follow, in hexadecimal: `41` or `41+19`. */
function ranges(packed: string): readonly number[] {
  const all: number[] = [];
  let at = 0;
  for (const word of packed.split(' ')) {
    const [gap, more = '0'] = word.split('+');
    const first = at + Number.parseInt(gap!, 16);
    at = first + Number.parseInt(more, 16);
    all.push(first, at);
  }
  return all;
}

function folds(): ReadonlyMap<string, string> {
  const map = new Map<string, string>();
  for (const word of FOLDED_RUNS.split(' ')) {
    const [first, count, step, distance] = word.split(',').map(number => Number.parseInt(number, 16));
    for (let i = 0; i < count!; i++) {
      const from = first! + i * step!;
      map.set(String.fromCodePoint(from), String.fromCodePoint(from + distance!));
    }
  }
  for (const word of FOLDED_ALONE.split(' ')) {
    const [from, ...to] = word.split(',').map(number => Number.parseInt(number, 16));
    map.set(String.fromCodePoint(from!), String.fromCodePoint(...to));
  }
  return map;
}

/** Whether a code point lies in one of the ranges. */
function has(sorted: readonly number[], code: number): boolean {
  let low = 0;
  let high = sorted.length / 2;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (sorted[2 * middle + 1]! < code) low = middle + 1;
    else high = middle;
  }
  return low < sorted.length / 2 && sorted[2 * low]! <= code;
}
