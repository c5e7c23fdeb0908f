// The table of partition tables. A DOS table has only 0x55aa for a magic, which boot sectors of FAT, NTFS and exFAT have too.

import { isPowerOfTwo } from '../util/sizes.ts';
import { isBitLockerToGo, isFat } from './filesystems.ts';
import { fromStart, hex, type SignaturePlace, type SignatureRow, type Superblock, text } from './signature.ts';

const SECTOR_SIZES = [512, 4096];
const lastSector =
  (sectorBytes: number): SignaturePlace =>
  ({ sizeBytes }) =>
    (Math.floor(sizeBytes / sectorBytes) - 1) * sectorBytes;

/** Offsets of the four entries, 16 bytes each: boot indicator, CHS start, type, CHS end, start, length. */
const DOS_ENTRIES = [446, 462, 478, 494];
const GPT_PROTECTIVE = 0xee;

export const PARTITION_TABLES: readonly SignatureRow[] = [
  {
    kind: 'partition-table',
    name: 'gpt',
    // Made on a disk with other sectors, it is found all the same: images get copied.
    places: [...SECTOR_SIZES.map(fromStart), ...SECTOR_SIZES.map(lastSector)],
    magics: [text('EFI PART')],
    check: sb => sb.le32(12) >= 92 && sb.le32(12) <= 4096,
    details: sb => ({ uuid: sb.guid(56) }),
  },
  {
    // The table beside a GPT that keeps old tools away.
    kind: 'partition-table',
    name: 'PMBR',
    places: [fromStart(0)],
    magics: [hex('55aa', 510)],
    check: sb => isDosTable(sb) && DOS_ENTRIES.some(entry => sb.u8(entry + 4) === GPT_PROTECTIVE),
  },
  {
    kind: 'partition-table',
    name: 'dos',
    places: [fromStart(0)],
    magics: [hex('55aa', 510)],
    check: sb => isDosTable(sb) && DOS_ENTRIES.every(entry => sb.u8(entry + 4) !== GPT_PROTECTIVE),
    details: sb => ({ uuid: sb.le32(440) === 0 ? undefined : sb.le32(440).toString(16).padStart(8, '0') }),
  },
  {
    kind: 'partition-table',
    name: 'bsd',
    places: [fromStart(0), fromStart(64), fromStart(512)],
    magics: [hex('57455682')],
    check: sb => sb.has(hex('57455682', 132)), // once more after the geometry
  },
  {
    kind: 'partition-table',
    name: 'mac',
    places: [fromStart(0)],
    magics: [text('ER')],
    superblockBytes: 4096 + 2,
    check: sb => isPowerOfTwo(sb.be16(2)) && sb.be16(2) >= 512 && sb.be16(2) <= 4096 && sb.has(text('PM', sb.be16(2))),
  },
  {
    kind: 'partition-table',
    name: 'sun',
    places: [fromStart(0)],
    magics: [hex('dabe', 508)],
    check: sb => Array.from({ length: 256 }, (_, i) => sb.be16(2 * i)).reduce((sum, word) => sum ^ word, 0) === 0,
  },
  { kind: 'partition-table', name: 'sgi', places: [fromStart(0)], magics: [hex('0be5a941')] },
  {
    kind: 'partition-table',
    name: 'amiga',
    places: Array.from({ length: 16 }, (_, sector) => fromStart(sector * 512)),
    magics: [text('RDSK')],
    check: sb => sb.be32(4) >= 16 && sb.be32(4) <= 128, // length in 32-bit words
  },
  { kind: 'partition-table', name: 'aix', places: [fromStart(0)], magics: [hex('c9c2d4c1')] },
];

function isDosTable(sb: Superblock): boolean {
  const isBootSector =
    ['NTFS    ', 'EXFAT   ', '-FVE-FS-'].some(name => sb.has(text(name, 3))) || isFat(sb) || isBitLockerToGo(sb);
  return !isBootSector && DOS_ENTRIES.every(entry => sb.u8(entry) === 0 || sb.u8(entry) === 0x80);
}
