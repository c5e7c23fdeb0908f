// Preparing the machine: once per computer and kernel series, a Linux kernel with bcachefs and an initial root filesystem are made
// from Debian packages and kept in the user's cache folder; after that it takes a few milliseconds. Nothing of the
// computer's own setup is changed, except that qemu (and xz, zstd) are installed where they are missing.

import { createHash } from 'node:crypto';
import {
  existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, utimesSync, writeFileSync,
} from 'node:fs'; // biome-ignore format: one line of names
import { homedir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { archiveOf, configuredSources, installMissingCommands, oneLine, PackageLists, releaseName } from './apt.ts';
import { buildInitramfs } from './initramfs.ts';
import { isAlive, withLock } from './lock.ts';
import { decompress, hasBcachefs } from './modules.ts';
import { findCommand } from './process.ts';
import { MachineUnavailable } from './unavailable.ts';

/** Raise this when what is unpacked changes, so that everybody's cache is made anew. */
const BASE_FORMAT = 1;
/** The kernels that judge, and the Debian suites besides the machine's own that carry each. From 6.17 on Debian's have no bcachefs. */
const SUITES_WITH_KERNEL = {
  /** Of metadata version 1.13. */
  '6.12': ['bookworm-backports', 'trixie'],
  /** Of metadata version 1.28. */
  '6.16': ['trixie-backports'],
} as const;

export type KernelSeries = keyof typeof SUITES_WITH_KERNEL;

const here = path.dirname(fileURLToPath(import.meta.url));

export interface Machine {
  readonly qemu: string;
  /** vmlinux where it could be extracted (it boots a second faster), else vmlinuz. */
  readonly kernelFile: string;
  readonly initramfsFile: string;
  readonly initramfsBytes: number;
  /** Such as `6.12.95+deb12-cloud-amd64`. */
  readonly kernelRelease: string;
}

interface Base {
  readonly python: string;
  readonly kernelRelease: string;
  readonly kernelFile: string;
}

export function cacheFolder(): string {
  const home = process.env.XDG_CACHE_HOME || path.join(homedir(), '.cache');
  return process.env.BCACHEFS_TS_CACHE || path.join(home, 'bcachefs-ts');
}

const prepared = new Map<string, Promise<Machine>>();

export interface MachineOptions {
  /** Default 6.12. */
  readonly series?: KernelSeries;
  /** Kernel modules to load besides those that bcachefs needs. */
  readonly extraModules?: readonly string[];
}

/**
 * Gets the machine ready to boot: at the first call on a computer about 45 MB of downloads for each series, after that from the cache.
 * @throws MachineUnavailable where it cannot run here, with the reason in one line
 */
export function prepareMachine({ series = '6.12', extraModules = [] }: MachineOptions = {}): Promise<Machine> {
  const key = [series, ...extraModules].join(' ');
  const already = prepared.get(key);
  if (already) return already;
  const preparing = prepare(series, extraModules);
  prepared.set(key, preparing);
  return preparing;
}

async function prepare(series: KernelSeries, extraModules: readonly string[]): Promise<Machine> {
  requireLinuxOnX86();
  const folder = path.join(cacheFolder(), 'kernel-vm');
  mkdirSync(folder, { recursive: true });
  const baseFolder = path.join(folder, `base-${BASE_FORMAT}-linux-${series}`);
  await once(baseFolder, temporary => makeBase(temporary, series));
  const base = JSON.parse(readFileSync(path.join(baseFolder, 'base.json'), 'utf8')) as Base;
  if (!findCommand('qemu-system-x86_64')) await withLock(`${baseFolder}.lock`, progress, () => install());
  const initramfsFile = path.join(folder, `initramfs-${initramfsKey(base, extraModules)}.cpio`);
  await once(initramfsFile, async temporary => {
    writeFileSync(temporary, await buildInitramfs(partsOf(base, baseFolder), extraModules));
    forgetOldInitramfs(folder);
  });
  utimesSync(initramfsFile, new Date(), new Date());
  return {
    qemu: findCommand('qemu-system-x86_64') ?? 'qemu-system-x86_64',
    kernelFile: path.join(baseFolder, base.kernelFile),
    initramfsFile,
    initramfsBytes: statSync(initramfsFile).size,
    kernelRelease: base.kernelRelease,
  };
}

function requireLinuxOnX86(): void {
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    throw new MachineUnavailable(
      `the kernel machine is made on Linux on x86-64, and this is ${process.platform} on ${process.arch}`,
      'run these tests in a Debian container on x86-64',
    );
  }
}

