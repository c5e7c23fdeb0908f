// Damages btree nodes in their bytes: what a bad medium does (the first block is gone, a checksum does not hold, a key has another byte), and what
// it cannot do: a header that says something else, with a checksum that is right.
//
// Source: src/commands/kill_btree_node.rs, v1.39.2: what `zero`, `csum` and `keys` hit.

import { btreePtrPlaces } from '../btree/node-read.ts';
import { sealVstruct } from '../checksum/checksum.ts';
import { chacha20 } from '../crypto/chacha20.ts';
import { btreeNonce, CHACHA_BLOCK_BYTES, nonceAdd } from '../crypto/nonce.ts';
import { readBytes } from '../device/block-device.ts';
import type { Key } from '../ondisk/bkey.ts';
import { bposText } from '../ondisk/bpos.ts';
import { Bset, bsetCsumType } from '../ondisk/bset.ts';
import { BtreeNodeHeader, ENTRY_BSET_AT, NODE_BSET_AT, NODE_KEYS_AT } from '../ondisk/btree-node.ts';
import { type BtreeName, btrees } from '../ondisk/btrees.ts';
import { checksumTypes } from '../ondisk/checksum-types.ts';
import { UsageError } from '../ondisk/errors.ts';
import { viewOf } from '../ondisk/layout.ts';
import type { Filesystem } from '../opened/filesystem.ts';
import { roundUp, SECTOR_BYTES, sectorsToBytes } from '../util/sizes.ts';

/** What the damage of a node looks like to who reads it. */
export const nodeDamageKinds = ['zero', 'csum', 'keys'] as const;
export type NodeDamageKind = (typeof nodeDamageKinds)[number];

/** A node by the key that points to it. */
export interface NodeRef {
  readonly btree: number;
  readonly level: number;
  readonly ptr: Key;
}

/** A copy of a node that was hit. */
export interface DamagedCopy {
  readonly device: string;
  readonly dev: number;
  /** Where the node begins. */
  readonly sector: number;
  /** From the start of the node to the first byte that changed. */
  readonly offsetBytes: number;
}

/** The nodes of one level, in order: by their pointers, so that they need not be readable. */
export function* nodesOfLevel(filesystem: Filesystem, which: BtreeName | number, level: number): Generator<NodeRef> {
  const { id, root } = filesystem.btree(which);
  if (root?.key === undefined || root.level < level) return;
  if (root.level === level) {
    yield { btree: id, level, ptr: root.key };
    return;
  }
  const pointers = filesystem.btree(id).keys({ level: level + 1, onDamage: () => {} });
  for (const ptr of pointers) yield { btree: id, level, ptr };
}

export const nodeText = ({ btree, level, ptr }: NodeRef, copies: readonly DamagedCopy[]): string =>
  `node of ${btrees.nameOf(btree)}, level ${level}, up to ${positionOf(ptr)}: ` +
  copies.map(({ device, sector, offsetBytes }) => `${device} sector ${sector}, byte ${offsetBytes} of it`).join('; ');

const positionOf = ({ k }: Key): string => bposText(k.p);

/**
 * Damages every copy of a node, or the one on a member.
 * @param dev the index of a member
 * @throws UsageError when there is nothing that could be damaged like that; DeviceError
 */
export function damageNode(
  filesystem: Filesystem,
  node: NodeRef,
  kind: NodeDamageKind,
  dev?: number,
): readonly DamagedCopy[] {
  return editCopies(filesystem, node, dev, bytes => {
    if (kind === 'zero') {
      const end = sectorsToBytes(filesystem.sb.block_size);
      if (bytes.subarray(0, end).every(byte => byte === 0)) throw new UsageError('the node is zeroes already');
      bytes.fill(0, 0, end);
      return 0;
    }
    const at = kind === 'csum' ? journalSeqByte(bytes, filesystem) : keyByte(bytes, filesystem);
    bytes[at]! ^= 0xff;
    return at;
  });
}

/**
 * Changes what a node says of itself, and makes its checksum right again. Only the first bset of a node is sealed together with its header.
 * @param edit gets the node decrypted
 */
export function editNodeHead(
  filesystem: Filesystem,
  node: NodeRef,
  edit: (view: DataView, bytes: Uint8Array) => void,
  dev?: number,
): readonly DamagedCopy[] {
  return editCopies(filesystem, node, dev, bytes => {
    const view = viewOf(bytes);
    cipherNode(bytes, filesystem.key);
    edit(view, bytes);
    const bset = Bset.get(view, NODE_BSET_AT);
    const end = Math.min(bytes.length, NODE_KEYS_AT + 8 * bset.u64s);
    cipherNode(bytes, filesystem.key);
    const { key } = filesystem;
    sealVstruct(
      bsetCsumType(bset),
      bytes.subarray(0, end),
      key === undefined ? undefined : { key, nonce: btreeNonce(bset, 0) },
    );
    return 0;
  });
}

