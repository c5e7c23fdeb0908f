// Reads btree nodes: each replica that the pointer names is tried until one is what the pointer says it is: magic, sequence number, btree,
// level, range, and the checksum of every bset (after which it is decrypted). Bsets of journal entries that were lost are left out,
// the others merged. When no replica is sound and the caller wants what is left (`salvage`), faulty keys and bsets are handled as
// the reference's fsck handles them, and the node says what is wrong with it.
// Source: bch2_btree_node_read_done and bch2_validate_bset in btree/read.c, v1.36.1.

import { canChecksum, verifyVstruct } from '../checksum/checksum.ts';
import { csumText } from '../checksum/csum.ts';
import { chacha20 } from '../crypto/chacha20.ts';
import { btreeNonce, nonceAdd } from '../crypto/nonce.ts';
import type { BlockDevice } from '../device/block-device.ts';
import type { Key } from '../ondisk/bkey.ts';
import { bkeyFormatProblem, KeyUnpacker, ROW, ROW_WORDS } from '../ondisk/bkey-format.ts';
import { type Bpos, bposText, compareBpos } from '../ondisk/bpos.ts';
import { Bset, bsetCsumType, bsetOffsetSectors, hasSeparateWhiteouts, isBsetBigEndian } from '../ondisk/bset.ts';
import {
  BtreeNodeHeader,
  btreeNodeId,
  btreeNodeLevel,
  ENTRY_BSET_AT,
  ENTRY_KEYS_AT,
  hasNewExtentOverwrite,
  NODE_BSET_AT,
  NODE_KEYS_AT,
} from '../ondisk/btree-node.ts';
import { btrees } from '../ondisk/btrees.ts';
import { checksumTypes, checksumTypeText } from '../ondisk/checksum-types.ts';
import { CorruptError, DeviceError, IncompatibleError, type Location, locate } from '../ondisk/errors.ts';
import type { ExtentPtr } from '../ondisk/extent-entries.ts';
import type { FaultName } from '../ondisk/faults.ts';
import { btreePtr } from '../ondisk/keys/btree-ptr.ts';
import { BchBtreePtrV2, BTREE_PTR_RANGE_UPDATED, btreePtrV2 } from '../ondisk/keys/btree-ptr-v2.ts';
import { keyKind } from '../ondisk/keys/index.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import type { KeyProblem, KeyValidateContext } from '../ondisk/keys/kind.ts';
import { isSurelySound } from '../ondisk/keys/sound-values.ts';
import { viewOf } from '../ondisk/layout.ts';
import type { LeftOut } from '../ondisk/left-out.ts';
import { isVersionCompatible, versionMajor, versionNumber, versionOf } from '../ondisk/versions.ts';
import { roundUp, SECTOR_BYTES } from '../util/sizes.ts';
import { type BsetSource, isWithin, readBsetKeys } from './bset-keys.ts';
import { KeyChecks } from './key-checks.ts';
import { type BsetSummary, BtreeNode, type KeyRows, keyOfRow } from './node.ts';
import { mergeRuns } from './node-sort.ts';
import { littleEndianWords } from './node-words.ts';

/** What reading nodes needs to know about the filesystem. */
export interface NodeSource {
  /** Of every node: see btreeNodeMagic. */
  readonly magic: bigint;
  readonly nodeSectors: number;
  readonly blockSectors: number;
  /** The superblock's. */
  readonly version: number;
  readonly versionMin: number;
  /** The master key of an encrypted filesystem. */
  readonly key: Uint8Array | undefined;
  /** A member, if it is there. */
  device(index: number): BlockDevice | undefined;
  /** Whether a journal entry was lost, so that nothing that depends on it counts. */
  isBlacklisted(journalSeq: number): boolean;
  /** How values are judged; undefined to leave them unjudged. */
  readonly values: KeyValidateContext | undefined;
}

/** Older nodes need translating, which nothing here does; the reference upgrades such filesystems on mount. */
const OLDEST_VERSION = versionOf('freespace');

