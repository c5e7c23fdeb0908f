// Sections `members_v1` (56 bytes a device) and `members_v2` (`member_bytes` a device): one struct bch_member per device
// slot, at the index that pointers use. The struct has only ever grown at its end, and each release knows as much of it as it
// knows: entries shorter than our declaration read as zeroes beyond their end, longer ones keep the rest as `tail`, and both are
// written back at the length they had. A slot whose UUID is zero is free, one with MEMBER_DELETED_UUID was removed.
// Text, JSON and validation are in members-field.ts. Source: sb/members_format.h, v1.13.0 to v1.39.2.

import { assert, CorruptError, locate } from '../errors.ts';
import { array, at, bytes, count64, i64, layout, type Struct, u8, u16, u32, u64, uuid, viewOf } from '../layout.ts';
import { MEMBER_DELETED_UUID } from '../member-states.ts';
import { type Superblock, sectionPayload, withSection } from '../superblock.ts';

/** struct bch_member, v1.39.2. v1.13.0's ends with last_journal_bucket_offset, v1.36.1's with device_model. */
export const BchMember = layout('bch_member', 328, {
  uuid: at(0, uuid),
  nbuckets: at(16, count64),
  first_bucket: at(24, u16), // index of the first bucket that is used
  bucket_size: at(26, u16), // sectors
  btree_bitmap_shift: at(28, u8), // base-2 logarithm of the sectors that one bit of btree_allocated_bitmap stands for
  pad: at(29, bytes(3)),
  last_mount: at(32, i64), // seconds since 1970; 0: never
  flags: at(40, u64), // see member-bits.ts
  iops: at(48, array(u32, 4)), // see iopsMeasurements
  errors: at(64, array(count64, 3)), // since creation; see memberErrorTypes
  errors_at_reset: at(88, array(count64, 3)),
  errors_reset_time: at(112, i64), // seconds since 1970
  seq: at(120, count64), // the superblock's sequence number when it was last written to this device
  btree_allocated_bitmap: at(128, u64), // where a scan for btree nodes has to look
  last_journal_bucket: at(136, u32),
  last_journal_bucket_offset: at(140, u32),
  device_name: at(144, bytes(16)),
  device_model: at(160, bytes(64)),
  flush_errors: at(224, count64),
  device_serial: at(232, bytes(64)),
  failure_domain: at(296, bytes(32)),
});
export type BchMember = Struct<typeof BchMember>;

export const MEMBER_V1_BYTES = 56;
/** What v1.13 writes; each later release adds fields at the end. */
export const MEMBER_1_13_BYTES = BchMember.offset.device_name;

/** Of a slot without a device. */
export const MEMBER_NIL_UUID = '00000000-0000-0000-0000-000000000000';

/** BCH_MI_BTREE_BITMAP_SHIFT_MAX, exclusive. */
export const MEMBER_BITMAP_SHIFT_MAX = 58;

/** One device slot. `tail` is what the entry holds beyond the members that we know. */
export interface Member extends BchMember {
  readonly tail: Uint8Array;
}

export interface MembersField {
  /** Bytes of one entry: 56 in members_v1. */
  readonly member_bytes: number;
  readonly members: readonly Member[];
  /** Bytes after the last whole entry. */
  readonly rest: Uint8Array;
}

/** The bytes before the entries of members_v2: member_bytes and padding. */
const V2_HEADER_BYTES = 8;
/** More entries than any version allows devices are not looked at; they stay in `rest`. */
const ENTRIES_MAX = 256;

const NO_BYTES = new Uint8Array(0);

/** A free slot. */
export function blankMember(): Member {
  return { ...BchMember.get(new DataView(new ArrayBuffer(BchMember.size)), 0), tail: NO_BYTES };
}

/** Whether the slot holds a device. */
export function memberAlive(member: Member): boolean {
  return member.uuid !== MEMBER_NIL_UUID && member.uuid !== MEMBER_DELETED_UUID;
}

/**
 * All device slots, by index; free and deleted ones included. From members_v2, else members_v1; empty when there is neither.
 * @throws CorruptError invalid_sb_members
 */
export function members(sb: Superblock): readonly Member[] {
  return (membersField(sb)?.members ?? []).slice(0, sb.nr_devices);
}

/** The member at an index, if there is a device. */
export function memberAt(sb: Superblock, index: number): Member | undefined {
  const member = members(sb)[index];
  return member !== undefined && memberAlive(member) ? member : undefined;
}

export function memberExists(sb: Superblock, index: number): boolean {
  return memberAt(sb, index) !== undefined;
}

function membersField(sb: Superblock): MembersField | undefined {
  const v2 = sectionPayload(sb, 'members_v2');
  if (v2 !== undefined) return decodeMembersV2(v2);
  const v1 = sectionPayload(sb, 'members_v1');
  return v1 === undefined ? undefined : decodeMembersV1(v1);
}

