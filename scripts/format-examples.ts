// The worked examples of docs/format/: each is computed here, from the project's own small images (test/images) or from bytes that
// core's encoders made, so that the hex and what is said about it cannot part. What an example claims is compared with what core
// decodes; an example that does not agree throws, and then `npm run docs` and its --check fail.

import * as core from '@bcachefs-ts/core/engine';
import { chacha20 } from '../packages/core/src/crypto/chacha20.ts';
import { deriveKey } from '../packages/core/src/crypto/keys.ts';
import { btreeNonce, journalNonce, type Nonce, sbKeyNonce } from '../packages/core/src/crypto/nonce.ts';
import { compressionTypes } from '../packages/core/src/ondisk/compression-types.ts';
import { decodeExtentEntries, extentEntryTypes } from '../packages/core/src/ondisk/extent-entries.ts';
import { BchInodeV3 } from '../packages/core/src/ondisk/inode-unpack.ts';
import { BchBtreePtrV2, btreePtrV2 } from '../packages/core/src/ondisk/keys/btree-ptr-v2.ts';
import { dirent } from '../packages/core/src/ondisk/keys/dirent.ts';
import { BchXattr, xattr, xattrTypes } from '../packages/core/src/ondisk/keys/xattr.ts';
import { BchSbCrypt, decodeCrypt, kdfParameters } from '../packages/core/src/ondisk/sb-fields/crypt.ts';
import { strHashTypes } from '../packages/core/src/ondisk/str-hash-types.ts';
import { encodeVarint, VarintReader } from '../packages/core/src/ondisk/varint.ts';
import { testImageContents } from '../test/support/images.ts';
import type { AnyLayout } from './layouts.ts';

const { viewOf } = core;

function agree(isSo: boolean, what: string): void {
  if (!isSo) throw new Error(`a worked example of docs/format does not agree with the decoder: ${what}`);
}

// ---- images ----

const opened = new Map<string, core.Filesystem>();
const PASSPHRASE = new TextEncoder().encode('correct horse');

function image(name: string): core.Filesystem {
  let fs = opened.get(name);
  if (fs === undefined) {
    const contents = testImageContents(name);
    const devices = contents.map((bytes, nr) =>
      core.MemoryDevice.from(bytes, { name: contents.length === 1 ? name : `${name}.dev${nr}`, writable: false }),
    );
    fs = core.filesystemOf(core.openMembers(devices), name === 'encrypted' ? { passphrase: PASSPHRASE } : {});
    opened.set(name, fs);
  }
  return fs;
}

function bytesAt(fs: core.Filesystem, dev: number, at: number, length: number): Uint8Array {
  const device = fs.device(dev);
  if (device === undefined) throw new Error(`no member ${dev}`);
  return core.readBytes(device, at, length);
}

const keysOf = (fs: core.Filesystem, btree: core.BtreeName): readonly core.Key[] => [...fs.btree(btree).keys()];
const typeName = ({ k }: core.Key): string => core.keyTypes.nameOf(k.type);

function rootOf(fs: core.Filesystem, btree: core.BtreeName): { readonly key: core.Key; readonly level: number } {
  const root = fs.replay.roots.get(core.btrees.idOf(btree));
  if (root?.key === undefined) throw new Error(`no root of ${btree}`);
  return { key: root.key, level: root.level };
}

function find<T>(items: Iterable<T>, is: (item: T) => boolean, what: string): T {
  for (const item of items) if (is(item)) return item;
  throw new Error(`the images have no ${what}`);
}

// ---- text ----

const hex = (bytes: Uint8Array): string => Array.from(bytes, byte => byte.toString(16).padStart(2, '0')).join(' ');
const hexWord = (word: bigint): string => `0x${word.toString(16).padStart(16, '0')}`;
const fence = (lines: readonly string[]): string => ['```text', ...lines, '```'].join('\n');
const table = (head: readonly string[], rows: readonly (readonly (string | number | bigint)[])[]): string =>
  [
    `| ${head.join(' | ')} |`,
    `|${head.map(() => '---').join('|')}|`,
    ...rows.map(row => `| ${row.join(' | ')} |`),
  ].join('\n');
const code = (text: string | number | bigint): string => `\`${text}\``;

function valueText(value: unknown): string {
  if (value instanceof Uint32Array) return core.bposText(value);
  if (value instanceof Uint8Array) {
    if (value.every(byte => byte === 0)) return '0';
    const text = new TextDecoder().decode(value).replace(/\0+$/, '');
    return /^[\x20-\x7e]+$/.test(text) ? JSON.stringify(text) : hex(value.subarray(0, 8));
  }
  if (Array.isArray(value)) return value.map(valueText).join(', ');
  if (typeof value === 'bigint') return value < 0x1_0000n ? `${value}` : `0x${value.toString(16)}`;
  return String(value);
}

/** One line a member: offset, bytes, name and value. @param notes what to say after a value */
function structLines(
  layout: AnyLayout,
  bytes: Uint8Array,
  base = 0,
  notes: Readonly<Record<string, string>> = {},
): string[] {
  const view = viewOf(bytes);
  return Object.entries(layout.fields).flatMap(([name, { at, codec }]) => {
    const raw = bytes.subarray(at, at + codec.size);
    if (codec.type === core.BkeyFormat.type || codec.type === core.BchSbLayout.type) return [];
    const value =
      codec.type === core.BchCsum.type ? valueText(view.getBigUint64(at, true)) : valueText(codec.get(view, at));
    const note = notes[name] === undefined ? '' : `   ${notes[name]}`;
    const rows: string[] = [];
    for (let from = 0; from < raw.length && from < 32; from += 8) {
      const isFirst = from === 0;
      const dots = from + 8 >= 32 && raw.length > 32 ? ' …' : '';
      const left = `${(base + at + from).toString(16).padStart(4, '0')}  ${hex(raw.subarray(from, from + 8)).padEnd(24)}`;
      const isZero = raw.subarray(from).every(byte => byte === 0);
      if (!isFirst && isZero) break;
      rows.push(
        `${left}${isFirst ? `  ${name} = ${value.length > 70 ? `${value.slice(0, 67)}…` : value}${note}` : dots}`.trimEnd(),
      );
    }
    return rows;
  });
}

/** Rows of a bit-field table, from the lowest bit up. */
function bitRows(
  word: bigint,
  fields: readonly (readonly [lo: number, width: number, name: string, meaning: (value: bigint) => string])[],
) {
  return fields.map(([lo, width, name, meaning]) => {
    const value = (word >> BigInt(lo)) & ((1n << BigInt(width)) - 1n);
    const bits = width > 16 ? `0x${value.toString(16)}` : value.toString(2).padStart(width, '0');
    return [width === 1 ? `${lo}` : `${lo} to ${lo + width - 1}`, code(bits), name, meaning(value)];
  });
}

const plain = (value: bigint): string => `${value}`;

// ---- superblock ----

function superblock(): string {
  const fs = image('basic');
  const at = core.SB_SECTOR * 512;
  const size = core.superblockBytes(viewOf(bytesAt(fs, 0, at, core.BchSb.size)), 0);
  const bytes = bytesAt(fs, 0, at, size);
  const { sb } = fs;
  const { good } = core.verifyVstruct(core.getBits(sb.flags, core.sbBits.CSUM_TYPE), bytes);
  agree(good, 'the checksum of the superblock');
  const lines = structLines(core.BchSb, bytes, 0, {
    version: core.versionNumber(sb.version),
    u64s: `the superblock ends at ${core.BchSb.size} + 8 · ${sb.u64s} = ${size}`,
    block_size: `sectors: ${sb.block_size * 512} bytes`,
    csum: `crc32c_nonzero of bytes 16 to ${size - 1}`,
  });
  return [
    `Sector ${core.SB_SECTOR} of the image \`basic\` (the layout at byte 240 is shown below).`,
    '',
    fence(lines),
    '',
    'Some of the bit ranges of `flags`:',
    '',
    table(
      ['Word', 'Bits', 'Name', 'Value'],
      (
        [
          'INITIALIZED',
          'CLEAN',
          'CSUM_TYPE',
          'BTREE_NODE_SIZE',
          'META_CSUM_TYPE',
          'DATA_CSUM_TYPE',
          'META_REPLICAS_WANT',
          'STR_HASH_TYPE',
          'ENCODED_EXTENT_MAX_BITS',
        ] as const
      ).map(name => {
        const { word, lo, hi } = core.sbBits[name];
        return [word, `${lo} to ${hi - 1}`, code(name), core.getBits(sb.flags, core.sbBits[name])];
      }),
    ),
  ].join('\n');
}

