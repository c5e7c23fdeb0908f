// explain and locate on the reference images. What the superblock, the journal, the btrees and the alloc keys say by themselves is compared
// with what explain says at their places, and each copy of each file that locate names has to lead back to the file.

import {
  Explainer,
  type Explanation,
  type Filesystem,
  FileTree,
  findMetadata,
  isDirectory,
  Locator,
  latin1Text,
  loadChecksums,
  loadCompression,
  members,
  openFilesystem,
  type Place,
  readJournal,
  superblockBytes,
  viewOf,
} from '@bcachefs-ts/core/engine';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { fixture, whyNoFixtures } from '../support/fixtures.ts';
import { cpuMs } from '../support/patience.ts';
import { randomFrom, testSeed } from '../support/random.ts';

if (whyNoFixtures !== undefined) console.warn(`explain against reference images skipped: ${whyNoFixtures}`);

beforeAll(async () => {
  await loadChecksums();
  await loadCompression();
});

const opened = new Map<string, { readonly fs: Filesystem; readonly explainer: Explainer }>();

function open(name: string) {
  let found = opened.get(name);
  if (found === undefined) {
    const { images, json } = fixture(name);
    const passphrase = json.passphrase === null ? undefined : new TextEncoder().encode(json.passphrase);
    const fs = openFilesystem(images, { degraded: true, passphrase });
    found = { fs, explainer: new Explainer(fs) };
    opened.set(name, found);
  }
  return found;
}

afterAll(() => {
  for (const { fs } of opened.values()) fs.close();
});

const placesOf = <K extends Place['kind']>(explanation: Explanation, kind: K) =>
  explanation.places.filter((place): place is Extract<Place, { kind: K }> => place.kind === kind);

/** One of each sort: versions 1.3 to 1.39, one and several members, encrypted, compressed, unclean, with snapshots and stripes. */
const varied = [
  'basic',
  'geom-bs512',
  'encrypted-wide-lz4',
  'encrypted-unclean',
  'multi3-r2',
  'multi4-tiers',
  'reflink',
  'snapshots',
  'unclean',
  'u103-2dev',
  'u136-basic',
  'basic-1.39',
  'dirty-1.39',
  'ec-1.39',
];

