// Lays out a new filesystem in memory: from what was asked for to one finished superblock per device. Everything that can be
// wrong with the request is found here, before the first write. What it makes is a filesystem that was never started: journal,
// btrees and root directory come from `planContents`, or from the kernel at the first mount. Mirrors bch2_format
// (c_src/libbcachefs.c).

import { type DeviceSize, type Geometry, planGeometry } from '../alloc/geometry.ts';
import { KEY_BYTES } from '../crypto/chacha20.ts';
import { memberFlags } from '../members/new-member.ts';
import { withBits } from '../ondisk/bits.ts';
import { UsageError } from '../ondisk/errors.ts';
import { FEATURES_AT_FORMAT } from '../ondisk/features.ts';
import { RULES_WRITTEN, rulesFor, withMultiDevice } from '../ondisk/format-rules.ts';
import { defaultOptionValue, isStoredInSuperblock, type OptionNumber, withOption } from '../ondisk/option-values.ts';
import { type OptionName, options } from '../ondisk/options.ts';
import { sbBits } from '../ondisk/sb-bits.ts';
import { diskGroups, encodeDiskGroups, findLabel, withLabel } from '../ondisk/sb-fields/disk-groups.ts';
import {
  blankMember,
  encodeMembersV1,
  encodeMembersV2,
  MEMBER_V1_BYTES,
  type Member,
} from '../ondisk/sb-fields/members.ts';
import { BCHFS_MAGIC, type Superblock, withSection } from '../ondisk/superblock.ts';
import { encodeTarget, type Target } from '../ondisk/targets.ts';
import { versionText, WRITTEN_VERSIONS } from '../ondisk/versions.ts';
import { fsLabelBytes } from '../superblock/identity.ts';
import { withPassphrase } from '../superblock/passphrase.ts';
import { type RandomSource, randomUuid } from '../util/random.ts';
import { bytesToSectors } from '../util/sizes.ts';

/** The options that name a label or a device. */
export const targetOptions = ['foreground_target', 'background_target', 'promote_target', 'metadata_target'] as const;
export type TargetOption = (typeof targetOptions)[number];

export interface DeviceRequest extends DeviceSize {
  /** Disk label path, such as `ssd.ssd1`. */
  readonly label?: string | undefined;
  /** How many replicas a copy on this device counts for, 0 to 2. */
  readonly durability: number;
  readonly discard: boolean;
  /** Bits of data types: what may be stored on the device. */
  readonly dataAllowed: number;
  /** Buckets below it are never used: something else is there. */
  readonly firstBucket?: number;
}

export interface FormatRequest {
  /** In the order of their member indexes. */
  readonly devices: readonly DeviceRequest[];
  /** Options that were asked for; the rest takes its default. Sizes in bytes, as in the option table. */
  readonly options: ReadonlyMap<OptionName, OptionNumber>;
  /** Label paths or device names. */
  readonly targets: Readonly<Partial<Record<TargetOption, string>>>;
  readonly version: number;
  /** At most 32 bytes of UTF-8. */
  readonly fsLabel?: string | undefined;
  /** External UUID; random when absent. */
  readonly uuid?: string | undefined;
  readonly superblockBytes?: number | undefined;
  /** Present: encrypted. Without a passphrase the key stands in the superblock in the clear. */
  readonly encryption?: { readonly passphrase: Uint8Array | undefined } | undefined;
  /** Nanoseconds since 1970. */
  readonly now: bigint;
  readonly random: RandomSource;
}

export interface FormatPlan {
  readonly geometry: Geometry;
  /** One per device, in the order of the request, ready for `writeSuperblocks`. */
  readonly superblocks: readonly Superblock[];
  /** The master key of an encrypted filesystem. */
  readonly key: Uint8Array | undefined;
}

const NANOSECONDS_PER_SECOND = 1_000_000_000n;

/**
 * @throws UsageError when the request cannot be fulfilled, with the numbers
 */
export function planFormat(request: FormatRequest): FormatPlan {
  const rules = rulesFor({ version: request.version });
  if (!rules.isWritten) {
    throw new UsageError(
      `${versionText(request.version)} cannot be written, only ${WRITTEN_VERSIONS} can`,
      '--version',
    );
  }
  if (request.devices.length === 0) throw new UsageError('a filesystem needs at least one device');
  if (request.devices.length > rules.membersMax) {
    throw new UsageError(`${request.devices.length} devices, a filesystem has at most ${rules.membersMax}`);
  }
  const optionValue = (name: OptionName) => request.options.get(name) ?? newFilesystemDefault(name);
  const geometry = planGeometry({
    devices: request.devices,
    blockBytes: numberIfGiven(request.options.get('block_size')),
    btreeNodeBytes: numberIfGiven(request.options.get('btree_node_size')),
    encodedExtentMaxBytes: Number(optionValue('encoded_extent_max')),
    superblockBytes: request.superblockBytes,
  });

  const chosen = new Map<OptionName, OptionNumber>([
    ['block_size', geometry.blockBytes],
    ['btree_node_size', geometry.btreeNodeBytes],
  ]);

  let sb = fixedPart(request, geometry);
  for (const row of options.rows) {
    // Every option that a superblock of this version stores gets its value, the ones that format does not offer included.
    if (!isStoredInSuperblock(row, rules.release, rules.version) || isTargetOption(row.name)) continue;
    sb = withOption(sb, row.name, chosen.get(row.name) ?? optionValue(row.name));
  }
  sb = withMembersAndLabels(sb, request, geometry);
  sb = { ...sb, flags: withMultiDevice(sb, rules) };
  for (const option of targetOptions) {
    const wanted = request.targets[option];
    if (wanted !== undefined) sb = withOption(sb, option, encodeTarget(resolveTarget(wanted, option, request, sb)));
  }
  const key = request.encryption === undefined ? undefined : request.random.bytes(KEY_BYTES);
  if (key !== undefined) sb = withEncryption(sb, key, request.encryption?.passphrase);

  return {
    geometry,
    key,
    superblocks: geometry.devices.map((device, index) => ({ ...sb, dev_idx: index, layout: device.layout })),
  };
}