const BTREE_PTR = keyTypes.idOf('btree_ptr');
const BTREE_PTR_V2 = keyTypes.idOf('btree_ptr_v2');

/** The high word of 2^53. */
const COUNT_HIGH_END = 2 ** 21;

/** A node with more faults than this is not described any further. */
const DAMAGE_MAX = 64;

/** What a pointer says about its node. */
interface Expected {
  readonly btree: number;
  readonly level: number;
  readonly ptr: Key;
  /** Undefined for btree_ptr. */
  readonly v2: BchBtreePtrV2 | undefined;
  readonly minKey: Bpos | undefined;
  /** The pointer's range counts, whatever the node's own is. */
  readonly isRangeUpdated: boolean;
  readonly where: Location;
}

export class NodeReader {
  readonly #source: NodeSource;
  readonly #checks = new Map<number, KeyChecks>();

  constructor(source: NodeSource) {
    this.#source = source;
  }

  get nodeSectors(): number {
    return this.#source.nodeSectors;
  }

  /**
   * Reads the node that a key of an interior node, or a root, points to.
   * @param level the node's own
   * @param options `salvage`: give back what is left of a damaged node instead of an error; its `damage` says what is wrong
   * @throws CorruptError by the name of what is wrong with the first replica, when none can be used
   * @throws DeviceError when every replica is on a device that fails or is not there
   * @throws IncompatibleError when the node is big-endian or of a version that is not known
   */
  read(btree: number, level: number, ptr: Key, options: { readonly salvage?: boolean } = {}): BtreeNode {
    const where = { btree: btrees.nameOf(btree), level, pos: bposText(ptr.k.p) };
    const { replicas, expected } = locate(where, () => expectation(btree, level, ptr, where));
    const failures: (CorruptError | DeviceError)[] = [];
    for (const salvage of options.salvage ? [false, true] : [false]) {
      for (const replica of replicas) {
        try {
          return this.#attempt(expected, replica, salvage);
        } catch (thrown) {
          if (!(thrown instanceof CorruptError || thrown instanceof DeviceError)) throw thrown;
          if (!salvage) failures.push(thrown);
        }
      }
    }
    throw allFailed(failures, where);
  }

  /**
   * Reads one replica of a node: for who wants to know whether it is sound, whatever the others are.
   * @param replica one of those that btreePtrPlaces gives for the pointer
   * @throws as read does, by what is wrong with this one
   */
  readReplica(btree: number, level: number, ptr: Key, replica: ExtentPtr): BtreeNode {
    const where = { btree: btrees.nameOf(btree), level, pos: bposText(ptr.k.p) };
    const { expected } = locate(where, () => expectation(btree, level, ptr, where));
    return this.#attempt(expected, replica, false);
  }

  #attempt(expected: Expected, replica: ExtentPtr, salvage: boolean): BtreeNode {
    const device = this.#source.device(replica.dev);
    if (device === undefined) {
      throw new DeviceError('missing', `member ${replica.dev}`, 'it is not among the devices that were given');
    }
    const where = { ...expected.where, device: device.name, sector: replica.offset };
    const reading = new NodeReading(this.#source, expected, this.#checksOf(expected), where, salvage);
    return reading.read(device, replica.offset);
  }

  #checksOf({ btree, level }: Expected): KeyChecks {
    const id = 16 * btree + level;
    let checks = this.#checks.get(id);
    if (checks === undefined) {
      checks = new KeyChecks(btree, level);
      this.#checks.set(id, checks);
    }
    return checks;
  }
}

