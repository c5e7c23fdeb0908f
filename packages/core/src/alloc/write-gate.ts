// Which filesystems may be changed: those whose derived structures are understood to the last counter, as format-rules.ts says of their
// version. Every other one is refused here and nowhere else.
//
// How old the filesystem is does not matter, once a kernel has upgraded it: that kernel has brought what is derived up to date, and keys of
// older shapes are read as such. Before 0.14 btree nodes were other ones; a kernel that mounts such a filesystem for writing rewrites
// them, and says so in the superblock.
// Source: check_version_upgrade and the end of bch2_fs_recovery in recovery.c, bch2_scan_old_btree_nodes in move.c, v1.13.0.

import { getBits } from '../ondisk/bits.ts';
import { IncompatibleError } from '../ondisk/errors.ts';
import { compatFeatures } from '../ondisk/features.ts';
import { rulesOf } from '../ondisk/format-rules.ts';
import { sbBits } from '../ondisk/sb-bits.ts';
import type { Superblock } from '../ondisk/superblock.ts';
import { VERSION_CURRENT_WRITTEN, versionOf, versionText, WRITTEN_VERSIONS } from '../ondisk/versions.ts';

const NODES_REWRITTEN = 1n << BigInt(compatFeatures.idOf('extents_above_btree_updates_done'));

/** @throws IncompatibleError version_not_writable for what cannot be changed yet, or not by us */
export function checkWritable(sb: Pick<Superblock, 'version' | 'version_min' | 'flags' | 'compat'>): void {
  const { version, version_min } = sb;
  const refuse = (detail: string, help: string) => {
    const text = `${detail}: it can be read but not changed; ${help}`;
    throw new IncompatibleError('version_not_writable', { field: 'version' }, text);
  };
  if (!rulesOf(sb).isWritten) {
    const help =
      version < VERSION_CURRENT_WRITTEN
        ? `mount it for writing once with Linux 6.12, which upgrades it to ${versionText(VERSION_CURRENT_WRITTEN)}`
        : `only ${WRITTEN_VERSIONS} can be`;
    refuse(`metadata version ${versionText(version)}`, help);
  }
  // 0 was the value before there was one.
  const complete = getBits(sb.flags, sbBits.VERSION_UPGRADE_COMPLETE) || version;
  if (complete < version) {
    const detail = `its upgrade from ${versionText(complete)} to ${versionText(version)} was not completed`;
    refuse(detail, '`bcachefs upgrade` completes it, and so does a mount for writing');
  }
  const hasOldNodes = version_min < versionOf('btree_ptr_sectors_written');
  if (version_min < version && (hasOldNodes || ((sb.compat[0] ?? 0n) & NODES_REWRITTEN) === 0n)) {
    const detail = `it has btree nodes of before ${versionText(versionOf('btree_ptr_sectors_written'))}`;
    refuse(detail, 'mount it for writing once, which rewrites them');
  }
}
