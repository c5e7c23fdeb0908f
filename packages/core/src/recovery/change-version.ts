// Takes an unmounted filesystem to another metadata version, up or down: what follows from pointers is made anew by the rules of that
// version, all passes run, and the superblock says so, in one commit.
//
// Before the commit counts, the superblock says what a kernel writes when it begins the same: the new version, what its passes have to look
// at, and, on the way up, that the upgrade is not complete. A crash leaves that, which any kernel goes on from, and so does doing it again.
// Source: check_version_upgrade in recovery.c, bch2_sb_upgrade and bch2_check_version_downgrade in super-io.c, bch2_sb_set_upgrade,
// bch2_sb_set_downgrade and bch2_sb_downgrade_update in sb-downgrade.c, v1.13.0 and v1.25.3.

import { checkWritable } from '../alloc/write-gate.ts';
import { FilesystemWriter, type WriterOptions } from '../change/writer.ts';
import { checkInvariants } from '../check/check.ts';
import { readReplayState } from '../journal/replay.ts';
import { getBits, withBits } from '../ondisk/bits.ts';
import { btrees } from '../ondisk/btrees.ts';
import { errorActions } from '../ondisk/choices.ts';
import { assert, IncompatibleError, UsageError } from '../ondisk/errors.ts';
import { FEATURES_AT_FORMAT, featuresKnownTo, incompatFeatures } from '../ondisk/features.ts';
import { rulesFor, rulesOf, withMultiDevice } from '../ondisk/format-rules.ts';
import { passNames } from '../ondisk/passes.ts';
import { releaseForWriting } from '../ondisk/releases.ts';
import { sbBits } from '../ondisk/sb-bits.ts';
import { withDowngradeEntries } from '../ondisk/sb-fields/downgrade.ts';
import { withExt } from '../ondisk/sb-fields/ext.ts';
import { fixedOnRead } from '../ondisk/sb-fixups.ts';
import { type Superblock, sectionPayload } from '../ondisk/superblock.ts';
import { downgradeEntries, downgradeNeeds, upgradeNeeds } from '../ondisk/upgrade-downgrade.ts';
import { versionOf, versionText, WRITTEN_VERSIONS } from '../ondisk/versions.ts';
import { Filesystem } from '../opened/filesystem.ts';
import { Reporter } from '../report/reporter.ts';
import { editSuperblock } from '../superblock/edit.ts';
import { type MemberSet, memberSetOf } from '../superblock/member-set.ts';
import { isAllocInfoStripped } from '../superblock/strip-alloc.ts';
import { isCheckPending } from './error-counts.ts';
import { type RecoverOptions, type RecoverReport, recoverSteps } from './recover.ts';

export interface VersionPlan {
  readonly from: number;
  readonly to: number;
  /** Up to which version incompatible features may be used, before and after. */
  readonly allowed: { readonly before: number; readonly after: number };
  /** It was begun before, by a kernel or by us. */
  readonly isBegun: boolean;
  /** Passes that the versions between ask for, by name. */
  readonly passes: readonly string[];
  /** Nothing is to be done. */
  readonly isNone: boolean;
  /** What the superblock says when all is done. */
  readonly sb: Superblock;
  /** And what it says until then. */
  readonly begun: Superblock;
}

const INCOMPAT_FIELD = 1n << BigInt(incompatFeatures.idOf('incompat_version_field'));
const STRIPE_VERSION = versionOf('stripe_backpointers');
const FIX_SAFE = errorActions.idOf('fix_safe');

