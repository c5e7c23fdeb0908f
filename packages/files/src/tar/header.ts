// The headers of an archive in the pax interchange format: a ustar header of 512 bytes, and in front of it, where that cannot say it all, an
// extended header: records of text, `LENGTH KEYWORD=VALUE\n`, of which the value may be any bytes.
// Source: pax in POSIX.1-2017; the GNU and SCHILY keywords in the manuals of GNU tar and star, tar(5) of libarchive.

export const BLOCK_BYTES = 512;

export type TarTypeFlag = 'file' | 'link' | 'symlink' | 'chr' | 'blk' | 'dir' | 'fifo' | 'extended';

const typeFlags: Readonly<Record<TarTypeFlag, string>> = {
  ...{ file: '0', link: '1', symlink: '2', chr: '3', blk: '4', dir: '5', fifo: '6', extended: 'x' },
};

export interface TarEntry {
  readonly type: TarTypeFlag;
  /** Of a directory, with its slash at the end. */
  readonly path: Uint8Array;
  /** What a link or a symlink leads to. */
  readonly target?: Uint8Array | undefined;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Bytes that follow the header, without padding. */
  readonly sizeBytes: number;
  /** Nanoseconds since 1970. */
  readonly times: TarTimes;
  readonly rdev?: { readonly major: number; readonly minor: number } | undefined;
  /** Of a sparse file: the size that it has when its holes are in it. */
  readonly sparseSizeBytes?: number | undefined;
  /** More records, in their order. */
  readonly records?: readonly PaxRecord[];
}

export interface TarTimes {
  readonly mtimeNs: bigint;
  readonly atimeNs: bigint;
  readonly ctimeNs: bigint;
  /** Written only if it is given: GNU tar warns of a keyword that it does not know. */
  readonly btimeNs?: bigint | undefined;
}

export interface PaxRecord {
  readonly keyword: Uint8Array | string;
  readonly value: Uint8Array | string;
}

const NAME_BYTES = 100;
const PREFIX_BYTES = 155;
/** What fits seven and eleven octal digits. */
const OCTAL7_MAX = 0o7777777;
const OCTAL11_MAX = 0o77777777777;
const SECOND_NS = 1_000_000_000n;
const SLASH = 0x2f;

const encoder = new TextEncoder();
const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

const bytesOf = (value: Uint8Array | string): Uint8Array => (typeof value === 'string' ? encoder.encode(value) : value);

/** The header of an entry, with its extended header in front: a whole number of blocks. */
export function tarHeader(entry: TarEntry): Uint8Array {
  const records = recordsOf(entry);
  const main = ustarHeader(entry);
  if (records.length === 0) return main;
  const body = encodeRecords(records);
  const extended = ustarHeader({
    type: 'extended',
    path: concat([encoder.encode('PaxHeaders/'), asciiName(entry.path)]).subarray(0, NAME_BYTES),
    mode: 0o644,
    uid: 0,
    gid: 0,
    sizeBytes: body.length,
    times: { mtimeNs: 0n, atimeNs: 0n, ctimeNs: 0n },
  });
  return concat([extended, padded(body), main]);
}

/** What the ustar header cannot say, and what it has no field for. */
function recordsOf(entry: TarEntry): readonly PaxRecord[] {
  const { path, target, uid, gid, sizeBytes, sparseSizeBytes, times } = entry;
  const records: PaxRecord[] = [];
  const add = (keyword: string, value: Uint8Array | string) => records.push({ keyword, value });
  // Readers would take names for UTF-8 otherwise; it applies to the records after it.
  if (!isUtf8(path) || (target !== undefined && !isUtf8(target))) add('hdrcharset', 'BINARY');
  if (sparseSizeBytes !== undefined) {
    add('GNU.sparse.major', '1');
    add('GNU.sparse.minor', '0');
    add('GNU.sparse.name', path);
    add('GNU.sparse.realsize', `${sparseSizeBytes}`);
  } else if (!isAscii(path) || splitPath(path) === undefined) add('path', path);
  if (target !== undefined && (!isAscii(target) || target.length > NAME_BYTES)) add('linkpath', target);
  if (sizeBytes > OCTAL11_MAX) add('size', `${sizeBytes}`);
  if (uid > OCTAL7_MAX) add('uid', `${uid}`);
  if (gid > OCTAL7_MAX) add('gid', `${gid}`);
  add('mtime', timeText(times.mtimeNs));
  add('atime', timeText(times.atimeNs));
  add('ctime', timeText(times.ctimeNs));
  if (times.btimeNs !== undefined) add('LIBARCHIVE.creationtime', timeText(times.btimeNs));
  return [...records, ...(entry.records ?? [])];
}

