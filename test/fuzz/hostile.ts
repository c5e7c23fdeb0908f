// Filesystems made by hand to keep a reader busy for ever, or to fill its memory: loops of snapshots, directories, subvolumes, links and
// nodes, and lengths as large as fields can hold. Their keys stand in the journal, which is read before anything else, in whole images
// with superblocks: every command can be given them.

import {
  Bkey,
  type BtreeName,
  btreeNodeMagic,
  btrees,
  type Inode,
  type Key,
  keyKind,
  keyTypes,
  type MemberSet,
  type MemoryDevice,
  makeBpos,
  packInodeV3,
  SPOS_MAX,
  StrHash,
  type Superblock,
  superblockCopyBytes,
  unpackInodeV3,
  viewOf,
} from '@bcachefs-ts/core/engine';
import { key } from '../support/hand-made-btrees.ts';
import { crc32, pattern, ptr, words } from '../support/hand-made-data.ts';
import { type MadeEntry, MadeJournal, subEntry } from '../support/hand-made-journal.ts';
import { buildNode, nodePtr, testKey } from '../support/nodes.ts';

export interface HostileImage {
  readonly name: string;
  readonly set: MemberSet;
  readonly device: MemoryDevice;
  /** Data that reading it may give at most, where it is made to look like more. */
  readonly dataBytesMax?: number;
}

type Keys = Partial<Record<BtreeName, readonly Key[]>>;

const BUCKET_SECTORS = 4096;
/** Of a journal entry, less than a bucket. */
const ENTRY_BYTES = 2 ** 20;
const ROOT = 4096n;
const SNAPSHOT = 0xffff_ffff;
const DIR = 0o040755;
const FILE = 0o100644;
const LINK = 0o120777;

const blank: Inode = unpackInodeV3(new Uint8Array(48));

function inode(inum: bigint, changes: Partial<Inode> = {}, snapshot = SNAPSHOT): Key {
  const value = packInodeV3({ ...blank, bi_mode: DIR, str_hash: 3, ...changes });
  return key('inode_v3', makeBpos(0n, inum, snapshot), value);
}

const hash = new StrHash({ ...blank, str_hash: 3 });

/** A dirent at its right place. Types: 4 directory, 8 file, 10 symlink, 16 subvolume. */
function dirent(
  directory: bigint,
  name: string,
  target: bigint | readonly [child: number, parent: number],
  type = 4,
  snapshot = SNAPSHOT,
): Key {
  const bytes = new TextEncoder().encode(name);
  const { lo, hi } = hash.dirent(bytes);
  const leadsTo = typeof target === 'bigint' ? { inum: target } : { child_subvol: target[0], parent_subvol: target[1] };
  const value = { target: leadsTo, type, name: bytes, casefoldedName: undefined, namesLength: 0, namesLengthMax: 0 };
  const at = makeBpos(directory, (BigInt(hi) << 32n) | BigInt(lo), snapshot);
  return key('dirent', at, keyKind(keyTypes.idOf('dirent'))!.encode(value));
}

function snapshot(id: number, parent: number, children: readonly [number, number] = [0, 0]): Key {
  const value = new Uint8Array(48);
  const view = viewOf(value);
  view.setUint32(4, parent, true);
  view.setUint32(8, children[0], true);
  view.setUint32(12, children[1], true);
  view.setUint32(20, 1, true);
  return key('snapshot', makeBpos(0n, BigInt(id), 0), value);
}

function subvolume(id: number, of: number, root = ROOT): Key {
  const value = new Uint8Array(16);
  const view = viewOf(value);
  view.setUint32(4, of, true);
  view.setBigUint64(8, root, true);
  return key('subvolume', makeBpos(0n, BigInt(id), 0), value);
}

/** A file of the root directory with these extents. */
function file(name: string, inum: bigint, sizeBytes: bigint, extents: readonly Key[], mode = FILE): Keys {
  return {
    inodes: [inode(inum, { bi_mode: mode, bi_size: sizeBytes })],
    dirents: [dirent(ROOT, name, inum, mode === LINK ? 10 : 8)],
    extents,
  };
}

const sound: Keys = {
  snapshots: [snapshot(SNAPSHOT, 0)],
  subvolumes: [subvolume(1, SNAPSHOT)],
  inodes: [inode(ROOT)],
};

