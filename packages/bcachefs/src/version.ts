// The version of bcachefs-ts: the one in package.json, which a test compares, as a constant that needs no reading.

export const version = '0.1.0';
