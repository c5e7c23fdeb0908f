import { describe, expect, test } from 'vitest';
import { CorruptError } from '../errors.ts';
import { MEMBER_DELETED_UUID } from '../member-states.ts';
import { BchSb, type Superblock, sectionPayload, withSection } from '../superblock.ts';
import {
  BchMember,
  blankMember,
  decodeMembersV1,
  decodeMembersV2,
  encodeMembersV1,
  encodeMembersV2,
  MEMBER_1_13_BYTES,
  memberAt,
  memberExists,
  members,
  withMember,
  withMembers,
} from './members.ts';

const blank: Superblock = { ...BchSb.get(new DataView(new ArrayBuffer(BchSb.size)), 0), nr_devices: 3, sections: [] };
const uuid = (digit: number) => `${digit}`.repeat(8).concat('-0000-4000-8000-000000000000');

/** An entry of `length` bytes: a known member with bytes 0xaa after the fields that we know. */
function entry(length: number, digit: number): Uint8Array {
  const bytes = new Uint8Array(Math.max(length, BchMember.size)).fill(0xaa);
  const known = { ...blankMember(), uuid: uuid(digit), nbuckets: 1024, bucket_size: 256, seq: 9 };
  BchMember.put(new DataView(bytes.buffer), 0, known);
  return bytes.slice(0, length);
}

function v2(memberBytes: number, digits: readonly number[], rest: number[] = []): Uint8Array {
  const header = new Uint8Array(8);
  new DataView(header.buffer).setUint16(0, memberBytes, true);
  return Uint8Array.from([...header, ...digits.flatMap(digit => [...entry(memberBytes, digit)]), ...rest]);
}

test('the struct is what the C code declares', () => {
  expect(BchMember.size).toBe(328);
  expect(BchMember.offset.seq).toBe(120);
  expect(MEMBER_1_13_BYTES).toBe(144);
});

describe('entries of other lengths than ours', () => {
  test.each([40, 144, 224, 328, 400])('%d bytes survive a round trip', length => {
    const payload = v2(length, [1, 2, 3], [1, 2, 3]);
    expect(encodeMembersV2(decodeMembersV2(payload))).toEqual(payload);
  });

  test('shorter ones read as zero beyond their end', () => {
    const [member] = decodeMembersV2(v2(120, [1])).members;
    expect(member).toMatchObject({ uuid: uuid(1), nbuckets: 1024, seq: 0 });
  });

  test('longer ones keep what we do not know when a member changes', () => {
    const sb = withSection(blank, 'members_v2', v2(400, [1, 2, 3]));
    const changed = withMember(sb, 1, member => ({ ...member, seq: 77 }));
    const payload = sectionPayload(changed, 'members_v2')!;
    expect(decodeMembersV2(payload).members[1]).toMatchObject({ seq: 77, tail: new Uint8Array(72).fill(0xaa) });
    expect(payload.length).toBe(8 + 3 * 400);
  });

  test('what does not fit is not lost silently', () => {
    const [member] = decodeMembersV2(v2(144, [1])).members;
    const named = { ...member!, device_name: new Uint8Array(16).fill(65) };
    expect(() => encodeMembersV2({ member_bytes: 144, members: [named], rest: new Uint8Array(0) })).toThrow(
      'the section keeps 144 bytes of each device: no room for what is to be set of member 0',
    );
    expect(encodeMembersV2({ member_bytes: 224, members: [named], rest: new Uint8Array(0) })).toHaveLength(8 + 224);
  });
});

test('members_v1 holds 56 bytes a member', () => {
  const payload = Uint8Array.from([...entry(56, 1), ...entry(56, 2), 5, 5]);
  const field = decodeMembersV1(payload);
  expect(field.members.map(member => member.uuid)).toEqual([uuid(1), uuid(2)]);
  expect(field.members[0]?.seq).toBe(0);
  expect(encodeMembersV1(field)).toEqual(payload);
});

describe('in a superblock', () => {
  test('members_v2 counts where both are there, and both are written', () => {
    let sb = withSection(blank, 'members_v1', Uint8Array.from([...entry(56, 7), ...entry(56, 7), ...entry(56, 7)]));
    sb = withSection(sb, 'members_v2', v2(144, [1, 2, 3]));
    expect(members(sb).map(member => member.uuid)).toEqual([uuid(1), uuid(2), uuid(3)]);
    const changed = withMember(sb, 2, member => ({ ...member, uuid: uuid(9) }));
    expect(members(changed)[2]?.uuid).toBe(uuid(9));
    expect(decodeMembersV1(sectionPayload(changed, 'members_v1')!).members[2]?.uuid).toBe(uuid(9));
  });

  test('only members_v1: it stays that way', () => {
    const sb = withSection(blank, 'members_v1', Uint8Array.from([...entry(56, 1), ...entry(56, 2), ...entry(56, 3)]));
    const changed = withMember(sb, 0, member => ({ ...member, uuid: uuid(8) }));
    expect(members(changed)[0]?.uuid).toBe(uuid(8));
    expect(sectionPayload(changed, 'members_v2')).toBeUndefined();
  });

  test('free and deleted slots are not members, and entries beyond nr_devices do not count', () => {
    const list = [
      blankMember(),
      { ...blankMember(), uuid: MEMBER_DELETED_UUID },
      { ...blankMember(), uuid: uuid(3) },
      { ...blankMember(), uuid: uuid(4) },
    ];
    const sb = withMembers(blank, list);
    expect(decodeMembersV2(sectionPayload(sb, 'members_v2')!).member_bytes).toBe(MEMBER_1_13_BYTES);
    expect([0, 1, 2, 3].map(index => memberExists(sb, index))).toEqual([false, false, true, false]);
    expect(memberAt(sb, 2)?.uuid).toBe(uuid(3));
    expect(members(sb)).toHaveLength(3);
  });
});

describe('bytes that must fail', () => {
  const failure = (decode: () => unknown) => {
    try {
      decode();
    } catch (thrown) {
      if (thrown instanceof CorruptError)
        return { error: thrown.error, field: thrown.where.field, detail: thrown.detail };
    }
    return undefined;
  };

  test('no header, and entries of no bytes', () => {
    expect(failure(() => decodeMembersV2(new Uint8Array(0)))).toEqual({
      error: 'invalid_sb_members',
      field: 'members_v2',
      detail: 'the section ends before its first entry',
    });
    expect(failure(() => decodeMembersV2(v2(0, [])))).toMatchObject({ detail: 'member_bytes is 0' });
  });

  test('a count that no number holds says which member', () => {
    const payload = v2(144, [1, 2]);
    payload.fill(0xff, 8 + 144 + 16, 8 + 144 + 24);
    expect(failure(() => decodeMembersV2(payload))).toMatchObject({
      error: 'count_out_of_range',
      field: 'members_v2[1]',
    });
  });

  test('a flood of tiny entries stays bounded', () => {
    const payload = new Uint8Array(2 ** 20);
    payload[0] = 1;
    const field = decodeMembersV2(payload);
    expect(field.members).toHaveLength(256);
    expect(Buffer.compare(encodeMembersV2(field), payload)).toBe(0);
  });
});
