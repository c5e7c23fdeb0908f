// What the system reports (ENOSPC, EBUSY, …) as a DeviceError that says what was being done.

import { DeviceError, type DeviceErrorKind } from '../ondisk/errors.ts';

const KINDS: Readonly<Record<string, DeviceErrorKind>> = {
  ENOENT: 'missing',
  ENXIO: 'missing',
  ENODEV: 'missing',
  ENOMEDIUM: 'missing',
  ENOTDIR: 'missing',
  EBUSY: 'busy',
  EAGAIN: 'busy',
  EWOULDBLOCK: 'busy',
  ETXTBSY: 'busy',
  EACCES: 'permission',
  EPERM: 'permission',
  EROFS: 'read-only',
  ENOSPC: 'full',
  EDQUOT: 'full',
  EFBIG: 'full',
};

const ADVICE: Readonly<Record<DeviceErrorKind, string>> = {
  missing: 'check the path',
  busy: 'something else uses it; stop that first',
  permission: 'check its permissions, or run as root',
  'read-only': 'it is on a read-only filesystem or is write-protected',
  full: 'free some space, or choose a smaller size',
  io: 'the device or its connection may be failing; see the system log',
  'too-small': '',
  'out-of-range': '',
};

/** `ENOSPC`, or undefined for what did not come from the system. */
export function systemErrorCode(cause: unknown): string | undefined {
  return cause instanceof Error && 'code' in cause && typeof cause.code === 'string' ? cause.code : undefined;
}

/** @param doing `reading 4096 bytes at byte 8192`, `opening` */
export function systemError(device: string, doing: string, cause: unknown): DeviceError {
  const code = systemErrorCode(cause);
  const kind = KINDS[code ?? ''] ?? 'io';
  // Node's text is `EIO: i/o error, read`: the middle part is what strerror says.
  const words = cause instanceof Error ? (/^[A-Z0-9]+: ([^,]*)/.exec(cause.message)?.[1] ?? cause.message) : `${cause}`;
  const reason = code === undefined ? words : `${words} (${code})`;
  return new DeviceError(kind, device, `${doing} failed: ${reason}; ${ADVICE[kind]}`, { cause });
}
