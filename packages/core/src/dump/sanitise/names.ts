// New names for old ones. A dirent or an xattr stands at the hash of its name, so that a new name means a new position; here each name
// gets one whose hash lies in the same leaf as the old one's and can be stored in as many bytes: then every key keeps its node, its
// bset and its size, pointers and journal entries stay as they are, and only the order of keys inside of bsets changes.
// Such a name is found by trying: the names of one directory are spread over its leaves by chance anyway, so that about as many tries
// are needed as the directory has leaves.
//
// One name in one directory becomes one new name, in all snapshots and everywhere in the journal. Where an entry was not at its hash it
// is not afterwards: next to its namesake when it was a second one, else anywhere. Entries that came after another with the
// same hash get one of their own. Positions without a name (whiteouts, and entries that inodes still know and nothing else does)
// get other positions: a position is a hash of a name, from which the name could be guessed.
//
// Memory: some 400 bytes for each name.

import { platform } from '#platform';
import { StrHash } from '../../fs/str-hash.ts';
import type { BkeyFormat } from '../../ondisk/bkey-format.ts';
import { type Bpos, compareBpos, makeBpos } from '../../ondisk/bpos.ts';
import { assert, IncompatibleError } from '../../ondisk/errors.ts';
import type { Inode } from '../../ondisk/inode-unpack.ts';
import { viewOf } from '../../ondisk/layout.ts';

/** Which of the two btrees of names. */
export type NameSpace = 'dirents' | 'xattrs';

/** What an old position demands of the new one. */
export interface Leaf {
  readonly minKey: Bpos;
  readonly maxKey: Bpos;
  readonly format: BkeyFormat;
}

/** A name as it was found in a key. */
export interface FoundName {
  /** What is hashed: of a dirent that ignores case the folded name. */
  readonly hashed: Uint8Array;
  /** The name itself; only for telling apart. */
  readonly name: Uint8Array;
  /** Of an xattr. */
  readonly xattrType: number | undefined;
  /** Only small letters and digits, so that folding changes nothing. */
  readonly isFolded: boolean;
  /** How long the new name is, and how long it may be if no other can be found. */
  readonly length: number;
  readonly lengthMax: number;
}

/** Where a key goes. */
export interface NewPlace {
  readonly offset: bigint;
  /** Undefined where there was no name. */
  readonly name: Uint8Array | undefined;
}

const U32_MAX = 0xffff_ffff;
const FREE_TRIES = 3000;
const TRIES_MAX = 300_000;
/** An entry this far past its hash is there because of a chain of collisions; one further away is misplaced. */
const CHAIN_MAX = 4096n;

interface Slot {
  readonly offset: bigint;
  readonly leaves: Leaf[];
  isPacked: boolean;
  readonly names: Map<string, FoundName>;
  /** By name; without one under ''. */
  readonly places: Map<string, NewPlace>;
}

/** A name in a directory with one seed, and the slots where it is. */
interface Group {
  readonly found: FoundName;
  readonly hash: StrHash | undefined;
  readonly at: { readonly slot: Slot; readonly past: bigint }[];
  name: Uint8Array | undefined;
  offset: bigint;
}

/** All names below one inode number. */
class Owner {
  readonly slots = new Map<bigint, Slot>();
  readonly hashes: StrHash[] = [];
  readonly seeds = new Set<string>();
  readonly taken = new Set<bigint>();
  readonly takenNames = new Set<string>();
}

export class NameTable {
  readonly #secret: Uint8Array;
  /** The first four bytes of each old name: no new name has them anywhere, not even by chance. */
  readonly #starts = new Set<number>();
  readonly #owners = { dirents: new Map<bigint, Owner>(), xattrs: new Map<bigint, Owner>() } as const;
  /** Names whose versions lie in two leaves: no new name can be in both. */
  straddling = 0;

  /** @param secret 32 bytes that are not kept: with them old names could be tried out */
  constructor(secret: Uint8Array) {
    this.#secret = secret;
  }

  /** Whether names below this inode were found. */
  wantsInode(inode: bigint): boolean {
    return this.#owners.dirents.has(inode) || this.#owners.xattrs.has(inode);
  }

