// Which kernels can mount a filesystem, as far as its superblock says it: the one table of kernels, and what each of them asks for. Whether a
// kernel was built with what the filesystem needs, and whether all members are there, is not known here.
// Source: bch2_sb_compatible, bch2_sb_validate and bch2_check_version_downgrade in super-io.c, bch2_fs_recovery in recovery.c,
// BCH_MIN_NR_NBUCKETS, v1.13.0, v1.25.3 and v1.39.2.

import { getBits } from './bits.ts';
import { UsageError } from './errors.ts';
import { featuresKnownTo, incompatFeatures } from './features.ts';
import { rulesFor } from './format-rules.ts';
import { releaseForWriting } from './releases.ts';
import { sbBits } from './sb-bits.ts';
import { memberAlive, members } from './sb-fields/members.ts';
import type { Superblock } from './superblock.ts';
import {
  VERSION_MAX_READ,
  VERSION_MAX_WRITTEN,
  VERSION_MIN,
  type VersionName,
  versionMajor,
  versionNumber,
  versionOf,
  versionText,
} from './versions.ts';

export interface Kernel {
  /** What `--for` is called with. */
  readonly name: string;
  readonly text: string;
  /** The newest metadata version that it knows: what it upgrades to. */
  readonly version: number;
}

const kernel = (name: string, text: string, version: VersionName): Kernel => ({
  name,
  text,
  version: versionOf(version),
});

/** Oldest first. Since Linux 6.18 the driver is built apart from the kernel. */
export const kernels: readonly Kernel[] = [
  kernel('6.12', 'Linux 6.12', 'inode_has_child_snapshots'),
  kernel('6.16', 'Linux 6.16', 'inode_has_case_insensitive'),
  { name: 'latest', text: `the driver of ${versionNumber(VERSION_MAX_READ)}`, version: VERSION_MAX_READ },
];

/** A mount for writing, one for reading only, or none. */
export type MountAccess = 'read-write' | 'read-only' | 'none';

export interface Mountability {
  readonly kernel: Kernel;
  readonly access: MountAccess;
  /** One clause: why not more, or what a mount for writing does to the version; undefined where there is nothing to say. */
  readonly why: string | undefined;
}

/** @throws UsageError */
export function parseKernel(text: string): Kernel {
  const found = kernels.find(({ name }) => name === text);
  if (found !== undefined) return found;
  const names = kernels.map(({ name }) => name).join(', ');
  throw new UsageError(`found ${JSON.stringify(text)}, expected one of ${names}`);
}

/** The newest version that a kernel and this program both know how to write. */
export const versionFor = ({ version }: Kernel): number => Math.min(version, VERSION_MAX_WRITTEN);

/**
 * By kernel, in the order of the table.
 * @param isDamaged whether something is wrong with the superblock (superblockProblems): no kernel takes it then
 */
export const mountability = (sb: Superblock, isDamaged = false): readonly Mountability[] =>
  kernels.map(one => ({
    kernel: one,
    ...(isDamaged ? { access: 'none', why: 'its superblock is damaged' } : accessOf(sb, one.version)),
  }));

/** What a driver whose newest version is `newest` makes of it. */
export function accessOf(sb: Superblock, newest: number): Omit<Mountability, 'kernel'> {
  const refusal = versionRefusal(sb, newest) ?? shapeRefusal(sb, newest);
  if (refusal !== undefined) return { access: 'none', why: refusal };
  if (has(sb, SMALL_IMAGE)) {
    return {
      access: 'read-only',
      why: 'it is an image that was made as small as it can be, until its device is larger',
    };
  }
  return { access: 'read-write', why: versionChange(sb, newest) };
}

/** Why a driver whose newest version is `newest` does not know enough; undefined where it does. */
export function versionRefusal(sb: Superblock, newest: number): string | undefined {
  const newer = [sb.version, sb.version_min].find(version => versionMajor(version) > versionMajor(newest));
  if (newer !== undefined) return `it is of version ${versionText(newer)}`;
  if (sb.version < VERSION_MIN) return `it is of version ${versionText(sb.version)}, which is too old`;
  const used = getBits(sb.flags, sbBits.VERSION_INCOMPAT);
  if (used > newest) return `it uses features of version ${versionText(used)}`;
  const [features = 0n, others = 0n] = sb.features;
  const unknown = features & ~featuresKnownTo(releaseForWriting(newest));
  const names = incompatFeatures.rows.filter(({ id }) => ((unknown >> BigInt(id)) & 1n) === 1n).map(({ name }) => name);
  if (unknown === 0n && others === 0n) return undefined;
  return `it was made by newer tools, with features that are not known${names.length > 0 ? ` (${names.join(', ')})` : ''}`;
}

/** What the sizes of newer drivers ask for, and those of older ones. */
function shapeRefusal(sb: Superblock, newest: number): string | undefined {
  const { membersMax } = rulesFor({ version: newest });
  const least = newest >= versionOf('btree_node_accounting') ? BUCKETS_MIN_LATER : BUCKETS_MIN;
  if (sb.nr_devices > membersMax) return `it has room for ${sb.nr_devices} members, and the most are ${membersMax}`;
  const small = members(sb).find(member => memberAlive(member) && member.nbuckets < least);
  return small === undefined ? undefined : `a member has ${small.nbuckets} buckets, and the least are ${least}`;
}

function versionChange({ version }: Superblock, newest: number): string | undefined {
  if (version < newest) return `makes it ${versionNumber(newest)}, unless version_upgrade=none is given`;
  return version > newest ? `checks it, and makes it ${versionNumber(newest)}` : undefined;
}

/** BCH_MIN_NR_NBUCKETS. */
const BUCKETS_MIN = 64;
const BUCKETS_MIN_LATER = 512;

const SMALL_IMAGE = 1n << BigInt(incompatFeatures.idOf('small_image'));
const has = ({ features }: Superblock, bit: bigint): boolean => ((features[0] ?? 0n) & bit) !== 0n;