function superblockLayout(): string {
  const fs = image('basic');
  const bytes = bytesAt(fs, 0, core.SB_LAYOUT_SECTOR * 512, core.BchSbLayout.size);
  const layout = core.BchSbLayout.get(viewOf(bytes), 0);
  const offsets = layout.sb_offset.slice(0, layout.nr_superblocks).map(Number);
  for (const sector of offsets) {
    const copy = bytesAt(fs, 0, sector * 512, core.BchSb.size);
    agree(core.hasSuperblockMagic(viewOf(copy), 0), `a superblock at sector ${sector}`);
    agree(Number(core.BchSb.get(viewOf(copy), 0).offset) === sector, `the offset of the copy at sector ${sector}`);
  }
  return [
    fence(
      structLines(core.BchSbLayout, bytes, 0, {
        sb_max_size_bits: `2^${layout.sb_max_size_bits} sectors for each copy`,
      }),
    ),
    '',
    `The copies are at sectors ${offsets.join(', ')}; each says so itself in \`offset\`.`,
  ].join('\n');
}

function sections(): string {
  const fs = image('basic');
  let at = core.BchSb.size;
  const rows = fs.sb.sections.map(({ type, payload }) => {
    const row = [
      at,
      code(hex(bytesAt(fs, 0, core.SB_SECTOR * 512 + at, 8))),
      (payload.length + 8) / 8,
      type,
      code(core.sbFieldIds.nameOf(type)),
    ];
    at += 8 + payload.length;
    return row;
  });
  agree(at === core.BchSb.size + 8 * fs.sb.u64s, 'the sections fill the superblock');
  return table(['Byte', 'Header', 'u64s', 'Type', 'Section'], rows);
}

function member(): string {
  const fs = image('multi');
  const members = core.members(fs.sb);
  const payload = core.sectionPayload(fs.sb, 'members_v2');
  if (payload === undefined) throw new Error('no members_v2');
  const memberBytes = viewOf(payload).getUint16(0, true);
  const flags = members[1]?.flags ?? 0n;
  const rows = Object.entries(core.memberBits).map(([name, { lo, hi }]) => [
    hi - lo === 1 ? lo : `${lo} to ${hi - 1}`,
    code(name),
    core.getBits([flags], core.bits(0, lo, hi)),
  ]);
  const bytes = new Uint8Array(core.BchMember.size);
  bytes.set(payload.subarray(8 + memberBytes, 8 + 2 * memberBytes));
  return [
    `Member 1 of the image \`multi\`. Its section says \`member_bytes\` ${memberBytes}, so the entry starts at byte ${8 + memberBytes} of the payload and ends before \`device_name\`.`,
    '',
    fence(structLines(core.BchMember, bytes).filter(line => Number.parseInt(line.slice(0, 4), 16) < memberBytes)),
    '',
    `\`flags\` is ${hexWord(flags)}:`,
    '',
    table(['Bits', 'Name', 'Value'], rows),
  ].join('\n');
}

// ---- keys ----

function unpackedKey(): string {
  const fs = image('basic');
  const clean = core.sectionPayload(fs.sb, 'clean');
  if (clean === undefined) throw new Error('basic is not clean');
  const { entries } = core.decodeClean(clean);
  const dirents = core.btrees.idOf('dirents');
  const root = find(
    entries,
    e => core.jsetEntryTypes.nameOf(e.type) === 'btree_root' && e.btree_id === dirents,
    'root of dirents',
  );
  const bytes = root.payload;
  const [key] = core.decodeKeys(bytes);
  if (key === undefined) throw new Error('no key');
  const value = btreePtrV2.decode(key.value);
  const ptr = value.entries[0];
  agree(ptr?.type === 'ptr', 'a root has a pointer');
  const word = viewOf(key.value).getBigUint64(BchBtreePtrV2.size, true);
  return [
    'The root of `dirents`, as the `clean` section of the image `basic` has it:',
    '',
    fence([
      ...structLines(core.Bkey, bytes, 0, {
        u64s: `${8 * key.k.u64s} bytes with the value`,
        format: 'not packed',
        type: typeName(key),
      }),
      '                                value: btree_ptr_v2',
      ...structLines(BchBtreePtrV2, key.value, core.Bkey.size),
      `${(core.Bkey.size + BchBtreePtrV2.size).toString(16).padStart(4, '0')}  ${hex(key.value.subarray(BchBtreePtrV2.size))}  ptr: ${hexWord(word)}`,
    ]),
    '',
    table(['Bits', '', 'Field', ''], ptrRows(word)),
    '',
    'As `list` and `list_journal` print it:',
    '',
    fence([keyText(fs, key)]),
  ].join('\n');
}

function keyText(fs: core.Filesystem, key: core.Key): string {
  const out = new core.PrintBuffer();
  core.keyText(out, key, { ...fs.textContext({ dateTime: seconds => `${seconds}` }) });
  return out
    .toString()
    .split('\n')
    .map(line => line.trimEnd())
    .join('\n');
}

const ptrRows = (word: bigint) =>
  bitRows(word, [
    [0, 1, 'type', () => 'lowest set bit 0: `ptr`'],
    [1, 1, '`cached`', plain],
    [2, 1, 'unused', plain],
    [3, 1, '`unwritten`', plain],
    [4, 44, '`offset`', value => `sector ${value}`],
    [48, 8, '`dev`', value => `member ${value}`],
    [56, 8, '`gen`', value => `bucket generation ${value}`],
  ]);

interface RawNode {
  readonly node: core.BtreeNode;
  readonly header: core.BtreeNodeHeader;
  readonly bytes: Uint8Array;
  readonly dev: number;
}

function rawNode(fs: core.Filesystem, btree: core.BtreeName, level: number, ptr: core.Key): RawNode {
  const node = fs.reader.read(core.btrees.idOf(btree), level, ptr);
  const bytes = bytesAt(fs, 0, node.facts.sector * 512, fs.reader.nodeSectors * 512);
  return { node, bytes, header: core.BtreeNodeHeader.get(viewOf(bytes), 0), dev: 0 };
}

const FIELD_NAMES = ['inode', 'offset', 'snapshot', 'size', 'version.hi', 'version.lo'] as const;

