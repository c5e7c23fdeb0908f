// explain and locate as a user runs them, on the project's own images, with what they print for one of each kind of thing; and their JSON
// against the documented schemas.

import { writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { run, succeed } from '../support/cli.ts';
import { fixture, whyNoFixtures } from '../support/fixtures.ts';
import { withTestImage } from '../support/images.ts';
import { validator } from '../support/schemas.ts';

const explainSchema = validator('explain');
const locateSchema = validator('locate');

type Located = {
  readonly files: readonly {
    readonly path: string;
    readonly inode_key: { readonly replicas: readonly { readonly dev: number; readonly offset: number }[] };
    readonly entries: readonly { readonly name: string }[];
    readonly runs: readonly {
      readonly kind: string;
      readonly offset: number;
      readonly length: number;
      readonly replicas: readonly { readonly dev: number; readonly offset: number; readonly bucket: number }[];
    }[];
  }[];
};

const located = async (words: readonly string[]): Promise<Located> => {
  const document = JSON.parse(await succeed('locate', ['--json', ...words]));
  expect(locateSchema(document)).toEqual([]);
  return document;
};

/** The text without the image's folder. */
const shown = async (image: string, ...words: string[]): Promise<string> =>
  (await succeed('explain', [...words.slice(1), image, words[0]!])).replaceAll(image, 'IMAGE');

describe('explain', () => {
  let image = '';
  let release: () => void = () => {};
  let whole: Promise<void> | undefined;

  beforeAll(async () => {
    await new Promise<void>(ready => {
      whole = withTestImage('basic', async ([path]) => {
        image = path!;
        ready();
        await new Promise<void>(done => {
          release = done;
        });
      });
    });
  });
  afterAll(async () => {
    release();
    await whole;
  });

  test('the layout and a field of a superblock', async () => {
    expect(await shown(image, '7s')).toMatchInlineSnapshot(`
      "IMAGE byte 3584: sector 7
      bucket 0, byte 3584 of 16384: sb, gen 0, 32 dirty sectors

      superblock layout: where the superblocks are
        field magic: c68573f6-66ce-90a9-d96a-60cf803df7ef
      "
    `);
    expect(await shown(image, '4216')).toMatchInlineSnapshot(`
      "IMAGE byte 4216: sector 8, byte 120 of it
      bucket 0, byte 4216 of 16384: sb, gen 0, 32 dirty sectors

      superblock, copy 1 of 3, at sector 8: sound, number 33
        field block_size: 1
      "
    `);
  });

  test('a hexdump with names', async () => {
    const text = await shown(image, '0x1068', '--hex', '--length=24');
    expect(text).toContain('offset: 0x8');
    expect(text.slice(text.indexOf('bytes:'))).toMatchInlineSnapshot(`
      "bytes:
              4200  08 00 00 00 00 00 00 00                            offset: 0x8
              4208  21 00 00 00 00 00 00 00                            seq: 33
              4216  01 00                                              block_size: 1
              4218  00                                                 dev_idx: 0
              4219  01                                                 nr_devices: 1
              4220  d2 01 00 00                                        u64s: 466
      "
    `);
  });

  test('sectors, bytes and sizes mean the same place', async () => {
    const places = await Promise.all(['8s', '4096', '0x1000', '4k', '0x8s', '4KiB'].map(at => shown(image, at)));
    expect(new Set(places).size).toBe(1);
    expect(places[0]).toContain('superblock, copy 1 of 3, at sector 8: sound');
  });

  test('data that two subvolumes share', async () => {
    expect(await shown(image, '1052672')).toMatchInlineSnapshot(`
      "IMAGE byte 1052672: sector 2056
      bucket 64, byte 4096 of 16384: user, gen 1, 20 dirty sectors

      data
        copy 1 of 1, gen 1, crc32c good
        file /subvolumes/main/changed (inode 4281, subvolume 2), byte 11264
        file /subvolumes/after/changed (inode 4281, subvolume 4), byte 11264
          u64s 7 type extent 4281:32:4294967292 len 18 ver 0  : durability: 1 
            crc32: c_size 18 size 18 offset 0 nonce 0 csum crc32c 0:8a3998d0  compress none
            ptr: basic.img 0:64:0 gen 1
      "
    `);
  });

  test('bytes that keys no longer show, and a shared extent', async () => {
    expect(await shown(image, '1140776')).toMatchInlineSnapshot(`
      "IMAGE byte 1140776: sector 2228, byte 40 of it
      bucket 69, byte 10280 of 16384: user, gen 0, 23 dirty sectors

      data that this key does not show: what was overwritten or cut off since
        copy 1 of 1, gen 0, crc32c good
        file /ranges/collapsed (inode 4247, subvolume 1), bytes 0 to 8191
          u64s 7 type extent 4247:16:U32_MAX len 16 ver 0  : durability: 1 
            crc32: c_size 31 size 31 offset 0 nonce 0 csum crc32c 0:179c8625  compress none
            ptr: basic.img 0:69:1 gen 0

      data that this key does not show: what was overwritten or cut off since
        copy 1 of 1, gen 0, crc32c good
        file /ranges/collapsed (inode 4247, subvolume 1), bytes 8192 to 11775
          u64s 7 type extent 4247:23:U32_MAX len 7 ver 0  : durability: 1 
            crc32: c_size 31 size 31 offset 24 nonce 0 csum crc32c 0:179c8625  compress none
            ptr: basic.img 0:69:1 gen 0
      "
    `);
    expect(await shown(image, '1198120')).toMatchInlineSnapshot(`
      "IMAGE byte 1198120: sector 2340, byte 40 of it
      bucket 73, byte 2088 of 16384: user, gen 0, 32 dirty sectors

      data, shared
        copy 1 of 1, gen 0, crc32c good
        file /clones/origin (inode 4250, subvolume 1), byte 1576
        file /clones/whole (inode 4251, subvolume 1), byte 1576
          u64s 8 type reflink_v 0:31:0 len 31 ver 0  : refcount: 2 durability: 1 
            crc32: c_size 31 size 31 offset 0 nonce 0 csum crc32c 0:feca7c6  compress none
            ptr: basic.img 0:73:1 gen 0
      "
    `);
  });

  test('a journal entry, a key of a node, an unused part of a node, a bucket never used, and room after data', async () => {
    const lines = (text: string, count: number) => text.split('\n').slice(0, count).join('\n');
    expect(lines(await shown(image, '280616'), 8)).toMatchInlineSnapshot(`
      "IMAGE byte 280616: sector 548, byte 40 of it
      bucket 17, byte 2088 of 16384: journal, gen 0, 32 dirty sectors

      journal, bucket 1 of 8
        entry 43: sector 544, 15456 bytes, not dirty
        sub-entry 21: btree_keys, btree accounting level 0
        key 0 of it:
          u64s 6 type accounting 0:255:4294967045 len 0 ver 184683593775  : snapshot id=4294967295 -1"
    `);
    expect(lines(await shown(image, '911400'), 7)).toMatchInlineSnapshot(`
      "IMAGE byte 911400: sector 1780, byte 40 of it
      bucket 55, byte 10280 of 16384: btree, gen 0, 32 dirty sectors

      btree node: inodes level 0, at sector 1760
        range POS_MIN to 0:4151:U32_MAX
        key 0 of bset 4 of 0..6, journal seq 42: live
          u64s 19 type inode_v3 0:4096:U32_MAX len 0 ver 0  : "
    `);
    expect(await shown(image, '481320')).toMatchInlineSnapshot(`
      "IMAGE byte 481320: sector 940, byte 40 of it
      bucket 29, byte 6184 of 16384: btree, gen 0, 32 dirty sectors

      btree node: freespace level 0, the root, at sector 928
        range POS_MIN to SPOS_MAX
        byte 6184 of the node, after its last bset: not part of it
      "
    `);
    expect(await shown(image, '409640')).toMatchInlineSnapshot(`
      "IMAGE byte 409640: sector 800, byte 40 of it
      bucket 25, byte 40 of 16384: free, never used

      nothing: no backpointer leads here
      the sector is all zeroes
      "
    `);
    expect(await shown(image, '1034280')).toMatchInlineSnapshot(`
      "IMAGE byte 1034280: sector 2020, byte 40 of it
      bucket 63, byte 2088 of 16384: user, gen 0, 1 dirty sectors

      nothing: no backpointer leads here
      the sector is not zero
      "
    `);
  });

  test('data of a file that locate names, its inode, and nothing', async () => {
    const found = await located([image, '/']);
    const name = found.files[0]!.entries.map(entry => entry.name).find(entry => entry !== 'lost+found');
    expect(name).toBeDefined();
    const [at] = found.files[0]!.inode_key.replicas;
    const root = await shown(image, String(at!.offset));
    expect(root).toMatch(/^btree node: inodes level 0, at sector \d+$/m);
    expect(root).toMatch(/^ {2}key 0 of bset \d+ of 0\.\.\d+, journal seq \d+: live$/m);
    expect(root).toMatch(/^ {2}file \/ \(inode 4096, subvolume 1\)$/m);
    const document = JSON.parse(await succeed('explain', ['--json', '--hex', image, String(at!.offset)]));
    expect(explainSchema(document)).toEqual([]);
    expect(document.hex[0]).toMatchObject({
      offset: at!.offset,
      name: expect.stringMatching(/^bset \d+, key 0: u64s$/),
    });
  });

  test('what is wrong with the words', async () => {
    expect((await run('explain', [image, '1x'])).exitCode).toBe(2);
    const past = await run('explain', [image, '1T']);
    expect(past).toMatchObject({ exitCode: 2, stderr: expect.stringContaining('is not on') });
    expect((await run('explain', ['--device=3', image, '0'])).stderr).toContain('expected one of 0');
    expect((await run('explain', ['--length=4', image, '0'])).stderr).toContain('--hex');
    expect((await run('explain', ['--hex', '--length=2M', image, '0'])).exitCode).toBe(2);
  });
});

describe('several members', () => {
  test('the device has to be chosen, and files have a copy on each', () =>
    withTestImage('multi', async ([first, second]) => {
      const fs = `${first}:${second}`;
      const refused = await run('explain', [fs, '8s']);
      expect(refused).toMatchObject({ exitCode: 2, stderr: expect.stringContaining('--device') });
      for (const device of ['1', 'multi.dev1.img', second!]) {
        const text = await succeed('explain', [`--device=${device}`, fs, '8s']);
        expect(text).toContain(`${second} byte 4096: sector 8\n`);
      }
      const found = await located([fs, '/']);
      expect(found.files[0]!.inode_key.replicas.map(({ dev }) => dev).toSorted()).toEqual([0, 1]);
    }));

  test('one image alone is explained as far as it goes', () =>
    withTestImage('multi', async ([first]) => {
      const { exitCode, stdout, stderr } = await run('explain', [first!, '8s']);
      expect(exitCode).toBe(0);
      expect(stdout).toContain('superblock, copy 1 of 3');
      expect(stderr).toContain('missing');
    }));
});

test('encrypted and unclean images', async () => {
  const env = { BCACHEFS_PASSPHRASE: 'correct horse' };
  await withTestImage('encrypted', async ([image]) => {
    const document = JSON.parse(await succeed('locate', ['--json', image!, '/secret'], { env }));
    expect(locateSchema(document)).toEqual([]);
    const [runOf] = document.files[0].runs;
    const at = (runOf.inline_key ?? runOf).replicas[0].offset;
    const text = await succeed('explain', ['--hex', image!, String(at)], { env });
    expect(text).toContain('file /secret (inode ');
    if (runOf.kind === 'inline') expect(text).toContain('bytes, decrypted:');
  });
  await withTestImage('unclean', async ([image]) => {
    const document = JSON.parse(await succeed('locate', ['--json', image!, '/kept', '/last']));
    expect(locateSchema(document)).toEqual([]);
    expect(document.files).toHaveLength(2);
    expect(document.files[0].inode_key.journal_seq).toBeGreaterThan(0);
  });
});

test('a filesystem without a journal is explained as far as its superblocks go', () =>
  withTestImage('unclean', async ([image]) => {
    const plain = await succeed('explain', ['--json', image!, '8s']);
    const size = JSON.parse(plain).bucket.size;
    // All after the superblocks at the start: no journal is left, no node.
    const contents = new Uint8Array((await import('node:fs')).readFileSync(image!));
    contents.fill(0, Math.max(4 * 2 ** 20, size));
    writeFileSync(image!, contents);
    const { exitCode, stdout } = await run('explain', [image!, '8s']);
    expect(exitCode).toBe(0);
    expect(stdout).toContain('superblock, copy 1 of 3');
  }));

describe.skipIf(whyNoFixtures !== undefined)('reference images', () => {
  test.each(['basic', 'reflink', 'snapshots', 'multi4-tiers', 'compress-zstd', 'ec-1.39', 'unclean', 'dmg-data-csum'])(
    '%s: the JSON fits the schemas',
    async name => {
      const { images } = fixture(name);
      const fs = images.join(':');
      const { entries } = (await located([fs, '/'])).files[0]!;
      const paths = entries.map(entry => `/${entry.name}`).filter(path => !path.includes('\\'));
      const { files } = await located([fs, ...paths.slice(0, 40)]);
      const offsets = new Map<string, readonly [dev: number, offset: number]>();
      for (const { runs, inode_key } of files) {
        const all = [...(inode_key?.replicas ?? []), ...runs.flatMap(({ replicas }) => replicas)];
        for (const { dev, offset } of all.slice(0, 2)) offsets.set(`${dev}:${offset}`, [dev, offset]);
      }
      for (const [dev, offset] of [...offsets.values()].slice(0, 12)) {
        if (dev >= images.length) continue;
        const words = ['--json', '--hex', `--device=${dev}`, fs, String(offset)];
        expect(explainSchema(JSON.parse(await succeed('explain', words)))).toEqual([]);
      }
      for (const at of ['7s', '8s', '5000', '2056s', '3M', '5M', '8M', '16M', '100M']) {
        const { stdout, exitCode } = await run('explain', ['--json', '--hex', '--device=0', fs, at]);
        if (exitCode === 0) expect(explainSchema(JSON.parse(stdout)), at).toEqual([]);
      }
    },
  );

  test('a copy with a wrong checksum is reported', async () => {
    const [image] = fixture('dmg-data-csum').images;
    const bad: string[] = [];
    for (const { runs } of (await located([image!, '/a/f1', '/a/f2', '/a/b/f3', '/a/b/c/f4'])).files) {
      for (const { replicas } of runs) {
        for (const { offset } of replicas) {
          const text = await succeed('explain', [image!, String(offset)]);
          if (/crc32c bad/.test(text)) bad.push(text);
        }
      }
    }
    expect(bad).toHaveLength(1);
    expect(bad[0]).toMatch(/ {2}damaged: crc32c of \d+ bytes is [0-9a-f:]+, expected/);
  });

  test('the table of a file in several copies', async () => {
    const { images } = fixture('multi3-r2');
    const fs = images.join(':');
    const { entries } = (await located([fs, '/'])).files[0]!;
    let text = '';
    for (const { name } of entries) {
      text = await succeed('locate', [fs, `/${name}`]);
      if (/^ +0 .* data /m.test(text)) break;
    }
    expect(text).toMatch(/^offset +length +kind +device +byte +on disk +bucket:byte +gen +checksum +compression/m);
  });
});
