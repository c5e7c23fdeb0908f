// scripts/kernel-vm: the test suite's kernel machine for people. A shell (or one script) in a real Linux kernel, with
// image files as its disks and the bcachefs filesystem in them mounted at /mnt.

import { existsSync, readFileSync, rmSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import {
  type Disk,
  MachineUnavailable,
  prepareMachine,
  runInKernel,
  type Step,
  unlockKey,
  type VolumeKey,
  volumeUuid,
} from '../test/kernel/vm/index.ts';
import { cacheFolder } from '../test/kernel/vm/machine.ts';
import { runShell } from '../test/kernel/vm/shell.ts';

const HELP = `Usage: scripts/kernel-vm [options] IMAGE...

Boots a real Linux 6.12 kernel in a virtual machine (no root and no /dev/kvm needed once it is prepared), mounts the
bcachefs filesystem in the image files at /mnt and gives you a shell there. Several images are the devices of one
filesystem. In the shell each image is /disks/NAME. Leaving the shell unmounts and ends the machine; ctrl-a x ends it at
once, as if the power failed.

  --run SCRIPT            run a shell script instead, print its output, exit with its status
  --options OPTIONS       mount options, such as degraded,verbose
  --read-only             mount read-only; the image files are not written to in any case
  --throwaway             what is written is thrown away at the end
  --no-mount              only a shell; mount by hand: mount -t bcachefs /disks/NAME /mnt
  --passphrase-file FILE  unlock an encrypted filesystem
  --key-hex HEX           the same with the derived key, 64 hexadecimal digits
  --memory MB             memory of the machine (default 1024)
  --rebuild               make the machine anew from current packages first
  --help                  this text

Examples:
  scripts/kernel-vm disk.img
  scripts/kernel-vm --throwaway --run 'ls -lR; dmesg | tail' a.img b.img
  scripts/kernel-vm --no-mount --run 'mount -t bcachefs -o ro,fsck /disks/disk.img /mnt; dmesg | grep bcachefs' disk.img
`;

async function main(): Promise<number> {
  const { values, positionals: images } = parseArgs({
    allowPositionals: true,
    options: {
      run: { type: 'string' },
      options: { type: 'string', default: '' },
      'read-only': { type: 'boolean', default: false },
      throwaway: { type: 'boolean', default: false },
      'no-mount': { type: 'boolean', default: false },
      'passphrase-file': { type: 'string' },
      'key-hex': { type: 'string' },
      memory: { type: 'string', default: '1024' },
      rebuild: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    process.stdout.write(HELP);
    return 0;
  }
  for (const image of images) if (!existsSync(image)) throw new Error(`${image}: no such file`);
  const mount = !values['no-mount'] && images.length > 0;
  const readOnly = values['read-only'];
  const disks = namedDisks(images, values.throwaway || readOnly);
  const key = findKey(images, values['passphrase-file'], values['key-hex']);
  const memoryMb = Number(values.memory);
  if (!Number.isInteger(memoryMb) || memoryMb < 256) throw new Error('--memory: a number of megabytes, at least 256');

  if (values.rebuild) rmSync(path.join(cacheFolder(), 'kernel-vm'), { recursive: true, force: true });
  const machine = await prepareMachine();
  const common = { disks, memoryMb, ...(key ? { key } : {}) };
  if (values.run !== undefined) return runScript(values.run, { ...common, mount, options: values.options, readOnly });
  process.stderr.write(
    `kernel-vm: booting Linux ${machine.kernelRelease} (about 4 seconds; ctrl-a x ends it at once)\n`,
  );
  await runShell({ ...common, mount, options: values.options, readOnly });
  return 0;
}

function namedDisks(images: readonly string[], throwaway: boolean): Disk[] {
  const taken = new Set<string>();
  return images.map(image => {
    let name = path
      .basename(image)
      .replaceAll(/[^\w.-]/g, '_')
      .slice(0, 48);
    for (let count = 2; taken.has(name); count++) name = `${name}-${count}`;
    taken.add(name);
    return { name, path: path.resolve(image), throwaway };
  });
}

function findKey(images: readonly string[], passphraseFile?: string, keyHex?: string): VolumeKey | undefined {
  const [first] = images;
  if (first === undefined) return undefined;
  if (passphraseFile) return unlockKey(first, readFileSync(passphraseFile, 'utf8').replace(/\n$/, ''));
  if (keyHex === undefined) return undefined;
  if (!/^[0-9a-f]{64}$/i.test(keyHex)) throw new Error('--key-hex: 64 hexadecimal digits');
  return { uuid: volumeUuid(first), hex: keyHex };
}

interface ScriptRequest {
  readonly disks: readonly Disk[];
  readonly mount: boolean;
  readonly options: string;
  readonly readOnly: boolean;
  readonly key?: VolumeKey;
  readonly memoryMb: number;
}

const DAY_SECONDS = 24 * 3600;

async function runScript(script: string, request: ScriptRequest): Promise<number> {
  const { disks, mount, options, readOnly, key, memoryMb } = request;
  const names = disks.map(disk => disk.name);
  const steps: Step[] = [];
  if (mount) steps.push({ do: 'mount', disks: names, options, readOnly, ...(key ? { key } : {}) });
  steps.push({ do: 'sh', as: 'script', script, allowFailure: true, outputLimitBytes: 64 << 20 });
  const limits = { timeoutSeconds: DAY_SECONDS, stepTimeoutSeconds: DAY_SECONDS };
  const result = await runInKernel({ disks, steps, memoryMb, ...limits });
  const { stdout, stderr, status, message } = result.steps.at(-1)!;
  process.stdout.write(stdout);
  process.stderr.write(stderr);
  if (status === undefined) throw new Error(message ?? 'the script did not run');
  return status;
}

try {
  process.exitCode = await main();
} catch (error) {
  const message = error instanceof Error ? error.message : String(error);
  process.stderr.write(`kernel-vm: ${message}\n`);
  process.exitCode = error instanceof MachineUnavailable ? 3 : 1;
}
