// The table of key types: what a value of each type is. Types without a row here are carried as bytes.

import { toHex } from '../../util/hex.ts';
import type { PrintBuffer } from '../../util/print-buffer.ts';
import { bkeyText, type Key } from '../bkey.ts';
import { bposText } from '../bpos.ts';
import { btreePtr } from './btree-ptr.ts';
import { btreePtrV2 } from './btree-ptr-v2.ts';
import { keyTypes } from './key-types.ts';
import type { KeyKind, KeyTextContext } from './kind.ts';

const kinds: readonly KeyKind<unknown>[] = [btreePtr, btreePtrV2];
const byType = new Map(kinds.map(kind => [keyTypes.idOf(kind.name), kind]));

/** The row of a key type number. */
export function keyKind(type: number): KeyKind<unknown> | undefined {
  return byType.get(type);
}

/** Prints a whole key, its value indented. Mirrors bch2_bkey_val_to_text. */
export function keyText(out: PrintBuffer, key: Key, context: KeyTextContext): void {
  out.print(bkeyText(key.k));
  if (key.value.length === 0) return;
  out.indented(() => {
    out.print(': ');
    const kind = keyKind(key.k.type);
    if (kind === undefined) return;
    if (key.value.length < kind.minBytes)
      out.print(`(damaged: ${key.value.length} bytes, expected ${kind.minBytes} or more)`);
    else kind.text(out, kind.decode(key.value), context);
  });
}

/** A whole key as a plain value; an unknown value comes as hex. */
export function keyJson(key: Key): unknown {
  const { k } = key;
  const header = {
    type: keyTypes.nameOf(k.type),
    pos: bposText(k.p),
    size: k.size,
    version: k.bversion_lo,
  };
  const kind = keyKind(k.type);
  const value =
    kind === undefined || key.value.length < kind.minBytes
      ? { raw: toHex(key.value) }
      : kind.json(kind.decode(key.value));
  return { ...header, value };
}
