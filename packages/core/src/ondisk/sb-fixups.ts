// What the reference changes in a superblock when it reads one, before anything looks at the options. Values that older
// versions did not store, or stored as zero, get their defaults, so what show-super prints is not always what is on
// disk.
// Source: bch2_sb_validate in super-io.c (v1.13.0) and sb/io.c (v1.36.1, v1.39.2). v1.39.2 fills in defaults only when
// it opens the filesystem (init/fs.c), so its show-super prints what is stored.

import { type BitRange, getBits, withBits } from './bits.ts';
import type { Release } from './releases.ts';
import { sbBits } from './sb-bits.ts';
import { versionOf } from './versions.ts';

/** The members of a superblock that are looked at or changed. */
export interface FixableSuperblock {
  readonly version: number;
  readonly nr_devices: number;
  readonly flags: readonly bigint[];
}

/** A copy with the flags that a release works with after reading. The input stays as it is on disk. */
export function fixedOnRead<S extends FixableSuperblock>(sb: S, release: Release = '1.36'): S {
  let { flags } = sb;
  const set = (range: BitRange, value: number) => {
    flags = withBits(flags, range, value);
  };
  const setIfZero = (range: BitRange, value: number) => {
    if (getBits(flags, range) === 0) set(range, value);
  };

  if (release !== '1.13') {
    // Releases before 1.16 left it alone when they downgraded.
    if (getBits(flags, sbBits.VERSION_INCOMPAT_ALLOWED) > sb.version) set(sbBits.VERSION_INCOMPAT_ALLOWED, sb.version);
    const inUse = getBits(flags, sbBits.VERSION_INCOMPAT);
    if (inUse > getBits(flags, sbBits.VERSION_INCOMPAT_ALLOWED)) set(sbBits.VERSION_INCOMPAT_ALLOWED, inUse);
    if (sb.nr_devices > 1) set(sbBits.MULTI_DEVICE, 1);
  }
  if (release !== '1.39') {
    setIfZero(sbBits.JOURNAL_FLUSH_DELAY, 1000);
    setIfZero(sbBits.JOURNAL_RECLAIM_DELAY, 1000); // ten times the option's default
    setIfZero(sbBits.VERSION_UPGRADE_COMPLETE, sb.version);
    if (sb.version <= versionOf('disk_accounting_v2')) {
      setIfZero(sbBits.ALLOCATOR_STUCK_TIMEOUT, 30);
      set(sbBits.PROMOTE_WHOLE_EXTENTS, 1);
    }
  }
  if (release === '1.36') {
    setIfZero(sbBits.WRITE_ERROR_TIMEOUT, 30);
    if (sb.version <= versionOf('extent_flags')) setIfZero(sbBits.CSUM_ERR_RETRY_NR, 3);
  }
  return { ...sb, flags };
}
