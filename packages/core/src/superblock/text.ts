// A whole superblock as text, word for word as the reference's show-super prints it: v1.36.1 for filesystems up to metadata version
// 1.36, v1.39.2 above. Differences, all of them where the reference fails or prints nothing: a section that cannot be taken apart is
// said to be damaged and the rest goes on, bits and sections without a name appear as `unknown(37)`, control characters in names are
// escaped. Mirrors bch2_sb_to_text (sb/io.c) and cmd_show_super (c_src/cmd_super.c).

import { getBits } from '../ondisk/bits.ts';
import { CorruptError } from '../ondisk/errors.ts';
import { compatFeatures, incompatFeatures } from '../ondisk/features.ts';
import { optionFromSuperblock, optionToText } from '../ondisk/option-values.ts';
import { shownOptions } from '../ondisk/options.ts';
import { releaseForVersion } from '../ondisk/releases.ts';
import { sbBits } from '../ondisk/sb-bits.ts';
import { type SbFieldName, sbFieldIds } from '../ondisk/sb-field-ids.ts';
import { targetText } from '../ondisk/sb-fields/disk-groups.ts';
import { extFlags0 } from '../ondisk/sb-fields/ext.ts';
import { flagNames } from '../ondisk/sb-fields/flags.ts';
import { sbFieldKind } from '../ondisk/sb-fields/index.ts';
import type { SbTextContext } from '../ondisk/sb-fields/kind.ts';
import { decodeMembersV1, decodeMembersV2, type Member, memberAlive, members } from '../ondisk/sb-fields/members.ts';
import { memberSurroundings, memberText } from '../ondisk/sb-fields/members-field.ts';
import { fixedOnRead } from '../ondisk/sb-fixups.ts';
import {
  BchSb,
  type BchSbLayout,
  fsLabelText,
  type SbSection,
  type Superblock,
  sectionPayload,
  superblockMaxBytes,
} from '../ondisk/superblock.ts';
import { versionText } from '../ondisk/versions.ts';
import { printable } from '../util/byte-text.ts';
import { humanText } from '../util/human.ts';
import { PrintBuffer } from '../util/print-buffer.ts';
import { dateTimeText } from '../util/time.ts';

export interface SuperblockTextOptions {
  /** Print the layout block too. */
  readonly layout?: boolean;
  /** Which sections to print; the usual ones are ext, errors and the members. Members come last whatever the order on disk. */
  readonly fields?: readonly SbFieldName[] | 'all';
  /** Print nothing but this section, without a heading. */
  readonly fieldOnly?: SbFieldName;
  /** What to call a member: a path where it is known. */
  readonly memberName?: (index: number) => string | undefined;
  /** Seconds since 1970 as text; the local time is usual. */
  readonly dateTime?: (seconds: number | bigint) => string;
  readonly style?: '1.36' | '1.39';
}

/** Column of the values, plus one: what `External UUID:` and the like are padded to. */
const VALUE_COLUMN = 44;
/** The same where a section is printed alone. */
const FIELD_ONLY_COLUMN = 32;

const NANOSECONDS_PER_SECOND = 1_000_000_000n;

/** The whole text; it ends with a newline unless the reference's does not. */
export function superblockText(sb: Superblock, options: SuperblockTextOptions = {}): string {
  const style = options.style ?? (releaseForVersion(sb.version) === '1.39' ? '1.39' : '1.36');
  const context: SbTextContext = {
    sb: fixedOnRead(sb, style),
    style,
    memberName: options.memberName ?? (() => undefined),
    dateTime: options.dateTime ?? dateTimeText,
  };
  const out = new PrintBuffer();
  if (options.fieldOnly !== undefined) {
    const type = sbFieldIds.idOf(options.fieldOnly);
    const section = sb.sections.find(candidate => candidate.type === type);
    out.pushTabStop(FIELD_ONLY_COLUMN);
    if (section !== undefined) sectionBody(out, section, context);
    return out.toString();
  }

  out.pushTabStop(VALUE_COLUMN);
  headerText(out, context);
  optionsText(out, context);
  if (options.layout) {
    out.print('\nlayout:\n');
    out.indented(() => layoutText(out, sb.layout, style));
  }
  const wanted = wantedSections(sb, options.fields);
  for (const section of sb.sections) {
    if (!wanted(section.type) || isMembers(section.type)) continue;
    out.newline();
    sectionText(out, section, context);
  }
  for (const name of ['members_v1', 'members_v2'] as const) {
    if (wanted(sbFieldIds.idOf(name))) membersText(out, name, context);
  }
  return out.toString();
}

const MEMBERS_V1 = sbFieldIds.idOf('members_v1');
const MEMBERS_V2 = sbFieldIds.idOf('members_v2');
const isMembers = (type: number) => type === MEMBERS_V1 || type === MEMBERS_V2;

function wantedSections(sb: Superblock, fields: SuperblockTextOptions['fields']): (type: number) => boolean {
  if (fields === 'all') return () => true;
  const hasV2 = sectionPayload(sb, 'members_v2') !== undefined;
  const names = fields ?? ['ext', 'errors', hasV2 ? 'members_v2' : 'members_v1'];
  const types = new Set(names.map(name => sbFieldIds.idOf(name)));
  return type => types.has(type);
}