  addInode(number: bigint, inode: Inode): void {
    const id = `${inode.bi_hash_seed} ${inode.str_hash} ${inode.bi_flags & (1 << 11)}`;
    for (const owner of [this.#owners.dirents.get(number), this.#owners.xattrs.get(number)]) {
      if (owner === undefined || owner.seeds.has(id)) continue;
      owner.seeds.add(id);
      const hash = new StrHash(inode);
      if (hash.isKnown) owner.hashes.push(hash);
    }
  }

  /** @param leaf undefined for keys of the journal */
  addKey(space: NameSpace, key: FoundKey, leaf: Leaf | undefined): void {
    const { inode, offset, name, isPacked } = key;
    const slot = this.#slotOf(this.#ownerOf(space, inode), offset);
    if (leaf !== undefined && !slot.leaves.includes(leaf)) slot.leaves.push(leaf);
    if (isPacked) slot.isPacked = true;
    if (name === undefined) return;
    slot.names.set(idOf(name), name);
    if (isKept(name)) return;
    for (const one of [name.name, name.hashed]) if (one.length >= 4) this.#starts.add(wordAt(one, 0));
  }

  /** Chooses all new names. @throws IncompatibleError when there is none for some name */
  assign(): void {
    for (const space of ['dirents', 'xattrs'] as const) {
      for (const [inode, owner] of this.#owners[space]) this.#assignOwner(space, inode, owner);
    }
  }

  /** Where a key goes, and under which name. What was never seen before gets a place now. */
  place(space: NameSpace, inode: bigint, offset: bigint, name: FoundName | undefined): NewPlace {
    const owner = this.#ownerOf(space, inode);
    const slot = this.#slotOf(owner, offset);
    const id = name === undefined ? '' : idOf(name);
    const known = slot.places.get(id);
    if (known !== undefined) return known;
    if (name !== undefined) slot.names.set(id, name);
    this.#assignSlot(space, inode, owner, slot);
    const place = slot.places.get(id);
    assert(place !== undefined, 'a slot has places for all of its names');
    return place;
  }

  #ownerOf(space: NameSpace, inode: bigint): Owner {
    const owners = this.#owners[space];
    let owner = owners.get(inode);
    if (owner === undefined) {
      owner = new Owner();
      owners.set(inode, owner);
    }
    return owner;
  }

  #slotOf(owner: Owner, offset: bigint): Slot {
    let slot = owner.slots.get(offset);
    if (slot === undefined) {
      slot = { offset, leaves: [], isPacked: false, names: new Map(), places: new Map() };
      owner.slots.set(offset, slot);
    }
    return slot;
  }

  #assignOwner(space: NameSpace, inode: bigint, owner: Owner): void {
    const groups = new Map<string, Group>();
    const displaced: { readonly id: string; readonly slot: Slot; readonly found: FoundName; readonly by: bigint }[] =
      [];
    const lost: { readonly id: string; readonly slot: Slot; readonly found: FoundName }[] = [];
    const groupOf = (id: string, found: FoundName, hash: StrHash | undefined) => {
      let group = groups.get(id);
      if (group === undefined) {
        group = { found, hash, at: [], name: undefined, offset: 0n };
        groups.set(id, group);
      }
      return group;
    };
    for (const slot of owner.slots.values()) {
      if (slot.leaves.length > 1) this.straddling++;
      for (const [id, found] of slot.names) {
        const { nr, by } = nearest(owner.hashes, found, slot.offset);
        const groupId = `${nr} ${id}`;
        if (nr >= 0 && by === 0n) groupOf(groupId, found, owner.hashes[nr]).at.push({ slot, past: 0n });
        else if (nr >= 0 && by < CHAIN_MAX) displaced.push({ id: groupId, slot, found, by });
        else lost.push({ id: groupId, slot, found });
      }
    }
    for (const { id, slot, found, by } of displaced) {
      const known = groups.get(id);
      if (known === undefined)
        groupOf(id, found, owner.hashes[Number(id.split(' ', 1)[0])]).at.push({ slot, past: 0n });
      else known.at.push({ slot, past: by });
    }
    // Names without a place of their own: their entries are misplaced.
    for (const { id, found } of lost) groupOf(id, found, owner.hashes[Math.max(0, Number(id.split(' ', 1)[0]))]);

