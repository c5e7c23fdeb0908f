// Looking at every inode of an ext4 filesystem of a million files, which is what a plan to migrate it and a copy of it begin with. The files
// are put into the tables of an empty filesystem, one extent each, with their checksums; making them by name would take minutes. Needs
// mke2fs (e2fsprogs).

import { spawnSync } from 'node:child_process';
import { closeSync, ftruncateSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32c, openDevice } from '@bcachefs-ts/core/engine';
import { type Ext4BlockMap, openExt4 } from '@bcachefs-ts/ext4';
import { inodeChecksum } from '../../packages/ext4/src/inode.ts';
import type { Measurement } from './measurement.ts';

const FILES = 1_000_000;
const BLOCK = 4096;
const INODE = 256;

export function bench(): Measurement[] {
  const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-bench-'));
  try {
    const image = join(folder, 'image');
    if (!makeImage(image))
      return [
        { name: `ext4 of ${FILES} files, every inode`, value: 0, unit: 's', note: 'not measured: mke2fs is not there' },
      ];
    const device = openDevice(image, { write: false });
    try {
      let [seconds, found] = [Number.POSITIVE_INFINITY, 0];
      for (let run = 0; run < 3; run++) {
        const started = process.cpuUsage();
        found = openExt4(device).usage().inodes.file;
        const { user, system } = process.cpuUsage(started);
        seconds = Math.min(seconds, (user + system) / 1e6);
      }
      if (found !== FILES) throw new Error(`${found} files, expected ${FILES}`);
      return [
        {
          name: `ext4 of ${FILES} files, every inode (processor time)`,
          value: seconds,
          unit: 's',
          aim: { atMost: 20 },
        },
        {
          name: 'peak memory',
          value: (process.resourceUsage().maxRSS * 1024) / 1e6,
          unit: 'MB',
          aim: { atMost: 400 },
        },
      ];
    } finally {
      device.close();
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** @returns whether it could be made */
function makeImage(image: string): boolean {
  const words = [
    '-q',
    '-F',
    '-t',
    'ext4',
    '-b',
    `${BLOCK}`,
    '-N',
    '1100000',
    '-O',
    '^has_journal,^resize_inode',
    image,
    '8G',
  ];
  const env = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` };
  if (
    spawnSync('mke2fs', [...words.slice(0, -2), '-E', 'lazy_itable_init=0', ...words.slice(-2)], { env }).status !== 0
  )
    return false;
  const empty = openDevice(image, { write: false });
  const used = openExt4(empty).usage().map;
  empty.close();
  const fd = openSync(image, 'r+');
  try {
    fillGroups(fd, used);
    return true;
  } finally {
    closeSync(fd);
  }
}

/** Files in every group, each with one block of the group's own free ones. */
function fillGroups(fd: number, used: Ext4BlockMap): void {
  const read = (at: number, length: number) => {
    const bytes = Buffer.alloc(length);
    readSync(fd, bytes, 0, length, at);
    return bytes;
  };
  const sb = read(1024, 1024);
  const [blocks, perGroup, inodesPerGroup] = [sb.readUInt32LE(4), sb.readUInt32LE(32), sb.readUInt32LE(40)];
  ftruncateSync(fd, blocks * BLOCK);
  const seed = crc32c(0xffff_ffff, sb.subarray(0x68, 0x78));
  const groups = Math.ceil(blocks / perGroup);
  let left = FILES;
  for (let group = 0; group < groups && left > 0; group++) {
    const at = BLOCK + 64 * group;
    const desc = read(at, 64);
    const [blockMapAt, inodeMapAt, tableAt] = [0, 4, 8].map(field => desc.readUInt32LE(field) * BLOCK) as [
      number,
      number,
      number,
    ];
    // Bitmaps of groups without files were not written.
    const blockMap = Buffer.alloc(BLOCK);
    const end = Math.min(blocks, (group + 1) * perGroup);
    for (const run of used.usedRuns(group * perGroup, end))
      for (let bit = run.block % perGroup, to = bit + run.blocks; bit < to; bit++)
        blockMap[bit >>> 3]! |= 1 << (bit & 7);
    for (let bit = end - group * perGroup; bit < perGroup; bit++) blockMap[bit >>> 3]! |= 1 << (bit & 7);
    const inodeMap =
      (desc.readUInt16LE(0x12) & 1) !== 0
        ? Buffer.alloc(BLOCK, 0xff).fill(0, 0, inodesPerGroup / 8)
        : read(inodeMapAt, BLOCK);
    const table = read(tableAt, inodesPerGroup * INODE);
    let next = 0;
    let made = 0;
    for (let nr = group === 0 ? 11 : 0; nr < inodesPerGroup && left > 0; nr++) {
      while (((blockMap[next >>> 3]! >>> (next & 7)) & 1) === 1) next++;
      if (group * perGroup + next >= blocks || next >= perGroup) break;
      blockMap[next >>> 3]! |= 1 << (next & 7);
      inodeMap[nr >>> 3]! |= 1 << (nr & 7);
      putInode(
        table.subarray(nr * INODE, (nr + 1) * INODE),
        seed,
        group * inodesPerGroup + nr + 1,
        group * perGroup + next,
      );
      made++;
      left--;
    }
    writeSync(fd, table, 0, table.length, tableAt);
    writeSync(fd, blockMap, 0, BLOCK, blockMapAt);
    writeSync(fd, inodeMap, 0, BLOCK, inodeMapAt);
    desc.writeUInt16LE(desc.readUInt16LE(0x0c) - made, 0x0c);
    desc.writeUInt16LE(desc.readUInt16LE(0x0e) - made, 0x0e);
    desc.writeUInt16LE(desc.readUInt16LE(0x12) & ~3, 0x12);
    desc.writeUInt16LE(0, 0x1c);
    const sums = [
      crc32c(seed, blockMap.subarray(0, perGroup / 8)),
      crc32c(seed, inodeMap.subarray(0, inodesPerGroup / 8)),
    ];
    for (const [i, sum] of sums.entries()) {
      desc.writeUInt16LE(sum & 0xffff, 0x18 + 2 * i);
      desc.writeUInt16LE(sum >>> 16, 0x38 + 2 * i);
    }
    desc.writeUInt16LE(0, 0x1e);
    const number = Buffer.alloc(4);
    number.writeUInt32LE(group);
    desc.writeUInt16LE(crc32c(crc32c(seed, number), desc) & 0xffff, 0x1e);
    writeSync(fd, desc, 0, 64, at);
  }
  if (left > 0) throw new Error(`${left} files have found no room`);
}

function putInode(raw: Buffer, seed: number, number: number, block: number): void {
  raw.writeUInt16LE(0o100644, 0);
  raw.writeUInt32LE(100, 4);
  raw.writeUInt16LE(1, 0x1a);
  raw.writeUInt32LE(8, 0x1c);
  raw.writeUInt32LE(0x80000, 0x20);
  for (const [at, value] of [
    [0x28, 0xf30a],
    [0x2a, 1],
    [0x2c, 4],
  ] as const)
    raw.writeUInt16LE(value, at);
  raw.writeUInt16LE(1, 0x28 + 16);
  raw.writeUInt32LE(block, 0x28 + 20);
  raw.writeUInt16LE(32, 0x80);
  const { computed } = inodeChecksum(seed, number, raw);
  raw.writeUInt16LE(computed & 0xffff, 0x7c);
  raw.writeUInt16LE(computed >>> 16, 0x82);
}