/** Encrypts or decrypts the header and the first bset. */
function cipherNode(bytes: Uint8Array, key: Uint8Array | undefined): void {
  const bset = Bset.get(viewOf(bytes), NODE_BSET_AT);
  if (key === undefined || checksumTypes.byId(bsetCsumType(bset))?.isEncryption !== true) return;
  const nonce = btreeNonce(bset, 0);
  const header = bytes.subarray(BtreeNodeHeader.offset.flags, NODE_BSET_AT);
  chacha20(key, nonce, header);
  const end = Math.min(bytes.length, NODE_KEYS_AT + 8 * bset.u64s);
  chacha20(key, nonceAdd(nonce, roundUp(header.length, CHACHA_BLOCK_BYTES)), bytes.subarray(NODE_KEYS_AT, end));
}

/** @param edit returns the first byte that changed */
function editCopies(
  filesystem: Filesystem,
  { btree, level, ptr }: NodeRef,
  dev: number | undefined,
  edit: (bytes: Uint8Array) => number,
): readonly DamagedCopy[] {
  const { replicas, sectorsWritten } = btreePtrPlaces(btree, level, ptr);
  const wanted = replicas.filter(replica => dev === undefined || replica.dev === dev);
  if (wanted.length === 0) {
    throw new UsageError(`no copy of the node is on member ${dev}, only on ${replicas.map(one => one.dev).join(', ')}`);
  }
  const length = sectorsToBytes(sectorsWritten === 0 ? filesystem.reader.nodeSectors : sectorsWritten);
  // All are read and edited before the first is written: what cannot be damaged changes nothing.
  const edited = wanted.map(({ dev: index, offset: sector }) => {
    const device = filesystem.device(index);
    if (device === undefined) throw new UsageError(`member ${index}, which has a copy of the node, is not there`);
    const bytes = readBytes(device, sectorsToBytes(sector), length);
    return { device, index, sector, bytes, offsetBytes: edit(bytes) };
  });
  return edited.map(({ device, index, sector, bytes, offsetBytes }) => {
    device.write(sectorsToBytes(sector), bytes);
    device.flush();
    return { device: device.name, dev: index, sector, offsetBytes };
  });
}

/** A bset of a node. */
interface BsetPlace {
  /** Where its header begins, in bytes. */
  readonly at: number;
  readonly u64s: number;
}

/** The bsets of a node, as far as their lengths lead. */
function* bsetsOf(bytes: Uint8Array, { sb }: Filesystem): Generator<BsetPlace> {
  const view = viewOf(bytes);
  const blockBytes = sb.block_size * SECTOR_BYTES;
  for (let block = 0; ; ) {
    const at = block + (block === 0 ? NODE_BSET_AT : ENTRY_BSET_AT);
    if (at + Bset.size > bytes.length) return;
    const u64s = view.getUint16(at + Bset.offset.u64s, true);
    yield { at, u64s };
    block = roundUp(at + Bset.size + 8 * u64s, blockBytes);
  }
}

/** The first bset with keys, since nothing depends on the checksum of one without; else the node's first. */
function journalSeqByte(bytes: Uint8Array, filesystem: Filesystem): number {
  const [first] = bsetsOf(bytes, filesystem);
  const bset = bsetWithKeys(bytes, filesystem) ?? first;
  if (bset === undefined) throw new UsageError('the node is too short for a bset');
  return bset.at + Bset.offset.journal_seq;
}

function keyByte(bytes: Uint8Array, filesystem: Filesystem): number {
  const bset = bsetWithKeys(bytes, filesystem);
  if (bset === undefined) throw new UsageError('the node has no key, so that there is none to damage');
  const at = bset.at + Bset.size + 4 * bset.u64s;
  if (at >= bytes.length)
    throw new UsageError(`a bset of ${bset.u64s} u64s ends after the node: it is damaged already`);
  return at;
}

function bsetWithKeys(bytes: Uint8Array, filesystem: Filesystem): BsetPlace | undefined {
  for (const bset of bsetsOf(bytes, filesystem)) if (bset.u64s > 0) return bset;
  return undefined;
}
