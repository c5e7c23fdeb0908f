// The machine's root filesystem: busybox, a Python that carries just what the agent imports, the kernel modules, and the
// agent. About 17 MB, uncompressed on purpose (see CpioArchive.bytes).

import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { CpioArchive } from './cpio.ts';
import { modulesToLoad } from './modules.ts';
import { run } from './process.ts';

const LIBRARY_FOLDERS = ['lib/x86_64-linux-gnu', 'usr/lib/x86_64-linux-gnu', 'lib64', 'usr/lib64'];
const LOADER = 'lib64/ld-linux-x86-64.so.2';

/** Where the unpacked packages are and what their parts are called. */
export interface Parts {
  /** busybox-static, libc6, python3.N and its libraries, unpacked over one another. */
  readonly rootFolder: string;
  /** Such as `python3.11`. */
  readonly python: string;
  /** lib/modules/RELEASE */
  readonly modulesFolder: string;
  readonly agentFolder: string;
  readonly packScript: string;
}

/** @returns the cpio archive */
export async function buildInitramfs(parts: Parts, extraModules: readonly string[]): Promise<Buffer> {
  const archive = new CpioArchive();
  for (const folder of ['proc', 'sys', 'dev', 'mnt', 'tmp', 'root', 'etc']) archive.folder(folder);
  archive.characterDevice('dev/console', 5, 1);
  archive.file('etc/passwd', 'root:x:0:0::/:/bin/sh\n');
  archive.file('etc/group', 'root:x:0:\n');
  await addBusybox(archive, parts);
  await addPython(archive, parts);
  const modules = await modulesToLoad(parts.modulesFolder, extraModules);
  for (const module of modules) archive.file(`modules/${module.name}.ko`, module.content);
  archive.file('modules/order', `${modules.map(module => module.name).join('\n')}\n`);
  // -S no site, -E no environment, -B no .pyc files, -s no user folder
  const start = "import sys; sys.path.insert(0, '/agent'); import init\n";
  archive.file('init', `#!/usr/bin/${parts.python} -SEBs\n${start}`, 0o755);
  return archive.bytes();
}

async function addBusybox(archive: CpioArchive, { rootFolder }: Parts): Promise<void> {
  const busybox = findIn(rootFolder, ['bin/busybox', 'usr/bin/busybox']);
  archive.file('bin/busybox', readFileSync(busybox), 0o755);
  const applets = (await run(busybox, ['--list']))
    .split('\n')
    .filter(name => /^[\w.[-]+$/.test(name) && name !== 'busybox');
  for (const name of applets) archive.symlink(`bin/${name}`, 'busybox');
}

async function addPython(archive: CpioArchive, { rootFolder, python, agentFolder, packScript }: Parts): Promise<void> {
  const loader = findIn(rootFolder, [LOADER, `usr/${LOADER}`, 'lib/x86_64-linux-gnu/ld-linux-x86-64.so.2']);
  const libraryPath = LIBRARY_FOLDERS.map(folder => path.join(rootFolder, folder)).join(':');
  const interpreter = path.join(rootFolder, 'usr/bin', python);
  const packed = mkdtempSync(path.join(tmpdir(), 'bcachefs-ts-pack-'));
  try {
    await run(loader, ['--library-path', libraryPath, interpreter, '-SBs', packScript, agentFolder, packed], {
      env: { PYTHONHOME: path.join(rootFolder, 'usr'), PATH: process.env.PATH },
    });
    const files = readdirSync(packed, { recursive: true, withFileTypes: true }).filter(file => file.isFile());
    for (const file of files) {
      const source = path.join(file.parentPath, file.name);
      archive.file(path.relative(packed, source), readFileSync(source));
    }
    archive.file(`usr/bin/${python}`, readFileSync(interpreter), 0o755);
    archive.symlink('bin/python3', `../usr/bin/${python}`);
    archive.file(LOADER, readFileSync(loader), 0o755);
    const extensions = files
      .filter(file => file.name.endsWith('.so'))
      .map(file => path.join(file.parentPath, file.name));
    for (const binary of [interpreter, ...extensions]) {
      const listed = await run(loader, ['--library-path', libraryPath, '--list', binary]);
      for (const [, name = '', file = ''] of listed.matchAll(/^\s*(\S+) => (\/\S+)/gm)) {
        if (!archive.has(`lib/x86_64-linux-gnu/${name}`) && !name.startsWith('/')) {
          archive.file(`lib/x86_64-linux-gnu/${name}`, readFileSync(insideRoot(rootFolder, name, file)), 0o755);
        }
      }
    }
  } finally {
    rmSync(packed, { recursive: true, force: true });
  }
}

/** A library that the loader took from the host is one that we forgot to unpack. */
function insideRoot(rootFolder: string, name: string, file: string): string {
  if (file.startsWith(rootFolder)) return file;
  throw new Error(`${name} is not among the machine's packages; the loader found ${file}`);
}

function findIn(root: string, candidates: readonly string[]): string {
  for (const candidate of candidates) {
    const file = path.join(root, candidate);
    try {
      readFileSync(file);
      return file;
    } catch {
      // The next one.
    }
  }
  throw new Error(`none of ${candidates.join(', ')} in ${root}`);
}
