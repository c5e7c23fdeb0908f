// Buckets that were emptied by one commit, and become free in a later one.

import { beforeAll, expect, test } from 'vitest';
import { writerOn } from '../../../../test/support/commits.ts';
import { formattedImage, MIB } from '../../../../test/support/memory-images.ts';
import { beginTrial } from '../change/change.ts';
import { FileEdit } from '../change/file-edit.ts';
import { checkInvariants } from '../check/check.ts';
import { loadChecksums } from '../checksum/checksum.ts';
import { bposOffsetNumber } from '../ondisk/bpos.ts';
import type { Filesystem } from '../opened/filesystem.ts';
import { findingText } from '../report/finding.ts';
import { seededRandom } from '../util/random.ts';
import { bucketPos } from './bucket-indexes.ts';
import { bucketStateOf, TYPE } from './bucket-state.ts';
import { releaseEmptied } from './release-emptied.ts';

beforeAll(loadChecksums);

const text = new TextEncoder();

/** A filesystem from which a file of a megabyte was removed. */
function emptied() {
  const { devices } = formattedImage({ sizeBytes: 16 * MIB });
  const { writer, options } = writerOn(devices, undefined, 1);
  const first = new FileEdit(writer, options);
  const file = first.files.create(first.files.root(), text.encode('file'), { mode: 0o100644 });
  first.content.write(file, 0, seededRandom('file').bytes(MIB));
  first.commit();
  const second = new FileEdit(writer, options);
  second.files.remove(second.files.root(), text.encode('file'));
  second.commit();
  return { writer, options };
}

const waiting = (filesystem: Filesystem): number[] =>
  [...filesystem.btree('need_discard').keys()].map(({ k }) => bposOffsetNumber(k.p));

const typeOf = ({ tx }: Pick<ReturnType<typeof beginTrial>, 'tx'>, bucket: number): number =>
  bucketStateOf(tx.get('alloc', bucketPos(0, bucket))!).dataType;

test('all that wait for a discard become free, and are given again', () => {
  const { writer } = emptied();
  const { filesystem } = writer;
  const buckets = waiting(filesystem);
  expect(buckets.length).toBeGreaterThan(0);
  const trial = beginTrial(filesystem);
  for (const bucket of buckets) expect(typeOf(trial, bucket)).toBe(TYPE.needDiscard);
  expect(releaseEmptied(trial.triggers, trial.tx)).toBe(buckets.length);
  trial.tx.settle();
  for (const bucket of buckets) expect(typeOf(trial, bucket)).toBe(TYPE.free);
  expect([...trial.tx.btree('need_discard').keys()]).toEqual([]);
  expect(releaseEmptied(trial.triggers, trial.tx)).toBe(0);
});

test('those that are held stay', () => {
  const { writer } = emptied();
  const [held, ...others] = waiting(writer.filesystem);
  const trial = beginTrial(writer.filesystem);
  const isHeld = (dev: number, bucket: number) => dev === 0 && bucket === held;
  expect(releaseEmptied(trial.triggers, trial.tx, { isHeld })).toBe(others.length);
  trial.tx.settle();
  expect(typeOf(trial, held!)).toBe(TYPE.needDiscard);
  for (const bucket of others) expect(typeOf(trial, bucket)).toBe(TYPE.free);
});

test('a commit that releases them leaves a sound filesystem', () => {
  const { writer, options } = emptied();
  const before = waiting(writer.filesystem);
  const edit = new FileEdit(writer, { ...options, releasesEmptied: true });
  edit.files.setXattr(edit.files.root(), 'user.a', text.encode('b'));
  edit.commit();
  expect(waiting(writer.filesystem).filter(bucket => before.includes(bucket))).toEqual([]);
  expect(checkInvariants(writer.filesystem).findings.map(findingText)).toEqual([]);
});
