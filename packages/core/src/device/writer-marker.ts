// How two of our writers refuse each other on an image file. Node has no flock(), and a lock file would either litter the
// folders of users or go stale in a temporary one, so the open file itself is the lock:
//
//   macOS, BSD   O_EXLOCK: the kernel's own lock
//   Windows      libuv's UV_FS_O_EXLOCK: no sharing
//   Linux        exclusive writers open with O_NONBLOCK, which means nothing for a regular file and which hardly anyone else sets;
//                after opening, each looks through /proc/PID/fdinfo for another descriptor of the same file with
//                O_RDWR | O_NONBLOCK. Everyone opens first and looks second, so of two at least one sees the other:
//                never two writers. Nothing is left behind by a crash.
//
// Measured: 7 ms with 80 processes and 600 open files, so about 10 µs for each of the latter.
//
// What it cannot see: processes of other users unless we are root, other machines, other PID namespaces.

import { constants, fstatSync, readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { DeviceError } from '../ondisk/errors.ts';

/** libuv's name for "no sharing"; passed through by fs.openSync. */
const UV_FS_O_EXLOCK = 0x1000_0000;
/** The same number on macOS and the BSDs (sys/fcntl.h). */
const BSD_O_EXLOCK = 0x20;

/** What to add to the flags of an exclusive writer. O_NONBLOCK makes a held O_EXLOCK an error instead of a wait. */
export const WRITER_FLAGS: number =
  process.platform === 'win32'
    ? UV_FS_O_EXLOCK
    : process.platform === 'linux'
      ? constants.O_NONBLOCK
      : constants.O_NONBLOCK | BSD_O_EXLOCK;

/**
 * Looks for another exclusive writer of the file. Call it after opening with WRITER_FLAGS. Elsewhere than on Linux the open
 * itself has refused already.
 * @throws DeviceError kind `busy`
 */
export function assertOnlyWriter(path: string, fd: number): void {
  if (process.platform !== 'linux') return;
  const writer = findOtherWriter(fd);
  if (writer === undefined) return;
  throw new DeviceError(
    'busy',
    path,
    writer.pid === process.pid
      ? 'is already open for writing in this process'
      : `is open for writing in process ${writer.pid} (${writer.name}); wait until it ends`,
  );
}

function findOtherWriter(fd: number): { pid: number; name: string } | undefined {
  const ours = fstatSync(fd, { bigint: true });
  for (const pid of quietly(() => readdirSync('/proc')) ?? []) {
    if (!/^\d+$/.test(pid)) continue;
    // Other users' processes and those that just ended have nothing to list.
    for (const otherFd of quietly(() => readdirSync(`/proc/${pid}/fd`)) ?? []) {
      if (pid === `${process.pid}` && otherFd === `${fd}`) continue;
      // Sockets and pipes are most of what is open. The stat comes last: on another's dead network mount it would hang.
      const link = `/proc/${pid}/fd/${otherFd}`;
      if (!mayBeImage(quietly(() => readlinkSync(link)))) continue;
      if (!isMarked(quietly(() => readFileSync(`/proc/${pid}/fdinfo/${otherFd}`, 'utf8')) ?? '')) continue;
      const stat = quietly(() => statSync(link, { bigint: true }));
      if (stat === undefined || stat.ino !== ours.ino || stat.dev !== ours.dev) continue;
      const name = quietly(() => readFileSync(`/proc/${pid}/comm`, 'utf8'))?.trim() ?? 'unknown';
      return { pid: Number(pid), name };
    }
  }
  return undefined;
}

/** Terminals and the like are most of the rest. */
const mayBeImage = (target = ''): boolean =>
  target.startsWith('/') && !/^\/dev\/(null|zero|pts\/|tty|u?random)/.test(target);

/** fdinfo says `flags:\t0104002`, in octal. */
export function isMarked(fdinfo: string): boolean {
  const flags = Number.parseInt(/^flags:\s*([0-7]+)/m.exec(fdinfo)?.[1] ?? '0', 8);
  return (flags & 3) === constants.O_RDWR && (flags & constants.O_NONBLOCK) !== 0;
}

/** A process may end between two looks at it; what it had open is closed then. */
function quietly<T>(look: () => T): T | undefined {
  try {
    return look();
  } catch {
    return undefined;
  }
}
