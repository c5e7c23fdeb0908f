// Tables of named numbers: what the C code keeps as x-macros. One exported table per enumeration; numbers, names, help and
// types are derived from it. Array order may mean something else than identity (recovery passes run in array order).

import { assert } from './assert.ts';

export interface Row {
  readonly id: number;
  readonly name: string;
}

export interface Table<R extends Row> {
  /** What the rows are, in the singular: `data type`. */
  readonly what: string;
  readonly rows: readonly R[];
  byId(id: number): R | undefined;
  byName(name: string): R | undefined;
  /** The name, or `unknown(37)`. */
  nameOf(id: number): string;
  /** The id of a name that is known at compile time. */
  idOf(name: R['name']): number;
}

/**
 * @param what what one row is, for messages
 * @throws InvariantError at import when an id or a name occurs twice
 */
export function table<const R extends Row>(what: string, rows: readonly R[]): Table<R> {
  const byId = new Map<number, R>();
  const byName = new Map<string, R>();
  for (const row of rows) {
    assert(!byId.has(row.id), `${what} ${row.id} is declared twice`);
    assert(!byName.has(row.name), `${what} ${row.name} is declared twice`);
    byId.set(row.id, row);
    byName.set(row.name, row);
  }
  return {
    what,
    rows,
    byId: id => byId.get(id),
    byName: name => byName.get(name),
    nameOf: id => byId.get(id)?.name ?? `unknown(${id})`,
    idOf(name) {
      const row = byName.get(name);
      assert(row !== undefined, `no ${what} is called ${name}`);
      return row.id;
    },
  };
}

/** The names of the bits that are set, in order of their numbers; bits without a name come as `unknown(37)`. */
export function bitNames(names: Table<Row>, set: bigint): string[] {
  const found: string[] = [];
  for (let bit = 0; set >> BigInt(bit) > 0n; bit++) {
    if ((set >> BigInt(bit)) & 1n) found.push(names.nameOf(bit));
  }
  return found;
}
