// Files of which a part was given up in an earlier repair: they cannot be read there, as with a kernel, and nothing is wrong with them.

import { loadChecksums } from '@bcachefs-ts/core/engine';
import { beforeAll, expect, test } from 'vitest';
import type { ManifestEntry } from '../kernel/vm/manifest.ts';
import { openOn, stateOf } from '../support/cut-states.ts';
import { GIVEN_UP, givenUpTree, recovered } from '../support/recovered.ts';
import { treeManifest } from '../support/tree-manifest.ts';

beforeAll(loadChecksums);

test('what was given up cannot be read, and is not complained of', () => {
  const devices = givenUpTree();
  const { far, part } = GIVEN_UP;
  const data: ManifestEntry['data'] = [[0, 4096], far];
  const whole = treeManifest(openOn(devices), path => (path === 'far' ? data : undefined));
  expect(whole.complaints).toEqual([]);
  expect(whole.unreadable.map(line => line.replace(/[0-9a-f]{64}$/, 'HASH')).toSorted()).toEqual([
    `far: ${far.join('+')}, ${far.join('+')}, the rest is HASH`,
    'link: its target',
    `part: ${part.join('+')}, the rest is HASH`,
  ]);
  const errnos = (entries: typeof whole.entries) =>
    Object.fromEntries(entries.map(({ path, read_errno }) => [path, read_errno]));
  expect(errnos(whole.entries)).toMatchObject({ far: 5, link: 5, part: 5 });
  // A kernel reads only what is data of the largest files: what was given up is none.
  const asKernel = treeManifest(openOn(devices), path => (path === 'far' ? [[0, 4096]] : undefined));
  expect(errnos(asKernel.entries)).toMatchObject({ far: undefined, link: 5, part: 5 });
});

test('it is a state like any other', () => {
  const devices = givenUpTree();
  const state = stateOf(openOn(devices));
  expect(state).toMatch(/^[0-9a-f]{16}$/);
  expect(recovered(devices)).toMatchObject({ found: {}, left: [] });
  expect(stateOf(openOn(devices))).toBe(state);
});
