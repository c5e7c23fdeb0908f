// Key types inode, inode_v2 and inode_v3: all about a file but its name. The position is 0:INODE:SNAPSHOT. How the values are packed
// is inode-unpack.ts's.
// Source: fs/inode.c, v1.13.0, v1.36.1, v1.39.2.

import type { PrintBuffer } from '../../util/print-buffer.ts';
import type { Bkey } from '../bkey.ts';
import { bposInode, bposOffset } from '../bpos.ts';
import { checksumOptions } from '../checksum-types.ts';
import { isCompressionValid } from '../compression-types.ts';
import type { FaultName } from '../faults.ts';
import { fileTypes, inodeFields, inodeFlags, inodeOptions } from '../inode-tables.ts';
import {
  BLOCKDEV_INODE_MAX,
  hasInodeFlag,
  INODE_V3_FIELDS_START,
  type Inode,
  isDirectory,
  modeType,
  packInodeV1,
  packInodeV2,
  packInodeV3,
  unpackInodeV1,
  unpackInodeV2,
  unpackInodeV3,
} from '../inode-unpack.ts';
import { isKnownTo, type Release, releaseForVersion } from '../releases.ts';
import { strHashTypes } from '../str-hash-types.ts';
import { bitNames } from '../table.ts';
import type { KeyKind, KeyProblem, KeyTextContext, KeyValidateContext } from './kind.ts';

const shared = { text, json } as const;

export const inode: KeyKind<Inode> = {
  ...shared,
  name: 'inode',
  minBytes: 16,
  decode: unpackInodeV1,
  encode: packInodeV1,
  validate: (value, k, context) => [...strHashProblems(value), ...inodeProblems(value, k, context)],
};

export const inodeV2: KeyKind<Inode> = {
  ...shared,
  name: 'inode_v2',
  minBytes: 32,
  decode: unpackInodeV2,
  encode: packInodeV2,
  validate: (value, k, context) => [...strHashProblems(value), ...inodeProblems(value, k, context)],
};

export const inodeV3: KeyKind<Inode> = {
  ...shared,
  name: 'inode_v3',
  minBytes: 48,
  decode: unpackInodeV3,
  encode: packInodeV3,
  validate(value, k, context) {
    const problems: KeyProblem[] = [];
    const valueU64s = k.u64s - 5;
    if (value.fields_start < INODE_V3_FIELDS_START || value.fields_start > valueU64s) {
      const detail = `fields begin at u64 ${value.fields_start}, expected ${INODE_V3_FIELDS_START} to ${valueU64s}`;
      problems.push({ error: 'inode_v3_fields_start_bad', detail });
    }
    return [...problems, ...strHashProblems(value), ...inodeProblems(value, k, context)];
  },
};

function strHashProblems(value: Inode): KeyProblem[] {
  if (strHashTypes.byId(value.str_hash) !== undefined) return [];
  return [{ error: 'inode_str_hash_invalid', detail: `hash type ${value.str_hash}, expected 0 to 3` }];
}

/** Mirrors __bch2_inode_validate. The kernels of newer filesystems leave all but the position to fsck, and lose no inode to it. */
function inodeProblems(value: Inode, k: Bkey, { version }: KeyValidateContext = {}): KeyProblem[] {
  const problems: KeyProblem[] = [];
  const wrong = (error: FaultName, detail: string) => problems.push({ error, detail });
  if (bposInode(k.p) !== 0n) wrong('inode_pos_inode_nonzero', `position has inode ${bposInode(k.p)}, expected 0`);
  if (bposOffset(k.p) < BLOCKDEV_INODE_MAX) {
    wrong('inode_pos_blockdev_range', `inode number ${bposOffset(k.p)}, expected ${BLOCKDEV_INODE_MAX} or more`);
  }
  if (version !== undefined && releaseForVersion(version) === '1.39') return problems;
  if (value.unpack_error !== undefined) wrong('inode_unpack_error', `field ${value.unpack_error} cannot be read`);
  if (value.bi_data_checksum > checksumOptions.rows.length) {
    wrong('inode_checksum_type_invalid', `data checksum option ${value.bi_data_checksum - 1} is not known`);
  }
  if (value.bi_compression !== 0 && !isCompressionValid(value.bi_compression - 1)) {
    wrong('inode_compression_type_invalid', `compression option ${value.bi_compression - 1} is not known`);
  }
  if (hasInodeFlag(value, 'unlinked') && value.bi_nlink !== 0) {
    wrong('inode_unlinked_but_nlink_nonzero', `flagged as unlinked, but bi_nlink is ${value.bi_nlink}, expected 0`);
  }
  if (value.bi_subvol !== 0 && !isDirectory(value)) {
    wrong('inode_subvol_root_but_not_dir', `root of subvolume ${value.bi_subvol}, but mode ${octal(value.bi_mode)}`);
  }
  return problems;
}

const octal = (mode: number): string => mode.toString(8);

/** Mirrors __bch2_inode_unpacked_to_text: a line for each member, and then an empty one. */
function text(out: PrintBuffer, value: Inode, context: KeyTextContext): void {
  const style = context.style ?? '1.36';
  if (value.unpack_error !== undefined && style !== '1.39') {
    out.print('(unpack error)');
    return;
  }
  const type = fileTypes.byId(modeType(value.bi_mode))?.name ?? '(null)';
  const hash = strHashTypes.byId(value.str_hash)?.name ?? `(unknown str_hash_type ${value.str_hash})`;
  let lines =
    `\nmode=${octal(value.bi_mode)} (${type})` +
    `\nflags=${flagsText(value.bi_flags, style)}(${value.bi_flags.toString(16)})` +
    `\njournal_seq=${value.bi_journal_seq}` +
    `\nhash_seed=${value.bi_hash_seed.toString(16)}` +
    `\nhash_type=${hash}` +
    `\nbi_size=${value.bi_size}` +
    `\nbi_sectors=${value.bi_sectors}` +
    `\nbi_version=${value.bi_version}`;
  for (const field of inodeFields.rows) {
    if (field.since !== '1.39' || style === '1.39') lines += `\n${field.name}=${value[field.name]}`;
  }
  out.print(`${lines}\n`);
}

/** Names of the bits that are set, up to the first one that the release does not know. */
function flagsText(flags: number, style: Release): string {
  const names: string[] = [];
  for (let bit = 0; bit < 20; bit++) {
    if (((flags >>> bit) & 1) === 0) continue;
    const row = inodeFlags.byId(bit);
    if (row === undefined || !isKnownTo(style, row)) break;
    names.push(row.name);
  }
  return names.join(',');
}

function json(value: Inode): unknown {
  const {
    encoding: _encoding,
    unpack_error,
    bi_flags,
    str_hash,
    nr_fields: _nr,
    fields_start: _start,
    ...members
  } = value;
  const options = inodeOptions.rows.flatMap(({ name, field }) =>
    value[field] === 0 ? [] : [[name, value[field] - 1]],
  );
  return {
    ...members,
    type: fileTypes.nameOf(modeType(value.bi_mode)),
    bi_mode: octal(value.bi_mode),
    bi_hash_seed: value.bi_hash_seed.toString(16),
    flags: bitNames(inodeFlags, BigInt(bi_flags & 0xf_ffff)),
    str_hash: strHashTypes.nameOf(str_hash),
    options: Object.fromEntries(options),
    unpack_error,
  };
}
