// How a run of all test files is made short: which of them share a process, which begin first, and which an everyday run leaves to CI.
// `npm test -- NAME…` takes what it names, each file in a process of its own.

import { isLong } from './long.ts';
import { randomFrom, testSeed } from './random.ts';

/** scripts/test.mjs says so where no file is named. */
export const isWhole: boolean = process.env.BCACHEFS_TEST_WHOLE === '1';

/**
 * Files that share a process have the modules of the one before, which halves what they take. For tests beside their files only: those
 * in test/ have images, and some measure memory.
 */
export const SHARING: readonly string[] = ['packages/*/src/**/*.test.ts', 'scripts/**/*.test.ts'];

/** They load modules anew, change the time zone, measure what the process takes, or have images, which would be kept to the end. */
export const ALONE: readonly string[] = [
  'packages/core/src/alloc/release-emptied.test.ts',
  'packages/core/src/alloc/renew-gens.test.ts',
  'packages/core/src/btree/build.test.ts',
  'packages/core/src/btree/iterate.test.ts',
  'packages/core/src/btree/node-edit.test.ts',
  'packages/core/src/btree/node-read.test.ts',
  'packages/core/src/btree/node-scan.test.ts',
  'packages/core/src/btree/node-write.test.ts',
  'packages/core/src/btree/planned-leaves.test.ts',
  'packages/core/src/checksum/crc32c.test.ts',
  'packages/core/src/checksum/images.test.ts',
  'packages/core/src/compress/decompress.test.ts',
  'packages/core/src/compress/images.test.ts',
  'packages/core/src/damage/recipes.test.ts',
  'packages/core/src/dump/sanitise/sanitise.test.ts',
  'packages/core/src/everyday/bcachefs.test.ts',
  'packages/core/src/fs/case.test.ts',
  'packages/core/src/fs/recorded-damage.test.ts',
  'packages/core/src/fs/rename.test.ts',
  'packages/core/src/journal/write.test.ts',
  'packages/core/src/ondisk/keys/key-fields.test.ts',
  'packages/core/src/opened/filesystem.test.ts',
  'packages/core/src/recovery/ahead-versions.test.ts',
  'packages/core/src/recovery/backpointer-shift.test.ts',
  'packages/core/src/recovery/change-version.test.ts',
  'packages/core/src/recovery/contested-journal.test.ts',
  'packages/core/src/recovery/double-claims.test.ts',
  'packages/core/src/recovery/journal-claims.test.ts',
  'packages/core/src/recovery/later-versions.test.ts',
  'packages/core/src/recovery/left-out.test.ts',
  'packages/core/src/recovery/lost-extents.test.ts',
  'packages/core/src/recovery/passes/check-nlinks.test.ts',
  'packages/core/src/recovery/passes/passes.test.ts',
  'packages/core/src/recovery/sound-sections.test.ts',
  'packages/core/src/superblock/find-members.test.ts',
  'packages/core/src/superblock/sections-fuzz.test.ts',
  'packages/core/src/util/time.test.ts',
  'packages/files/src/entry-text.test.ts',
];

/** Those that take longest, so that none of them is what a processor does while the others wait. */
const FIRST: readonly string[] = [
  'test/crash/edits',
  'test/crash/undo',
  'test/crash/grow',
  'test/engine/shrink',
  'test/format/million',
  'test/cli/examples',
  'test/fsck/damage',
  'test/crash/devices',
  'test/crash/shrink',
  'test/crash/repair',
  'test/format/image-update',
  'test/files/large-changes',
  'test/kernel/shrink',
  'test/kernel/write',
  'test/kernel/grow',
  'test/kernel/full',
  'test/kernel/upgrade',
  'test/kernel/upgraded',
  'test/kernel/vm',
  'test/kernel/btree-replacement',
  'test/kernel/image-update',
].map(name => `${name}.test.ts`);

/** @param path from the repository's root. @returns smaller for what begins earlier */
export function turnOf(path: string): number {
  const at = FIRST.indexOf(path);
  return at < 0 ? FIRST.length : at;
}

/**
 * What CI runs, and everyone with `--long` or by name. Of each kind something stays in an everyday run: `format`, `write`, `edit`, `read`,
 * `fsck`, `cuts` and `scrub` of the kernel suite, `edits`, `commit-cuts`, `faults` and more of the power cuts.
 */
const LEFT: readonly string[] = [
  'test/crash/btree-replacement',
  'test/crash/data-jobs',
  'test/crash/devices',
  'test/crash/grow',
  'test/crash/image-update',
  'test/crash/interrupts',
  'test/crash/journal-size',
  'test/crash/migrate',
  'test/crash/populate',
  'test/crash/shrink',
  'test/crash/undo',
  'test/engine/many-backpointers',
  'test/engine/reshaping',
  'test/engine/shrink',
  'test/files/large-changes',
  'test/format/million',
  'test/kernel/attributes',
  'test/kernel/btree-replacement',
  'test/kernel/casefold',
  'test/kernel/damaged-journal',
  'test/kernel/devices',
  'test/kernel/dump',
  'test/kernel/file-options',
  'test/kernel/full',
  'test/kernel/geometry',
  'test/kernel/grow',
  'test/kernel/identity',
  'test/kernel/image-update',
  'test/kernel/migrate',
  'test/kernel/migrate-cuts',
  'test/kernel/nonces',
  'test/kernel/old-life',
  'test/kernel/populate',
  'test/kernel/random-changes',
  'test/kernel/random-repairs',
  'test/kernel/reshape',
  'test/kernel/reshaping',
  'test/kernel/sanitise',
  'test/kernel/shrink',
  'test/kernel/smallest',
  'test/kernel/stress',
  'test/kernel/strip-alloc',
  'test/kernel/stripes',
  'test/kernel/superblock-commands',
  'test/kernel/upgrade',
  'test/kernel/upgraded',
  'test/kernel/usage',
  'test/kernel/vm',
  'test/kernel/write-1.28',
  'test/packaging/packaging',
].map(name => `${name}.test.ts`);

/** In so many everyday runs, each of the files that they leave has its turn once. */
const TURNS = 24;

/** What this run leaves: all of these but one in `TURNS`, others each time. */
export function leftFiles(): readonly string[] {
  if (isLong || !isWhole) return [];
  const random = randomFrom(testSeed());
  const turn = random.below(TURNS);
  return LEFT.filter((_, nr) => nr % TURNS !== turn);
}

/** All files that are named here. */
export const NAMED: readonly string[] = [...ALONE, ...FIRST, ...LEFT];
