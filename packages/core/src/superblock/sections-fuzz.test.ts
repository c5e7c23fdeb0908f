// Damaged sections, at random but reproducibly: whatever the bytes are, decoding throws nothing but CorruptError, text and JSON
// never throw at all, in bounded time and with a bounded amount of output. FUZZ_SEED and FUZZ_ROUNDS choose another run.

import { expect, test } from 'vitest';
import { sized } from '../../../../test/support/long.ts';
import { cpuMs, patient } from '../../../../test/support/patience.ts';
import { CorruptError } from '../ondisk/errors.ts';
import { sbFieldIds } from '../ondisk/sb-field-ids.ts';
import { encodeDiskGroups, withLabel } from '../ondisk/sb-fields/disk-groups.ts';
import { sbFieldKind } from '../ondisk/sb-fields/index.ts';
import { blankMember, encodeMembersV1, encodeMembersV2 } from '../ondisk/sb-fields/members.ts';
import {
  BCHFS_MAGIC,
  BchSb,
  decodeSuperblock,
  encodeSuperblock,
  type SbSection,
  type Superblock,
} from '../ondisk/superblock.ts';
import { superblockJson } from './json.ts';
import { superblockText } from './text.ts';

const seed = Number(process.env.FUZZ_SEED ?? 20_260_728);
const rounds = Number(process.env.FUZZ_ROUNDS ?? sized(700, 800, 8000));

