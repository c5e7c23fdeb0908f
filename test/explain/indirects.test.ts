// Who shares some extents, asked for all of them at once: the same files as for each alone.

import { btrees, FileEdit, FileFinder, type FileReferences, loadChecksums, pathText } from '@bcachefs-ts/core/engine';
import { beforeAll, expect, test } from 'vitest';
import { writerOn } from '../support/commits.ts';
import { FileModel, SHARING_OPERATIONS } from '../support/file-model.ts';
import { formattedImage } from '../support/memory-images.ts';
import { randomFrom, testSeed } from '../support/random.ts';

const seed = testSeed();
console.info(`who shares extents: TEST_SEED=${seed}`);
beforeAll(loadChecksums);

test('all at once, or each alone', () => {
  const { devices } = formattedImage({});
  const { writer, options } = writerOn(devices, undefined, seed);
  const random = randomFrom(seed);
  const model = new FileModel(random);
  const edit = new FileEdit(writer, options);
  const text = new TextEncoder();
  const top = edit.files.create(edit.files.root(), text.encode('top'), { mode: 0o040755 });
  for (let i = 0; i < 150; i++) model.step(edit, top, i < 60 ? undefined : SHARING_OPERATIONS);
  edit.commit();
  const { filesystem } = writer;
  const reflink = btrees.idOf('reflink');
  const keys = [...filesystem.btree('reflink').keys()].map(({ k, value }) => ({
    k: { ...k, p: k.p.slice() },
    value: value.slice(),
  }));
  expect(keys.length).toBeGreaterThan(1);
  const throwing = (damage: Error) => {
    throw damage;
  };
  const finder = new FileFinder(filesystem, throwing);
  const nameOf = ({ paths, inum }: FileReferences['list'][number]) =>
    `${inum} ${paths.map(({ path }) => pathText(path)).join()}`;
  const alone = keys.map(key => new Set(finder.ofKey(reflink, key).list.map(nameOf)));
  const together = keys.map(() => new Set<string>());
  for (const { list, to } of finder.ofIndirects(keys))
    for (const nr of to) for (const file of list) together[nr]!.add(nameOf(file));
  expect(together).toEqual(alone);
});
