// Versions for encrypted extents. With the key, a version is the nonce of an extent's bytes, so none is given twice: not by another edit of
// the same opening either, should the first have been dropped with its data written.

export class KeyVersions {
  #newest: bigint;
  #distance: bigint;

  /**
   * @param newest the clock `keyVersion` of the journal
   * @param distance how far from there the first one is: see randomDistance
   */
  constructor(newest: bigint, distance: bigint) {
    this.#newest = newest;
    this.#distance = distance;
  }

  /** The greatest that a key may have: for the clocks of a commit. */
  get newest(): bigint {
    return this.#newest;
  }

  next(): bigint {
    this.#newest += this.#distance;
    this.#distance = 1n;
    return this.#newest;
  }
}
