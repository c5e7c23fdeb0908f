// The keys of a btree, or its nodes, as things that can be shown one at a time: as text, word for word as the reference's `list` has it, and
// as JSON. What `list` prints, and what viewers show.
// Source: src/commands/list.rs, v1.36.1.

import type { BtreeView } from '../btree/iterate.ts';
import type { BtreeNode } from '../btree/node.ts';
import {
  EMPTY_ROOT_PTR,
  emptyRootFill,
  type NodeFill,
  nodeFill,
  nodeFillText,
  nodeOndiskText,
} from '../btree/node-text.ts';
import type { Key } from '../ondisk/bkey.ts';
import { type Bpos, compareBpos } from '../ondisk/bpos.ts';
import { keyJson, keyText } from '../ondisk/keys/index.ts';
import type { KeyTextContext } from '../ondisk/keys/kind.ts';
import { quickKeyText } from '../ondisk/keys/quick-text.ts';
import { versionNumber } from '../ondisk/versions.ts';
import type { Filesystem } from '../opened/filesystem.ts';
import type { OnDamage } from '../snapshots/damage.ts';
import { PrintBuffer } from '../util/print-buffer.ts';

/** One thing to show. */
export interface ListItem {
  text(): string;
  json(): object;
}

/** What to list. */
export interface ListRequest {
  readonly mode: 'keys' | 'formats' | 'nodes' | 'nodes-ondisk';
  readonly btree: BtreeView;
  readonly type: number | undefined;
  readonly level: number;
  readonly from: Bpos;
  readonly to: Bpos;
  /** How keys are printed; the filesystem's own way when it is left out. */
  readonly context?: KeyTextContext;
}

/** Printing key by key would cost as much as putting the text together. */
const BATCH_CHARACTERS = 64 * 1024;

/** The lines of keys, many at a time, without the last line break: those of `listItems`, in less time. @param onDamage called with each loss */
export function* keyLines(
  filesystem: Filesystem,
  { btree, type, level, from, to, context = filesystem.textContext() }: ListRequest,
  onDamage: OnDamage,
): Generator<string> {
  const quick = quickKeyText(context, 0);
  let batch = '';
  for (const key of btree.keys({ level, from, to, onDamage })) {
    if (type !== undefined && key.k.type !== type) continue;
    const text = quick.text(key) ?? plainKeyText(key, context);
    batch = batch === '' ? text : `${batch}\n${text}`;
    if (batch.length < BATCH_CHARACTERS) continue;
    yield batch;
    batch = '';
  }
  if (batch !== '') yield batch;
}

/** One thing at a time. @param onDamage called with each loss */
export function* listItems(filesystem: Filesystem, request: ListRequest, onDamage: OnDamage): Generator<ListItem> {
  const { mode, btree, type, level, from, to } = request;
  const context = request.context ?? filesystem.textContext();
  if (mode === 'keys') {
    for (const key of btree.keys({ level, from, to, onDamage })) {
      if (type === undefined || key.k.type === type) yield keyItem(btree, level, key, context);
    }
    return;
  }
  const { nodeSectors } = filesystem.reader;
  if (btree.root === undefined && level === 0) {
    const fill = emptyRootFill(nodeSectors);
    if (mode === 'nodes') yield keyItem(btree, 1, EMPTY_ROOT_PTR, context);
    if (mode === 'formats') yield fillItem(btree, fill, EMPTY_ROOT_PTR, context);
    return;
  }
  for (const node of btree.nodes({ level, from, to, onDamage, parents: true })) {
    // The last node is the last one that ends inside of the range, as in the reference.
    if (compareBpos(node.facts.ptr.k.p, to) > 0) return;
    if (mode === 'nodes') yield keyItem(btree, node.facts.level + 1, node.facts.ptr, context);
    else if (mode === 'formats') yield fillItem(btree, nodeFill(node, nodeSectors), node.facts.ptr, context);
    else yield ondiskItem(btree, node, context);
  }
}

function keyItem(btree: BtreeView, level: number, key: Key, context: KeyTextContext): ListItem {
  return {
    text: () => plainKeyText(key, context),
    json: () => ({ btree: btree.name, level, ...plainKey(key, context) }),
  };
}

function plainKeyText(key: Key, context: KeyTextContext): string {
  const out = new PrintBuffer();
  keyText(out, key, context);
  return out.toString();
}

function fillItem(btree: BtreeView, fill: NodeFill, ptr: Key, context: KeyTextContext): ListItem {
  return {
    text: () => nodeFillText(fill, ptr, context),
    json: () => ({
      btree: btree.name,
      level: fill.level,
      ptr: plainKey(ptr, context),
      format: {
        key_u64s: fill.format.key_u64s,
        fields: fill.format.bits_per_field.map((bits, i) => ({ bits, offset: fill.format.field_offset[i] })),
      },
      bytes_used: 8 * fill.usedU64s,
      bytes_max: 8 * fill.maxU64s,
      packed_keys: fill.packed,
      unpacked_keys: fill.unpacked,
    }),
  };
}

function ondiskItem(btree: BtreeView, node: BtreeNode, context: KeyTextContext): ListItem {
  const { ptr, level, bsets, device, sector } = node.facts;
  return {
    text: () => nodeOndiskText(node, context),
    json: () => ({
      btree: btree.name,
      level,
      ptr: plainKey(ptr, context),
      device,
      sector,
      bsets: bsets.map(bset => ({
        offset_sectors: bset.offsetSectors,
        version: versionNumber(bset.version),
        journal_seq: bset.journalSeq,
        blacklisted: bset.blacklisted,
        keys: Array.from({ length: bset.keys.count }, (_, i) => plainKey(node.keyOf(bset.keys, i), context)),
      })),
    }),
  };
}

const plainKey = (key: Key, context: KeyTextContext): object => Object(keyJson(key, context));
