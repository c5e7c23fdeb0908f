// The master key of an encrypted filesystem, with the proof that it is the filesystem's. A passphrase does not prove it: the key is sealed
// with a stream cipher, so that a superblock whose key was damaged still opens, and gives another key. With that nothing authenticates, and
// to a check the whole filesystem would look lost. So the key has to authenticate something: a root, a journal entry, or any btree node that
// is found. Where the newest superblock's key does not, other copies of it are asked, on all members.

import { btreePtrPlaces } from '../btree/node-read.ts';
import { headersOn } from '../btree/node-scan.ts';
import { canChecksum, verifyVstruct } from '../checksum/checksum.ts';
import { btreeNonce } from '../crypto/nonce.ts';
import { type BlockDevice, readBytes } from '../device/block-device.ts';
import { JournalProblems } from '../journal/problem.ts';
import { cleanRoots } from '../journal/replay.ts';
import { scanJournal } from '../journal/scan.ts';
import { getBits } from '../ondisk/bits.ts';
import type { Key } from '../ondisk/bkey.ts';
import { Bset, bsetCsumType } from '../ondisk/bset.ts';
import { BtreeNodeHeader, btreeNodeMagic, NODE_BSET_AT, NODE_KEYS_AT } from '../ondisk/btree-node.ts';
import { checksumTypes } from '../ondisk/checksum-types.ts';
import { CorruptError, DeviceError, IncompatibleError } from '../ondisk/errors.ts';
import type { ExtentPtr } from '../ondisk/extent-entries.ts';
import { JSET } from '../ondisk/jset.ts';
import { viewOf } from '../ondisk/layout.ts';
import { sbBits } from '../ondisk/sb-bits.ts';
import { memberAt } from '../ondisk/sb-fields/members.ts';
import { type Superblock, sectionPayload, withSection } from '../ondisk/superblock.ts';
import { type Finding, findingOf } from '../report/finding.ts';
import { type MemberSet, memberSetOf, type OpenMember } from '../superblock/member-set.ts';
import { masterKey } from '../superblock/passphrase.ts';
import { wholeCopyAt } from '../superblock/read.ts';
import { SECTOR_BYTES, sectorsToBytes } from '../util/sizes.ts';

export interface FoundKey {
  readonly key: Uint8Array;
  /** The members with the key in all their superblocks: the same where the newest one has it. */
  readonly set: MemberSet;
  /** Why it is not that of the newest superblock; empty where it is. */
  readonly findings: readonly Finding[];
}

/** With a wrong key, nothing is right; with the right one, nearly everything: so many of each kind say enough. */
const TRIED_MAX = 256;
/** Each may cost a derivation of half a second. */
const OTHER_KEYS_MAX = 8;

/**
 * @param passphrase not needed where the key is in the clear
 * @returns undefined when the passphrase is wrong
 * @throws CorruptError master_key_wrong where it opens a key, or several, and none of them is the filesystem's; and where the section is damaged
 * @throws UsageError when the filesystem is not encrypted; IncompatibleError for a derivation that is not known
 */
export function findMasterKey(set: MemberSet, passphrase: Uint8Array | undefined): FoundKey | undefined {
  const { newest } = set;
  const own = opened(newest.sb, passphrase);
  const isOpen = own instanceof Uint8Array;
  if (isOpen && proofOf(set, own) !== 'wrong') return { key: own, set, findings: [] };
  // What the newest superblock does not open may be an old passphrase, which an older copy must not bring back.
  for (const { sb, device, sector } of otherKeys(set, { sameAge: !isOpen })) {
    const key = opened(sb, passphrase);
    if (!(key instanceof Uint8Array) || proofOf(set, key) !== 'right') continue;
    const detail = `the master key in it is not the one that the filesystem is encrypted with; that of the copy at ${device.name} sector ${sector} is`;
    const where = { device: newest.device.name, sector: newest.reading.sector, field: 'crypt' };
    return { key, set: withKeyOf(set, sb), findings: [findingOf({ error: 'master_key_wrong', detail }, where)] };
  }
  if (!isOpen) {
    if (own !== undefined) throw own;
    return undefined;
  }
  throw new CorruptError(
    'master_key_wrong',
    { device: newest.device.name, sector: newest.reading.sector, field: 'crypt' },
    'the master key that it holds authenticates no btree node and no journal entry, and no other copy of the superblock has a better one: ' +
      'the key is damaged, and nothing was changed; an undo file, another member or a saved copy of the superblock may have it',
  );
}