function join(...all: readonly Keys[]): Keys {
  const joined: Partial<Record<BtreeName, Key[]>> = {};
  for (const keys of all) {
    for (const { name } of btrees.rows) {
      const more = keys[name];
      if (more !== undefined) joined[name] = [...(joined[name] ?? []), ...more];
    }
  }
  return joined;
}

function bytesOf({ k, value }: Key): Uint8Array {
  const bytes = new Uint8Array(Bkey.size + value.length);
  Bkey.put(viewOf(bytes), 0, k);
  bytes.set(value, Bkey.size);
  return bytes;
}

/** An image with these keys, and others in front that say where nodes are. */
function image(
  name: string,
  keys: Keys,
  more: {
    readonly roots?: readonly MadeEntry['entries'][];
    readonly dataBytesMax?: number;
    readonly fill?: (device: MemoryDevice, sb: Superblock) => void;
  } = {},
): HostileImage {
  const made = new MadeJournal([BUCKET_SECTORS]);
  const entries: MadeEntry[] = [];
  for (const root of more.roots ?? []) entries.push({ seq: entries.length + 1, lastSeq: 1, entries: root ?? [] });
  for (const [btree, list] of Object.entries(keys)) {
    const id = btrees.rows.find(row => row.name === btree)!.id;
    let pieces: Uint8Array[] = [];
    let size = 0;
    const flush = () => {
      if (size === 0) return;
      const payload = new Uint8Array(Buffer.concat(pieces));
      // A sub-entry's length has 16 bits.
      entries.push({ seq: entries.length + 1, lastSeq: 1, entries: [subEntry('btree_keys', payload, { btree: id })] });
      pieces = [];
      size = 0;
    };
    for (const one of list) {
      const bytes = bytesOf(one);
      if (size + bytes.length > Math.min(ENTRY_BYTES, 8 * 0xffff)) flush();
      pieces.push(bytes);
      size += bytes.length;
    }
    flush();
  }
  // As many as fit into each bucket.
  const rounds: MadeEntry[][] = [[], [], []];
  let bucket = 0;
  let used = 0;
  for (const entry of entries) {
    const size = (entry.entries ?? []).reduce((sum, { payload }) => sum + payload.length + 8, 8192);
    if (used + size > BUCKET_SECTORS * 512) {
      bucket++;
      used = 0;
    }
    if (bucket === rounds.length) throw new Error(`${name} does not fit into its journal`);
    rounds[bucket]!.push(entry);
    used += size;
  }
  rounds.forEach((round, nr) => void made.writeAll(round, { bucket: nr }));
  const device = made.devices[0]!;
  device.write(4096, superblockCopyBytes(made.set.newest.sb, 8n));
  more.fill?.(device, made.set.newest.sb);
  return {
    name,
    set: made.set,
    device,
    ...(more.dataBytesMax === undefined ? {} : { dataBytesMax: more.dataBytesMax }),
  };
}

const withVersion = (version: number, { k, value }: Key): Key => ({ k: { ...k, bversion_lo: BigInt(version) }, value });

const at = (inum: bigint, end: bigint) => makeBpos(inum, end, SNAPSHOT);
const MAX_SIZE = 0xffff_ffff;
const FAR = (1n << 53n) - 1n;
const numbers = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

/** Extents that cover a file to its end, each as long as a key can say. */
function endless(make: (end: bigint) => Key): Key[] {
  return numbers(4096).map(nr => make(BigInt(nr + 1) * BigInt(MAX_SIZE)));
}

const reflinkP = (inum: bigint, end: bigint, idx: bigint, size = MAX_SIZE): Key =>
  key('reflink_p', at(inum, end), words(idx, 0n), size);

