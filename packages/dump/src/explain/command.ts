// explain: what lies at a byte of a device. Reads only; what is damaged is reported, and explained as far as possible.

import {
  defineCommand,
  filesystemOptions,
  filesystemPositional,
  openForLooking,
  parseSize,
} from '@bcachefs-ts/command';
import {
  Explainer,
  type Explanation,
  type HexRow,
  hexRows,
  loadChecksums,
  loadCompression,
  type Region,
  readBytes,
  UsageError,
} from '@bcachefs-ts/core/engine';
import { chosenMember } from '../member.ts';
import type { Explained } from './explained.ts';
import { explanationJson } from './json.ts';
import { explanationText } from './text.ts';

/** A megabyte of hexdump is more than anybody reads. */
const HEX_BYTES_MAX = 2 ** 20;

export const explainCommand = defineCommand({
  name: 'explain',
  summary: 'Say what lies at a byte of a device',
  description:
    'Says whose byte or sector of a device this is: superblock, journal entry, btree node and key, data of which files, stripe, or nothing; and what ' +
    'the bucket around it is. Nothing is written.\n\n' +
    'OFFSET counts bytes (4096, 1M, 0x1000) or, followed by an s, sectors of 512 bytes (8s). FS is one image, or all members joined by colons: ' +
    'then --device says which one is meant. Btrees and files can only be read where the members that hold them are given.\n\n' +
    'The owner of a bucket is looked up in the backpointers btree and checked against the key. Where backpointers are wrong or do ' +
    'not account for what the bucket holds, or with --scan, all pointers of the filesystem are looked through.',
  examples: [
    { command: 'bcachefs explain disk.img 8s', does: 'Says what sector 8 is' },
    {
      command: 'bcachefs explain --hex disk.img 0x2a1000',
      does: 'Shows the bytes there with the names of their fields too',
    },
    { command: 'bcachefs explain --device=1 sda.img:sdb.img 64M', does: 'Looks at the second of two members' },
    { command: "bcachefs explain --json disk.img 20M | jq '.places[].files[].paths'", does: 'Prints whose data it is' },
  ],
  positionals: {
    fs: filesystemPositional,
    offset: { count: 'one', help: 'a byte, or a sector: 4096, 1M, 0x1000, 8s' },
  },
  options: {
    device: {
      type: 'string',
      value: 'N|PATH',
      help: 'the member that OFFSET is on, by its number or its path, when several are given',
    },
    hex: { type: 'flag', help: 'show the bytes from there on, with the names and values of their fields' },
    length: {
      type: 'size',
      value: 'BYTES',
      default: 256,
      needs: ['hex'],
      help: 'how many bytes --hex shows',
    },
    scan: { type: 'flag', help: 'look through all pointers, whatever backpointers say' },
    ...filesystemOptions,
  },
  async run(context, args): Promise<Explained> {
    const offset = parseOffset(args.offset);
    if (args.length < 1 || args.length > HEX_BYTES_MAX) {
      throw new UsageError(`${args.length} bytes, expected 1 to ${HEX_BYTES_MAX}`, '--length');
    }
    await loadChecksums();
    await loadCompression();
    const filesystem = await openForLooking(context, { ...args, devices: [args.fs] });
    try {
      const dev = chosenMember(filesystem.set, args.device);
      const explanation = new Explainer(filesystem).explain(dev, offset, { scan: args.scan });
      for (const notice of explanation.notices) context.warn(notice);
      const region = regionOf(explanation);
      const hex = args.hex ? hexOf(filesystem.device(dev), region, offset, args.length) : undefined;
      return { explanation, context: filesystem.textContext(), hex, isDecrypted: region?.isDecrypted ?? false };
    } finally {
      filesystem.close();
    }
  },
  text: (explained, out) => out.write(explanationText(explained)),
  json: explained => explanationJson(explained),
});

/** @throws UsageError saying what was expected */
function parseOffset(text: string): number {
  const sectors = /^(\d{1,16}|0x[0-9a-f]{1,13})s$/i.exec(text);
  const offset = sectors === null ? parseSize(text) : 512 * Number(sectors[1]);
  if (!Number.isSafeInteger(offset)) throw new UsageError(`'${text}' is too large, expected an offset below 2^53`);
  return offset;
}

function regionOf({ places, leftovers }: Explanation): Region | undefined {
  for (const place of [...places, ...leftovers]) {
    if ('region' in place && place.region !== undefined) return place.region;
  }
  return undefined;
}

/** From the start of the field that the byte is in, so that it has its name; data from the byte itself. */
function hexOf(
  device: Parameters<typeof readBytes>[0] | undefined,
  region: Region | undefined,
  offset: number,
  length: number,
): readonly HexRow[] {
  if (device === undefined) return [];
  const end = Math.min(offset + length, device.sizeBytes);
  const isInside = region !== undefined && offset < region.at + region.bytes.length;
  if (!isInside) return [...hexRows(readBytes(device, offset, end - offset), offset)];
  const last = Math.min(end, region.at + region.bytes.length);
  const bytes = region.bytes.subarray(offset - region.at, last - region.at);
  return [...hexRows(bytes, offset, region.annotations(offset, last))];
}
