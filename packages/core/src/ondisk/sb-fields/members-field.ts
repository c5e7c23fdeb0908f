// How members are judged and shown: the rows of `members_v1` and `members_v2` in the table of sections.
// Source: sb/members.c, v1.36.1 and v1.39.2.

import { printable } from '../../util/byte-text.ts';
import { humanText } from '../../util/human.ts';
import type { PrintBuffer } from '../../util/print-buffer.ts';
import { getBits } from '../bits.ts';
import { CorruptError } from '../errors.ts';
import { memberBits } from '../member-bits.ts';
import {
  iopsMeasurements,
  MAX_BUCKETS,
  MEMBER_DELETED_UUID,
  MIN_BUCKETS,
  memberErrorTypes,
  memberInitializedStates,
  memberStates,
} from '../member-states.ts';
import { sbBits } from '../sb-bits.ts';
import type { Superblock } from '../superblock.ts';
import { memberDurability } from './devices.ts';
import { type BchDiskGroup, diskGroups, labelPath, labelText, memberGroup } from './disk-groups.ts';
import { problem, type SbFieldKind, type SbProblem, type SbTextContext } from './kind.ts';
import {
  decodeMembersV1,
  decodeMembersV2,
  encodeMembersV1,
  encodeMembersV2,
  MEMBER_BITMAP_SHIFT_MAX,
  type Member,
  type MembersField,
  memberAlive,
} from './members.ts';
import { dataTypeNames, dataTypesByDevice, replicas } from './replicas.ts';

/** Text up to the first NUL. */
function textOf(source: Uint8Array): string {
  const end = source.indexOf(0);
  return new TextDecoder().decode(end < 0 ? source : source.subarray(0, end));
}

/** What other sections say about members, looked up once for all of them. */
export interface MemberSurroundings {
  readonly groups: readonly BchDiskGroup[];
  /** Masks of data types by device. */
  readonly dataTypes: ReadonlyMap<number, bigint>;
}

/** What cannot be taken apart counts as empty here: its own text says what is wrong with it. */
export function memberSurroundings(sb: Superblock): MemberSurroundings {
  try {
    return { groups: diskGroups(sb), dataTypes: dataTypesByDevice(replicas(sb)) };
  } catch (thrown) {
    if (thrown instanceof CorruptError) return { groups: diskGroups(sb), dataTypes: new Map() };
    throw thrown;
  }
}

function memberProblems(member: Member, index: number, field: string, sb: Superblock): SbProblem[] {
  const problems: SbProblem[] = [];
  const wrong = (name: string, detail: string) =>
    problems.push(problem('invalid_sb_members', `${field}[${index}].${name}`, `device ${index}: ${detail}`));
  const { nbuckets, first_bucket, bucket_size } = member;
  const nodeSize = getBits(sb.flags, sbBits.BTREE_NODE_SIZE);
  if (nbuckets > MAX_BUCKETS) wrong('nbuckets', `too many buckets (got ${nbuckets}, max ${MAX_BUCKETS})`);
  // 64 is what v1.13 asks for, and what is written today may be as small.
  if (nbuckets - first_bucket < MIN_BUCKETS['1.13']) {
    wrong('nbuckets', `not enough buckets (got ${nbuckets - first_bucket}, min ${MIN_BUCKETS['1.13']})`);
  }
  if (bucket_size < sb.block_size) {
    wrong('bucket_size', `bucket size ${bucket_size} smaller than block size ${sb.block_size}`);
  }
  if (bucket_size < nodeSize)
    wrong('bucket_size', `bucket size ${bucket_size} smaller than btree node size ${nodeSize}`);
  if (member.btree_bitmap_shift >= MEMBER_BITMAP_SHIFT_MAX) {
    wrong('btree_bitmap_shift', `invalid btree_bitmap_shift ${member.btree_bitmap_shift}`);
  }
  return problems;
}

function validate(value: MembersField, sb: Superblock, field: string): SbProblem[] {
  if (value.members.length < sb.nr_devices) {
    const detail = `section too small: it has ${value.members.length} entries, there are ${sb.nr_devices} devices`;
    return [problem('invalid_sb_members', field, detail)];
  }
  // Free slots are all zeroes, which the reference only accepts because removing a device leaves the rest of its entry.
  return value.members
    .slice(0, sb.nr_devices)
    .flatMap((member, i) => (memberAlive(member) ? memberProblems(member, i, field, sb) : []));
}