describe.skipIf(whyNoFixtures !== undefined)('what says itself where it is', () => {
  test.each(varied)('%s: superblock copies, journal entries, btree nodes', name => {
    const { fs, explainer } = open(name);
    for (const { device, sb } of fs.set.members) {
      const [layout] = placesOf(explainer.explain(sb.dev_idx, 7 * 512 + 17), 'layout');
      expect(layout?.field?.name).toBe('sb_max_size_bits');
      for (const [copy, offset] of sb.layout.sb_offset.slice(0, sb.layout.nr_superblocks).entries()) {
        const at = Number(offset) * 512;
        const [first] = placesOf(explainer.explain(sb.dev_idx, at), 'superblock');
        expect(first).toMatchObject({ copy, sector: Number(offset), problem: undefined, seq: sb.seq });
        const [seq] = placesOf(explainer.explain(sb.dev_idx, at + 112), 'superblock');
        expect(seq?.field).toMatchObject({ name: 'seq', value: String(sb.seq), at: at + 112 });
        const header = new Uint8Array(752);
        device.read(at, header);
        const lastByte = at + superblockBytes(viewOf(header), 0) - 1;
        expect(placesOf(explainer.explain(sb.dev_idx, lastByte), 'superblock')[0]?.isPastEnd).toBe(false);
        expect(placesOf(explainer.explain(sb.dev_idx, lastByte + 1), 'superblock')[0]?.isPastEnd).toBe(true);
      }
    }

    const journal = readJournal(fs.set, fs.key);
    for (const { seq, sizeBytes, use, ptrs } of journal.entries) {
      for (const { dev, sector, bucketIndex } of ptrs) {
        for (const at of [sector * 512, sector * 512 + sizeBytes - 1]) {
          const [place] = placesOf(explainer.explain(dev, at), 'journal');
          expect(place).toMatchObject({ bucketIndex, entry: { seq, sector, use } });
        }
      }
    }
    // A fresh filesystem has none; these were used.
    expect(journal.entries.length).toBeGreaterThan(name === 'u136-basic' || name === 'u103-2dev' ? -1 : 0);

    const map = runToEnd(findMetadata(fs));
    let nodes = 0;
    for (const { sb } of fs.set.members) {
      for (const { kind, offsetBytes, lengthBytes, node } of map.ranges(sb.dev_idx)) {
        if (kind !== 'btree_node') continue;
        nodes++;
        for (const at of [offsetBytes, offsetBytes + lengthBytes - 1]) {
          const found = placesOf(explainer.explain(sb.dev_idx, at), 'btree_node');
          expect(found).toHaveLength(1);
          expect(found[0]).toMatchObject({ btree: node?.btree, level: node?.level, problems: [] });
          expect(found[0]?.part.type === 'header').toBe(at === offsetBytes);
        }
      }
    }
    expect(nodes).toBeGreaterThan(3);
  });

  test('every key of a node is found at its first and last byte, with whether it is live', () => {
    const { fs, explainer } = open('basic');
    let live = 0;
    let dead = 0;
    for (const btree of ['inodes', 'dirents', 'xattrs', 'lru'] as const) {
      const view = fs.btree(btree);
      for (const node of view.nodes()) {
        const base = node.facts.sector * 512;
        for (const [nr, { keys }] of node.facts.bsets.entries()) {
          for (let i = 0; i < keys.count; i += 7) {
            const key = node.keyOf(keys, i);
            const last = key.value.byteOffset + Math.max(0, key.value.length - 1) - (key.value.length === 0 ? 1 : 0);
            const [place] = placesOf(explainer.explain(0, base + last), 'btree_node');
            if (place?.part.type !== 'key') throw new Error(`byte ${base + last}: ${place?.part.type}`);
            expect(place.part).toMatchObject({ nr: i, bset: { nr } });
            expect(place.part.key.k.p).toEqual(key.k.p);
            const current = view.get(key.k.p);
            const isCurrent = current !== undefined && current.value.byteOffset === key.value.byteOffset;
            expect(place.part.state === 'live').toBe(isCurrent);
            if (isCurrent) live++;
            else dead++;
          }
        }
      }
    }
    expect(live).toBeGreaterThan(20);
    expect(dead).toBeGreaterThan(5);
  });
});

function runToEnd<T>(steps: Generator<unknown, T, void>): T {
  for (;;) {
    const { done, value } = steps.next();
    if (done) return value;
  }
}

describe.skipIf(whyNoFixtures !== undefined)('locate and explain agree', () => {
  const names = [...varied, 'compress-zstd', 'compress-background', 'nocow', 'u136-bsfold', 'misc-1.39'];
  test.each(names)('%s: each copy of each file leads back to it', name => {
    const { fs, explainer } = open(name);
    const lost: string[] = [];
    const locator = new Locator(fs, damage => lost.push(damage.message));
    const tree = FileTree.open(fs, { onDamage: damage => lost.push(damage.message) });
    let copies = 0;
    let keys = 0;
    let files = 0;
    for (const { path, node } of tree.walk()) {
      if (node === undefined) continue;
      const text = latin1Text(path);
      const isNamed = (found: {
        readonly paths: readonly { readonly path: Uint8Array }[];
        readonly subvolume: number;
      }) => found.subvolume === node.subvolume && found.paths.some(one => latin1Text(one.path) === text);
      // A whole manifest of thousands takes minutes: the first ones of each directory's order are as good as any.
      if (++files > 400) break;
      for (const { dev, offset } of locator.inode(node)?.replicas ?? []) {
        if (fs.device(dev) === undefined) continue;
        const [place] = placesOf(explainer.explain(dev, offset), 'btree_node');
        if (place?.part.type !== 'key') throw new Error(`${text}: no key at byte ${offset} of member ${dev}`);
        expect(place.part.files.list.some(isNamed), `${text}: its inode`).toBe(true);
        keys++;
      }
      if (isDirectory(node.inode)) continue;
      for (const run of locator.runs(tree, node)) {
        for (const { dev, offset } of run.inline?.replicas ?? []) {
          const [place] = placesOf(explainer.explain(dev, offset), 'btree_node');
          if (place?.part.type !== 'key') throw new Error(`${text}: no key at byte ${offset} of member ${dev}`);
          expect(place.part.files.list.some(isNamed), `${text}: inline data`).toBe(true);
          keys++;
        }
        for (const replica of run.replicas) {
          const { ptr } = replica;
          if (fs.device(ptr.dev) === undefined || replica.age !== 'current') continue;
          for (const skip of [0, replica.lengthBytes - 1]) {
            const at = `${text} ${run.offset}+${skip}: byte ${replica.offset + skip} of member ${ptr.dev}`;
            const explanation = explainer.explain(ptr.dev, replica.offset + skip);
            const all = placesOf(explanation, 'data').flatMap(place => place.files.list.map(file => ({ place, file })));
            const found = all.find(({ file, place }) => {
              if (!isNamed(file) || file.inum !== node.inum) return false;
              if (!replica.isCompressed) return file.offset === run.offset + skip;
              const from = file.range?.offset ?? Number.NaN;
              return place.part === 'compressed' && from <= run.offset && run.offset < from + (file.range?.length ?? 0);
            });
            expect(found, at).toBeDefined();
            expect(found?.place.checksum, at).toMatch(/^(good|none)$/);
            expect(found?.place.ptr, at).toEqual(ptr);
            copies++;
          }
        }
      }
    }
    expect(lost).toEqual([]);
    expect(copies + keys).toBeGreaterThan(10);
  });
});

