// What damaged nodes cost is handed out before it is gone: as keys, or as the bytes that are there.

import { beforeAll, expect, test } from 'vitest';
import { smallTree } from '../../../../test/support/recovered.ts';
import { FilesystemWriter } from '../change/writer.ts';
import { loadChecksums } from '../checksum/checksum.ts';
import { editNodeHead, nodesOfLevel } from '../damage/node-damage.ts';
import { DamageTarget } from '../damage/target.ts';
import { bposText } from '../ondisk/bpos.ts';
import { Bset } from '../ondisk/bset.ts';
import { BtreeNodeHeader, NODE_BSET_AT, NODE_KEYS_AT } from '../ondisk/btree-node.ts';
import { btrees } from '../ondisk/btrees.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import { Reporter } from '../report/reporter.ts';
import { openMembers } from '../superblock/member-set.ts';
import { seededRandom } from '../util/random.ts';
import { recover } from './recover.ts';

beforeAll(loadChecksums);

/** Of a leaf of xattrs, whose only key is an attribute of a file. @returns what is handed out by its repair, in words */
function leftOutOf(edit: (view: DataView) => void): readonly string[] {
  const devices = smallTree();
  const filesystem = new DamageTarget(devices, { random: seededRandom('damage'), now: () => 0n }).filesystem();
  const [leaf] = nodesOfLevel(filesystem, 'xattrs', 0);
  editNodeHead(filesystem, leaf!, edit);
  const leftOut: string[] = [];
  const reporter = new Reporter({ policy: { kind: 'yes' } });
  const random = seededRandom('repair');
  const set = openMembers(devices);
  const { remaining } = recover(new FilesystemWriter(set, { random, now: () => 1_800_000_000n, isRepair: true }), {
    reporter,
    onDropped: (btree, { k, value }, reason) => {
      const text = new TextDecoder().decode(value);
      leftOut.push(
        `${btrees.nameOf(btree)} ${bposText(k.p)} ${keyTypes.nameOf(k.type)} ${text.includes('kept')}: ${reason}`,
      );
    },
    onDroppedBytes: (btree, bytes, reason) =>
      leftOut.push(`${btrees.nameOf(btree)} bytes ${new TextDecoder().decode(bytes).includes('kept')}: ${reason}`),
  });
  expect(remaining.size).toBe(0);
  return leftOut;
}

test.each([
  [
    'a type that the btree does not have',
    /^xattrs \d+:\d+:\S+ stripe true: bkey_invalid_type_for_btree: /,
    (view: DataView) => view.setUint8(NODE_KEYS_AT + 2, keyTypes.idOf('stripe')),
  ],
  [
    'a format that there is not',
    /^xattrs bytes true: btree_node_bkey_bad_format: /,
    (view: DataView) => view.setUint8(NODE_KEYS_AT + 1, 9),
  ],
  [
    'a length of none',
    /^xattrs bytes true: btree_node_bkey_bad_u64s: /,
    (view: DataView) => view.setUint8(NODE_KEYS_AT, 0),
  ],
  [
    'a length past the end',
    /^xattrs bytes true: btree_node_bkey_past_bset_end: /,
    (view: DataView) => view.setUint8(NODE_KEYS_AT, 200),
  ],
  [
    'a bset past the end',
    /^xattrs bytes true: bset_past_end_of_btree_node: /,
    (view: DataView) => view.setUint16(NODE_BSET_AT + Bset.offset.u64s, 0xffff, true),
  ],
  [
    'a node without its magic number',
    /^xattrs bytes true: the leaf that ends at SPOS_MAX cannot be read from member 0, sector \d+$/,
    (view: DataView) => view.setUint8(BtreeNodeHeader.offset.magic, 1),
  ],
])('%s', (_, expected, edit) => {
  const leftOut = leftOutOf(edit);
  expect(leftOut).toHaveLength(1);
  expect(leftOut[0]).toMatch(expected);
});