function packedKey(): string {
  const fs = image('basic');
  const { key: root, level } = rootOf(fs, 'inodes');
  const interior = fs.reader.read(core.btrees.idOf('inodes'), level, root);
  const leaf = find(
    Array.from({ length: interior.count }, (_, i) => rawNode(fs, 'inodes', level - 1, interior.key(i))),
    ({ header }) => header.format.field_offset.some(offset => offset > 0n),
    'packed leaf with a field offset',
  );
  const { format } = leaf.header;
  const at = core.NODE_KEYS_AT + 8 * leaf.bytes[core.NODE_KEYS_AT]!; // after the first key
  const first = leaf.node.facts.bsets[0];
  if (first === undefined) throw new Error('no bset');
  const unpacked = leaf.node.keyOf(first.keys, 1);
  const keyBytes = leaf.bytes.subarray(at, at + 8 * format.key_u64s);
  let word = 0n;
  for (const byte of keyBytes.toReversed()) word = (word << 8n) | BigInt(byte);
  const header = viewOf(keyBytes);
  const u64s = header.getUint8(0);
  const values: bigint[] = [];
  let bit = 64 * format.key_u64s;
  const rows = FIELD_NAMES.map((name, i) => {
    const width = format.bits_per_field[i]!;
    const offset = format.field_offset[i]!;
    bit -= width;
    const stored = (word >> BigInt(bit)) & ((1n << BigInt(width)) - 1n);
    values.push(stored + offset);
    const place = width === 0 ? 'none' : `${bit} to ${bit + width - 1}`;
    return [name, width, place, width === 0 ? '' : code(`0x${stored.toString(16)}`), offset, stored + offset];
  });
  const [inode, offset, snapshot, size] = values;
  agree(
    core.compareBpos(unpacked.k.p, core.makeBpos(inode!, offset!, Number(snapshot))) === 0,
    'the unpacked position',
  );
  agree(BigInt(unpacked.k.size) === size && unpacked.k.u64s === u64s - format.key_u64s + 5, 'the unpacked size');
  const asUnpacked = new Uint8Array(core.Bkey.size);
  core.Bkey.put(viewOf(asUnpacked), 0, unpacked.k);
  return [
    `A leaf of \`inodes\` in the image \`basic\`, at sector ${leaf.node.facts.sector}, covers ${core.bposText(leaf.header.min_key)} to ${core.bposText(leaf.header.max_key)}. Its format is at byte ${core.BtreeNodeHeader.offset.format}:`,
    '',
    fence([
      ...structLines(
        core.BkeyFormat,
        leaf.bytes.subarray(core.BtreeNodeHeader.offset.format),
        core.BtreeNodeHeader.offset.format,
      ),
    ]),
    '',
    `A packed header has ${format.key_u64s} u64: 24 bits of \`u64s\`, \`format\` and \`type\`, and ${format.bits_per_field.reduce((a, b) => a + b, 0)} bits of fields. The first key of the first bset is at byte ${core.NODE_KEYS_AT} and has ${leaf.bytes[core.NODE_KEYS_AT]} u64s, so the second is at byte ${at}:`,
    '',
    fence([`${at.toString(16).padStart(4, '0')}  ${hex(keyBytes)}`]),
    '',
    `Read as one little-endian integer: \`0x${word.toString(16).padStart(16 * format.key_u64s, '0')}\`. From the bottom:`,
    '',
    table(
      ['Bits', '', 'Field', ''],
      [
        [
          '0 to 7',
          code(`0x${u64s.toString(16)}`),
          '`u64s`',
          `${u64s}: ${format.key_u64s} of header, ${u64s - format.key_u64s} of value`,
        ],
        ['8 to 14', code('0'), '`format`', `${keyBytes[1]! & 0x7f}: \`KEY_FORMAT_LOCAL_BTREE\`, packed`],
        ['15', code('0'), '`needs_whiteout`', 'means something in memory only'],
        [
          '16 to 23',
          code(`0x${keyBytes[2]!.toString(16)}`),
          '`type`',
          `${keyBytes[2]}: \`${core.keyTypes.nameOf(keyBytes[2]!)}\``,
        ],
      ],
    ),
    '',
    `From the top, bit ${64 * format.key_u64s - 1}, down:`,
    '',
    table(['Field', 'Bits', 'Where', 'Stored', '+ field_offset', 'Value'], rows),
    '',
    `So the position is ${core.bposText(unpacked.k.p)}. The same header as it would stand in the journal, unpacked, is 40 bytes instead of ${8 * format.key_u64s}:`,
    '',
    fence(structLines(core.Bkey, asUnpacked)),
  ].join('\n');
}

// ---- nodes ----

function node(): string {
  const fs = image('basic');
  const { key } = rootOf(fs, 'need_discard');
  const { node, bytes, header } = rawNode(fs, 'need_discard', 0, key);
  const view = viewOf(bytes);
  const lines: string[] = [];
  const bsets = node.facts.bsets;
  agree(bsets.length >= 3 && node.count === 0, 'need_discard ends empty after several bsets');
  const live: string[] = [];
  for (const { offsetSectors, keys } of bsets) {
    const start = 512 * offsetSectors;
    const isFirst = offsetSectors === 0;
    const bsetAt = start + (isFirst ? core.NODE_BSET_AT : core.ENTRY_BSET_AT);
    const keysAt = start + (isFirst ? core.NODE_KEYS_AT : core.ENTRY_KEYS_AT);
    const bset = core.Bset.get(view, bsetAt);
    const end = keysAt + 8 * bset.u64s;
    const { good } = core.verifyVstruct(core.bsetCsumType(bset), bytes.subarray(start, end));
    agree(good, `the checksum of the bset at sector ${offsetSectors}`);
    lines.push(`---- sector ${offsetSectors}: ${isFirst ? 'struct btree_node' : 'struct btree_node_entry'}`);
    if (isFirst) {
      lines.push(
        ...structLines(core.BtreeNodeHeader, bytes, 0, {
          csum: `of bytes 16 to ${end - 1}`,
          flags: `btree ${core.btrees.nameOf(core.btreeNodeId(header))}, level ${core.btreeNodeLevel(header)}`,
        }),
      );
      lines.push(...structLines(core.BkeyFormat, bytes.subarray(80), 80));
    } else
      lines.push(
        ...structLines(core.BtreeNodeEntry, bytes.subarray(start), start, {
          csum: `of bytes ${start + 16} to ${end - 1}`,
        }),
      );
    lines.push('     struct bset');
    lines.push(
      ...structLines(core.Bset, bytes.subarray(bsetAt), bsetAt, {
        flags: `checksum type ${core.checksumTypeText(core.bsetCsumType(bset))}, written at sector ${core.bsetOffsetSectors(bset)}`,
        version: core.versionNumber(bset.version),
        u64s: bset.u64s === 0 ? 'no keys' : `${bset.u64s / 3} keys of 3 u64s, no values`,
      }),
    );
    for (let i = 0; i < keys.count; i++) {
      const found = node.keyOf(keys, i);
      const at = keysAt + 24 * i;
      agree(bytes[at] === 3 && bytes[at + 2] === found.k.type, 'a packed set or deleted of three words');
      lines.push(
        `${at.toString(16).padStart(4, '0')}  ${hex(bytes.subarray(at, at + 8))}         ${typeName(found)} ${core.bposText(found.k.p)}`,
      );
      lines.push(`${(at + 8).toString(16).padStart(4, '0')}  ${hex(bytes.subarray(at + 8, at + 16))}`);
      lines.push(`${(at + 16).toString(16).padStart(4, '0')}  ${hex(bytes.subarray(at + 16, at + 24))}`);
      const pos = core.bposText(found.k.p);
      if (typeName(found) === 'deleted') live.splice(live.indexOf(pos), 1);
      else live.push(pos);
    }
    const rest = Math.ceil(end / 512) * 512 - end;
    lines.push(
      `${end.toString(16).padStart(4, '0')}  (${rest} bytes to the end of the block, not covered by a checksum)`,
    );
    lines.push(`     live so far: ${live.length === 0 ? 'nothing' : live.join(' ')}`);
  }
  agree(live.length === node.count, 'what is left of need_discard');
  const last = bsets.at(-1)!.offsetSectors + 1;
  lines.push(`---- sector ${last}: what stands here does not have this node's seq: the log ends`);
  agree(view.getBigUint64(512 * last + core.ENTRY_BSET_AT, true) !== node.facts.seq, 'the log ends');
  return [
    `The root, and only node, of \`need_discard\` in the image \`basic\`, at sector ${node.facts.sector}:`,
    '',
    fence(lines),
  ].join('\n');
}

function nodeOverwrite(): string {
  const fs = image('basic');
  const { key } = rootOf(fs, 'snapshots');
  const { node } = rawNode(fs, 'snapshots', 0, key);
  const rows = node.facts.bsets.flatMap(({ offsetSectors, journalSeq, keys }) =>
    Array.from({ length: keys.count }, (_, i) => {
      const found = node.keyOf(keys, i);
      const value = core.snapshot.decode(found.value);
      const isSeen = Array.from({ length: node.count }, (_, n) => node.key(n)).some(
        seen => core.compareBpos(seen.k.p, found.k.p) === 0 && seen.value.byteOffset === found.value.byteOffset,
      );
      return [
        offsetSectors,
        journalSeq,
        core.bposText(found.k.p),
        `subvol ${value.subvol}, children ${value.children.join(' ')}`,
        isSeen ? 'yes' : 'no: a later bset has this position',
      ];
    }),
  );
  agree(
    rows.some(row => `${row[4]}`.startsWith('no')),
    'a key of snapshots is hidden',
  );
  return table(['Sector', 'journal_seq', 'Position', 'Value', 'Seen'], rows);
}

// ---- extents ----

