// A device of which some ranges are not to be touched yet: what is written there is kept in memory, the rest goes through. A filesystem that
// is made in many commits holds back its superblocks that way, so that no filesystem is found on the device until all of it is there.

import { type BlockDevice, type ByteRange, checkRange, checkWrite } from './block-device.ts';
import { SparsePages } from './sparse-pages.ts';

export class HeldDevice implements BlockDevice {
  readonly name: string;
  readonly writable = true;
  readonly #base: BlockDevice;
  readonly #ranges: readonly ByteRange[];
  readonly #pages = new SparsePages();

  /** @param ranges held back, in address order, disjoint; may reach past the end of the device */
  constructor(base: BlockDevice, ranges: readonly ByteRange[]) {
    this.#base = base;
    this.name = base.name;
    this.#ranges = ranges;
  }

  get sizeBytes(): number {
    return this.#base.sizeBytes;
  }
  get logicalSectorBytes(): number {
    return this.#base.logicalSectorBytes;
  }
  get physicalSectorBytes(): number {
    return this.#base.physicalSectorBytes;
  }
  get rotational(): boolean | undefined {
    return this.#base.rotational;
  }

  read(offset: number, into: Uint8Array): void {
    checkRange(this, 'read', offset, into.length);
    this.#split(offset, into, (at, part) => this.#base.read(at, part), this.#readHeld);
  }

  write(offset: number, from: Uint8Array): void {
    checkWrite(this, offset, from.length);
    const hold = (at: number, part: Uint8Array) => this.#pages.write(at, part, this.#underneath);
    this.#split(offset, from, (at, part) => this.#base.write(at, part), hold);
  }

  /** Nothing to do: what is written counts for nothing before the ranges that are held back are written, by others. */
  flush(): void {}

  /** Forgets what was held back; the device underneath stays open. */
  close(): void {
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
    const inside = Math.max(0, Math.min(into.length, this.#base.sizeBytes - offset));
    this.#base.read(offset, into.subarray(0, inside));
    into.fill(0, inside);
  };
}
