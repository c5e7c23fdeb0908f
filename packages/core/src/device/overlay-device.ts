// Writes kept in memory over a device that is only read: dry runs (`-n`), plans, "what would change". The changed bytes can
// be listed exactly and committed later. The device underneath must not change meanwhile.

import { type BlockDevice, type ByteRange, checkRange, checkWrite, readBytes } from './block-device.ts';
import { SparsePages } from './sparse-pages.ts';
import { DeviceWrapper } from './wrapper.ts';

/** The longest single write of `commitTo`. */
const COMMIT_CHUNK_BYTES = 1 << 20;

export class OverlayDevice extends DeviceWrapper {
  readonly #pages = new SparsePages();
  /** Sorted, disjoint, not touching. */
  readonly #changed: ByteRange[] = [];

  constructor(inner: BlockDevice) {
    super(inner);
  }

  override get writable(): boolean {
    return true;
  }

  override read(offset: number, into: Uint8Array): void {
    checkRange(this, 'read', offset, into.length);
    this.#pages.read(offset, into, this.#underneath);
  }

  override write(offset: number, from: Uint8Array): void {
    checkWrite(this, offset, from.length);
    if (from.length === 0) return;
    this.#pages.write(offset, from, this.#underneath);
    this.#noteChange(offset, from.length);
  }

  /** Nothing to do: the changes are in memory until `commitTo`. */
  override flush(): void {}

  /** Every byte that was written, in address order, neighbours joined. Writing the same bytes again counts as a change. */
  changedRanges(): readonly ByteRange[] {
    return [...this.#changed];
  }

  get changedBytes(): number {
    return this.#changed.reduce((sum, range) => sum + range.length, 0);
  }

  /** Writes the changes in address order and flushes. The overlay keeps them. */
  commitTo(device: BlockDevice): void {
    for (const { offset, length } of this.#changed) {
      for (let done = 0; done < length; done += COMMIT_CHUNK_BYTES) {
        device.write(offset + done, readBytes(this, offset + done, Math.min(COMMIT_CHUNK_BYTES, length - done)));
      }
    }
    device.flush();
  }

  /** Forgets all changes. */
  discardChanges(): void {
    this.#pages.clear();
    this.#changed.length = 0;
  }

  /** The last page may reach past the end of the base; that part stays zero and is never read. */
  readonly #underneath = (offset: number, into: Uint8Array): void => {
    const inside = Math.max(0, Math.min(into.length, this.inner.sizeBytes - offset));
    this.inner.read(offset, into.subarray(0, inside));
    into.fill(0, inside);
  };

  #noteChange(offset: number, length: number): void {
    const first = this.#firstEndingAtOrAfter(offset);
    let start = offset;
    let end = offset + length;
    let past = first;
    for (let range = this.#changed[past]; range !== undefined && range.offset <= end; range = this.#changed[past]) {
      start = Math.min(start, range.offset);
      end = Math.max(end, range.offset + range.length);
      past++;
    }
    this.#changed.splice(first, past - first, { offset: start, length: end - start });
  }

  /** Binary search in the changed ranges. */
  #firstEndingAtOrAfter(offset: number): number {
    let low = 0;
    let high = this.#changed.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const range = this.#changed[middle];
      if (range !== undefined && range.offset + range.length < offset) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
