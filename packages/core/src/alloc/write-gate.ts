// Which filesystems may be changed: those whose derived structures are understood to the last counter. That is metadata version 1.13,
// which Linux 6.12 writes. Every other version is refused here and nowhere else: before it, backpointers and accounting were kept in
// other ways, and since then they have changed with almost each version.

import { IncompatibleError } from '../ondisk/errors.ts';
import type { Superblock } from '../ondisk/superblock.ts';
import { VERSION_CURRENT_WRITTEN, versionText } from '../ondisk/versions.ts';

/**
 * @throws IncompatibleError version_not_writable for a filesystem of any other version, and for one that was upgraded: its nodes may hold
 * keys as older versions wrote them
 */
export function checkWritable({ version, version_min }: Pick<Superblock, 'version' | 'version_min'>): void {
  const only = versionText(VERSION_CURRENT_WRITTEN);
  const refuse = (detail: string) => {
    throw new IncompatibleError('version_not_writable', { field: 'version' }, `${detail}, can be read but not changed`);
  };
  if (version !== VERSION_CURRENT_WRITTEN) refuse(`metadata version ${versionText(version)}, not ${only}`);
  if (version_min !== VERSION_CURRENT_WRITTEN) refuse(`upgraded to ${only} from version ${versionText(version_min)}`);
}
