// The features of ext2, ext3 and ext4, as mke2fs and dumpe2fs call them, and what is done about each: read, or refused by name.
// Source: lib/e2p/feature.c and ext2_fs.h of e2fsprogs 1.47, fs/ext4/ext4.h of Linux 6.12.

export interface FeatureRow {
  readonly set: 'compat' | 'incompat' | 'ro_compat';
  readonly bit: number;
  readonly name: string;
  /** Why a filesystem that has it is not read; undefined for one that is. */
  readonly refused?: string;
}

// biome-ignore format: a table
export const features: readonly FeatureRow[] = [
  { set: 'compat', bit: 0x0001, name: 'dir_prealloc' },
  { set: 'compat', bit: 0x0002, name: 'imagic_inodes' },
  { set: 'compat', bit: 0x0004, name: 'has_journal' },
  { set: 'compat', bit: 0x0008, name: 'ext_attr' },
  { set: 'compat', bit: 0x0010, name: 'resize_inode' },
  { set: 'compat', bit: 0x0020, name: 'dir_index' },
  { set: 'compat', bit: 0x0080, name: 'snapshot_bitmap', refused: 'snapshots of Next3' },
  { set: 'compat', bit: 0x0200, name: 'sparse_super2' },
  { set: 'compat', bit: 0x0400, name: 'fast_commit' },
  { set: 'compat', bit: 0x0800, name: 'stable_inodes' },
  { set: 'compat', bit: 0x1000, name: 'orphan_file' },

  { set: 'incompat', bit: 0x00001, name: 'compression', refused: 'files that e2compr has compressed' },
  { set: 'incompat', bit: 0x00002, name: 'filetype' },
  { set: 'incompat', bit: 0x00004, name: 'needs_recovery' },
  { set: 'incompat', bit: 0x00008, name: 'journal_dev' },
  { set: 'incompat', bit: 0x00010, name: 'meta_bg' },
  { set: 'incompat', bit: 0x00040, name: 'extent' },
  { set: 'incompat', bit: 0x00080, name: '64bit' },
  { set: 'incompat', bit: 0x00100, name: 'mmp' },
  { set: 'incompat', bit: 0x00200, name: 'flex_bg' },
  { set: 'incompat', bit: 0x00400, name: 'ea_inode' },
  { set: 'incompat', bit: 0x01000, name: 'dirdata', refused: 'directories of Lustre with data in their entries' },
  { set: 'incompat', bit: 0x02000, name: 'metadata_csum_seed' },
  { set: 'incompat', bit: 0x04000, name: 'large_dir' },
  { set: 'incompat', bit: 0x08000, name: 'inline_data' },
  { set: 'incompat', bit: 0x10000, name: 'encrypt' },
  { set: 'incompat', bit: 0x20000, name: 'casefold' },

  { set: 'ro_compat', bit: 0x00001, name: 'sparse_super' },
  { set: 'ro_compat', bit: 0x00002, name: 'large_file' },
  { set: 'ro_compat', bit: 0x00004, name: 'btree_dir', refused: 'directories as btrees, which no kernel has had' },
  { set: 'ro_compat', bit: 0x00008, name: 'huge_file' },
  { set: 'ro_compat', bit: 0x00010, name: 'uninit_bg' },
  { set: 'ro_compat', bit: 0x00020, name: 'dir_nlink' },
  { set: 'ro_compat', bit: 0x00040, name: 'extra_isize' },
  { set: 'ro_compat', bit: 0x00080, name: 'snapshot', refused: 'snapshots of Next3' },
  { set: 'ro_compat', bit: 0x00100, name: 'quota' },
  { set: 'ro_compat', bit: 0x00200, name: 'bigalloc' },
  { set: 'ro_compat', bit: 0x00400, name: 'metadata_csum' },
  { set: 'ro_compat', bit: 0x00800, name: 'replica', refused: 'replicas of files' },
  { set: 'ro_compat', bit: 0x01000, name: 'read-only' },
  { set: 'ro_compat', bit: 0x02000, name: 'project' },
  { set: 'ro_compat', bit: 0x04000, name: 'shared_blocks' },
  { set: 'ro_compat', bit: 0x08000, name: 'verity' },
  { set: 'ro_compat', bit: 0x10000, name: 'orphan_present' },
];

