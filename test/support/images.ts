// The project's own small images: made by our format and filled by a real Linux kernel (scripts/make-test-images.ts), kept
// compressed in test/images, so that tests which need a real filesystem run without the reference images.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import type { Step } from '../kernel/vm/steps.ts';

export interface TestImage {
  readonly name: string;
  /** One for each member: the names of its files. */
  readonly devices: readonly string[];
  /** Words of the format command; DEV0, DEV1… are its images. */
  readonly format: readonly string[];
  /** What the kernel did after mounting it; an umount is part of it, or it is unclean. */
  readonly steps: readonly Step[];
  readonly passphrase?: string;
  /** After that it was made older than it is (older.ts), and mounted once more, so that the kernel has upgraded it. */
  readonly isUpgraded?: boolean;
}

const fill: Step = { do: 'fill', sizeBytes: 256 * 1024, subvolumes: true };
const umount: Step = { do: 'umount' };

/** Little, and of text, so that it compresses well: what `fill` makes takes half a megabyte. */
function someOfEverything(): readonly Step[] {
  const text = (path: string, sizeBytes: number): Step => ({
    do: 'write',
    path,
    pattern: { kind: 'text', seed: path },
    sizeBytes,
  });
  return [
    { do: 'mkdir', path: 'directory/below', parents: true },
    ...Array.from({ length: 24 }, (_, nr) => text(`directory/file-${nr}`, 100 + 80 * nr)),
    text('directory/below/long', 40_000),
    { do: 'link', source: 'directory/file-3', path: 'directory/below/twin' },
    { do: 'symlink', target: 'directory/file-4', path: 'symlink' },
    { do: 'mknod', path: 'pipe', kind: 'fifo' },
    { do: 'setxattr', path: 'directory/file-5', name: 'user.note', value: 'set by the kernel' },
    { do: 'setOption', path: 'directory/below', option: 'compression', value: 'lz4' },
    { do: 'truncate', path: 'directory/file-6', sizeBytes: 1_000_000 },
    { do: 'fallocate', path: 'directory/file-7', mode: 'allocate', offset: 0, length: 65_536 },
    { do: 'clone', source: 'directory/below/long', path: 'directory/clone' },
    { do: 'subvolumeCreate', path: 'volume' },
    ...Array.from({ length: 8 }, (_, nr) => text(`volume/file-${nr}`, 600 * nr)),
    { do: 'snapshot', source: 'volume', path: 'volume@1' },
    { do: 'unlink', path: 'volume/file-0' },
    text('volume/file-1', 3000),
    { do: 'snapshot', source: 'volume', path: 'volume@2', readOnly: true },
    { do: 'rename', source: 'volume/file-2', path: 'volume/renamed' },
    { do: 'chmod', path: 'volume@1/file-3', mode: 0o600 },
    { do: 'unlink', path: 'directory/file-8' },
  ];
}

export const testImages: readonly TestImage[] = [
  {
    name: 'basic',
    devices: ['basic'],
    format: ['--fs_label=basic', '--fs_size=8M', 'DEV0'],
    steps: [fill, umount],
  },
  {
    name: 'multi',
    devices: ['multi.dev0', 'multi.dev1'],
    format: [
      ...['--replicas=2', '--compression=zstd', '--foreground_target=ssd', '--usrquota'],
      ...['--label=ssd.fast', '--fs_size=16M', 'DEV0', '--label=hdd.slow', '--fs_size=16M', 'DEV1'],
    ],
    steps: [fill, umount],
  },
  {
    name: 'encrypted',
    devices: ['encrypted'],
    format: ['--encrypted', '--passphrase_file=PASSPHRASE', '--fs_size=8M', 'DEV0'],
    steps: [{ do: 'write', path: 'secret', content: 'for nobody else' }, umount],
    passphrase: 'correct horse',
  },
  {
    name: 'unclean',
    devices: ['unclean'],
    format: ['--fs_label=unclean', '--fs_size=8M', 'DEV0'],
    steps: [
      { do: 'write', path: 'kept', content: 'on disk before the power went\n', fsync: true },
      { do: 'crashAfterFsync', path: 'last', sizeBytes: 8192 },
    ],
  },
  {
    name: 'upgraded',
    devices: ['upgraded'],
    format: ['--fs_label=upgraded', '--fs_size=8M', 'DEV0'],
    steps: [...someOfEverything(), umount],
    isUpgraded: true,
  },
];

const folder = join(dirname(dirname(fileURLToPath(import.meta.url))), 'images');

/** The contents of an image's devices. */
export function testImageContents(name: string): readonly Uint8Array[] {
  const image = testImages.find(one => one.name === name);
  if (image === undefined) throw new Error(`there is no test image ${name}`);
  return image.devices.map(device => gunzipSync(readFileSync(join(folder, `${device}.img.gz`))));
}

/** Unpacks images into a new folder that `use` may write to; it is gone afterwards. */
export async function withTestImage<T>(name: string, use: (paths: readonly string[]) => Promise<T>): Promise<T> {
  const contents = testImageContents(name);
  const devices = testImages.find(one => one.name === name)?.devices ?? [];
  const scratch = mkdtempSync(join(tmpdir(), 'bcachefs-ts-image-'));
  try {
    return await use(
      devices.map((device, nr) => {
        const path = join(scratch, `${device}.img`);
        writeFileSync(path, contents[nr]!);
        return path;
      }),
    );
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}
