// Archives as other programs read them.

import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/** A member of an archive, as Python's tarfile sees it. */
export interface TarMember {
  readonly path_b64: string;
  readonly type: 'reg' | 'link' | 'lnk' | 'chr' | 'blk' | 'dir' | 'fifo';
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** With the holes of a sparse file. */
  readonly size: number;
  /** Seconds with a fraction, as the archive has it. */
  readonly mtime: string;
  readonly btime: string | null;
  readonly target_b64: string;
  readonly rdev: readonly [major: number, minor: number];
  readonly sparse: readonly (readonly [offset: number, length: number])[] | null;
  readonly xattrs: Readonly<Record<string, string>>;
  readonly acls: Readonly<Record<string, string>>;
  readonly sha256?: string;
  readonly sha256_data?: string;
}

const script = fileURLToPath(new URL('read-tar.py', import.meta.url));

/** Why archives cannot be read back; undefined when they can. */
export const whyNoPython: string | undefined =
  spawnSync('python3', ['-c', 'import sys; sys.exit(sys.version_info < (3, 8))']).status === 0
    ? undefined
    : 'python3 is needed to read archives back';

/** Whether a program is there and answers to --version. */
export const hasProgram = (name: string): boolean => spawnSync(name, ['--version']).status === 0;

export function readTar(file: string): readonly TarMember[] {
  const { status, stdout, stderr } = spawnSync('python3', [script, file], { encoding: 'utf8', maxBuffer: 2 ** 28 });
  if (status !== 0) throw new Error(`python3: ${stderr}`);
  return stdout
    .split('\n')
    .filter(line => line !== '')
    .map(line => JSON.parse(line) as TarMember);
}

/** Nanoseconds of `-1.5`. */
export function timeNs(text: string): bigint {
  const [, sign, seconds, fraction = ''] = /^(-?)(\d+)(?:\.(\d+))?$/.exec(text) ?? [];
  const ns = BigInt(seconds ?? '0') * 1_000_000_000n + BigInt(fraction.padEnd(9, '0').slice(0, 9));
  return sign === '-' ? -ns : ns;
}