function expectation(
  btree: number,
  level: number,
  ptr: Key,
  where: Location,
): { readonly replicas: readonly ExtentPtr[]; readonly expected: Expected } {
  const { type } = ptr.k;
  if (type !== BTREE_PTR && type !== BTREE_PTR_V2) {
    const detail = `a key of type ${keyTypes.nameOf(type)}, expected a pointer to a node`;
    throw new CorruptError('bkey_invalid_type_for_btree', where, detail);
  }
  if (type === BTREE_PTR_V2 && ptr.value.length < BchBtreePtrV2.size) {
    const detail = `a btree_ptr_v2 of ${ptr.value.length} bytes, expected ${BchBtreePtrV2.size} or more`;
    throw new CorruptError('bkey_val_size_too_small', where, detail);
  }
  const decoded = type === BTREE_PTR_V2 ? btreePtrV2.decode(ptr.value) : undefined;
  const { entries } = decoded ?? btreePtr.decode(ptr.value);
  const replicas = entries.flatMap(entry => (entry.type === 'ptr' ? [entry] : []));
  const expected = {
    btree,
    level,
    ptr,
    v2: decoded,
    minKey: decoded?.min_key,
    isRangeUpdated: decoded !== undefined && (decoded.flags & BTREE_PTR_RANGE_UPDATED) !== 0,
    where,
  };
  return { replicas, expected };
}

/**
 * Where the replicas of a node are, and what its pointer says about it: all that can be known of it without reading it.
 * @param level the node's own
 * @throws CorruptError when the key is not a pointer to a node
 */
export function btreePtrPlaces(
  btree: number,
  level: number,
  ptr: Key,
): {
  readonly replicas: readonly ExtentPtr[];
  /** Undefined for btree_ptr. */
  readonly seq: bigint | undefined;
  /** 0 where it is not known. */
  readonly sectorsWritten: number;
} {
  const where = { btree: btrees.nameOf(btree), level, pos: bposText(ptr.k.p) };
  const { replicas, expected } = locate(where, () => expectation(btree, level, ptr, where));
  return { replicas, seq: expected.v2?.seq, sectorsWritten: expected.v2?.sectors_written ?? 0 };
}

/** The first failure speaks; the others are added. */
function allFailed(failures: readonly (CorruptError | DeviceError)[], where: Location): CorruptError | DeviceError {
  const corrupt = failures.find(failure => failure instanceof CorruptError);
  const first = corrupt ?? failures[0];
  if (first === undefined)
    return new CorruptError('extent_ptrs_no_ptrs', where, 'a pointer to a node without a replica');
  if (failures.length === 1) {
    return first instanceof CorruptError
      ? first
      : new DeviceError(
          first.kind,
          first.device,
          `${first.detail}: ${first.kind === 'missing' ? 'the only replica of a btree node is on it' : 'a btree node is there'}`,
          { cause: first },
        );
  }
  const others = failures.filter(failure => failure !== first).map(failure => failure.message);
  if (first instanceof CorruptError) {
    return new CorruptError(first.error, first.where, `${first.detail}; other replicas: ${others.join('; ')}`);
  }
  return new DeviceError(first.kind, first.device, `${first.detail}; other replicas: ${others.join('; ')}`, {
    cause: first,
  });
}

/** One replica of one node. */
class NodeReading {
  readonly #damage: CorruptError[] = [];
  readonly #leftOut: LeftOut[] = [];
  readonly #runs: BsetSummary[] = [];
  #bytes = new Uint8Array(0);
  #view = viewOf(this.#bytes);

  constructor(
    readonly source: NodeSource,
    readonly expected: Expected,
    readonly checks: KeyChecks,
    readonly where: Location,
    readonly salvage: boolean,
  ) {}

