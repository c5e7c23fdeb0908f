// What the options of a source mean: owners (`--owner`, `--uid-map`, `--gid-map`), what is left out (`--exclude`), and which directories become
// subvolumes (`--subvol`). Pure: text in, functions of entries out.

import { ID_MAX, isRootPattern, type Owner, pathPattern, pathWords } from '@bcachefs-ts/command';
import { type ExtendedAttribute, UsageError } from '@bcachefs-ts/core/engine';
import type { SourceEntry } from './source.ts';

export interface OwnerRequest {
  /** Of everything. */
  readonly owner?: Owner | undefined;
  /** `FROM:TO:COUNT` each */
  readonly uidMaps?: readonly string[] | undefined;
  readonly gidMaps?: readonly string[] | undefined;
}

interface IdRange {
  readonly from: number;
  readonly to: number;
  readonly count: number;
}

/**
 * With `--owner` everything belongs to that user and group. With maps, the ids of a range become those of another: of owners, and of users
 * and groups that ACLs name. Ids in no range stay as they are.
 * @throws UsageError
 */
export function ownerMapper({ owner, uidMaps = [], gidMaps = [] }: OwnerRequest): (entry: SourceEntry) => SourceEntry {
  if (owner !== undefined) {
    if (uidMaps.length > 0 || gidMaps.length > 0)
      throw new UsageError('says it all already: not together with --uid-map or --gid-map', '--owner');
    return entry => (entry.type === 'link' ? entry : { ...entry, ...owner });
  }
  if (uidMaps.length === 0 && gidMaps.length === 0) return entry => entry;
  const [uids, gids] = [parseIdMap(uidMaps, '--uid-map'), parseIdMap(gidMaps, '--gid-map')];
  return entry => {
    if (entry.type === 'link') return entry;
    const xattrs = entry.xattrs.map(xattr => mapAcl(xattr, uids, gids));
    return { ...entry, uid: mapId(entry.uid, uids), gid: mapId(entry.gid, gids), xattrs };
  };
}

/** @throws UsageError, also for ranges that overlap: an id would have two meanings, or two ids one */
export function parseIdMap(texts: readonly string[], option: '--uid-map' | '--gid-map'): readonly IdRange[] {
  const ranges = texts.map((text): IdRange => {
    const [, ...numbers] = /^(\d{1,10}):(\d{1,10}):(\d{1,10})$/.exec(text) ?? [];
    const [from = NaN, to = NaN, count = NaN] = numbers.map(Number);
    if (!(count > 0 && from + count - 1 <= ID_MAX && to + count - 1 <= ID_MAX))
      throw new UsageError(`'${text}' is not FROM:TO:COUNT with ids up to ${ID_MAX} and a count above 0`, option);
    return { from, to, count };
  });
  for (const side of ['from', 'to'] as const) {
    const sorted = ranges.toSorted((a, b) => a[side] - b[side]);
    for (const [i, range] of sorted.entries()) {
      const before = sorted[i - 1];
      if (before !== undefined && before[side] + before.count > range[side])
        throw new UsageError(`the ranges ${rangeText(before)} and ${rangeText(range)} overlap`, option);
    }
  }
  return ranges;
}

const rangeText = ({ from, to, count }: IdRange): string => `${from}:${to}:${count}`;

export function mapId(id: number, ranges: readonly IdRange[]): number {
  const range = ranges.find(({ from, count }) => id >= from && id < from + count);
  return range === undefined ? id : id - range.from + range.to;
}

const aclNames: ReadonlySet<string> = new Set(['system.posix_acl_access', 'system.posix_acl_default']);
const ACL_USER = 0x02;
const ACL_GROUP = 0x08;

