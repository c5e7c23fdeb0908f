// Random choices for tests, from a seed that the test prints: a failure can be run again with TEST_SEED.

export interface Random {
  readonly seed: number;
  /** 0 ≤ n < limit. */
  below(limit: number): number;
  pick<T>(values: readonly T[]): T;
}

/** The seed from the environment, else a new one. */
export function testSeed(): number {
  const given = process.env.TEST_SEED;
  return given === undefined ? Math.floor(Math.random() * 2 ** 32) : Number(given);
}

/** mulberry32: small, fast, good enough to choose what to break. */
export function randomFrom(seed: number): Random {
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  return {
    seed,
    below: limit => Math.floor(next() * limit),
    pick: values => values[Math.floor(next() * values.length)]!,
  };
}
