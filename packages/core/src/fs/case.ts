// Which directories compare names without regard to case: their names are hashed and compared in a folded form.
// Source: bch2_inode_casefold, v1.25.3.

import { rulesOf } from '../ondisk/format-rules.ts';
import type { Inode } from '../ondisk/inode-unpack.ts';
import { optionFromSuperblock } from '../ondisk/option-values.ts';
import { option } from '../ondisk/options.ts';
import type { Superblock } from '../ondisk/superblock.ts';

/** Of a directory. The option is stored plus one; 0 leaves it to the filesystem. */
export const isCasefolded = ({ bi_casefold }: Pick<Inode, 'bi_casefold'>, isFilesystemCasefolded: boolean): boolean =>
  bi_casefold === 0 ? isFilesystemCasefolded : bi_casefold === 2;

/** What directories are that do not say themselves. */
export const isFilesystemCasefolded = (sb: Superblock): boolean =>
  rulesOf(sb).release !== '1.13' && Number(optionFromSuperblock(option('casefold'), sb)) === 1;
