// Options: one row gives an option's type, range, default, scope, place in the superblock and help. Command lines, the
// -o string, show-super's block, documentation and completions are derived from it. Row order is the order in which
// v1.39.2 lists them. A row says what 1.39 has (or the last release that had the option); `at` holds what was different
// before.
//
// Ranges are inclusive and what a value can really be: the reference's maxima were exclusive up to 1.36 and are
// inclusive since, some exceed what their bits can hold, and with powers of two or whole sectors less remains than the
// number says.
// Source: BCH_OPTS in opts.h and bch2_opt_table in opts.c, v1.13.0, v1.36.1, v1.39.2.

import type { BitRange } from './bits.ts';
import { checksumOptions } from './checksum-types.ts';
import { degradedActions, errorActions, fixErrorsChoices, scrubJournalChoices, versionUpgrades } from './choices.ts';
import { dataTypes } from './data-types.ts';
import { assert } from './errors.ts';
import { memberBits } from './member-bits.ts';
import { memberStates } from './member-states.ts';
import { passes } from './passes.ts';
import { isKnownTo, nameAt, type Release, type ReleasedRow } from './releases.ts';
import { sbBits, sbExtBits } from './sb-bits.ts';
import { strHashOptions } from './str-hash-types.ts';
import { type Row, type Table, table } from './table.ts';
import { type VersionName, versionOf } from './versions.ts';

/** What values an option has. Values are numbers, bigints above 2^53, and texts where a resolver is needed. */
export type OptionType =
  | { readonly kind: 'bool' }
  | {
      readonly kind: 'uint';
      /** Both inclusive. */
      readonly min: number | bigint;
      readonly max: number | bigint;
      /** A size in bytes, read and written with units. */
      readonly human: boolean;
      readonly powerOfTwo: boolean;
      /** A multiple of 512 bytes. */
      readonly wholeSectors: boolean;
    }
  /** The value is the index into `choices`; `bare` is meant when the option comes without a value. */
  | { readonly kind: 'choice'; readonly choices: readonly string[]; readonly bare?: string }
  /** The value is a mask of bits, `choices` by bit number; `allowed` restricts what may be set. */
  | { readonly kind: 'flags'; readonly choices: readonly string[]; readonly allowed?: bigint }
  /** See compression-types.ts. */
  | { readonly kind: 'compression' }
  /** A device or a label, resolved with the superblock's members and disk groups; 0 is none. */
  | { readonly kind: 'target' }
  /** A label path, resolved with the disk groups; 0 is none. */
  | { readonly kind: 'label' }
  | { readonly kind: 'text'; readonly maxBytes: number };

/**
 * How a stored number stands for a value: itself, value / 512, log2(value / 512), value + 1 (0: not set, the default).
 */
export type OptionEncoding = 'plain' | 'sectors' | 'log2Sectors' | 'plusOne';

/** Where an option is stored. */
export type OptionStorage =
  | { readonly in: 'nowhere' }
  /** Bits of `bch_sb.flags`; two ranges: the low bits first. */
  | { readonly in: 'sb'; readonly bits: readonly BitRange[]; readonly encoding: OptionEncoding }
  /** Bits of the ext section's `flags0`. */
  | { readonly in: 'ext'; readonly bits: BitRange; readonly encoding: OptionEncoding }
  /** `bch_sb.block_size`. */
  | { readonly in: 'block_size'; readonly encoding: 'sectors' }
  /** Bits of `bch_member.flags`. */
  | { readonly in: 'member'; readonly bits: BitRange; readonly encoding: OptionEncoding }
  /** A field of `bch_member`. */
  | { readonly in: 'member_field'; readonly field: 'bucket_size'; readonly encoding: 'sectors' }
  | { readonly in: 'member_field'; readonly field: 'failure_domain'; readonly encoding: 'plain' };

/**
 * Where an option can be given: `format`, `mount` (-o), `runtime` (sysfs); `mountOld`: ignored with a message at mount.
 * What it is about: `fs`, `device`, `inode` (files and directories can have their own). `hidden`: internal.
 */
export type OptionScope = 'format' | 'mount' | 'mountOld' | 'runtime' | 'fs' | 'device' | 'inode' | 'hidden';

/** What can differ between releases. */
export interface OptionTraits {
  readonly type: OptionType;
  readonly scopes: readonly OptionScope[];
  readonly default: number | bigint;
  readonly storage: OptionStorage;
}

interface OptionDeclaration extends OptionTraits {
  readonly name: string;
  readonly since: Release;
  /** The last release that has the option, if that is not the newest. */
  readonly until?: Release;
  /** Between two of the releases: the last metadata version whose kernels still have it, and refuse what they do not expect in it. */
  readonly keptTo?: VersionName;
  readonly names?: { readonly '1.13'?: string; readonly '1.36'?: string };
  /** What was different in earlier releases; 1.13 has what 1.36 says where it says nothing itself. */
  readonly at?: { readonly '1.13'?: Partial<OptionTraits>; readonly '1.36'?: Partial<OptionTraits> };
  /** What stands for the value in help texts. */
  readonly hint?: string;
  readonly help: string;
}

const bool: OptionType = { kind: 'bool' };
const compression: OptionType = { kind: 'compression' };
const target: OptionType = { kind: 'target' };
const label: OptionType = { kind: 'label' };