  read(device: BlockDevice, sector: number): BtreeNode {
    const { nodeSectors, blockSectors } = this.source;
    const written = this.expected.v2?.sectors_written ?? 0;
    const limitSectors = written === 0 ? nodeSectors : Math.min(written, nodeSectors);
    // Filled up to whole blocks: what is written is.
    this.#bytes = new Uint8Array(Math.min(roundUp(limitSectors, blockSectors), nodeSectors) * SECTOR_BYTES);
    device.read(sector * SECTOR_BYTES, this.#bytes);
    this.#view = viewOf(this.#bytes);

    const header = this.#readFirst(limitSectors);
    let at = header.sectors;
    while (at < limitSectors && this.#seqAt(at) === header.seq) at += this.#readEntry(at, limitSectors, header);
    if (written > 0 && at < limitSectors) {
      const detail = `${at} sectors of bsets found, expected ${limitSectors}`;
      this.#fail('btree_node_data_missing', detail);
      this.#leaveOut('btree_node_data_missing', detail, at * SECTOR_BYTES, limitSectors * SECTOR_BYTES);
    }
    if (written === 0) this.#checkAfterEnd(at, limitSectors, header.seq);
    return this.#finish(header);
  }

  /** Where the pointer does not say how much was written, the first block without a bset ends the node: none may follow. */
  #checkAfterEnd(end: number, limitSectors: number, seq: bigint): void {
    const { blockSectors } = this.source;
    for (let at = end; at + blockSectors <= limitSectors; at += blockSectors) {
      if (this.#seqAt(at) !== seq) continue;
      if (this.source.isBlacklisted(this.#bsetAt(at * SECTOR_BYTES + ENTRY_BSET_AT).journal_seq)) continue;
      this.#fail('btree_node_bset_after_end', `a bset at sector ${at}, after the last one, which ends at ${end}`);
      return;
    }
  }

  /** The node's header and its first bset. */
  #readFirst(limitSectors: number): FirstBset {
    const { expected, source } = this;
    const magic = this.#view.getBigUint64(BtreeNodeHeader.offset.magic, true);
    if (magic !== source.magic) {
      this.#refuse('btree_node_bad_magic', `magic ${magic.toString(16)}, expected ${source.magic.toString(16)}`);
    }
    const bset = this.#bsetAt(NODE_BSET_AT);
    const keysAt = NODE_KEYS_AT;
    const { isWhole, sectors, u64s } = this.#checkBset(0, bset, keysAt, limitSectors);
    const node = BtreeNodeHeader.get(this.#view, 0);

    const wanted = expected.v2?.seq;
    const isRightNode = wanted === undefined ? bset.seq !== 0n : bset.seq === wanted;
    if (!isRightNode) {
      this.#refuse(
        'btree_node_bad_seq',
        `seq ${bset.seq.toString(16)}, expected ${wanted?.toString(16) ?? 'any but 0'}`,
      );
    }
    const isExtents = expected.level === 0 && btrees.byId(expected.btree)?.flags.includes('extents') === true;
    if (isExtents && !hasNewExtentOverwrite(node)) {
      this.#refuse('btree_node_unsupported_version', 'extents in the oldest way, without NEW_EXTENT_OVERWRITE');
    }
    this.#checkBsetHeader(0, bset, isWhole);
    const range = this.#checkNode(node);
    const unpacker = new KeyUnpacker(node.format);
    const first = { node, seq: bset.seq, range, unpacker, sectors };
    this.#addBset(0, bset, keysAt, u64s, first);
    return first;
  }

  /** A later bset. @returns its length in sectors, at least one block */
  #readEntry(at: number, limitSectors: number, first: FirstBset): number {
    const start = at * SECTOR_BYTES;
    const bset = this.#bsetAt(start + ENTRY_BSET_AT);
    const { isWhole, sectors, u64s } = this.#checkBset(at, bset, ENTRY_KEYS_AT, limitSectors);
    this.#checkBsetHeader(at, bset, isWhole);
    this.#addBset(at, bset, ENTRY_KEYS_AT, u64s, first);
    return sectors;
  }

  /** Length and checksum of a bset; decrypts it. @param headerBytes from the start of its block to its keys */
  #checkBset(at: number, bset: Bset, headerBytes: number, limitSectors: number): CheckedBset {
    const start = at * SECTOR_BYTES;
    const { blockSectors, key } = this.source;
    let { u64s } = bset;
    let isWhole = true;
    let sectors = roundUp(headerBytes + 8 * u64s, blockSectors * SECTOR_BYTES) / SECTOR_BYTES;
    if (at + sectors > limitSectors) {
      isWhole = false;
      const detail = `a bset of ${sectors} sectors at sector ${at} of the node, which ends at ${limitSectors}`;
      this.#fail('bset_past_end_of_btree_node', detail);
      this.#leaveOut(
        'bset_past_end_of_btree_node',
        detail,
        start + headerBytes,
        this.#nextBset(at, bset.seq, limitSectors),
      );
      u64s = 0;
      sectors = blockSectors;
    }
    const type = bsetCsumType(bset);
    const mac = key === undefined ? undefined : { key, nonce: btreeNonce(bset, start) };
    if (!canChecksum(type, mac)) {
      const detail = `a bset at sector ${at} with checksum type ${checksumTypeText(type)}`;
      if (checksumTypes.byId(type)?.isEncryption) this.#refuse('bset_unknown_csum', `${detail}, and there is no key`);
      this.#fail('bset_unknown_csum', detail);
      return { isWhole: false, sectors, u64s };
    }
    const vstruct = this.#bytes.subarray(start, start + headerBytes + 8 * u64s);
    const { good, stored, computed } = verifyVstruct(type, vstruct, mac);
    if (!good) {
      isWhole = false;
      const found = `${checksumTypeText(type)} ${csumText(type, stored)}, expected ${csumText(type, computed)}`;
      this.#fail('bset_bad_csum', `the bset at sector ${at} has checksum ${found}`);
    }
    if (mac !== undefined && checksumTypes.byId(type)?.isEncryption) {
      let { nonce } = mac;
      if (at === 0) {
        const header = this.#bytes.subarray(BtreeNodeHeader.offset.flags, NODE_BSET_AT);
        chacha20(mac.key, nonce, header);
        nonce = nonceAdd(nonce, roundUp(header.length, 64));
      }
      chacha20(mac.key, nonce, vstruct.subarray(headerBytes));
    }
    return { isWhole, sectors, u64s };
  }

