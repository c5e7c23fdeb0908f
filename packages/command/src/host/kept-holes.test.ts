import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openDevice } from '@bcachefs-ts/core/engine';
import { expect, onTestFinished, test } from 'vitest';
import { KeptHoles } from './kept-holes.ts';
import { loadNativeCalls } from './native-calls.ts';

const native = loadNativeCalls();
const MIB = 1 << 20;

/** An empty image, and how often the host calls were loaded for it. */
function image(smallBytes: number) {
  const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-holes-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const file = openDevice(join(folder, 'a.img'), { write: true, create: { sizeBytes: 64 * MIB } });
  onTestFinished(() => file.close());
  let loads = 0;
  const holes = new KeptHoles(file, smallBytes, () => {
    loads++;
    return native;
  });
  return { holes, loads: () => loads };
}

test('a change that stays small loads no host calls', () => {
  const { holes, loads } = image(4 * MIB);
  holes.write(0, new Uint8Array(3 * MIB));
  holes.giveBack();
  expect(loads()).toBe(0);
});

test('the host calls are loaded once, by the write that is too much', () => {
  const { holes, loads } = image(4 * MIB);
  for (let nr = 0; nr < 8; nr++) holes.write(nr * MIB, new Uint8Array(MIB));
  expect(loads()).toBe(1);
});

test.skipIf(native === undefined)('what was written since is given back', () => {
  const { holes } = image(4 * MIB);
  for (let nr = 0; nr < 8; nr++) holes.write(nr * MIB, new Uint8Array(MIB).fill(1));
  holes.giveBack();
  const first = (nr: number) => {
    const byte = new Uint8Array(1);
    holes.read(nr * MIB, byte);
    return byte[0];
  };
  expect([2, 3, 7].map(first)).toEqual([1, 0, 0]);
});