/**
 * For what writes superblocks and is not asked for a passphrase: all copies become the newest one, and the right key would go with them.
 * @throws CorruptError master_key_wrong where copies that were written together hold different keys
 */
export function refuseContestedKey(set: MemberSet): void {
  const { newest } = set;
  if (getBits(newest.sb.flags, sbBits.ENCRYPTION_TYPE) === 0) return;
  const [other] = otherKeys(set, { sameAge: true });
  if (other === undefined) return;
  throw new CorruptError(
    'master_key_wrong',
    { device: newest.device.name, sector: newest.reading.sector, field: 'crypt' },
    `its encryption section is not that of the copy at ${other.device.name} sector ${other.sector}, which was written with it: one of them is ` +
      'damaged. `bcachefs fsck` finds out which, and puts the right one back; nothing was changed',
  );
}

/** Copies that were written with the newest superblock, and whose encryption section is another one. @param set its newest has the right key */
export function copiesWithOtherKeys(set: MemberSet): readonly Finding[] {
  const { newest } = set;
  const detail = `its encryption section is not that of the copy at ${newest.device.name} sector ${newest.reading.sector}, which was written with it`;
  return [...otherKeys(set, { sameAge: true })].map(({ device, sector }) =>
    findingOf({ error: 'superblock_copy_differs', detail }, { device: device.name, sector, field: 'crypt' }),
  );
}

/** For writers, which would write the wrong key over the right one. @throws CorruptError for a key that came from another copy */
export function keyToWriteWith({ key, findings }: FoundKey): Uint8Array {
  const [first] = findings;
  if (first === undefined) return key;
  const detail = `${first.text()}: \`bcachefs fsck\` puts it back; nothing was changed`;
  throw new CorruptError('master_key_wrong', {}, detail);
}

/** The key, nothing for a wrong passphrase, or why the section gives none. */
function opened(sb: Superblock, passphrase: Uint8Array | undefined): Uint8Array | Error | undefined {
  try {
    return masterKey(sb, passphrase);
  } catch (thrown) {
    if (thrown instanceof CorruptError || thrown instanceof IncompatibleError) return thrown;
    throw thrown;
  }
}

function withKeyOf({ members }: MemberSet, from: Superblock): MemberSet {
  const payload = sectionPayload(from, 'crypt');
  const corrected = ({ sb, ...member }: OpenMember) => ({ ...member, sb: withSection(sb, 'crypt', payload) });
  return memberSetOf(members.map(corrected));
}

interface OtherKey {
  readonly sb: Superblock;
  readonly device: BlockDevice;
  readonly sector: number;
}

/** Copies of the superblock with another section `crypt` than the newest, one for each that there is. */
function* otherKeys({ members, newest }: MemberSet, { sameAge }: { readonly sameAge: boolean }): Generator<OtherKey> {
  const known = [sectionPayload(newest.sb, 'crypt')];
  const isKnown = (payload: Uint8Array) =>
    known.some(one => one?.length === payload.length && one.every((byte, i) => byte === payload[i]));
  // The copies of the newest are asked first.
  for (const { device, sb: own } of [newest, ...members.filter(member => member !== newest)]) {
    for (const offset of own.layout.sb_offset.slice(0, own.layout.nr_superblocks)) {
      const sector = Number(offset);
      const copy = wholeCopyAt(device, sector, newest.sb.uuid)?.sb;
      const payload = copy === undefined ? undefined : sectionPayload(copy, 'crypt');
      if (copy === undefined || payload === undefined || isKnown(payload)) continue;
      if (sameAge && copy.seq !== newest.sb.seq) continue;
      if (known.push(payload) > OTHER_KEYS_MAX) return;
      yield { sb: copy, device, sector };
    }
  }
}

/** `unknown`: there is nothing that could say it, as before the first mount. */
type Proof = 'right' | 'wrong' | 'unknown';

