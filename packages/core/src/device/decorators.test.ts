// OverlayDevice, RecordingDevice and FaultyDevice: each alone, then stacked.

import { describe, expect, it } from 'vitest';
import type { ByteRange } from './block-device.ts';
import { readBytes } from './block-device.ts';
import { FaultyDevice } from './faulty-device.ts';
import { MemoryDevice } from './memory-device.ts';
import { OverlayDevice } from './overlay-device.ts';
import { RecordingDevice } from './recording-device.ts';

const filled = (length: number, value: number) => new Uint8Array(length).fill(value);

/** A small generator with a seed: the same numbers on every machine. */
function randomFrom(seed: number): (below: number) => number {
  let state = seed >>> 0 || 1;
  return below => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

describe('OverlayDevice', () => {
  it('shows its writes and leaves the device underneath alone', () => {
    const base = MemoryDevice.from(filled(10_000, 1), { writable: false });
    const overlay = new OverlayDevice(base);
    overlay.write(4000, filled(200, 2));
    expect(readBytes(overlay, 3999, 202)).toEqual(Uint8Array.of(1, ...filled(200, 2), 1));
    expect(base.toBytes()).toEqual(filled(10_000, 1));
  });

  it('reaches the last byte of a device that is not a multiple of a page', () => {
    const overlay = new OverlayDevice(MemoryDevice.from(filled(5000, 1)));
    overlay.write(4999, filled(1, 2));
    expect(readBytes(overlay, 4998, 2)).toEqual(Uint8Array.of(1, 2));
    expect(() => overlay.write(5000, filled(1, 2))).toThrow(expect.objectContaining({ kind: 'out-of-range' }));
  });

  it('lists changed bytes exactly, joining what touches', () => {
    const overlay = new OverlayDevice(new MemoryDevice(100_000));
    overlay.write(10, filled(5, 1));
    overlay.write(30, filled(5, 1));
    overlay.write(15, filled(5, 1)); // touches the first
    overlay.write(50_000, filled(1, 1));
    overlay.write(0, filled(0, 1)); // nothing
    expect(overlay.changedRanges()).toEqual([
      { offset: 10, length: 10 },
      { offset: 30, length: 5 },
      { offset: 50_000, length: 1 },
    ]);
    overlay.write(12, filled(40, 1)); // swallows the second
    expect(overlay.changedRanges()).toEqual([
      { offset: 10, length: 42 },
      { offset: 50_000, length: 1 },
    ]);
    expect(overlay.changedBytes).toBe(43);
  });

  it('commits the changes and nothing else', () => {
    const base = MemoryDevice.from(filled(20_000, 1));
    const overlay = new OverlayDevice(base);
    overlay.write(100, filled(10, 2));
    overlay.write(9_000, filled(3, 3));
    const target = new RecordingDevice(base);
    overlay.commitTo(target);
    expect(target.events.map(event => (event.kind === 'write' ? [event.offset, event.bytes.length] : 'flush'))).toEqual(
      [[100, 10], [9_000, 3], 'flush'],
    );
    expect(readBytes(base, 99, 12)).toEqual(Uint8Array.of(1, ...filled(10, 2), 1));
  });

  it('forgets', () => {
    const overlay = new OverlayDevice(MemoryDevice.from(filled(100, 1)));
    overlay.write(0, filled(100, 2));
    overlay.discardChanges();
    expect(overlay.changedRanges()).toEqual([]);
    expect(readBytes(overlay, 0, 100)).toEqual(filled(100, 1));
  });

  it('agrees with a plain array and a plain set of bytes over random writes', () => {
    for (const seed of [1, 2, 3]) {
      const random = randomFrom(seed);
      const size = 30_000 + random(5_000);
      const plain = filled(size, 7);
      const overlay = new OverlayDevice(MemoryDevice.from(plain));
      const changed = new Uint8Array(size);
      for (let i = 0; i < 300; i++) {
        const offset = random(size);
        const from = filled(Math.min(random(6_000), size - offset), i);
        plain.set(from, offset);
        changed.fill(1, offset, offset + from.length);
        overlay.write(offset, from);
        if (i % 50 === 0) expect(overlay.changedRanges(), `seed ${seed}`).toEqual(runsOf(changed));
      }
      expect(readBytes(overlay, 0, size), `seed ${seed}`).toEqual(plain);
      expect(overlay.changedRanges(), `seed ${seed}`).toEqual(runsOf(changed));
    }
  });
});

function runsOf(marks: Uint8Array): ByteRange[] {
  const runs: ByteRange[] = [];
  for (let at = marks.indexOf(1); at >= 0; ) {
    const end = marks.indexOf(0, at);
    const length = (end < 0 ? marks.length : end) - at;
    runs.push({ offset: at, length });
    at = marks.indexOf(1, at + length);
  }
  return runs;
}

describe('RecordingDevice', () => {
  /** Two writes, a flush, two writes. */
  function recorded(): RecordingDevice {
    const device = new RecordingDevice(new MemoryDevice(8192));
    device.write(0, filled(1024, 1));
    device.write(2048, filled(1024, 2));
    device.flush();
    device.write(0, filled(1024, 3));
    device.write(4096, filled(1536, 4));
    return device;
  }
  const replayed = (...args: Parameters<RecordingDevice['replay']> extends [unknown, ...infer R] ? R : never) => {
    const device = new MemoryDevice(8192);
    recorded().replay(device, ...args);
    return [0, 2048, 4096, 4096 + 512, 4096 + 1024].map(at => readBytes(device, at, 1)[0]);
  };

  it('replays everything', () => expect(replayed()).toEqual([3, 2, 4, 4, 4]));
  it('replays a prefix', () => expect(replayed({ events: 2 })).toEqual([1, 2, 0, 0, 0]));
  it('replays nothing', () => expect(replayed({ events: 0 })).toEqual([0, 0, 0, 0, 0]));
  it('tears the last write at a sector', () => {
    expect(replayed({ lastWriteSectors: 2 })).toEqual([3, 2, 4, 4, 0]);
    expect(replayed({ lastWriteSectors: 0 })).toEqual([3, 2, 0, 0, 0]);
  });
  it('loses writes that no flush followed, never flushed ones', () => {
    expect(replayed({ lost: () => true })).toEqual([1, 2, 0, 0, 0]);
    expect(replayed({ lost: index => index === 3 })).toEqual([1, 2, 4, 4, 4]);
  });
  it('keeps its own copy of what was written', () => {
    const device = new RecordingDevice(new MemoryDevice(512));
    const bytes = filled(4, 1);
    device.write(0, bytes);
    bytes.fill(9);
    expect(device.events).toEqual([{ kind: 'write', offset: 0, bytes: filled(4, 1) }]);
  });
});

describe('FaultyDevice', () => {
  it('fails reads that touch a range, as often as is asked', () => {
    const device = new FaultyDevice(new MemoryDevice(8192), [
      { kind: 'read-error', offset: 4096, length: 512, times: 1 },
    ]);
    readBytes(device, 0, 4096);
    expect(() => readBytes(device, 4000, 97)).toThrow('memory: reading 97 bytes at byte 4000 failed: EIO');
    readBytes(device, 4000, 97);
  });

  it('fails writes without changing anything', () => {
    const memory = new MemoryDevice(8192);
    const device = new FaultyDevice(memory, [{ kind: 'write-error', offset: 0, length: 1 }]);
    expect(() => device.write(0, filled(10, 1))).toThrow(expect.objectContaining({ kind: 'io' }));
    device.write(1, filled(10, 1));
    expect(readBytes(memory, 0, 2)).toEqual(Uint8Array.of(0, 1));
  });

  it.each([true, false])('tears a write, silent: %s', silent => {
    const memory = new MemoryDevice(8192);
    const device = new FaultyDevice(memory, [{ kind: 'torn-write', offset: 0, length: 8192, writtenBytes: 2, silent }]);
    const write = () => device.write(0, filled(4, 1));
    if (silent) write();
    else expect(write).toThrow(expect.objectContaining({ kind: 'io' }));
    expect(readBytes(memory, 0, 4)).toEqual(Uint8Array.of(1, 1, 0, 0));
  });

  it('is full after so many bytes', () => {
    const memory = new MemoryDevice(8192);
    const device = new FaultyDevice(memory, [{ kind: 'full-after', bytes: 6 }]);
    device.write(0, filled(4, 1));
    expect(() => device.write(4, filled(4, 1))).toThrow(expect.objectContaining({ kind: 'full' }));
    expect(readBytes(memory, 0, 8)).toEqual(Uint8Array.of(1, 1, 1, 1, 1, 1, 0, 0));
    expect(() => device.write(0, filled(1, 1))).toThrow(expect.objectContaining({ kind: 'full' }));
  });

  it('fails a flush', () => {
    const device = new FaultyDevice(new MemoryDevice(512), [{ kind: 'flush-error', times: 1 }]);
    expect(() => device.flush()).toThrow('memory: flushing failed: EIO');
    device.flush();
  });

  it('strikes where and when it is asked to', () => {
    const memory = new MemoryDevice(8192);
    const device = new FaultyDevice(memory, [{ kind: 'write-error', code: 'ENOSPC', skip: 2, times: 1 }]);
    device.write(0, filled(4, 1));
    device.write(100, filled(4, 1));
    expect(() => device.write(4, filled(4, 1))).toThrow(
      'memory: writing 4 bytes at byte 4 failed: no space left (ENOSPC)',
    );
    device.write(8, filled(4, 1));
    expect(readBytes(memory, 0, 12)).toEqual(Uint8Array.of(1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1, 1));
  });

  it('counts only what touches the range', () => {
    const device = new FaultyDevice(new MemoryDevice(8192), [
      { kind: 'read-error', offset: 512, length: 512, skip: 1 },
    ]);
    readBytes(device, 0, 512);
    readBytes(device, 1024, 512);
    readBytes(device, 1023, 1);
    expect(() => readBytes(device, 512, 1)).toThrow('EIO');
    expect(() => readBytes(device, 512, 1)).toThrow('EIO');
  });

  it('loses a flush without a word', () => {
    const recorded = new RecordingDevice(new MemoryDevice(512));
    const device = new FaultyDevice(recorded, [{ kind: 'lost-flush', skip: 1, times: 1 }]);
    for (let i = 0; i < 3; i++) device.flush();
    expect(recorded.events).toHaveLength(2);
  });

  it('stacks with the others: a failed write is not recorded', () => {
    const device = new RecordingDevice(
      new FaultyDevice(new MemoryDevice(512), [{ kind: 'write-error', offset: 0, length: 1, times: 1 }]),
    );
    expect(() => device.write(0, filled(1, 1))).toThrow();
    device.write(0, filled(1, 2));
    expect(device.events).toHaveLength(1);
  });
});
