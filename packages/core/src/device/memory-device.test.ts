import { describe, expect, it } from 'vitest';
import { checkRange, readBytes } from './block-device.ts';
import { MemoryDevice } from './memory-device.ts';

const TIB = 2 ** 40;

/** Every byte depends on its place. */
const pattern = (length: number, seed = 1) =>
  Uint8Array.from({ length }, (_, i) => (i * 31 + seed * 17 + (i >> 8)) & 0xff);

describe('MemoryDevice', () => {
  it('is zero until written and gives back what was written, across pages', () => {
    const device = new MemoryDevice(64 * 1024);
    device.write(4090, pattern(5000));
    expect(readBytes(device, 4090, 5000)).toEqual(pattern(5000));
    expect(readBytes(device, 0, 4090).every(byte => byte === 0)).toBe(true);
    expect(readBytes(device, 9090, 20000).every(byte => byte === 0)).toBe(true);
  });

  it('takes memory only for what was written: 8 TiB', () => {
    const device = new MemoryDevice(8 * TIB);
    device.write(8 * TIB - 3, Uint8Array.of(1, 2, 3));
    device.write(0, Uint8Array.of(9));
    expect(device.allocatedBytes).toBe(8192);
    expect(readBytes(device, 8 * TIB - 4, 4)).toEqual(Uint8Array.of(0, 1, 2, 3));
    expect(device.writtenRanges()).toEqual([
      { offset: 0, length: 4096 },
      { offset: 8 * TIB - 4096, length: 4096 },
    ]);
  });

  it('overwrites the reader’s old bytes with zeroes where nothing was written', () => {
    const into = new Uint8Array(8192).fill(0xff);
    new MemoryDevice(8192).read(0, into);
    expect(into.every(byte => byte === 0)).toBe(true);
  });

  it('clones share pages until one side writes', () => {
    const device = MemoryDevice.from(pattern(8192));
    const copy = device.clone({ name: 'copy' });
    const copyOfCopy = copy.clone();
    device.write(0, Uint8Array.of(0xaa));
    copy.write(1, Uint8Array.of(0xbb));
    expect(readBytes(device, 0, 2)).toEqual(Uint8Array.of(0xaa, pattern(2)[1]!));
    expect(readBytes(copy, 0, 2)).toEqual(Uint8Array.of(pattern(2)[0]!, 0xbb));
    expect(copyOfCopy.toBytes()).toEqual(pattern(8192));
  });

  it('cuts and grows: what was cut comes back as zeroes', () => {
    const device = MemoryDevice.from(pattern(10000));
    device.setSize(5000);
    device.setSize(10000);
    expect(readBytes(device, 0, 5000)).toEqual(pattern(10000).subarray(0, 5000));
    expect(readBytes(device, 5000, 5000).every(byte => byte === 0)).toBe(true);
  });

  it.each([
    ['past the end', 4000, 97],
    ['before the start', -1, 1],
    ['between bytes', 0.5, 1],
    ['beyond what numbers count', 2 ** 53, 1],
    ['with no length to speak of', 0, Number.NaN],
  ])('refuses a range %s', (_, offset, length) => {
    expect(() => checkRange(new MemoryDevice(4096), 'read', offset, length)).toThrow(
      expect.objectContaining({ name: 'DeviceError', kind: 'out-of-range' }),
    );
  });

  it('says what was asked and what there is', () => {
    expect(() => new MemoryDevice(4096, { name: 'disk.img' }).write(4095, pattern(2))).toThrow(
      "disk.img: cannot write 2 bytes at byte 4095, expected a range inside the device's 4096 bytes",
    );
    expect(() => readBytes(new MemoryDevice(4096), 0, 2 ** 52)).toThrow(
      expect.objectContaining({ kind: 'out-of-range' }),
    );
  });

  it('refuses writes when it is read-only', () => {
    expect(() => new MemoryDevice(4096, { writable: false }).write(0, pattern(1))).toThrow(
      expect.objectContaining({ kind: 'read-only' }),
    );
  });
});
