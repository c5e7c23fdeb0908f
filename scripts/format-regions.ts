// The generated regions of docs/format/*.md. A page is written by people; what stands between `<!-- generated: … -->` and
// `<!-- end -->` is filled in here, from the values that the program itself uses:
//
//   struct NAME      the members of an on-disk struct, with what the source says about them
//   bits NAME        bit ranges of a word of flags
//   table NAME       a table of named numbers
//   example NAME     a worked example, see format-examples.ts
//   index NAME       where things are described: key types, structs
//
// What the pages must describe is checked here as well: every struct in exactly one page, and a heading or a table row of somebody's own
// words for every key type, btree, superblock section, journal sub-entry and extent entry. So are the links between pages.

import * as core from '@bcachefs-ts/core/engine';
import { compressionTypes } from '../packages/core/src/ondisk/compression-types.ts';
import { extentEntryTypes, extentFlags, reconcileOptions } from '../packages/core/src/ondisk/extent-entries.ts';
import { keyErrorReasons } from '../packages/core/src/ondisk/keys/error.ts';
import { snapshotStates } from '../packages/core/src/ondisk/keys/snapshot.ts';
import { subvolumeFlags, subvolumeStates } from '../packages/core/src/ondisk/keys/subvolume.ts';
import { xattrTypes } from '../packages/core/src/ondisk/keys/xattr.ts';
import { CRYPT } from '../packages/core/src/ondisk/sb-fields/crypt.ts';
import { DISK_GROUP } from '../packages/core/src/ondisk/sb-fields/disk-groups.ts';
import { strHashTypes } from '../packages/core/src/ondisk/str-hash-types.ts';
import { examples } from './format-examples.ts';
import { type LayoutDoc, layoutDocs, ondiskSources } from './layouts.ts';

/** Pages by file name. */
export type Pages = ReadonlyMap<string, string>;

const OPEN = /^<!-- generated: (\w+) (.+) -->$/;
const CLOSE = '<!-- end -->';

const cell = (text: string): string => text.replaceAll('|', '\\|');
const name = (text: string): string => `\`${text}\``;
const firstOf = (release: string | undefined): string => release ?? '';

function markdownTable(
  head: readonly string[],
  align: readonly string[],
  rows: readonly (readonly (string | number)[])[],
) {
  return [`| ${head.join(' | ')} |`, `|${align.join('|')}|`, ...rows.map(row => `| ${row.join(' | ')} |`)].join('\n');
}

const layouts = layoutDocs();
function struct(type: string): string {
  const layout = layouts.find(one => one.type === type);
  if (layout === undefined) throw new Error(`docs/format: there is no struct ${type}`);
  const rows = layout.members.map(({ name: member, offset, size, type: memberType, comment }) => [
    offset,
    size,
    memberType,
    name(member),
    cell(comment),
  ]);
  return [
    `\`struct ${type}\`, ${layout.size} bytes; [${layout.file.split('/ondisk/')[1]}](../../${layout.file})`,
    '',
    markdownTable(['Offset', 'Bytes', 'Type', 'Member', ''], ['---:', '---:', '---', '---', '---'], rows),
  ].join('\n');
}

/** What follows `NAME: bits(…)` in the source. */
function bitComments(file: string): ReadonlyMap<string, string> {
  const source = ondiskSources().get(`packages/core/src/ondisk/${file}`);
  if (source === undefined) throw new Error(`no source ${file}`);
  return new Map(
    [...source.matchAll(/^ {2}'?(\w+)'?: bits\([^)]*\),(?: \/\/ (.*))?$/gm)].map(([, bits = '', comment = '']) => [
      bits,
      comment,
    ]),
  );
}

const bitTables: Readonly<Record<string, readonly [ranges: Readonly<Record<string, core.BitRange>>, file: string]>> = {
  'bch_sb.flags': [core.sbBits, 'sb-bits.ts'],
  'bch_sb_field_ext.flags0': [core.sbExtBits, 'sb-bits.ts'],
  'bch_member.flags': [core.memberBits, 'member-bits.ts'],
  'bch_disk_group.flags': [DISK_GROUP, 'sb-fields/disk-groups.ts'],
  bch_sb_field_crypt: [CRYPT, 'sb-fields/crypt.ts'],
};

function bits(of: string): string {
  const found = bitTables[of];
  if (found === undefined) throw new Error(`docs/format: no bits ${of}`);
  const [ranges, file] = found;
  const comments = bitComments(file);
  return markdownTable(
    ['Word', 'Bits', 'Name', ''],
    ['---:', '---', '---', '---'],
    Object.entries(ranges).map(([bitName, { word, lo, hi }]) => [
      word,
      hi - lo === 1 ? lo : `${lo} to ${hi - 1}`,
      name(bitName),
      cell(comments.get(bitName) ?? ''),
    ]),
  );
}