function proofOf(set: MemberSet, key: Uint8Array): Proof {
  let isWrong = false;
  for (const verdicts of [rootVerdicts(set, key), journalVerdicts(set, key), nodeVerdicts(set, key)]) {
    let tried = 0;
    for (const isGood of verdicts) {
      if (isGood) return 'right';
      isWrong = true;
      if (++tried === TRIED_MAX) break;
    }
  }
  return isWrong ? 'wrong' : 'unknown';
}

/** Of the roots that a clean superblock names: mostly the first one says it. */
function* rootVerdicts({ members, newest: { sb } }: MemberSet, key: Uint8Array): Generator<boolean> {
  const byIndex = new Map(members.map(({ device, sb: own }) => [own.dev_idx, device]));
  for (const { btree, level, key: root } of cleanRoots(sb)) {
    for (const { dev, offset } of root === undefined ? [] : placesOf(btree, level, root)) {
      const device = byIndex.get(dev);
      const isGood = device === undefined ? undefined : isNodeAuthentic(device, offset, sb, key);
      if (isGood !== undefined) yield isGood;
    }
  }
}

function placesOf(btree: number, level: number, root: Key): readonly ExtentPtr[] {
  try {
    return btreePtrPlaces(btree, level, root).replicas;
  } catch (thrown) {
    if (thrown instanceof CorruptError) return [];
    throw thrown;
  }
}

function* journalVerdicts({ members, newest }: MemberSet, key: Uint8Array): Generator<boolean> {
  for (const { device, sb } of members) {
    const member = memberAt(newest.sb, sb.dev_idx);
    if (member === undefined) continue;
    for (const { flags, ptr } of scanJournal({ device, sb, member, key, problems: new JournalProblems() }))
      if (checksumTypes.byId(JSET.csumType(flags))?.isEncryption === true) yield ptr.checksumGood;
  }
}

/** Of all nodes that are found. */
function* nodeVerdicts({ members, newest: { sb } }: MemberSet, key: Uint8Array): Generator<boolean> {
  const settings = { magic: btreeNodeMagic(sb.uuid), nodeSectors: getBits(sb.flags, sbBits.BTREE_NODE_SIZE), key };
  if (settings.nodeSectors === 0) return;
  for (const { device, sb: own } of members) {
    const member = memberAt(sb, own.dev_idx);
    if (member === undefined || member.bucket_size === 0) continue;
    const { bucket_size: bucketSizeSectors, first_bucket: firstBucket, nbuckets } = member;
    const bucketEnd = Math.min(nbuckets, Math.floor(device.sizeBytes / sectorsToBytes(bucketSizeSectors)));
    const scanned = { index: own.dev_idx, device, firstBucket, bucketEnd, bucketSizeSectors, bitmap: undefined };
    for (const { sector } of headersOn(scanned, settings)) {
      const isGood = isNodeAuthentic(device, sector, sb, key);
      if (isGood !== undefined) yield isGood;
    }
  }
}

/** Whether the first bset of a node has a right MAC; undefined where there is none to be judged. */
function isNodeAuthentic(device: BlockDevice, sector: number, sb: Superblock, key: Uint8Array): boolean | undefined {
  const nodeBytes = sectorsToBytes(getBits(sb.flags, sbBits.BTREE_NODE_SIZE));
  const at = sectorsToBytes(sector);
  try {
    const header = readBytes(device, at, SECTOR_BYTES);
    if (viewOf(header).getBigUint64(BtreeNodeHeader.offset.magic, true) !== btreeNodeMagic(sb.uuid)) return undefined;
    const bset = Bset.get(viewOf(header), NODE_BSET_AT);
    const type = bsetCsumType(bset);
    const mac = { key, nonce: btreeNonce(bset, 0) };
    const bytes = NODE_KEYS_AT + 8 * bset.u64s;
    if (checksumTypes.byId(type)?.isEncryption !== true || !canChecksum(type, mac) || bytes > nodeBytes)
      return undefined;
    return verifyVstruct(type, readBytes(device, at, bytes), mac).good;
  } catch (thrown) {
    // A number that no journal has; a sector that cannot be read.
    if (thrown instanceof CorruptError || thrown instanceof DeviceError) return undefined;
    throw thrown;
  }
}