function extent(): string {
  const fs = image('multi');
  const key = find(
    keysOf(fs, 'extents'),
    k =>
      typeName(k) === 'extent' &&
      decodeExtentEntries(k.value).some(
        e => e.type === 'crc32' && compressionTypes.nameOf(e.compression_type) === 'zstd',
      ),
    'compressed extent',
  );
  const entries = decodeExtentEntries(key.value);
  const [crc, ...ptrs] = entries;
  if (crc?.type !== 'crc32') throw new Error('no crc32');
  const view = viewOf(key.value);
  const word = view.getBigUint64(0, true);
  const parts = [
    `The first compressed extent of the image \`multi\`, which keeps two copies of everything: ${core.bposText(key.k.p)}, size ${key.k.size}. The position is the end, so it covers sectors ${Number(core.bposOffset(key.k.p)) - key.k.size} to ${Number(core.bposOffset(key.k.p)) - 1} of inode ${core.bposInode(key.k.p)}. The value:`,
    '',
    fence(
      entries.map(
        (e, i) =>
          `${(8 * i).toString(16).padStart(4, '0')}  ${hex(key.value.subarray(8 * i, 8 * i + 8))}  ${hexWord(view.getBigUint64(8 * i, true))}  ${e.type}`,
      ),
    ),
    '',
    'The first word:',
    '',
    table(
      ['Bits', '', 'Field', ''],
      bitRows(word, [
        [0, 2, 'type', () => 'lowest set bit 1: `crc32`'],
        [2, 7, '`compressed_size`', v => `${v} + 1 = ${v + 1n} sectors on disk`],
        [9, 7, '`uncompressed_size`', v => `${v} + 1 = ${v + 1n} sectors of file data`],
        [16, 7, '`offset`', v => `the key's data starts ${v} sectors into them`],
        [23, 1, 'unused', plain],
        [24, 4, '`csum_type`', v => `\`${core.checksumTypeText(Number(v))}\``],
        [28, 4, '`compression_type`', v => `\`${compressionTypes.nameOf(Number(v))}\``],
        [32, 32, '`csum`', v => `the checksum, ${v.toString(16)}`],
      ]),
    ),
  ];
  const stored = crc.compressed_size * 512;
  ptrs.forEach((ptr, i) => {
    if (ptr.type !== 'ptr') throw new Error('no pointer');
    const data = bytesAt(fs, ptr.dev, ptr.offset * 512, stored);
    const sum = core.checksum(crc.csum_type, data);
    agree(sum.lo === crc.csum_lo, `the checksum of replica ${i}`);
    const member = core.members(fs.sb)[ptr.dev];
    const bucketSectors = member?.bucket_size ?? 1;
    parts.push(
      '',
      `Pointer ${i}:`,
      '',
      table(['Bits', '', 'Field', ''], ptrRows(view.getBigUint64(8 * (i + 1), true))),
    );
    parts.push(
      '',
      `Buckets of member ${ptr.dev} have ${bucketSectors} sectors: this is bucket ${Math.floor(ptr.offset / bucketSectors)}, sector ${ptr.offset % bucketSectors} of it. The crc32c of its ${crc.compressed_size} sectors is ${sum.lo.toString(16)}, as the entry says.`,
    );
  });
  const p = ptrs[0];
  if (p?.type !== 'ptr') throw new Error('no pointer');
  const data = bytesAt(fs, p.dev, p.offset * 512, stored);
  const length = viewOf(data).getUint32(0, true);
  const plainBytes = core.decompress(crc.compression_type, data, crc.uncompressed_size * 512);
  agree(plainBytes.length === crc.uncompressed_size * 512 && length + 4 <= stored, 'the zstd frame');
  parts.push(
    '',
    'The data begins so:',
    '',
    fence([
      `0000  ${hex(data.subarray(0, 4))}              ${length}: length of the zstd frame (bcachefs's own prefix)`,
      `0004  ${hex(data.subarray(4, 8))}              zstd's magic, 0xfd2fb528`,
      `0008  ${hex(data.subarray(8, 16))}  …`,
      `${(4 + length).toString(16).padStart(4, '0')}  ${hex(data.subarray(4 + length, Math.min(stored, 4 + length + 8)))}  padding to ${stored} bytes, covered by the checksum`,
    ]),
    '',
    `Decompressed it is ${plainBytes.length} bytes: ${crc.uncompressed_size} sectors.`,
  );
  return parts.join('\n');
}

function reflink(): string {
  const fs = image('basic');
  const indirect = keysOf(fs, 'reflink');
  const key = find(keysOf(fs, 'extents'), k => typeName(k) === 'reflink_p', 'reflink_p');
  const word = viewOf(key.value).getBigUint64(0, true);
  const idx = word & ((1n << 56n) - 1n);
  const target = find(indirect, k => core.bposOffset(k.k.p) > idx, 'indirect extent');
  const { offset } = { offset: core.bposOffset(target.k.p) };
  agree(offset - BigInt(target.k.size) <= idx, 'the indirect extent covers idx');
  return fence([
    keyText(fs, key),
    '',
    `  idx ${idx} lies in the indirect extent of sectors ${offset - BigInt(target.k.size)} to ${offset - 1n}:`,
    '',
    keyText(fs, target),
  ]);
}

function inlineData(): string {
  const fs = image('basic');
  const small = keysOf(fs, 'extents').filter(k => typeName(k) === 'inline_data');
  const key = small.toSorted((a, b) => a.value.length - b.value.length)[0];
  if (key === undefined) throw new Error('no inline data');
  const inode = find(
    keysOf(fs, 'inodes'),
    k => core.bposOffset(k.k.p) === core.bposInode(key.k.p) && typeName(k) === 'inode_v3',
    'inode',
  );
  const size = viewOf(inode.value).getBigUint64(BchInodeV3.offset.bi_size, true);
  agree(size <= BigInt(key.value.length) && size > 0n, 'inline data holds the file');
  return [
    `\`${core.bposText(key.k.p)}\`, size ${key.k.size}, ${key.value.length} bytes of value; the inode's \`bi_size\` is ${size}:`,
    '',
    fence(
      Array.from(
        { length: Math.ceil(key.value.length / 16) },
        (_, i) => `${(16 * i).toString(16).padStart(4, '0')}  ${hex(key.value.subarray(16 * i, 16 * i + 16))}`,
      ),
    ),
  ].join('\n');
}

/** Multiplication in GF(2^8), polynomial 0x11d. */
function gfMultiply(a: number, b: number): number {
  let product = 0;
  for (let i = 0, x = a; i < 8; i++) {
    if ((b >> i) & 1) product ^= x;
    x = (x << 1) ^ (x & 0x80 ? 0x11d : 0);
  }
  return product;
}

function gfPower(n: number): number {
  let power = 1;
  for (let i = 0; i < n; i++) power = gfMultiply(power, 2);
  return power;
}

const gfInverse = (a: number): number =>
  find(
    Array.from({ length: 256 }, (_, i) => i),
    b => gfMultiply(a, b) === 1,
    'inverse',
  );

function parity(): string {
  const data = [0x8e, 0x41, 0xf3];
  const p = data.reduce((a, b) => a ^ b, 0);
  const q = data.reduce((sum, d, i) => sum ^ gfMultiply(gfPower(i), d), 0);
  const h = (n: number) => `0x${n.toString(16).padStart(2, '0')}`;
  // Lose blocks 0 and 2.
  const [x, y] = [0, 2];
  const restP = p ^ data[1]!;
  const restQ = q ^ gfMultiply(gfPower(1), data[1]!);
  const denominator = gfPower(x) ^ gfPower(y);
  const dx = gfMultiply(restQ ^ gfMultiply(gfPower(y), restP), gfInverse(denominator));
  const dy = restP ^ dx;
  agree(dx === data[x] && dy === data[y], 'two blocks rebuilt from P and Q');
  return fence([
    `d0 = ${h(data[0]!)}   d1 = ${h(data[1]!)}   d2 = ${h(data[2]!)}`,
    `P  = d0 ^ d1 ^ d2                  = ${h(p)}`,
    `Q  = 1·d0 ^ 2·d1 ^ 4·d2`,
    `   = ${h(data[0]!)} ^ ${h(gfMultiply(2, data[1]!))} ^ ${h(gfMultiply(4, data[2]!))}            = ${h(q)}`,
    '',
    'd0 and d2 are lost:',
    `P' = P ^ d1                        = ${h(restP)}     (= d0 ^ d2)`,
    `Q' = Q ^ 2·d1                      = ${h(restQ)}     (= 1·d0 ^ 4·d2)`,
    `d0 = (Q' ^ 4·P') / (1 ^ 4)`,
    `   = ${h(restQ ^ gfMultiply(4, restP))} · inverse(${h(denominator)})  = ${h(restQ ^ gfMultiply(4, restP))} · ${h(gfInverse(denominator))}   = ${h(dx)}`,
    `d2 = P' ^ d0                       = ${h(dy)}`,
  ]);
}

// ---- files ----

