// Many files put and removed by the built program, each in one commit: the memory goes by a part of the change, not by all of it. Without
// --long it is twenty thousand.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { checkInvariants, FileTree, findingText, loadChecksums, openFilesystem } from '@bcachefs-ts/core/engine';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { runOnce } from '../../scripts/bench/run-program.ts';
import { built } from '../support/built.ts';
import { succeed } from '../support/cli.ts';
import { isLong, sized } from '../support/long.ts';
import { patient } from '../support/patience.ts';

const FILES = sized(20_000, 20_000, 100_000);
const IN_EACH = 200;
const MEGABYTES_MAX = 300;
/** A part of the removal is of files that lie near each other. In the order of hashes, 100,000 took 1900 nodes, and 400 MB. */
const RM_NODES_MAX = FILES / 150;

const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-large-'));
const source = join(folder, 'source');
const image = join(folder, 'image');
afterAll(() => rmSync(folder, { recursive: true, force: true }));
beforeAll(async () => {
  await loadChecksums();
  built('bcachefs');
  await succeed('format', ['--quiet', '--fs_size=2G', image]);
  for (let nr = 0; nr < FILES; nr++) {
    const directory = join(source, `directory${Math.floor(nr / IN_EACH)}`);
    if (nr % IN_EACH === 0) mkdirSync(directory, { recursive: true });
    writeFileSync(join(directory, `file${nr}`), `file ${nr} `.repeat(200));
  }
}, patient(100_000));

function state() {
  const filesystem = openFilesystem([image]);
  try {
    let count = 0;
    for (const _ of FileTree.open(filesystem).walk()) count++;
    const { lastSeq } = filesystem.replay;
    return { count, lastSeq, findings: checkInvariants(filesystem).findings.map(findingText) };
  } finally {
    filesystem.close();
  }
}

test(`${FILES} files are put, and removed, in one commit each`, {
  timeout: patient(isLong ? 400_000 : 100_000),
}, () => {
  const before = state();
  const put = runOnce(['put', '--quiet', '-r', image, `${source}/.`, '/many']);
  expect(put.peakMegabytes).toBeLessThan(MEGABYTES_MAX);
  const full = state();
  expect(full).toEqual({
    count: before.count + 1 + FILES + FILES / IN_EACH,
    lastSeq: before.lastSeq + 1,
    findings: [],
  });
  const rm = runOnce(['rm', '--json', '-r', image, '/many'], { keepsOutput: true });
  expect(rm.peakMegabytes).toBeLessThan(MEGABYTES_MAX);
  expect(JSON.parse(rm.stdout).commit.btree_nodes).toBeLessThan(RM_NODES_MAX);
  expect(state()).toEqual({ count: before.count, lastSeq: before.lastSeq + 2, findings: [] });
});
