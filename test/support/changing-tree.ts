// A folder of the host that is changed at random, as people and programs change folders: files made, written into, cut, appended to,
// renamed, linked, removed, replaced by other kinds, given other modes, owners, times and attributes.

import { spawnSync } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  chownSync,
  closeSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import type { Random } from './random.ts';

const SIZES = [0, 1, 100, 1024, 1025, 4096, 5000, 131_072, 131_073, 400_000, 1_200_000];
const isRoot = process.getuid?.() === 0;

interface Known {
  readonly path: string;
  readonly type: 'dir' | 'file' | 'other';
  readonly size: number;
}

export class ChangingTree {
  readonly #root: string;
  readonly #random: Random;
  readonly #keeps: readonly string[];
  #count = 0;

  /** @param keeps names in the root that stay directories: what is in them changes */
  constructor(root: string, random: Random, { keeps = [] }: { readonly keeps?: readonly string[] } = {}) {
    this.#root = root;
    this.#keeps = keeps.map(name => join(root, name));
    this.#random = random;
  }

  /** @returns what was done, a few words each */
  change(steps: number): readonly string[] {
    const done: string[] = [];
    while (done.length < steps) {
      const what = this.#step();
      if (what !== undefined) done.push(what);
    }
    return done;
  }

  #step(): string | undefined {
    const random = this.#random;
    const all = this.#walk();
    const dirs = all.filter(({ type }) => type === 'dir');
    const files = all.filter(({ type }) => type === 'file');
    const dir = random.pick(dirs).path;
    const name = join(dir, `new ${this.#count++}`);
    const { path: file, size } = random.pick(files);
    const shown = file.slice(this.#root.length + 1);
    switch (random.below(15)) {
      case 0:
        writeFileSync(name, this.#bytes(random.pick(SIZES)));
        return `made ${name}`;
      case 1:
        mkdirSync(name);
        for (let i = 0; i < 3; i++) writeFileSync(join(name, `${i}`), this.#bytes(random.below(3000)));
        return `made directory ${name}`;
      case 2: {
        if (size === 0) return undefined;
        const fd = openSync(file, 'r+');
        writeSync(fd, this.#bytes(random.below(20) + 1), 0, undefined, random.below(size));
        closeSync(fd);
        return `wrote into ${shown}`;
      }
      case 3:
        truncateSync(file, random.below(size + 1));
        return `cut ${shown}`;
      case 4:
        appendFileSync(file, this.#bytes(random.pick(SIZES)));
        return `appended to ${shown}`;
      case 5:
        truncateSync(file, size + random.below(3_000_000));
        return `a hole at the end of ${shown}`;
      case 6:
        unlinkSync(file);
        return `removed ${shown}`;
      case 7:
        renameSync(file, name);
        return `renamed ${shown} to ${name}`;
      case 8:
        linkSync(file, random.below(2) === 0 ? name : join(dir, `a name that comes first ${this.#count}`));
        return `linked ${shown}`;
      case 9: {
        const [, other] = [file, random.pick(files).path];
        if (other === file) return undefined;
        rmSync(file);
        linkSync(other, file);
        return `${shown} became ${other}`;
      }
      case 10:
        rmSync(file);
        if (random.below(3) === 0) mkdirSync(file);
        else if (random.below(2) === 0) symlinkSync(`to ${this.#count}`, file);
        else if (isRoot) spawnSync('mkfifo', [file]);
        else writeFileSync(file, 'another file');
        return `${shown} is another kind`;
      case 11:
        chmodSync(file, random.pick([0o644, 0o4711, 0o600]));
        if (isRoot) chownSync(file, random.below(3), random.below(3));
        return `mode of ${shown}`;
      case 12:
        utimesSync(random.below(2) === 0 ? file : dir, 1e9, 1e9 + random.below(1e6));
        return `time of ${shown}`;
      case 13: {
        const set = random.below(2) === 0;
        const script = set
          ? `import os,sys; os.setxattr(sys.argv[1], 'user.changed', os.urandom(${random.below(60)}))`
          : 'import os,sys\nfor n in os.listxattr(sys.argv[1]):\n os.removexattr(sys.argv[1], n)';
        spawnSync('python3', ['-c', script, file]);
        return `attributes of ${shown}`;
      }
      default: {
        const isKept = (path: string) =>
          path === this.#root || this.#keeps.some(kept => `${kept}/`.startsWith(`${path}/`));
        const gone = random.pick(all.filter(({ path }) => !isKept(path))).path;
        if (lstatSync(gone).isDirectory() && random.below(3) !== 0) return undefined;
        rmSync(gone, { recursive: true });
        return `removed all of ${gone}`;
      }
    }
  }

  #bytes(count: number): Uint8Array {
    const bytes = new Uint8Array(count);
    const kind = this.#random.below(3);
    if (kind > 0) for (let i = 0; i < count; i++) bytes[i] = this.#random.below(kind === 1 ? 256 : 4);
    return bytes;
  }

  #walk(): readonly Known[] {
    const found: Known[] = [{ path: this.#root, type: 'dir', size: 0 }];
    for (const { path, type } of found) {
      if (type !== 'dir') continue;
      for (const name of readdirSync(path).sort()) {
        const below = join(path, name);
        // A name that is not UTF-8 is left alone.
        const stat = lstatSync(below, { throwIfNoEntry: false });
        if (stat === undefined || (path === this.#root && name === 'lost+found')) continue;
        found.push({
          path: below,
          type: stat.isDirectory() ? 'dir' : stat.isFile() ? 'file' : 'other',
          size: stat.size,
        });
      }
    }
    return found;
  }
}