/** @throws UsageError for a version that it cannot get; IncompatibleError where it has what that version does not know */
export function planVersionChange(
  sb: Superblock,
  { to, isIncompatible = false }: { readonly to: number; readonly isIncompatible?: boolean },
): VersionPlan {
  const from = sb.version;
  const complete = getBits(sb.flags, sbBits.VERSION_UPGRADE_COMPLETE) || from;
  const isBegun = complete < from;
  checkWritable({ ...sb, flags: withBits(sb.flags, sbBits.VERSION_UPGRADE_COMPLETE, from) });
  if (!rulesFor({ version: to }).isWritten)
    throw new UsageError(`${versionText(to)} cannot be written, only ${WRITTEN_VERSIONS} can`, '--to');
  if (isBegun && to < from)
    throw new UsageError(`its upgrade to ${versionText(from)} is to be completed first`, '--to');
  const before = getBits(sb.flags, sbBits.VERSION_INCOMPAT_ALLOWED);
  const hasOptional = releaseForWriting(to) !== '1.13';
  const after = !hasOptional ? 0 : isIncompatible ? Math.max(before, to) : Math.min(before, to);
  if (to < from) refuseDowngrade(sb, to);
  if (isIncompatible && !hasOptional)
    throw new UsageError(`${versionText(to)} has no incompatible features to allow`, '--incompatible');
  const { passes, errors } = to < from ? downgradeNeeds(from, to) : upgradeNeeds(Math.min(from, complete), to);
  const done = finished(sb, to, after);
  const begun = withExt(
    { ...done, flags: withBits(done.flags, sbBits.VERSION_UPGRADE_COMPLETE, Math.min(complete, to)) },
    ext => {
      const [first = 0n, ...others] = ext.recovery_passes_required;
      const silent = [...ext.errors_silent];
      for (const id of errors) silent[id >> 6] = (silent[id >> 6] ?? 0n) | (1n << BigInt(id & 63));
      return { recovery_passes_required: [first | passes, ...others], errors_silent: silent };
    },
  );
  return {
    from,
    to,
    allowed: { before, after },
    isBegun,
    passes: passNames(passes, releaseForWriting(Math.max(from, to))),
    isNone: !isBegun && from === to && before === after,
    sb: done,
    begun,
  };
}

function refuseDowngrade(sb: Superblock, to: number): void {
  const refuse = (detail: string) => {
    throw new IncompatibleError(
      'version_not_writable',
      { field: 'version' },
      `${detail}, which ${versionText(to)} does not know`,
    );
  };
  const used = getBits(sb.flags, sbBits.VERSION_INCOMPAT);
  if (used > to) refuse(`it uses features of ${versionText(used)}`);
  const known = featuresKnownTo(releaseForWriting(to)) | INCOMPAT_FIELD;
  const unknown = incompatFeatures.rows.filter(({ id }) => (((sb.features[0] ?? 0n) & ~known) >> BigInt(id)) & 1n);
  if (unknown.length > 0) refuse(`it has features (${unknown.map(({ name }) => name).join(', ')})`);
}

/** A superblock of another version, clean as before. */
function finished(sb: Superblock, to: number, allowed: number): Superblock {
  const from = sb.version;
  const release = releaseForWriting(to);
  let flags = withBits(sb.flags, sbBits.VERSION_UPGRADE_COMPLETE, to);
  flags = withBits(flags, sbBits.VERSION_INCOMPAT_ALLOWED, allowed);
  const autofix = versionOf('autofix_errors');
  if (from < autofix && to >= autofix) flags = withBits(flags, sbBits.ERROR_ACTION, FIX_SAFE);
  const [features = 0n, ...others] = sb.features;
  let known = features;
  if (allowed > 0) known |= FEATURES_AT_FORMAT | INCOMPAT_FIELD;
  else if (release === '1.13') known &= ~INCOMPAT_FIELD;
  const changed = {
    ...sb,
    version: to,
    version_min: Math.min(sb.version_min, to),
    flags,
    features: [known, ...others],
  };
  const fixed = to > from ? fixedOnRead(changed, release) : changed;
  const multiple = { ...fixed, flags: withMultiDevice(fixed, rulesOf(fixed)) };
  const used = getBits(sb.flags, sbBits.VERSION_INCOMPAT);
  return withDowngradeEntries(
    multiple,
    downgradeEntries(to).filter(({ version }) => version >= used),
  );
}

