// Damages whose repair was not silent afterwards: one run is to repair them, so that a second one finds nothing. Random damage has found
// them (test/fsck/random-damage.test.ts).

import {
  beginChange,
  checkInvariants,
  DamageTarget,
  damageRecipe,
  FileEdit,
  findingText,
  loadChecksums,
  loadCompression,
  type MemoryDevice,
  seededRandom,
} from '@bcachefs-ts/core/engine';
import { beforeAll, describe, expect, test } from 'vitest';
import { damageNode, editNodeHead, nodesOfLevel } from '../../packages/core/src/damage/node-damage.ts';
import { NODE_KEYS_AT } from '../../packages/core/src/ondisk/btree-node.ts';
import { writerOn } from '../support/commits.ts';
import { openOn, stateOf } from '../support/cut-states.ts';
import { treeText } from '../support/file-model.ts';
import { testImage } from '../support/memory-images.ts';
import { damageBase } from '../support/random-damage.ts';
import { recovered, smallTree, tamper } from '../support/recovered.ts';
import { unsettledDamages } from '../support/unsettled.ts';

beforeAll(async () => {
  await loadChecksums();
  await loadCompression();
});

/** Nothing is left, the next run finds nothing, and everything can be read. */
function expectSettled(devices: readonly MemoryDevice[], finds: Readonly<Record<string, number>>): void {
  const { found, left, again } = recovered(devices);
  expect(found).toMatchObject(finds);
  expect({ left, again }).toEqual({ left: [], again: [] });
  expect(stateOf(openOn(devices))).toMatch(/^[0-9a-f]{16}$/);
}

describe('repaired in one run', () => {
  test.for(unsettledDamages.map(one => [one.what, one] as const))('%s', ([, { alter, finds, keepsTree, shows }]) => {
    const devices = smallTree({ hasSubvolumes: true });
    const before = treeText(openOn(devices), '');
    tamper(devices, alter);
    expectSettled(devices, finds);
    const tree = treeText(openOn(devices), '');
    if (keepsTree === true) expect(tree).toEqual(before);
    if (shows !== undefined) expect(tree.filter(line => shows[0].test(line))).toHaveLength(shows[1]);
  });

  test('counts of references, where a btree is built anew as well', () => {
    const { devices } = testImage('basic');
    const target = new DamageTarget(devices, { random: seededRandom('counts'), now: () => 1_800_000_000n });
    damageRecipe('reflink-refcount-high').run(target);
    const filesystem = openOn(devices);
    const [node] = nodesOfLevel(filesystem, 'xattrs', 0);
    damageNode(filesystem, node!, 'csum');
    expectSettled(devices, { reflink_v_refcount_wrong: 1 });
  });

  test('a pointer to a node with another generation than its bucket', () => {
    const devices = damageBase('deep').devices.map(device => device.clone());
    const before = treeText(openOn(devices), '');
    const filesystem = openOn(devices);
    const [root] = nodesOfLevel(filesystem, 'dirents', 1);
    // The last byte of the last pointer of the last child: its generation.
    editNodeHead(filesystem, root!, (view, bytes) => {
      const end = NODE_KEYS_AT + 8 * view.getUint16(NODE_KEYS_AT - 2, true);
      bytes[end - 1]! ^= 0xff;
    });
    expectSettled(devices, { stale_dirty_ptr: 1 });
    expect(treeText(openOn(devices), '')).toEqual(before);
  });
});

test('a clock that has counted beyond what buckets can note', () => {
  const devices = smallTree();
  const { writer } = writerOn(devices, undefined, 2);
  const { clocks } = writer.filesystem.replay;
  const far = 2n ** 56n + 1n;
  beginChange(writer).commit({ clocks: { ...clocks, read: far, write: far } });
  const { writer: next, options } = writerOn(devices, undefined, 3);
  expect(next.filesystem.replay.clocks.write).toBe(far);
  const edit = new FileEdit(next, options);
  const file = edit.files.create(edit.files.root(), new TextEncoder().encode('late'), { mode: 0o100644 });
  edit.content.write(file, 0, new Uint8Array(100_000).fill(7));
  edit.commit();
  expect(checkInvariants(openOn(devices)).findings.map(findingText)).toEqual([]);
});