function inode(): string {
  const fs = image('basic');
  const key = find(keysOf(fs, 'inodes'), k => core.bposOffset(k.k.p) === 4096n, 'root inode');
  const { value } = key;
  const unpacked = core.unpackInodeV3(value);
  const count = unpacked.nr_fields;
  const reader = new VarintReader(value, BchInodeV3.size);
  const rows: (readonly (string | number | bigint)[])[] = [];
  let zeros = 0;
  for (const { name, bits } of core.inodeFields.rows.slice(0, count)) {
    for (let part = 0; part < (bits === 96 ? 2 : 1); part++) {
      const from = reader.at;
      agree(reader.next(), `the varint of ${name}`);
      const number = (BigInt(reader.hi) << 32n) | BigInt(reader.lo);
      if (part === 0) agree(BigInt(unpacked[name]) === number, `the value of ${name}`);
      const raw = value.subarray(from, reader.at);
      if (number === 0n && rows.length > 4) zeros++;
      rows.push([from, code(hex(raw)), part === 1 ? `${name}, upper part` : name, number]);
    }
  }
  const shown = rows.filter(row => row[3] !== 0n || rows.indexOf(row) < 6);
  agree(shown.length < rows.length && zeros > 0, 'most fields are zero');
  const first = rows[0]!;
  const raw = value.subarray(BchInodeV3.size, BchInodeV3.size + (Number(rows[1]![0]) - Number(first[0])));
  const steps = varintSteps(raw);
  return [
    `The root directory of the image \`basic\`, ${core.bposText(key.k.p)}, ${value.length} bytes:`,
    '',
    fence(structLines(BchInodeV3, value)),
    '',
    table(
      ['Bits of `bi_flags`', '', 'Value'],
      [
        ['0 to 19', 'flags', unpacked.bi_flags & 0xfffff],
        ['20 to 23', 'hash type', `${unpacked.str_hash}: ${strHashTypes.nameOf(unpacked.str_hash)}`],
        ['24 to 30', 'number of fields', count],
        ['31 to 35', 'where they start, in u64s', unpacked.fields_start],
        ['36 to 51', 'mode', `${unpacked.bi_mode.toString(8)} (octal)`],
      ],
    ),
    '',
    `The ${count} fields follow at byte ${BchInodeV3.size}; those that are zero take one byte each (${code('00')}), and only some are shown:`,
    '',
    table(['Byte', 'Bytes', 'Field', 'Value'], shown),
    '',
    'The first varint, step by step:',
    '',
    fence(steps),
  ].join('\n');
}

function varintSteps(raw: Uint8Array): string[] {
  const reader = new VarintReader(raw, 0);
  agree(reader.next() && reader.at === raw.length, 'one varint');
  const value = (BigInt(reader.hi) << 32n) | BigInt(reader.lo);
  const first = raw[0]!;
  if (first === 255) {
    return [`${hex(raw)}`, `first byte 0xff: eight whole bytes follow`, `value = ${hexWord(value)} = ${value}`];
  }
  let whole = 0n;
  for (const byte of raw.toReversed()) whole = (whole << 8n) | BigInt(byte);
  return [
    hex(raw),
    `first byte ${first.toString(2).padStart(8, '0')}: ${raw.length - 1} one bits from the bottom, then a zero: ${raw.length} bytes`,
    `as one integer 0x${whole.toString(16)}`,
    `>> ${raw.length} = 0x${value.toString(16)} = ${value}`,
  ];
}

function varints(): string {
  const rows = [0n, 1n, 127n, 128n, 1000n, 4096n, 2n ** 32n, 2n ** 56n - 1n, 2n ** 56n, 2n ** 64n - 1n].map(value => {
    const raw = Uint8Array.from(encodeVarint(value));
    const reader = new VarintReader(raw, 0);
    agree(reader.next() && ((BigInt(reader.hi) << 32n) | BigInt(reader.lo)) === value, `varint of ${value}`);
    return [value, code(hex(raw)), raw.length];
  });
  return table(['Value', 'Bytes', 'Length'], rows);
}

const MASK = (1n << 64n) - 1n;
const rotate = (x: bigint, n: bigint): bigint => ((x << n) | (x >> (64n - n))) & MASK;

/**
 * SipHash-2-4 as the reference feeds it: when a piece before left the buffer partly filled, the tail of a later piece is put where that
 * one had ended instead of at the start of the buffer, and some of it does not count.
 */
function siphash(k0: bigint, k1: bigint, pieces: readonly Uint8Array[]): bigint {
  let [v0, v1, v2, v3] = [
    0x736f6d6570736575n ^ k0,
    0x646f72616e646f6dn ^ k1,
    0x6c7967656e657261n ^ k0,
    0x7465646279746573n ^ k1,
  ];
  const rounds = (n: number) => {
    for (let i = 0; i < n; i++) {
      v0 = (v0 + v1) & MASK;
      v2 = (v2 + v3) & MASK;
      v1 = rotate(v1, 13n) ^ v0;
      v3 = rotate(v3, 16n) ^ v2;
      v0 = rotate(v0, 32n);
      v2 = (v2 + v1) & MASK;
      v0 = (v0 + v3) & MASK;
      v1 = rotate(v1, 17n) ^ v2;
      v3 = rotate(v3, 21n) ^ v0;
      v2 = rotate(v2, 32n);
    }
  };
  const block = (bytes: Uint8Array) => {
    const m = viewOf(bytes).getBigUint64(0, true);
    v3 ^= m;
    rounds(2);
    v0 ^= m;
  };
  const buffer = new Uint8Array(8);
  let total = 0;
  for (const piece of pieces) {
    const used = total % 8;
    total += piece.length;
    let rest = piece;
    if (used > 0) {
      if (rest.length < 8 - used) {
        buffer.set(rest, used);
        continue;
      }
      buffer.set(rest.subarray(0, 8 - used), used);
      block(buffer);
      rest = rest.subarray(8 - used);
    }
    while (rest.length >= 8) {
      block(rest.slice(0, 8));
      rest = rest.subarray(8);
    }
    buffer.set(rest.subarray(0, 8 - used), used);
  }
  buffer.fill(0, total % 8, 7);
  buffer[7] = total & 255;
  block(buffer);
  v2 ^= 0xffn;
  rounds(4);
  return v0 ^ v1 ^ v2 ^ v3;
}

const seedOf = (fs: core.Filesystem, inum: bigint): bigint => {
  const key = find(
    keysOf(fs, 'inodes'),
    k => core.bposOffset(k.k.p) === inum && typeName(k) === 'inode_v3',
    `inode ${inum}`,
  );
  const { str_hash, bi_hash_seed } = core.unpackInodeV3(key.value);
  agree(strHashTypes.nameOf(str_hash) === 'siphash', 'names are hashed with siphash');
  return bi_hash_seed;
};

function direntHash(): string {
  const fs = image('basic');
  const rootSeed = seedOf(fs, 4096n);
  const entries = keysOf(fs, 'dirents').filter(k => typeName(k) === 'dirent' && core.bposInode(k.k.p) === 4096n);
  for (const k of entries) {
    const { name } = dirent.decode(k.value);
    agree(
      siphash(rootSeed, 0n, [name]) >> 1n === core.bposOffset(k.k.p),
      `the slot of ${new TextDecoder().decode(name)}`,
    );
  }
  const key = entries[0]!;
  const value = dirent.decode(key.value);
  const text = new TextDecoder().decode(value.name);
  const hash = siphash(rootSeed, 0n, [value.name]);
  agree('inum' in value.target, 'a plain dirent');
  return [
    `\`${text}\` in the root directory of the image \`basic\`, ${core.bposText(key.k.p)}:`,
    '',
    fence([
      `0000  ${hex(key.value.subarray(0, 8))}  d_inum = ${'inum' in value.target ? value.target.inum : ''}`,
      `0008  ${hex(key.value.subarray(8, 9)).padEnd(23)}  d_type = ${key.value[8]}: ${core.fileTypes.nameOf(value.type)}`,
      ...chunks(key.value.subarray(9, 9 + value.name.length)).map((part, i) =>
        `${(9 + 8 * i).toString(16).padStart(4, '0')}  ${hex(part).padEnd(23)}  ${i === 0 ? `d_name = ${JSON.stringify(text)}` : ''}`.trimEnd(),
      ),
      `${(9 + value.name.length).toString(16).padStart(4, '0')}  ${hex(key.value.subarray(9 + value.name.length)).padEnd(23)}  zeroes to a multiple of 8`,
    ]),
    '',
    fence([
      `bi_hash_seed of inode 4096     ${hexWord(rootSeed)}   (k0; k1 is 0)`,
      `siphash-2-4("${text}")${' '.repeat(Math.max(1, 17 - text.length))} ${hexWord(hash)}`,
      `>> 1                           ${hexWord(hash >> 1n)} = ${hash >> 1n}, the offset of the key`,
    ]),
    '',
    `All ${entries.length} names of this directory stand at their hashes.`,
  ].join('\n');
}

