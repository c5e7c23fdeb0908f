// From each version that is written to each other one, and what is left where the power fails on the way.

import { beforeAll, describe, expect, test } from 'vitest';
import { writerOn } from '../../../../test/support/commits.ts';
import { openOn } from '../../../../test/support/cut-states.ts';
import { treeText } from '../../../../test/support/file-model.ts';
import { formattedImage, MIB } from '../../../../test/support/memory-images.ts';
import { cutText, PowerCuts } from '../../../../test/support/power-cuts.ts';
import { randomFrom, testSeed } from '../../../../test/support/random.ts';
import { recovered, smallTree, tamper, wrongCounts } from '../../../../test/support/recovered.ts';
import { someOf } from '../../../../test/support/repair-cuts.ts';
import { withPointers } from '../alloc/extent-pointers.ts';
import { FileEdit } from '../change/file-edit.ts';
import { checkInvariants } from '../check/check.ts';
import { loadChecksums } from '../checksum/checksum.ts';
import type { BlockDevice } from '../device/block-device.ts';
import type { MemoryDevice } from '../device/memory-device.ts';
import { getBits, withBits } from '../ondisk/bits.ts';
import { incompatFeatures } from '../ondisk/features.ts';
import { sbBits } from '../ondisk/sb-bits.ts';
import { downgradeField } from '../ondisk/sb-fields/downgrade.ts';
import { sectionPayload } from '../ondisk/superblock.ts';
import { parseVersion, versionNumber } from '../ondisk/versions.ts';
import { editSuperblock } from '../superblock/edit.ts';
import { openMembers } from '../superblock/member-set.ts';
import { seededRandom } from '../util/random.ts';
import { allSteps } from '../util/steps.ts';
import { changeVersionSteps, planVersionChange } from './change-version.ts';
import { isCheckPending } from './error-counts.ts';

beforeAll(loadChecksums);

const text = new TextEncoder();
const now = () => 1_800_000_000n;

function change(devices: readonly BlockDevice[], to: string, isIncompatible = false): void {
  const set = openMembers(devices);
  const plan = planVersionChange(set.newest.sb, { to: parseVersion(to), isIncompatible });
  if (plan.isNone) return;
  const steps = changeVersionSteps(set, plan, { random: seededRandom(`to ${to}`), now, key: undefined });
  expect([...allSteps(steps).remaining]).toEqual([]);
}

/** As a person would: an upgrade that has begun goes on; what a way back has left is a matter of fsck. */
function finish(devices: readonly BlockDevice[], to: string): void {
  const { sb } = openMembers(devices).newest;
  if (sb.version === parseVersion(to) && isCheckPending(sb) && !planVersionChange(sb, { to: sb.version }).isBegun)
    expect(recovered(devices as readonly MemoryDevice[])).toMatchObject({ left: [], again: [] });
  else change(devices, to);
}

const findings = (devices: readonly BlockDevice[]) => checkInvariants(openOn(devices)).findings;

/** Two members with two copies of everything, of which the second one of data is cached. */
function cachedTree(version: string) {
  const { devices } = formattedImage({
    members: 2,
    sizeBytes: 16 * MIB,
    options: { metadata_replicas: '2', data_replicas: '2' },
    version: parseVersion(version),
  });
  const { writer, options } = writerOn(devices, undefined, 1);
  const edit = new FileEdit(writer, options);
  const file = edit.files.create(edit.files.root(), text.encode('file'), { mode: 0o100644 });
  edit.content.write(file, 0, text.encode('contents '.repeat(9000)));
  edit.commit();
  tamper(devices, tx => {
    for (const key of [...tx.btree('extents').keys()])
      tx.update(
        'extents',
        withPointers(key, ptr => (ptr.dev === 1 ? { ...ptr, cached: true } : ptr)),
      );
  });
  return devices;
}

