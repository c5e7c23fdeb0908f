// The steps a case is made of, as data. Each row of `StepFields` is one kind of step: the fields here are the arguments
// of the function of the same name in agent/steps.py, which is where to look for what exactly it does. A new step is one
// row here and one function there.

/** Where a mount step mounts, and what relative paths of all steps are relative to. */
export const MNT = '/mnt';

/** The key of an encrypted filesystem; `unlockKey` makes one from a passphrase. */
export interface VolumeKey {
  /** External UUID of the filesystem. */
  readonly uuid: string;
  /** 32 bytes in hexadecimal. */
  readonly hex: string;
}

export type Pattern = { readonly kind: 'random' | 'text' | 'zero'; readonly seed?: number | string };

export type FallocateMode =
  | 'allocate'
  | 'keep-size'
  | 'punch-hole'
  | 'collapse-range'
  | 'zero-range'
  | 'zero-range-keep-size'
  | 'insert-range'
  | 'unshare-range';

interface StepFields {
  // Filesystems. `disks` are names of disks of the run; several are members of one filesystem.
  mount: { disks: readonly string[]; at?: string; options?: string; readOnly?: boolean; key?: VolumeKey };
  umount: { at?: string };
  fsck: { disks: readonly string[]; options?: string; fixErrors?: boolean; key?: VolumeKey };
  sync: object;
  dropCaches: object;
  subvolumeCreate: { path: string };
  subvolumeDelete: { path: string };
  /** Snapshots the subvolume `source` as `path`. */
  snapshot: { source: string; path: string; readOnly?: boolean };

  // Looking. What they find is in the result: `manifest`, `names`, `bytes`, `counts`.
  manifest: { at?: string; hashes?: boolean };
  list: { path?: string };
  read: { path: string; offset?: number; length?: number };
  /** `totalBytes` and `freeBytes` as statfs says them when everything is written and nothing is cached. */
  space: { at?: string };
  getxattr: { path: string; name: string };
  listxattr: { path: string };

  // Changing.
  /** With an offset, writes into what is there; without, the file is made anew. */
  write: { path: string; offset?: number; mode?: number; fsync?: boolean } & (
    | { content: string | Uint8Array }
    | { pattern: Pattern; sizeBytes: number }
  );
  mkdir: { path: string; mode?: number; parents?: boolean };
  symlink: { target: string; path: string };
  link: { source: string; path: string };
  mknod: { path: string; kind: 'fifo' | 'socket' | 'char' | 'block'; mode?: number; rdev?: readonly [number, number] };
  rename: { source: string; path: string; how?: 'replace' | 'no-replace' | 'exchange' | 'whiteout' };
  unlink: { path: string };
  rmdir: { path: string };
  setxattr: { path: string; name: string; value: string | Uint8Array };
  removexattr: { path: string; name: string };
  /** An inode option such as `compression`, through its `bcachefs.*` attribute; null takes it away. */
  setOption: { path: string; option: string; value: string | null };
  /** Inode flags as FS_IOC_SETFLAGS takes them. */
  setFlags: { path: string; flags: number };
  /** `inherit`: what is made below it will belong to the project too. */
  setProject: { path: string; project: number; inherit?: boolean };
  chmod: { path: string; mode: number };
  chown: { path: string; uid: number; gid: number };
  utimens: { path: string; atimeNs: bigint; mtimeNs: bigint };
  truncate: { path: string; sizeBytes: number };
  fallocate: { path: string; mode: FallocateMode; offset: number; length: number };
  /** Reflink: the whole file, or a range of it (in bytes, multiples of the block size). */
  clone: { source: string; path: string; range?: { from: number; to: number; length: number } };
  fsync: { path: string };
  /** The standard mixed workload: a deterministic tree that has everything, of about that many bytes. */
  fill: { at?: string; seed?: number; sizeBytes?: number; subvolumes?: boolean };

