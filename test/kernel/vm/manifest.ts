// A manifest: every path of a mounted filesystem with all that can be seen of it, as agent/manifest.py writes it and as
// the reference images have it. Comparing two shows which fields of which paths differ.

export interface ManifestEntry {
  /** Relative to the root, which is `.`; absent where the name is not UTF-8. */
  readonly path?: string;
  readonly path_b64?: string;
  readonly type: 'reg' | 'dir' | 'lnk' | 'fifo' | 'sock' | 'chr' | 'blk';
  readonly ino: string;
  /** Permission bits in octal, such as `0755`. */
  readonly mode: string;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  readonly nlink: number;
  /** In 512-byte sectors. */
  readonly blocks: number;
  readonly mtime_ns: string;
  readonly ctime_ns: string;
  readonly btime_ns: string;
  readonly subvol?: number;
  readonly projid?: number;
  readonly flags?: number;
  readonly sha256?: string;
  /** For files above 4 GiB: over offset and length (u64) and content of each data segment. */
  readonly sha256_data?: string;
  /** [offset, length] of the data segments of a sparse file of more than 4096 bytes. */
  readonly data?: readonly (readonly [number, number])[];
  readonly target?: string;
  readonly target_b64?: string;
  readonly rdev?: readonly [number, number];
  /** Name → value in base64. */
  readonly xattrs?: Readonly<Record<string, string>>;
  /** `bcachefs.NAME` set on the inode, `bcachefs_effective.NAME` in effect there. */
  readonly options?: Readonly<Record<string, string>>;
  readonly open_errno?: number;
  readonly read_errno?: number;
  readonly xattr_errno?: number;
}

export function parseManifestLines(bytes: Uint8Array): ManifestEntry[] {
  const text = Buffer.from(bytes).toString('utf8');
  return text === '' ? [] : text.split('\n').map(line => JSON.parse(line));
}

/** The path as a key: base64 ones in a form that no path has. */
export function entryKey(entry: ManifestEntry): string {
  return entry.path ?? `base64:${entry.path_b64}`;
}

export interface ManifestComparison {
  /** Fields that need not agree, such as `ctime_ns` for a copied tree. */
  readonly ignore?: readonly (keyof ManifestEntry)[];
  /** Differences to report at most. Default 50. */
  readonly limit?: number;
}

/**
 * What differs between two manifests, one line each: `a/b: size 5, expected 6`. Empty where they agree.
 */
export function compareManifests(
  found: readonly ManifestEntry[],
  expected: readonly ManifestEntry[],
  { ignore = [], limit = 50 }: ManifestComparison = {},
): string[] {
  const foundByPath = new Map(found.map(entry => [entryKey(entry), entry]));
  const expectedPaths = new Set(expected.map(entryKey));
  const differences: string[] = [];
  for (const wanted of expected) {
    const entry = foundByPath.get(entryKey(wanted));
    if (entry) differences.push(...compareEntries(entry, wanted, new Set<string>(ignore)));
    else differences.push(`${entryKey(wanted)}: missing`);
  }
  for (const key of foundByPath.keys()) if (!expectedPaths.has(key)) differences.push(`${key}: not expected`);
  if (differences.length <= limit) return differences;
  return [...differences.slice(0, limit), `… and ${differences.length - limit} more differences`];
}

function compareEntries(found: ManifestEntry, wanted: ManifestEntry, ignore: ReadonlySet<string>): string[] {
  const fields = new Set([...Object.keys(found), ...Object.keys(wanted)]);
  const differences: string[] = [];
  for (const field of fields) {
    if (ignore.has(field)) continue;
    const a = stable(found[field as keyof ManifestEntry]);
    const b = stable(wanted[field as keyof ManifestEntry]);
    if (a !== b) differences.push(`${entryKey(wanted)}: ${field} ${a.slice(0, 200)}, expected ${b.slice(0, 200)}`);
  }
  return differences;
}

/** As text, whatever the order of the names in an object. */
function stable(value: unknown): string {
  if (value === undefined) return 'absent';
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return JSON.stringify(value);
  return JSON.stringify(Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1)));
}
