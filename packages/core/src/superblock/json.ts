// A whole superblock as a JSON value: everything that the text has and more, by the names of the tables, in plain numbers (bytes,
// seconds) without units. Documented in docs/json/show-super.md.

import { getBits } from '../ondisk/bits.ts';
import { checksumTypes } from '../ondisk/checksum-types.ts';
import { CorruptError, locationText } from '../ondisk/errors.ts';
import { compatFeatures, incompatFeatures } from '../ondisk/features.ts';
import { optionFromSuperblock, optionToText } from '../ondisk/option-values.ts';
import { type OptionRow, optionAt, shownOptions } from '../ondisk/options.ts';
import { releaseForVersion } from '../ondisk/releases.ts';
import { sbBits } from '../ondisk/sb-bits.ts';
import { sbFieldIds } from '../ondisk/sb-field-ids.ts';
import { targetText } from '../ondisk/sb-fields/disk-groups.ts';
import { extFlags0 } from '../ondisk/sb-fields/ext.ts';
import { flagNames } from '../ondisk/sb-fields/flags.ts';
import { sbFieldKind } from '../ondisk/sb-fields/index.ts';
import { memberAlive, members } from '../ondisk/sb-fields/members.ts';
import { fixedOnRead } from '../ondisk/sb-fixups.ts';
import {
  BchSb,
  type BchSbLayout,
  fsLabelText,
  type SbSection,
  type Superblock,
  superblockMaxBytes,
} from '../ondisk/superblock.ts';
import { versionNumber, versions } from '../ondisk/versions.ts';
import { type JsonValue, toJson } from '../util/json.ts';
import { sectorsToBytes } from '../util/sizes.ts';

const NANOSECONDS_PER_SECOND = 1_000_000_000n;

/** The superblock as a value that JSON.stringify writes without a loss. */
export function superblockJson(sb: Superblock): JsonValue {
  const release = releaseForVersion(sb.version) === '1.39' ? '1.39' : '1.36';
  const fixed = fixedOnRead(sb, release);
  return toJson({
    external_uuid: sb.user_uuid,
    internal_uuid: sb.uuid,
    magic: sb.magic,
    device_index: sb.dev_idx,
    label: fsLabelText(sb.label),
    version: versionJson(sb.version),
    version_min: versionJson(sb.version_min),
    version_upgrade_complete: versionJson(getBits(fixed.flags, sbBits.VERSION_UPGRADE_COMPLETE)),
    version_incompat_allowed: versionJson(getBits(fixed.flags, sbBits.VERSION_INCOMPAT_ALLOWED)),
    version_incompat: versionJson(getBits(fixed.flags, sbBits.VERSION_INCOMPAT)),
    created: sb.time_base_lo === 0n ? null : sb.time_base_lo / NANOSECONDS_PER_SECOND,
    time_base_lo: sb.time_base_lo,
    time_base_hi: sb.time_base_hi,
    time_precision: sb.time_precision,
    seq: sb.seq,
    write_time: sb.write_time,
    offset: sb.offset,
    size: BchSb.size + 8 * sb.u64s,
    max_size: superblockMaxBytes(sb),
    block_size: sectorsToBytes(sb.block_size),
    initialized: getBits(sb.flags, sbBits.INITIALIZED) !== 0,
    clean: getBits(sb.flags, sbBits.CLEAN) !== 0,
    checksum_type: checksumTypes.nameOf(getBits(sb.flags, sbBits.CSUM_TYPE)),
    checksum: `${hex64(sb.csum.hi)}${hex64(sb.csum.lo)}`,
    devices: deviceCount(sb),
    nr_devices: sb.nr_devices,
    features: flagNames(incompatFeatures, sb.features[0]!, '1.39'),
    compat: flagNames(compatFeatures, sb.compat[0]!, '1.39'),
    raw: { flags: sb.flags.map(hex64), features: sb.features.map(hex64), compat: sb.compat.map(hex64) },
    options: optionsJson(fixed, release),
    layout: layoutJson(sb.layout),
    sections: sb.sections.map(section => ({
      type: section.type,
      name: sbFieldIds.byId(section.type)?.name ?? null,
      size: 8 + section.payload.length,
    })),
    fields: fieldsJson(sb),
  });
}

const hex64 = (word: bigint) => word.toString(16).padStart(16, '0');

function versionJson(version: number): unknown {
  return { number: versionNumber(version), name: versions.byId(version)?.name ?? null };
}

/** null when the members' section is damaged. */
function deviceCount(sb: Superblock): number | null {
  try {
    return members(sb).filter(memberAlive).length;
  } catch (thrown) {
    if (thrown instanceof CorruptError) return null;
    throw thrown;
  }
}

/** What the release would work with: see sb-fixups.ts. */
function optionsJson(sb: Superblock, release: '1.36' | '1.39'): Record<string, unknown> {
  const flags0 = extFlags0(sb);
  return Object.fromEntries(
    shownOptions(release).map(row => [
      row.name,
      optionJson(row, optionFromSuperblock(row, sb, flags0, release), sb, release),
    ]),
  );
}

function optionJson(row: OptionRow, value: number | bigint, sb: Superblock, release: '1.36' | '1.39'): unknown {
  const { kind } = optionAt(release, row).type;
  if (kind === 'bool') return value !== 0;
  if (kind === 'uint') return value;
  return optionToText(row, value, { release, choices: 'value', targetText: target => targetText(sb, target) });
}

function layoutJson(layout: BchSbLayout): unknown {
  return {
    type: layout.layout_type,
    max_size: superblockMaxBytes({ layout }),
    nr_superblocks: layout.nr_superblocks,
    offsets: layout.sb_offset.slice(0, layout.nr_superblocks),
  };
}

/** Sections by name; one that is there twice, which only damage can cause, gets `#2` appended. */
function fieldsJson(sb: Superblock): Record<string, unknown> {
  const fields: Record<string, unknown> = {};
  const copies = new Map<number, number>();
  for (const section of sb.sections) {
    const name = sbFieldIds.nameOf(section.type);
    const copy = (copies.get(section.type) ?? 0) + 1;
    copies.set(section.type, copy);
    fields[copy === 1 ? name : `${name}#${copy}`] = sectionJson(section, sb);
  }
  return fields;
}

function sectionJson(section: SbSection, sb: Superblock): unknown {
  const kind = sbFieldKind(section.type);
  if (kind === undefined) return { raw: section.payload };
  try {
    return kind.json(kind.decode(section.payload, sb), sb);
  } catch (thrown) {
    if (!(thrown instanceof CorruptError)) throw thrown;
    return { error: thrown.error, where: locationText(thrown.where), detail: thrown.detail, raw: section.payload };
  }
}