const chunks = (bytes: Uint8Array): Uint8Array[] =>
  Array.from({ length: Math.ceil(bytes.length / 8) }, (_, i) => bytes.subarray(8 * i, 8 * i + 8));

function xattrProbing(): string {
  const fs = image('basic');
  const all = keysOf(fs, 'xattrs');
  const whiteout = find(all, k => typeName(k) === 'hash_whiteout', 'hash_whiteout among xattrs');
  const inum = core.bposInode(whiteout.k.p);
  const seed = seedOf(fs, inum);
  for (const key of all) {
    if (typeName(key) !== 'xattr') continue;
    const { type, name } = xattr.decode(key.value);
    const hash = siphash(seedOf(fs, core.bposInode(key.k.p)), 0n, [Uint8Array.of(type), name]) >> 1n;
    const probes = core.bposOffset(key.k.p) - hash;
    agree(probes >= 0n && probes < BigInt(all.length), `the slot of the xattr ${new TextDecoder().decode(name)}`);
  }
  const chain: core.Key[] = [whiteout];
  for (let offset = core.bposOffset(whiteout.k.p) - 1n; ; offset--) {
    const before = all.find(k => core.bposInode(k.k.p) === inum && core.bposOffset(k.k.p) === offset);
    if (before === undefined) break;
    chain.unshift(before);
  }
  for (let offset = core.bposOffset(whiteout.k.p) + 1n; ; offset++) {
    const after = all.find(k => core.bposInode(k.k.p) === inum && core.bposOffset(k.k.p) === offset);
    if (after === undefined) break;
    chain.push(after);
  }
  const hashOf = (key: core.Key): bigint => {
    const { type, name } = xattr.decode(key.value);
    return siphash(seed, 0n, [Uint8Array.of(type), name]) >> 1n;
  };
  const rows = chain.map(key => {
    if (typeName(key) === 'hash_whiteout') return [core.bposOffset(key.k.p), '`hash_whiteout`', '', 'a search goes on'];
    const { name, type } = xattr.decode(key.value);
    const hash = hashOf(key);
    agree(
      hash <= core.bposOffset(key.k.p) && hash >= core.bposOffset(chain[0]!.k.p),
      'an xattr is at its hash or after it',
    );
    const probes = core.bposOffset(key.k.p) - hash;
    return [
      core.bposOffset(key.k.p),
      code(`${xattrTypes.nameOf(type)}.${new TextDecoder().decode(name)}`),
      hash,
      probes === 0n ? 'at its hash' : `${probes} after`,
    ];
  });
  const named = chain.find(key => typeName(key) === 'xattr')!;
  return [
    `Inode ${inum} of the image \`basic\` has xattrs in a row of neighbouring slots, because their hashes are the same:`,
    '',
    table(['Offset', 'Key', 'Hash >> 1', ''], rows),
    '',
    'The first of them in bytes:',
    '',
    fence([
      ...structLines(BchXattr, named.value),
      ...chunks(named.value.subarray(BchXattr.size)).map((part, i) =>
        `${(BchXattr.size + 8 * i).toString(16).padStart(4, '0')}  ${hex(part).padEnd(24)}  ${i === 0 ? 'name, value, zeroes' : ''}`.trimEnd(),
      ),
    ]),
  ].join('\n');
}

function casefold(): string {
  const name = new TextEncoder().encode('ReadMe');
  const casefoldedName = new TextEncoder().encode('readme');
  const bytes = dirent.encode({
    target: { inum: 4100n },
    type: 8,
    name,
    casefoldedName,
    namesLength: 12,
    namesLengthMax: 12,
  });
  const back = dirent.decode(bytes);
  agree(
    back.casefoldedName !== undefined && new TextDecoder().decode(back.casefoldedName) === 'readme',
    'a casefolded dirent',
  );
  return fence([
    `0000  ${hex(bytes.subarray(0, 8))}  d_inum = 4100`,
    `0008  ${hex(bytes.subarray(8, 9)).padEnd(23)}  d_type = 8 (reg) with the highest bit set`,
    `0009  ${hex(bytes.subarray(9, 11)).padEnd(23)}  d_pad`,
    `000b  ${hex(bytes.subarray(11, 13)).padEnd(23)}  d_name_len = ${name.length}`,
    `000d  ${hex(bytes.subarray(13, 15)).padEnd(23)}  d_cf_name_len = ${casefoldedName.length}`,
    `000f  ${hex(bytes.subarray(15, 21)).padEnd(23)}  "ReadMe"`,
    `0015  ${hex(bytes.subarray(21, 27)).padEnd(23)}  "readme", which is what is hashed`,
    `001b  ${hex(bytes.subarray(27)).padEnd(23)}  zeroes`,
  ]);
}

function subvolumeDirent(): string {
  const fs = image('basic');
  const found = keysOf(fs, 'dirents').filter(
    k => typeName(k) === 'dirent' && 'child_subvol' in dirent.decode(k.value).target,
  );
  agree(found.length > 0, 'dirents of subvolumes');
  const key = found[0]!;
  return fence([`${hex(key.value.subarray(0, 8)).padEnd(40)}d_child_subvol, d_parent_subvol`, keyText(fs, key)]);
}

// ---- journal ----

function journalEntries(): string {
  const fs = image('unclean');
  const { journal } = fs.replay;
  if (journal === undefined) throw new Error('unclean has a journal');
  const rows = journal.entries.map(e => [
    e.seq,
    e.isFlush ? e.lastSeq : `(${e.lastSeq})`,
    e.isFlush ? 'yes' : 'no',
    `bucket ${e.source.bucketIndex}, sector ${e.source.bucketOffsetSectors}`,
    e.sizeBytes,
    e.use,
  ]);
  return [
    table(['seq', 'last_seq', 'Flush', 'Where', 'Bytes', 'Replay'], rows),
    '',
    `The newest flushed entry is ${journal.replayRange?.last}; its \`last_seq\` is ${journal.replayRange?.first}, so entries ${journal.replayRange?.first} to ${journal.replayRange?.last} are replayed.`,
  ].join('\n');
}

function journalHeader(): string {
  const fs = image('unclean');
  const { journal } = fs.replay;
  const entry = journal?.entries.at(-1);
  if (journal === undefined || entry === undefined) throw new Error('unclean has a journal');
  const bytes = bytesAt(fs, 0, entry.source.sector * 512, entry.sizeBytes);
  const header = core.Jset.get(viewOf(bytes), 0);
  agree(core.verifyVstruct(core.JSET.csumType(header.flags), bytes).good, 'the checksum of the journal entry');
  const { entries } = journal.read(entry);
  const rows: (readonly (string | number | bigint)[])[] = [];
  let at = core.Jset.size;
  for (const sub of entries) {
    const decoded = core.decodeJsetEntry(sub);
    const type = core.jsetEntryTypes.nameOf(sub.type);
    let what = '';
    if (decoded?.type === 'keys') {
      const keys = decoded.keys.map(key => `\`${typeName(key)} ${core.bposText(key.k.p)}\``);
      what = `${core.btrees.nameOf(sub.btree_id)}, level ${sub.level}: ${keys.slice(0, 3).join(', ')}${keys.length > 3 ? ` and ${keys.length - 3} more` : ''}`;
    } else if (decoded?.type === 'log') what = `\`${decoded.message}\``;
    rows.push([at, code(hex(bytes.subarray(at, at + 8))), code(type), what]);
    at += 8 + sub.payload.length;
  }
  agree(at === bytes.length, 'the sub-entries fill the entry');
  return [
    fence(
      structLines(core.Jset, bytes, 0, {
        csum: `of bytes 16 to ${bytes.length - 1}`,
        flags: `checksum type ${core.checksumTypeText(core.JSET.csumType(header.flags))}, ${core.JSET.isNoFlush(header.flags) ? 'no flush' : 'flushed'}`,
        version: core.versionNumber(header.version),
        u64s: `${core.Jset.size} + 8 · ${header.u64s} = ${bytes.length} bytes`,
      }),
    ),
    '',
    table(['Byte', 'Header', 'Type', 'What'], rows.slice(0, 14)),
    ...(rows.length > 14 ? ['', `and ${rows.length - 14} more.`] : []),
  ].join('\n');
}