describe.skipIf(whyNoFixtures !== undefined)('buckets', () => {
  test.each(['basic', 'multi4-tiers', 'ec-1.39'])('%s: what lies in each agrees with its alloc key', name => {
    const { fs, explainer } = open(name);
    const known = members(fs.sb);
    const seen = new Map<number, number>();
    for (const { sb } of fs.set.members) {
      const { bucket_size, nbuckets } = known[sb.dev_idx]!;
      for (let bucket = 0; bucket < nbuckets; bucket++) {
        const { alloc } = explainer.explain(sb.dev_idx, bucket * bucket_size * 512).bucket ?? {};
        const type = alloc?.data_type ?? 0;
        seen.set(type, (seen.get(type) ?? 0) + 1);
        // Free ones are many and alike.
        if (type === 0 && bucket % 16 !== 0) continue;
        const found = new Set<string>();
        const step = Math.max(1, bucket_size / 16);
        for (let sector = 0; sector < bucket_size; sector += step) {
          const { places, searched } = explainer.explain(sb.dev_idx, (bucket * bucket_size + sector) * 512);
          // Of cached copies not all have backpointers.
          if ((alloc?.cached_sectors ?? 0) === 0) expect(searched, `bucket ${sb.dev_idx}:${bucket}`).not.toBe('scan');
          for (const place of places) found.add(place.kind === 'data' && place.ptr.cached ? 'cached' : place.kind);
        }
        const at = `bucket ${sb.dev_idx}:${bucket} of type ${type}, ${alloc?.dirty_sectors} sectors: ${[...found]}`;
        const names = [...found];
        if (type === 0 || type === 8 || type === 9) expect(names, at).toEqual([]);
        if (type === 1)
          expect(
            names.every(kind => kind === 'superblock' || kind === 'layout'),
            at,
          ).toBe(true);
        if (type === 2) expect(names, at).toEqual(['journal']);
        if (type === 3) expect(names, at).toEqual(['btree_node']);
        if (type === 4)
          expect(
            names.every(kind => kind === 'data' || kind === 'cached' || kind === 'stripe'),
            at,
          ).toBe(true);
        if (type === 4 && (alloc?.dirty_sectors ?? 0) >= bucket_size / 2) expect(names, at).toContain('data');
        if (type === 5) expect(names, at).toEqual(['cached']);
        if (type === 6 || type === 7) expect(names, at).toContain('stripe');
      }
    }
    for (const type of [0, 1, 2, 3, 4]) expect(seen.get(type) ?? 0, `buckets of type ${type}`).toBeGreaterThan(0);
    if (name === 'ec-1.39') expect(seen.get(6) ?? 0, 'parity buckets').toBeGreaterThan(0);
  });

  test('a wrong backpointer is reported, and the owner found all the same', () => {
    const { fs, explainer } = open('dmg-backpointer');
    let reported = 0;
    for (const { k, value } of fs.btree('extents').keys()) {
      if (k.type !== 6 || value.length === 0) continue;
      const tree = FileTree.open(fs);
      const locator = new Locator(fs, damage => expect.unreachable(damage.message));
      const node = tree.node((BigInt(k.p[4]!) << 32n) | BigInt(k.p[3]!));
      if (node === undefined) continue;
      for (const { replicas } of locator.runs(tree, node)) {
        for (const { ptr, offset } of replicas) {
          const { places, notices } = explainer.explain(ptr.dev, offset);
          expect(places.some(place => place.kind === 'data')).toBe(true);
          if (notices.length > 0) reported++;
        }
      }
    }
    expect(reported).toBeGreaterThan(0);
  });

  test('scanning finds what backpointers find', () => {
    for (const name of ['reflink', 'snapshots', 'multi3-r2', 'u136-basic']) {
      const { fs, explainer } = open(name);
      const random = randomFrom(7);
      for (const { sb, device } of fs.set.members) {
        for (let i = 0; i < 60; i++) {
          // Small filesystems use the start of their devices.
          const at = random.below(Math.min(device.sizeBytes, 24 * 2 ** 20));
          const plain = (explanation: Explanation) =>
            explanation.places.map(place => [place.kind, 'replica' in place ? place.replica : undefined]);
          const [quick, slow] = [explainer.explain(sb.dev_idx, at), explainer.explain(sb.dev_idx, at, { scan: true })];
          expect(plain(quick), `${name} byte ${at}`).toEqual(plain(slow));
        }
      }
    }
  });
});