type SinceRow = core.Row & { readonly since?: string };

/** Number, name, and the first of the releases 1.13, 1.36 and 1.39 that has it. */
const sinceTable = (rows: readonly SinceRow[]): string =>
  markdownTable(
    ['Number', 'Name', 'Since'],
    ['---:', '---', '---'],
    rows.map(row => [row.id, name(row.name), firstOf(row.since)]),
  );
const plainTable = (rows: readonly core.Row[]): string =>
  markdownTable(
    ['Number', 'Name'],
    ['---:', '---'],
    rows.map(row => [row.id, name(row.name)]),
  );
const hexTable = (rows: readonly core.Row[]): string =>
  markdownTable(
    ['Number', 'Name'],
    ['---', '---'],
    rows.map(row => [`0x${row.id.toString(16)}`, name(row.name)]),
  );

const tables: Readonly<Record<string, () => string>> = {
  btrees: () =>
    markdownTable(
      ['Id', 'Btree', 'Since', 'Flags', 'Key types of its leaves'],
      ['---:', '---', '---', '---', '---'],
      core.btrees.rows.map(({ id, name: btree, since, names, flags, keys, isAlloc }) => [
        id,
        name(btree) + (names?.['1.13'] === undefined ? '' : ` (1.13: ${name(names['1.13'])})`),
        since,
        [...flags, ...(isAlloc ? ['can be rebuilt'] : [])].join(', '),
        keys.map(name).join(' '),
      ]),
    ),
  'superblock sections': () =>
    markdownTable(
      ['Number', 'Section', 'Since', 'Copies'],
      ['---:', '---', '---', '---'],
      core.sbFieldIds.rows.map(row => [
        row.id,
        name(row.name),
        row.since,
        row.singleDevice ? 'differs on each device' : 'the same on all',
      ]),
    ),
  'journal entry types': () =>
    markdownTable(
      ['Number', 'Type', 'Since', 'Payload'],
      ['---:', '---', '---', '---'],
      core.jsetEntryTypes.rows.map(row => [row.id, name(row.name), row.since, row.holdsKeys ? 'keys' : '']),
    ),
  'incompat features': () =>
    markdownTable(
      ['Bit', 'Feature', 'Since', 'Set'],
      ['---:', '---', '---', '---'],
      core.incompatFeatures.rows.map(row => [
        row.id,
        name(row.name),
        row.since,
        { always: 'by every mount for writing', format: 'when formatted', use: 'when something needs it' }[row.when],
      ]),
    ),
  'compat features': () => sinceTable(core.compatFeatures.rows),
  'data types': () => sinceTable(core.dataTypes.rows),
  'checksum types': () =>
    markdownTable(
      ['Number', 'Name', 'Bytes', ''],
      ['---:', '---', '---:', '---'],
      core.checksumTypes.rows.map(row => [
        row.id,
        name(row.name),
        row.sizeBytes,
        row.isEncryption ? 'MAC over what is encrypted' : '',
      ]),
    ),
  'compression types': () => plainTable(compressionTypes.rows),
  'member states': () => sinceTable(core.memberStates.rows),
  'member errors': () => plainTable(core.memberErrorTypes.rows),
  'iops measurements': () => plainTable(core.iopsMeasurements.rows),
  'accounting types': () =>
    markdownTable(
      ['Number', 'Type', 'Since', 'Counters'],
      ['---:', '---', '---', '---:'],
      core.accountingTypes.rows.map(row => [row.id, name(row.name), row.since, row.nrCounters]),
    ),
  'extent entry types': () =>
    markdownTable(
      ['Type', 'Entry', 'u64s'],
      ['---:', '---', '---:'],
      extentEntryTypes.rows.map(row => [row.id, name(row.name), row.u64s]),
    ),
  'extent flags': () => plainTable(extentFlags.rows),
  'reconcile options': () => plainTable(reconcileOptions.rows),
  'key error reasons': () => plainTable(keyErrorReasons.rows),
  'inode fields': () =>
    markdownTable(
      ['Number', 'Field', 'Bits', 'Since'],
      ['---:', '---', '---:', '---'],
      core.inodeFields.rows.map(row => [row.id, name(row.name), row.bits, row.since]),
    ),
  'inode v2 fields': () =>
    markdownTable(
      ['Number', 'Field', 'Bits'],
      ['---:', '---', '---:'],
      core.inodeFieldsV2.rows.map(row => [row.id, name(row.name), row.bits]),
    ),
  'inode flags': () => sinceTable(core.inodeFlags.rows),
  'inode options': () => plainTable(core.inodeOptions.rows),
  'file types': () => plainTable(core.fileTypes.rows),
  'string hashes': () => plainTable(strHashTypes.rows),
  'xattr types': () =>
    markdownTable(
      ['Number', 'Type', 'Prefix'],
      ['---:', '---', '---'],
      xattrTypes.rows.map(row => [row.id, name(row.name), name(row.prefix)]),
    ),
  'quota types': () => plainTable(core.quotaTypes.rows),
  'snapshot states': () => hexTable(snapshotStates.rows),
  'snapshot flags': () => plainTable(core.snapshotFlags.rows),
  'subvolume states': () => hexTable(subvolumeStates.rows),
  'subvolume flags': () => plainTable(subvolumeFlags.rows),
  'recovery passes': () => sinceTable(core.passes.rows),
  counters: () => sinceTable(core.counters.rows),
  'fsck errors': () => sinceTable(core.fsckErrors.rows),
};

