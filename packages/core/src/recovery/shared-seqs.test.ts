// Btree nodes with the random number of another: they are found, and written again with numbers of their own.

import { beforeAll, expect, test } from 'vitest';
import { openOn } from '../../../../test/support/cut-states.ts';
import { treeText } from '../../../../test/support/file-model.ts';
import { recovered, sharedSeqs, smallTree } from '../../../../test/support/recovered.ts';
import { FreshSeqs } from '../btree/fresh-seqs.ts';
import { NodeSeqs } from '../check/node-seqs.ts';
import { loadChecksums } from '../checksum/checksum.ts';
import { viewOf } from '../ondisk/layout.ts';
import { seededRandom } from '../util/random.ts';

beforeAll(loadChecksums);

test('roots with one number', () => {
  const devices = smallTree();
  const tree = treeText(openOn(devices), '');
  sharedSeqs(devices);
  const { found, left, again, dropped, tree: after } = recovered(devices);
  expect(found).toEqual({ btree_node_seq_shared: 1 });
  expect({ left, again, dropped }).toEqual({ left: [], again: [], dropped: [] });
  expect(after).toEqual(tree);
});

test('only numbers that several nodes have', () => {
  const seqs = new NodeSeqs();
  for (let seq = 1n; seq <= 600n; seq++) seqs.add(Number(seq % 7n), seq << 32n);
  expect(seqs.shared()).toEqual([]);
  seqs.add(9, 600n << 32n);
  seqs.add(9, 3n << 32n);
  seqs.add(9, 3n << 32n);
  expect(seqs.shared()).toEqual([
    { seq: 3n << 32n, btrees: [3, 9, 9] },
    { seq: 600n << 32n, btrees: [5, 9] },
  ]);
});

test('a source that repeats itself', () => {
  const given = [0n, 5n, 5n, 7n, 6n];
  const bytes = () => {
    const one = new Uint8Array(8);
    viewOf(one).setBigUint64(0, given.shift() ?? 6n, true);
    return one;
  };
  const seqs = new FreshSeqs({ bytes }, { taken: [7n] });
  expect([seqs.next(), seqs.next()]).toEqual([5n, 6n]);
  expect(() => seqs.next()).toThrow('random source');
});

test('a source that begins anew over another state', () => {
  const numbersAt = (state: number) => {
    const seqs = new FreshSeqs(seededRandom('the same'), { state });
    return [seqs.next(), seqs.next()];
  };
  expect(numbersAt(7)).toEqual(numbersAt(7));
  expect(new Set([...numbersAt(6), ...numbersAt(7)]).size).toBe(4);
});
