// Tests that take minutes run in full with `npm test -- --long`, which CI gives; else a part of them stands for the rest.

export const isLong: boolean = process.env.BCACHEFS_LONG_TESTS === '1';