/** mulberry32: numbers from 0 to below 1. */
function randomNumbers(from: number): () => number {
  let state = from >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const u64s = (...values: readonly bigint[]) => new Uint8Array(BigUint64Array.from(values).buffer);
const padded = (bytes: Uint8Array) => {
  const target = new Uint8Array(Math.ceil(bytes.length / 8) * 8);
  target.set(bytes);
  return target;
};

/** One superblock with every section that there is, all of them sound. */
function base(): Superblock {
  const members = [1, 2, 3].map(digit => ({
    ...blankMember(),
    uuid: `${digit}`.repeat(8).concat('-0000-4000-8000-000000000000'),
    nbuckets: 4096,
    bucket_size: 256,
    flags: BigInt(digit) << 20n,
  }));
  const rest = new Uint8Array(0);
  const groups = ['ssd.a', 'ssd.b', 'hdd'].reduce(
    (known, path) => withLabel(known, path).groups,
    withLabel([], 'x').groups,
  );
  const header = (length: number, btree: number, type: number) =>
    BigInt(length) | (BigInt(btree) << 16n) | (BigInt(type) << 32n);
  const max = 2n ** 64n - 1n;
  const keyHeader = [11n | (1n << 8n) | (18n << 16n), 0n, 0n | (0xffff_ffffn << 32n), max, max] as const;
  const root = (btree: number) =>
    [header(11, btree, 1), ...keyHeader, 0n, 99n, 16n, 0n, 0n, 1n | (256n << 4n) | (BigInt(btree % 3) << 48n)] as const;
  const payloads: Record<(typeof sbFieldIds.rows)[number]['name'], Uint8Array> = {
    journal: u64s(5n, 6n, 7n),
    members_v1: encodeMembersV1({ member_bytes: 56, members, rest }),
    crypt: u64s(0n, 14n, 1n, 2n, 3n, 4n, 5n),
    replicas_v0: Uint8Array.of(3, 1, 0, 4, 2, 0, 1, 0),
    quota: u64s(0n, 1n, 2n, 3n, 4n, 5n, 6n, 7n, 8n),
    disk_groups: encodeDiskGroups(groups),
    clean: u64s(0n, 40n, header(1, 2, 5), 7n, header(2, 0, 7), 1n, 9n, ...root(0), ...root(9), header(0, 0, 0)),
    replicas: padded(Uint8Array.of(3, 1, 1, 0, 4, 2, 1, 0, 2)),
    journal_seq_blacklist: u64s(5n, 9n, 9n, 12n),
    journal_v2: u64s(17n, 8n, 40n, 2n),
    counters: u64s(...Array.from({ length: 80 }, (_, i) => BigInt(i))),
    members_v2: encodeMembersV2({ member_bytes: 144, members, rest }),
    errors: u64s((1n << 16n) | 1n, 100n, (5n << 16n) | 9n, 200n),
    ext: u64s(32n, 0n, 0n, 0n, 7n, 0n, 0n, 0n, 0n, 0n, 1n, 0n, 2n, 3n),
    downgrade: padded(Uint8Array.of(9, 4, 32, ...Array(15).fill(0), 2, 0, 1, 0, 2, 0)),
    recovery_passes: u64s(100n, 5n, 0n, 0n, 200n, 7n),
    extent_type_u64s: padded(Uint8Array.of(1, 1, 2, 3, 1, 1, 1, 1, 1)),
    errors_v2: u64s((1n << 16n) | 1n | (9n << 48n), 7n << 24n),
  };
  const sections = sbFieldIds.rows.map(({ id, name }) => ({ type: id, payload: payloads[name] }));
  const fixed = BchSb.get(new DataView(new ArrayBuffer(BchSb.size)), 0);
  const sb: Superblock = {
    ...fixed,
    magic: BCHFS_MAGIC,
    version: 1037,
    nr_devices: 3,
    block_size: 8,
    layout: { ...fixed.layout, sb_max_size_bits: 11, nr_superblocks: 3 },
    sections: [...sections, { type: 99, payload: u64s(1n, 2n) }],
  };
  return decodeSuperblock(encodeSuperblock(sb), {});
}

function mutate(payload: Uint8Array, random: () => number): Uint8Array {
  const below = (limit: number) => Math.floor(random() * limit);
  const bytes = payload.slice();
  const interesting = [0, 1, 7, 8, 0x7f, 0x80, 0xfe, 0xff];
  switch (below(6)) {
    case 0: // single bits
      for (let i = below(8); i >= 0 && bytes.length > 0; i--) bytes[below(bytes.length)]! ^= 1 << below(8);
      return bytes;
    case 1: // bytes that lengths, counts and types are made of
      for (let i = below(8); i >= 0 && bytes.length > 0; i--) bytes[below(bytes.length)] = interesting[below(8)]!;
      return bytes;
    case 2: // cut off
      return bytes.slice(0, 8 * below(bytes.length / 8 + 1));
    case 3: // longer
      return Uint8Array.from([...bytes, ...Array.from({ length: 8 * below(40) }, () => below(256))]);
    case 4: // a run of one byte
      return bytes.fill(interesting[below(8)]!, below(bytes.length + 1));
    default: // noise
      return bytes.map(() => below(256));
  }
}

/** Only CorruptError may come out. */
function mayFail(work: () => void): void {
  try {
    work();
  } catch (thrown) {
    if (!(thrown instanceof CorruptError)) throw thrown;
  }
}

/** @param damaged the section types to look at one by one */
function check(sb: Superblock, damaged: ReadonlySet<number>): void {
  for (const section of sb.sections.filter(({ type }) => damaged.has(type))) {
    const kind = sbFieldKind(section.type);
    if (kind === undefined) continue;
    mayFail(() => {
      const value = kind.decode(section.payload, sb);
      kind.validate(value, sb);
      kind.encode?.(value);
    });
  }
  const inputBytes = sb.sections.reduce((sum, section) => sum + section.payload.length, BchSb.size);
  const outputs = [
    superblockText(sb, { fields: 'all', layout: true }),
    superblockText(sb, { fields: 'all', style: '1.39' }),
    ...sbFieldIds.rows.filter(({ id }) => damaged.has(id)).map(({ name }) => superblockText(sb, { fieldOnly: name })),
    JSON.stringify(superblockJson(sb)),
  ];
  for (const output of outputs) expect(output.length).toBeLessThan(2 ** 20 + 64 * inputBytes);
}

test('the undamaged superblock is sound', () => {
  const sb = base();
  const problems = sb.sections.flatMap(({ type, payload }) => {
    const kind = sbFieldKind(type);
    return kind === undefined ? [] : kind.validate(kind.decode(payload, sb), sb);
  });
  expect(problems).toEqual([]);
  expect(superblockText(sb, { fields: 'all' })).not.toContain('damaged');
  for (const { name } of sbFieldIds.rows) expect(superblockText(sb, { fields: 'all' })).toMatch(new RegExp(name));
});

test(`${rounds} damaged superblocks, seed ${seed}`, { timeout: patient(120_000) }, () => {
  const sb = base();
  let slowestMs = 0;
  for (let round = 0; round < rounds; round++) {
    const random = randomNumbers(seed + round);
    const below = (limit: number) => Math.floor(random() * limit);
    const sections: SbSection[] = [...sb.sections];
    const damaged = new Set<number>();
    for (let i = below(3); i >= 0; i--) {
      const at = below(sections.length);
      const section = sections[at]!;
      const type = below(20) === 0 ? below(20) : section.type;
      damaged.add(type);
      sections[at] = { type, payload: mutate(section.payload, random) };
    }
    const started = cpuMs();
    try {
      const nr_devices = below(10) === 0 ? below(256) : 3;
      const dev_idx = below(10) === 0 ? below(256) : 0;
      check({ ...sb, nr_devices, dev_idx, sections }, damaged);
    } catch (thrown) {
      throw new Error(`seed ${seed + round}, FUZZ_ROUNDS=1 repeats it`, { cause: thrown });
    }
    slowestMs = Math.max(slowestMs, cpuMs() - started);
  }
  expect(slowestMs).toBeLessThan(2000);
});

test('large sections take time in proportion', { timeout: patient(60_000) }, () => {
  const sb = base();
  for (const byte of [0, 1, 0xff]) {
    for (const section of sb.sections) {
      const payload = new Uint8Array(2 ** 17).fill(byte);
      const sections = sb.sections.map(other => (other === section ? { type: other.type, payload } : other));
      const started = cpuMs();
      check({ ...sb, nr_devices: 255, sections }, new Set([section.type]));
      const isSlow = cpuMs() - started > 2000;
      expect({ section: sbFieldIds.nameOf(section.type), byte, isSlow }).toMatchObject({ isSlow: false });
    }
  }
});
