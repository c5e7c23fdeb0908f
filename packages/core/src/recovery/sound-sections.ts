// Superblocks in which a section is broken under a checksum that is right. Nothing can be written by such a superblock, so this comes before
// all else; what it puts right is written with the repairs. Where another copy that was written together with it has the section whole, on
// the same member or, but for what is each member's own, on another, that is taken; else what the rest of the filesystem knows of it:
//
// - Members: members_v1 has the first fields of each member of members_v2; a state that is not known in either becomes rw. Counts of errors begin anew; where the list of places with nodes is
//   broken, a scan looks everywhere.
// - The journal: its buckets are those that the alloc keys give to it, and those in which an entry begins.
// - Replicas are counted anew with everything else; downgrade is made by the next mount; without `clean` the journal is replayed; counters and
//   counts of errors are only statistics.
//
// Errors: those that the sections' own validation raises. Memory: the superblocks, and the buckets of the journal.
// Source: bch2_sb_members_cpy_v2_v1 in sb-members.c, bch2_sb_downgrade_update in sb-downgrade.c, v1.13.0.

import { readBytes } from '../device/block-device.ts';
import { readJournal } from '../journal/journal.ts';
import { readReplayState } from '../journal/replay.ts';
import { getBits, withBits } from '../ondisk/bits.ts';
import { CorruptError, DeviceError } from '../ondisk/errors.ts';
import { Jset, jsetMagic } from '../ondisk/jset.ts';
import { viewOf } from '../ondisk/layout.ts';
import { memberBits } from '../ondisk/member-bits.ts';
import { memberStates } from '../ondisk/member-states.ts';
import { sbBits } from '../ondisk/sb-bits.ts';
import { type SbFieldName, sbFieldIds } from '../ondisk/sb-field-ids.ts';
import { sbFieldKind } from '../ondisk/sb-fields/index.ts';
import type { SbProblem } from '../ondisk/sb-fields/kind.ts';
import {
  BchMember,
  MEMBER_V1_BYTES,
  type Member,
  memberAlive,
  memberAt,
  members,
  withMembers,
} from '../ondisk/sb-fields/members.ts';
import { type Superblock, sectionPayload, withSection } from '../ondisk/superblock.ts';
import { Filesystem } from '../opened/filesystem.ts';
import { type Finding, findingOf } from '../report/finding.ts';
import { type MemberSet, memberSetOf, type OpenMember } from '../superblock/member-set.ts';
import { wholeCopyAt } from '../superblock/read.ts';
import { roundDown, SECTOR_BYTES, sectorsToBytes } from '../util/sizes.ts';
import { JOURNAL_BUCKETS_MIN, notedBuckets, withJournal } from './contested-journal.ts';

export interface SoundMembers {
  /** The same members where nothing is wrong. */
  readonly set: MemberSet;
  readonly findings: readonly Finding[];
  /** Those whose journal is still to be found: `soundJournals` does it. */
  readonly journalless: readonly OpenMember[];
}

/** What a filesystem can be opened without. */
const WITHDRAWN: readonly SbFieldName[] = ['replicas', 'replicas_v0', 'downgrade', 'clean', 'counters', 'errors'];
const JOURNALS: readonly SbFieldName[] = ['journal', 'journal_v2'];
const WORD_BYTES = 8;
/** Bits of btree_allocated_bitmap. */
const BITMAP_BITS = 64;
const V2_HEADER_BYTES = 8;

/**
 * Everything but journals.
 * @throws CorruptError where members are beyond repair, UsageError when the members do not belong together
 */
export function soundSections(opened: readonly OpenMember[]): SoundMembers {
  const findings: Finding[] = [];
  const journalless: OpenMember[] = [];
  const sound = opened.map(member => {
    const { device } = member;
    const note = ({ error, detail, where }: SbProblem) =>
      findings.push(findingOf({ error, detail }, { device: device.name, ...where }));
    let sb = soundMembers(withSectionsOfCopies(member, opened, note), opened, note);
    for (const name of WITHDRAWN) {
      const [problem] = problemsOf(sb, name);
      if (problem === undefined) continue;
      note(problem);
      sb = withSection(sb, name, undefined);
    }
    const [wrong] = JOURNALS.flatMap(name => problemsOf(sb, name));
    if (wrong !== undefined) {
      note(wrong);
      sb = JOURNALS.reduce((edited, name) => withSection(edited, name, undefined), sb);
    }
    const fixed = sb === member.sb ? member : { ...member, sb };
    if (wrong !== undefined) journalless.push(fixed);
    return fixed;
  });
  return { set: memberSetOf(sound), findings, journalless };
}

