// Where an undo file is written to: a new file that only its owner can read, since it holds what was on the devices.

import { closeSync, constants, fchmodSync, fdatasyncSync, openSync, rmSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { DeviceError, UsageError } from '../ondisk/errors.ts';
import { flushFolder } from './new-file.ts';
import { systemError, systemErrorCode } from './system-error.ts';

/** What a recorder writes to. */
export interface UndoSink {
  readonly name: string;
  /** @throws DeviceError kind `full` or `io` */
  write(offset: number, from: Uint8Array): void;
  /** Returns when everything written is on stable storage. */
  flush(): void;
  close(): void;
  /** Nothing was overwritten: it is not needed. */
  remove(): void;
}

export class UndoFile implements UndoSink {
  readonly name: string;
  readonly #fd: number;
  #isNamed = false;

  /** @throws UsageError when there is something at the path, a symbolic link included; DeviceError */
  constructor(path: string) {
    this.name = path;
    const { O_WRONLY, O_CREAT, O_EXCL } = constants;
    try {
      this.#fd = openSync(path, O_WRONLY | O_CREAT | O_EXCL, 0o600);
    } catch (cause) {
      if (systemErrorCode(cause) !== 'EEXIST') throw systemError(path, 'creating', cause);
      throw new UsageError(`${path} is there already; an undo file is always a new one`, undefined, 'EEXIST');
    }
    // A folder's default ACL may have given more.
    this.#system('setting its permissions', () => fchmodSync(this.#fd, 0o600));
  }

  write(offset: number, from: Uint8Array): void {
    for (let done = 0; done < from.length; ) {
      const doing = `saving what is to be overwritten (${from.length - done} bytes)`;
      const put = this.#system(doing, () => writeSync(this.#fd, from, done, from.length - done, offset + done));
      if (put === 0) throw new DeviceError('io', this.name, `${doing} failed: the system accepted nothing`);
      done += put;
    }
  }

  flush(): void {
    this.#system('flushing', () => {
      fdatasyncSync(this.#fd);
      if (this.#isNamed) return;
      flushFolder(dirname(this.name));
      this.#isNamed = true;
    });
  }

  close(): void {
    this.#system('closing', () => closeSync(this.#fd));
  }

  remove(): void {
    this.close();
    rmSync(this.name, { force: true });
  }

  #system<T>(doing: string, call: () => T): T {
    try {
      return call();
    } catch (cause) {
      throw systemError(this.name, doing, cause);
    }
  }
}
