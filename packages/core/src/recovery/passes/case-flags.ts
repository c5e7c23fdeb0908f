// A part of check_inodes: directories without regard to case, and all that are above them, have a flag since 1.28.
//
// Raises: inode_has_case_insensitive_not_set, inode_parent_has_case_insensitive_not_set. Memory: a string for each directory above one.
// Repair: the flag is set.
// Source: bch2_check_inode_has_case_insensitive in namei.c, v1.25.3.

import { isCasefolded, isFilesystemCasefolded } from '../../fs/case.ts';
import { inodeOfKey } from '../../fs/inode.ts';
import { bposOffset, bposText, makeBpos } from '../../ondisk/bpos.ts';
import { incompatFeatures } from '../../ondisk/features.ts';
import { rulesOf } from '../../ondisk/format-rules.ts';
import { inodeFlags } from '../../ondisk/inode-tables.ts';
import { type Inode, isDirectory } from '../../ondisk/inode-unpack.ts';
import { finding } from '../../report/finding.ts';
import type { PassContext } from '../pass.ts';
import { FileRepairs } from './file-repairs.ts';
import { type InodeIndex, keysOf, reportedBefore } from './inode-index.ts';
import { RepairQueue } from './repair-queue.ts';

const HAS_CASE_INSENSITIVE = 1 << inodeFlags.idOf('has_case_insensitive');
const CASEFOLDING = 1n << BigInt(incompatFeatures.idOf('casefolding'));

type CaseError = 'inode_has_case_insensitive_not_set' | 'inode_parent_has_case_insensitive_not_set';

export function checkCaseFlags(context: PassContext, index: InodeIndex): void {
  const { sb } = context.change.tx;
  if (!rulesOf(sb).marksCaseInsensitive || ((sb.features[0] ?? 0n) & CASEFOLDING) === 0n) return;
  new CaseFlags(context, index).check();
}

class CaseFlags {
  readonly #context: PassContext;
  readonly #index: InodeIndex;
  readonly #files: FileRepairs;
  readonly #repairs: RepairQueue;
  /** Directories that have the flag, or will have it, or were judged, with what is above them. */
  readonly #done = new Set<string>();

  constructor(context: PassContext, index: InodeIndex) {
    this.#context = context;
    this.#index = index;
    this.#files = new FileRepairs(context);
    this.#repairs = new RepairQueue(context);
  }

  check(): void {
    const ofFilesystem = isFilesystemCasefolded(this.#context.change.tx.sb);
    for (const key of keysOf(this.#context, 'inodes')) {
      const inode = inodeOfKey(key, reportedBefore);
      if (inode === undefined || !isDirectory(inode) || !isCasefolded(inode, ofFilesystem)) continue;
      const snapshot = key.k.p[0]!;
      this.#judge('inode_has_case_insensitive_not_set', bposOffset(key.k.p), snapshot, inode);
      this.#climb(inode, snapshot);
    }
    this.#repairs.run();
  }

  /** Up to the root, or to what was looked at before: what is above that was too. */
  #climb(start: Inode, startSnapshot: number): void {
    let [inode, snapshot] = [start, startSnapshot];
    for (;;) {
      if (inode.bi_parent_subvol !== 0) {
        const above = this.#index.table.subvolume(inode.bi_parent_subvol);
        if (above === undefined) return;
        snapshot = above.snapshot;
      }
      if (inode.bi_dir === 0n) return;
      const parent = this.#files.inode(inode.bi_dir, snapshot);
      if (parent === undefined || !isDirectory(parent.inode)) return;
      const error = 'inode_parent_has_case_insensitive_not_set';
      if (!this.#judge(error, inode.bi_dir, parent.keySnapshot, parent.inode)) return;
      inode = parent.inode;
    }
  }

  /** @returns whether it was not looked at before */
  #judge(error: CaseError, inum: bigint, snapshot: number, { bi_flags }: Inode): boolean {
    const id = `${inum}:${snapshot}`;
    if (this.#done.has(id)) return false;
    this.#done.add(id);
    if (bi_flags & HAS_CASE_INSENSITIVE) return true;
    const where = { btree: 'inodes', pos: bposText(makeBpos(0n, inum, snapshot)) };
    const detail = 'the flag has_case_insensitive is not set, expected it to be';
    if (this.#context.reporter.found(finding(error, where, { detail })) !== 'fix') return true;
    this.#repairs.add(() =>
      this.#files.editInode(inum, snapshot, edited => {
        edited.bi_flags |= HAS_CASE_INSENSITIVE;
      }),
    );
    return true;
  }
}
