// An open filesystem of keys that a test made up: btrees that have no nodes, only what a journal would say over them.

import { type Bpos, type BtreeName, BtreeView, btrees, compareBpos, type FilesystemSource, type Key, keyTypes, type OverlayKey, type Superblock } from '@bcachefs-ts/core/engine'; // biome-ignore format: one line of names

/** A key as a test writes it. */
export function key(type: string, p: Bpos, value: Uint8Array = new Uint8Array(0), size = 0): Key {
  const id = keyTypes.byName(type)?.id;
  if (id === undefined) throw new Error(`there is no key type ${type}`);
  const u64s = 5 + Math.ceil(value.length / 8);
  return { k: { u64s, format: 1, type: id, pad: 0, bversion_lo: 0n, bversion_hi: 0, size, p }, value };
}

/** One btree of these keys, in any order. */
export function handMadeBtree(name: BtreeName, keys: readonly Key[]): BtreeView {
  const over: readonly OverlayKey[] = keys
    .toSorted((a, b) => compareBpos(a.k.p, b.k.p))
    .map(one => ({ key: one, seq: 1, deltas: undefined }));
  const overlay = {
    size: over.length,
    keyCount: over.length,
    keysRead: over.length,
    keysOf: (_btree: number, level: number) => (level === 0 ? over : []),
  };
  const noNodes = {
    read(): never {
      throw new Error('a hand-made btree has no nodes');
    },
  };
  return new BtreeView(btrees.idOf(name), undefined, noNodes, overlay);
}

export function handMadeSource(sb: Superblock, keys: Partial<Record<BtreeName, readonly Key[]>>): FilesystemSource {
  const views = new Map<string, BtreeView>();
  return {
    sb,
    key: undefined,
    device: () => undefined,
    btree(which) {
      const name = typeof which === 'number' ? (btrees.byId(which)?.name ?? 'extents') : which;
      let view = views.get(name);
      if (view === undefined) {
        view = handMadeBtree(name, keys[name] ?? []);
        views.set(name, view);
      }
      return view;
    },
  };
}