/** The users and groups that an ACL names; entries stay in the order of their tags and ids. */
function mapAcl(xattr: ExtendedAttribute, uids: readonly IdRange[], gids: readonly IdRange[]): ExtendedAttribute {
  const { name, value } = xattr;
  if (!aclNames.has(Buffer.from(name).toString('latin1')) || value.length < 4 || value.length % 8 !== 4) return xattr;
  const view = new DataView(value.buffer, value.byteOffset, value.length);
  const entries = Array.from({ length: (value.length - 4) / 8 }, (_, i) => {
    const at = 4 + 8 * i;
    const tag = view.getUint16(at, true);
    const id = view.getUint32(at + 4, true);
    const mapped = tag === ACL_USER ? mapId(id, uids) : tag === ACL_GROUP ? mapId(id, gids) : id;
    return { tag, perm: view.getUint16(at + 2, true), id: mapped };
  });
  entries.sort((a, b) => a.tag - b.tag || a.id - b.id);
  const copy = value.slice();
  const target = new DataView(copy.buffer);
  for (const [i, { tag, perm, id }] of entries.entries()) {
    target.setUint16(4 + 8 * i, tag, true);
    target.setUint16(6 + 8 * i, perm, true);
    target.setUint32(8 + 8 * i, id, true);
  }
  return { name, value: copy };
}

/**
 * What `--exclude` leaves out, with all that is below it: the patterns of path-pattern.ts in packages/command, as for ls, restore and tar.
 * @returns undefined when nothing is left out
 * @throws UsageError
 */
export function exclusion(patterns: readonly string[]): ((path: Uint8Array) => boolean) | undefined {
  if (patterns.length === 0) return undefined;
  const everything = patterns.find(isRootPattern);
  if (everything !== undefined) throw new UsageError(`'${everything}' would leave out everything`, '--exclude');
  const matchers = patterns.map(pathPattern);
  return path => {
    const words = pathWords(path);
    return matchers.some(matches => matches(words));
  };
}

export interface SubvolumeRequest {
  /** From the root, without a slash in front. */
  readonly path: string;
  readonly isReadOnly: boolean;
}

/**
 * `PATH`, `PATH:ro` or `PATH:rw` each. A path that ends in `:ro` itself is written with `:rw` after it.
 * @throws UsageError for the root, which is one anyway, for `..`, and for a path that is there twice
 */
export function parseSubvolumes(texts: readonly string[]): readonly SubvolumeRequest[] {
  const requests = texts.map((text): SubvolumeRequest => {
    const suffix = /:(ro|rw)$/.exec(text)?.[1];
    const parts = (suffix === undefined ? text : text.slice(0, -3))
      .split('/')
      .filter(part => part !== '' && part !== '.');
    if (parts.includes('..')) throw new UsageError(`'${text}' has '..' in it`, '--subvol');
    if (parts.length === 0) throw new UsageError(`'${text}' is the root, which is a subvolume already`, '--subvol');
    return { path: parts.join('/'), isReadOnly: suffix === 'ro' };
  });
  for (const [i, { path }] of requests.entries()) {
    if (requests.findIndex(other => other.path === path) !== i)
      throw new UsageError(`${path} is there twice`, '--subvol');
  }
  return requests;
}

/** Finds the subvolumes in a stream of entries, and says which were not there. */
export class SubvolumeFinder {
  readonly #wanted: Map<string, SubvolumeRequest>;

  constructor(requests: readonly SubvolumeRequest[]) {
    this.#wanted = new Map(requests.map(request => [Buffer.from(request.path).toString('latin1'), request]));
  }

  /** @returns the request that an entry answers @throws UsageError when it is not a directory */
  find(entry: SourceEntry): SubvolumeRequest | undefined {
    if (this.#wanted.size === 0) return undefined;
    const key = Buffer.from(entry.path).toString('latin1');
    const request = this.#wanted.get(key);
    if (request === undefined) return undefined;
    if (entry.type !== 'dir') throw new UsageError(`${request.path} is not a directory`, '--subvol');
    this.#wanted.delete(key);
    return request;
  }

  /** At the end of the stream. @throws UsageError */
  checkAllFound(): void {
    const [missing] = this.#wanted.values();
    if (missing !== undefined) throw new UsageError(`${missing.path} is not in the source`, '--subvol');
  }
}