describe.skipIf(whyNoFixtures !== undefined)('what is left of earlier lives', () => {
  test.each(['basic', 'many', 'unclean-busy'])('%s: btree nodes that nothing points to', name => {
    const { fs, explainer } = open(name);
    const live = new Set<number>();
    for (const { kind, offsetBytes } of runToEnd(findMetadata(fs)).ranges(0))
      if (kind === 'btree_node') live.add(offsetBytes);
    const [member] = fs.set.members;
    const step = fs.reader.nodeSectors * 512;
    let found = 0;
    for (let at = 0; at < Math.min(member!.device.sizeBytes, 64 * 2 ** 20); at += step) {
      const { places, leftovers } = explainer.explain(0, at);
      const [left] = leftovers;
      if (left?.kind !== 'btree_node') continue;
      found++;
      expect(places).toEqual([]);
      expect(live.has(at)).toBe(false);
      expect(left).toMatchObject({ sector: at / 512, problems: [], part: { type: 'header', bset: { nr: 0 } } });
    }
    expect(found).toBeGreaterThan(0);
  });
});

describe.skipIf(whyNoFixtures !== undefined)('any byte of any image', () => {
  const names = [
    ...[
      'basic',
      'many',
      'encrypted',
      'encrypted-unclean',
      'unclean-busy',
      'unclean-torn',
      'multi3-stale',
      'snapshots-orphan',
    ],
    ...['dmg-alloc', 'dmg-alloc-root', 'dmg-data-csum', 'dmg-root', 'dmg-subvol', 'dmg-backpointer', 'dmg-reflink'],
    ...[
      'fresh-103',
      'fresh-113-noinit',
      'u103-2dev',
      'sb-head-zeroed',
      'sb-primary-bitflip',
      'basic-1.39',
      'dirty-1.39',
      'ec-1.39',
    ],
  ];
  const seed = testSeed();
  test.each(names)(`%s: something is said, with less than two seconds of work (seed ${seed})`, name => {
    const { fs, explainer } = open(name);
    const random = randomFrom(seed);
    let slowest = 0;
    for (let i = 0; i < 100; i++) {
      const { device, sb } = random.pick(fs.set.members);
      const at = random.below(i % 2 === 0 ? device.sizeBytes : Math.min(device.sizeBytes, 32 * 2 ** 20));
      const start = cpuMs();
      const explanation = explainer.explain(sb.dev_idx, at);
      for (const place of [...explanation.places, ...explanation.leftovers]) {
        if (!('region' in place) || place.region === undefined) continue;
        for (const { lengthBytes } of place.region.annotations(at, at + 256)) expect(lengthBytes).toBeGreaterThan(0);
      }
      slowest = Math.max(slowest, cpuMs() - start);
    }
    expect(slowest).toBeLessThan(2000);
  });
});