function headerText(out: PrintBuffer, { sb, style, dateTime }: SbTextContext): void {
  const line = (label: string, value: string | number | bigint) => out.print(`${label}:\t${value}\n`);
  const version = (value: number) => versionText(value, style);
  const names = (found: readonly string[]) => found.join(',');

  line('External UUID', sb.user_uuid);
  line('Internal UUID', sb.uuid);
  line('Magic number', sb.magic);
  line('Device index', sb.dev_idx);
  line('Label', printable(fsLabelText(sb.label)) || '(none)');
  line('Version', version(sb.version));
  line('Incompatible features allowed', version(getBits(sb.flags, sbBits.VERSION_INCOMPAT_ALLOWED)));
  line('Incompatible features in use', version(getBits(sb.flags, sbBits.VERSION_INCOMPAT)));
  line('Version upgrade complete', version(getBits(sb.flags, sbBits.VERSION_UPGRADE_COMPLETE)));
  line('Oldest version on disk', version(sb.version_min));
  line('Created', sb.time_base_lo === 0n ? '(not set)' : dateTime(sb.time_base_lo / NANOSECONDS_PER_SECOND));
  line('Sequence number', sb.seq);
  line('Time of last write', dateTime(sb.write_time));
  line('Superblock size', `${humanText(BchSb.size + 8 * sb.u64s, style)}/${humanText(superblockMaxBytes(sb), style)}`);
  line('Clean', getBits(sb.flags, sbBits.CLEAN));
  line('Devices', deviceCount(sb));
  line('Sections', names(sectionNames(sb)));
  line('Features', names(flagNames(incompatFeatures, wide(sb.features), style)));
  line('Compat features', names(flagNames(compatFeatures, wide(sb.compat), style)));
  if (style !== '1.36' && getBits(sb.flags, sbBits.DIRENTS_SANITIZED)) line('Dirents sanitized', 1);
}

const wide = (words: readonly bigint[]) => words.reduceRight((mask, word) => (mask << 64n) | word, 0n);

/** In order of their numbers, each once. */
function sectionNames(sb: Superblock): string[] {
  const types = new Set(sb.sections.map(section => section.type));
  return [...types].sort((a, b) => a - b).map(type => sbFieldIds.nameOf(type));
}

/** Members that exist; 0 when their section is damaged, which its own text says. */
function deviceCount(sb: Superblock): number {
  try {
    return members(sb).filter(memberAlive).length;
  } catch (thrown) {
    if (thrown instanceof CorruptError) return 0;
    throw thrown;
  }
}

function optionsText(out: PrintBuffer, { sb, style }: SbTextContext): void {
  out.print('\nOptions:\n');
  const flags0 = extFlags0(sb);
  out.indented(() => {
    for (const row of shownOptions(style)) {
      const value = optionFromSuperblock(row, sb, flags0, style);
      out.print(`${row.name}:\t`);
      out.print(`${optionToText(row, value, { release: style, targetText: target => targetText(sb, target) })}\n`);
    }
  });
}

/** The layout block: where the copies of the superblock are. */
function layoutText(out: PrintBuffer, layout: BchSbLayout, style: '1.36' | '1.39'): void {
  const offsets = layout.sb_offset.slice(0, layout.nr_superblocks);
  out.print(`Type:                    ${layout.layout_type}\n`);
  out.print(`Superblock max size:     ${humanText(superblockMaxBytes({ layout }), style)}\n`);
  out.print(`Nr superblocks:          ${layout.nr_superblocks}\n`);
  out.print(`Offsets:                 ${offsets.join(', ')}\n`);
}

function sectionText(out: PrintBuffer, section: SbSection, context: SbTextContext): void {
  const name = sbFieldIds.byId(section.type)?.name ?? `(unknown field ${section.type})`;
  out.print(`${name} (size ${8 + section.payload.length}):\n`);
  sectionBody(out, section, context);
}

/** A section's own lines; what cannot be taken apart is said in their place. */
function sectionBody(out: PrintBuffer, section: SbSection, context: SbTextContext): void {
  const kind = sbFieldKind(section.type);
  if (kind === undefined) return;
  try {
    kind.text(out, kind.decode(section.payload, context.sb), context);
  } catch (thrown) {
    out.print(damagedLine(thrown));
  }
}

function damagedLine(thrown: unknown): string {
  if (!(thrown instanceof CorruptError)) throw thrown;
  return `  (damaged: ${thrown.message})\n`;
}

/** Members with their names, as headings of their own. Mirrors print_one_member. */
function membersText(out: PrintBuffer, field: 'members_v1' | 'members_v2', context: SbTextContext): void {
  const payload = sectionPayload(context.sb, field);
  if (payload === undefined) return;
  let found: readonly Member[];
  try {
    const decoded = field === 'members_v1' ? decodeMembersV1(payload) : decodeMembersV2(payload);
    found = decoded.members.slice(0, context.sb.nr_devices);
  } catch (thrown) {
    out.print(`\n${field} (size ${8 + payload.length}):\n${damagedLine(thrown)}`);
    return;
  }
  const around = memberSurroundings(context.sb);
  found.forEach((member, index) => {
    if (!memberAlive(member)) return;
    out.print(`Device ${index}:\t${context.memberName(index) ?? '(not found)'}\t\n`);
    out.indented(() => memberText(out, member, index, around, context));
  });
}