/**
 * Gives members their journals back.
 * @param key the master key of an encrypted filesystem
 * @returns the members as they are where too little of a journal is found: nothing can be written then
 */
export function soundJournals(sound: SoundMembers, key: Uint8Array | undefined): Omit<SoundMembers, 'journalless'> {
  const { set } = sound;
  const isClean = getBits(set.newest.sb.flags, sbBits.CLEAN) === 1;
  const { journalless, findings } = isClean ? sound : elsewhere(sound, key);
  if (journalless.length === 0) return { set, findings };
  const replaced = (bucketsOf: (member: OpenMember) => readonly number[]): MemberSet =>
    memberSetOf(
      set.members.map(member =>
        journalless.includes(member) ? { ...member, sb: withJournal(member.sb, bucketsOf(member)) } : member,
      ),
    );
  const begun = new Map(journalless.map(member => [member, bucketsWithEntries(member, set.newest.sb)]));
  if ([...begun.values()].every(buckets => buckets.length === 0) && !isClean) return { set, findings };
  const replayable = replaced(member => begun.get(member) ?? []);
  const filesystem = new Filesystem(replayable, readReplayState(replayable, key), key);
  const corrected = replaced(member => {
    const all = new Set([...(begun.get(member) ?? []), ...notedBuckets(filesystem, member.sb.dev_idx)]);
    return all.size < JOURNAL_BUCKETS_MIN ? [] : [...all].sort((a, b) => a - b);
  });
  return { set: corrected, findings };
}

/** Where the journal is to be replayed and none of its buckets has an entry, it is somewhere else. */
function elsewhere(sound: SoundMembers, key: Uint8Array | undefined): SoundMembers {
  const { set, findings, journalless } = sound;
  if (journalless.length > 0 || readJournal(set, key).entries.length > 0) return sound;
  const detail = 'no entry is in any of the buckets that it gives to the journal';
  const noted = set.members.map(({ device }) =>
    findingOf({ error: 'invalid_sb_journal', detail }, { device: device.name, field: 'journal_v2' }),
  );
  return { set, findings: [...findings, ...noted], journalless: set.members };
}

/** What validation says of one section; nothing where it is absent. */
function problemsOf(sb: Superblock, name: SbFieldName): readonly SbProblem[] {
  const payload = sectionPayload(sb, name);
  const kind = sbFieldKind(sbFieldIds.idOf(name));
  if (payload === undefined || kind === undefined) return [];
  try {
    return kind.validate(kind.decode(payload, sb), sb);
  } catch (thrown) {
    if (!(thrown instanceof CorruptError)) throw thrown;
    return [{ error: thrown.error, where: { field: name, ...thrown.where }, detail: thrown.detail }];
  }
}

/** What is wrong with a section, by itself and beside the others. */
function problemWith(sb: Superblock, name: SbFieldName, opened: readonly OpenMember[]): SbProblem | undefined {
  const [own] = problemsOf(sb, name);
  if (own !== undefined) return own;
  if (name === 'members_v2') return problemOfMembers(sb, opened);
  const isKeyless = name === 'crypt' && sectionPayload(sb, 'crypt') === undefined;
  if (!isKeyless || getBits(sb.flags, sbBits.ENCRYPTION_TYPE) === 0) return undefined;
  return { error: 'invalid_sb_crypt', where: { field: 'crypt' }, detail: 'the section with the key is missing' };
}

/** Broken sections as other copies have them that are of the same write. */
function withSectionsOfCopies(
  member: OpenMember,
  opened: readonly OpenMember[],
  note: (problem: SbProblem) => void,
): Superblock {
  let { sb } = member;
  let copies: readonly Superblock[] | undefined;
  let others: readonly Superblock[] | undefined;
  for (const { name, singleDevice } of sbFieldIds.rows) {
    const problem = problemWith(sb, name, opened);
    if (problem === undefined) continue;
    copies ??= copiesOfWrite(member, member.sb);
    others ??= opened.flatMap(one => (one === member ? [] : copiesOfWrite(one, member.sb)));
    for (const copy of singleDevice ? copies : [...copies, ...others]) {
      const payload = sectionPayload(copy, name);
      if (payload === undefined) continue;
      const attempt = withSection(sb, name, payload);
      if (problemWith(attempt, name, opened) !== undefined) continue;
      note(problem);
      sb = attempt;
      break;
    }
  }
  return sb;
}

