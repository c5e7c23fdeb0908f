// What of the superblocks a byte is: the layout block at sector 7, and the copies at the places that it and the superblock name.

import { type BlockDevice, readBytes } from '../device/block-device.ts';
import { CorruptError, DeviceError, IncompatibleError } from '../ondisk/errors.ts';
import { type AnyLayout, viewOf } from '../ondisk/layout.ts';
import { sbFieldIds } from '../ondisk/sb-field-ids.ts';
import { BchSbClean } from '../ondisk/sb-fields/clean.ts';
import { JournalRange } from '../ondisk/sb-fields/journal.ts';
import { BchMember } from '../ondisk/sb-fields/members.ts';
import {
  BchSb,
  BchSbField,
  BchSbLayout,
  hasSuperblockMagic,
  SB_LAYOUT_SECTOR,
  superblockBytes,
  superblockMaxBytes,
} from '../ondisk/superblock.ts';
import type { OpenMember } from '../superblock/member-set.ts';
import { readLayout, readSuperblockAt } from '../superblock/read.ts';
import { SECTOR_BYTES, sectorsToBytes } from '../util/sizes.ts';
import { type Annotation, annotateLayout, annotationAt } from './annotate.ts';
import type { LayoutPlace, Region, SuperblockPlace } from './explanation.ts';
import { annotateSubEntries } from './jset-annotations.ts';

const LAYOUT_AT = sectorsToBytes(SB_LAYOUT_SECTOR);

export function layoutPlaceAt(device: BlockDevice, offset: number): LayoutPlace | undefined {
  if (offset < LAYOUT_AT || offset >= LAYOUT_AT + BchSbLayout.size) return undefined;
  const bytes = readBytes(device, LAYOUT_AT, BchSbLayout.size);
  const region: Region = {
    at: LAYOUT_AT,
    bytes,
    isDecrypted: false,
    annotations: () => annotateLayout(BchSbLayout, viewOf(bytes), 0, LAYOUT_AT),
  };
  return { kind: 'layout', field: fieldAt(region, offset), region };
}

export function superblockPlaceAt(member: OpenMember, offset: number): SuperblockPlace | undefined {
  const { device, sb, reading } = member;
  const listed = listedSectors(member);
  const sectors = listed.includes(reading.sector) ? listed : [...listed, reading.sector];
  const roomBytes = superblockMaxBytes(sb);
  for (const sector of sectors) {
    const at = sectorsToBytes(sector);
    if (!Number.isSafeInteger(at) || offset < at || offset >= at + roomBytes || at + BchSb.size > device.sizeBytes) {
      continue;
    }
    const index = listed.indexOf(sector);
    const bytes = readBytes(device, at, Math.min(lengthAt(device, at, roomBytes), device.sizeBytes - at));
    const region: Region = {
      at,
      bytes,
      isDecrypted: false,
      annotations: (first, last) => annotateSuperblock(bytes, at, { first, last }),
    };
    return {
      kind: 'superblock',
      copy: index < 0 ? undefined : index,
      copies: listed.length,
      sector,
      ...verdictOf(device, sector),
      isPastEnd: offset >= at + bytes.length,
      field: offset < at + bytes.length ? fieldAt(region, offset) : undefined,
      region,
    };
  }
  return undefined;
}

const fieldAt = (region: Region, offset: number): Annotation | undefined =>
  annotationAt(region.annotations(offset, offset + 1), offset);

/** The layout block counts; where it is damaged, the superblock's own copy of it. */
function listedSectors({ device, sb }: OpenMember): readonly number[] {
  let { layout } = sb;
  try {
    layout = readLayout(device);
  } catch (thrown) {
    if (!(thrown instanceof CorruptError || thrown instanceof DeviceError)) throw thrown;
  }
  return layout.sb_offset.slice(0, layout.nr_superblocks).map(Number);
}

/** As long as it says that it is; the fixed part where it cannot say. */
function lengthAt(device: BlockDevice, at: number, roomBytes: number): number {
  const view = viewOf(readBytes(device, at, BchSb.size));
  const claimed = hasSuperblockMagic(view, 0) ? superblockBytes(view, 0) : BchSb.size;
  return claimed <= roomBytes ? claimed : BchSb.size;
}

