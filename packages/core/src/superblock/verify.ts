// Judges a decoded superblock: the fixed part, the layout block, and every section through its own row in sb-fields.
// Nothing is thrown here: the caller decides what a problem means. Mirrors bch2_sb_validate (sb/io.c), but goes on after
// the first problem.

import { getBits } from '../ondisk/bits.ts';
import { checksumTypes } from '../ondisk/checksum-types.ts';
import { CorruptError, type Location } from '../ondisk/errors.ts';
import type { FaultName } from '../ondisk/faults.ts';
import { incompatFeatures } from '../ondisk/features.ts';
import { storedOptionProblems } from '../ondisk/option-values.ts';
import { releaseForWriting } from '../ondisk/releases.ts';
import { sbBits } from '../ondisk/sb-bits.ts';
import { sbFieldIds } from '../ondisk/sb-field-ids.ts';
import { sbFieldKind } from '../ondisk/sb-fields/index.ts';
import type { SbProblem } from '../ondisk/sb-fields/kind.ts';
import { fixedOnRead } from '../ondisk/sb-fixups.ts';
import {
  BCACHE_MAGIC,
  BCHFS_MAGIC,
  type BchSbLayout,
  SB_LAYOUT_OFFSETS,
  SB_LAYOUT_SIZE_BITS_MAX,
  SB_MEMBERS_MAX,
  type Superblock,
  sectionPayload,
} from '../ondisk/superblock.ts';
import { VERSION_MAX_READ, VERSION_MIN, versionText } from '../ondisk/versions.ts';

const ZERO_UUID = '00000000-0000-0000-0000-000000000000';
const NANOSECONDS_PER_SECOND = 1_000_000_000;

/** What makes this superblock unfit, most basic first. Empty: the reference would accept it. */
export function superblockProblems(sb: Superblock, where: Location, readSector?: bigint): SbProblem[] {
  const problems: SbProblem[] = [];
  const found = (error: FaultName, field: string, detail: string) =>
    problems.push({ error, where: { ...where, field }, detail });

  if (sb.user_uuid === ZERO_UUID) found('invalid_sb_uuid', 'user_uuid', 'is all zeroes');
  if (sb.uuid === ZERO_UUID) found('invalid_sb_uuid', 'uuid', 'is all zeroes');
  if (readSector !== undefined && sb.offset !== readSector) {
    found('invalid_sb_offset', 'offset', `says sector ${sb.offset}, but was read from sector ${readSector}`);
  }
  if (sb.nr_devices === 0 || sb.nr_devices > SB_MEMBERS_MAX) {
    found('invalid_sb_too_many_members', 'nr_devices', `${sb.nr_devices}, expected 1 to ${SB_MEMBERS_MAX}`);
  }
  if (sb.dev_idx >= sb.nr_devices) {
    found('invalid_sb_dev_idx', 'dev_idx', `${sb.dev_idx}, but there are ${sb.nr_devices} members`);
  }
  if (sb.time_precision === 0 || sb.time_precision > NANOSECONDS_PER_SECOND) {
    found(
      'invalid_sb_time_precision',
      'time_precision',
      `${sb.time_precision} ns, expected 1 to ${NANOSECONDS_PER_SECOND}`,
    );
  }
  if (sb.block_size === 0 || (sb.block_size & (sb.block_size - 1)) !== 0) {
    found('invalid_sb_block_size', 'block_size', `${sb.block_size} sectors, expected a power of two`);
  }
  if (sb.version_min > sb.version) {
    found(
      'invalid_sb_version',
      'version_min',
      `${versionText(sb.version_min)} is newer than the version ${versionText(sb.version)}`,
    );
  }
  const csumType = getBits(sb.flags, sbBits.CSUM_TYPE);
  if (checksumTypes.byId(csumType) === undefined) {
    found('invalid_sb_csum_type', 'flags[0].csum_type', `checksum type ${csumType} is not known`);
  }
  const release = releaseForWriting(sb.version);
  for (const { option, error, detail } of storedOptionProblems(fixedOnRead(sb, release), release, sb.version)) {
    found(error, `option ${option}`, detail);
  }
  problems.push(...layoutProblems(sb.layout, { ...where, field: 'layout' }));
  problems.push(...sectionProblems(sb, where));
  return problems;
}

