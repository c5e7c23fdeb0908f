// Extended attributes: in the inode, in a block of their own that inodes may share, and values in inodes of their own (ea_inode). ACLs come
// in the form of the system call. Source: fs/ext4/xattr.{h,c}, acl.c of Linux 6.12.

import { compareBytes, crc32c, printableBytes } from '@bcachefs-ts/core/engine';
import { crc32cOfU64 } from './checksums.ts';
import { damaged, hex } from './faults.ts';
import { FLAG_EA_INODE, type Inode } from './inode.ts';
import type { Superblock } from './superblock.ts';
import type { Ext4Xattr, ReadableDevice } from './types.ts';

const MAGIC = 0xea02_0000;
const BLOCK_HEADER_BYTES = 32;
const ENTRY_BYTES = 16;
/** Of one value; system calls take up to 64 KiB. */
const VALUE_MAX = 2 ** 20;
/** Of all values of an inode: many may be the same one. */
const VALUES_MAX = 2 ** 24;

const prefixes: Readonly<Record<number, string>> = {
  1: 'user.',
  2: 'system.posix_acl_access',
  3: 'system.posix_acl_default',
  4: 'trusted.',
  5: 'lustre.',
  6: 'security.',
  7: 'system.',
  8: 'system.richacl',
  9: 'encryption.',
};
const SYSTEM = 7;

const encoder = new TextEncoder();

/** What attributes need of the filesystem. */
export interface XattrSource {
  readonly device: ReadableDevice;
  readonly sb: Superblock;
  /** @throws InputError when it is not in use */
  inode(number: number): Inode;
  /** All of it. */
  contents(inode: Inode): Uint8Array;
}

interface Entry {
  readonly index: number;
  readonly name: Uint8Array;
  readonly value: Uint8Array;
}

/** Sorted by the bytes of their names. @throws InputError */
export function readXattrs(source: XattrSource, inode: Inode): readonly Ext4Xattr[] {
  const found: Ext4Xattr[] = [];
  let valueBytes = 0;
  for (const { index, name, value } of entriesOf(source, inode)) {
    if (isInlineData(index, name)) continue;
    valueBytes += value.length;
    if (valueBytes > VALUES_MAX) throw bad(source, inode, `its attributes have more than ${VALUES_MAX} bytes`);
    const prefix = prefixes[index];
    if (prefix === undefined) throw bad(source, inode, `an attribute is of the unknown namespace ${index}`);
    const whole = new Uint8Array(prefix.length + name.length);
    whole.set(encoder.encode(prefix));
    whole.set(name, prefix.length);
    const isAcl = index === 2 || index === 3;
    if (isAcl !== (name.length === 0) && index !== 8)
      throw bad(source, inode, `an attribute has the name '${printableBytes(whole)}'`);
    if (whole.includes(0)) throw bad(source, inode, `an attribute has a NUL in its name`);
    found.push({ name: whole, value: isAcl ? aclOf(source, inode, value) : value });
  }
  found.sort((a, b) => compareBytes(a.name, b.name));
  for (const [i, { name }] of found.entries())
    if (i > 0 && compareBytes(name, found[i - 1]!.name) === 0)
      throw bad(source, inode, `the attribute ${printableBytes(name)} is there twice`);
  return found;
}

/** Bytes of each attribute's name without its namespace, and of its value, without reading those that are in other inodes. @throws InputError */
export function* xattrSizes(
  source: XattrSource,
  inode: Inode,
): Generator<{ readonly nameBytes: number; readonly valueBytes: number }> {
  for (const region of [inodeRegion(inode), blockRegion(source, inode)]) {
    if (region === undefined) continue;
    for (const { index, name, valueBytes } of rawEntries(source, inode, region))
      if (!isInlineData(index, name)) yield { nameBytes: name.length, valueBytes };
  }
}

