// What a restore says at its end: a verdict for each file that is not simply intact, totals, and what of the files' attributes the host
// did not take. Lists are bounded, counts are not.

import { type FileFinding, printableBytes, utf8Text } from '@bcachefs-ts/core/engine';

/**
 * intact       all bytes and names are as the filesystem has them, verified wherever it keeps checksums
 * holes        parts are lost; kept with holes in their place only with --ignore-errors
 * checksum     bytes that fail their checksum; kept only with --ignore-errors
 * doubtful     keys around the file were lost: what was read may be older than the file; kept only with --ignore-errors
 * unreadable   nothing of it can be restored: its inode or what its name leads to is lost
 * not_written  it can be read, but the host does not take it: its name, a clash of names, a size
 */
export const verdictKinds = ['intact', 'holes', 'checksum', 'doubtful', 'unreadable', 'not_written'] as const;
export type VerdictKind = (typeof verdictKinds)[number];

export interface FileVerdict {
  /** From the root of the tree, printable. */
  readonly path: string;
  /** The bytes, where they are not UTF-8. */
  readonly path_hex?: string;
  readonly verdict: VerdictKind;
  /** Whether it is in the destination. */
  readonly restored: boolean;
  /** What is wrong, the first thing of it. */
  readonly detail?: string;
  /** Ranges that are lost, or doubtful, [offset, length] in bytes: the first ones. */
  readonly ranges?: readonly (readonly [number, number])[];
  readonly lost_bytes?: number;
  readonly suspect_bytes?: number;
  /** Bytes that another replica, or the parity of a stripe, gave. */
  readonly healed_bytes?: number;
}

const RANGES_MAX = 16;
/** Verdicts that are kept for the list. */
const LISTED_MAX = 100_000;
const PATHS_MAX = 3;
const NAMES_MAX = 8;
const DAMAGES_MAX = 1000;

export function pathFields(path: Uint8Array): Pick<FileVerdict, 'path' | 'path_hex'> {
  const text = printableBytes(path.length === 0 ? DOT : path);
  return utf8Text(path) === undefined ? { path: text, path_hex: Buffer.from(path).toString('hex') } : { path: text };
}

const DOT = new TextEncoder().encode('.');

/** Gathers what reading one file found. */
export class FindingTally {
  #lostBytes = 0;
  #suspectBytes = 0;
  #healedBytes = 0;
  #isDoubtful = false;
  #detail: string | undefined;
  readonly #ranges: [number, number][] = [];

  add({ kind, damage, offset, length }: FileFinding): void {
    if (kind === 'healed') {
      this.#healedBytes += length;
      return;
    }
    this.#detail ??= damage.message;
    if (kind === 'lost') this.#lostBytes += length;
    else if (kind === 'suspect') this.#suspectBytes += length;
    else this.#isDoubtful = true;
    if (kind !== 'metadata') this.#addRange(offset, length);
  }

  #addRange(offset: number, length: number): void {
    const last = this.#ranges.at(-1);
    if (last !== undefined && last[0] + last[1] === offset) last[1] += length;
    else if (this.#ranges.length < RANGES_MAX) this.#ranges.push([offset, length]);
  }

