// An image file whose holes can be restored: what a change wrote to free room before it failed counts for nothing in the filesystem, but keeps
// blocks of the host's disk. Needs the host calls that know of holes; without them nothing is given back.

import { DeviceWrapper, type FileDevice } from '@bcachefs-ts/core/engine';
import { loadNativeCalls, type NativeCalls } from './native-calls.ts';

/** What most file systems allocate by: a part of such a block brings all of it. */
const HOST_BLOCK_BYTES = 4096;

interface Hole {
  readonly start: number;
  end: number;
}

export class KeptHoles extends DeviceWrapper {
  readonly #file: FileDevice;
  readonly #loadNative: () => NativeCalls | undefined;
  #native: NativeCalls | undefined;
  #smallBytes: number;
  /** Holes that were written to, in the order of the writes, which mostly go on where the last one ended. */
  #holes: Hole[] = [];

  /**
   * @param smallBytes so much may be written before it is worth looking for holes: loading the host calls takes 25 ms, longer than a small
   *   change. What is written until then is not given back
   */
  constructor(inner: FileDevice, smallBytes: number, loadNative: () => NativeCalls | undefined = loadNativeCalls) {
    super(inner);
    this.#file = inner;
    this.#smallBytes = smallBytes;
    this.#loadNative = inner.kind === 'file' ? loadNative : () => undefined;
    if (smallBytes === 0) this.#native = this.#loadNative();
  }

  override write(offset: number, from: Uint8Array): void {
    if (this.#smallBytes > 0) {
      this.#smallBytes -= from.length;
      if (this.#smallBytes <= 0) this.#native = this.#loadNative();
    }
    if (this.#native !== undefined) this.#note(this.#native, offset, Math.min(offset + from.length, this.sizeBytes));
    this.#file.write(offset, from);
  }

  /**
   * Makes holes again of all that was written to holes since the device was opened.
   * @throws DeviceError, HostCallError
   */
  giveBack(): void {
    const native = this.#native;
    if (native === undefined) return;
    this.#file.withDescriptor('giving back room', fd => {
      for (const { start, end } of this.#holes) native.punchHole(fd, start, end - start);
    });
    this.#holes = [];
  }

  #note(native: NativeCalls, from: number, to: number): void {
    this.#file.withDescriptor('looking for holes', fd => {
      for (let at = from; at < to; ) {
        const hole = native.nextHole(fd, at);
        if (hole >= to) return;
        const data = native.nextData(fd, hole) ?? this.sizeBytes;
        // All of each block that the write begins or ends in, as far as it is hole.
        const first = Math.floor(hole / HOST_BLOCK_BYTES) * HOST_BLOCK_BYTES;
        const end = Math.min(data, Math.ceil(Math.min(data, to) / HOST_BLOCK_BYTES) * HOST_BLOCK_BYTES, this.sizeBytes);
        const last = this.#holes.at(-1);
        if (last?.end === hole) last.end = end;
        else this.#holes.push({ start: hole === at ? first : hole, end });
        at = Math.max(data, hole + 1);
      }
    });
  }
}
