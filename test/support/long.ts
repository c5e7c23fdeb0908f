// Tests that take minutes run in full with `npm test -- --long`, which CI gives; else a part of them stands for the rest. What is random
// and larger still runs on demand, with `npm run soak`; CI takes a sample of it, another one each time, whose seed it prints.

import { type Random, randomFrom, testSeed } from './random.ts';

export const isSoak: boolean = process.env.BCACHEFS_SOAK === '1';
export const isLong: boolean = isSoak || process.env.BCACHEFS_LONG_TESTS === '1';

/** How much of what is random a run does: an everyday one, CI's long one, and the soak. */
export const sized = <T>(short: T, long: T, soak: T): T => (isSoak ? soak : isLong ? long : short);

/** In so many long runs, each of the others has its turn once. */
const OTHERS = 24;

/** So many of them, at random. */
function* drawn<Kind>(random: Random, all: readonly Kind[], count: number): Generator<Kind> {
  const left = [...all];
  for (let nr = 0; nr < count && left.length > 0; nr++) yield left.splice(random.below(left.length), 1)[0]!;
}

/**
 * A quarter of them in an everyday run, half in CI's, others each time; all in the soak.
 * @param what names them where the seed is printed
 */
export const someOf = <Kind extends { readonly name: string }>(what: string, all: readonly Kind[]): readonly Kind[] =>
  sampleOf(
    what,
    all,
    all.map(({ name }) => name),
  );

/**
 * Which of many kinds a run takes: a quarter of `few` in an everyday one, in CI's half of `few` and a part of the others, all in the
 * soak. Each part is rounded up.
 * @param what names the sample where its seed is printed
 */
export function sampleOf<Kind extends { readonly name: string }>(
  what: string,
  all: readonly Kind[],
  few: readonly string[],
): readonly Kind[] {
  if (isSoak || all.length < 2) return all;
  const seed = testSeed();
  const random = randomFrom(seed);
  const [standing, others] = [true, false].map(isOfFew => all.filter(({ name }) => few.includes(name) === isOfFew));
  const chosen = new Set([
    ...drawn(random, standing!, Math.ceil(standing!.length / sized(4, 2, 1))),
    ...(isLong ? drawn(random, others!, Math.ceil(others!.length / OTHERS)) : []),
  ]);
  const kinds = all.filter(kind => chosen.has(kind));
  console.info(`${what}: ${kinds.map(({ name }) => name).join(', ')} (TEST_SEED=${seed})`);
  return kinds;
}
