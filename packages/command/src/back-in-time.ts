// --at: loaded when it is given.

import { type Filesystem, type OnDamage, type RewindTarget, rewoundFilesystem } from '@bcachefs-ts/core/engine';

/** @throws UsageError when the journal does not reach it */
export const backTo = (filesystem: Filesystem, target: RewindTarget, onDamage: OnDamage): Filesystem =>
  rewoundFilesystem(filesystem, target, onDamage);