function replay(): string {
  const fs = image('unclean');
  const { roots, overlay, journal } = fs.replay;
  const rows = [...roots.values()]
    .toSorted((a, b) => a.btree - b.btree)
    .map(root => [
      code(core.btrees.nameOf(root.btree)),
      root.level,
      root.seq ?? 'clean',
      overlay.keysOf(root.btree, 0).length,
      keysOf(fs, core.btrees.byId(root.btree)!.name).length,
    ]);
  return [
    table(['Btree', 'Level', 'Root from entry', 'Overlay positions', 'Keys after replay'], rows),
    '',
    `${overlay.keysRead} keys were in the journal, for ${overlay.size} positions. Had a kernel mounted this image, its next entry would be ${journal?.nextSeq} or more, and what it skips becomes a blacklist range.`,
  ].join('\n');
}

// ---- snapshots ----

function snapshotNodes(fs: core.Filesystem) {
  return new Map(keysOf(fs, 'snapshots').map(k => [Number(core.bposOffset(k.k.p)), core.snapshot.decode(k.value)]));
}

const fromTop = (id: number): string => (id === 0xffff_ffff ? 'U32_MAX' : `U32_MAX-${0xffff_ffff - id}`);

function snapshotTree(): string {
  const nodes = snapshotNodes(image('basic'));
  const lines: string[] = [];
  const show = (id: number, indent: string): void => {
    const value = nodes.get(id)!;
    const of = value.subvol === 0 ? 'shared by its children' : `subvolume ${value.subvol}`;
    lines.push(`${indent}${id} (${fromTop(id)})   ${of}, depth ${value.depth}, tree ${value.tree}`);
    for (const child of value.children) if (child !== 0) show(child, `${indent}    `);
  };
  for (const [id, value] of nodes) if (value.parent === 0) show(id, '');
  return fence(lines);
}

function visibility(): string {
  const fs = image('basic');
  const nodes = snapshotNodes(fs);
  const isAncestor = (of: number, ancestor: number): boolean => {
    for (let id = of; id !== 0; id = nodes.get(id)?.parent ?? 0) if (id === ancestor) return true;
    return false;
  };
  const groups = new Map<string, core.Key[]>();
  for (const key of keysOf(fs, 'extents')) {
    if (core.bposSnapshot(key.k.p) === 0xffff_ffff) continue;
    const id = `${core.bposInode(key.k.p)}:${core.bposOffset(key.k.p)}`;
    groups.set(id, [...(groups.get(id) ?? []), key]);
  }
  const shown = [
    find(
      groups.entries(),
      ([, keys]) => keys.length > 1 && keys.some(k => typeName(k) === 'whiteout'),
      'whiteout over an extent',
    ),
    find(
      groups.entries(),
      ([, keys]) => keys.length > 1 && keys.every(k => typeName(k) === 'extent'),
      'overwritten extent',
    ),
  ];
  const subvolumes = keysOf(fs, 'subvolumes')
    .map(k => ({ id: Number(core.bposOffset(k.k.p)), snapshot: core.subvolume.decode(k.value).snapshot }))
    .filter(({ snapshot }) => snapshot !== 0xffff_ffff);
  const parts: string[] = [];
  for (const [position, keys] of shown) {
    parts.push(
      `Keys at ${position}, in the order of the btree:`,
      '',
      table(
        ['Snapshot', 'Key'],
        keys.map(k => [
          `${core.bposSnapshot(k.k.p)} (${fromTop(core.bposSnapshot(k.k.p))})`,
          code(`${typeName(k)}${k.k.size > 0 ? ` len ${k.k.size}` : ''}`),
        ]),
      ),
      '',
    );
    parts.push(
      table(
        ['Subvolume', 'Its snapshot', 'Sees'],
        subvolumes.map(({ id, snapshot }) => {
          const seen = keys.find(k => isAncestor(snapshot, core.bposSnapshot(k.k.p)));
          const answer =
            seen === undefined
              ? 'nothing: no key of an ancestor'
              : typeName(seen) === 'whiteout'
                ? `nothing: the whiteout of ${fromTop(core.bposSnapshot(seen.k.p))}`
                : `the ${typeName(seen)} of ${fromTop(core.bposSnapshot(seen.k.p))}`;
          return [id, fromTop(snapshot), answer];
        }),
      ),
      '',
    );
  }
  return parts.join('\n').trimEnd();
}

function snapshotBytes(): string {
  const key = keysOf(image('basic'), 'snapshots')[2]!;
  return [
    `The node ${core.bposText(key.k.p)}, ${key.value.length} bytes: the members after them did not exist at 1.13.`,
    '',
    fence(
      structLines(core.BchSnapshot, padded(key.value, core.BchSnapshot.size)).filter(
        line => Number.parseInt(line.slice(0, 4), 16) < key.value.length,
      ),
    ),
  ].join('\n');
}

function padded(value: Uint8Array, size: number): Uint8Array {
  const whole = new Uint8Array(size);
  whole.set(value.subarray(0, size));
  return whole;
}

// ---- allocation ----

function allocKey(): string {
  const fs = image('basic');
  const key = find(
    keysOf(fs, 'alloc'),
    k => core.dataTypes.nameOf(core.allocV4.decode(k.value).data_type) === 'user',
    'user bucket',
  );
  const { flags } = core.allocV4.decode(key.value);
  return [
    `Bucket ${core.bposOffset(key.k.p)} of member ${core.bposInode(key.k.p)} in the image \`basic\`, ${core.bposText(key.k.p)}:`,
    '',
    fence(structLines(core.BchAllocV4, padded(key.value, core.BchAllocV4.size))),
    '',
    table(
      ['Bits of `flags`', '', 'Value'],
      [
        ['0', '`NEED_DISCARD`: to be discarded when it becomes empty', flags & 1],
        ['1', '`NEED_INC_GEN`: its generation is raised when it becomes empty', (flags >> 1) & 1],
        ['2 to 7', '`BACKPOINTERS_START`: length of the fields in u64s', (flags >> 2) & 63],
        ['8 to 13', '`NR_BACKPOINTERS`: inside the key, until 0.28', (flags >> 8) & 63],
      ],
    ),
  ].join('\n');
}

function backpointerKey(): string {
  const fs = image('basic');
  const key = find(
    keysOf(fs, 'backpointers'),
    k => core.dataTypes.nameOf(core.BchBackpointer.get(viewOf(k.value), 0).data_type) === 'user',
    'backpointer of user data',
  );
  const format = { version: fs.sb.version, extentBpShift: 0 };
  const pos = core.backpointerPos(key.k.p, format);
  const offset = core.bposOffset(key.k.p);
  agree(offset >> 10n === pos.sector, 'the sector of a backpointer');
  const value = core.BchBackpointer.get(viewOf(key.value), 0);
  const pointed = find(
    keysOf(fs, core.btrees.byId(value.btree_id)!.name),
    k => core.compareBpos(k.k.p, value.pos) === 0,
    'key that the backpointer names',
  );
  return [
    fence([
      keyText(fs, key),
      '',
      `offset ${offset} >> 10 = sector ${pos.sector}; the lower ten bits, ${offset & 1023n}, are the suboffset`,
      '',
      'the key that points there:',
      keyText(fs, pointed),
    ]),
  ].join('\n');
}

function accountingPositions(): string {
  const examples = [
    { type: 'nr_inodes' },
    { type: 'dev_data_type', dev: 1, data_type: 4 },
    { type: 'replicas', entry: { data_type: 4, nr_required: 1, devs: [0, 1] } },
    { type: 'btree', id: 2 },
    { type: 'inum', inum: 4100n },
  ] as const;
  const rows = examples.map(example => {
    const old = core.accountingBpos(example, { version: core.versionOf('inode_has_child_snapshots') });
    const now = core.accountingBpos(example, { version: core.versionOf('disk_accounting_big_endian') });
    const same = core.accountingPos(now, { version: core.versionOf('disk_accounting_big_endian') });
    agree(same.type === example.type, 'an accounting position there and back');
    return [code(example.type), code(positionText(old)), code(positionText(now))];
  });
  return table(['Counts', 'Position until 1.14', 'Position since 1.15'], rows);
}