/** The value of system.data in the inode: what of inline contents has no room in i_block. */
export function inlineRest(source: XattrSource, inode: Inode): Uint8Array | undefined {
  for (const { index, name, value } of inodeEntries(source, inode)) if (isInlineData(index, name)) return value;
  return undefined;
}

/** A block of attributes, verified. @returns how many inodes it says that have it */
export function attributeBlockRefs(source: XattrSource, inode: Inode): number {
  return new DataView(attributeBlock(source, inode).buffer).getUint32(4, true);
}

const isInlineData = (index: number, name: Uint8Array): boolean =>
  index === SYSTEM && name.length === 4 && compareBytes(name, encoder.encode('data')) === 0;

function* entriesOf(source: XattrSource, inode: Inode): Generator<Entry> {
  yield* inodeEntries(source, inode);
  const region = blockRegion(source, inode);
  if (region !== undefined) yield* entries(source, inode, region);
}

function* inodeEntries(source: XattrSource, inode: Inode): Generator<Entry> {
  const region = inodeRegion(inode);
  if (region !== undefined) yield* entries(source, inode, region);
}

/** Bytes with entries from `from` on, and values by their distance to `valuesFrom`. */
interface Region {
  readonly bytes: Uint8Array;
  readonly from: number;
  readonly valuesFrom: number;
  readonly what: string;
}

function inodeRegion(inode: Inode): Region | undefined {
  const at = inode.attributesAt;
  if (at === undefined || inode.view.getUint32(at, true) !== MAGIC) return undefined;
  return { bytes: inode.raw, from: at + 4, valuesFrom: at + 4, what: 'attributes in the inode' };
}

function blockRegion(source: XattrSource, inode: Inode): Region | undefined {
  if (inode.attributeBlock === 0) return undefined;
  const bytes = attributeBlock(source, inode);
  return { bytes, from: BLOCK_HEADER_BYTES, valuesFrom: 0, what: `attributes in block ${inode.attributeBlock}` };
}

function attributeBlock({ device, sb }: XattrSource, inode: Inode): Uint8Array {
  const { attributeBlock: block } = inode;
  const { firstDataBlock, blocks, blockBytes, hasChecksums } = sb.facts;
  const wrong = (detail: string) =>
    damaged(device.name, `inode ${inode.number}`, `its attributes in block ${block}: ${detail}`);
  if (block <= firstDataBlock || block >= blocks) throw wrong(`expected a block up to ${blocks - 1}`);
  const bytes = new Uint8Array(blockBytes);
  device.read(block * blockBytes, bytes);
  const view = new DataView(bytes.buffer);
  if (view.getUint32(0, true) !== MAGIC)
    throw wrong(`the magic is ${hex(view.getUint32(0, true))}, expected ${hex(MAGIC)}`);
  if (view.getUint32(8, true) !== 1) throw wrong(`they have ${view.getUint32(8, true)} blocks, expected 1`);
  if (!hasChecksums) return bytes;
  const stored = view.getUint32(16, true);
  view.setUint32(16, 0, true);
  const computed = crc32c(crc32cOfU64(sb.seed, block), bytes);
  if (stored !== computed) throw wrong(`the checksum is ${hex(stored)}, expected ${hex(computed)}`);
  return bytes;
}

interface RawEntry {
  readonly index: number;
  readonly name: Uint8Array;
  readonly valueAt: number;
  readonly valueInode: number;
  readonly valueBytes: number;
}

function* rawEntries(source: XattrSource, inode: Inode, region: Region): Generator<RawEntry> {
  const { bytes, what } = region;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const wrong = (detail: string) => bad(source, inode, `its ${what}: ${detail}`);
  for (let at = region.from; ; ) {
    if (at + 4 > bytes.length) throw wrong('there is no end to them');
    if (view.getUint32(at, true) === 0) return;
    const nameBytes = bytes[at]!;
    const next = at + ((ENTRY_BYTES + nameBytes + 3) & ~3);
    if (next > bytes.length) throw wrong('an entry ends past their end');
    yield {
      index: bytes[at + 1]!,
      name: bytes.subarray(at + ENTRY_BYTES, at + ENTRY_BYTES + nameBytes),
      valueAt: region.valuesFrom + view.getUint16(at + 2, true),
      valueInode: view.getUint32(at + 4, true),
      valueBytes: view.getUint32(at + 8, true),
    };
    at = next;
  }
}