  /** Fills with files of all sizes until statfs says that so much is in use, or so much was written; `counts` says how much. */
  fillUp: { percent: number; at?: string; seed?: number; limitBytes?: number };
  /** Deletes everything but lost+found, subvolumes and snapshots too. */
  deleteAll: { at?: string };
  /**
   * So many random operations on what there is, of all kinds or of those in `among`, and more until those in `each` were done; `counts` has how
   * many of each. Half of the filesystem stays free.
   */
  change: { operations: number; at?: string; seed?: number; among?: readonly string[]; each?: readonly string[] };

  /**
   * Random operations by several processes at once, each below a directory p0, p1 …, for so long and until each has done so many;
   * `counts` has how many of each kind.
   */
  stress: { seconds: number; atLeast: number; processes: number; at?: string; seed?: number };

  // Ends that are not clean. After a reset the machine boots again and the case goes on with its next step.
  startWriter: { at?: string; seed?: number };
  stopWriter: object;
  reset: { afterSeconds?: number };
  crashAfterFsync: { path: string; sizeBytes?: number; seed?: number };

  // Anything else.
  sleep: { seconds: number };
  /**
   * A busybox shell script. It starts in /mnt; the disks are at /disks/NAME. A non-zero exit status is a failure. `noise BYTES` prints that
   * many bytes that no compressor shrinks, at four times the speed of /dev/urandom.
   */
  sh: { script: string; outputLimitBytes?: number };
}

interface CommonFields {
  /** A name to find the step's result by: `resultOf(case, 'before')`. */
  readonly as?: string;
  readonly timeoutSeconds?: number;
  /** The step must fail, with this errno if one is given. */
  readonly expectFailure?: true | string;
  /** The step may fail; the case goes on. */
  readonly allowFailure?: boolean;
}

export type Step = {
  [Kind in keyof StepFields]: { readonly do: Kind } & Readonly<StepFields[Kind]> & CommonFields;
}[keyof StepFields];

/** A sequence of steps with its own result; it stops at the first step that fails unexpectedly. */
export interface Case {
  readonly name: string;
  readonly steps: readonly Step[];
}

export function endsInReset(step: Step): boolean {
  return step.do === 'reset' || step.do === 'crashAfterFsync';
}

/**
 * Mount options of a checking mount. `ro,nochanges` keeps everything in memory; with `fix_errors=yes` the repairs are
 * written. `errors=continue` lets the check go on after what would otherwise stop it.
 */
export function fsckOptions(fixErrors: boolean): string {
  return fixErrors
    ? 'fsck,fix_errors=yes,errors=continue,verbose'
    : 'ro,nochanges,fsck,fix_errors=no,errors=continue,verbose';
}

/** The step as the agent reads it: bytes in base64, nanoseconds as decimal strings, defaults filled in. */
export function encodeStep(step: Step): object {
  switch (step.do) {
    case 'write':
      return 'content' in step ? { ...step, content: base64(step.content) } : step;
    case 'setxattr':
      return { ...step, value: base64(step.value) };
    case 'utimens':
      return { ...step, atimeNs: String(step.atimeNs), mtimeNs: String(step.mtimeNs) };
    case 'fsck': {
      const { fixErrors, ...rest } = step;
      return { ...rest, options: step.options ?? fsckOptions(fixErrors ?? false) };
    }
    default:
      return step;
  }
}

function base64(content: string | Uint8Array): string {
  return Buffer.from(content).toString('base64');
}

/** The step in a few words, for messages: `mount disks=disk options=ro`. */
export function describeStep(step: Step): string {
  const { do: kind, as: _as, timeoutSeconds: _t, expectFailure: _e, allowFailure: _a, ...fields } = step;
  const words = Object.entries(fields).map(([name, value]) => `${name}=${brief(value)}`);
  return [kind, ...words].join(' ');
}

function brief(value: unknown): string {
  if (value instanceof Uint8Array) return `${value.length} bytes`;
  const text = typeof value === 'string' ? value : Array.isArray(value) ? value.join(',') : JSON.stringify(value);
  const line = text.replaceAll(/\s+/g, ' ');
  return line.length > 80 ? `${line.slice(0, 77)}…` : line;
}