    // Those that stay first, then short ones: there are few of them.
    const order = ({ found }: Group) => (isKept(found) ? 0 : found.length);
    const sorted = [...groups.values()].sort((a, b) => order(a) - order(b));
    for (const group of sorted) {
      this.#choose(space, inode, owner, group);
      for (const { slot, past: by } of group.at) {
        slot.places.set(idOf(group.found), { offset: group.offset + by, name: group.name });
      }
    }
    for (const { id, slot, found } of lost) {
      slot.places.set(idOf(found), { offset: this.#anywhere(space, inode, owner, slot), name: groups.get(id)?.name });
    }
    for (const slot of owner.slots.values()) this.#assignSlot(space, inode, owner, slot);
  }

  /** The places that a slot lacks. */
  #assignSlot(space: NameSpace, inode: bigint, owner: Owner, slot: Slot): void {
    for (const [id, found] of slot.names) {
      if (slot.places.has(id)) continue;
      const { nr, by } = nearest(owner.hashes, found, slot.offset);
      const hash = nr >= 0 && by < CHAIN_MAX ? owner.hashes[nr] : undefined;
      const group: Group = {
        found,
        hash,
        at: hash === undefined ? [] : [{ slot, past: 0n }],
        name: undefined,
        offset: 0n,
      };
      this.#choose(space, inode, owner, group);
      const offset = hash === undefined ? this.#anywhere(space, inode, owner, slot) : group.offset;
      slot.places.set(id, { offset, name: group.name });
    }
    if (slot.places.has('')) return;
    // A whiteout hides what is in its slot: it goes where that goes.
    const [first] = slot.places.values();
    slot.places.set('', { offset: first?.offset ?? this.#anywhere(space, inode, owner, slot), name: undefined });
  }

  /** Tries names until one is good for all places of the group. */
  #choose(space: NameSpace, inode: bigint, owner: Owner, group: Group): void {
    const { found, hash, at } = group;
    if (isKept(found)) {
      group.name = found.name;
      group.offset = at[0]?.slot.offset ?? 0n;
      if (at.length > 0) owner.taken.add(group.offset);
      return;
    }
    const source = new NameSource(this.#secret, `${space} ${inode} ${idOf(found)}`, found);
    for (let nr = 0; nr < TRIES_MAX; nr++) {
      const name = source.next(nr);
      const nameId = `${found.xattrType ?? ''} ${textOf(name)}`;
      if (owner.takenNames.has(nameId) || (nr < TRIES_MAX / 2 && this.#hasOldStart(name))) continue;
      const offset = hash === undefined ? 0n : hashOf(hash, name, found.xattrType);
      if (!at.every(({ slot, past }) => this.#fits(inode, owner, slot, offset + past))) continue;
      group.name = name;
      group.offset = offset;
      owner.takenNames.add(nameId);
      for (const { past } of at) owner.taken.add(offset + past);
      if (hash !== undefined) owner.taken.add(offset);
      return;
    }
    throw new IncompatibleError(
      'sanitise_no_name',
      { btree: space, pos: `${inode}:${at[0]?.slot.offset ?? 0n}` },
      `no other name of ${found.length} bytes was found whose hash lies in the same node; data alone can be sanitised`,
    );
  }

  #hasOldStart(name: Uint8Array): boolean {
    for (let at = 0; at + 4 <= name.length; at++) if (this.#starts.has(wordAt(name, at))) return true;
    return false;
  }

  /** A place that has nothing to do with a name. */
  #anywhere(space: NameSpace, inode: bigint, owner: Owner, slot: Slot): bigint {
    const random = new Generator(this.#secret, `${space} ${inode} at ${slot.offset}`);
    const widest = slot.offset < 2n ** 31n ? 31 : slot.offset < 2n ** 32n ? 32 : slot.offset < 2n ** 63n ? 63 : 64;
    const mask =
      (1n << BigInt(varintBytes(slot.offset) === 9 ? widest : Math.min(widest, 7 * varintBytes(slot.offset)))) - 1n;
    for (let nr = 0; nr < TRIES_MAX; nr++) {
      const offset = ((BigInt(random.next()) << 32n) | BigInt(random.next())) & mask;
      if (offset < 2n || !this.#fits(inode, owner, slot, offset)) continue;
      owner.taken.add(offset);
      return offset;
    }
    throw new IncompatibleError(
      'sanitise_no_place',
      { btree: space, pos: `${inode}:${slot.offset}` },
      'no other position was found in the same node; data alone can be sanitised',
    );
  }

  #fits(inode: bigint, owner: Owner, slot: Slot, offset: bigint): boolean {
    if (owner.taken.has(offset)) return false;
    // Inodes keep the position in a varint, which must not get longer.
    if (varintBytes(offset) > varintBytes(slot.offset)) return false;
    const leaf = slot.leaves[0];
    if (leaf === undefined) return true;
    if (slot.isPacked) {
      const base = leaf.format.field_offset[1]!;
      if (offset < base || (offset - base) >> BigInt(leaf.format.bits_per_field[1]!) !== 0n) return false;
    }
    return (
      compareBpos(makeBpos(inode, offset, 0), leaf.minKey) >= 0 &&
      compareBpos(makeBpos(inode, offset, U32_MAX), leaf.maxKey) <= 0
    );
  }
}

/** A key of one of the two btrees. */
export interface FoundKey {
  readonly inode: bigint;
  readonly offset: bigint;
  readonly isPacked: boolean;
  /** Undefined for whiteouts and the like. */
  readonly name: FoundName | undefined;
}

const LOST_AND_FOUND = 'lost+found';

/**
 * Names that hide nothing: that of an ACL is empty, and every filesystem can have a lost+found, which the kernel makes when it misses
 * it. They stay where they are.
 */
export const isKept = ({ name, xattrType }: Pick<FoundName, 'name' | 'xattrType'>): boolean =>
  name.length === 0 || (xattrType === undefined && textOf(name) === LOST_AND_FOUND);

const wordAt = (bytes: Uint8Array, at: number): number =>
  bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);

const textOf = (name: Uint8Array): string => String.fromCharCode(...name);
const idOf = ({ name, hashed, xattrType, isFolded }: FoundName): string =>
  `${xattrType ?? ''}/${textOf(name)}${isFolded ? `/${textOf(hashed)}` : ''}`;

const hashOf = (hash: StrHash, name: Uint8Array, xattrType: number | undefined): bigint => {
  const { lo, hi } = xattrType === undefined ? hash.dirent(name) : hash.xattr(xattrType, name);
  return (BigInt(hi) << 32n) | BigInt(lo);
};

/** The hash of an inode with that number which explains the position best. @returns -1 when there is none */
function nearest(hashes: readonly StrHash[], { hashed, xattrType }: FoundName, offset: bigint) {
  let best = { nr: -1, by: 0n };
  for (const [nr, hash] of hashes.entries()) {
    const by = BigInt.asUintN(64, offset - hashOf(hash, hashed, xattrType));
    if (best.nr < 0 || by < best.by) best = { nr, by };
  }
  return best;
}

const varintBytes = (value: bigint): number => Math.min(9, Math.ceil(value.toString(2).length / 7));

/** Small random numbers that only the secret explains: xorshift128 from a keyed hash. */
class Generator {
  readonly #state: Uint32Array;

  constructor(secret: Uint8Array, purpose: string) {
    const digest = viewOf(platform.sha256(secret, encode(purpose)));
    this.#state = Uint32Array.from({ length: 4 }, (_, i) => digest.getUint32(4 * i, true));
    this.#state[0]! |= 1;
  }

  /** 32 bits. */
  next(): number {
    const s = this.#state;
    let t = s[3]!;
    const first = s[0]!;
    s[3] = s[2]!;
    s[2] = s[1]!;
    s[1] = first;
    t ^= t << 11;
    t ^= t >>> 8;
    s[0] = t ^ first ^ (first >>> 19);
    return s[0]!;
  }
}

/** Latin-1. */
function encode(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

const FOLDED = encode('abcdefghijklmnopqrstuvwxyz0123456789');
const USUAL = encode('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_');
/** What can be printed, without the slash; with the dot, which does not stand alone in what is tried. */
const PRINTABLE = Uint8Array.from({ length: 0x7e - 0x21 + 1 }, (_, i) => 0x21 + i).filter(byte => byte !== 0x2f);

/** The names that are tried, one after the other. */
class NameSource {
  readonly #random: Generator;

  constructor(
    secret: Uint8Array,
    purpose: string,
    readonly found: FoundName,
  ) {
    this.#random = new Generator(secret, purpose);
  }

  next(nr: number): Uint8Array {
    const { length, lengthMax, isFolded } = this.found;
    // Names of one or two bytes are soon used up: then others, then longer ones.
    const isScarce = nr > FREE_TRIES && length < 3;
    const wanted = nr > 2 * FREE_TRIES && length < 3 ? lengthMax : length;
    const letters = isFolded ? FOLDED : isScarce ? PRINTABLE : USUAL;
    const name = new Uint8Array(wanted);
    for (let i = 0; i < wanted; i++) name[i] = letters[(this.#random.next() >>> 4) % letters.length]!;
    if (name.every(byte => byte === 0x2e)) name[0] = 0x5f;
    return name;
  }
}
