// What list_journal's options choose, on the project's own images: filled by a kernel, one of them not unmounted.

import { describe, expect, test } from 'vitest';
import { run, succeed } from '../support/cli.ts';
import { testImageContents, testImages, withTestImage } from '../support/images.ts';

const env = { TZ: 'UTC' };

/** Sequence numbers of the entries in a text. */
const seqsIn = (text: string) =>
  [...text.matchAll(/^(?:blacklisted )?journal entry {5}(\d+)/gm)].map(([, seq]) => Number(seq));

describe('an image that was not unmounted', () => {
  const listing = (...words: string[]) =>
    withTestImage('unclean', async paths => succeed('list_journal', [...words, ...paths], { env }));

  test('--all, --headers_only, --flush_only, --dirty_only, --nr_entries and --seq choose entries', async () => {
    const all = seqsIn(await listing('--all', '--headers_only'));
    expect(all.length).toBeGreaterThan(2);
    const newest = all.at(-1)!;
    expect(seqsIn(await listing('--all'))).toEqual(all);
    expect(seqsIn(await listing('-H', '--nr_entries=2'))).toEqual(all.slice(-2));
    expect(seqsIn(await listing('-H', `--seq=${all[0]}..${all[1]}`))).toEqual(all.slice(0, 2));
    expect(seqsIn(await listing('-H', `--seq=${newest}`))).toEqual([newest]);
    const flushed = seqsIn(await listing('-H', '--all', '--flush_only'));
    expect(flushed.length).toBeGreaterThan(0);
    expect(all).toEqual(expect.arrayContaining(flushed));
    const dirty = seqsIn(await listing('-H', '--dirty_only'));
    expect(all.slice(-dirty.length)).toEqual(dirty);
  });

  test('--datetime prints one line an entry', async () => {
    const lines = (await listing('--all', '--datetime')).trim().split('\n');
    expect(lines.every(line => /^journal entry {5}\d+ +(datetime: |$)/.test(line))).toBe(true);
  });

  test('--btree shows only keys of that btree, --bkey_val=no leaves values out, --offset says where', async () => {
    const text = await listing('--all', '--btree=inodes', '--bkey_val=no', '--offset');
    const keys = text.split('\n').filter(line => / (btree_keys|overwrite): /.test(line));
    expect(keys.length).toBeGreaterThan(0);
    expect(keys.filter(line => !/^ +\d+ +(btree_keys|overwrite): btree=inodes level=0 u64s/.test(line))).toEqual([]);
    expect(text).not.toContain('bi_size');
  });

  test('--transaction shows whole transactions', async () => {
    const text = await listing('--all', '--transaction=__bch2_create', '--bkey_val=no');
    const starts = text.split('\n').filter(line => /^ {2}log: /.test(line));
    expect(starts.length).toBeGreaterThan(0);
    expect(new Set(starts)).toEqual(new Set(['  log: __bch2_create']));
  });

  test('--json gives one object a line, with the same entries', async () => {
    const lines = (await listing('--all', '--json')).trim().split('\n');
    const [head, ...objects] = lines.map(line => JSON.parse(line));
    expect(head).toMatchObject({ schema: 'bcachefs-ts/list_journal', version: 1 });
    expect(objects.map(object => object.seq)).toEqual(seqsIn(await listing('--all', '-H')));
    expect(objects[0]).toMatchObject({ kind: 'entry', checksum_good: true, ptrs: [{ dev: 0, checksum_good: true }] });
    const types = new Set(objects.flatMap(object => object.entries.map((entry: { type: string }) => entry.type)));
    expect([...types]).toEqual(expect.arrayContaining(['log', 'btree_keys', 'overwrite', 'btree_root', 'datetime']));
  });

  test('what cannot be asked for', async () => {
    await withTestImage('unclean', async paths => {
      for (const words of [['--seq=x'], ['--btree=inode'], ['--key=7:0'], ['--nr_entries=0'], ['--bkey_val=perhaps']]) {
        expect(await run('list_journal', [...words, ...paths])).toMatchObject({ exitCode: 2, stdout: '' });
      }
    });
  });
});

test('members in any order, joined by a colon, and one missing', async () => {
  await withTestImage('multi', async ([first, second]) => {
    const both = await succeed('list_journal', ['--all', '-H', first!, second!], { env });
    expect(both).toMatch(/written at {6}\S+ 0:\S+ \(sector \d+\) \S+ 1:/);
    expect(await succeed('list_journal', ['--all', '-H', `${second}:${first}`], { env })).toBe(both);
    const alone = await run('list_journal', ['--all', '-H', first!], { env });
    expect(alone.stderr).toContain('missing');
    expect(seqsIn(alone.stdout)).toEqual(seqsIn(both));
  });
});

test('an encrypted filesystem asks for its passphrase, and says when it is wrong', async () => {
  const passphrase = testImages.find(image => image.name === 'encrypted')!.passphrase!;
  expect(testImageContents('encrypted')).toHaveLength(1);
  await withTestImage('encrypted', async paths => {
    const right = await run('list_journal', ['--all', ...paths], { env: { BCACHEFS_PASSPHRASE: passphrase } });
    expect(right).toMatchObject({ exitCode: 0, stderr: '' });
    expect(right.stdout).toContain('btree=inodes');
    const wrong = await run('list_journal', ['--all', ...paths], { env: { BCACHEFS_PASSPHRASE: 'not it' } });
    expect(wrong).toMatchObject({ exitCode: 2, stdout: '' });
    expect(wrong.stderr).toContain('wrong passphrase');
  });
});