/** Seconds with a fraction: `-1.5` is a second and a half before 1970. */
export function timeText(ns: bigint): string {
  const distance = ns < 0n ? -ns : ns;
  const fraction = `${distance % SECOND_NS}`.padStart(9, '0').replace(/0+$/, '');
  return `${ns < 0n ? '-' : ''}${distance / SECOND_NS}${fraction === '' ? '' : `.${fraction}`}`;
}

/** `LENGTH KEYWORD=VALUE\n` each, where the length counts its own digits. */
export function encodeRecords(records: readonly PaxRecord[]): Uint8Array {
  return concat(
    records.flatMap(({ keyword, value }) => {
      const [name, content] = [bytesOf(keyword), bytesOf(value)];
      const bare = name.length + content.length + 3;
      let length = bare + `${bare}`.length;
      if (`${length}`.length > `${bare}`.length) length = bare + `${length}`.length;
      return [encoder.encode(`${length} `), name, EQUALS, content, NEWLINE];
    }),
  );
}

const EQUALS = Uint8Array.of(0x3d);
const NEWLINE = Uint8Array.of(0x0a);

function ustarHeader(entry: TarEntry): Uint8Array {
  const header = new Uint8Array(BLOCK_BYTES);
  const put = (at: number, value: Uint8Array | string) => header.set(bytesOf(value), at);
  const octal = (at: number, digits: number, value: number) => put(at, value.toString(8).padStart(digits, '0'));
  const { path, target, rdev } = entry;
  const isSparse = entry.sparseSizeBytes !== undefined;
  // Programs that do not know sparse files then unpack something that does not pass for the file.
  const named = isSparse ? concat([encoder.encode('GNUSparseFile.0/'), path]) : path;
  const split = isAscii(named) ? splitPath(named) : undefined;
  const [prefix, name] = split ?? [new Uint8Array(0), asciiName(named)];
  const seconds = entry.times.mtimeNs / SECOND_NS;
  const fits = (value: number, most: number) => (value <= most ? value : 0);
  put(0, name);
  octal(100, 7, entry.mode & 0o7777);
  octal(108, 7, fits(entry.uid, OCTAL7_MAX));
  octal(116, 7, fits(entry.gid, OCTAL7_MAX));
  octal(124, 11, fits(entry.sizeBytes, OCTAL11_MAX));
  octal(136, 11, seconds >= 0n && seconds <= BigInt(OCTAL11_MAX) ? Number(seconds) : 0);
  put(148, '        ');
  put(156, typeFlags[entry.type]);
  if (target !== undefined) put(157, asciiName(target));
  put(257, 'ustar\0' + '00');
  octal(329, 7, fits(rdev?.major ?? 0, OCTAL7_MAX));
  octal(337, 7, fits(rdev?.minor ?? 0, OCTAL7_MAX));
  put(345, prefix);
  const sum = header.reduce((total, byte) => total + byte, 0);
  put(148, `${sum.toString(8).padStart(6, '0')}\0 `);
  return header;
}

/** Prefix and name, split at a slash that is not the last character; undefined when there is no such place. */
function splitPath(path: Uint8Array): readonly [prefix: Uint8Array, name: Uint8Array] | undefined {
  if (path.length <= NAME_BYTES) return [new Uint8Array(0), path];
  for (let at = path.length - NAME_BYTES - 1; at <= PREFIX_BYTES && at < path.length - 1; at++) {
    if (at > 0 && path[at] === SLASH) return [path.subarray(0, at), path.subarray(at + 1)];
  }
  return undefined;
}

/** For the fields that an extended header overrides: what fits of it, with `_` for what is not ASCII. */
function asciiName(path: Uint8Array): Uint8Array {
  return path.slice(0, NAME_BYTES).map(byte => (byte < 0x80 ? byte : 0x5f));
}

const isAscii = (bytes: Uint8Array): boolean => bytes.every(byte => byte < 0x80);

function isUtf8(bytes: Uint8Array): boolean {
  try {
    strictUtf8.decode(bytes);
    return true;
  } catch {
    return false;
  }
}

/** How many zeroes bring this many bytes to whole blocks. */
export const paddingOf = (sizeBytes: number): number => (BLOCK_BYTES - (sizeBytes % BLOCK_BYTES)) % BLOCK_BYTES;

export function padded(bytes: Uint8Array): Uint8Array {
  const whole = new Uint8Array(bytes.length + paddingOf(bytes.length));
  whole.set(bytes);
  return whole;
}

export function concat(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
