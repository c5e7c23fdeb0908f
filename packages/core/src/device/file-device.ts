// Image files, disks and partitions. Opening for writing is exclusive:
//
//   block devices   O_EXCL without O_CREAT, which Linux refuses while the device is mounted or otherwise claimed
//   image files     refused while mounted, attached to a loop device, used as swap or locked by another program; and two
//                   writers of ours refuse each other (writer-marker.ts)
//
// The size of a disk comes from sysfs; where there is none, from reading (a search for the last readable sector). Node has no
// ioctl, hence no discard and no punching of holes; a new image is sparse because it is made by ftruncate.
// On Linux the page cache takes reads and writes at any byte; raw devices elsewhere want whole sectors, which the callers keep to
// (everything that bcachefs writes is a multiple of its block size).

import {
  closeSync,
  constants,
  fdatasyncSync,
  fstatSync,
  ftruncateSync,
  openSync,
  readSync,
  type Stats,
  statSync,
  writeSync,
} from 'node:fs';
import { assert, DeviceError, UsageError } from '../ondisk/errors.ts';
import { assertSize, type BlockDevice, checkRange, checkWrite } from './block-device.ts';
import { assertNotInUse } from './device-users.ts';
import { blockFacts, deviceNumber, thisSystem } from './linux-system.ts';
import { throughQcow2 } from './qcow2-device.ts';
import { systemError, systemErrorCode } from './system-error.ts';
import { assertOnlyWriter, WRITER_FLAGS } from './writer-marker.ts';

/** The longest single system call: Linux stops just short of 2 GiB. */
const IO_CHUNK_BYTES = 1 << 30;

export interface OpenDeviceOptions {
  readonly write: boolean;
  /** Refuse when anything else uses it. Default: when writing. */
  readonly exclusive?: boolean;
  /** Makes a sparse image file of this size when there is nothing at the path. */
  readonly create?: { readonly sizeBytes: number };
}

/**
 * Opens an image file or a block device. One that is opened for reading may be a qcow2 file, and is the device in it then
 * (qcow2-device.ts says how that is recognised); for writing, files are taken as they stand.
 * @throws DeviceError kind `missing`, `busy`, `permission`, `read-only`, `full` or `io`
 * @throws UsageError when the path is neither an image file nor a block device
 * @throws CorruptError, IncompatibleError for a qcow2 file that cannot be read
 */
export function openDevice(path: string, options: OpenDeviceOptions & { readonly write: true }): FileDevice;
export function openDevice(path: string, options: OpenDeviceOptions): BlockDevice;
export function openDevice(path: string, options: OpenDeviceOptions): BlockDevice {
  const file = openFile(path, options);
  if (options.write) return file;
  try {
    return throughQcow2(file);
  } catch (thrown) {
    file.close();
    throw thrown;
  }
}