describe('another version', () => {
  test.each([
    ['1.13', '1.14'],
    ['1.14', '1.15'],
    ['1.13', '1.28'],
    ['1.20', '1.21'],
    ['1.28', '1.30'],
    ['1.30', '1.13'],
    ['1.15', '1.14'],
  ])('%s to %s, and back', (from, to) => {
    const devices = smallTree({ hasSubvolumes: true, version: parseVersion(from) });
    const tree = treeText(openOn(devices), '');
    for (const next of [to, from]) {
      change(devices, next);
      const filesystem = openOn(devices);
      const { sb } = filesystem;
      expect(versionNumber(sb.version)).toBe(next);
      expect(getBits(sb.flags, sbBits.VERSION_UPGRADE_COMPLETE)).toBe(sb.version);
      expect(findings(devices)).toEqual([]);
      expect(treeText(filesystem, '')).toEqual(tree);
    }
    // It can be changed.
    const { writer, options } = writerOn(devices, undefined, 9);
    const edit = new FileEdit(writer, options);
    edit.files.create(edit.files.root(), text.encode('new'), { mode: 0o040755 });
    edit.commit();
    expect(findings(devices)).toEqual([]);
  });

  test('cached pointers have backpointers from 1.21 on', () => {
    for (const version of ['1.20', '1.28']) expect(findings(cachedTree(version)), version).toEqual([]);
    const devices = cachedTree('1.13');
    const count = () => [...openOn(devices).btree('backpointers').keys()].length;
    const before = count();
    change(devices, '1.28');
    expect(findings(devices)).toEqual([]);
    expect(count()).toBeGreaterThan(before);
    change(devices, '1.13');
    expect(findings(devices)).toEqual([]);
  });

  test('the way back is written down, optional features only where they are asked for', () => {
    const devices = smallTree();
    const of = () => {
      const { sb } = openOn(devices);
      return {
        allowed: versionNumber(getBits(sb.flags, sbBits.VERSION_INCOMPAT_ALLOWED)),
        hasField: ((sb.features[0]! >> BigInt(incompatFeatures.idOf('incompat_version_field'))) & 1n) === 1n,
        oldest: versionNumber(sb.version_min),
        back: downgradeField.decode(sectionPayload(sb, 'downgrade')!, sb).map(one => versionNumber(one.version)),
      };
    };
    change(devices, '1.28');
    const back = ['1.9', '1.10', '1.12', '1.14', '1.15'];
    expect(of()).toEqual({ allowed: '0.0', hasField: false, oldest: '1.13', back });
    change(devices, '1.28', true);
    expect(of()).toEqual({ allowed: '1.28', hasField: true, oldest: '1.13', back });
    change(devices, '1.13');
    expect(of()).toEqual({ allowed: '0.0', hasField: false, oldest: '1.13', back });
  });

  test('is refused where something is wrong, in use or due, and nothing is written', () => {
    const wrong = smallTree();
    tamper(wrong, wrongCounts);
    const due = smallTree();
    editSuperblock(openMembers(due), sb => ({ ...sb, flags: withBits(sb.flags, sbBits.HAS_ERRORS, 1) }), {
      now: now(),
    });
    const inUse = smallTree({ version: parseVersion('1.28') });
    editSuperblock(
      openMembers(inUse),
      sb => {
        const flags = withBits(sb.flags, sbBits.VERSION_INCOMPAT_ALLOWED, parseVersion('1.28'));
        return { ...sb, flags: withBits(flags, sbBits.VERSION_INCOMPAT, parseVersion('1.16')) };
      },
      { now: now() },
    );
    for (const [devices, to, message] of [
      [wrong, '1.28', 'run fsck first'],
      [due, '1.28', 'run fsck first'],
      [inUse, '1.13', 'uses features of reflink_p_may_update_opts (1.16)'],
      [smallTree(), '1.36', 'cannot be written'],
    ] as const) {
      const before = devices.map(device => device.clone());
      expect(() => change(devices, to)).toThrow(message);
      for (const [nr, device] of devices.entries()) {
        const [now, then] = [device, before[nr]!].map(one => [...one.writtenRanges()]);
        expect(now).toEqual(then);
        expect(openMembers(devices).newest.sb.seq).toBe(openMembers(before).newest.sb.seq);
      }
    }
  });
});

test.each([
  ['1.13', '1.28'],
  ['1.28', '1.13'],
])('the power fails between %s and %s: it is done again, or goes on', (from, to) => {
  const base = smallTree({ hasSubvolumes: true, version: parseVersion(from) });
  const tree = treeText(openOn(base), '');
  const cuts = new PowerCuts(base);
  change(cuts.devices, to);
  const seed = testSeed();
  const seen = new Set<string>();
  for (const cut of someOf(cuts.points(randomFrom(seed)), 40)) {
    const what = `${cutText(cut)} (TEST_SEED=${seed})`;
    const devices = cuts.after(cut);
    const { sb } = openMembers(devices).newest;
    seen.add(`${versionNumber(sb.version)} ${getBits(sb.flags, sbBits.VERSION_UPGRADE_COMPLETE) === sb.version}`);
    // What was read before can be read now.
    expect(treeText(openOn(devices), ''), what).toEqual(tree);
    finish(devices, to);
    expect(findings(devices), what).toEqual([]);
    expect(treeText(openOn(devices), ''), what).toEqual(tree);
  }
  expect(seen.size).toBeGreaterThan(1);
});