function lengths(): HostileImage[] {
  const DATA_SECTOR = 25n * BigInt(BUCKET_SECTORS);
  const content = pattern(8, 1);
  const fill = (device: MemoryDevice): void => device.write(Number(DATA_SECTOR) * 512, content);
  const real = [crc32(content), ptr({ sector: Number(DATA_SECTOR) })];
  return [
    image(
      'sizes that no number holds',
      join(
        sound,
        file('62', 5000n, 1n << 62n, []),
        file('64', 5001n, (1n << 64n) - 1n, []),
        file('link', 5002n, 1n << 62n, [], LINK),
        file('hole', 5003n, FAR, []),
      ),
    ),
    image(
      'inline data of 2 TiB',
      join(
        sound,
        file(
          'f',
          5000n,
          FAR,
          endless(end => key('inline_data', at(5000n, end), words(1n, 2n), MAX_SIZE)),
        ),
      ),
      { dataBytesMax: 4096 * 2 ** 16 },
    ),
    image(
      'reservations of 2 TiB',
      join(
        sound,
        file(
          'f',
          5000n,
          FAR,
          endless(end => key('reservation', at(5000n, end), words(1n << 32n), MAX_SIZE)),
        ),
      ),
      { dataBytesMax: 0 },
    ),
    image(
      'extents of 2 TiB without a checksum',
      join(
        sound,
        file(
          'f',
          5000n,
          FAR,
          endless(end => key('extent', at(5000n, end), words(ptr({ sector: Number(DATA_SECTOR) })), MAX_SIZE)),
        ),
      ),
      { dataBytesMax: 2 ** 20 },
    ),
    image(
      'extents at the end of everything',
      join(
        sound,
        file('f', 5000n, FAR, [
          key('extent', at(5000n, (1n << 64n) - 1n), words(...real), 8),
          key('extent', at(5000n, 4n), words(...real), 8),
          key('inline_data', at(5000n, (1n << 44n) + 3n), words(1n), MAX_SIZE),
        ]),
      ),
      { fill, dataBytesMax: 2 ** 20 },
    ),
    image(
      'reflinks of 2 TiB to one extent',
      join(
        sound,
        file(
          'f',
          5000n,
          FAR,
          endless(end => reflinkP(5000n, end, 0n)),
        ),
        { reflink: [key('reflink_v', makeBpos(0n, 8n, 0), words(1n, ...real), 8)] },
      ),
      { fill, dataBytesMax: 4096 * 8 * 512 },
    ),
    image(
      'reflinks of 2 TiB to inline data',
      join(
        sound,
        file(
          'f',
          5000n,
          FAR,
          endless(end => reflinkP(5000n, end, 0n)),
        ),
        { reflink: [key('indirect_inline_data', makeBpos(0n, BigInt(MAX_SIZE), 0), words(1n, 2n), MAX_SIZE)] },
      ),
      { dataBytesMax: 4096 * 2 ** 16 },
    ),
    image(
      'reflinks to nothing, and to the end of everything',
      join(
        sound,
        file(
          'f',
          5000n,
          FAR,
          endless(end => reflinkP(5000n, end, (1n << 50n) + end)),
        ),
        file(
          'g',
          5001n,
          FAR,
          endless(end => reflinkP(5001n, end, (1n << 56n) - 2n)),
        ),
      ),
      { dataBytesMax: 0 },
    ),
    image(
      'indirect extents that point at each other',
      join(sound, file('f', 5000n, 1n << 20n, [reflinkP(5000n, 2048n, 0n, 2048)]), {
        reflink: numbers(64).map(nr =>
          key('reflink_p', makeBpos(0n, 8n * BigInt(nr + 1), 0), words(BigInt(8 * (63 - nr)), 0n), 8),
        ),
      }),
      { dataBytesMax: 0 },
    ),
    image(
      'counters as large as they get',
      join(sound, {
        accounting: numbers(2000).map(nr =>
          withVersion(
            nr + 1,
            key(
              'accounting',
              makeBpos((BigInt(nr % 8) << 56n) | BigInt(nr), 0n, 0),
              words(...numbers(nr % 8 === 3 || nr % 8 === 4 ? 3 : 1).map(() => (1n << 63n) - 1n)),
            ),
          ),
        ),
        stripes: numbers(50).map(nr => key('stripe', makeBpos(0n, BigInt(nr), 0), new Uint8Array(8 * 60).fill(0xff))),
      }),
    ),
  ];
}