function* entries(source: XattrSource, inode: Inode, region: Region): Generator<Entry> {
  const { bytes, what } = region;
  for (const { index, name, valueAt, valueInode, valueBytes } of rawEntries(source, inode, region)) {
    if (valueInode !== 0) {
      yield { index, name, value: valueIn(source, inode, valueInode, valueBytes) };
      continue;
    }
    if (valueBytes > bytes.length || valueAt + valueBytes > bytes.length)
      throw bad(source, inode, `its ${what}: a value of ${valueBytes} bytes at byte ${valueAt} ends past their end`);
    yield { index, name, value: bytes.subarray(valueAt, valueAt + valueBytes) };
  }
}

/** A value that has an inode of its own; its checksum is where other inodes have the time of access. */
function valueIn(source: XattrSource, inode: Inode, number: number, valueBytes: number): Uint8Array {
  const holder = source.inode(number);
  const wrong = (detail: string) =>
    bad(source, inode, `the inode ${number} that holds a value of its attributes ${detail}`);
  if ((holder.flagBits & FLAG_EA_INODE) === 0) throw wrong('is none of that kind');
  if (holder.sizeBytes !== valueBytes || valueBytes > VALUE_MAX)
    throw wrong(`has ${holder.sizeBytes} bytes, expected ${valueBytes}, at the most ${VALUE_MAX}`);
  const value = source.contents(holder);
  const [stored, computed] = [holder.view.getUint32(0x08, true), crc32c(source.sb.seed, value)];
  // Lustre's, from before there was a checksum, name the inode that they belong to instead.
  const isOfLustre = holder.view.getUint32(0x10, true) === inode.number && holder.generation === inode.generation;
  if (stored !== computed && !isOfLustre) throw wrong(`has the checksum ${hex(stored)}, expected ${hex(computed)}`);
  return value;
}

const ACL_USER = 0x02;
const ACL_GROUP = 0x08;
const ACL_VERSION_ON_DISK = 1;
const ACL_VERSION = 2;
const NO_ID = 0xffff_ffff;

/** struct ext4_acl_entry, which has an id only where it means something, as struct posix_acl_xattr_entry. */
function aclOf(source: XattrSource, inode: Inode, bytes: Uint8Array): Uint8Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (bytes.length < 4 || view.getUint32(0, true) !== ACL_VERSION_ON_DISK)
    throw bad(source, inode, 'its ACL is of an unknown version');
  const found: { tag: number; perm: number; id: number }[] = [];
  for (let at = 4; at < bytes.length; ) {
    const tag = at + 4 <= bytes.length ? view.getUint16(at, true) : 0;
    const isNamed = tag === ACL_USER || tag === ACL_GROUP;
    const next = at + (isNamed ? 8 : 4);
    if (next > bytes.length) throw bad(source, inode, 'its ACL is cut off');
    found.push({ tag, perm: view.getUint16(at + 2, true), id: isNamed ? view.getUint32(at + 4, true) : NO_ID });
    at = next;
  }
  const value = new Uint8Array(4 + 8 * found.length);
  const into = new DataView(value.buffer);
  into.setUint32(0, ACL_VERSION, true);
  for (const [i, { tag, perm, id }] of found.entries()) {
    into.setUint16(4 + 8 * i, tag, true);
    into.setUint16(6 + 8 * i, perm, true);
    into.setUint32(8 + 8 * i, id, true);
  }
  return value;
}

function bad({ device }: XattrSource, inode: Inode, detail: string) {
  return damaged(device.name, `inode ${inode.number}`, detail);
}