type UintTrait = 'human' | 'powerOfTwo' | 'wholeSectors';

function uint(min: number | bigint, max: number | bigint, ...traits: UintTrait[]): OptionType {
  const has = (trait: UintTrait) => traits.includes(trait);
  return {
    kind: 'uint',
    min,
    max,
    human: has('human'),
    powerOfTwo: has('powerOfTwo'),
    wholeSectors: has('wholeSectors'),
  };
}

function choice(choices: readonly string[], bare?: string): OptionType {
  return bare === undefined ? { kind: 'choice', choices } : { kind: 'choice', choices, bare };
}

function flagList(choices: readonly string[], allowed?: bigint): OptionType {
  return allowed === undefined ? { kind: 'flags', choices } : { kind: 'flags', choices, allowed };
}

function freeText(maxBytes: number): OptionType {
  return { kind: 'text', maxBytes };
}

const notStored: OptionStorage = { in: 'nowhere' };
const blockSizeField: OptionStorage = { in: 'block_size', encoding: 'sectors' };
const bucketSizeField: OptionStorage = { in: 'member_field', field: 'bucket_size', encoding: 'sectors' };
const failureDomainField: OptionStorage = { in: 'member_field', field: 'failure_domain', encoding: 'plain' };

function inSb(bits: readonly BitRange[], encoding: OptionEncoding = 'plain'): OptionStorage {
  return { in: 'sb', bits, encoding };
}

function inExt(bits: BitRange, encoding: OptionEncoding = 'plain'): OptionStorage {
  return { in: 'ext', bits, encoding };
}

function inMember(bits: BitRange, encoding: OptionEncoding = 'plain'): OptionStorage {
  return { in: 'member', bits, encoding };
}

/** Names by id, for tables whose ids have no gaps. */
function namesOf(rows: Table<Row>): readonly string[] {
  rows.rows.forEach((row, index) => {
    assert(row.id === index, `${rows.what} ${row.name} is number ${row.id}, listed as number ${index}`);
  });
  return rows.rows.map(row => row.name);
}

/** In options, passes are numbered by run order, not by their permanent ids. */
function passNamesAt(release: Release): readonly string[] {
  return passes.rows.filter(pass => isKnownTo(release, pass)).map(pass => nameAt(release, pass));
}

const DATA_ALLOWED_MASK = ['journal', 'btree', 'user'].reduce(
  (mask, name) => mask | (1n << BigInt(dataTypes.byName(name)?.id ?? 0)),
  0n,
);

