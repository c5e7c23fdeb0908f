// Damaged copies of small ext4 filesystems of several kinds, each with a few changes from a seed. Most have no checksums of metadata, so that
// what is after them is reached; superblocks are sealed anew. Reading all of one gives an outcome: read, or the name of an error of ours.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  crc32c,
  DeviceError,
  IncompatibleError,
  InputError,
  MemoryDevice,
  OverlayDevice,
  UsageError,
  viewOf,
} from '@bcachefs-ts/core/engine';
import { openExt4 } from '@bcachefs-ts/ext4';
import { openExt4Source } from '../../packages/sources/src/ext4.ts';
import { debugfs, makeExt4 } from '../support/ext4.ts';
import { makeExt4Tree } from '../support/ext4-trees.ts';
import type { Random } from '../support/random.ts';

// biome-ignore format: a kind on a line
const kinds = [
  { size: '6M', words: ['-t', 'ext4', '-b', '1024', '-O', '^metadata_csum,^has_journal'] },
  { size: '8M', words: ['-t', 'ext4', '-b', '4096', '-O', '^metadata_csum,^has_journal,inline_data,ea_inode', '-N', '600'] },
  { size: '6M', words: ['-t', 'ext2', '-b', '1024'] },
  { size: '6M', words: ['-t', 'ext4', '-b', '1024', '-O', '^metadata_csum,uninit_bg,^has_journal,meta_bg,^resize_inode'] },
  { size: '16M', words: ['-t', 'ext4', '-b', '1024', '-C', '4096', '-O', '^metadata_csum,^has_journal,bigalloc'] },
  { size: '6M', words: ['-t', 'ext4', '-b', '1024', '-O', '^has_journal'] },
] as const;

export interface Ext4Original {
  readonly device: MemoryDevice;
  /** Bytes of metadata: where changes are made. */
  readonly places: readonly { readonly offset: number; readonly length: number }[];
}

/** Takes e2fsprogs. */
export function ext4Originals(): readonly Ext4Original[] {
  const scratch = mkdtempSync(join(tmpdir(), 'bcachefs-ts-ext4-fuzz-'));
  try {
    const folder = join(scratch, 'tree');
    makeExt4Tree(folder, { files: 60, links: 30 });
    return kinds.map(kind => {
      const image = join(scratch, 'image');
      makeExt4(image, kind, folder);
      const value = 'v'.repeat(600);
      writeFileSync(join(scratch, 'piece'), 'p'.repeat(3000));
      debugfs(
        image,
        `ea_set linked user.value ${value}`,
        'ea_set holes user.a b',
        `write ${join(scratch, 'piece')} piece`,
      );
      const device = MemoryDevice.from(new Uint8Array(readFileSync(image)));
      const fs = openExt4(device);
      const { blockBytes } = fs.facts;
      const places = [...fs.usage().metadata.usedRuns()].map(({ block, blocks }) => ({
        offset: block * blockBytes,
        length: blocks * blockBytes,
      }));
      return { device, places };
    });
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

const WORDS = [0, 1, 2, 0xff, 0xffff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 0xf30a, 0xea02_0000];

/** What came of it: `read`, or the name of the error. @throws anything else that was thrown */
export function readExt4Mutant({ device, places }: Ext4Original, random: Random): string {
  const overlay = new OverlayDevice(device);
  const put = (at: number, bytes: Uint8Array) => overlay.write(at, bytes);
  for (let left = 1 + random.below(6); left > 0; left--) {
    if (random.below(8) === 0) changeSuperblock(overlay, random);
    const place = random.pick(places);
    const at = place.offset + 4 * random.below(place.length / 4);
    const word = new Uint8Array(4);
    overlay.read(at, word);
    switch (random.below(5)) {
      case 0:
        word[random.below(4)]! ^= 1 << random.below(8);
        put(at, word);
        break;
      case 1:
        viewOf(word).setUint32(0, random.pick(WORDS), true);
        put(at, word);
        break;
      case 2: {
        // A number near to what is there, such as another block or inode.
        const value = viewOf(word).getUint32(0, true) + random.below(9) - 4;
        viewOf(word).setUint32(0, value >>> 0, true);
        put(at, word);
        break;
      }
      case 3: {
        // Something of another place, which is sound there.
        const other = random.pick(places);
        const piece = new Uint8Array(Math.min(256, other.length, place.offset + place.length - at));
        overlay.read(other.offset, piece);
        put(at, piece);
        break;
      }
      default:
        put(at, new Uint8Array(Math.min(random.below(64), place.offset + place.length - at)));
    }
  }
  try {
    const source = openExt4Source(overlay);
    for (const entry of source.entries()) {
      if (entry.type !== 'file') continue;
      let left = 2 ** 20;
      for (const { length } of entry.chunks()) {
        left -= length;
        if (left < 0) break;
      }
    }
    return 'read';
  } catch (thrown) {
    if (thrown instanceof InputError || thrown instanceof IncompatibleError || thrown instanceof DeviceError)
      return thrown.error;
    if (thrown instanceof UsageError) return 'usage';
    throw thrown;
  }
}

function changeSuperblock(overlay: OverlayDevice, random: Random): void {
  const bytes = new Uint8Array(1024);
  overlay.read(1024, bytes);
  const view = viewOf(bytes);
  const at = 4 * random.below(0x180 / 4);
  if (at !== 0x38) view.setUint32(at, random.below(2) === 0 ? random.pick(WORDS) : random.below(2 ** 32), true);
  view.setUint32(0x3fc, crc32c(0xffff_ffff, bytes.subarray(0, 0x3fc)), true);
  overlay.write(1024, bytes);
}
