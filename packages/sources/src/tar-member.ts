// A member of an archive: its header with all that stands in front of it, the extended header of POSIX and GNU's long names, joined to one.
// What an extended header says is stronger than GNU's long names, and those are stronger than the header.

import { ID_MAX } from '@bcachefs-ts/command';
import { compareBytes, type ExtendedAttribute, isStorableXattr, isXattrOfContents } from '@bcachefs-ts/core/engine';
import { aclFromWords, type LookUpName, modeOfAcl } from './acl-words.ts';
import type { ArchiveBytes } from './archive-bytes.ts';
import {
  type ParsedRecords,
  type PaxRecords,
  parsePaxRecords,
  recordNumber,
  recordText,
  recordTimeNs,
} from './pax-records.ts';
import { type EntryAttributes, latin1Bytes, PATH_BYTES_MAX } from './source.ts';
import { BLOCK_BYTES, decodeTarHeader, isZeroBlock, type TarHeader, TarHeaderError } from './tar-header.ts';
import { isTextMapped, oldGnuDataAt, oldGnuMap, paxSparseMap, type SparseMap } from './tar-sparse.ts';

export type MemberType = 'dir' | 'file' | 'symlink' | 'chr' | 'blk' | 'fifo' | 'link';

export interface TarMember {
  readonly type: MemberType;
  /** As the archive has it. */
  readonly path: Uint8Array;
  readonly linkPath: Uint8Array;
  readonly rdev: { readonly major: number; readonly minor: number };
  /** Of a regular file. */
  readonly sizeBytes: number;
  readonly dataAt: number;
  /** Of a sparse file. */
  readonly sparse: SparseMap | undefined;
  readonly attributes: EntryAttributes;
  /** Attributes that have no place in bcachefs. */
  readonly unstorable: readonly string[];
  /** Where the next member starts. */
  readonly nextAt: number;
}

export type ArchivePart =
  | { readonly kind: 'member'; readonly member: TarMember }
  /** Holds for all members after it. */
  | { readonly kind: 'global'; readonly records: PaxRecords; readonly nextAt: number; readonly bodyBytes: number }
  /** A label, nothing to be kept. */
  | { readonly kind: 'skipped'; readonly nextAt: number }
  | { readonly kind: 'end' };

/** Room for a hundred attributes of the largest size would be less. */
const EXTENDED_BYTES_MAX = 16 * 1024 * 1024;
const RECORDS_MAX = 65_536;
const NS_PER_SECOND = 1_000_000_000n;
const TIME_NS_LIMIT = 2n ** 63n;

const types: Readonly<Record<string, MemberType>> = {
  ...{ 0: 'file', 1: 'link', 2: 'symlink', 3: 'chr', 4: 'blk', 5: 'dir', 6: 'fifo', 7: 'file', S: 'file', D: 'dir' },
};
/** What POSIX says has no data has none, whatever its header says. */
const dataless: ReadonlySet<string> = new Set(['1', '2', '3', '4', '5', '6']);

/**
 * Reads what is at a place of an archive.
 * @param globals of global extended headers before it
 * @param lookUp asked for users and groups that ACLs give by name only
 * @throws TarHeaderError for whatever is damaged or cut off
 */
export function readPart(bytes: ArchiveBytes, start: number, globals: PaxRecords, lookUp: LookUpName): ArchivePart {
  let own: ParsedRecords | undefined;
  let longName: Uint8Array | undefined;
  let longLink: Uint8Array | undefined;
  for (let at = start; ; ) {
    const block = bytes.peek(at, BLOCK_BYTES);
    if (block.length < BLOCK_BYTES)
      throw new TarHeaderError(
        block.length === 0
          ? 'it is cut off: the two blocks of zeroes at its end are missing'
          : 'it ends in the middle of a header',
      );
    if (isZeroBlock(block)) {
      if (at !== start) throw new TarHeaderError('it ends after an extended header');
      return { kind: 'end' };
    }
    const header = decodeTarHeader(block);
    const { typeFlag } = header;
    if (typeFlag === 'V') return { kind: 'skipped', nextAt: at + BLOCK_BYTES + paddedSize(header.sizeBytes, bytes) };
    if (!'xXgLK'.includes(typeFlag)) {
      const parsed = joined(globals, own);
      return {
        kind: 'member',
        member: memberOf(bytes, at, header, parsed, { name: longName, link: longLink }, lookUp),
      };
    }
    const nextAt = at + BLOCK_BYTES + paddedSize(header.sizeBytes, bytes);
    const body = bodyOf(bytes, at + BLOCK_BYTES, header.sizeBytes);
    if (typeFlag === 'L') longName = untilNul(body);
    else if (typeFlag === 'K') longLink = untilNul(body);
    else {
      const parsed = parsePaxRecords(body);
      if (parsed.records.size > RECORDS_MAX)
        throw new TarHeaderError(`an extended header of ${parsed.records.size} records`);
      if (typeFlag === 'g') {
        if (at !== start) throw new TarHeaderError('a global header stands between an extended header and its member');
        return { kind: 'global', records: parsed.records, nextAt, bodyBytes: body.length };
      }
      own = own === undefined ? parsed : { ...joined(own.records, parsed) };
    }
    at = nextAt;
  }
}

