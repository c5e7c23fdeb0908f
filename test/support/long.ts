// Tests that take minutes run in full with `npm test -- --long`, which CI gives; else a part of them stands for the rest. What is random
// and larger still runs on demand, with `npm run soak`; CI takes a sample of it, another one each time, whose seed it prints.

import { randomFrom, testSeed } from './random.ts';

export const isSoak: boolean = process.env.BCACHEFS_SOAK === '1';
export const isLong: boolean = isSoak || process.env.BCACHEFS_LONG_TESTS === '1';

/** How much of what is random a run does: an everyday one, CI's long one, and the soak. */
export const sized = <T>(short: T, long: T, soak: T): T => (isSoak ? soak : isLong ? long : short);

/** In so many long runs, each of the others has its turn once. */
const OTHERS = 12;

/**
 * Half of them in an everyday run, another half each time; all in longer ones.
 * @param what names them where the seed is printed
 */
export function halfOf<Kind extends { readonly name: string }>(what: string, all: readonly Kind[]): readonly Kind[] {
  if (isLong || all.length < 2) return all;
  const seed = testSeed();
  const random = randomFrom(seed);
  const chosen = new Set<Kind>();
  while (chosen.size < Math.ceil(all.length / 2)) chosen.add(random.pick(all));
  const kinds = all.filter(kind => chosen.has(kind));
  console.info(`${what}: ${kinds.map(({ name }) => name).join(', ')} (TEST_SEED=${seed})`);
  return kinds;
}

/**
 * Which of many kinds a run takes: half of `few` in an everyday one, in a long one all of `few` and a twelfth of the others, all in a soak.
 * @param what names the sample where its seed is printed
 */
export function sampleOf<Kind extends { readonly name: string }>(
  what: string,
  all: readonly Kind[],
  few: readonly string[],
): readonly Kind[] {
  if (isSoak) return all;
  const standing = all.filter(({ name }) => few.includes(name));
  if (!isLong) return halfOf(what, standing);
  const seed = testSeed();
  const random = randomFrom(seed);
  const others = all.filter(({ name }) => !few.includes(name));
  const chosen = new Set<Kind>();
  while (chosen.size < Math.ceil(others.length / OTHERS)) chosen.add(random.pick(others));
  const kinds = all.filter(kind => standing.includes(kind) || chosen.has(kind));
  console.info(`${what}: ${kinds.map(({ name }) => name).join(', ')} (TEST_SEED=${seed})`);
  return kinds;
}