const declarations = [
  {
    name: 'block_size',
    since: '1.13',
    type: uint(512, 32768, 'human', 'powerOfTwo', 'wholeSectors'),
    scopes: ['format', 'fs'],
    default: 4096,
    storage: blockSizeField,
    hint: 'size',
    help: 'Smallest unit of file data and of writes; at least the sector size of the devices',
  },
  {
    name: 'btree_node_size',
    since: '1.13',
    type: uint(512, 524288, 'human', 'powerOfTwo', 'wholeSectors'),
    scopes: ['format', 'fs'],
    default: 262144,
    storage: inSb([sbBits.BTREE_NODE_SIZE], 'sectors'),
    hint: 'size',
    help: 'Size of a btree node; at most the smallest bucket',
  },
  {
    name: 'errors',
    since: '1.13',
    type: choice(namesOf(errorActions)),
    scopes: ['format', 'mount', 'runtime', 'fs'],
    default: 1,
    storage: inSb([sbBits.ERROR_ACTION]),
    help: 'What to do when the filesystem turns out to be inconsistent',
  },
  {
    name: 'write_error_timeout',
    since: '1.36',
    type: uint(1, 300),
    scopes: ['format', 'mount', 'runtime', 'fs'],
    default: 30,
    storage: inSb([sbBits.WRITE_ERROR_TIMEOUT]),
    at: { '1.36': { type: uint(1, 299) } },
    hint: 'seconds',
    help: 'How long a device may fail writes before it is set read-only',
  },
  {
    name: 'metadata_replicas',
    since: '1.13',
    type: uint(1, 4),
    scopes: ['format', 'mountOld', 'runtime', 'fs'],
    default: 1,
    storage: inSb([sbBits.META_REPLICAS_WANT]),
    at: { '1.13': { type: uint(1, 3), scopes: ['format', 'mount', 'runtime', 'fs'] } },
    hint: 'n',
    help: 'Copies of each btree node and journal entry',
  },
  {
    name: 'data_replicas',
    since: '1.13',
    type: uint(1, 4),
    scopes: ['format', 'mountOld', 'runtime', 'fs', 'inode'],
    default: 1,
    storage: inSb([sbBits.DATA_REPLICAS_WANT]),
    at: { '1.13': { type: uint(1, 3), scopes: ['format', 'mount', 'runtime', 'fs', 'inode'] } },
    hint: 'n',
    help: 'Copies of file data',
  },
  {
    name: 'metadata_replicas_required',
    since: '1.13',
    until: '1.13',
    keptTo: 'bucket_stripe_index',
    type: uint(1, 3),
    scopes: ['format', 'mount', 'fs'],
    default: 1,
    storage: inSb([sbBits.META_REPLICAS_REQ]),
    hint: 'n',
    help: 'Copies of metadata that must be written before a write counts as done',
  },
  {
    name: 'data_replicas_required',
    since: '1.13',
    until: '1.13',
    keptTo: 'bucket_stripe_index',
    type: uint(1, 3),
    scopes: ['format', 'mount', 'fs'],
    default: 1,
    storage: inSb([sbBits.DATA_REPLICAS_REQ]),
    hint: 'n',
    help: 'Copies of file data that must be written before a write counts as done',
  },
  {
    name: 'encoded_extent_max',
    since: '1.13',
    type: uint(4096, 2097152, 'human', 'powerOfTwo', 'wholeSectors'),
    scopes: ['format', 'fs'],
    default: 262144,
    storage: inSb([sbBits.ENCODED_EXTENT_MAX_BITS], 'log2Sectors'),
    at: { '1.36': { type: uint(4096, 1048576, 'human', 'powerOfTwo', 'wholeSectors') }, '1.13': { default: 65536 } },
    hint: 'size',
    help: 'Largest extent that is compressed or checksummed as one piece',
  },
  {
    name: 'metadata_checksum',
    since: '1.13',
    type: choice(namesOf(checksumOptions)),
    scopes: ['format', 'mountOld', 'runtime', 'fs'],
    default: 1,
    storage: inSb([sbBits.META_CSUM_TYPE]),
    at: { '1.13': { scopes: ['format', 'mount', 'runtime', 'fs'] } },
    help: 'Checksum of btree nodes and journal entries',
  },
  {
    name: 'data_checksum',
    since: '1.13',
    type: choice(namesOf(checksumOptions)),
    scopes: ['format', 'mountOld', 'runtime', 'fs', 'inode'],
    default: 1,
    storage: inSb([sbBits.DATA_CSUM_TYPE]),
    at: { '1.13': { scopes: ['format', 'mount', 'runtime', 'fs', 'inode'] } },
    help: 'Checksum of file data',
  },
  {
    name: 'checksum_err_retry_nr',
    since: '1.36',
    type: uint(0, 32),
    scopes: ['format', 'mount', 'runtime', 'fs'],
    default: 3,
    storage: inSb([sbBits.CSUM_ERR_RETRY_NR]),
    at: { '1.36': { type: uint(0, 31) } },
    hint: 'n',
    help: 'How often to read again after a checksum error',
  },
  {
    name: 'compression',
    since: '1.13',
    type: compression,
    scopes: ['format', 'mountOld', 'runtime', 'fs', 'inode'],
    default: 0,
    storage: inSb([sbBits.COMPRESSION_TYPE_LO, sbBits.COMPRESSION_TYPE_HI]),
    at: { '1.13': { scopes: ['format', 'mount', 'runtime', 'fs', 'inode'] } },
    hint: 'type[:level]',
    help: 'Compression of new data; the level of lz4 counts for kernels only',
  },
  {
    name: 'background_compression',
    since: '1.13',
    type: compression,
    scopes: ['format', 'mountOld', 'runtime', 'fs', 'inode'],
    default: 0,
    storage: inSb([sbBits.BACKGROUND_COMPRESSION_TYPE_LO, sbBits.BACKGROUND_COMPRESSION_TYPE_HI]),
    at: { '1.13': { scopes: ['format', 'mount', 'runtime', 'fs', 'inode'] } },
    hint: 'type[:level]',
    help: 'Compression of data that is rewritten in the background',
  },
  {
    name: 'str_hash',
    since: '1.13',
    type: choice(namesOf(strHashOptions)),
    scopes: ['format', 'mount', 'runtime', 'fs'],
    default: 2,
    storage: inSb([sbBits.STR_HASH_TYPE]),
    help: 'Hash function for names in directories and of extended attributes',
  },
  {
    name: 'metadata_target',
    since: '1.13',
    type: target,
    scopes: ['format', 'mountOld', 'runtime', 'fs'],
    default: 0,
    storage: inSb([sbBits.METADATA_TARGET]),
    at: { '1.13': { scopes: ['format', 'mount', 'runtime', 'fs', 'inode'] } },
    hint: 'target',
    help: 'Device or label that metadata should go to',
  },
  {
    name: 'foreground_target',
    since: '1.13',
    type: target,
    scopes: ['format', 'mountOld', 'runtime', 'fs', 'inode'],
    default: 0,
    storage: inSb([sbBits.FOREGROUND_TARGET]),
    at: { '1.13': { scopes: ['format', 'mount', 'runtime', 'fs', 'inode'] } },
    hint: 'target',
    help: 'Device or label that new data should go to',
  },
  {
    name: 'background_target',
    since: '1.13',
    type: target,
    scopes: ['format', 'mountOld', 'runtime', 'fs', 'inode'],
    default: 0,
    storage: inSb([sbBits.BACKGROUND_TARGET]),
    at: { '1.13': { scopes: ['format', 'mount', 'runtime', 'fs', 'inode'] } },
    hint: 'target',
    help: 'Device or label that data is moved to in the background',
  },
  {
    name: 'promote_target',
    since: '1.13',
    type: target,
    scopes: ['format', 'mountOld', 'runtime', 'fs', 'inode'],
    default: 0,
    storage: inSb([sbBits.PROMOTE_TARGET]),
    at: { '1.13': { scopes: ['format', 'mount', 'runtime', 'fs', 'inode'] } },
    hint: 'target',
    help: 'Device or label that data is copied to when it is read',
  },
  {
    name: 'erasure_code',
    since: '1.13',
    type: bool,
    scopes: ['format', 'mountOld', 'runtime', 'fs', 'inode'],
    default: 0,
    storage: inSb([sbBits.ERASURE_CODE]),
    at: { '1.13': { scopes: ['format', 'mount', 'runtime', 'fs', 'inode'] } },
    help: 'Protect replicated data by parity instead of copies',
  },
  {
    name: 'ec_max_data_blocks',
    since: '1.39',
    type: uint(0, 15),
    scopes: ['format', 'mount', 'runtime', 'fs'],
    default: 0,
    storage: inSb([sbBits.EC_MAX_DATA_BLOCKS]),
    hint: 'n',
    help: 'Most data blocks in a stripe; 0 for as many as there are devices',
  },
  {
    name: 'casefold',
    since: '1.36',
    type: bool,
    scopes: ['format', 'fs', 'inode'],
    default: 0,
    storage: inSb([sbBits.CASEFOLD]),
    help: 'Look names up without regard to upper and lower case',
  },
  {
    name: 'casefold_disabled',
    since: '1.36',
    type: bool,
    scopes: ['mount', 'fs'],
    default: 0,
    storage: notStored,
    help: 'Do not allow case-insensitive directories anywhere',
  },
  {
    name: 'inodes_32bit',
    since: '1.13',
    type: bool,
    scopes: ['format', 'mount', 'runtime', 'fs', 'inode'],
    default: 0,
    storage: inSb([sbBits.INODE_32BIT]),
    at: { '1.13': { scopes: ['format', 'mount', 'runtime', 'fs'], default: 1 } },
    help: 'Keep inode numbers below 2^32',
  },
  {
    name: 'shard_inode_numbers',
    since: '1.13',
    until: '1.13',
    type: bool,
    scopes: ['format', 'mount', 'runtime', 'fs'],
    default: 1,
    storage: inSb([sbBits.SHARD_INUMS]),
    help: 'Give each CPU its own range of new inode numbers',
  },
  {
    name: 'inodes_use_key_cache',
    since: '1.13',
    until: '1.13',
    keptTo: 'sb_field_extent_type_u64s',
    type: bool,
    scopes: ['format', 'mount', 'fs'],
    default: 1,
    storage: inSb([sbBits.INODES_USE_KEY_CACHE]),
    help: 'Keep inodes in the key cache',
  },
  {
    name: 'shard_inode_numbers_bits',
    since: '1.36',
    type: uint(0, 15),
    scopes: ['format', 'fs'],
    default: 0,
    storage: inSb([sbBits.SHARD_INUMS_NBITS]),
    at: { '1.36': { type: uint(0, 7) } },
    hint: 'bits',
    help: 'Bits of an inode number that choose the range of a CPU',
  },
  {
    name: 'btree_node_mem_ptr_optimization',
    since: '1.13',
    until: '1.36',
    type: bool,
    scopes: ['mount', 'runtime', 'fs'],
    default: 1,
    storage: notStored,
    help: 'Remember where a btree node is in memory beside the pointer to it',
  },
  {
    name: 'gc_reserve_percent',
    since: '1.13',
    type: uint(5, 20),
    scopes: ['format', 'mount', 'runtime', 'fs'],
    default: 8,
    storage: inSb([sbBits.GC_RESERVE]),
    hint: 'percent',
    help: 'Space kept free for moving data together',
  },
  {
    name: 'gc_reserve_bytes',
    since: '1.13',
    type: uint(0, 0xfffffffffffffe00n, 'human', 'wholeSectors'),
    scopes: ['format', 'mount', 'runtime', 'fs'],
    default: 0,
    storage: inSb([sbBits.GC_RESERVE_BYTES], 'sectors'),
    hint: 'size',
    help: 'Space kept free for moving data together; replaces the percentage when set',
  },
  {
    name: 'root_reserve_percent',
    since: '1.13',
    type: uint(0, 100),
    scopes: ['format', 'mount', 'fs'],
    default: 0,
    storage: inSb([sbBits.ROOT_RESERVE]),
    at: { '1.36': { type: uint(0, 99) } },
    hint: 'percent',
    help: 'Space that only the superuser may fill',
  },
  {
    name: 'wide_macs',
    since: '1.13',
    type: bool,
    scopes: ['format', 'mount', 'runtime', 'fs'],
    default: 0,
    storage: inSb([sbBits['128_BIT_MACS']]),
    help: 'With encryption, keep 128 instead of 80 bits of each MAC',
  },
  {
    name: 'inline_data',
    since: '1.13',
    type: bool,
    scopes: ['mount', 'runtime', 'fs'],
    default: 1,
    storage: notStored,
    help: 'Keep the data of small files in the btree',
  },
  {
    name: 'promote_whole_extents',
    since: '1.13',
    type: bool,
    scopes: ['mount', 'runtime', 'fs'],
    default: 1,
    storage: inSb([sbBits.PROMOTE_WHOLE_EXTENTS]),
    help: 'Copy a whole extent to the promote target when part of it is read',
  },
  {
    name: 'acl',
    since: '1.13',
    type: bool,
    scopes: ['format', 'mount', 'fs'],
    default: 1,
    storage: inSb([sbBits.POSIX_ACL]),
    help: 'POSIX access control lists',
  },
  {
    name: 'usrquota',
    since: '1.13',
    type: bool,
    scopes: ['format', 'mount', 'fs'],
    default: 0,
    storage: inSb([sbBits.USRQUOTA]),
    help: 'Quotas of users',
  },
  {
    name: 'grpquota',
    since: '1.13',
    type: bool,
    scopes: ['format', 'mount', 'fs'],
    default: 0,
    storage: inSb([sbBits.GRPQUOTA]),
    help: 'Quotas of groups',
  },
  {
    name: 'prjquota',
    since: '1.13',
    type: bool,
    scopes: ['format', 'mount', 'fs'],
    default: 0,
    storage: inSb([sbBits.PRJQUOTA]),
    help: 'Quotas of projects',
  },
  {
    name: 'degraded',
    since: '1.13',
    type: choice(namesOf(degradedActions), 'yes'),
    scopes: ['mount', 'fs'],
    default: 0,
    storage: inSb([sbBits.DEGRADED_ACTION]),
    at: { '1.13': { type: bool, storage: notStored } },
    help: 'Mount although devices are missing',
  },
  {
    name: 'very_degraded',
    since: '1.13',
    until: '1.13',
    type: bool,
    scopes: ['mount', 'fs'],
    default: 0,
    storage: notStored,
    help: 'Mount although devices are missing and data with them',
  },
  {
    name: 'mount_trusts_udev',
    since: '1.36',
    type: bool,
    scopes: ['mount'],
    default: 1,
    storage: notStored,
    help: 'Believe udev about which devices belong together',
  },
  {
    name: 'no_splitbrain_check',
    since: '1.13',
    type: bool,
    scopes: ['mount', 'fs'],
    default: 0,
    storage: notStored,
    help: 'Use devices that were written apart from the others',
  },
  {
    name: 'no_version_check',
    since: '1.36',
    type: bool,
    scopes: ['hidden'],
    default: 0,
    storage: notStored,
    help: 'Read superblocks of unsupported versions',
  },
  {
    name: 'verbose',
    since: '1.13',
    type: bool,
    scopes: ['mount', 'runtime', 'fs'],
    default: 0,
    storage: notStored,
    help: 'Print more while mounting',
  },
  {
    name: 'journal_flush_delay',
    since: '1.13',
    type: uint(1, 4294967295),
    scopes: ['mount', 'runtime', 'fs'],
    default: 1000,
    storage: inSb([sbBits.JOURNAL_FLUSH_DELAY]),
    at: { '1.36': { type: uint(1, 4294967294) } },
    hint: 'ms',
    help: 'Longest time until changes are on disk',
  },
  {
    name: 'journal_flush_disabled',
    since: '1.13',
    type: bool,
    scopes: ['mount', 'runtime', 'fs'],
    default: 0,
    storage: inSb([sbBits.JOURNAL_FLUSH_DISABLED]),
    help: 'Let sync and fsync return before anything is on disk',
  },
  {
    name: 'move_writes_fua',
    since: '1.39',
    type: bool,
    scopes: ['mount', 'runtime', 'fs'],
    default: 0,
    storage: inSb([sbBits.MOVE_WRITES_FUA]),
    help: 'Write moved data through the cache of the device',
  },
  {
    name: 'journal_reclaim_delay',
    since: '1.13',
    type: uint(0, 4294967295),
    scopes: ['mount', 'runtime', 'fs'],
    default: 100,
    storage: inSb([sbBits.JOURNAL_RECLAIM_DELAY]),
    at: { '1.36': { type: uint(0, 4294967294) } },
    hint: 'ms',
    help: 'Time between two cleanings of the journal',
  },
  {
    name: 'writeback_timeout',
    since: '1.36',
    type: uint(0, 65535),
    scopes: ['mount', 'runtime', 'fs'],
    default: 0,
    storage: inSb([sbBits.WRITEBACK_TIMEOUT]),
    at: { '1.36': { type: uint(0, 65534) } },
    hint: 'seconds',
    help: 'Age at which dirty file data is written; 0 for what the system has',
  },
  {
    name: 'move_bytes_in_flight',
    since: '1.13',
    type: uint(1024, 4294967295, 'human'),
    scopes: ['mount', 'runtime', 'fs'],
    default: 67108864,
    storage: notStored,
    at: { '1.36': { type: uint(1024, 4294967294, 'human') }, '1.13': { default: 1048576 } },
    hint: 'size',
    help: 'Most data being moved at a time',
  },
  {
    name: 'move_ios_in_flight',
    since: '1.13',
    type: uint(1, 1024),
    scopes: ['mount', 'runtime', 'fs'],
    default: 64,
    storage: notStored,
    at: { '1.36': { type: uint(1, 1023) }, '1.13': { default: 32 } },
    hint: 'n',
    help: 'Most requests of moving data at a time',
  },
  {
    name: 'fsck',
    since: '1.13',
    type: bool,
    scopes: ['mount', 'fs'],
    default: 0,
    storage: notStored,
    help: 'Check when mounting',
  },
  {
    name: 'fsck_memory_usage_percent',
    since: '1.13',
    type: uint(20, 70),
    scopes: ['mount', 'fs'],
    default: 50,
    storage: notStored,
    at: { '1.36': { type: uint(20, 69) } },
    hint: 'percent',
    help: 'Most memory that checking may pin',
  },
  {
    name: 'fix_errors',
    since: '1.13',
    type: choice(namesOf(fixErrorsChoices), 'yes'),
    scopes: ['mount', 'fs'],
    default: 0,
    storage: notStored,
    help: 'Whether checking repairs what it finds',
  },
  {
    name: 'ratelimit_errors',
    since: '1.13',
    type: bool,
    scopes: ['mount', 'runtime', 'fs'],
    default: 1,
    storage: notStored,
    at: { '1.36': { scopes: ['mount', 'fs'] } },
    help: 'Shorten repeated messages of the same error',
  },
  {
    name: 'no_commit_validate',
    since: '1.39',
    type: bool,
    scopes: ['mount', 'fs'],
    default: 0,
    storage: notStored,
    help: 'Write keys without validating them, for tests',
  },
  {
    name: 'nochanges',
    since: '1.13',
    type: bool,
    scopes: ['mount', 'fs'],
    default: 0,
    storage: notStored,
    help: 'Write nothing at all, not even the journal that has to be replayed',
  },
  {
    name: 'norecovery',
    since: '1.13',
    type: bool,
    scopes: ['mount', 'fs'],
    default: 0,
    storage: notStored,
    help: 'Stop before the journal is replayed',
  },
  {
    name: 'journal_rewind',
    since: '1.36',
    type: uint(0, 0xffffffffffffffffn),
    scopes: ['mount', 'fs'],
    default: 0,
    storage: notStored,
    at: { '1.36': { type: uint(0, 0xfffffffffffffffen) } },
    hint: 'seq',
    help: 'Go back to the state at this journal entry',
  },
  {
    name: 'journal_rewind_discard_buffer_percent',
    since: '1.39',
    type: uint(0, 10),
    scopes: ['mount', 'fs'],
    default: 4,
    storage: inExt(sbExtBits.DISCARD_BUFFER),
    hint: 'percent',
    help: 'Space whose discarding is put off, so that the journal can be rewound',
  },
  {
    name: 'scrub_recent_journal_entries',
    since: '1.39',
    type: choice(namesOf(scrubJournalChoices)),
    scopes: ['mount', 'fs'],
    default: 0,
    storage: inSb([sbBits.SCRUB_JOURNAL]),
    help: 'Read back at mount what the newest journal entries point to',
  },
  {
    name: 'scrub_journal_max_rewind_secs',
    since: '1.39',
    type: uint(0, 3600),
    scopes: ['format', 'mount', 'fs'],
    default: 10,
    storage: inExt(sbExtBits.SCRUB_MAX_REWIND_SECS),
    hint: 'seconds',
    help: 'How far the journal may be rewound when that finds bad data',
  },
  {
    name: 'recovery_passes',
    since: '1.13',
    type: flagList(passNamesAt('1.39')),
    scopes: ['mount', 'fs'],
    default: 0,
    storage: notStored,
    at: { '1.36': { type: flagList(passNamesAt('1.36')) }, '1.13': { type: flagList(passNamesAt('1.13')) } },
    hint: 'passes',
    help: 'Passes to run in addition',
  },
  {
    name: 'recovery_passes_exclude',
    since: '1.13',
    type: flagList(passNamesAt('1.39')),
    scopes: ['mount', 'fs'],
    default: 0,
    storage: notStored,
    at: { '1.36': { type: flagList(passNamesAt('1.36')) }, '1.13': { type: flagList(passNamesAt('1.13')) } },
    hint: 'passes',
    help: 'Passes to leave out',
  },
  {
    name: 'recovery_pass_last',
    since: '1.13',
    type: choice(passNamesAt('1.39')),
    scopes: ['mount', 'fs'],
    default: 0,
    storage: notStored,
    at: { '1.36': { type: choice(passNamesAt('1.36')) }, '1.13': { type: choice(passNamesAt('1.13')) } },
    hint: 'pass',
    help: 'Stop after this pass',
  },
  {
    name: 'recovery_passes_skip_scheduled',
    since: '1.39',
    type: bool,
    scopes: ['mount', 'fs'],
    default: 0,
    storage: notStored,
    help: 'Leave passes that are scheduled for the next mount',
  },
  {
    name: 'retain_recovery_info',
    since: '1.13',
    type: bool,
    scopes: [],
    default: 0,
    storage: notStored,
    help: 'Keep in memory what recovery read',
  },
  {
    name: 'read_entire_journal',
    since: '1.13',
    type: bool,
    scopes: [],
    default: 0,
    storage: notStored,
    help: 'Read entries too that need no replay',
  },
  {
    name: 'read_journal_only',
    since: '1.13',
    type: bool,
    scopes: [],
    default: 0,
    storage: notStored,
    help: 'Stop after reading the journal',
  },
  {
    name: 'journal_transaction_names',
    since: '1.13',
    type: bool,
    scopes: ['format', 'mount', 'runtime', 'fs'],
    default: 1,
    storage: inSb([sbBits.JOURNAL_TRANSACTION_NAMES]),
    help: 'Write the names of functions that change something into the journal',
  },
  {
    name: 'allocator_stuck_timeout',
    since: '1.13',
    type: uint(0, 65535),
    scopes: ['format', 'mount', 'runtime', 'fs'],
    default: 30,
    storage: inSb([sbBits.ALLOCATOR_STUCK_TIMEOUT]),
    at: { '1.36': { type: uint(0, 65534) } },
    hint: 'seconds',
    help: 'Waiting time for space after which a message is printed',
  },
  {
    name: 'noexcl',
    since: '1.13',
    type: bool,
    scopes: ['mount', 'fs'],
    default: 0,
    storage: notStored,
    help: 'Open devices although others use them',
  },
  {
    name: 'direct_io',
    since: '1.13',
    type: bool,
    scopes: ['mount', 'fs'],
    default: 1,
    storage: notStored,
    help: 'Go round the page cache of the system',
  },
  {
    name: 'sb',
    since: '1.13',
    type: uint(0, 0x7fffffffffffffffn),
    scopes: ['mount'],
    default: 8,
    storage: notStored,
    at: { '1.36': { type: uint(0, 0x7ffffffffffffffen) } },
    hint: 'sector',
    help: 'Where to read the superblock',
  },
  {
    name: 'read_only',
    since: '1.13',
    type: bool,
    scopes: ['mount', 'fs', 'hidden'],
    default: 0,
    storage: notStored,
    help: 'Mount read-only',
  },
  { name: 'nostart', since: '1.13', type: bool, scopes: [], default: 0, storage: notStored, help: 'Open devices only' },
  {
    name: 'dangerously_reconstruct_alloc',
    since: '1.13',
    names: { '1.36': 'reconstruct_alloc' },
    type: bool,
    scopes: ['mount', 'fs'],
    default: 0,
    storage: notStored,
    help: 'Throw allocation information away and rebuild it',
  },
  {
    name: 'version_upgrade',
    since: '1.13',
    type: choice(namesOf(versionUpgrades)),
    scopes: ['mount', 'runtime', 'fs'],
    default: 0,
    storage: inSb([sbBits.VERSION_UPGRADE]),
    at: { '1.13': { scopes: ['mount', 'fs'] } },
    help: 'How far a mount may raise the metadata version',
  },
  {
    name: 'stdio',
    since: '1.13',
    type: uint(0, 0x7fffffffffffffffn),
    scopes: [],
    default: 0,
    storage: notStored,
    at: { '1.36': { type: uint(0, 0x7ffffffffffffffen) } },
    hint: 'pointer',
    help: 'Used inside the reference only',
  },
  {
    name: 'project',
    since: '1.13',
    type: bool,
    scopes: ['inode'],
    default: 0,
    storage: notStored,
    help: 'Project of an inode',
  },
  {
    name: 'nocow',
    since: '1.13',
    type: bool,
    scopes: ['format', 'mount', 'runtime', 'fs', 'inode'],
    default: 0,
    storage: inSb([sbBits.NOCOW]),
    help: 'Overwrite data in place: no checksums, compression or encryption of data',
  },
  {
    name: 'nocow_enabled',
    since: '1.13',
    type: bool,
    scopes: ['mount', 'fs'],
    default: 1,
    storage: notStored,
    help: 'Allow nocow files',
  },
  {
    name: 'copygc_enabled',
    since: '1.36',
    type: bool,
    scopes: ['mount', 'runtime', 'fs'],
    default: 1,
    storage: notStored,
    help: 'Move data together to free buckets',
  },
  {
    name: 'reconcile_enabled',
    since: '1.36',
    type: bool,
    scopes: ['mount', 'runtime', 'fs'],
    default: 1,
    storage: notStored,
    help: 'Do background work',
  },
  {
    name: 'reconcile_on_ac_only',
    since: '1.36',
    type: bool,
    scopes: ['mount', 'runtime', 'fs'],
    default: 0,
    storage: inSb([sbBits.REBALANCE_AC_ONLY]),
    help: 'Do background work on mains power only',
  },
  {
    name: 'auto_snapshot_deletion',
    since: '1.36',
    type: bool,
    scopes: ['mount', 'runtime', 'fs'],
    default: 1,
    storage: notStored,
    help: 'Remove the keys of deleted snapshots in the background',
  },
  {
    name: 'no_data_io',
    since: '1.13',
    type: bool,
    scopes: ['mount'],
    default: 0,
    storage: notStored,
    help: 'Do not read or write file data, for measurements',
  },
  {
    name: 'fs_size',
    since: '1.13',
    type: uint(0, 0x7ffffffffffffe00n),
    scopes: ['format', 'device'],
    default: 0,
    storage: notStored,
    hint: 'size',
    help: 'How much of the device to use',
  },
  {
    name: 'state',
    since: '1.36',
    type: choice(namesOf(memberStates)),
    scopes: ['runtime', 'device'],
    default: 0,
    storage: inMember(memberBits.STATE),
    hint: 'state',
    help: 'State of the device',
  },
  {
    name: 'label',
    since: '1.13',
    type: label,
    scopes: ['format', 'runtime', 'device'],
    default: 0,
    storage: inMember(memberBits.GROUP),
    hint: 'label',
    help: 'Label of the device, dots between levels: ssd.fast',
  },
  {
    name: 'failure_domain',
    since: '1.39',
    type: freeText(32),
    scopes: ['format', 'runtime', 'device'],
    default: 0,
    storage: failureDomainField,
    hint: 'name',
    help: 'Devices with the same name fail together',
  },
  {
    name: 'bucket_size',
    since: '1.13',
    names: { '1.13': 'bucket' },
    type: uint(0, 33553920, 'human', 'wholeSectors'),
    scopes: ['format', 'device'],
    default: 0,
    storage: bucketSizeField,
    hint: 'size',
    help: 'Unit of allocation; at least the btree node size',
  },
  {
    name: 'durability',
    since: '1.13',
    type: uint(0, 2),
    scopes: ['format', 'runtime', 'device'],
    default: 1,
    storage: inMember(memberBits.DURABILITY, 'plusOne'),
    at: { '1.13': { scopes: ['format', 'device'] } },
    hint: 'n',
    help: 'As how many copies one copy on this device counts',
  },
  {
    name: 'data_allowed',
    since: '1.13',
    type: flagList(namesOf(dataTypes), DATA_ALLOWED_MASK),
    scopes: ['format', 'device'],
    default: 28,
    storage: inMember(memberBits.DATA_ALLOWED),
    hint: 'types',
    help: 'What may be written to the device: journal, btree, user',
  },
  {
    name: 'discard',
    since: '1.13',
    type: bool,
    scopes: ['format', 'mount', 'runtime', 'fs', 'device'],
    default: 1,
    storage: inMember(memberBits.DISCARD),
    at: { '1.13': { scopes: ['format', 'mount', 'fs', 'device'] } },
    help: 'Discard what becomes free, so that the device can reuse it',
  },
  {
    name: 'rotational',
    since: '1.36',
    type: bool,
    scopes: ['runtime', 'device'],
    default: 0,
    storage: inMember(memberBits.ROTATIONAL),
    help: 'The device is a spinning disk',
  },
  {
    name: 'btree_node_prefetch',
    since: '1.13',
    type: bool,
    scopes: ['mount', 'runtime', 'fs'],
    default: 1,
    storage: notStored,
    help: 'Read neighbouring btree nodes ahead',
  },
  {
    name: 'btree_cache_shrinker_seeks',
    since: '1.39',
    type: uint(1, 100),
    scopes: ['mount', 'runtime', 'fs'],
    default: 2,
    storage: inExt(sbExtBits.BTREE_CACHE_SHRINKER_SEEKS),
    hint: 'n',
    help: 'How hard btree nodes are kept in memory',
  },
  {
    name: 'dev_readahead',
    since: '1.39',
    type: uint(0, 536870400, 'human', 'wholeSectors'),
    scopes: ['mount', 'runtime', 'fs'],
    default: 2097152,
    storage: inExt(sbExtBits.DEV_READAHEAD, 'sectors'),
    hint: 'size',
    help: 'Read-ahead per device',
  },
  {
    name: 'ec_stripe_buf_limit',
    since: '1.39',
    type: uint(1, 25),
    scopes: ['mount', 'runtime', 'fs'],
    default: 5,
    storage: inExt(sbExtBits.EC_STRIPE_BUF_LIMIT),
    hint: 'percent',
    help: 'Most memory for stripes being written',
  },
] as const satisfies readonly OptionDeclaration[];

