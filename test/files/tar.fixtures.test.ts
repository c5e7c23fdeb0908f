// The archive of every reference image that has a manifest, read back by Python's tarfile and held to the manifest that the real kernel gave:
// every path but sockets, with type, mode, owners, size, times, targets, hard links, attributes, ACLs, device numbers, contents and holes.

import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { run } from '../support/cli.ts';
import { fixture, fixtureNames, someFixtures, whyNoFixtures } from '../support/fixtures.ts';
import { readTar, type TarMember, timeNs, whyNoPython } from '../support/read-tar.ts';

const whyNot = whyNoFixtures ?? whyNoPython;
if (whyNot !== undefined) console.warn(`archives of fixtures skipped: ${whyNot}`);

interface ManifestEntry {
  readonly path?: string;
  readonly path_b64?: string;
  readonly type: string;
  readonly ino: string | number;
  readonly subvol?: number;
  readonly mode: string;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  readonly mtime_ns?: string | number;
  readonly nlink?: number;
  readonly target?: string;
  readonly target_b64?: string;
  readonly rdev?: readonly [number, number];
  readonly xattrs?: Readonly<Record<string, string>>;
  readonly sha256?: string;
  readonly sha256_data?: string;
  readonly data?: readonly (readonly [number, number])[];
}

const base64 = (text: string): string => Buffer.from(text).toString('base64');
const pathOf = (entry: ManifestEntry): string => entry.path_b64 ?? base64(entry.path ?? '');

const hasManifest = (name: string): boolean => {
  try {
    fixture(name).readText('manifest.json');
    return true;
  } catch {
    return false;
  }
};

const names = whyNot === undefined ? someFixtures('reference images archived', fixtureNames().filter(hasManifest)) : [];

/** Archives an image and reads it back. @param absent the index of a device that is left out */
async function archived(name: string, absent?: number) {
  const image = fixture(name);
  const scratch = mkdtempSync(path.join(tmpdir(), 'bcachefs-ts-tar-'));
  try {
    mkdirSync(scratch, { recursive: true });
    const file = path.join(scratch, 'out.tar');
    const devices = image.images.filter((_, nr) => nr !== absent).join(':');
    const env = image.json.passphrase ? { BCACHEFS_PASSPHRASE: image.json.passphrase } : {};
    const result = await run('tar', ['--json', '--degraded', '--output', file, devices], { env });
    const sizeBytes = statSync(file, { throwIfNoEntry: false })?.size ?? 0;
    return { ...result, sizeBytes, members: readTar(file), manifest: image.readManifest<ManifestEntry>() };
  } finally {
    rmSync(scratch, { recursive: true });
  }
}

/** The text of an ACL from its bytes in the manifest, by a way of its own. */
function aclOf(value: string): string {
  const bytes = Buffer.from(value, 'base64');
  const words: Record<number, string> = { 1: 'user', 2: 'user', 4: 'group', 8: 'group', 16: 'mask', 32: 'other' };
  const entries: string[] = [];
  for (let at = 4; at < bytes.length; at += 8) {
    const [tag, perm, id] = [bytes.readUInt16LE(at), bytes.readUInt16LE(at + 2), bytes.readUInt32LE(at + 4)];
    const bits = [...'rwx'].map((letter, i) => (perm & (4 >> i) ? letter : '-')).join('');
    entries.push(`${words[tag]}:${tag === 2 || tag === 8 ? id : ''}:${bits}`);
  }
  return entries.join(',');
}

/** Holes at the granularity of pages, which is what manifests have. */
function pages(segments: readonly (readonly [number, number])[], size: number): number[][] {
  const merged: number[][] = [];
  for (const [offset, length] of segments) {
    if (length === 0) continue;
    const [from, to] = [Math.floor(offset / 4096) * 4096, Math.min(Math.ceil((offset + length) / 4096) * 4096, size)];
    const last = merged.at(-1);
    if (last !== undefined && last[1]! >= from) last[1] = to;
    else merged.push([from, to]);
  }
  return merged;
}

function expectedOf(entry: ManifestEntry, name: string): Record<string, unknown> {
  const { type, mode, uid, gid, size, mtime_ns, rdev, sha256, sha256_data, data } = entry;
  const xattrs = Object.entries(entry.xattrs ?? {}).filter(([key]) => !/^bcachefs(_effective)?\./.test(key));
  const isAcl = ([key]: readonly [string, string]) => key.startsWith('system.posix_acl_');
  return {
    type,
    mode: Number.parseInt(mode, 8),
    uid,
    gid,
    // Changed after the manifest was taken.
    mtime: mtime_ns === undefined || name === 'nocow' ? undefined : BigInt(mtime_ns),
    size: type === 'reg' ? size : undefined,
    target: type === 'lnk' ? (entry.target_b64 ?? base64(entry.target ?? '')) : undefined,
    rdev,
    xattrs: Object.fromEntries(xattrs.filter(one => !isAcl(one))),
    acls: Object.fromEntries(
      xattrs.filter(isAcl).map(([key, value]) => [key.slice('system.posix_acl_'.length), aclOf(value)]),
    ),
    sha256,
    sha256_data,
    data: data === undefined ? undefined : pages(data, size),
  };
}