  #checkBsetHeader(at: number, bset: Bset, isWhole: boolean): void {
    const { source } = this;
    const version = `a bset of version ${versionNumber(bset.version)} at sector ${at}`;
    if (isBsetBigEndian(bset)) {
      const detail = `the bset at sector ${at} was written by a big-endian machine`;
      if (isWhole) throw new IncompatibleError('btree_node_big_endian', this.where, detail);
      this.#refuse('btree_node_unsupported_version', detail);
    }
    if (!isVersionCompatible(bset.version) || bset.version < OLDEST_VERSION) {
      const detail = `${version}, expected ${versionNumber(OLDEST_VERSION)} or newer`;
      if (isWhole) throw new IncompatibleError('btree_node_unsupported_version', this.where, detail);
      this.#refuse('btree_node_unsupported_version', detail);
    }
    if (bset.version < source.versionMin) {
      const detail = `${version}, the superblock says ${versionNumber(source.versionMin)} or newer`;
      this.#fail('btree_node_bset_older_than_sb_min', detail);
    }
    if (versionMajor(bset.version) > versionMajor(source.version)) {
      this.#fail('btree_node_bset_newer_than_sb', `${version}, the superblock says ${versionNumber(source.version)}`);
    }
    if (hasSeparateWhiteouts(bset)) this.#refuse('btree_node_unsupported_version', 'a bset with separate whiteouts');
    if (at > 0 && bset.u64s === 0) this.#fail('bset_empty', `an empty bset at sector ${at}`);
    const offset = bsetOffsetSectors(bset);
    if (offset !== 0 && offset !== at) {
      this.#fail('bset_wrong_sector_offset', `a bset of sector ${offset} at sector ${at}`);
    }
  }

  /** Whether the node is the one that the pointer means. @returns its range */
  #checkNode(node: BtreeNodeHeader): { readonly min: Bpos; readonly max: Bpos } {
    const { btree, level, ptr, minKey, isRangeUpdated } = this.expected;
    if (btreeNodeId(node) !== btree) {
      this.#refuse('btree_node_bad_btree', `a node of btree ${btrees.nameOf(btreeNodeId(node))}`);
    }
    if (btreeNodeLevel(node) !== level) this.#refuse('btree_node_bad_level', `a node of level ${btreeNodeLevel(node)}`);
    const min = isRangeUpdated && minKey !== undefined ? minKey : node.min_key;
    const max = isRangeUpdated ? ptr.k.p : node.max_key;
    if (minKey !== undefined && compareBpos(min, minKey) !== 0) {
      this.#refuse('btree_node_bad_min_key', `min_key ${bposText(min)}, expected ${bposText(minKey)}`);
    }
    if (compareBpos(max, ptr.k.p) !== 0) {
      this.#refuse('btree_node_bad_max_key', `max_key ${bposText(max)}, expected ${bposText(ptr.k.p)}`);
    }
    const problem = bkeyFormatProblem(node.format);
    if (problem !== undefined) this.#refuse('btree_node_bad_format', `bkey format: ${problem}`);
    return { min, max };
  }

  #addBset(at: number, bset: Bset, headerBytes: number, u64s: number, first: FirstBset): void {
    const from = (at * SECTOR_BYTES + headerBytes) / 4;
    const keysSource: BsetSource = {
      words: littleEndianWords(this.#bytes), // decrypted by now
      from,
      end: from + 2 * u64s,
      unpacker: first.unpacker,
      checks: this.checks,
      range: this.expected.isRangeUpdated ? undefined : first.range,
    };
    const keys = readBsetKeys(keysSource, ({ error, detail }, { from: start, end, row }) => {
      this.#fail(error, `bset at sector ${at}: ${detail}`);
      if (row === undefined) this.#leaveOut(error, detail, 4 * start, 4 * end);
      else this.#leftOut.push({ reason: `${error}: ${detail}`, key: keyOfRow(row, 0, this.#bytes) });
    });
    const isLost = this.source.isBlacklisted(bset.journal_seq);
    if (isLost && at === 0) {
      this.#fail('bset_blacklisted_journal_seq', `its first bset is of the lost journal entry ${bset.journal_seq}`);
    } else if (isLost && (this.expected.v2?.sectors_written ?? 0) > 0) {
      const detail = `the bset at sector ${at} is of the lost journal entry ${bset.journal_seq}`;
      this.#fail('first_bset_blacklisted_journal_seq', detail);
    }
    this.#runs.push({
      offsetSectors: at,
      version: bset.version,
      journalSeq: bset.journal_seq,
      blacklisted: isLost && at > 0,
      keys,
    });
  }

  #finish({ node, seq, range }: FirstBset): BtreeNode {
    const { btree, level, ptr, isRangeUpdated } = this.expected;
    let merged = mergeRuns(this.#runs.filter(run => !run.blacklisted).map(run => run.keys));
    if (isRangeUpdated) merged = withinRange(merged, range.min, range.max);
    merged = this.#soundValues(merged);
    const facts = {
      btree,
      level,
      ptr,
      seq,
      minKey: range.min,
      maxKey: range.max,
      format: node.format,
      bsets: this.#runs,
      device: this.where.device ?? '',
      sector: this.where.sector ?? 0,
      damage: this.#damage,
      leftOut: this.#leftOut,
    };
    return new BtreeNode(facts, merged, this.#bytes);
  }

  /** Keys whose values are what their types say: the kernel drops others when it reads them. */
  #soundValues(keys: KeyRows): KeyRows {
    const context = this.source.values;
    if (context === undefined) return keys;
    const words = littleEndianWords(this.#bytes);
    let kept = 0;
    for (let i = 0; i < keys.count; i++) {
      const problem = isSurelySound(words, keys.rows, i * ROW_WORDS, context)
        ? undefined
        : valueProblem(keyOfRow(keys.rows, i, this.#bytes), context);
      if (problem !== undefined) {
        const key = keyOfRow(keys.rows, i, this.#bytes);
        this.#fail(problem.error, `${keyTypes.nameOf(key.k.type)} at ${bposText(key.k.p)}: ${problem.detail}`);
        this.#leftOut.push({ reason: `${problem.error}: ${problem.detail}`, key });
        continue;
      }
      if (kept !== i) keys.rows.copyWithin(kept * ROW_WORDS, i * ROW_WORDS, (i + 1) * ROW_WORDS);
      kept++;
    }
    return { rows: keys.rows, count: kept };
  }

  #seqAt(at: number): bigint {
    return this.#view.getBigUint64(at * SECTOR_BYTES + ENTRY_BSET_AT + Bset.offset.seq, true);
  }

  #bsetAt(byte: number): Bset {
    const view = this.#view;
    const high = view.getUint32(byte + Bset.offset.journal_seq + 4, true);
    if (high < COUNT_HIGH_END) return Bset.get(view, byte);
    const found = view.getBigUint64(byte + Bset.offset.journal_seq, true);
    this.#fail('count_out_of_range', `a bset of journal entry ${found}, expected one below 2^53`);
    // The nonce takes the low word only.
    const header = viewOf(this.#bytes.slice(byte, byte + Bset.size));
    header.setUint32(Bset.offset.journal_seq + 4, high % COUNT_HIGH_END, true);
    return Bset.get(header, 0);
  }

  /** Where the next bset begins after a block, or what is written ends, as a place in the bytes. */
  #nextBset(at: number, seq: bigint, limitSectors: number): number {
    const { blockSectors } = this.source;
    for (let next = at + blockSectors; next + blockSectors <= limitSectors; next += blockSectors)
      if (this.#seqAt(next) === seq) return next * SECTOR_BYTES;
    return limitSectors * SECTOR_BYTES;
  }

  /** Bytes that are not taken for keys, without the zeros after them. */
  #leaveOut(error: FaultName, detail: string, from: number, end: number): void {
    let last = Math.min(end, this.#bytes.length);
    while (last > from && this.#bytes[last - 1] === 0) last--;
    if (last > from) this.#leftOut.push({ reason: `${error}: ${detail}`, bytes: this.#bytes.subarray(from, last) });
  }

  /** A fault that ends this replica. */
  #refuse(error: FaultName, detail: string): never {
    throw new CorruptError(error, this.where, detail);
  }

  /** A fault that fsck would repair: it ends this replica, unless what is left of it is wanted. */
  #fail(error: FaultName, detail: string): void {
    const found = new CorruptError(error, this.where, detail);
    if (!this.salvage) throw found;
    if (this.#damage.length < DAMAGE_MAX) this.#damage.push(found);
  }
}

interface FirstBset {
  readonly node: BtreeNodeHeader;
  /** Of each of its bsets. */
  readonly seq: bigint;
  readonly range: { readonly min: Bpos; readonly max: Bpos };
  readonly unpacker: KeyUnpacker;
  readonly sectors: number;
}

interface CheckedBset {
  /** Its checksum is right. */
  readonly isWhole: boolean;
  readonly sectors: number;
  readonly u64s: number;
}

/** The first thing that is wrong with a key's value. */
export function valueProblem(key: Key, context: KeyValidateContext): KeyProblem | undefined {
  const kind = keyKind(key.k.type);
  if (kind === undefined) return undefined;
  if (key.value.length < kind.minBytes) {
    return {
      error: 'bkey_val_size_too_small',
      detail: `a value of ${key.value.length} bytes, expected ${kind.minBytes} or more`,
    };
  }
  try {
    return kind.validate(kind.decode(key.value), key.k, context)[0];
  } catch (thrown) {
    if (thrown instanceof CorruptError) return { error: thrown.error, detail: thrown.detail };
    throw thrown;
  }
}

function withinRange(keys: KeyRows, min: Bpos, max: Bpos): KeyRows {
  let kept = 0;
  for (let i = 0; i < keys.count; i++) {
    const from = i * ROW_WORDS;
    if (!isWithin(keys.rows.subarray(from + ROW.position, from + ROW.position + 5), min, max)) continue;
    if (kept !== i) keys.rows.copyWithin(kept * ROW_WORDS, from, from + ROW_WORDS);
    kept++;
  }
  return { rows: keys.rows, count: kept };
}
