// Makes the images under test/images: formatted by us, filled by a real Linux kernel, and compressed. Run on purpose, and rarely:
// the kernel puts random numbers and times into them, so the golden files of test/show-super change as well.
//
//   scripts/run-ts make-test-images.ts [NAME…]

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { loadChecksums, loadCompression } from '@bcachefs-ts/core/engine';
import { runInKernel, type Step, unlockKey } from '../test/kernel/vm/index.ts';
import { succeed } from '../test/support/cli.ts';
import { testImages } from '../test/support/images.ts';
import { makeOlder } from '../test/support/older.ts';

const target = join(dirname(dirname(fileURLToPath(import.meta.url))), 'test/images');
await loadChecksums();
await loadCompression();
const wanted = process.argv.slice(2);
const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-images-'));

try {
  for (const image of testImages) {
    if (wanted.length > 0 && !wanted.includes(image.name)) continue;
    const paths = image.devices.map(device => join(folder, `${device}.img`));
    writeFileSync(join(folder, 'passphrase'), `${image.passphrase ?? ''}\n`);
    const words = image.format.map(word =>
      word
        .replace('PASSPHRASE', join(folder, 'passphrase'))
        .replace(/^DEV(\d)$/, (_, nr: string) => paths[Number(nr)]!),
    );
    await succeed('format', [`--seed=test/images/${image.name}`, ...words], {
      env: { SOURCE_DATE_EPOCH: '1700000000' },
    });
    const key = image.passphrase === undefined ? {} : { key: unlockKey(paths[0]!, image.passphrase) };
    const mount: Step = { do: 'mount', disks: image.devices, ...key };
    const disks = image.devices.map((name, nr) => ({ name, path: paths[nr]! }));
    await runInKernel({ disks, steps: [mount, ...image.steps] });
    if (image.isUpgraded) {
      makeOlder(paths);
      await runInKernel({ disks, steps: [mount, { do: 'umount' }] });
    }
    for (const [nr, path] of paths.entries()) {
      const compressed = gzipSync(readFileSync(path), { level: 9 });
      writeFileSync(join(target, `${image.devices[nr]}.img.gz`), compressed);
      console.error(`${image.devices[nr]}.img.gz: ${compressed.length} bytes`);
    }
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
