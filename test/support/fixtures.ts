// The reference images: what the real tools and kernels wrote, and what they say about it. They lie outside of the
// repository, in the folder that BCACHEFS_FIXTURES names or in ../shared/fixtures; its README describes the files.
// Images are decompressed once into the user's cache folder, sparse and read-only. Copy before writing: `copySparse`.

import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync, closeSync, existsSync, mkdirSync, openSync, readdirSync, readFileSync, readSync, renameSync, rmSync, statSync,
} from 'node:fs'; // biome-ignore format: one line of names
import { homedir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { sampleOf } from './long.ts';
import { hasZstdCommand, unzstd, unzstdToFile } from './zstd.ts';

export { copySparse } from './sparse.ts';

const root = path.dirname(path.dirname(path.dirname(fileURLToPath(import.meta.url))));

/** What NAME.json says; the fields that tests use are named here, all others are there too. */
export interface FixtureJson {
  readonly name: string;
  readonly devices: readonly string[];
  readonly passphrase: string | null;
  readonly on_disk_version: string;
  readonly raw_sha256?: Readonly<Record<string, string>>;
  readonly images?: readonly { readonly file: string; readonly raw_sha256: string }[];
  readonly kernel_mount_ok?: boolean | null;
  readonly kernel_fsck?: { readonly mounted: boolean; readonly log: string };
  readonly kernel_fsck_fix?: { readonly mounted: boolean; readonly second_fsck_clean: boolean; readonly log: string };
  readonly [field: string]: unknown;
}

export interface Fixture {
  readonly name: string;
  /** Decompressed, sparse, read-only; as many as the filesystem has devices, in their order. */
  readonly images: readonly string[];
  readonly json: FixtureJson;
  /** Text of NAME.SUFFIX or NAME.SUFFIX.zst, such as `readText('show-super.txt')`. */
  readText(suffix: string): string;
  /** The entries of NAME.manifest.json, or of another manifest of the image. */
  readManifest<Entry>(suffix?: string): Entry[];
}

/** The folder with the reference images; undefined where there is none. */
export function fixturesDir(): string | undefined {
  const folder = process.env.BCACHEFS_FIXTURES || path.join(root, '..', 'shared', 'fixtures');
  return existsSync(path.join(folder, 'README.md')) ? folder : undefined;
}

/** Names of all reference images, such as `basic`. */
export function fixtureNames(): string[] {
  const folder = fixturesDir();
  if (!folder) return [];
  const names = readdirSync(folder).filter(name => name.endsWith('.json') && !name.endsWith('.manifest.json'));
  return names.map(name => name.slice(0, -'.json'.length)).toSorted();
}

/** One of each sort: old and new versions, several members, encrypted, compressed, unclean, with snapshots and stripes, and damaged ones. */
const FEW = [
  'basic',
  'encrypted-wide-lz4',
  'multi3-r2',
  'reflink',
  'snapshots',
  'unclean-busy',
  'u103-basic',
  'u136-basic',
  'ec-1.39',
  'dmg-dirents-root',
  'dmg-leaf-csum',
  'dmg-nlink',
];

/** Some of the reference images, where a test is the same for each: see `sampleOf`. */
export const someFixtures = (what: string, names: readonly string[]): readonly string[] =>
  sampleOf(
    what,
    names.map(name => ({ name })),
    FEW,
  ).map(({ name }) => name);

/**
 * A reference image, decompressed.
 * @throws Error if there is none of that name, or if it is not what it was when it was made
 */
export function fixture(name: string): Fixture {
  const folder = fixturesDir();
  if (!folder) throw new Error('no reference images: set BCACHEFS_FIXTURES to their folder');
  const json = JSON.parse(readFileSync(path.join(folder, `${name}.json`), 'utf8')) as FixtureJson;
  const readText = (suffix: string) => {
    const file = path.join(folder, `${name}.${suffix}`);
    return existsSync(file) ? readFileSync(file, 'utf8') : unzstd(`${file}.zst`).toString('utf8');
  };
  return {
    name,
    json,
    get images() {
      return imageSums(json).map(([file, sha256]) => decompressedImage(folder, file, sha256));
    },
    readText,
    readManifest: (suffix = 'manifest.json') => JSON.parse(readText(suffix)).entries,
  };
}

/** Names and SHA-256 of the decompressed images; the newest images' descriptions say it in another form. */
function imageSums(json: FixtureJson): (readonly [file: string, sha256: string])[] {
  if (json.images !== undefined) return json.images.map(image => [image.file.replace(/\.zst$/, ''), image.raw_sha256]);
  return Object.entries(json.raw_sha256 ?? {});
}

/** CACHE/fixtures/SHA256/NAME.img: the name is kept, since the tools print it. */
function decompressedImage(folder: string, file: string, sha256: string): string {
  const target = path.join(cacheFolder(), 'fixtures', sha256.slice(0, 24), file);
  if (existsSync(target)) return target;
  mkdirSync(path.dirname(target), { recursive: true });
  const temporary = `${target}.making-${process.pid}`;
  try {
    unzstdToFile(path.join(folder, `${file}.zst`), temporary);
    const found = fileSha256(temporary);
    if (found !== sha256) throw new Error(`${file}: SHA-256 is ${found}, expected ${sha256}`);
    chmodSync(temporary, 0o444);
    renameSync(temporary, target);
  } finally {
    rmSync(temporary, { force: true });
  }
  return target;
}

function cacheFolder(): string {
  const home = process.env.XDG_CACHE_HOME || path.join(homedir(), '.cache');
  return process.env.BCACHEFS_TS_CACHE || path.join(home, 'bcachefs-ts');
}

/** SHA-256 of a file's content, in hexadecimal. */
export function fileSha256(file: string): string {
  const hash = createHash('sha256');
  const buffer = Buffer.allocUnsafe(4 << 20);
  const fd = openSync(file, 'r');
  try {
    const sizeBytes = statSync(file).size;
    for (let at = 0; at < sizeBytes; ) {
      const count = readSync(fd, buffer, 0, buffer.length, at);
      if (count === 0) break;
      hash.update(buffer.subarray(0, count));
      at += count;
    }
  } finally {
    closeSync(fd);
  }
  return hash.digest('hex');
}

/** The image files of all fixtures: `multi2.dev0.img`. */
export function fixtureImageFiles(): string[] {
  const folder = fixturesDir();
  if (!folder) return [];
  return readdirSync(folder)
    .filter(name => name.endsWith('.img.zst'))
    .map(name => name.slice(0, -'.zst'.length));
}

/** Enough for the superblocks at sectors 8 and 2056, each up to 1 MiB long. */
const HEAD_BYTES = 4 * 2 ** 20;

/** Why tests that only need the heads of images cannot run; undefined when they can. */
export const whyNoFixtures: string | undefined =
  fixturesDir() === undefined
    ? 'no reference images here: set BCACHEFS_FIXTURES to their folder'
    : hasZstdCommand()
      ? undefined
      : 'the program zstd is needed to unpack the reference images';

const heads = new Map<string, Uint8Array>();

/**
 * The first bytes of an image, by the name that it has in a sidecar. Unpacking all of every image takes forty seconds, all heads
 * four; each is unpacked once for each test file that asks.
 */
export function imageHead(image: string, lengthBytes: number = HEAD_BYTES): Uint8Array {
  const known = heads.get(`${image} ${lengthBytes}`);
  if (known !== undefined) return known;
  const folder = fixturesDir() ?? '';
  // A single device of a 1.39 fixture is called dev0 in its sidecar, but not on disk.
  const packed = [image, image.replace('.dev0', '')].map(name => path.join(folder, `${name}.zst`)).find(existsSync);
  if (packed === undefined) throw new Error(`there is no reference image ${image}`);
  // zstd is cut off once there is enough, so its exit status says nothing.
  const { stdout } = spawnSync('sh', ['-c', `zstd -dcq --long=27 "$0" | head -c ${lengthBytes}`, packed], {
    maxBuffer: 2 * lengthBytes,
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const head = new Uint8Array(stdout);
  heads.set(`${image} ${lengthBytes}`, head);
  return head;
}
