// Extended attributes as the system calls show them: with their namespaces, ACLs in the form that getxattr gives. And the options of an
// inode, which a mounted filesystem shows as attributes too: those set on the inode itself under `bcachefs.`, those in effect,
// most of them inherited from directories when it was made, under `bcachefs_effective.`.
// Sources: xattr.c and acl.c, v1.13.0; include/uapi/linux/posix_acl_xattr.h of Linux.

import type { KeyReader } from '../btree/source.ts';
import { bposText, makeBpos } from '../ondisk/bpos.ts';
import { CorruptError } from '../ondisk/errors.ts';
import type { FaultName } from '../ondisk/faults.ts';
import { inodeOptions } from '../ondisk/inode-tables.ts';
import { type Inode, inodeOption } from '../ondisk/inode-unpack.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import { decodeAcl, xattr, xattrTypes } from '../ondisk/keys/xattr.ts';
import { optionToText } from '../ondisk/option-values.ts';
import { option } from '../ondisk/options.ts';
import { releaseForVersion } from '../ondisk/releases.ts';
import { targetText } from '../ondisk/sb-fields/disk-groups.ts';
import type { Superblock } from '../ondisk/superblock.ts';
import { type DamageOptions, reportDamage } from '../snapshots/damage.ts';
import type { SnapshotTable } from '../snapshots/snapshot-table.ts';
import { visibleKeys } from '../snapshots/visible.ts';
import { printableBytes } from '../util/byte-text.ts';
import { aclForSystemCall } from './acl.ts';
import { compareWords, type StrHash } from './str-hash.ts';

const XATTR = keyTypes.idOf('xattr');

export interface ExtendedAttribute {
  /** With its namespace: `user.comment`; any bytes but NUL. */
  readonly name: Uint8Array;
  readonly value: Uint8Array;
}

const encoder = new TextEncoder();

/**
 * The attributes of an inode in the order of their hashes, as listxattr gives them.
 * @throws as KeyReader.keys; CorruptError for values that are cut off, values that are not ACLs, and names where no lookup finds
 * them (hash_table_key_wrong_offset), unless `onDamage` is given
 */
export function* readXattrs(
  xattrs: KeyReader,
  table: SnapshotTable,
  snapshot: number,
  inum: bigint,
  { onDamage, hash }: DamageOptions & { readonly hash?: StrHash | undefined } = {},
): Generator<ExtendedAttribute> {
  const from = makeBpos(inum, 0n, 0);
  const to = makeBpos(inum, 0xffff_ffff_ffff_ffffn, 0xffff_ffff);
  let [startLo, startHi, nextLo, nextHi] = [0, 0, 0, 0];
  for (const { k, value } of visibleKeys(
    xattrs,
    table,
    snapshot,
    onDamage === undefined ? { from, to } : { from, to, onDamage },
  )) {
    const [lo, hi] = [k.p[1]!, k.p[2]!];
    if (lo !== nextLo || hi !== nextHi) [startLo, startHi] = [lo, hi];
    nextLo = (lo + 1) >>> 0;
    nextHi = nextLo === 0 ? hi + 1 : hi;
    if (k.type !== XATTR) continue;
    const report = (error: FaultName, detail: string) =>
      reportDamage(new CorruptError(error, { btree: 'xattrs', pos: bposText(k.p) }, detail), onDamage);
    if (value.length < xattr.minBytes) {
      report('bkey_val_size_too_small', `an xattr of ${value.length} bytes, expected ${xattr.minBytes} or more`);
      continue;
    }
    const decoded = xattr.decode(value);
    const row = xattrTypes.byId(decoded.type);
    if (row === undefined) {
      report('xattr_invalid_type', `type ${decoded.type}, expected 0 to 4`);
      continue;
    }
    const { name, value: stored, valueLength } = decoded;
    if (stored.length < valueLength) {
      report('xattr_val_size_too_small', `a value of ${valueLength} bytes, only ${stored.length} are there`);
    }
    if (hash?.isKnown) {
      const words = hash.xattr(decoded.type, name);
      const isPlaced =
        compareWords(words.lo, words.hi, startLo, startHi) >= 0 && compareWords(words.lo, words.hi, lo, hi) <= 0;
      if (!isPlaced)
        report('hash_table_key_wrong_offset', `${row.prefix}${printableBytes(name)}: no lookup finds it here`);
    }
    if (row.name === 'posix_acl_access' || row.name === 'posix_acl_default') {
      const acl = decodeAcl(stored);
      if (acl === undefined) report('xattr_val_size_too_small', `${row.prefix}: not a whole ACL`);
      else yield { name: encoder.encode(row.prefix), value: aclForSystemCall(acl) };
      continue;
    }
    const full = new Uint8Array(row.prefix.length + name.length);
    full.set(encoder.encode(row.prefix));
    full.set(name, row.prefix.length);
    yield { name: full, value: stored.slice() };
  }
}

export interface InodeOptionText {
  /** As in the table of options: `compression`. */
  readonly name: string;
  /** `zstd:3` */
  readonly text: string;
  /** Set on this inode (`bcachefs.`), not only in effect (`bcachefs_effective.`). */
  readonly isOwn: boolean;
}

/** The options in effect for an inode that are not just the filesystem's; each is also there as `bcachefs_effective.NAME`. */
export function inodeOptionTexts(inode: Inode, sb: Superblock): readonly InodeOptionText[] {
  const release = releaseForVersion(sb.version) === '1.39' ? '1.39' : '1.36';
  return inodeOptions.rows.flatMap(({ id, name }) => {
    const value = inodeOption(inode, name);
    if (value === undefined) return [];
    const text = optionToText(option(name), value, {
      release,
      choices: 'value',
      targetText: target => targetText(sb, target),
    });
    return [{ name, text, isOwn: ((inode.bi_fields_set >>> id) & 1) !== 0 }];
  });
}