/** A record without a value takes away what was said before. */
export function joined(globals: PaxRecords, own: ParsedRecords | undefined): ParsedRecords {
  if (own === undefined) return { records: globals, sparsePairs: [] };
  if (globals.size === 0) return own;
  return { records: new Map([...globals, ...own.records]), sparsePairs: own.sparsePairs };
}

function memberOf(
  bytes: ArchiveBytes,
  headerAt: number,
  header: TarHeader,
  parsed: ParsedRecords,
  long: { readonly name: Uint8Array | undefined; readonly link: Uint8Array | undefined },
  lookUp: LookUpName,
): TarMember {
  const { records } = parsed;
  const { typeFlag } = header;
  const given = Object.hasOwn(types, typeFlag) ? types[typeFlag] : undefined;
  if (given === undefined)
    throw new TarHeaderError(`a member of type '${printable(typeFlag)}', which is not known here`);
  checkCharset(records);
  const path = nonEmpty(records, 'GNU.sparse.name') ?? nonEmpty(records, 'path') ?? long.name ?? header.path;
  const linkPath = nonEmpty(records, 'linkpath') ?? long.link ?? header.linkPath;
  const type = given === 'file' && path.at(-1) === 0x2f ? 'dir' : given;
  const archived = dataless.has(typeFlag) ? 0n : (recordNumber(records, 'size') ?? header.sizeBytes);
  const isOldSparse = typeFlag === 'S';
  const dataAt = isOldSparse ? oldGnuDataAt(bytes, headerAt) : headerAt + BLOCK_BYTES;
  const nextAt = dataAt + paddedSize(archived, bytes);
  if (nextAt > bytes.sizeBytes) throw new TarHeaderError('it is cut off in the middle of a file');
  const dataBytes = Number(archived);
  let sparse: SparseMap | undefined;
  if (isOldSparse) sparse = oldGnuMap(bytes, headerAt, dataBytes);
  else if (type === 'file') sparse = paxSparseMap(parsed, bytes, dataAt, dataBytes);
  const { xattrs, unstorable } = attributesOf(records, type, header.mode, lookUp);
  return {
    ...{ type, path, linkPath, sparse, unstorable, nextAt },
    rdev: rdevOf(header, records, type),
    sizeBytes: sparse?.sizeBytes ?? dataBytes,
    dataAt: sparse !== undefined && isTextMapped(parsed) ? sparse.dataAt : dataAt,
    attributes: {
      mode: header.mode & 0o7777,
      uid: idOf(recordNumber(records, 'uid') ?? header.uid, 'owner'),
      gid: idOf(recordNumber(records, 'gid') ?? header.gid, 'group'),
      mtimeNs: timeOf(recordTimeNs(records, 'mtime') ?? header.mtime * NS_PER_SECOND),
      atimeNs: timeOf(recordTimeNs(records, 'atime')),
      ctimeNs: timeOf(recordTimeNs(records, 'ctime')),
      btimeNs: timeOf(recordTimeNs(records, 'LIBARCHIVE.creationtime')),
      xattrs,
    },
  };
}

function rdevOf({ devMajor, devMinor }: TarHeader, records: PaxRecords, type: MemberType): TarMember['rdev'] {
  if (type !== 'chr' && type !== 'blk') return { major: 0, minor: 0 };
  const major = Number(recordNumber(records, 'SCHILY.devmajor') ?? devMajor);
  const minor = Number(recordNumber(records, 'SCHILY.devminor') ?? devMinor);
  if (major > 0xfff || minor > 0xf_ffff)
    throw new TarHeaderError(`a device of number ${major}:${minor}; Linux has 4095:1048575 at most`);
  return { major, minor };
}

const SCHILY_XATTR = 'SCHILY.xattr.';
const LIBARCHIVE_XATTR = 'LIBARCHIVE.xattr.';
const acls: Readonly<Record<string, string>> = {
  'SCHILY.acl.access': 'system.posix_acl_access',
  'SCHILY.acl.default': 'system.posix_acl_default',
};

/** Linux keeps attributes of users to these. */
const HAS_CONTENTS: readonly MemberType[] = ['dir', 'file', 'link'];