/** Copies on a member that were written together with a superblock. */
const copiesOfWrite = ({ device, sb: own }: OpenMember, { uuid, seq }: Superblock): readonly Superblock[] =>
  own.layout.sb_offset.slice(0, own.layout.nr_superblocks).flatMap(sector => {
    const copy = wholeCopyAt(device, Number(sector), uuid)?.sb;
    return copy?.seq === seq ? [copy] : [];
  });

/** The first fields of members from members_v1, and nothing in those that have to be right. */
function soundMembers(sb: Superblock, opened: readonly OpenMember[], note: (problem: SbProblem) => void): Superblock {
  const own = problemsOf(sb, 'members_v2')[0] ?? problemOfMembers(sb, opened);
  if (own === undefined) {
    const [older] = problemsOf(sb, 'members_v1');
    if (older === undefined) return sb;
    note(older);
    return withMembers(sb, members(sb));
  }
  for (const attempt of [fromV1(sb, false), fromV1(sb, true)]) {
    if (attempt === undefined || problemsOf(attempt, 'members_v2').length > 0) continue;
    if (problemOfMembers(attempt, opened) !== undefined) continue;
    note(own);
    return attempt;
  }
  const working = withKnownStates(sb);
  if (problemsOf(working, 'members_v2').length > 0 || problemOfMembers(working, opened) !== undefined) return sb;
  note(own);
  return working;
}

/** What validation leaves open. */
const problemOfMembers = (sb: Superblock, opened: readonly OpenMember[]): SbProblem | undefined =>
  problemOfEntries(sb) ?? problemOfStates(sb) ?? problemOfSizes(opened, sb);

/** A kernel neither reads nor writes a member whose state it does not know, and says nothing of it. */
function problemOfStates(sb: Superblock): SbProblem | undefined {
  const index = members(sb).findIndex(member => memberAlive(member) && !hasKnownState(member));
  if (index < 0) return undefined;
  const states = memberStates.rows.map(({ name }) => name).join(', ');
  const detail = `state ${memberState(members(sb)[index]!)}, expected one of ${states}`;
  return { error: 'invalid_sb_members', where: { field: `members_v2[${index}].flags` }, detail };
}

/** Nothing says any more which it was: a member that works can be read, and be taken out of use again. */
function withKnownStates(sb: Superblock): Superblock {
  const known = (member: Member): Member =>
    !memberAlive(member) || hasKnownState(member)
      ? member
      : { ...member, flags: withBits([member.flags], memberBits.STATE, memberStates.idOf('rw'))[0]! };
  return withMembers(sb, members(sb).map(known));
}

const memberState = ({ flags }: Member): number => getBits([flags], memberBits.STATE);
const hasKnownState = (member: Member): boolean => memberStates.byId(memberState(member)) !== undefined;

/** Every release makes them of whole words. */
function problemOfEntries(sb: Superblock): SbProblem | undefined {
  const v2 = sectionPayload(sb, 'members_v2');
  if (v2 === undefined) return undefined;
  const bytes = viewOf(v2).getUint16(0, true);
  if (bytes % WORD_BYTES === 0) return undefined;
  const detail = `entries of ${bytes} bytes, expected a multiple of ${WORD_BYTES}`;
  return { error: 'invalid_sb_members', where: { field: 'members_v2' }, detail };
}

/** A member is longer than its device. */
function problemOfSizes(opened: readonly OpenMember[], sb: Superblock): SbProblem | undefined {
  for (const { device, sb: own } of opened) {
    const member = memberAt(sb, own.dev_idx);
    if (member === undefined || member.bucket_size === 0) continue;
    const possible = Math.floor(device.sizeBytes / sectorsToBytes(member.bucket_size));
    if (member.nbuckets <= possible) continue;
    const detail = `${member.nbuckets} buckets, ${device.name} ends after ${possible}`;
    return { error: 'invalid_sb_members', where: { field: `members_v2[${own.dev_idx}].nbuckets` }, detail };
  }
  return undefined;
}

