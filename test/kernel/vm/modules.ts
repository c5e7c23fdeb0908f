// Kernel modules out of an unpacked linux-image package: which there are, what each depends on, in what order to load
// them. The package has no modules.dep (depmod makes that at installation), but each module names its dependencies in
// its .modinfo section.

import { readdirSync, readFileSync, rmSync } from 'node:fs';
import path from 'node:path';
import { run } from './process.ts';

/** What the machine cannot do without. */
const REQUIRED = ['virtio_blk', 'bcachefs'];

/**
 * What bcachefs asks the crypto layer for by name (its soft dependencies), in all the names that kernels have had for
 * it. Those that a kernel does not have as a module are built in, or called differently.
 */
const WANTED = [
  'crc32c_intel', 'crc32c_generic', 'crc64', 'sha256_generic', 'xxhash_generic',
  'chacha20_generic', 'chacha_generic', 'chacha_x86_64', 'poly1305_generic', 'poly1305_x86_64',
]; // biome-ignore format: a list to read along

export interface KernelModule {
  readonly name: string;
  readonly content: Buffer;
}

/**
 * The modules to load, dependencies first.
 * @param folder lib/modules/RELEASE of the package
 * @param extra further modules; unlike the wanted ones they must exist, as a module or built in
 */
export async function modulesToLoad(folder: string, extra: readonly string[] = []): Promise<KernelModule[]> {
  const files = moduleFiles(folder);
  const builtIn = new Set(readFileSync(path.join(folder, 'modules.builtin'), 'utf8').split('\n').map(moduleName));
  const ordered = new Map<string, KernelModule>();
  const add = async (name: string): Promise<void> => {
    if (builtIn.has(name) || ordered.has(name)) return;
    const file = files.get(name);
    if (!file) throw new Error(`kernel module ${name} is neither in ${folder} nor built in`);
    const content = await readModule(file);
    for (const dependency of dependenciesOf(content)) await add(dependency);
    ordered.set(name, { name, content });
  };
  for (const name of WANTED) if (files.has(name)) await add(name);
  for (const name of [...REQUIRED, ...extra.map(moduleName)]) await add(name);
  return [...ordered.values()];
}

/** Whether the package has a bcachefs module at all. */
export function hasBcachefs(folder: string): boolean {
  return moduleFiles(folder).has('bcachefs');
}

function moduleFiles(folder: string): Map<string, string> {
  const names = readdirSync(folder, { recursive: true, encoding: 'utf8' });
  return new Map(
    names.filter(name => /\.ko(\.\w+)?$/.test(name)).map(name => [moduleName(name), path.join(folder, name)]),
  );
}

/** `kernel/lib/raid6/raid6-pq.ko.xz` → `raid6_pq`: file names and dependency lists mix - and _. */
function moduleName(file: string): string {
  return path
    .basename(file)
    .replace(/\.ko(\.\w+)?$/, '')
    .replaceAll('-', '_');
}

async function readModule(file: string): Promise<Buffer> {
  if (file.endsWith('.ko')) return readFileSync(file);
  const decompressor = file.endsWith('.zst') ? 'zstd' : 'xz';
  return decompress(decompressor, file);
}

/** Decompresses a file beside itself and reads the result. */
export async function decompress(command: 'xz' | 'zstd', file: string): Promise<Buffer> {
  const plain = `${file}.plain-${process.pid}`;
  try {
    await run('sh', ['-c', `${command} -dc -- "$1" >"$2"`, 'sh', file, plain]);
    return readFileSync(plain);
  } finally {
    rmSync(plain, { force: true });
  }
}

function dependenciesOf(module: Buffer): string[] {
  const at = module.indexOf('\0depends=');
  if (at < 0) return [];
  const text = module.toString('latin1', at + '\0depends='.length, module.indexOf(0, at + 1));
  return text
    .split(',')
    .filter(name => name !== '')
    .map(moduleName);
}