/** Prints one member, a line per field. Mirrors bch2_member_to_text. */
export function memberText(
  out: PrintBuffer,
  member: Member,
  index: number,
  around: MemberSurroundings,
  context: SbTextContext,
): void {
  const { style } = context;
  const line = (label: string, value: string | number | bigint) => out.print(`${label}:\t${value}\n`);
  const human = (bytes: number | bigint) => humanText(bytes, style);
  const bit = (range: (typeof memberBits)[keyof typeof memberBits]) => getBits([member.flags], range);
  const names = (found: readonly string[]) => (found.length === 0 ? '(none)' : found.join(','));

  const group = memberGroup(member);
  line('Label', group === undefined ? '(none)' : labelText(around.groups, group));
  const failureDomain = printable(textOf(member.failure_domain));
  if (style !== '1.36' && failureDomain !== '') line('Failure domain', failureDomain);
  line('UUID', member.uuid);
  line('Size', human(BigInt(member.nbuckets) * BigInt(member.bucket_size) * 512n));
  for (const { id, name } of memberErrorTypes.rows) line(`${name} errors`, member.errors[id]!);
  for (const { id, name } of iopsMeasurements.rows) line(`${name} iops`, member.iops[id]!);
  line('Bucket size', human(member.bucket_size * 512));
  line('First bucket', member.first_bucket);
  line('Buckets', member.nbuckets);
  line('Last mount', member.last_mount === 0n ? '(never)' : context.dateTime(member.last_mount));
  line('Last superblock write', member.seq);
  line('State', memberStates.byId(bit(memberBits.STATE))?.name ?? 'unknown');
  line('Data allowed', names(dataTypeNames(BigInt(bit(memberBits.DATA_ALLOWED)))));
  line('Has data', names(dataTypeNames(around.dataTypes.get(index) ?? 0n)));
  line('Rotational', bit(memberBits.ROTATIONAL));
  const shift = member.btree_bitmap_shift;
  line('Btree allocated bitmap blocksize', shift < 64 ? human(1n << BigInt(shift)) : `(invalid shift ${shift})`);
  line('Btree allocated bitmap', member.btree_allocated_bitmap.toString(2).padStart(64, '0'));
  line('Durability', memberDurability(member));
  line('Discard', bit(memberBits.DISCARD));
  line('Freespace initialized', bit(memberBits.FREESPACE_INITIALIZED));
  line('Resize on mount', bit(memberBits.RESIZE_ON_MOUNT));
  line('Last device name', printable(textOf(member.device_name)));
  line('Last device model', printable(textOf(member.device_model)));
  if (style === '1.36') return;
  line('Last device serial', printable(textOf(member.device_serial)));
  if (member.flush_errors > 0) line('Flush errors', member.flush_errors);
}

/** Prints the section alone, as `--field-only` does. */
function text(out: PrintBuffer, value: MembersField, context: SbTextContext): void {
  const { nr_devices } = context.sb;
  if (value.members.length !== nr_devices) {
    out.print(`nr_devices mismatch: have ${value.members.length} entries, should be ${nr_devices}\n`);
  }
  const around = memberSurroundings(context.sb);
  value.members.slice(0, nr_devices).forEach((member, index) => {
    if (!memberAlive(member)) return;
    out.print(`Device:\t${index}\n`);
    out.indented(() => memberText(out, member, index, around, context));
  });
}

/** One member as a plain value. */
function memberJson(member: Member, index: number, around: MemberSurroundings): unknown {
  if (member.uuid === MEMBER_DELETED_UUID) return { index, deleted: true };
  const bit = (range: (typeof memberBits)[keyof typeof memberBits]) => getBits([member.flags], range);
  const group = memberGroup(member);
  return {
    index,
    uuid: member.uuid,
    label: group === undefined ? null : (labelPath(around.groups, group) ?? null),
    size: member.nbuckets * member.bucket_size * 512,
    bucket_size: member.bucket_size * 512,
    first_bucket: member.first_bucket,
    buckets: member.nbuckets,
    state: memberStates.nameOf(bit(memberBits.STATE)),
    data_allowed: dataTypeNames(BigInt(bit(memberBits.DATA_ALLOWED))),
    has_data: dataTypeNames(around.dataTypes.get(index) ?? 0n),
    durability: memberDurability(member),
    discard: bit(memberBits.DISCARD) !== 0,
    rotational: bit(memberBits.ROTATIONAL_SET) === 0 ? null : bit(memberBits.ROTATIONAL) !== 0,
    freespace_initialized: bit(memberBits.FREESPACE_INITIALIZED) !== 0,
    resize_on_mount: bit(memberBits.RESIZE_ON_MOUNT) !== 0,
    initialized: memberInitializedStates.nameOf(bit(memberBits.INITIALIZED)),
    last_mount: member.last_mount === 0n ? null : member.last_mount,
    seq: member.seq,
    errors: Object.fromEntries(memberErrorTypes.rows.map(({ id, name }) => [name, member.errors[id]])),
    errors_at_reset: Object.fromEntries(
      memberErrorTypes.rows.map(({ id, name }) => [name, member.errors_at_reset[id]]),
    ),
    errors_reset_time: member.errors_reset_time === 0n ? null : member.errors_reset_time,
    flush_errors: member.flush_errors,
    iops: Object.fromEntries(iopsMeasurements.rows.map(({ id, name }) => [name, member.iops[id]])),
    btree_bitmap_shift: member.btree_bitmap_shift,
    btree_allocated_bitmap: member.btree_allocated_bitmap.toString(16).padStart(16, '0'),
    last_journal_bucket: member.last_journal_bucket,
    last_journal_bucket_offset: member.last_journal_bucket_offset,
    device_name: textOf(member.device_name),
    device_model: textOf(member.device_model),
    device_serial: textOf(member.device_serial),
    failure_domain: textOf(member.failure_domain),
    flags: member.flags.toString(16).padStart(16, '0'),
  };
}

function json(value: MembersField, sb: Superblock): unknown {
  const around = memberSurroundings(sb);
  const members = value.members
    .slice(0, sb.nr_devices)
    .flatMap((member, i) =>
      memberAlive(member) || member.uuid === MEMBER_DELETED_UUID ? [memberJson(member, i, around)] : [],
    );
  return { member_bytes: value.member_bytes, members };
}

export const membersV1Field: SbFieldKind<MembersField> = {
  name: 'members_v1',
  decode: decodeMembersV1,
  encode: encodeMembersV1,
  validate: (value, sb) => validate(value, sb, 'members_v1'),
  text,
  json,
};

export const membersV2Field: SbFieldKind<MembersField> = {
  name: 'members_v2',
  decode: decodeMembersV2,
  encode: encodeMembersV2,
  validate: (value, sb) => validate(value, sb, 'members_v2'),
  text,
  json,
};
