// A device of which some ranges are not to be touched yet: what is written there is kept in memory, the rest goes through. A filesystem that
// is made in many commits holds back its superblocks that way, so that no filesystem is found on the device until all of it is there.

import { type BlockDevice, type ByteRange, checkRange, checkWrite } from './block-device.ts';
import { SparsePages } from './sparse-pages.ts';
import { DeviceWrapper } from './wrapper.ts';

export class HeldDevice extends DeviceWrapper {
  readonly #ranges: readonly ByteRange[];
  readonly #pages = new SparsePages();

  /** @param ranges held back, in address order, disjoint; may reach past the end of the device */
  constructor(inner: BlockDevice, ranges: readonly ByteRange[]) {
    super(inner);
    this.#ranges = ranges;
  }

  override get writable(): boolean {
    return true;
  }

  override read(offset: number, into: Uint8Array): void {
    checkRange(this, 'read', offset, into.length);
    this.#split(offset, into, (at, part) => this.inner.read(at, part), this.#readHeld);
  }

  override write(offset: number, from: Uint8Array): void {
    checkWrite(this, offset, from.length);
    const hold = (at: number, part: Uint8Array) => this.#pages.write(at, part, this.#underneath);
    this.#split(offset, from, (at, part) => this.inner.write(at, part), hold);
  }

  /** Nothing to do: what is written counts for nothing before the ranges that are held back are written, by others. */
  override flush(): void {}

  /** Forgets what was held back; the device underneath stays open. */
  override close(): void {
    this.#pages.clear();
  }

  #split(
    offset: number,
    bytes: Uint8Array,
    through: (at: number, part: Uint8Array) => void,
    held: (at: number, part: Uint8Array) => void,
  ): void {
    const end = offset + bytes.length;
    let at = offset;
    for (const range of this.#ranges) {
      const start = Math.max(at, range.offset);
      const stop = Math.min(end, range.offset + range.length);
      if (start >= stop) continue;
      if (at < start) through(at, bytes.subarray(at - offset, start - offset));
      held(start, bytes.subarray(start - offset, stop - offset));
      at = stop;
    }
    if (at < end) through(at, bytes.subarray(at - offset));
  }

  readonly #readHeld = (at: number, part: Uint8Array): void => this.#pages.read(at, part, this.#underneath);

  /** The last page may reach past the end of the base. */
  readonly #underneath = (offset: number, into: Uint8Array): void => {
    const inside = Math.max(0, Math.min(into.length, this.inner.sizeBytes - offset));
    this.inner.read(offset, into.subarray(0, inside));
    into.fill(0, inside);
  };
}