/** The same, as the bytes stand: a qcow2 file is a file. */
export function openFile(path: string, options: OpenDeviceOptions): FileDevice {
  const exclusive = options.exclusive ?? options.write;
  const found = statIfPresent(path);
  if (found === undefined) {
    if (options.create === undefined) {
      throw new DeviceError('missing', path, 'there is no such device or file; check the path');
    }
    assertSize(options.create.sizeBytes);
  } else {
    assertDeviceOrFile(path, found);
    if (exclusive) assertNotInUse(path);
  }

  const { fd, created } = open(path, options, exclusive, found?.isBlockDevice() ?? false);
  try {
    const stat = fstatSync(fd, { bigint: true });
    assertDeviceOrFile(path, stat); // again: what is open is what counts
    if (exclusive && stat.isFile()) assertOnlyWriter(path, fd);
    if (created && options.create !== undefined) truncate(path, fd, options.create.sizeBytes);
    const shape = stat.isFile()
      ? fileShape(created ? (options.create?.sizeBytes ?? 0) : Number(stat.size))
      : blockShape(path, fd, deviceNumber(stat.rdev));
    return new FileDevice(path, fd, { ...shape, created, writable: options.write });
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

interface Shape {
  readonly kind: 'file' | 'block';
  readonly sizeBytes: number;
  readonly logicalSectorBytes: number;
  readonly physicalSectorBytes: number;
  readonly rotational: boolean | undefined;
}

/** An open image file or block device; made by `openDevice`. */
export class FileDevice implements BlockDevice {
  readonly kind: 'file' | 'block';
  readonly logicalSectorBytes: number;
  readonly physicalSectorBytes: number;
  readonly rotational: boolean | undefined;
  readonly writable: boolean;
  /** Whether opening made the file: a command that fails before it wrote anything may remove it again. */
  readonly created: boolean;
  #sizeBytes: number;
  #fd: number | undefined;

  constructor(
    readonly name: string,
    fd: number,
    shape: Shape & { readonly created: boolean; readonly writable: boolean },
  ) {
    this.#fd = fd;
    this.#sizeBytes = shape.sizeBytes;
    this.kind = shape.kind;
    this.logicalSectorBytes = shape.logicalSectorBytes;
    this.physicalSectorBytes = shape.physicalSectorBytes;
    this.rotational = shape.rotational;
    this.created = shape.created;
    this.writable = shape.writable;
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  read(offset: number, into: Uint8Array): void {
    checkRange(this, 'read', offset, into.length);
    const fd = this.#openFd();
    for (let done = 0; done < into.length; ) {
      const length = Math.min(IO_CHUNK_BYTES, into.length - done);
      const got = this.#system(`reading ${length} bytes at byte ${offset + done}`, () =>
        readSync(fd, into, done, length, offset + done),
      );
      if (got === 0) {
        throw new DeviceError(
          'out-of-range',
          this.name,
          `ended at byte ${offset + done} while ${into.length} bytes were read at byte ${offset}; ` +
            `it was ${this.#sizeBytes} bytes long when it was opened`,
        );
      }
      done += got;
    }
  }

  write(offset: number, from: Uint8Array): void {
    checkWrite(this, offset, from.length);
    const fd = this.#openFd();
    for (let done = 0; done < from.length; ) {
      const length = Math.min(IO_CHUNK_BYTES, from.length - done);
      const doing = `writing ${length} bytes at byte ${offset + done}`;
      const put = this.#system(doing, () => writeSync(fd, from, done, length, offset + done));
      if (put === 0) throw new DeviceError('io', this.name, `${doing} failed: the system accepted nothing`);
      done += put;
    }
  }

  flush(): void {
    const fd = this.#openFd();
    // The data, and of the host's metadata what leads to them; the time of the last write is not worth a commit of the host's journal.
    if (this.writable) this.#system('flushing', () => fdatasyncSync(fd));
  }

  /**
   * Grows an image file (sparse, zeroes) or cuts it.
   * @throws UsageError for a block device, whose size is fixed
   */
  setSize(sizeBytes: number): void {
    assertSize(sizeBytes);
    if (this.kind === 'block') {
      throw new UsageError(
        `${this.name} is a block device of ${this.#sizeBytes} bytes; only image files change their size`,
      );
    }
    checkWrite(this, 0, 0);
    truncate(this.name, this.#openFd(), sizeBytes);
    this.#sizeBytes = sizeBytes;
  }

  /** For calls of the system that are not here. @throws DeviceError for what the call throws as the system's error */
  withDescriptor<T>(doing: string, call: (fd: number) => T): T {
    const fd = this.#openFd();
    return this.#system(doing, () => call(fd));
  }

  /** Doing it twice is fine. What was written but not flushed is the system's to write. */
  close(): void {
    const fd = this.#fd;
    this.#fd = undefined;
    if (fd !== undefined) this.#system('closing', () => closeSync(fd));
  }

  #openFd(): number {
    assert(this.#fd !== undefined, `${this.name} is used after it was closed`);
    return this.#fd;
  }

  #system<T>(doing: string, call: () => T): T {
    try {
      return call();
    } catch (cause) {
      throw systemError(this.name, doing, cause);
    }
  }
}

interface StatKind {
  isFile(): boolean;
  isBlockDevice(): boolean;
  isCharacterDevice(): boolean;
  isDirectory(): boolean;
}

function assertDeviceOrFile(path: string, stat: StatKind): void {
  if (stat.isFile() || stat.isBlockDevice()) return;
  // Raw disks are character devices there.
  if (stat.isCharacterDevice() && process.platform !== 'linux') return;
  const what = stat.isDirectory()
    ? 'a directory'
    : stat.isCharacterDevice()
      ? 'a character device'
      : 'neither a file nor a device';
  throw new UsageError(`${path} is ${what}, expected an image file or a block device`);
}

function statIfPresent(path: string): Stats | undefined {
  try {
    return statSync(path);
  } catch (cause) {
    if (systemErrorCode(cause) === 'ENOENT') return undefined;
    throw systemError(path, 'opening', cause);
  }
}

function open(
  path: string,
  options: OpenDeviceOptions,
  exclusive: boolean,
  isBlock: boolean,
): { fd: number; created: boolean } {
  const { O_RDONLY, O_RDWR, O_CREAT, O_EXCL } = constants;
  const access = options.write ? O_RDWR : O_RDONLY;
  const claim = !exclusive ? 0 : isBlock ? O_EXCL : options.write ? WRITER_FLAGS : 0;
  try {
    return { fd: openSync(path, access | claim), created: false };
  } catch (cause) {
    const code = systemErrorCode(cause);
    if (code === 'EBUSY' || code === 'EAGAIN') {
      // A device: nothing that assertNotInUse found, so another mount namespace or one of several devices of a mounted
      // filesystem. A file: the lock of writer-marker.ts where the system has one.
      const detail = isBlock
        ? 'is in use by the system (mounted elsewhere, or part of a mounted filesystem or RAID); unmount or stop that first'
        : 'is open for writing in another process; wait until it ends';
      throw new DeviceError('busy', path, detail, { cause });
    }
    if (code !== 'ENOENT' || options.create === undefined) throw systemError(path, 'opening', cause);
  }
  try {
    // The mode is cut by the umask, as for any new file.
    return { fd: openSync(path, access | claim | O_CREAT | O_EXCL, 0o666), created: true };
  } catch (cause) {
    throw systemError(path, 'creating', cause);
  }
}

function truncate(path: string, fd: number, sizeBytes: number): void {
  try {
    ftruncateSync(fd, sizeBytes);
  } catch (cause) {
    throw systemError(path, `setting the size to ${sizeBytes} bytes`, cause);
  }
}

/** The physical sector stays unknown: st_blksize is a fact of the host, and nothing that we write depends on the host. */
function fileShape(sizeBytes: number): Shape {
  return { kind: 'file', sizeBytes, logicalSectorBytes: 512, physicalSectorBytes: 0, rotational: undefined };
}

function blockShape(path: string, fd: number, device: string): Shape {
  const facts = blockFacts(thisSystem, device);
  return { kind: 'block', ...facts, sizeBytes: facts.sizeBytes ?? searchSize(path, fd) };
}

/**
 * The size of a device that does not report it: the end of what can be read. About a hundred reads.
 * Exported for its test.
 */
export function searchSize(path: string, fd: number): number {
  const stepBytes = readable(fd, 0, 512) ? 512 : 4096;
  if (!readable(fd, 0, stepBytes))
    throw new DeviceError('io', path, 'its size is unknown and its first sector cannot be read');
  let inside = 0; // a readable sector
  let outside = 1;
  while (readable(fd, outside * stepBytes, stepBytes)) {
    inside = outside;
    outside *= 2;
    if (!Number.isSafeInteger(outside * stepBytes)) {
      throw new DeviceError('io', path, 'its size is unknown and reading finds no end');
    }
  }
  while (outside - inside > 1) {
    const middle = inside + Math.floor((outside - inside) / 2);
    if (readable(fd, middle * stepBytes, stepBytes)) inside = middle;
    else outside = middle;
  }
  return outside * stepBytes;
}

/** An unreadable sector (EIO) is inside all the same; other errors are how some systems report the end. */
function readable(fd: number, offset: number, length: number): boolean {
  try {
    return readSync(fd, new Uint8Array(length), 0, length, offset) === length;
  } catch (cause) {
    return systemErrorCode(cause) === 'EIO';
  }
}
