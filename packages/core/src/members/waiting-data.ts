// Data that waits to be moved to its background target does so as long as a member of the target can be written to. When the last of them
// becomes ro or leaves, or the first one comes, which keys wait changes with no key of a file: the list of them and its counter are brought
// in line together with the superblock. A kernel leaves that to its next check, which then reports a counter.
//
// By their states alone: what waits for a member that is missing goes on waiting for it. A kernel without that member takes the target for one
// that asks for nothing (seen: its check of a degraded filesystem counts none, and that of the whole one all). So what is written meanwhile
// does not begin to wait (extent-write.ts), which is right both ways.
// Source: bch2_target_accepts_data in disk_groups.h, __bch2_bkey_sectors_need_rebalance in extents.c, v1.13.0.

import { type AllocDevice, allocDevices, allowsData, isInTarget } from '../alloc/alloc-devices.ts';
import { entryBytesOf, rebalanceSectors, spacePointers } from '../alloc/extent-pointers.ts';
import { deletedKey, makeKey } from '../btree/transaction.ts';
import { inBatches } from '../change/batches.ts';
import { beginChange } from '../change/change.ts';
import type { FilesystemWriter } from '../change/writer.ts';
import type { Bpos } from '../ondisk/bpos.ts';
import { btrees } from '../ondisk/btrees.ts';
import { keyTypes } from '../ondisk/keys/key-types.ts';
import { diskGroups } from '../ondisk/sb-fields/disk-groups.ts';
import type { Superblock } from '../ondisk/superblock.ts';
import { encodeTarget } from '../ondisk/targets.ts';

const REBALANCE_WORK = btrees.idOf('reconcile_work');
const SET = keyTypes.idOf('set');
const NO_VALUE = new Uint8Array(0);
const KEYS_PER_COMMIT = 50_000;
const WAITING = ['extents', 'reflink'] as const;

type Devices = readonly (AllocDevice | undefined)[];

/** An edit of the superblock that makes members writable or not, the same when it is done twice; a commit a step. @throws as a commit and an edit of the superblock do */
export function* editWritableSteps(
  writer: FilesystemWriter,
  edit: (sb: Superblock) => Superblock,
  keysPerCommit: number = KEYS_PER_COMMIT,
): Generator<undefined> {
  const { sb } = writer.filesystem;
  const edited = edit(sb);
  let isEdited = false;
  for (const _ of settleWaiting(writer, [allocDevices(sb), allocDevices(edited)], edit, keysPerCommit)) {
    isEdited = true;
    yield;
  }
  if (!isEdited) writer.editSuperblocks(edit);
}

/** Whether such an edit changes which data waits. */
export const changesWaiting = (before: Superblock, after: Superblock): boolean =>
  isAnyTargetOther(before, allocDevices(before), allocDevices(after));

/** After members have joined. */
export function settleJoined(writer: FilesystemWriter, joined: readonly number[]): void {
  const after = allocDevices(writer.filesystem.sb);
  const before = after.map(device => (device !== undefined && joined.includes(device.index) ? undefined : device));
  for (const _ of settleWaiting(writer, [before, after], sb => sb, KEYS_PER_COMMIT));
}

function* settleWaiting(
  writer: FilesystemWriter,
  [before, after]: readonly [Devices, Devices],
  edit: (sb: Superblock) => Superblock,
  keysPerCommit: number,
): Generator<undefined> {
  if (!isAnyTargetOther(writer.filesystem.sb, before, after)) return;
  let from: { readonly nr: number; readonly pos: Bpos | undefined } = { nr: 0, pos: undefined };
  const begin = () => beginChange(writer, { usesReserve: true });
  const batches = inBatches(
    begin,
    ({ tx, triggers }, keysMax) => {
      let keys = 0;
      let next = from;
      for (let nr = from.nr; nr < WAITING.length && keys < keysMax; nr++) {
        const walk = nr === from.nr && from.pos !== undefined ? { from: from.pos } : {};
        for (const key of writer.filesystem.btree(WAITING[nr]!).keys(walk)) {
          if (nr === from.nr && from.pos !== undefined && key.k.p.every((word, at) => word === from.pos![at])) continue;
          const found = spacePointers(entryBytesOf(key), key.k.size);
          if (found.wish === undefined) continue;
          const [waited, waits] = [rebalanceSectors(found, before), rebalanceSectors(found, after)];
          if (waited === waits) continue;
          triggers.counters.addRebalanceWork(waits - waited);
          if ((waited === 0) !== (waits === 0))
            tx.store(REBALANCE_WORK, waits === 0 ? deletedKey(key.k.p) : makeKey(SET, key.k.p.slice(), NO_VALUE));
          next = { nr, pos: key.k.p.slice() };
          if (++keys === keysMax) break;
        }
      }
      if (keys === 0) return undefined;
      return {
        isMore: keys === keysMax,
        extras: { superblock: sb => edit(triggers.needs.applyTo(sb)) },
        onCommitted: () => {
          from = next;
        },
      };
    },
    keysPerCommit,
  );
  for (const _ of batches) yield;
}

/** Whether some label or device takes data that did not, or the other way round. */
function isAnyTargetOther(sb: Superblock, before: Devices, after: Devices): boolean {
  const takes = (devices: Devices, value: number) =>
    devices.some(device => device?.isWritable && allowsData(device, 'user') && isInTarget(device, value));
  const groups = diskGroups(sb).map((_, group) => encodeTarget({ type: 'group', group }));
  const devs = after.map((_, dev) => encodeTarget({ type: 'dev', dev }));
  return [...groups, ...devs].some(value => takes(before, value) !== takes(after, value));
}
