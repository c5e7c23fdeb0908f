// One run of the virtual machine: the qemu command line, its console, its end. Pure software emulation, so it needs no
// /dev/kvm and behaves the same in every container.

import { type ChildProcess, spawn } from 'node:child_process';
import { statSync } from 'node:fs';
import type { Machine } from './machine.ts';

/** An image file as a disk of the machine. */
export interface DriveOptions {
  readonly path: string;
  /** What the guest finds it by; at most 20 characters. */
  readonly serial: string;
  /** Writes go to a temporary file that is thrown away. */
  readonly throwaway?: boolean;
  readonly logicalBlockBytes?: number;
  readonly physicalBlockBytes?: number;
}

export interface QemuOptions {
  readonly machine: Machine;
  readonly drives: readonly DriveOptions[];
  readonly memoryMb: number;
  readonly cpus: number;
  readonly scratchFolder: string;
  /** Whole run. */
  readonly timeoutSeconds: number;
  /** A run that has not written to this file for so long hangs. */
  readonly progressFile?: { readonly path: string; readonly timeoutSeconds: number };
  /** The console goes to the user's terminal instead of being captured. */
  readonly interactive?: boolean;
}

export interface QemuEnd {
  readonly killedBecause?: string;
  readonly status: number | null;
  /** The console's last part, without carriage returns. */
  readonly console: string;
  readonly stderr: string;
}

const CONSOLE_LIMIT_CHARACTERS = 512 << 10;
const FUNCTIONS_PER_SLOT = 8;
const FIRST_SLOT = 2;
const LAST_SLOT = 0x1e; // 0x1f is the chipset's own
export const MAX_DRIVES = (LAST_SLOT - FIRST_SLOT + 1) * FUNCTIONS_PER_SLOT;

/**
 * cx16 is off because qemu 7.2 (Debian 12) loses the CPU's flags now and then when it emulates cmpxchg16b, which ends in
 * a kernel panic in about one boot of five; without it the kernel takes another path. 60 boots, no panic.
 */
const CPU = 'max,-cx16';

const KERNEL_ARGUMENTS = [
  'console=ttyS0',
  'panic=-1', // a panic ends the run at once (with -no-reboot), instead of hanging
  'oops=panic', // a kernel with a broken thread gives no verdict worth having
  'log_buf_len=8M',
  'printk.devkmsg=on',
  'quiet', // the agent turns the console up when the machine is up
  'mitigations=off',
  'audit=0',
  'cryptomgr.notests=1',
];

/** Runs the machine until it powers off, resets, panics or runs out of time. */
export function runQemu(options: QemuOptions): Promise<QemuEnd> {
  return new Promise((resolve, reject) => {
    const child = startWithLifeline(options);
    let console = '';
    let stderr = '';
    let killedBecause: string | undefined;
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      console = (console + text).slice(-CONSOLE_LIMIT_CHARACTERS);
    });
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      stderr = (stderr + text).slice(-16384);
    });
    const startedMs = Date.now();
    const watch = setInterval(() => {
      killedBecause ??= reasonToKill(options, startedMs);
      if (killedBecause) cutLifeline(child);
    }, 250);
    child.on('error', reject);
    child.on('close', status => {
      clearInterval(watch);
      resolve({ ...(killedBecause ? { killedBecause } : {}), status, console: console.replaceAll('\r', ''), stderr });
    });
  });
}

function reasonToKill({ timeoutSeconds, progressFile }: QemuOptions, startedMs: number): string | undefined {
  if (Date.now() - startedMs > timeoutSeconds * 1000) return `the run was not done after ${timeoutSeconds} seconds`;
  if (!progressFile) return undefined;
  const lastSignMs = Math.max(startedMs, statSync(progressFile.path).mtimeMs);
  const silentSeconds = (Date.now() - lastSignMs) / 1000;
  return silentSeconds > progressFile.timeoutSeconds
    ? `no sign of progress for ${Math.round(silentSeconds)} seconds`
    : undefined;
}

/**
 * A small shell stands between us and qemu. It holds the reading end of a pipe of which we hold the writing end, and
 * kills qemu when that closes: when we cut it, and also when this process dies in whatever way.
 */
const LIFELINE = `exec 4<&0
"$@" <&4 3<&- 4<&- &
qemu=$!
{ read -r _ <&3; kill -KILL $qemu; } 2>/dev/null 4<&- &
guard=$!
exec 3<&- 4<&-
wait $qemu
status=$?
kill $guard 2>/dev/null
exit $status`;

function startWithLifeline(options: QemuOptions): ChildProcess {
  const output = options.interactive ? 'inherit' : 'pipe';
  return spawn('sh', ['-c', LIFELINE, 'sh', options.machine.qemu, ...qemuArguments(options)], {
    // 0, 1 and 2 are qemu's; 3 is the lifeline
    stdio: [options.interactive ? 'inherit' : 'ignore', output, output, 'pipe'],
    env: { ...process.env, TMPDIR: options.scratchFolder },
  });
}

function cutLifeline(child: ChildProcess): void {
  child.stdio[3]?.destroy();
}

function qemuArguments({ machine, drives, memoryMb, cpus, interactive }: QemuOptions): string[] {
  if (drives.length > MAX_DRIVES)
    throw new RangeError(`${drives.length} disks; the machine has room for ${MAX_DRIVES}`);
  return [
    ...['-M', 'q35,accel=tcg', '-cpu', CPU, '-m', String(memoryMb), '-smp', String(cpus)],
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot'],
    ...(interactive ? INTERACTIVE_CONSOLE : ['-chardev', 'stdio,id=console']),
    ...['-serial', 'chardev:console', '-kernel', machine.kernelFile, '-initrd', machine.initramfsFile],
    ...['-append', KERNEL_ARGUMENTS.join(' ')],
    ...drives.flatMap(driveArguments),
  ];
}

/** Keys go to the guest, also ctrl-c; after ctrl-a comes a command for qemu (x ends it). */
const INTERACTIVE_CONSOLE = ['-chardev', 'stdio,id=console,mux=on,signal=off', '-mon', 'chardev=console,mode=readline'];

/** Eight disks share a slot of the PCI bus as its functions, so that a lot of them fit. */
function driveArguments(drive: DriveOptions, index: number): string[] {
  const slot = FIRST_SLOT + Math.floor(index / FUNCTIONS_PER_SLOT);
  const sizes = [
    drive.logicalBlockBytes ? `,logical_block_size=${drive.logicalBlockBytes}` : '',
    drive.physicalBlockBytes ? `,physical_block_size=${drive.physicalBlockBytes}` : '',
  ].join('');
  // unsafe: host crashes are not our subject, and flushes cost. unmap: images stay sparse.
  const file = `file=${drive.path.replaceAll(',', ',,')},format=raw,cache=unsafe,discard=unmap,detect-zeroes=unmap`;
  const address = `addr=0x${slot.toString(16)}.${index % FUNCTIONS_PER_SLOT},multifunction=on`;
  return [
    ...['-drive', `if=none,id=drive${index},${file}${drive.throwaway ? ',snapshot=on' : ''}`],
    ...['-device', `virtio-blk-pci,drive=drive${index},serial=${drive.serial},num-queues=1,${address}${sizes}`],
  ];
}
