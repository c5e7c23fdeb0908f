// Values of types that have grown: what an old key does not have yet reads as zero.

/** The first `size` bytes of a value, followed by zeroes where it is shorter. Mirrors bkey_val_copy_pad. */
export function padded(value: Uint8Array, size: number): Uint8Array {
  if (value.length >= size) return value;
  const longer = new Uint8Array(size);
  longer.set(value);
  return longer;
}
