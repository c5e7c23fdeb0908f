// The map of blocks against a plain array of booleans.

import { expect, test } from 'vitest';
import { BlockMap } from './block-map.ts';
import type { Ext4Facts } from './types.ts';

const facts = (blocks: number, firstDataBlock: number, blocksPerCluster: number, clustersPerGroup: number) =>
  ({
    blocks,
    firstDataBlock,
    blocksPerCluster,
    clustersPerGroup,
    blocksPerGroup: blocksPerCluster * clustersPerGroup,
    groups: Math.ceil((blocks - firstDataBlock) / (blocksPerCluster * clustersPerGroup)),
  }) as Ext4Facts;

const runsOf = (plain: readonly boolean[], used: boolean, from: number, to: number) => {
  const runs: { block: number; blocks: number }[] = [];
  for (let at = from; at < to; at++) {
    if (plain[at] !== used) continue;
    const last = runs.at(-1);
    if (last !== undefined && last.block + last.blocks === at) last.blocks++;
    else runs.push({ block: at, blocks: 1 });
  }
  return runs;
};

test.each([
  ['blocks', facts(1001, 0, 1, 64)],
  ['a first block that is in no group', facts(1001, 1, 1, 64)],
  ['clusters, the last one cut off', facts(1003, 0, 16, 8)],
  ['groups of several pages', facts(70_003, 1, 1, 8192)],
  ['a page that is not whole', facts(9001, 0, 1, 1600)],
])('%s', (_, of) => {
  const map = new BlockMap(of, true);
  const plain = Array.from({ length: of.blocks }, (_each, i) => i < of.firstDataBlock);
  const clusters = Math.ceil((of.blocks - of.firstDataBlock) / of.blocksPerCluster);
  for (const [start, length] of [
    [3, 1],
    [5, 2],
    [20, 25],
    [clusters - 2, 2],
    // Over pages and groups.
    ...(clusters > 9000
      ? ([
          [1000, 3100],
          [8200, 700],
        ] as const)
      : []),
  ] as const) {
    expect(map.mark(start, length)).toBeUndefined();
    const first = map.firstBlockOf(start);
    plain.fill(true, first, Math.min(of.blocks, map.firstBlockOf(start + length)));
  }
  expect(map.mark(4, 2)).toBe(5);
  plain.fill(true, map.firstBlockOf(4), map.firstBlockOf(5));
  expect(map.usedBlocks).toBe(plain.filter(Boolean).length);
  expect(plain.map((_each, block) => map.isUsed(block))).toEqual(plain);
  for (const [from, to] of [
    [0, of.blocks],
    [7, 100],
    [of.blocks - 5, of.blocks],
  ] as const) {
    expect([...map.usedRuns(from, to)]).toEqual(runsOf(plain, true, from, to));
    expect([...map.freeRuns(from, to)]).toEqual(runsOf(plain, false, from, to));
  }
});

test('a filesystem of 64 TiB in which each group has a little takes little', () => {
  const of = facts(2 ** 34, 0, 1, 32_768);
  const map = new BlockMap(of, true);
  for (let group = 0; group < of.groups; group += 16) map.mark(group * 32_768 + 77, 2);
  map.mark(5 * 32_768, 4 * 32_768);
  expect(map.usedBlocks).toBe((2 * of.groups) / 16 + 4 * 32_768);
  expect([...map.usedRuns(0, 100)][0]).toEqual({ block: 77, blocks: 2 });
  expect(map.groupBits(6)?.every(byte => byte === 0xff)).toBe(true);
  expect(map.groupBits(4)).toBe(undefined);
});
