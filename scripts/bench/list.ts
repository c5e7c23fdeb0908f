// Reading btrees: a full scan of all keys with everything checked, and the text of `list`, over the largest reference image, or over the
// project's own image where there are none (which is too small to say much). The image comes from the page cache.

import {
  filesystemOf,
  type Key,
  keyText,
  loadChecksums,
  MemoryDevice,
  openFilesystem,
  openMembers,
  PrintBuffer,
} from '@bcachefs-ts/core/engine';
import { fixture, whyNoFixtures } from '../../test/support/fixtures.ts';
import { testImageContents } from '../../test/support/images.ts';
import type { Measurement } from './measurement.ts';

const IMAGE = 'many';
/** Without the reference images there is only a small one, whose figures say little. */
const measured = whyNoFixtures === undefined ? IMAGE : 'a small image of our own';
const ROUNDS = 5;

export async function bench(): Promise<readonly Measurement[]> {
  await loadChecksums();
  const open = (unvalidated: boolean) =>
    whyNoFixtures === undefined
      ? openFilesystem(fixture(IMAGE).images, { unvalidated })
      : filesystemOf(openMembers(testImageContents('basic').map(bytes => MemoryDevice.from(bytes))), { unvalidated });

  const scan = (unvalidated: boolean, use: () => (key: Key) => void) =>
    best(() => {
      const filesystem = open(unvalidated);
      try {
        const each = use();
        let count = 0;
        for (const id of filesystem.replay.roots.keys()) {
          for (const key of filesystem.btree(id).keys()) {
            each(key);
            count++;
          }
        }
        return count;
      } finally {
        filesystem.close();
      }
    });

  const nothing = () => () => {};
  const context = open(false).textContext();
  const text = () => (key: Key) => {
    const out = new PrintBuffer();
    keyText(out, key, context);
    out.toString();
  };
  return [
    {
      name: `${measured}: scan, checksums and headers checked`,
      value: scan(true, nothing) / 1000,
      unit: 'thousand keys/s',
    },
    { name: `${measured}: scan, values validated too`, value: scan(false, nothing) / 1000, unit: 'thousand keys/s' },
    { name: `${measured}: text of every key, validated`, value: scan(false, text) / 1000, unit: 'thousand keys/s' },
  ];
}

/** The fastest of several rounds, in keys a second. */
function best(round: () => number): number {
  let fastest = 0;
  for (let i = 0; i < ROUNDS; i++) {
    const start = performance.now();
    const count = round();
    fastest = Math.max(fastest, (1000 * count) / (performance.now() - start));
  }
  return fastest;
}
