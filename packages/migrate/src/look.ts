// A look at all that a migration will read of ext4 besides what its usage is made of: every name, attribute and target. So that what is damaged is found
// before anything is written, and by a dry run too.

import type { Ext4 } from '@bcachefs-ts/ext4';

/** A step is a name. @throws InputError */
export function* lookAtTree(ext4: Ext4): Generator<void> {
  for (const { inode, isFurtherName } of ext4.tree()) {
    if (isFurtherName) continue;
    ext4.xattrs(inode);
    if (inode.kind === 'symlink') ext4.symlinkTarget(inode);
    if (inode.kind === 'file') ext4.inlineData(inode);
    yield;
  }
}