function loops(): HostileImage[] {
  const many = 20_000;
  const deep = 5000;
  return [
    image(
      'snapshots in a loop',
      join(sound, {
        snapshots: [
          snapshot(100, 200, [200, 100]),
          snapshot(200, 300, [100, 200]),
          snapshot(300, 100, [300, 300]),
          snapshot(400, 400, [400, 400]),
        ],
        subvolumes: [subvolume(2, 100), subvolume(3, 400), subvolume(4, 77)],
        inodes: [inode(ROOT, {}, 100), inode(ROOT, {}, 400)],
        dirents: [
          dirent(ROOT, 'two', [2, 1], 16),
          dirent(ROOT, 'three', [3, 1], 16),
          dirent(ROOT, 'four', [4, 1], 16),
          dirent(ROOT, 'back', [1, 2], 16, 100),
          dirent(ROOT, 'self', [2, 2], 16, 100),
        ],
      }),
    ),
    image(
      'a chain of 1,000 snapshots, each with a subvolume',
      join(sound, {
        snapshots: numbers(1000).map(nr => snapshot(SNAPSHOT - 1 - nr, SNAPSHOT - nr)),
        subvolumes: numbers(1000).map(nr => subvolume(2 + nr, SNAPSHOT - 1 - nr)),
        dirents: numbers(1000).map(nr => dirent(ROOT, `s${nr}`, [2 + nr, 1], 16)),
      }),
    ),
    image(
      'directories in a loop',
      join(sound, {
        inodes: numbers(200).map(nr => inode(5000n + BigInt(nr), { bi_nlink: 1_000_000_000 })),
        dirents: [
          dirent(ROOT, 'in', 5000n),
          ...numbers(200).flatMap(nr =>
            numbers(40).map(other =>
              dirent(5000n + BigInt(nr), `n${other}`, 5000n + BigInt((nr * 7 + other * 13) % 200)),
            ),
          ),
        ],
      }),
    ),
    image(
      'directories below each other, 5,000 deep, with long names',
      join(sound, {
        inodes: numbers(deep).map(nr => inode(5000n + BigInt(nr))),
        dirents: numbers(deep).map(nr =>
          dirent(nr === 0 ? ROOT : 4999n + BigInt(nr), 'n'.repeat(250), 5000n + BigInt(nr)),
        ),
      }),
    ),
    image(
      'a billion hard links, of which 20,000 are there',
      join(sound, {
        inodes: [inode(5000n, { bi_mode: FILE, bi_nlink: 999_999_998, bi_size: 3n })],
        dirents: numbers(many).map(nr => dirent(ROOT, `l${nr}`, 5000n, 8)),
      }),
    ),
    image(
      'symlinks to each other',
      join(
        sound,
        file('a', 5000n, 1n, [key('inline_data', at(5000n, 8n), Uint8Array.of(0x62, 0, 0, 0, 0, 0, 0, 0), 8)], LINK),
        file('b', 5001n, 1n, [key('inline_data', at(5001n, 8n), Uint8Array.of(0x61, 0, 0, 0, 0, 0, 0, 0), 8)], LINK),
      ),
    ),
    image(
      'names that lead out',
      join(
        sound,
        ...['..', '.', '', 'a/b', '/etc/passwd', '../../x', 'nul\0x'].map((name, nr) =>
          file(name, 5000n + BigInt(nr), 0n, []),
        ),
      ),
    ),
  ];
}

/** Nodes that lead to themselves, to each other, and many times to the same. */
function nodes(): HostileImage[] {
  const dirents = btrees.idOf('dirents');
  const rootOf = (one: Key, level: number) => [subEntry('btree_root', bytesOf(one), { btree: dirents, level })];
  const [A, B] = [26 * BUCKET_SECTORS, 27 * BUCKET_SECTORS];
  const write = (device: MemoryDevice, sb: Superblock, sector: number, level: number, keys: readonly Key[]) => {
    const bytes = buildNode({ magic: btreeNodeMagic(sb.uuid), btree: dirents, level, bsets: [{ keys }] });
    device.write(sector * 512, bytes);
    return bytes.length / 512;
  };
  const to = (sector: number, max = SPOS_MAX) => nodePtr({ written: 8, max, replicas: [{ dev: 0, sector }] });
  return [
    image('a node that leads to itself', sound, {
      roots: [rootOf(to(A), 3)],
      fill: (device, sb) => void write(device, sb, A, 3, [to(A)]),
    }),
    image('two nodes that lead to each other', sound, {
      roots: [rootOf(to(A), 2)],
      fill(device, sb) {
        write(device, sb, A, 2, [to(B)]);
        write(device, sb, B, 1, [to(A)]);
      },
    }),
    image('a node with one child a thousand times', sound, {
      roots: [rootOf(to(A), 1)],
      fill(device, sb) {
        write(
          device,
          sb,
          A,
          1,
          numbers(1000).map(nr => to(B, nr === 999 ? SPOS_MAX : makeBpos(BigInt(nr), 0n, 0))),
        );
        write(device, sb, B, 0, [testKey('dirent', [4096, 1], new Uint8Array(16))]);
      },
    }),
    image('a root at level 200', sound, { roots: [rootOf(to(A), 200)] }),
  ];
}

export const hostileImages = (): readonly HostileImage[] => [...lengths(), ...loops(), ...nodes()];
