// A repair writes leaves anew before its commit makes them count. Where it is cut off, the last of them is torn: the next repair is not to take
// that for a newer leaf than the sound one which it was made from.

import { beforeAll, expect, test } from 'vitest';
import { openOn, stateOf } from '../../../../test/support/cut-states.ts';
import { PowerCuts } from '../../../../test/support/power-cuts.ts';
import { damageBase, repair } from '../../../../test/support/random-damage.ts';
import { loadChecksums } from '../checksum/checksum.ts';
import { damageNode, nodesOfLevel } from '../damage/node-damage.ts';

beforeAll(loadChecksums);

test('a leaf that a cut-off repair has torn does not take the place of a sound one', () => {
  const devices = damageBase('deep').devices.map(device => device.clone());
  const before = stateOf(openOn(devices));
  const filesystem = openOn(devices);
  const [root] = nodesOfLevel(filesystem, 'inodes', 1);
  damageNode(filesystem, root!, 'zero');
  const cuts = new PowerCuts(devices);
  repair(cuts.devices);
  expect(stateOf(openOn(cuts.after({ events: cuts.count })))).toBe(before);
  for (const events of [1, 2, 3]) {
    const left = cuts.after({ events, sectorsOfLast: 1 });
    expect(repair(left).left).toEqual([]);
    expect(stateOf(openOn(left)), `torn in write ${events}`).toBe(before);
  }
});
