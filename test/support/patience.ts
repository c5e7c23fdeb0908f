// Time limits that follow the machine. scripts/test.mjs measures how much slower than an idle one it is just now, and hands the factor on;
// limits are there to end what hangs, so they are generous and never what a test asserts. What a test may assert is how much of the
// processor something took: `cpuMs`, which other programs hardly change.

/** How much longer than on an idle machine things may take; 1 where nothing was measured. */
export const patience: number = Math.max(1, Number(process.env.BCACHEFS_TEST_PATIENCE) || 1);

/** @param limitMs on an idle machine */
export const patient = (limitMs: number): number => Math.ceil(limitMs * patience);

/** Milliseconds of processor time that this process has used, in all its threads. */
export function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}
