// Extent versions and journal numbers that jump: the kernel takes an encrypted filesystem of which many edits of ours came to nothing, goes on
// from where we left off, replays its own journal over ours after a crash, and leaves it to us again.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type BlockDevice,
  DeviceError,
  type Fault,
  FaultyDevice,
  FileEdit,
  loadChecksums,
  loadCompression,
  openDevice,
  openFilesystem,
} from '@bcachefs-ts/core/engine';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { writerOn } from '../support/commits.ts';
import { formattedImage, PASSPHRASE, saveImage } from '../support/memory-images.ts';
import { patient } from '../support/patience.ts';
import { treeManifest } from '../support/tree-manifest.ts';
import { caseNamed, compareManifests, resultOf, runInKernel, unlockKey } from './vm/index.ts';
import { kernelSuite } from './vm/suite.ts';

const text = new TextEncoder();
const FILE_BYTES = 300_000;

kernelSuite('nonces', () => {
  const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-nonces-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  beforeAll(async () => {
    await loadChecksums();
    await loadCompression();
  });

  /** @returns the number of the journal entry, where it was committed */
  function edit(device: BlockDevice, key: Uint8Array | undefined, nr: number, faults: readonly Fault[] = []) {
    const { writer, options } = writerOn([new FaultyDevice(device, faults)], key, nr);
    try {
      const one = new FileEdit(writer, options);
      const ref = one.files.create(one.files.root(), text.encode(`ours ${nr}`), { mode: 0o100644 });
      one.content.write(ref, 0, new Uint8Array(FILE_BYTES).fill(nr));
      return one.commit().seq;
    } catch (thrown) {
      if (!(thrown instanceof DeviceError)) throw thrown;
      return undefined;
    }
  }

  describe('an encrypted filesystem of many edits, some of which failed', () => {
    test(
      'the kernel mounts, changes, crashes, replays and checks it, and we go on',
      async () => {
        const { devices, key } = formattedImage({ isEncrypted: true });
        const [device] = devices;
        const seqs: number[] = [];
        for (let nr = 1; nr <= 24; nr++) {
          const faults: Fault[] = nr % 3 === 0 ? [{ kind: 'write-error', skip: nr / 3, times: 1 }] : [];
          const seq = edit(device!, key, nr, faults);
          expect(seq === undefined).toBe(faults.length > 0);
          if (seq !== undefined) seqs.push(seq);
        }
        expect(seqs).toEqual([...new Set(seqs)].sort((a, b) => a - b));
        expect(seqs.at(-1)!).toBeGreaterThan(100_000);
        const image = join(folder, 'image');
        saveImage(device!, image);
        const unlock = { key: unlockKey(image, PASSPHRASE) };
        const disks = ['disk'];
        const look = async () => {
          const steps = [
            { do: 'fsck', disks, as: 'fsck', ...unlock },
            { do: 'mount', disks, readOnly: true, options: 'nochanges', ...unlock },
            { do: 'manifest', as: 'seen' },
            { do: 'umount' },
          ] as const;
          const looked = await runInKernel({ disks: [{ name: 'disk', path: image, throwaway: true }], steps });
          expect(resultOf(looked, 'fsck').fsck!.complaints).toEqual([]);
          const filesystem = openFilesystem([image], { passphrase: text.encode(PASSPHRASE) });
          const { entries, complaints } = treeManifest(filesystem, () => undefined);
          filesystem.close();
          expect(complaints).toEqual([]);
          expect(compareManifests(entries, resultOf(looked, 'seen').manifest!)).toEqual([]);
          return entries.length;
        };
        const before = await look();

        const changed = await runInKernel({
          disks: [{ name: 'disk', path: image }],
          cases: [
            {
              name: 'change',
              steps: [
                { do: 'mount', disks, ...unlock },
                { do: 'write', path: 'theirs', pattern: { kind: 'random', seed: 1 }, sizeBytes: 2 ** 20, fsync: true },
                { do: 'unlink', path: 'ours 1' },
                { do: 'crashAfterFsync', path: 'crashed' },
                { do: 'mount', disks, ...unlock, as: 'replayed' },
                { do: 'write', path: 'after', pattern: { kind: 'text', seed: 2 }, sizeBytes: 100_000 },
                { do: 'umount' },
              ],
            },
          ],
        });
        expect(caseNamed(changed, 'change').ok).toBe(true);
        expect(await look()).toBe(before + 2);

        const again = openDevice(image, { write: true });
        const seq = edit(again, key, 100);
        again.close();
        expect(seq).toBeGreaterThan(seqs.at(-1)!);
        expect(await look()).toBe(before + 3);
      },
      patient(300_000),
    );
  });
});
