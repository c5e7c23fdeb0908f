// What a page's program may look like, for browser.test.ts: a table of what is in a filesystem, with a checksum of each file.

import { Bcachefs, type BlockDevice, type FileChunk, MemoryDevice } from '@bcachefs-ts/core';
import { BlobDevice, HttpDevice } from '@bcachefs-ts/core/browser';

/** @param images as they stand: their bytes, Blobs, or where they are on a server */
export async function contentsOf(
  images: readonly (Uint8Array | Blob | string)[],
  passphrase: string | undefined,
): Promise<string[]> {
  const fs = await Bcachefs.openDevices(await Promise.all(images.map(deviceOf)), { passphrase });
  const lines: string[] = [];
  for (const { path, stat } of fs.walk()) {
    if (stat?.type === 'reg') lines.push(`${path} ${stat.sizeBytes} ${checksumOf(fs.chunks(path))}`);
    else if (stat?.type === 'lnk') lines.push(`${path} -> ${fs.readlink(path)}`);
    else lines.push(`${path} ${stat?.type}`);
  }
  fs.close();
  return lines;
}

async function deviceOf(image: Uint8Array | Blob | string): Promise<BlockDevice> {
  if (typeof image === 'string') return HttpDevice.open(image);
  return image instanceof Blob ? new BlobDevice(image) : MemoryDevice.from(image);
}

/** Adler-32 of the data, with where they are. */
function checksumOf(chunks: Iterable<FileChunk>): string {
  let [a, b] = [1, 0];
  const kinds: string[] = [];
  for (const { kind, offset, ...chunk } of chunks) {
    if (kinds.at(-1)?.startsWith(kind) !== true) kinds.push(`${kind} ${offset}`);
    if (!('bytes' in chunk)) continue;
    for (const byte of chunk.bytes) {
      a = (a + byte) % 65521;
      b = (b + a) % 65521;
    }
  }
  return `${b * 65536 + a} ${kinds}`;
}
