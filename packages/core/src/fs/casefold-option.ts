// Where a directory may begin to compare names without regard to case, or end it.

import { incompatFeatures } from '../ondisk/features.ts';
import { isDirectory } from '../ondisk/inode-unpack.ts';
import type { EditState, FileRef } from './edit-state.ts';
import { FileError } from './file-error.ts';
import { isEmpty } from './names.ts';

const CASEFOLDING = 1n << BigInt(incompatFeatures.idOf('casefolding'));

/**
 * Names are hashed in another form. Mirrors bch2_inode_set_casefold.
 * @throws FileError where it cannot be set: on a file that is not a directory, or on a directory that is not empty; in a filesystem that does not know it
 */
export function checkCasefold(state: EditState, file: FileRef): void {
  const cached = state.cached(file);
  const what = `inode ${cached.inum}`;
  if (!isDirectory(cached.inode)) throw new FileError('ENOTDIR', `${what}: casefold is an option of directories`);
  if (!isEmpty(state, cached)) throw new FileError('ENOTEMPTY', `${what}: casefold is an option of empty directories`);
  if (((state.tx.sb.features[0] ?? 0n) & CASEFOLDING) === 0n)
    throw new FileError(
      'EINVAL',
      `${what}: no directory of this filesystem has casefold yet; a kernel has to set the first`,
    );
}