const positionText = (pos: core.Bpos): string =>
  `${core.bposInode(pos)}:${core.bposOffset(pos)}:${core.bposSnapshot(pos)}`;

function accountingKeys(): string {
  const fs = image('multi');
  const shown = keysOf(fs, 'accounting').filter(k =>
    ['replicas', 'compression', 'nr_inodes'].includes(core.accountingPos(k.k.p, { version: fs.sb.version }).type),
  );
  return fence(shown.slice(0, 8).map(k => keyText(fs, k)));
}

function freespaceKeys(): string {
  const fs = image('basic');
  const rows = keysOf(fs, 'freespace')
    .slice(-3)
    .map(k => {
      const end = core.bposOffset(k.k.p);
      return [
        core.bposText(k.k.p),
        k.k.size,
        `member ${core.bposInode(k.k.p)}, buckets ${(end & ((1n << 56n) - 1n)) - BigInt(k.k.size)} to ${(end & ((1n << 56n) - 1n)) - 1n}`,
      ];
    });
  return table(['Position', 'Size', 'Free'], rows);
}

function lruKeys(): string {
  const fs = image('basic');
  const rows = keysOf(fs, 'lru').map(k => {
    const { id, time, bucket } = core.lruPos(k.k.p);
    return [code(positionText(k.k.p)), id, time, `member ${bucket >> 48n}, bucket ${bucket & 0xffff_ffff_ffffn}`];
  });
  return table(['Position', 'List', 'Time', 'Bucket'], rows);
}

// ---- encryption ----

const nonceText = (nonce: Nonce): string => nonce.map(word => word.toString(16).padStart(8, '0')).join(' ');

function encryption(): string {
  const fs = image('encrypted');
  const payload = core.sectionPayload(fs.sb, 'crypt');
  if (payload === undefined) throw new Error('encrypted has a crypt section');
  const crypt = decodeCrypt(payload);
  const kdf = kdfParameters(crypt);
  const passphraseKey = deriveKey(PASSPHRASE, kdf);
  const nonce = sbKeyNonce(core.uuidBytes(fs.sb.uuid));
  const sealed = payload.slice(BchSbCrypt.offset.key_magic, BchSbCrypt.size);
  const openedKey = sealed.slice();
  chacha20(passphraseKey, nonce, openedKey);
  agree(fs.key !== undefined && hex(openedKey.subarray(8)) === hex(fs.key), 'the master key');
  agree(new TextDecoder().decode(openedKey.subarray(0, 8)) === 'bch**key', 'the magic of the key');
  return fence([
    `uuid          ${fs.sb.uuid}`,
    `scrypt        N = 2^${kdf.n}, r = 2^${kdf.r}, p = 2^${kdf.p}, salt "bcache\\0", 32 bytes out`,
    `passphrase    "correct horse"`,
    `derived key   ${hex(passphraseKey.subarray(0, 16))} …`,
    `nonce         ${nonceText(nonce)}     (four 32-bit words: 0, 0, the first 8 bytes of uuid)`,
    `sealed        ${hex(sealed.subarray(0, 16))} …`,
    `chacha20      ${hex(openedKey.subarray(0, 16))} …`,
    `              "${new TextDecoder().decode(openedKey.subarray(0, 8))}": the magic, so the passphrase is right; the 32 bytes after it are the master key`,
  ]);
}

function encryptedNode(): string {
  const fs = image('encrypted');
  if (fs.key === undefined) throw new Error('no key');
  const { key } = rootOf(fs, 'inodes');
  const { node } = rawNode(fs, 'inodes', 0, key);
  const raw = bytesAt(fs, 0, node.facts.sector * 512, 1024);
  const bset = core.Bset.get(viewOf(raw), core.NODE_BSET_AT);
  const nonce = btreeNonce(bset, 0);
  const end = core.NODE_KEYS_AT + 8 * bset.u64s;
  const { good } = core.verifyVstruct(core.bsetCsumType(bset), raw.subarray(0, end), { key: fs.key, nonce });
  agree(good, 'the MAC of an encrypted node');
  const opened = raw.slice(core.BtreeNodeHeader.offset.flags, core.NODE_BSET_AT);
  chacha20(fs.key, nonce, opened);
  const flags = viewOf(opened).getBigUint64(0, true);
  agree((flags & 15n) === BigInt(core.btrees.idOf('inodes')), 'the decrypted flags of a node');
  const second = node.facts.bsets[1];
  const lines = [
    `bset          seq ${bset.seq.toString(16)}, journal_seq ${bset.journal_seq}, type ${core.checksumTypeText(core.bsetCsumType(bset))}`,
    `nonce         ${nonceText(nonce)}     (offset, seq low, seq high, journal_seq ^ 2 << 28)`,
    `MAC           over bytes 16 to ${end - 1} as they are on disk: good`,
    `0018  ${hex(raw.subarray(24, 32))}  flags on disk`,
    `0018  ${hex(opened.subarray(0, 8))}  flags decrypted: btree ${flags & 15n}, level ${(flags >> 4n) & 15n}`,
    `0088  ${hex(raw.subarray(core.NODE_BSET_AT, core.NODE_BSET_AT + 8))}  bset.seq, never encrypted`,
  ];
  if (second !== undefined) {
    const at = 512 * second.offsetSectors;
    const later = core.Bset.get(viewOf(bytesAt(fs, 0, node.facts.sector * 512 + at, 64)), core.ENTRY_BSET_AT);
    lines.push(
      `second bset   nonce ${nonceText(btreeNonce(later, at))}: its byte offset in the node, ${at}, and its journal_seq, ${later.journal_seq}`,
    );
  }
  return fence(lines);
}

function journalNonceText(): string {
  return fence([`entry 39      ${nonceText(journalNonce(39))}     (0, seq low, seq high, 3 << 28)`]);
}

// ---- versions ----

function versionNumbers(): string {
  const rows = ['snapshot_trees', 'major_minor', 'inode_has_child_snapshots', 'per_dev_fragmentation_lru'].map(name => {
    const row = find(core.versions.rows, one => one.name === name, name);
    return [
      code(name),
      core.versionNumber(row.id),
      `${core.versionMajor(row.id)} · 1024 + ${core.versionMinor(row.id)}`,
      row.id,
      code(hex(Uint8Array.of(row.id & 255, row.id >> 8))),
    ];
  });
  return table(['Name', 'Version', '', 'Number', 'On disk'], rows);
}

function checksums(): string {
  const bytes = new TextEncoder().encode('123456789');
  const zeroes = new Uint8Array(9);
  const rows = core.checksumTypes.rows
    .filter(row => !row.isEncryption)
    .map(({ id, name, sizeBytes }) => [
      id,
      code(name),
      sizeBytes,
      code(core.csumText(id, core.checksum(id, bytes)) || 'nothing'),
      code(core.csumText(id, core.checksum(id, zeroes)) || 'nothing'),
    ]);
  return [table(['Type', 'Name', 'Bytes', '`"123456789"`', 'nine zero bytes'], rows)].join('\n');
}

function entryLengths(): string {
  return table(
    ['Type', 'Name', 'u64s', 'Bits of type'],
    extentEntryTypes.rows.map(({ id, name, u64s }) => [
      id,
      code(name),
      u64s,
      `${id + 1}: ${code(`1${'0'.repeat(id)}`)}`,
    ]),
  );
}

/** By the name that pages use. */
export const examples: Readonly<Record<string, () => string>> = {
  superblock,
  'superblock layout': superblockLayout,
  'superblock sections': sections,
  member,
  'unpacked key': unpackedKey,
  'packed key': packedKey,
  node,
  'node overwrite': nodeOverwrite,
  extent,
  reflink,
  'inline data': inlineData,
  parity,
  inode,
  varints,
  'dirent hash': direntHash,
  'xattr probing': xattrProbing,
  casefold,
  'subvolume dirent': subvolumeDirent,
  'journal entries': journalEntries,
  'journal header': journalHeader,
  replay,
  'snapshot tree': snapshotTree,
  'snapshot bytes': snapshotBytes,
  visibility,
  'alloc key': allocKey,
  'backpointer key': backpointerKey,
  'accounting positions': accountingPositions,
  'accounting keys': accountingKeys,
  'freespace keys': freespaceKeys,
  'lru keys': lruKeys,
  encryption,
  'encrypted node': encryptedNode,
  'journal nonce': journalNonceText,
  'version numbers': versionNumbers,
  checksums,
  'extent entry lengths': entryLengths,
};