const letters = { compat: 'C', incompat: 'I', ro_compat: 'R' } as const;

export interface FeatureWords {
  readonly compat: number;
  readonly incompat: number;
  readonly roCompat: number;
}

/** A name for each bit that is set; `FEATURE_I31` for one that is not known. */
export function featureNames(words: FeatureWords): readonly string[] {
  return bitsOf(words).map(({ set, bit, row }) => row?.name ?? `FEATURE_${letters[set]}${31 - Math.clz32(bit)}`);
}

/**
 * Those that stop this reader, in words. Unknown ones among the compatible may be ignored: blocks that they own
 * would have no owner here, which the comparison with the bitmaps finds.
 */
export function refusedFeatures(words: FeatureWords): readonly { readonly name: string; readonly why: string }[] {
  return bitsOf(words).flatMap(({ set, bit, row }) => {
    if (row?.refused !== undefined) return [{ name: row.name, why: row.refused }];
    if (row !== undefined || set === 'compat') return [];
    return [{ name: `FEATURE_${letters[set]}${31 - Math.clz32(bit)}`, why: 'it is not known' }];
  });
}

function bitsOf({ compat, incompat, roCompat }: FeatureWords) {
  const sets = [
    ['compat', compat],
    ['incompat', incompat],
    ['ro_compat', roCompat],
  ] as const;
  return sets.flatMap(([set, word]) =>
    Array.from({ length: 32 }, (_, i) => (1 << i) >>> 0)
      .filter(bit => (word & bit) !== 0)
      .map(bit => ({ set, bit, row: features.find(each => each.set === set && each.bit === bit) })),
  );
}

/** @throws Error for a name that is in no row */
function bitOf(set: FeatureRow['set'], name: string): number {
  const row = features.find(each => each.set === set && each.name === name);
  if (row === undefined) throw new Error(`no feature ${name}`);
  return row.bit;
}

export const COMPAT_HAS_JOURNAL = bitOf('compat', 'has_journal');
export const COMPAT_SPARSE_SUPER2 = bitOf('compat', 'sparse_super2');
export const INCOMPAT_FILETYPE = bitOf('incompat', 'filetype');
export const INCOMPAT_RECOVER = bitOf('incompat', 'needs_recovery');
export const INCOMPAT_JOURNAL_DEV = bitOf('incompat', 'journal_dev');
export const INCOMPAT_META_BG = bitOf('incompat', 'meta_bg');
export const INCOMPAT_64BIT = bitOf('incompat', '64bit');
export const INCOMPAT_MMP = bitOf('incompat', 'mmp');
export const INCOMPAT_CSUM_SEED = bitOf('incompat', 'metadata_csum_seed');
export const INCOMPAT_LARGE_DIR = bitOf('incompat', 'large_dir');
export const RO_SPARSE_SUPER = bitOf('ro_compat', 'sparse_super');
export const RO_HUGE_FILE = bitOf('ro_compat', 'huge_file');
export const RO_GDT_CSUM = bitOf('ro_compat', 'uninit_bg');
export const RO_BIGALLOC = bitOf('ro_compat', 'bigalloc');
export const RO_METADATA_CSUM = bitOf('ro_compat', 'metadata_csum');
export const RO_PROJECT = bitOf('ro_compat', 'project');
export const RO_SHARED_BLOCKS = bitOf('ro_compat', 'shared_blocks');
export const RO_ORPHAN_PRESENT = bitOf('ro_compat', 'orphan_present');
