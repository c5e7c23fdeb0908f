// The archive that Linux unpacks as its first root filesystem: cpio in the "newc" form. Each file is a header of 110
// ASCII characters, its name and its content, the last two padded to 4 bytes (Documentation/driver-api/early-userspace).

const MODE_FILE = 0o100000;
const MODE_DIRECTORY = 0o040000;
const MODE_SYMLINK = 0o120000;
const MODE_CHARACTER_DEVICE = 0o020000;

export class CpioArchive {
  readonly #pieces: Buffer[] = [];
  readonly #known = new Set<string>();

  /** @param path without a leading slash. Folders above it are added when they are new. */
  file(path: string, content: Uint8Array | string, permissions = 0o644): void {
    this.#add(path, MODE_FILE | permissions, Buffer.from(content));
  }

  folder(path: string): void {
    if (path === '' || path === '.' || this.#known.has(path)) return;
    this.#add(path, MODE_DIRECTORY | 0o755, Buffer.alloc(0));
  }

  symlink(path: string, target: string): void {
    this.#add(path, MODE_SYMLINK | 0o777, Buffer.from(target));
  }

  characterDevice(path: string, major: number, minor: number): void {
    this.#add(path, MODE_CHARACTER_DEVICE | 0o600, Buffer.alloc(0), [major, minor]);
  }

  has(path: string): boolean {
    return this.#known.has(path);
  }

  /** The whole archive, uncompressed: qemu hands it over in one copy, which beats any decompressor under emulation. */
  bytes(): Buffer {
    return Buffer.concat([...this.#pieces, entry(0, 'TRAILER!!!', 0, Buffer.alloc(0), [0, 0])]);
  }

  #add(path: string, mode: number, content: Buffer, rdev: readonly [number, number] = [0, 0]): void {
    this.folder(path.split('/').slice(0, -1).join('/'));
    this.#known.add(path);
    this.#pieces.push(entry(this.#known.size, path, mode, content, rdev));
  }
}

function entry(inode: number, path: string, mode: number, content: Buffer, rdev: readonly [number, number]): Buffer {
  const name = Buffer.from(`${path}\0`);
  const links = 1;
  const fields = [inode, mode, 0, 0, links, 0, content.length, 0, 0, ...rdev, name.length, 0];
  const header = `070701${fields.map(field => field.toString(16).padStart(8, '0')).join('')}`;
  return Buffer.concat([padded(Buffer.concat([Buffer.from(header), name])), padded(content)]);
}

function padded(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, Buffer.alloc(-bytes.length & 3)]);
}