/** Makes `target` (a file or folder) unless it is there: under a lock, in a temporary place, then renamed. */
async function once(target: string, make: (temporary: string) => Promise<void>): Promise<void> {
  if (existsSync(target)) return;
  await withLock(`${target}.lock`, progress, async () => {
    if (existsSync(target)) return;
    const temporary = `${target}.making-${process.pid}`;
    forgetUnfinished(path.dirname(target));
    try {
      await make(temporary);
      if (!existsSync(target)) renameSync(temporary, target);
    } finally {
      rmSync(temporary, { recursive: true, force: true });
    }
  });
}

/** What processes that died while making something have left. */
function forgetUnfinished(folder: string): void {
  for (const name of readdirSync(folder)) {
    const maker = /\.making-(\d+)$/.exec(name)?.[1];
    if (maker && !isAlive(Number(maker))) rmSync(path.join(folder, name), { recursive: true, force: true });
  }
}

export function progress(line: string): void {
  process.stderr.write(`kernel-vm: ${line}\n`);
}

const install = () => installMissingCommands(progress);

async function makeBase(folder: string, series: KernelSeries): Promise<void> {
  if (!findCommand('apt-get') || !findCommand('dpkg-deb')) {
    throw new MachineUnavailable(
      'there is no apt-get here to fetch a kernel with',
      'run on Debian 12 or 13, or in a container of it',
    );
  }
  await install();
  mkdirSync(folder, { recursive: true });
  const work = path.join(folder, 'work');
  const { lists, kernelPackages } = await findKernel(work, series);
  let found: { modulesFolder: string; name: string } | undefined;
  for (const name of kernelPackages) {
    progress(`downloading ${name}`);
    const root = path.join(work, name);
    await lists.unpack([name], path.join(work, 'deb'), root).catch(networkTrouble);
    const modules = ['lib/modules', 'usr/lib/modules'].map(dir => path.join(root, dir)).find(existsSync);
    const release = modules && readdirSync(modules)[0];
    if (release && hasBcachefs(path.join(modules, release))) {
      renameSync(path.join(modules, release), path.join(folder, 'modules'));
      found = { modulesFolder: root, name: release };
      break;
    }
  }
  if (!found) throw new MachineUnavailable(`no bcachefs in ${kernelPackages.join(', ')}`, needsDebian(series));
  const kernelFile = await takeKernel(path.join(found.modulesFolder, 'boot', `vmlinuz-${found.name}`), folder);
  const python = await unpackUserland(lists, work, path.join(folder, 'root'));
  const base: Base = { python, kernelRelease: found.name, kernelFile };
  writeFileSync(path.join(folder, 'base.json'), `${JSON.stringify(base)}\n`);
  rmSync(work, { recursive: true, force: true });
}

const needsDebian = (series: KernelSeries) =>
  `it needs an apt set up with a Debian archive that carries linux-image-${series} (Debian 12 or 13)`;

/** Package lists that have a kernel of the series: those of this release if they do, else with another suite of its archive. */
async function findKernel(
  work: string,
  series: KernelSeries,
): Promise<{ lists: PackageLists; kernelPackages: string[] }> {
  const release = releaseName();
  const archive = release && archiveOf(release, configuredSources());
  if (!release || !archive) {
    throw new MachineUnavailable(
      `apt has no archive of this system's release (${release ?? 'unknown'})`,
      needsDebian(series),
    );
  }
  const ownSuites: readonly string[] = configuredSources().flatMap(source =>
    source.uri === archive.uri ? source.suites : [],
  );
  const attempts = [
    ownSuites,
    ...SUITES_WITH_KERNEL[series].filter(s => !ownSuites.includes(s)).map(s => [...ownSuites, s]),
  ];
  let trouble: unknown;
  for (const [number, suites] of attempts.entries()) {
    progress(`reading the package lists of ${suites.join(', ')}`);
    try {
      const lists = await PackageLists.read(path.join(work, `apt-${number}`), archive, [...new Set(suites)]);
      const kernelPackages = kernelsByPreference(await lists.namesStarting(`linux-image-${series}`));
      if (kernelPackages.length > 0) return { lists, kernelPackages: kernelPackages.slice(0, 2) };
    } catch (error) {
      if (number === 0) networkTrouble(error);
      trouble = error; // the archive may not have that suite
    }
  }
  if (trouble) networkTrouble(trouble);
  throw new MachineUnavailable(`no linux-image-${series} in the archive of ${release}`, needsDebian(series));
}