/** How many bytes of each member the superblock keeps: what lies beyond reads as zero and cannot be set. */
export function memberBytes(sb: Superblock): number {
  return membersField(sb)?.member_bytes ?? 0;
}

/** A copy of the superblock with one member changed, in whichever of the two sections it has. The slot must be there. */
export function withMember(sb: Superblock, index: number, change: (member: Member) => Member): Superblock {
  const field = membersField(sb);
  const member = field?.members[index];
  assert(field !== undefined && member !== undefined, `the superblock has no slot for member ${index}`);
  return withMembers(sb, field.members.with(index, change(member)));
}

/**
 * A copy of the superblock with these members, in the sections that it has (members_v2 when it has none).
 * `nr_devices` is the caller's business.
 * @param memberBytes the length of a members_v2 entry; as it was, else v1.13's
 */
export function withMembers(sb: Superblock, changed: readonly Member[], memberBytes?: number): Superblock {
  const v1 = sectionPayload(sb, 'members_v1');
  const v2 = sectionPayload(sb, 'members_v2');
  let result = sb;
  if (v2 !== undefined || v1 === undefined || memberBytes !== undefined) {
    const before = v2 === undefined ? undefined : decodeMembersV2(v2);
    const member_bytes = memberBytes ?? before?.member_bytes ?? MEMBER_1_13_BYTES;
    // What follows the last entry stays only while the entries keep their places.
    const sameEntries = before?.member_bytes === member_bytes && before.members.length === changed.length;
    const rest = sameEntries ? before.rest : NO_BYTES;
    result = withSection(result, 'members_v2', encodeMembersV2({ member_bytes, members: changed, rest }));
  }
  if (v1 !== undefined) {
    result = withSection(
      result,
      'members_v1',
      encodeMembersV1({ member_bytes: MEMBER_V1_BYTES, members: changed, rest: NO_BYTES }),
    );
  }
  return result;
}

export function decodeMembersV1(payload: Uint8Array): MembersField {
  return decodeEntries(payload, MEMBER_V1_BYTES, 'members_v1');
}

export function decodeMembersV2(payload: Uint8Array): MembersField {
  const field = 'members_v2';
  if (payload.length < V2_HEADER_BYTES) {
    throw new CorruptError('invalid_sb_members', { field }, 'the section ends before its first entry');
  }
  const memberBytes = viewOf(payload).getUint16(0, true);
  if (memberBytes === 0) throw new CorruptError('invalid_sb_members', { field }, 'member_bytes is 0');
  return decodeEntries(payload.subarray(V2_HEADER_BYTES), memberBytes, field);
}

function decodeEntries(source: Uint8Array, memberBytes: number, field: string): MembersField {
  const count = Math.min(Math.floor(source.length / memberBytes), ENTRIES_MAX);
  const entries = Array.from({ length: count }, (_, i) =>
    locate({ field: `${field}[${i}]` }, () => decodeMember(source.subarray(i * memberBytes, (i + 1) * memberBytes))),
  );
  return { member_bytes: memberBytes, members: entries, rest: source.slice(count * memberBytes) };
}

/** @param entry one entry, of any length */
function decodeMember(entry: Uint8Array): Member {
  const known = new Uint8Array(BchMember.size);
  known.set(entry.subarray(0, BchMember.size));
  return { ...BchMember.get(viewOf(known), 0), tail: entry.slice(BchMember.size) };
}

export function encodeMembersV1(value: MembersField): Uint8Array {
  const target = new Uint8Array(MEMBER_V1_BYTES * value.members.length + value.rest.length);
  value.members.forEach((member, i) => {
    // The section is a copy for old readers: what does not fit is in members_v2.
    target.set(encodeMember(member).subarray(0, MEMBER_V1_BYTES), i * MEMBER_V1_BYTES);
  });
  target.set(value.rest, MEMBER_V1_BYTES * value.members.length);
  return target;
}

/** @throws CorruptError when the entries, as long as the image has them, have no room for what is set */
export function encodeMembersV2(value: MembersField): Uint8Array {
  const { member_bytes: memberBytes } = value;
  const target = new Uint8Array(V2_HEADER_BYTES + memberBytes * value.members.length + value.rest.length);
  viewOf(target).setUint16(0, memberBytes, true);
  value.members.forEach((member, i) => {
    const entry = encodeMember(member);
    const lost = entry.subarray(memberBytes).some(byte => byte !== 0);
    if (lost) {
      const short = `the section keeps ${memberBytes} bytes of each device: no room for what is to be set of member ${i}`;
      throw new CorruptError('invalid_sb_members', { field: 'members_v2' }, short);
    }
    target.set(entry.subarray(0, memberBytes), V2_HEADER_BYTES + i * memberBytes);
  });
  target.set(value.rest, V2_HEADER_BYTES + memberBytes * value.members.length);
  return target;
}

function encodeMember(member: Member): Uint8Array {
  const target = new Uint8Array(BchMember.size + member.tail.length);
  BchMember.put(viewOf(target), 0, member);
  target.set(member.tail, BchMember.size);
  return target;
}