function foundOf(member: TarMember, entry: ManifestEntry, name: string): Record<string, unknown> {
  const { type, mode, uid, gid, mtime, size, rdev, xattrs, acls, sha256, sha256_data, sparse } = member;
  return {
    type,
    mode,
    uid,
    gid,
    mtime: entry.mtime_ns === undefined || name === 'nocow' ? undefined : timeNs(mtime),
    size: type === 'reg' ? size : undefined,
    target: type === 'lnk' ? member.target_b64 : undefined,
    rdev: entry.rdev === undefined ? undefined : rdev,
    xattrs,
    acls,
    sha256: entry.sha256 === undefined ? undefined : sha256,
    sha256_data: entry.sha256_data === undefined ? undefined : sha256_data,
    data: entry.data === undefined ? undefined : pages(sparse ?? [[0, size]], size),
  };
}

function compare(name: string, members: readonly TarMember[], manifest: readonly ManifestEntry[]): void {
  const byPath = new Map(members.map(member => [member.path_b64, member]));
  expect(byPath.size).toBe(members.length);
  const entries = manifest.filter(({ type }) => type !== 'sock');
  expect([...byPath.keys()].toSorted()).toEqual(entries.map(pathOf).toSorted());
  const inode = ({ subvol, ino }: ManifestEntry) => `${subvol}:${ino}`;
  const entryAt = new Map(entries.map(entry => [pathOf(entry), entry]));
  const found: Record<string, unknown> = {};
  const expected: Record<string, unknown> = {};
  /** Inodes that have come: each comes once with its data, and then as links. */
  const come = new Map<string, string>();
  for (const member of members) {
    const entry = entryAt.get(member.path_b64)!;
    const at = Buffer.from(member.path_b64, 'base64').toString('latin1');
    if (entry.type !== 'dir' && (entry.nlink ?? 1) > 1) {
      const first = come.get(inode(entry));
      if (first === undefined) come.set(inode(entry), member.path_b64);
      else {
        expected[at] = { type: 'link', to: first };
        found[at] = { type: member.type, to: member.target_b64 };
        continue;
      }
    }
    expected[at] = expectedOf(entry, name);
    found[at] = foundOf(member, entry, name);
  }
  expect(found).toEqual(expected);
}

/** A device of the stripes that can be missing. */
const absentDevice: Readonly<Record<string, number>> = { 'ec-1.39': 2 };

describe.skipIf(whyNot !== undefined)('the archive of a reference image', () => {
  test.each(names.filter(name => !name.startsWith('dmg-')))('%s is what its manifest says', async name => {
    const { exitCode, stdout, stderr, sizeBytes, members, manifest } = await archived(name);
    compare(name, members, manifest);
    const sockets = manifest.filter(({ type }) => type === 'sock').length;
    expect([exitCode, JSON.parse(stdout).left_out.length]).toEqual([sockets > 0 ? 1 : 0, sockets]);
    // A member that was away for a while is reported as well, and a first superblock that is of no use.
    const others = /has an older superblock|the superblock at sector 8 cannot be used/;
    const reported = stderr.split('\n').filter(line => line !== '' && !others.test(line));
    expect(reported).toHaveLength(sockets);
    expect(others.test(stderr)).toBe(/^sb-(head|primary)-|^multi3-stale$/.test(name));
    expect(sizeBytes % 10_240).toBe(0);
  });

  test.each(Object.entries(absentDevice))('%s without device %i', async (name, absent) => {
    const { exitCode, members, manifest } = await archived(name, absent);
    compare(name, members, manifest);
    expect(exitCode).toBe(manifest.some(({ type }) => type === 'sock') ? 1 : 0);
  });

  test('dmg-data-csum: what is lost is zeroes, the rest is right, and it is said', async () => {
    const { exitCode, stdout, stderr, members, manifest } = await archived('dmg-data-csum');
    const { damaged } = JSON.parse(stdout) as { damaged: { path: string; lost_bytes: number }[] };
    expect(exitCode).toBe(1);
    expect(damaged.length).toBeGreaterThan(0);
    const paths = damaged.map(one => base64(one.path));
    for (const one of damaged) expect(stderr).toContain(`/${one.path}, bytes `);
    const at = new Map(members.map(member => [member.path_b64, member]));
    let [same, other] = [0, 0];
    for (const entry of manifest) {
      const member = at.get(pathOf(entry));
      if (entry.type !== 'reg' || member?.type !== 'reg') continue;
      expect(member.size).toBe(entry.size);
      if (paths.includes(pathOf(entry))) {
        other++;
        expect(member.sha256).not.toBe(entry.sha256);
      } else {
        same++;
        expect(member.sha256).toBe(entry.sha256);
      }
    }
    expect(other).toBe(damaged.length);
    expect(same).toBeGreaterThan(3);
  });

  test.each(names.filter(name => name.startsWith('dmg-') && name !== 'dmg-root' && name !== 'dmg-data-csum'))(
    '%s: whatever is left makes a whole archive',
    async name => {
      const { exitCode, stdout, members } = await archived(name);
      const { totals, problems } = JSON.parse(stdout);
      expect(exitCode).toBe(problems > 0 ? 1 : 0);
      const { directories, files, links, symlinks, special } = totals;
      expect(members).toHaveLength(directories + files + links + symlinks + special);
    },
  );

  test('dmg-root: without a root there is no archive, and nothing is left behind', async () => {
    const scratch = mkdtempSync(path.join(tmpdir(), 'bcachefs-ts-tar-'));
    try {
      const file = path.join(scratch, 'out.tar');
      const { exitCode } = await run('tar', ['--output', file, fixture('dmg-root').images.join(':')]);
      expect(exitCode).toBe(3);
      expect(() => readFileSync(file)).toThrow('ENOENT');
    } finally {
      rmSync(scratch, { recursive: true });
    }
  });
});
