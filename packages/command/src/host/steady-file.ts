// A regular file of the host that is read as it was when it was looked at: that it is still the same file, of the same size and time of
// change, is checked before and after. It is not followed when it has become a symlink, and not waited for when it has become a fifo.

import { type BigIntStats, closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { DeviceError } from '@bcachefs-ts/core/engine';

/** One file for all of its names. */
export const hostIdentity = ({ dev, ino }: Pick<BigIntStats, 'dev' | 'ino'>): string => `${dev}:${ino}`;

export class SteadyFile {
  readonly fd: number;
  readonly #before: BigIntStats;
  readonly #name: string;

  /**
   * @param before what lstat said of it; @param name for messages
   * @throws DeviceError when it is not that file any more; the system's error
   */
  constructor(path: Uint8Array, before: BigIntStats, name: string) {
    this.#before = before;
    this.#name = name;
    this.fd = openSync(Buffer.from(path), constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    try {
      this.check();
    } catch (thrown) {
      this.close();
      throw thrown;
    }
  }

  /** Fills `into`. @throws DeviceError when the file is shorter by now; the system's error */
  read(offset: number, into: Uint8Array): void {
    for (let done = 0; done < into.length; ) {
      const count = readSync(this.fd, into, done, into.length - done, offset + done);
      if (count === 0) throw this.changed();
      done += count;
    }
  }

  /** @throws DeviceError when it changed; the system's error */
  check(): void {
    const now = fstatSync(this.fd, { bigint: true });
    const isSame = (['dev', 'ino', 'size', 'mtimeNs'] as const).every(field => now[field] === this.#before[field]);
    if (!isSame) throw this.changed();
  }

  changed(): DeviceError {
    const detail = 'changed while it was being read; stop what writes to it, or take a snapshot';
    return new DeviceError('busy', this.#name, detail);
  }

  close(): void {
    closeSync(this.fd);
  }
}
