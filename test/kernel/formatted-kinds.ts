// Filesystems that our format makes, of several kinds, and what a kernel does with all of them in one boot: what the suites share that change
// such a filesystem and have a kernel look at it before and after.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type BlockDevice,
  loadChecksums,
  loadCompression,
  loadCompressors,
  type MemberSet,
  masterKey,
  openDevice,
  openMembers,
} from '@bcachefs-ts/core/engine';
import { afterAll } from 'vitest';
import { succeed } from '../support/cli.ts';
import { copySparse } from '../support/sparse.ts';
import {
  type CaseResult,
  caseNamed,
  KernelFailure,
  type KernelSeries,
  type RunResult,
  runInKernel,
  type Step,
  unlockKey,
} from './vm/index.ts';

const READ_ONLY = { readOnly: true, options: 'nochanges' } as const;
const PASSPHRASE = new TextEncoder().encode('correct horse');

export interface Formatted {
  readonly name: string;
  /** Words of `format`: DEV0, DEV1 … stand for the images, PASSPHRASE for a file with one. */
  readonly format: readonly string[];
  readonly devices?: number;
  readonly isEncrypted?: boolean;
}

/**
 * A lookup in Linux 6.12 can loop without end when it puts an inode into the kernel's table of inodes: seen once, in a stat between random
 * changes, at the full speed of the processor for a quarter of an hour, and not again with the same seed. Nothing on the disk was wrong
 * then, and what comes of it says nothing of the filesystem.
 */
const loopsInInodeHash = ({ ended, log }: CaseResult): boolean =>
  ended === 'timeout' && log.some(line => line.includes('bch2_inode_hash_insert+'));

/** One of them, with its images. */
export type Placed<K extends Formatted> = K & { readonly disks: readonly string[]; readonly images: readonly string[] };

export class FormattedKinds<K extends Formatted> {
  readonly folder: string;
  readonly all: readonly Placed<K>[];
  readonly #series: KernelSeries;

  /**
   * Inside of a suite: the images go when it ends.
   * @param what a word for the folder that they are in; @param series the kernel that looks at them
   */
  constructor(what: string, kinds: readonly K[], series: KernelSeries = '6.12') {
    this.#series = series;
    const folder = mkdtempSync(join(tmpdir(), `bcachefs-ts-${what}-`));
    afterAll(() => rmSync(folder, { recursive: true, force: true }));
    this.folder = folder;
    this.all = kinds.map((kind, nr) => {
      const disks = Array.from({ length: kind.devices ?? 1 }, (_, i) => `disk${nr}.${i}`);
      return { ...kind, disks, images: disks.map(disk => join(folder, `${disk}.img`)) };
    });
  }

  /** @param more words that all of them get */
  async format(...more: readonly string[]): Promise<void> {
    await loadChecksums();
    await loadCompression();
    await loadCompressors();
    const passphraseFile = join(this.folder, 'passphrase');
    writeFileSync(passphraseFile, PASSPHRASE);
    for (const { format, images } of this.all) {
      const words = format.map(word =>
        word.replace('PASSPHRASE', passphraseFile).replace(/^DEV(\d)$/, (_, nr: string) => images[Number(nr)]!),
      );
      await succeed('format', [...more, ...words]);
    }
  }

  /** What a step needs to unlock one. */
  keyOf({ isEncrypted, images }: Placed<K>): { readonly key?: ReturnType<typeof unlockKey> } {
    return isEncrypted ? { key: unlockKey(images[0]!, new TextDecoder().decode(PASSPHRASE)) } : {};
  }

  /** What opening one takes. */
  passphraseOf({ isEncrypted }: Placed<K>): { readonly passphrase?: Uint8Array } {
    return isEncrypted ? { passphrase: PASSPHRASE } : {};
  }

  /** Runs `use` with the members of one open for writing, and its master key. */
  open<T>({ images, isEncrypted }: Placed<K>, use: (set: MemberSet, key: Uint8Array | undefined) => T): T {
    const devices: BlockDevice[] = [];
    try {
      for (const path of images) devices.push(openDevice(path, { write: true }));
      const set = openMembers(devices);
      return use(set, isEncrypted ? masterKey(set.newest.sb, PASSPHRASE) : undefined);
    } finally {
      for (const device of devices) device.close();
    }
  }

  /** @param isKept whether the images keep what the kernel writes: then from copies of them once more, where the kernel looped */
  async run(stepsOf: (one: Placed<K>, nr: number) => readonly Step[], isKept: boolean): Promise<RunResult> {
    if (!isKept) return this.#runOnce(stepsOf, isKept);
    const images = this.all.flatMap(one => one.images);
    const before = new Map(images.map(path => [path, copySparse(path, `${path}.before`)]));
    try {
      return await this.#runOnce(stepsOf, isKept);
    } catch (thrown) {
      if (!(thrown instanceof KernelFailure)) throw thrown;
      const failed = thrown.result.cases.filter(({ ok }) => !ok);
      if (failed.length === 0 || !failed.every(loopsInInodeHash)) throw thrown;
      console.info(`once more, the kernel looped in its table of inodes: ${failed.map(({ name }) => name).join(', ')}`);
      for (const [path, copy] of before) copySparse(copy, path);
      return await this.#runOnce(stepsOf, isKept);
    } finally {
      for (const copy of before.values()) rmSync(copy);
    }
  }

  #runOnce(stepsOf: (one: Placed<K>, nr: number) => readonly Step[], isKept: boolean): Promise<RunResult> {
    return runInKernel({
      disks: this.all.flatMap(({ disks, images }) =>
        disks.map((name, i) => ({ name, path: images[i]!, throwaway: !isKept })),
      ),
      cases: this.all.map((one, nr) => ({ name: one.name, steps: stepsOf(one, nr) })),
      series: this.#series,
      timeoutSeconds: 900,
    });
  }

  /**
   * Steps named `fsck` and `seen`, with a word before them where one is given: the kernel's check, and a manifest of what it sees, without anything that it writes. Linux 6.16 does not
   * find a file in a filesystem that is mounted read-only when the name is gone that the inode notes, and another is left (`echo > a; ln a
   * b; rm b` by itself is enough): a lookup wants to note the name that it came by. It is given a mount for writing, of a disk that is
   * thrown away.
   */
  lookSteps(one: Placed<K>, word = ''): readonly Step[] {
    return [
      { do: 'fsck', disks: one.disks, as: `${word}fsck`, timeoutSeconds: 200, ...this.keyOf(one) },
      { do: 'mount', disks: one.disks, ...(this.#series === '6.12' ? READ_ONLY : {}), ...this.keyOf(one) },
      { do: 'manifest', as: `${word}seen`, timeoutSeconds: 200 },
      { do: 'umount' },
    ];
  }

  look(): Promise<RunResult> {
    return this.run(one => this.lookSteps(one), false);
  }

  /** What the kernel writes is kept, and looked at: in the same boot, where looking writes nothing. */
  async runAndLook(stepsOf: (one: Placed<K>, nr: number) => readonly Step[]): Promise<RunResult> {
    if (this.#series === '6.12') return this.run((one, nr) => [...stepsOf(one, nr), ...this.lookSteps(one)], true);
    const done = await this.run(stepsOf, true);
    const seen = await this.look();
    const cases = seen.cases.map(one => ({ ...one, steps: [...caseNamed(done, one.name).steps, ...one.steps] }));
    return { ...seen, cases };
  }
}