/** What is newer in this superblock than we understand; empty when everything is known. */
export function superblockIncompatibilities(sb: Superblock, where: Location): SbProblem[] {
  const problems: SbProblem[] = [];
  const found = (error: FaultName, field: string, detail: string) =>
    problems.push({ error, where: { ...where, field }, detail });

  for (const field of ['version', 'version_min'] as const) {
    const version = sb[field];
    if (version < VERSION_MIN || version >> 10 > VERSION_MAX_READ >> 10) {
      found(
        'invalid_sb_version',
        field,
        `${versionText(version)} is outside of what is supported, ${versionText(VERSION_MIN)} to ${versionText(VERSION_MAX_READ)}`,
      );
    }
  }
  const incompat = getBits(sb.flags, sbBits.VERSION_INCOMPAT);
  if (incompat > VERSION_MAX_READ) {
    found(
      'invalid_sb_features',
      'flags[5].version_incompat',
      `features of version ${versionText(incompat)} are in use, the newest known is ${versionText(VERSION_MAX_READ)}`,
    );
  }
  sb.features.forEach((word, wordNr) => {
    for (let bit = 0; word >> BigInt(bit) > 0n; bit++) {
      const nr = 64 * wordNr + bit;
      if ((word >> BigInt(bit)) & 1n && incompatFeatures.byId(nr) === undefined) {
        found('invalid_sb_features', `features bit ${nr}`, 'an incompatible feature that is not known here');
      }
    }
  });
  return problems;
}

/** What is wrong with a layout block. Mirrors validate_sb_layout. */
export function layoutProblems(layout: BchSbLayout, where: Location): SbProblem[] {
  const one = (error: FaultName, detail: string): SbProblem[] => [{ error, where, detail }];
  if (layout.magic !== BCHFS_MAGIC && layout.magic !== BCACHE_MAGIC) {
    return one('invalid_sb_layout', `not a superblock layout: magic ${layout.magic}, expected ${BCHFS_MAGIC}`);
  }
  if (layout.layout_type !== 0) return one('invalid_sb_layout_type', `layout type ${layout.layout_type}, expected 0`);
  if (layout.nr_superblocks === 0 || layout.nr_superblocks > SB_LAYOUT_OFFSETS) {
    return one(
      'invalid_sb_layout_nr_superblocks',
      `${layout.nr_superblocks} superblocks, expected 1 to ${SB_LAYOUT_OFFSETS}`,
    );
  }
  if (layout.sb_max_size_bits > SB_LAYOUT_SIZE_BITS_MAX) {
    return one(
      'invalid_sb_layout_sb_max_size_bits',
      `sb_max_size_bits is ${layout.sb_max_size_bits}, expected at most ${SB_LAYOUT_SIZE_BITS_MAX}`,
    );
  }
  const maxSectors = 1n << BigInt(layout.sb_max_size_bits);
  for (let i = 1; i < layout.nr_superblocks; i++) {
    const end = layout.sb_offset[i - 1]! + maxSectors;
    const start = layout.sb_offset[i]!;
    if (start < end) {
      return one(
        'invalid_sb_layout_superblocks_overlap',
        `superblocks overlap: number ${i - 1} ends at sector ${end}, the next starts at ${start}`,
      );
    }
  }
  return [];
}

function sectionProblems(sb: Superblock, where: Location): SbProblem[] {
  if (sectionPayload(sb, 'members_v2') === undefined && sectionPayload(sb, 'members_v1') === undefined) {
    return [{ error: 'invalid_sb_members_missing', where, detail: 'there is no list of members' }];
  }
  const problems: SbProblem[] = [];
  for (const { type, payload } of sb.sections) {
    const kind = sbFieldKind(type);
    if (kind === undefined) continue;
    try {
      problems.push(...kind.validate(kind.decode(payload, sb), sb));
    } catch (thrown) {
      if (!(thrown instanceof CorruptError)) throw thrown;
      problems.push({
        error: thrown.error,
        where: { field: sbFieldIds.nameOf(type), ...thrown.where },
        detail: thrown.detail,
      });
    }
  }
  return problems.map(problem => ({ ...problem, where: { ...where, ...problem.where } }));
}