  get kind(): 'intact' | 'holes' | 'checksum' | 'doubtful' {
    if (this.#lostBytes > 0) return 'holes';
    if (this.#suspectBytes > 0) return 'checksum';
    return this.#isDoubtful ? 'doubtful' : 'intact';
  }

  verdict(path: Uint8Array, restored: boolean): FileVerdict {
    return {
      ...pathFields(path),
      verdict: this.kind,
      restored,
      ...(this.#detail === undefined ? {} : { detail: this.#detail }),
      ...(this.#ranges.length === 0 ? {} : { ranges: this.#ranges }),
      ...(this.#lostBytes === 0 ? {} : { lost_bytes: this.#lostBytes }),
      ...(this.#suspectBytes === 0 ? {} : { suspect_bytes: this.#suspectBytes }),
      ...(this.#healedBytes === 0 ? {} : { healed_bytes: this.#healedBytes }),
    };
  }
}

/** What the host did not keep of files that are otherwise restored. */
export const unkeptKinds = {
  owners: 'owners',
  set_id: 'setuid and setgid bits',
  modes: 'permissions',
  times: 'times',
  nanoseconds: 'nanoseconds of times',
  acls: 'ACLs',
  xattrs: 'extended attributes',
  devices: 'device nodes',
  fifos: 'fifos',
  sockets: 'sockets',
  links: 'hard links',
  flags: 'immutable and append-only flags',
} as const;
export type UnkeptKind = keyof typeof unkeptKinds;

export interface Unkept {
  readonly kind: UnkeptKind;
  /** Files. */
  count: number;
  /** Why: those that have another reason are counted apart. */
  readonly reason: string;
  /** Of attributes, the first few. */
  readonly names: string[];
  /** The first few, printable. */
  readonly paths: string[];
  /** The one that was reported last: several attributes of one file count once. */
  lastPath: string | undefined;
}

export interface Totals {
  directories: number;
  files: number;
  links: number;
  symlinks: number;
  /** Device nodes, fifos and sockets. */
  special: number;
  /** Of regular files, without holes. */
  data_bytes: number;
  /** Regular files that an interrupted restore had finished. */
  resumed: number;
}

/** Gathers everything; the restore's result. */
export class Report {
  readonly totals: Totals = { directories: 0, files: 0, links: 0, symlinks: 0, special: 0, data_bytes: 0, resumed: 0 };
  readonly verdicts: Record<VerdictKind, number> = {
    intact: 0,
    holes: 0,
    checksum: 0,
    doubtful: 0,
    unreadable: 0,
    not_written: 0,
  };
  healed = 0;
  readonly files: FileVerdict[] = [];
  /** Verdicts that did not fit into `files`. */
  unlisted = 0;
  /** By kind and reason. */
  readonly unkept = new Map<string, Unkept>();
  /** Losses in the metadata: names or attributes may be missing because of them. */
  readonly damages: string[] = [];
  damageCount = 0;
  readonly #listsAll: boolean;
  readonly #onUnkept: ((kind: UnkeptKind, path: string, reason: string) => void) | undefined;

  constructor(options: {
    readonly listsAll: boolean;
    readonly onUnkept?: ((kind: UnkeptKind, path: string, reason: string) => void) | undefined;
  }) {
    this.#listsAll = options.listsAll;
    this.#onUnkept = options.onUnkept;
  }

  add(verdict: FileVerdict): void {
    this.verdicts[verdict.verdict]++;
    if (verdict.healed_bytes !== undefined) this.healed++;
    const isListed = this.#listsAll || verdict.verdict !== 'intact' || verdict.healed_bytes !== undefined;
    if (!isListed) return;
    if (this.files.length < LISTED_MAX) this.files.push(verdict);
    else this.unlisted++;
  }

  addIntact(path: Uint8Array): void {
    if (this.#listsAll) this.add({ ...pathFields(path), verdict: 'intact', restored: true });
    else this.verdicts.intact++;
  }

  damage(error: Error & { readonly where?: object; readonly detail?: string }): void {
    this.damageCount++;
    if (this.damages.length < DAMAGES_MAX) this.damages.push(error.message);
  }

  /** @param name of the attribute, where that is what was not kept */
  reportUnkept(kind: UnkeptKind, path: string, reason: string, name?: string): void {
    this.#onUnkept?.(kind, path, name === undefined ? reason : `${name}: ${reason}`);
    const key = `${kind} ${reason}`;
    const known = this.unkept.get(key) ?? { kind, count: 0, reason, names: [], paths: [], lastPath: undefined };
    this.unkept.set(key, known);
    if (name !== undefined && known.names.length < NAMES_MAX && !known.names.includes(name)) known.names.push(name);
    if (known.lastPath === path) return;
    known.lastPath = path;
    known.count++;
    if (known.paths.length < PATHS_MAX) known.paths.push(path);
  }

  get isIntact(): boolean {
    return this.damageCount === 0 && verdictKinds.every(kind => kind === 'intact' || this.verdicts[kind] === 0);
  }
}