/** @param isReset what members_v1 does not have begins anew */
function fromV1(sb: Superblock, isReset: boolean): Superblock | undefined {
  const v1 = sectionPayload(sb, 'members_v1');
  const v2 = sectionPayload(sb, 'members_v2');
  if (v1 === undefined || v2 === undefined || problemsOf(sb, 'members_v1').length > 0) return undefined;
  const count = Math.min(sb.nr_devices, Math.floor(v1.length / MEMBER_V1_BYTES));
  const stored = viewOf(v2).getUint16(0, true);
  const most = roundDown(Math.floor((v2.length - V2_HEADER_BYTES) / Math.max(1, count)), WORD_BYTES);
  const bytes = isInPlace(v1, v2, stored, count) ? stored : most;
  if (bytes < MEMBER_V1_BYTES || V2_HEADER_BYTES + bytes * count > v2.length) return undefined;
  const changed = v2.slice();
  const view = viewOf(changed);
  view.setUint16(0, bytes, true);
  for (let i = 0; i < count; i++) {
    const entry = V2_HEADER_BYTES + i * bytes;
    changed.set(v1.subarray(i * MEMBER_V1_BYTES, (i + 1) * MEMBER_V1_BYTES), entry);
    if (!isReset) continue;
    changed.fill(0, entry + BchMember.offset.errors, entry + Math.min(bytes, BchMember.offset.seq));
    if (bytes < BchMember.offset.last_journal_bucket) continue;
    const { nbuckets, bucket_size } = BchMember.get(viewOf(padded(v1, i)), 0);
    const sectors = Math.max(1, nbuckets * bucket_size);
    changed[entry + BchMember.offset.btree_bitmap_shift] = Math.max(0, Math.ceil(Math.log2(sectors / BITMAP_BITS)));
    view.setBigUint64(entry + BchMember.offset.btree_allocated_bitmap, 0xffff_ffff_ffff_ffffn, true);
  }
  return withSection(sb, 'members_v2', changed);
}

function padded(v1: Uint8Array, index: number): Uint8Array {
  const entry = new Uint8Array(BchMember.size);
  entry.set(v1.subarray(index * MEMBER_V1_BYTES, (index + 1) * MEMBER_V1_BYTES));
  return entry;
}

/** Whether entries of that length begin with the UUIDs of members_v1, all but one at the most. */
function isInPlace(v1: Uint8Array, v2: Uint8Array, bytes: number, count: number): boolean {
  if (bytes % WORD_BYTES !== 0 || bytes < MEMBER_V1_BYTES || V2_HEADER_BYTES + bytes * count > v2.length) return false;
  const uuidBytes = BchMember.offset.nbuckets;
  let others = 0;
  for (let i = 0; i < count; i++) {
    const [a, b] = [i * MEMBER_V1_BYTES, V2_HEADER_BYTES + i * bytes];
    if (!v1.subarray(a, a + uuidBytes).every((byte, at) => byte === v2[b + at])) others++;
  }
  return others <= 1;
}

/** Buckets of a device that begin with a journal entry of the filesystem. */
function bucketsWithEntries({ device, sb: own }: OpenMember, sb: Superblock): readonly number[] {
  const member = memberAt(sb, own.dev_idx);
  if (member === undefined || member.bucket_size === 0) return [];
  const magic = jsetMagic(sb.uuid);
  const found: number[] = [];
  const bucketBytes = sectorsToBytes(member.bucket_size);
  const end = Math.min(member.nbuckets, Math.floor(device.sizeBytes / bucketBytes));
  for (let bucket = member.first_bucket; bucket < end; bucket++) {
    if (magicAt(device, bucket * bucketBytes) === magic) found.push(bucket);
  }
  return found;
}

/** Undefined where it cannot be read. */
function magicAt(device: OpenMember['device'], offset: number): bigint | undefined {
  try {
    return viewOf(readBytes(device, offset, SECTOR_BYTES)).getBigUint64(Jset.offset.magic, true);
  } catch (thrown) {
    if (thrown instanceof DeviceError && thrown.kind === 'io') return undefined;
    throw thrown;
  }
}