function lookUp(from: Readonly<Record<string, () => string>>, what: string, key: string): string {
  const make = from[key];
  if (make === undefined) throw new Error(`docs/format: no ${what} ${key}`);
  return make();
}

/** The anchor that GitHub makes of a heading. */
export function anchorOf(heading: string): string {
  return heading
    .toLowerCase()
    .replaceAll(/[^\w\- ]/g, '')
    .replaceAll(' ', '-');
}

/** Lines that are people's own: outside of generated regions and of code. */
function ownLines(text: string): readonly string[] {
  const lines: string[] = [];
  let isGenerated = false;
  let isCode = false;
  for (const line of text.split('\n')) {
    if (OPEN.test(line)) isGenerated = true;
    if (line.startsWith('```')) isCode = !isCode;
    if (!isGenerated && !isCode) lines.push(line);
    if (line === CLOSE) isGenerated = false;
  }
  return lines;
}

interface Described {
  readonly page: string;
  /** Of the heading, or of the one above the row of a table. */
  readonly anchor: string | undefined;
  readonly isHeading: boolean;
}

/** Headings that name something in backquotes, and rows of tables that begin with it. */
function descriptionsOf(pages: Pages): ReadonlyMap<string, readonly Described[]> {
  const found = new Map<string, Described[]>();
  for (const [page, text] of pages) {
    let anchor: string | undefined;
    for (const line of ownLines(text)) {
      const heading = /^#{2,4} (.*)$/.exec(line);
      if (heading !== null) anchor = anchorOf(heading[1]!);
      const row = /^\| (`\w+`(?:, `\w+`)*) \|/.exec(line);
      for (const [, word = ''] of (heading?.[1] ?? row?.[1] ?? '').matchAll(/`(\w+)`/g)) {
        found.set(word, [...(found.get(word) ?? []), { page, anchor, isHeading: heading !== null }]);
      }
    }
  }
  return found;
}

const link = (where: Described | undefined): string =>
  where === undefined
    ? ''
    : `[${where.page.replace('.md', '')}](${where.page}${where.anchor === undefined ? '' : `#${where.anchor}`})`;

/** Where a key type is described: under a heading rather than in a table. */
function keyTypePlace(key: string, described: ReadonlyMap<string, readonly Described[]>): Described | undefined {
  return described.get(key)?.find(({ page, isHeading }) => isHeading && KEY_TYPE_PAGES.includes(page));
}

const KEY_TYPE_PAGES = ['keys.md', 'btree-nodes.md', 'extents.md', 'files.md', 'snapshots.md', 'allocation.md'];

function index(of: string, pages: Pages, places: StructPages): string {
  const described = descriptionsOf(pages);
  switch (of) {
    case 'key types':
      return markdownTable(
        ['Number', 'Key type', 'Since', 'Described in'],
        ['---:', '---', '---', '---'],
        core.keyTypes.rows.map(row => [row.id, name(row.name), row.since, link(keyTypePlace(row.name, described))]),
      );
    case 'structs':
      return markdownTable(
        ['Struct', 'Bytes', 'Page'],
        ['---', '---:', '---'],
        layouts.map(({ type, size }) => {
          const page = places.get(type);
          return [name(type), size, page === undefined ? '' : `[${page.replace('.md', '')}](${page})`];
        }),
      );
    default:
      throw new Error(`docs/format: no index ${of}`);
  }
}

