// Tests that take minutes run in full with `npm test -- --long`, which CI gives; else a part of them stands for the rest. What is random
// and larger still runs on demand, with `npm run soak`; CI takes a sample of it, another one each time, whose seed it prints.

export const isSoak: boolean = process.env.BCACHEFS_SOAK === '1';
export const isLong: boolean = isSoak || process.env.BCACHEFS_LONG_TESTS === '1';