export interface ChangeVersionOptions
  extends Pick<RecoverOptions, 'onPass' | 'onCommit'>,
    Pick<WriterOptions, 'key' | 'random' | 'now'> {}

/**
 * Carries it out, some of it a step, as recoverSteps does.
 * @param set the members as they are; none is missing
 * @throws UsageError where something is wrong with the filesystem: fsck comes first. Nothing has changed then
 * @throws as the writer does
 */
export function* changeVersionSteps(
  set: MemberSet,
  plan: VersionPlan,
  { key, random, now, ...options }: ChangeVersionOptions,
): Generator<void, RecoverReport, void> {
  assert(!plan.isNone, 'there is something to do');
  refuseUnsound(set, plan, key);
  yield;
  if (!plan.isBegun && !isCheckPending(plan.begun)) {
    editSuperblock(set, () => plan.sb, { now: now() });
    return { seq: undefined, isReplay: false, rounds: 0, remaining: new Map() };
  }
  const as = (sb: Superblock) =>
    memberSetOf(
      set.members.map(member => ({ ...member, sb: { ...sb, dev_idx: member.sb.dev_idx, layout: member.sb.layout } })),
    );
  // What is under way is not changed: it is from the commit on.
  const complete = getBits(plan.begun.flags, sbBits.VERSION_UPGRADE_COMPLETE);
  const withComplete = (sb: Superblock, version: number): Superblock => ({
    ...sb,
    flags: withBits(sb.flags, sbBits.VERSION_UPGRADE_COMPLETE, version),
  });
  const writer = new FilesystemWriter(as(withComplete(plan.begun, plan.to)), { key, random, now, isRepair: true });
  const report = yield* recoverSteps(writer, {
    reporter: new Reporter({ policy: { kind: 'yes' } }),
    remade: ['accounting', 'backpointers'],
    superblockBegun: sb => withComplete(sb, complete),
    superblockWhole: sb => withComplete(sb, plan.to),
    ...options,
  });
  return report;
}

/** What is repaired with the change is what follows from the version; all else is for a person to decide about. */
function refuseUnsound(set: MemberSet, { from, isBegun }: VersionPlan, key: Uint8Array | undefined): void {
  const { sb, device } = set.newest;
  if (set.missing.length > 0) throw new UsageError('all members are needed', undefined, 'member_missing');
  if (isAllocInfoStripped(sb)) {
    const detail = 'its allocation info was dropped (strip-alloc); a mount for writing rebuilds it';
    throw new IncompatibleError('no_alloc_info', { device: device.name }, detail);
  }
  const refuse = (why: string) => {
    throw new UsageError(`${device.name}: ${why}: run fsck first`, undefined, 'check_first');
  };
  const isClean = getBits(sb.flags, sbBits.CLEAN) === 1 && sectionPayload(sb, 'clean') !== undefined;
  if (isBegun) {
    // Stopped before its commit or after it.
    const versions = [getBits(sb.flags, sbBits.VERSION_UPGRADE_COMPLETE), from];
    if (!versions.some(version => isSound(set, { ...sb, version }, key))) refuse('something is wrong with it');
    return;
  }
  if (!isClean) refuse('it was not unmounted');
  if (isCheckPending(sb)) refuse('a check is due');
  if (!isSound(set, sb, key)) refuse('something is wrong with it');
}

function isSound(set: MemberSet, sb: Superblock, key: Uint8Array | undefined): boolean {
  const members = set.members.map(member => (member === set.newest ? { ...member, sb } : member));
  const as = memberSetOf(members);
  const filesystem = new Filesystem(as, readReplayState(as, key), key);
  const stripes = filesystem.btree(btrees.idOf('stripes'));
  for (const _ of stripes.keys()) {
    throw new IncompatibleError(
      'version_not_writable',
      { field: 'version' },
      `it has stripes, which have backpointers since ${versionText(STRIPE_VERSION)}: a kernel has to make the change`,
    );
  }
  return checkInvariants(filesystem).findings.length === 0;
}