function attributesOf(records: PaxRecords, type: MemberType, mode: number, lookUp: LookUpName) {
  const found = new Map<string, Uint8Array>();
  const unstorable: string[] = [];
  const add = (name: string, value: Uint8Array) => {
    if (name.includes('\0')) throw new TarHeaderError('the name of an attribute has a NUL in it');
    const bytes = latin1Bytes(name);
    if (!isStorableXattr(bytes)) unstorable.push(name);
    else if (isXattrOfContents(bytes) && !HAS_CONTENTS.includes(type)) unstorable.push(`${name} of a ${type}`);
    else found.set(name, value);
  };
  for (const [keyword, value] of records) {
    if (keyword.startsWith(SCHILY_XATTR)) add(plainKeyword(keyword.slice(SCHILY_XATTR.length)), value);
    else if (keyword.startsWith(LIBARCHIVE_XATTR)) {
      // libarchive writes attributes in both ways; the other needs no decoding.
      const name = percentDecoded(keyword.slice(LIBARCHIVE_XATTR.length));
      if (!found.has(name)) add(name, Uint8Array.from(Buffer.from(recordText(value), 'base64')));
    } else if (keyword === 'RHT.security.selinux') add('security.selinux', Uint8Array.of(...value, 0));
    else if (keyword === 'SCHILY.acl.ace' && value.length > 0) unstorable.push('ACLs of NFSv4');
    else if (Object.hasOwn(acls, keyword) && value.length > 0) {
      if (keyword === 'SCHILY.acl.default' && type !== 'dir') continue;
      const acl = aclFromWords(Buffer.from(value).toString('utf8'), lookUp);
      if ('problem' in acl) throw new TarHeaderError(acl.problem);
      // One that says no more than the mode is none: kernels do not keep it either, but GNU tar writes it.
      const isMode = keyword === 'SCHILY.acl.access' && modeOfAcl(acl.value) === (mode & 0o777);
      if (!isMode) add(acls[keyword]!, acl.value);
    }
  }
  const xattrs: ExtendedAttribute[] = [...found].map(([name, value]) => ({ name: latin1Bytes(name), value }));
  return { xattrs: xattrs.sort((a, b) => compareBytes(a.name, b.name)), unstorable };
}

/** A keyword cannot hold a `=`: GNU tar writes it as `%3D`, and `%` as `%25`. */
const plainKeyword = (text: string): string => text.replace(/%(3D|25)/g, (_, code) => (code === '25' ? '%' : '='));

const percentDecoded = (text: string): string =>
  text.replace(/%([0-9a-fA-F]{2})/g, (_, code: string) => String.fromCharCode(Number.parseInt(code, 16)));

/** Names are bytes either way; only a set of characters that would have to be translated matters. */
function checkCharset(records: PaxRecords): void {
  const value = nonEmpty(records, 'hdrcharset');
  if (value === undefined) return;
  const text = recordText(value);
  if (text !== 'BINARY' && text !== 'ISO-IR 10646 2000 UTF-8')
    throw new TarHeaderError(`names in the set of characters ${printable(text)}, expected UTF-8`);
}

function nonEmpty(records: PaxRecords, keyword: string): Uint8Array | undefined {
  const value = records.get(keyword);
  return value === undefined || value.length === 0 ? undefined : value;
}

function idOf(id: bigint, what: string): number {
  if (id < 0n || id > BigInt(ID_MAX)) throw new TarHeaderError(`the ${what} is ${id}, expected 0 to ${ID_MAX}`);
  return Number(id);
}

function timeOf<T extends bigint | undefined>(ns: T): T {
  if (ns !== undefined && (ns >= TIME_NS_LIMIT || ns < -TIME_NS_LIMIT))
    throw new TarHeaderError(`a time of ${ns / NS_PER_SECOND} seconds`);
  return ns;
}

function paddedSize(size: bigint, bytes: ArchiveBytes): number {
  if (size < 0n) throw new TarHeaderError(`a size of ${size} bytes`);
  if (size > BigInt(bytes.sizeBytes)) throw new TarHeaderError(`it is cut off: a member says it has ${size} bytes`);
  return Math.ceil(Number(size) / BLOCK_BYTES) * BLOCK_BYTES;
}

function bodyOf(bytes: ArchiveBytes, at: number, size: bigint): Uint8Array {
  if (size > BigInt(EXTENDED_BYTES_MAX)) throw new TarHeaderError(`an extended header of ${size} bytes`);
  if (at + Number(size) > bytes.sizeBytes) throw new TarHeaderError('it is cut off in an extended header');
  const body = new Uint8Array(Number(size));
  bytes.read(at, body);
  return body;
}

function untilNul(body: Uint8Array): Uint8Array {
  const end = body.indexOf(0);
  return end < 0 ? body : body.subarray(0, end);
}

const printable = (text: string): string => JSON.stringify(text.slice(0, 80)).slice(1, -1);

/** Parts of a path: a slash in front, empty ones and `.` are dropped. @throws TarHeaderError for `..` and what no path can be */
export function pathParts(path: Uint8Array): readonly Uint8Array[] {
  if (path.length > PATH_BYTES_MAX)
    throw new TarHeaderError(`a path of ${path.length} bytes, expected ${PATH_BYTES_MAX} or fewer`);
  const parts: Uint8Array[] = [];
  for (let start = 0; start < path.length; ) {
    const slash = path.indexOf(0x2f, start);
    const end = slash < 0 ? path.length : slash;
    const part = path.subarray(start, end);
    start = end + 1;
    if (part.length === 0 || (part.length === 1 && part[0] === 0x2e)) continue;
    if (part.length === 2 && part[0] === 0x2e && part[1] === 0x2e)
      throw new TarHeaderError("a path that has '..' in it");
    if (part.length > 255) throw new TarHeaderError(`a name of ${part.length} bytes, expected 255 or fewer`);
    if (part.includes(0)) throw new TarHeaderError('a name that has a NUL in it');
    parts.push(part);
  }
  return parts;
}