/** The newest of each flavour, the small "cloud" one first: a third of the download, the same bcachefs. */
function kernelsByPreference(names: readonly string[]): string[] {
  const flavours = [/^linux-image-[\d.]+[^-]*(-\d+)?-cloud-amd64$/, /^linux-image-[\d.]+[^-]*(-\d+)?-amd64$/];
  const newestFirst = names.toSorted((a, b) => b.localeCompare(a, 'en', { numeric: true }));
  return flavours.flatMap(flavour => newestFirst.filter(name => flavour.test(name)).slice(0, 1));
}

function networkTrouble(error: unknown): never {
  throw new MachineUnavailable(`Debian packages could not be fetched (${oneLine(error)})`, 'try again with a network');
}

/**
 * A kernel image is a small decompressor in front of the real kernel. Under emulation that costs a second of every boot,
 * so we unpack it once (setup header: payload_offset and payload_length, Documentation/arch/x86/boot.rst); qemu starts
 * the bare kernel through its PVH entry.
 */
async function takeKernel(vmlinuz: string, folder: string): Promise<string> {
  const image = readFileSync(vmlinuz);
  const setupBytes = ((image[0x1f1] || 4) + 1) * 512;
  const payload = image.subarray(setupBytes + image.readUInt32LE(0x248)).subarray(0, image.readUInt32LE(0x24c));
  if (payload.readUInt32LE(0) === ZSTD_MAGIC) {
    const packed = path.join(folder, 'payload.zst');
    // The payload ends with the unpacked size in 4 bytes, which zstd would take for a second frame.
    writeFileSync(packed, payload.subarray(0, -4));
    const vmlinux = await decompress('zstd', packed);
    rmSync(packed);
    writeFileSync(path.join(folder, 'vmlinux'), vmlinux);
    return 'vmlinux';
  }
  writeFileSync(path.join(folder, 'vmlinuz'), image);
  return 'vmlinuz';
}

const ZSTD_MAGIC = 0xfd2fb528;

/** @returns the name of the Python that was unpacked, such as `python3.11` */
async function unpackUserland(lists: PackageLists, work: string, root: string): Promise<string> {
  const minimal = (await lists.show('python3-minimal'))?.get('Depends') ?? '';
  const python = /\b(python3\.\d+)-minimal\b/.exec(minimal)?.[1] ?? 'python3.11';
  const packages = ['busybox-static', 'libc6', 'zlib1g', 'libexpat1', 'libffi8'];
  packages.push(`${python}-minimal`, `lib${python}-minimal`, `lib${python}-stdlib`);
  progress(`downloading ${packages.join(', ')}`);
  await lists.unpack(packages, path.join(work, 'deb'), root).catch(networkTrouble);
  return python;
}

function partsOf(base: Base, baseFolder: string) {
  return {
    rootFolder: path.join(baseFolder, 'root'),
    python: base.python,
    modulesFolder: path.join(baseFolder, 'modules'),
    agentFolder: path.join(here, 'agent'),
    packScript: path.join(here, 'pack.py'),
  };
}

/** Changes with everything that goes into the archive: the agent, the list of modules, the code that packs it. */
function initramfsKey(base: Base, extraModules: readonly string[]): string {
  const hash = createHash('sha256').update(JSON.stringify([base, extraModules]));
  const agent = readdirSync(path.join(here, 'agent')).filter(name => name.endsWith('.py'));
  const sources = [...agent.map(name => `agent/${name}`), 'pack.py', 'initramfs.ts', 'modules.ts', 'cpio.ts'];
  for (const name of sources.toSorted()) hash.update(name).update(readFileSync(path.join(here, name)));
  return hash.digest('hex').slice(0, 16);
}

const WEEK_MS = 7 * 24 * 3600 * 1000;

/** Other checkouts may use other agents, so only what was not booted for a week goes. */
function forgetOldInitramfs(folder: string): void {
  for (const name of readdirSync(folder).filter(file => /^initramfs-.*\.cpio$/.test(file))) {
    const file = path.join(folder, name);
    if (Date.now() - statSync(file).mtimeMs > WEEK_MS) rmSync(file, { force: true });
  }
}
