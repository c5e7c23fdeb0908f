// Bytes that exist only where they were written: a map of 4 KiB pages. The storage of MemoryDevice and OverlayDevice.
// Copies share pages until one side writes (8 TiB devices and a thousand snapshots of one image are cheap).

import type { ByteRange } from './block-device.ts';

export const PAGE_BYTES = 4096;

interface Page {
  readonly bytes: Uint8Array;
  /** Also in the map of a copy: replaced, not changed, on write. Never cleared, at the price of one needless copy. */
  shared: boolean;
}

/** Supplies what an unwritten page holds. */
export type Underneath = (offset: number, into: Uint8Array) => void;

export class SparsePages {
  readonly #pages = new Map<number, Page>();

  /** @param underneath fills the parts that were never written */
  read(offset: number, into: Uint8Array, underneath: Underneath): void {
    let done = 0;
    while (done < into.length) {
      const pageNr = Math.floor((offset + done) / PAGE_BYTES);
      const inPage = offset + done - pageNr * PAGE_BYTES;
      const page = this.#pages.get(pageNr);
      if (page !== undefined) {
        const length = Math.min(PAGE_BYTES - inPage, into.length - done);
        into.set(page.bytes.subarray(inPage, inPage + length), done);
        done += length;
        continue;
      }
      // One call for a whole run of unwritten pages.
      let runEnd = PAGE_BYTES - inPage;
      for (let next = pageNr + 1; done + runEnd < into.length && !this.#pages.has(next); next++) runEnd += PAGE_BYTES;
      const length = Math.min(runEnd, into.length - done);
      underneath(offset + done, into.subarray(done, done + length));
      done += length;
    }
  }

  /** @param underneath fills the rest of a page that is written in part for the first time */
  write(offset: number, from: Uint8Array, underneath: Underneath): void {
    for (let done = 0; done < from.length; ) {
      const pageNr = Math.floor((offset + done) / PAGE_BYTES);
      const inPage = offset + done - pageNr * PAGE_BYTES;
      const length = Math.min(PAGE_BYTES - inPage, from.length - done);
      const bytes = this.#own(pageNr, length === PAGE_BYTES, underneath);
      bytes.set(from.subarray(done, done + length), inPage);
      done += length;
    }
  }

  /** Forgets everything from `offset` on; the rest of that page becomes zero. */
  truncate(offset: number): void {
    for (const pageNr of [...this.#pages.keys()]) {
      const start = pageNr * PAGE_BYTES;
      if (start >= offset) this.#pages.delete(pageNr);
      else if (start + PAGE_BYTES > offset) this.#own(pageNr, false, zeroes).fill(0, offset - start);
    }
  }

  clear(): void {
    this.#pages.clear();
  }

  clone(): SparsePages {
    const copy = new SparsePages();
    for (const [pageNr, page] of this.#pages) {
      page.shared = true;
      copy.#pages.set(pageNr, page);
    }
    return copy;
  }

  get allocatedBytes(): number {
    return this.#pages.size * PAGE_BYTES;
  }

  /** The pages that exist, in address order, neighbours joined. */
  ranges(): ByteRange[] {
    const ranges: { offset: number; length: number }[] = [];
    for (const pageNr of [...this.#pages.keys()].sort((a, b) => a - b)) {
      const offset = pageNr * PAGE_BYTES;
      const last = ranges.at(-1);
      if (last !== undefined && last.offset + last.length === offset) last.length += PAGE_BYTES;
      else ranges.push({ offset, length: PAGE_BYTES });
    }
    return ranges;
  }

  /** The bytes of a page that only this map holds. */
  #own(pageNr: number, overwrittenWhole: boolean, underneath: Underneath): Uint8Array {
    const page = this.#pages.get(pageNr);
    if (page !== undefined && !page.shared) return page.bytes;
    const bytes = page === undefined ? new Uint8Array(PAGE_BYTES) : page.bytes.slice();
    if (page === undefined && !overwrittenWhole) underneath(pageNr * PAGE_BYTES, bytes);
    this.#pages.set(pageNr, { bytes, shared: false });
    return bytes;
  }
}

/** What lies under a fresh device. */
export function zeroes(_offset: number, into: Uint8Array): void {
  into.fill(0);
}