function verdictOf(
  device: BlockDevice,
  sector: number,
): { readonly seq: number | undefined; readonly problem: string | undefined } {
  try {
    const { sb, problems } = readSuperblockAt(device, sector, 'layout');
    return { seq: sb.seq, problem: problems[0]?.detail };
  } catch (thrown) {
    if (
      thrown instanceof CorruptError ||
      thrown instanceof IncompatibleError ||
      (thrown instanceof DeviceError && thrown.kind !== 'busy')
    ) {
      return { seq: undefined, problem: thrown.detail };
    }
    throw thrown;
  }
}

interface Range {
  readonly first: number;
  readonly last: number;
}

function* annotateSuperblock(bytes: Uint8Array, base: number, range: Range): Generator<Annotation> {
  if (bytes.length < BchSb.size) return;
  const view = viewOf(bytes);
  if (range.first < base + BchSb.size) yield* annotateLayout(BchSb, view, 0, base);
  for (let at = BchSb.size; at + BchSbField.size <= bytes.length; ) {
    const { u64s, type } = BchSbField.get(view, at);
    const end = at + 8 * u64s;
    if (u64s === 0 || end > bytes.length) return;
    if (base + end > range.first && base + at < range.last) {
      const name = sbFieldIds.nameOf(type);
      yield* annotateLayout(BchSbField, view, at, base + at, `${name}.`);
      const payload = bytes.subarray(at + BchSbField.size, end);
      yield* annotateSection(name, payload, base + at + BchSbField.size, range);
    }
    at = end;
  }
}

/** Sections of structs and sub-entries have names for all of their bytes, the others for themselves. */
function* annotateSection(name: string, payload: Uint8Array, base: number, range: Range): Generator<Annotation> {
  const view = viewOf(payload);
  switch (name) {
    case 'members_v1':
      yield* annotateRows(name, BchMember, 56, payload, base, range);
      return;
    case 'members_v2': {
      if (payload.length < 8) return;
      yield { at: base, lengthBytes: 2, name: `${name}.member_bytes`, value: String(view.getUint16(0, true)) };
      yield* annotateRows(name, BchMember, view.getUint16(0, true), payload.subarray(8), base + 8, range);
      return;
    }
    case 'journal_v2':
      yield* annotateRows(name, JournalRange, JournalRange.size, payload, base, range);
      return;
    case 'clean':
      if (payload.length < BchSbClean.size) return;
      yield* annotateLayout(BchSbClean, view, 0, base, `${name}.`);
      yield* annotateSubEntries(payload, BchSbClean.size, base, range, `${name}, `);
      return;
    default:
      if (payload.length > 0) yield { at: base, lengthBytes: payload.length, name: `${name}`, value: undefined };
  }
}

/** Rows of one struct; rows may be shorter than it, from when it had fewer members, or longer. */
function* annotateRows(
  name: string,
  layout: AnyLayout,
  rowBytes: number,
  source: Uint8Array,
  base: number,
  { first, last }: Range,
): Generator<Annotation> {
  if (rowBytes === 0) return;
  for (let nr = 0; (nr + 1) * rowBytes <= source.length; nr++) {
    const at = nr * rowBytes;
    if (base + at + rowBytes <= first || base + at >= last) continue;
    const row = new Uint8Array(Math.max(layout.size, rowBytes));
    row.set(source.subarray(at, at + rowBytes));
    for (const one of annotateLayout(layout, viewOf(row), 0, base + at, `${name}[${nr}].`)) {
      if (one.at + one.lengthBytes <= base + at + rowBytes) yield one;
    }
  }
}

/** Whole sectors around a byte, as far as the device goes. */
export function sectorAround(device: BlockDevice, offset: number): Uint8Array {
  const at = offset - (offset % SECTOR_BYTES);
  return readBytes(device, at, Math.min(SECTOR_BYTES, device.sizeBytes - at));
}