/**
 * Defaults of later releases that are better and mean the same to a 1.13 kernel: docs/format-defaults.md says why.
 */
const laterDefaults: ReadonlySet<OptionName> = new Set(['encoded_extent_max', 'inodes_32bit']);

/** What an option is when it is not given. */
export function newFilesystemDefault(name: OptionName): OptionNumber {
  return defaultOptionValue(name, laterDefaults.has(name) ? '1.36' : RULES_WRITTEN.release);
}

const isTargetOption = (name: OptionName): name is TargetOption => (targetOptions as readonly string[]).includes(name);

const numberIfGiven = (value: number | bigint | undefined) => (value === undefined ? undefined : Number(value));

/** Everything in front of the sections, before options. */
function fixedPart(request: FormatRequest, geometry: Geometry): Superblock {
  const { random, now } = request;
  return {
    csum: { lo: 0n, hi: 0n },
    version: request.version,
    version_min: request.version,
    pad: new Uint8Array(4),
    magic: BCHFS_MAGIC,
    user_uuid: request.uuid ?? randomUuid(random),
    uuid: randomUuid(random),
    label: fsLabelBytes(request.fsLabel ?? ''),
    offset: 0n,
    seq: 0,
    block_size: bytesToSectors(geometry.blockBytes),
    dev_idx: 0,
    nr_devices: request.devices.length,
    u64s: 0,
    time_base_lo: now,
    time_base_hi: 0,
    time_precision: 1,
    flags: Array.from({ length: 7 }, () => 0n),
    write_time: now / NANOSECONDS_PER_SECOND,
    features: [FEATURES_AT_FORMAT, 0n],
    compat: [0n, 0n],
    layout: geometry.devices[0]!.layout,
    sections: [],
  };
}

function withMembersAndLabels(sb: Superblock, request: FormatRequest, geometry: Geometry): Superblock {
  let groups: Parameters<typeof withLabel>[0] = [];
  const list = request.devices.map((device, index): Member => {
    let group = 0;
    if (device.label !== undefined) {
      const labelled = withLabel(groups, device.label);
      groups = labelled.groups;
      group = labelled.index + 1;
    }
    const { bucketBytes, bucketCount } = geometry.devices[index]!;
    return {
      ...blankMember(),
      uuid: randomUuid(request.random),
      nbuckets: bucketCount,
      first_bucket: device.firstBucket ?? 0,
      bucket_size: bytesToSectors(bucketBytes),
      flags: memberFlags(device, group),
    };
  });
  const withV2 = withSection(
    sb,
    'members_v2',
    encodeMembersV2({
      member_bytes: rulesFor({ version: sb.version }).memberBytes,
      members: list,
      rest: new Uint8Array(0),
    }),
  );
  const withGroups = groups.length === 0 ? withV2 : withSection(withV2, 'disk_groups', encodeDiskGroups(groups));
  return withSection(
    withGroups,
    'members_v1',
    encodeMembersV1({ member_bytes: MEMBER_V1_BYTES, members: list, rest: new Uint8Array(0) }),
  );
}

/** A device by its name, else a label path. */
function resolveTarget(wanted: string, option: TargetOption, request: FormatRequest, sb: Superblock): Target {
  const dev = request.devices.findIndex(device => device.name === wanted);
  if (dev >= 0) return { type: 'dev', dev };
  const group = findLabel(diskGroups(sb), wanted);
  if (group !== undefined) return { type: 'group', group };
  const labels = request.devices.flatMap(device => device.label ?? []);
  throw new UsageError(
    `${JSON.stringify(wanted)} is neither a label nor one of the devices; ` +
      (labels.length === 0 ? 'no device has a label' : `the labels are ${labels.join(', ')}`),
    `--${option}`,
  );
}

function withEncryption(sb: Superblock, key: Uint8Array, passphrase: Uint8Array | undefined): Superblock {
  const flags = withBits(sb.flags, sbBits.ENCRYPTION_TYPE, 1);
  return withPassphrase({ ...sb, flags }, key, passphrase);
}
