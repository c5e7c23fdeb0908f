// The tree of an archive's paths, compactly: a million names must fit. Nodes are numbers, their parts lie in typed arrays that grow by
// half, the bytes of all names in one more. A node costs 29 bytes and its name, half as much again while there is room to grow, and 5 to 11
// bytes of a hash table that is never more than three quarters full. Node 0 is the root.

import { assert, compareBytes } from '@bcachefs-ts/core/engine';

const NONE = 0xffff_ffff;

export class PathIndex {
  #count = 0;
  #parent = new Uint32Array(64);
  #firstChild = new Uint32Array(64);
  #nextSibling = new Uint32Array(64);
  #nameAt = new Float64Array(64);
  #nameLength = new Uint8Array(64);
  /** What the caller keeps with each node. */
  #value = new Uint32Array(64);
  #hash = new Uint32Array(64);
  #names = new Uint8Array(1024);
  #namesBytes = 0;
  #table = new Uint32Array(128).fill(NONE);

  /** @param value of the root */
  constructor(value: number) {
    this.#append(NONE, new Uint8Array(0), 0, value);
  }

  /** Of nodes. */
  get count(): number {
    return this.#count;
  }

  valueOf(node: number): number {
    return this.#value[node]!;
  }

  setValue(node: number, value: number): void {
    this.#value[node] = value;
  }

  hasChildren(node: number): boolean {
    return this.#firstChild[node] !== NONE;
  }

  /** A view of the name, valid until the next node is added. */
  nameOf(node: number): Uint8Array {
    const at = this.#nameAt[node]!;
    return this.#names.subarray(at, at + this.#nameLength[node]!);
  }

  /** The path from the root. */
  pathOf(node: number): Uint8Array {
    const parts: Uint8Array[] = [];
    for (let at = node; at !== 0; at = this.#parent[at]!) parts.push(this.nameOf(at));
    const path = new Uint8Array(
      Math.max(
        0,
        parts.reduce((sum, part) => sum + part.length + 1, -1),
      ),
    );
    let at = 0;
    for (const part of parts.reverse()) {
      path.set(part, at);
      at += part.length;
      if (at < path.length) path[at++] = 0x2f;
    }
    return path;
  }

  find(parent: number, name: Uint8Array): number | undefined {
    const place = this.#place(parent, name, hashOf(parent, name));
    const node = this.#table[place]!;
    return node === NONE ? undefined : node;
  }

  /** @param name 1 to 255 bytes; not there yet */
  add(parent: number, name: Uint8Array, value: number): number {
    assert(name.length > 0 && name.length <= 255, 'a name of 1 to 255 bytes');
    if ((this.#count + 1) * 4 > this.#table.length * 3) this.#growTable();
    const hash = hashOf(parent, name);
    const place = this.#place(parent, name, hash);
    assert(this.#table[place] === NONE, 'a new name');
    const node = this.#append(parent, name, hash, value);
    this.#table[place] = node;
    return node;
  }

  /** In the order of their names' bytes. */
  sortedChildren(node: number): readonly number[] {
    const children: number[] = [];
    for (let child = this.#firstChild[node]!; child !== NONE; child = this.#nextSibling[child]!) children.push(child);
    return children.sort((a, b) => compareBytes(this.nameOf(a), this.nameOf(b)));
  }

  #append(parent: number, name: Uint8Array, hash: number, value: number): number {
    const node = this.#count;
    assert(node < NONE, 'fewer than 2^32 names');
    if (node === this.#parent.length) this.#growNodes();
    if (this.#namesBytes + name.length > this.#names.length) this.#names = grown(this.#names);
    this.#names.set(name, this.#namesBytes);
    this.#parent[node] = parent;
    this.#firstChild[node] = NONE;
    this.#nextSibling[node] = parent === NONE ? NONE : this.#firstChild[parent]!;
    if (parent !== NONE) this.#firstChild[parent] = node;
    this.#nameAt[node] = this.#namesBytes;
    this.#nameLength[node] = name.length;
    this.#value[node] = value;
    this.#hash[node] = hash;
    this.#namesBytes += name.length;
    this.#count++;
    return node;
  }

  /** Where the name is in the hash table, or would be. */
  #place(parent: number, name: Uint8Array, hash: number): number {
    const mask = this.#table.length - 1;
    for (let place = hash & mask; ; place = (place + 1) & mask) {
      const node = this.#table[place]!;
      if (node === NONE) return place;
      if (this.#hash[node] !== hash || this.#parent[node] !== parent) continue;
      if (compareBytes(this.nameOf(node), name) === 0) return place;
    }
  }

  #growNodes(): void {
    this.#parent = grown(this.#parent);
    this.#firstChild = grown(this.#firstChild);
    this.#nextSibling = grown(this.#nextSibling);
    this.#nameAt = grown(this.#nameAt);
    this.#nameLength = grown(this.#nameLength);
    this.#value = grown(this.#value);
    this.#hash = grown(this.#hash);
  }

  #growTable(): void {
    this.#table = new Uint32Array(2 * this.#table.length).fill(NONE);
    const mask = this.#table.length - 1;
    for (let node = 1; node < this.#count; node++) {
      let place = this.#hash[node]! & mask;
      while (this.#table[place] !== NONE) place = (place + 1) & mask;
      this.#table[place] = node;
    }
  }
}

export function grown<T extends Uint8Array | Uint16Array | Uint32Array | Float64Array>(array: T): T;
export function grown(array: Uint8Array | Uint16Array | Uint32Array | Float64Array): typeof array {
  const length = Math.ceil(array.length * 1.5) + 256;
  if (array instanceof Float64Array) return copyInto(new Float64Array(length), array);
  if (array instanceof Uint32Array) return copyInto(new Uint32Array(length), array);
  if (array instanceof Uint16Array) return copyInto(new Uint16Array(length), array);
  return copyInto(new Uint8Array(length), array);
}

function copyInto<T extends { set(from: ArrayLike<number>): void }>(target: T, source: ArrayLike<number>): T {
  target.set(source);
  return target;
}

/** FNV-1a over the name, begun with the parent, and mixed at the end: neighbouring parents must not probe into each other. */
function hashOf(parent: number, name: Uint8Array): number {
  let hash = 0x811c9dc5 ^ parent;
  hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d);
  for (let i = 0; i < name.length; i++) hash = Math.imul(hash ^ name[i]!, 0x0100_0193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85eb_ca6b);
  return (hash ^ (hash >>> 13)) >>> 0;
}