function region(kind: string, of: string, pages: Pages, places: StructPages): string {
  switch (kind) {
    case 'struct':
      return struct(of);
    case 'bits':
      return bits(of);
    case 'table':
      return lookUp(tables, 'table', of);
    case 'example':
      return lookUp(examples, 'example', of);
    case 'index':
      return index(of, pages, places);
    default:
      throw new Error(`docs/format: what is generated: ${kind}?`);
  }
}

type StructPages = ReadonlyMap<string, string>;

/** The page of each struct. @throws Error for one that is in two */
function structPages(pages: Pages): StructPages {
  const places = new Map<string, string>();
  for (const [page, text] of pages) {
    for (const line of text.split('\n')) {
      const [, kind, of = ''] = OPEN.exec(line) ?? [];
      if (kind !== 'struct') continue;
      const other = places.get(of);
      if (other !== undefined) throw new Error(`docs/format: struct ${of} is in ${other} and in ${page}`);
      places.set(of, page);
    }
  }
  return places;
}

/** The pages with every region filled in anew. @throws Error for a region that is not closed, or of something that there is not */
export function filledPages(pages: Pages): Pages {
  const places = structPages(pages);
  return new Map([...pages].map(([page, text]) => [page, filled(page, text, pages, places)]));
}

function filled(page: string, text: string, pages: Pages, places: StructPages): string {
  const lines: string[] = [];
  const all = text.split('\n');
  for (let i = 0; i < all.length; i++) {
    const line = all[i]!;
    lines.push(line);
    const [, kind, of] = OPEN.exec(line) ?? [];
    if (kind === undefined || of === undefined) continue;
    const end = all.indexOf(CLOSE, i);
    const next = all.findIndex((other, nr) => nr > i && OPEN.test(other));
    if (end < 0 || (next >= 0 && next < end)) throw new Error(`docs/format/${page}: a region has no end: ${line}`);
    lines.push('', region(kind, of, pages, places), '', CLOSE);
    i = end;
  }
  return lines.join('\n');
}

/** What the pages lack, for people. @param pages filled in */
export function formatProblems(pages: Pages): readonly string[] {
  const described = descriptionsOf(pages);
  const places = structPages(pages);
  const problems: string[] = [];
  const need = (what: string, names: readonly string[], ...on: readonly string[]) => {
    for (const one of names) {
      const places = described.get(one) ?? [];
      if (places.some(({ page }) => on.includes(page))) continue;
      problems.push(`${what} ${one} has neither a heading nor a row of its own in docs/format/${on.join(', ')}`);
    }
  };
  const names = (of: core.Table<core.Row>) => of.rows.map(row => row.name);
  for (const one of names(core.keyTypes)) {
    if (keyTypePlace(one, described) === undefined) {
      problems.push(`key type ${one} has no heading in docs/format/${KEY_TYPE_PAGES.join(', ')}`);
    }
  }
  need('btree', names(core.btrees), 'btrees.md');
  need('superblock section', names(core.sbFieldIds), 'superblock-sections.md');
  need('journal entry type', names(core.jsetEntryTypes), 'journal.md');
  need('extent entry type', names(extentEntryTypes), 'extents.md');
  need('accounting type', names(core.accountingTypes), 'allocation.md');
  need('data type', names(core.dataTypes), 'allocation.md');
  need('metadata version', names(core.versions), 'versions.md');
  for (const { type } of layouts as readonly LayoutDoc[]) {
    if (!places.has(type)) problems.push(`struct ${type} is in no page: <!-- generated: struct ${type} -->`);
  }
  for (const example of Object.keys(examples)) {
    const isShown = [...pages.values()].some(text => text.includes(`<!-- generated: example ${example} -->`));
    if (!isShown) problems.push(`the worked example ${example} is in no page`);
  }
  const index = pages.get('README.md') ?? '';
  for (const page of pages.keys()) {
    if (page !== 'README.md' && !index.includes(`](${page})`))
      problems.push(`docs/format/README.md does not lead to ${page}`);
  }
  return [...problems, ...brokenLinks(pages)];
}

function brokenLinks(pages: Pages): readonly string[] {
  const anchors = new Map([...pages].map(([page, text]) => [page, new Set(headings(text).map(anchorOf))]));
  const problems: string[] = [];
  for (const [page, text] of pages) {
    for (const [, target = ''] of text.matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^https?:|^\.\.\//.test(target)) continue;
      const [file = '', anchor] = target.split('#');
      const known = anchors.get(file === '' ? page : file);
      if (known === undefined || (anchor !== undefined && !known.has(anchor)))
        problems.push(`docs/format/${page} leads to ${target}, which is not there`);
    }
  }
  return problems;
}

const headings = (text: string): readonly string[] =>
  [...text.matchAll(/^#{1,4} (.*)$/gm)].map(([, heading = '']) => heading);
