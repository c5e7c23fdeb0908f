// The second door of @bcachefs-ts/core, `@bcachefs-ts/core/engine`: the internals, for programs that need more than files by path. What is here
// follows the format and may change with any release. The everyday door, index.ts, is the first to look at; all of it is here too.

export * from './alloc/alloc-devices.ts';
export * from './alloc/allocator.ts';
export * from './alloc/bucket-state.ts';
export * from './alloc/geometry.ts';
export * from './alloc/given-buckets.ts';
export * from './alloc/journal-buckets.ts';
export * from './alloc/new-device.ts';
export * from './alloc/no-space.ts';
export * from './alloc/superblock-needs.ts';
export * from './alloc/trigger-context.ts';
export * from './alloc/write-gate.ts';
export * from './btree/build.ts';
export * from './btree/commit.ts';
export * from './btree/iterate.ts';
export * from './btree/key-map.ts';
export * from './btree/node.ts';
export * from './btree/node-cache.ts';
export * from './btree/node-read.ts';
export * from './btree/node-store.ts';
export * from './btree/node-text.ts';
export * from './btree/source.ts';
export * from './btree/transaction.ts';
export * from './change/batched-edit.ts';
export * from './change/batches.ts';
export * from './change/btree-replacement.ts';
export * from './change/change.ts';
export * from './change/file-edit.ts';
export * from './change/triggers.ts';
export * from './change/writer.ts';
export * from './check/check.ts';
export * from './check/report.ts';
export * from './check/rules.ts';
export * from './checksum/checksum.ts';
export { crc32c } from './checksum/crc32c.ts';
export * from './checksum/csum.ts';
export * from './compress/compress.ts';
export * from './compress/decompress.ts';
export * from './create/filled-filesystem.ts';
export * from './create/new-filesystem.ts';
export * from './create/plan.ts';
export * from './create/write.ts';
export * from './crypto/poly1305.ts';
export * from './damage/hand-edit.ts';
export * from './damage/node-damage.ts';
export * from './damage/recipes.ts';
export * from './damage/target.ts';
export * from './data/extent-cut.ts';
export * from './data/extent-insert.ts';
export * from './data/extent-read.ts';
export * from './data/extent-write.ts';
export * from './data/file-read.ts';
export * from './data/finding.ts';
export * from './data/io-options.ts';
export * from './data/move-extents.ts';
export * from './data/segments.ts';
export * from './device/block-device.ts';
export * from './device/device-numbers.ts';
export * from './device/device-users.ts';
export * from './device/faulty-device.ts';
export * from './device/file-device.ts';
export * from './device/memory-device.ts';
export * from './device/new-file.ts';
export * from './device/overlay-device.ts';
export * from './device/qcow2-device.ts';
export * from './device/qcow2-writer.ts';
export * from './device/recording-device.ts';
export * from './device/undo.ts';
export * from './device/undo-file.ts';
export * from './device/undo-format.ts';
export * from './device/undo-log.ts';
export * from './device/undo-recorder.ts';
export * from './device/wrapper.ts';
export * from './dump/dump.ts';
export * from './dump/metadata.ts';
export * from './dump/ranges.ts';
export * from './dump/sanitise/sanitise.ts';
export * from './dump/undump.ts';
export * from './everyday/bcachefs.ts';
export type { FilesystemSummary, MemberSummary, SpaceUsage } from './everyday/summary.ts';
export * from './explain/annotate.ts';
export * from './explain/btree-listing.ts';
export * from './explain/dependent-files.ts';
export * from './explain/explainer.ts';
export * from './explain/explanation.ts';
export { FileFinder } from './explain/files-of.ts';
export * from './explain/locate.ts';
export type { Attributes } from './fs/attributes.ts';
export * from './fs/casefold.ts';
export * from './fs/dirents.ts';
export type { FileRef, TreeEditorOptions } from './fs/edit-state.ts';
export * from './fs/file-content.ts';
export * from './fs/file-error.ts';
export * from './fs/file-stat.ts';
export * from './fs/file-tree.ts';
export * from './fs/initialize.ts';
export * from './fs/inode.ts';
export type { NewInode } from './fs/new-inodes.ts';
export * from './fs/orphans.ts';
export * from './fs/paths.ts';
export * from './fs/recorded-damage.ts';
export * from './fs/str-hash.ts';
export * from './fs/tree-editor.ts';
export { isStorableXattr, isXattrOfContents } from './fs/xattr-name.ts';
export * from './fs/xattrs.ts';
export * from './journal/blacklist.ts';
export * from './journal/journal.ts';
export * from './journal/overlay.ts';
export * from './journal/position-ranges.ts';
export * from './journal/problem.ts';
export * from './journal/replay.ts';
export * from './journal/scan.ts';
export * from './journal/transaction-filter.ts';
export * from './members/add.ts';
export type { LeftCopies, WhyLeft } from './members/copy-job.ts';
export {
  type DropExtraPlan,
  type DropExtraReport,
  dropExtraReplicas,
  dropExtraSteps,
  type ExtraCopies,
  planDropExtra,
} from './members/drop-extra.ts';
export * from './members/evacuate.ts';
export * from './members/grow.ts';
export { type JournalSize, type JournalSizeReport, journalSize, resizeJournalSteps } from './members/journal-size.ts';
export { wipeMember } from './members/member-change.ts';
export * from './members/member-targets.ts';
export {
  planRebalance,
  type RebalancePlan,
  type RebalanceReport,
  type RebalanceWork,
  rebalance,
  rebalanceSteps,
  recountWaiting,
} from './members/rebalance.ts';
export * from './members/remove.ts';
export * from './members/replace.ts';
export {
  type CopyWork,
  planRereplicate,
  type RereplicatePlan,
  type RereplicateReport,
  rereplicate,
  rereplicateSteps,
  writtenBytesOf,
} from './members/rereplicate.ts';
export * from './members/shrink.ts';
export * from './ondisk/accounting-types.ts';
export * from './ondisk/bits.ts';
export * from './ondisk/bkey.ts';
export * from './ondisk/bkey-format.ts';
export * from './ondisk/bkey-validate.ts';
export * from './ondisk/bpos.ts';
export * from './ondisk/bset.ts';
export * from './ondisk/btree-node.ts';
export * from './ondisk/btrees.ts';
export * from './ondisk/checksum-types.ts';
export { degradedActions } from './ondisk/choices.ts';
export * from './ondisk/compression-types.ts';
export * from './ondisk/counters.ts';
export * from './ondisk/data-types.ts';
export * from './ondisk/errors.ts';
export * from './ondisk/extent-entries.ts';
export * from './ondisk/faults.ts';
export * from './ondisk/features.ts';
export * from './ondisk/format-rules.ts';
export * from './ondisk/fsck-errors.ts';
export * from './ondisk/inode-tables.ts';
export * from './ondisk/inode-unpack.ts';
export * from './ondisk/jset.ts';
export * from './ondisk/jset-entries.ts';
export * from './ondisk/jset-entry-types.ts';
export * from './ondisk/keys/accounting.ts';
export * from './ondisk/keys/alloc.ts';
export * from './ondisk/keys/alloc-bucket.ts';
export * from './ondisk/keys/alloc-v4.ts';
export * from './ondisk/keys/backpointer.ts';
export * from './ondisk/keys/btree-ptr-v2.ts';
export * from './ondisk/keys/bucket-gens.ts';
export * from './ondisk/keys/extent.ts';
export * from './ondisk/keys/index.ts';
export * from './ondisk/keys/key-fields.ts';
export * from './ondisk/keys/key-types.ts';
export * from './ondisk/keys/kind.ts';
export * from './ondisk/keys/lru.ts';
export * from './ondisk/keys/quick-text.ts';
export * from './ondisk/keys/quota.ts';
export * from './ondisk/keys/reflink-p.ts';
export * from './ondisk/keys/reflink-v.ts';
export * from './ondisk/keys/reservation.ts';
export * from './ondisk/keys/snapshot.ts';
export * from './ondisk/keys/snapshot-tree.ts';
export * from './ondisk/keys/stripe.ts';
export * from './ondisk/keys/subvolume.ts';
export * from './ondisk/layout.ts';
export * from './ondisk/member-bits.ts';
export * from './ondisk/member-states.ts';
export * from './ondisk/notation.ts';
export * from './ondisk/option-values.ts';
export * from './ondisk/options.ts';
export { ownFaults } from './ondisk/own-faults.ts';
export * from './ondisk/passes.ts';
export * from './ondisk/releases.ts';
export * from './ondisk/replicas-entry.ts';
export * from './ondisk/sb-bits.ts';
export * from './ondisk/sb-field-ids.ts';
export * from './ondisk/sb-fields/clean.ts';
export * from './ondisk/sb-fields/devices.ts';
export * from './ondisk/sb-fields/disk-groups.ts';
export { type ErrorCount, errorCountText } from './ondisk/sb-fields/errors.ts';
export { extOf, requiredPasses, withPassesRequired } from './ondisk/sb-fields/ext.ts';
export * from './ondisk/sb-fields/index.ts';
export * from './ondisk/sb-fields/journal.ts';
export * from './ondisk/sb-fields/kind.ts';
export * from './ondisk/sb-fields/members.ts';
export * from './ondisk/sb-fields/replicas.ts';
export * from './ondisk/str-hash-types.ts';
export * from './ondisk/superblock.ts';
export * from './ondisk/table.ts';
export * from './ondisk/targets.ts';
export * from './ondisk/versions.ts';
export * from './opened/filesystem.ts';
export * from './probe/index.ts';
export * from './recovery/error-counts.ts';
export * from './recovery/member-sizes.ts';
export * from './recovery/recover.ts';
export * from './recovery/sound-sections.ts';
export * from './report/answer-groups.ts';
export * from './report/explain.ts';
export * from './report/explanations/explanation.ts';
export * from './report/facts.ts';
export * from './report/finding.ts';
export * from './report/reporter.ts';
export type { LostFile, LostRun } from './scrub/lost-files.ts';
export * from './scrub/scrub.ts';
export * from './snapshots/create-nodes.ts';
export * from './snapshots/damage.ts';
export * from './snapshots/delete-dead.ts';
export * from './snapshots/snapshot-table.ts';
export * from './snapshots/visible.ts';
export * from './snapshots/whiteouts.ts';
export { editSuperblock, refuseEdit } from './superblock/edit.ts';
export * from './superblock/edit-counters.ts';
export * from './superblock/edit-options.ts';
export * from './superblock/find-members.ts';
export * from './superblock/identity.ts';
export * from './superblock/json.ts';
export * from './superblock/layout.ts';
export * from './superblock/member-set.ts';
export * from './superblock/member-standing.ts';
export * from './superblock/passphrase.ts';
export * from './superblock/read.ts';
export * from './superblock/recover.ts';
export * from './superblock/strip-alloc.ts';
export * from './superblock/text.ts';
export * from './superblock/verify.ts';
export * from './superblock/write.ts';
export * from './usage/losses.ts';
export * from './usage/usage.ts';
export * from './util/byte-text.ts';
export * from './util/human.ts';
export * from './util/print-buffer.ts';
export * from './util/random.ts';
export * from './util/sizes.ts';
export { dateTimeText } from './util/time.ts';
