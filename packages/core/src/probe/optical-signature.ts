// ISO 9660 and UDF share the volume recognition area: descriptors of 2048 bytes (UDF: of its block size, if larger) from 32 KiB on,
// each with five letters that say what it belongs to. A disc may be both.

import type { ByteRange } from '../device/block-device.ts';
import {
  type Details,
  type ProbeReader,
  printable,
  type Signature,
  type Superblock,
  signature,
  text,
} from './signature.ts';

const AREA_AT = 32 * 1024;
const MAX_DESCRIPTORS = 64;
const ISO_LETTERS = text('CD001', 1);
const HIGH_SIERRA_LETTERS = text('CDROM', 9);
const UDF_LETTERS = ['BEA01', 'NSR02', 'NSR03', 'TEA01', 'BOOT2', 'CDW02'].map(letters => text(letters, 1));
const UDF_MARKS = ['NSR02', 'NSR03'].map(letters => text(letters, 1));

export function findOptical(reader: ProbeReader): Signature[] {
  const iso: Superblock[] = [];
  const udf: Superblock[] = [];
  for (let i = 0; i < MAX_DESCRIPTORS; i++) {
    const descriptor = reader.superblock(AREA_AT + i * 2048, 1024);
    if (descriptor === undefined) break;
    if (descriptor.has(ISO_LETTERS) || descriptor.has(HIGH_SIERRA_LETTERS)) iso.push(descriptor);
    if (UDF_LETTERS.some(letters => descriptor.has(letters))) udf.push(descriptor);
  }

  const found: Signature[] = [];
  if (iso[0]?.offset === AREA_AT) {
    found.push(
      signature('filesystem', 'iso9660', { label: iso[0].text(40, 32), uuid: isoDate(iso[0]) }, iso.map(lettersAt)),
    );
  }
  if (udf.some(descriptor => UDF_MARKS.some(mark => descriptor.has(mark)))) {
    found.push(signature('filesystem', 'udf', udfNames(reader), udf.map(lettersAt)));
  }
  return found;
}

/** When the disc was made, the nearest thing that it has to an identity: `2026-11-23-16-53-56-00`. */
function isoDate(primary: Superblock): string | undefined {
  const digits = primary.text(813, 16) ?? '';
  return /^(?!0{16})(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)$/.exec(digits)?.slice(1).join('-');
}

/**
 * Label and volume set name from the volume descriptors, to which an anchor in block 256 leads. The block size follows from
 * where the anchor is.
 */
function udfNames(reader: ProbeReader): Details {
  for (const blockBytes of [2048, 512, 1024, 4096]) {
    const anchor = reader.superblock(256 * blockBytes, 512);
    if (anchor === undefined || anchor.le16(0) !== UDF_ANCHOR || anchor.le32(12) !== 256) continue;
    const first = anchor.le32(20);
    const count = Math.min(anchor.le32(16) / blockBytes, MAX_DESCRIPTORS);
    let names: { label?: string | undefined; uuid?: string | undefined } = {};
    for (let i = 0; i < count; i++) {
      const descriptor = reader.superblock((first + i) * blockBytes, 512);
      if (descriptor === undefined) break;
      if (descriptor.le16(0) === UDF_PRIMARY) {
        names = { ...names, uuid: /^[0-9a-f]{16}/i.exec(udfText(descriptor, 72, 128) ?? '')?.[0]?.toLowerCase() };
      }
      if (descriptor.le16(0) === UDF_LOGICAL_VOLUME) names = { ...names, label: udfText(descriptor, 84, 128) };
    }
    return names;
  }
  return {};
}

const UDF_PRIMARY = 1;
const UDF_ANCHOR = 2;
const UDF_LOGICAL_VOLUME = 6;

/** A dstring: 8 or 16 bits a character, its length in the last byte. */
function udfText(descriptor: Superblock, at: number, length: number): string | undefined {
  const bitsPerChar = descriptor.u8(at);
  const used = Math.min(descriptor.u8(at + length - 1), length - 1) - 1;
  if (used < 1) return undefined;
  if (bitsPerChar === 8) return printable(String.fromCharCode(...descriptor.bytes.subarray(at + 1, at + 1 + used)));
  const words = Array.from({ length: Math.floor(used / 2) }, (_, i) => descriptor.be16(at + 1 + 2 * i));
  return bitsPerChar === 16 ? printable(String.fromCharCode(...words)) : undefined;
}

function lettersAt(descriptor: Superblock): ByteRange {
  return { offset: descriptor.offset + (descriptor.has(HIGH_SIERRA_LETTERS) ? 9 : 1), length: 5 };
}