export type OptionName = (typeof declarations)[number]['name'];

/** One option. `id` is its place in this table, nothing that is stored. */
export interface OptionRow extends OptionDeclaration, ReleasedRow {
  readonly name: OptionName;
}

const rows: readonly OptionRow[] = declarations.map((declaration, id) => ({ id, ...declaration }));

/** All options of all three releases. */
export const options: Table<OptionRow> = table<OptionRow>('option', rows);

const synonyms = new Map<string, OptionName>([['quota', 'usrquota']]);

/** By the name of any release, or a synonym. */
export function optionByName(name: string): OptionRow | undefined {
  const row = options.byName(synonyms.get(name) ?? name);
  return row ?? rows.find(({ names }) => names?.['1.13'] === name || names?.['1.36'] === name);
}

/** An option that certainly exists. */
export function option(name: OptionName): OptionRow {
  const row = options.byName(name);
  assert(row !== undefined, `no option is called ${name}`);
  return row;
}

/** Whether a release has this option. */
export function isOptionKnownTo(release: Release, row: OptionRow): boolean {
  return isKnownTo(release, row) && (row.until === undefined || isKnownTo(row.until, { since: release }));
}

/** Whether kernels of a metadata version have this option. @param release that of the version: see `releaseForWriting` */
export function isOptionOf(version: number, release: Release, row: OptionRow): boolean {
  if (isOptionKnownTo(release, row)) return true;
  return row.keptTo !== undefined && version <= versionOf(row.keptTo);
}

/** Type, scopes, default and storage as of a release. */
export function optionAt(release: Release, row: OptionRow): OptionTraits {
  const { type, scopes, default: standard, storage, at } = row;
  const changes = [release === '1.39' ? undefined : at?.['1.36'], release === '1.13' ? at?.['1.13'] : undefined];
  return Object.assign({ type, scopes, default: standard, storage }, ...changes);
}

/** The options that show-super of a release lists under `Options:`, in its order. */
export function shownOptions(release: Exclude<Release, '1.13'>): readonly OptionRow[] {
  return rows.filter(
    row => isOptionKnownTo(release, row) && ['sb', 'ext', 'block_size'].includes(optionAt(release, row).storage.in),
  );
}

/** The options that can be given to a release's format; of filesystems or of devices. */
export function formatOptions(release: Release, about: 'fs' | 'device'): readonly OptionRow[] {
  return rows.filter(row => {
    if (!isOptionKnownTo(release, row)) return false;
    const { scopes } = optionAt(release, row);
    return scopes.includes('format') && scopes.includes('device') === (about === 'device');
  });
}
