// Attributes that our engine sets, beside those that a kernel sets when it is asked for the same: default ACLs and what they hand down,
// chmod of a file with an ACL, attributes of users where Linux has none. And options for data in the background: a kernel compresses
// what a file had before.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  checkInvariants,
  compressionOptions,
  compressionTypes,
  FileEdit,
  FileError,
  type FileRef,
  FilesystemWriter,
  findingText,
  loadChecksums,
  loadCompression,
  loadCompressors,
  openDevice,
  openFilesystem,
  openMembers,
  seededRandom,
} from '@bcachefs-ts/core/engine';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { decodeExtentEntries } from '../../packages/core/src/ondisk/extent-entries.ts';
import { succeed } from '../support/cli.ts';
import { patient } from '../support/patience.ts';
import { caseNamed, compareManifests, type RunResult, resultOf, runInKernel, type Step } from './vm/index.ts';
import { kernelSuite } from './vm/suite.ts';

const text = new TextEncoder();
const ACCESS = 'system.posix_acl_access';
const DEFAULT = 'system.posix_acl_default';
const UMASK = 0o022;

/** Of the owner, user 1000, the group, the mask and others. */
const acl = (owner: number, user: number, group: number, mask: number, other: number): Uint8Array =>
  Uint8Array.of(
    ...[2, 0, 0, 0],
    ...[0x01, 0, owner, 0, 255, 255, 255, 255],
    ...[0x02, 0, user, 0, 232, 3, 0, 0],
    ...[0x04, 0, group, 0, 255, 255, 255, 255],
    ...[0x10, 0, mask, 0, 255, 255, 255, 255],
    ...[0x20, 0, other, 0, 255, 255, 255, 255],
  );
const plainAcl = (owner: number, group: number, other: number): Uint8Array =>
  Uint8Array.of(
    ...[2, 0, 0, 0],
    ...[0x01, 0, owner, 0, 255, 255, 255, 255],
    ...[0x04, 0, group, 0, 255, 255, 255, 255],
    ...[0x20, 0, other, 0, 255, 255, 255, 255],
  );

/** Done by both. */
type Deed = Extract<
  Step,
  { do: 'mkdir' | 'symlink' | 'mknod' | 'setxattr' | 'removexattr' | 'chmod' | 'subvolumeCreate' | 'write' }
>;

const file = (path: string, mode = 0o666): Deed => ({ do: 'write', path, mode, content: 'some words' });
const setAcl = (path: string, name: string, value: Uint8Array): Deed => ({ do: 'setxattr', path, name, value });
const attributes = (path: string, ...names: readonly string[]): Deed[] =>
  names.map(name => ({ do: 'setxattr', path, name, value: 'x' }));

const deeds: readonly Deed[] = [
  { do: 'mkdir', path: 'd', mode: 0o755 },
  file('d/before'),
  setAcl('d', DEFAULT, acl(7, 5, 4, 5, 0)),
  file('d/file'),
  file('d/strict', 0o600),
  { do: 'mknod', path: 'd/fifo', kind: 'fifo', mode: 0o640 },
  { do: 'mknod', path: 'd/chr', kind: 'char', mode: 0o666, rdev: [1, 3] },
  { do: 'symlink', path: 'd/link', target: 'file' },
  { do: 'mkdir', path: 'd/sub', mode: 0o777 },
  file('d/sub/file', 0o777),
  { do: 'subvolumeCreate', path: 'd/sub/volume' },
  file('d/sub/volume/file'),
  { do: 'chmod', path: 'd/sub/file', mode: 0o4721 },
  file('d/sub/chosen'),
  setAcl('d/sub/chosen', ACCESS, acl(6, 7, 0, 7, 1)),
  file('d/sub/plain'),
  setAcl('d/sub/plain', ACCESS, plainAcl(6, 4, 2)),
  { do: 'mkdir', path: 'e', mode: 0o755 },
  setAcl('e', DEFAULT, plainAcl(7, 5, 1)),
  file('e/file'),
  { do: 'mkdir', path: 'e/sub', mode: 0o777 },
  setAcl('d/sub', DEFAULT, acl(7, 7, 7, 7, 7)),
  file('d/sub/wide'),
  { do: 'removexattr', path: 'd/sub', name: DEFAULT },
  file('d/sub/after'),
  { do: 'chmod', path: 'd/sub', mode: 0o1700 },
  { do: 'subvolumeCreate', path: 'volume' },
  ...attributes('d/file', 'user.a', 'trusted.a', 'security.a'),
  ...attributes('d/link', 'trusted.a', 'security.a'),
  ...attributes('d/fifo', 'trusted.a', 'security.a'),
];

/** What Linux does not do. */
const refused = attributes('d/link', 'user.a').concat(attributes('d/fifo', 'user.a'), attributes('d/chr', 'user.a'));

class Doer {
  readonly #edit: FileEdit;

  constructor(edit: FileEdit) {
    this.#edit = edit;
  }

  do(deed: Deed): void {
    const { files, content } = this.#edit;
    const slash = deed.path.lastIndexOf('/');
    const above = (): FileRef => (slash < 0 ? files.root() : this.find(deed.path.slice(0, slash)));
    const name = text.encode(deed.path.slice(slash + 1));
    const create = (mode: number, more = {}) => files.create(above(), name, { mode, umask: UMASK, ...more });
    switch (deed.do) {
      case 'mkdir':
        create(0o040000 | (deed.mode ?? 0));
        break;
      case 'write':
        content.write(create(0o100000 | (deed.mode ?? 0)), 0, text.encode('some words'));
        break;
      case 'symlink':
        content.write(create(0o120777), 0, text.encode(deed.target));
        break;
      case 'mknod': {
        const [major, minor] = deed.rdev ?? [0, 0];
        create((deed.kind === 'fifo' ? 0o010000 : 0o020000) | (deed.mode ?? 0), { rdev: { major, minor } });
        break;
      }
      case 'subvolumeCreate':
        files.createSubvolume(above(), name);
        break;
      case 'setxattr':
        files.setXattr(
          this.find(deed.path),
          deed.name,
          typeof deed.value === 'string' ? text.encode(deed.value) : deed.value,
        );
        break;
      case 'removexattr':
        files.removeXattr(this.find(deed.path), deed.name);
        break;
      case 'chmod':
        files.setAttributes(this.find(deed.path), { mode: deed.mode });
    }
  }

  find(path: string): FileRef {
    const { files } = this.#edit;
    return path.split('/').reduce((at, name) => files.lookup(at, text.encode(name))!, files.root());
  }
}

const REBALANCED_BYTES = 2 ** 20;
/** The cookie goes when the kernel has looked through the whole file. */
const UNTIL_COMPRESSED = `
for second in $(seq 60); do
  sleep 1
  grep -q zstd /sys/fs/bcachefs/*/compression_stats && sleep 2 && exit 0
done
cat /sys/fs/bcachefs/*/compression_stats
exit 1`;

kernelSuite('attributes', () => {
  const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-attributes-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  const disks = ['ours', 'theirs'].map(name => ({ name, path: join(folder, `${name}.img`) }));
  const ours = disks[0]!.path;
  let result: RunResult;
  let changes = 0;

  function change(body: (edit: FileEdit) => void): void {
    const device = openDevice(ours, { write: true });
    try {
      // A node's number is random, and a kernel goes by it.
      const options = { random: seededRandom(`attributes ${changes++}`), now: () => 1_800_000_000_000_000_000n };
      const writer = new FilesystemWriter(openMembers([device]), { random: options.random, now: () => 1_800_000_000n });
      const edit = new FileEdit(writer, options);
      body(edit);
      edit.commit();
      expect(checkInvariants(writer.filesystem).findings.map(findingText)).toEqual([]);
    } finally {
      device.close();
    }
  }

  beforeAll(async () => {
    await loadChecksums();
    await loadCompression();
    await loadCompressors();
    for (const { path } of disks) await succeed('format', ['--fs_size=128M', path]);
    change(edit => {
      const doer = new Doer(edit);
      for (const deed of deeds) doer.do(deed);
      for (const deed of refused) expect(() => doer.do(deed), deed.path).toThrow(FileError);
      const background = edit.files.create(edit.files.root(), text.encode('background'), { mode: 0o100644 });
      edit.content.write(
        background,
        0,
        text.encode('compress me. '.repeat(REBALANCED_BYTES)).subarray(0, REBALANCED_BYTES),
      );
    });
    // Of what the kernel finds there already.
    change(edit => {
      const background = new Doer(edit).find('background');
      edit.files.setOption(background, 'background_compression', compressionOptions.idOf('zstd'));
    });
    result = await runInKernel({
      disks,
      cases: [
        {
          name: 'theirs',
          steps: [
            { do: 'mount', disks: ['theirs'] },
            ...deeds,
            ...refused.map(deed => ({ ...deed, expectFailure: 'EPERM' })),
            { do: 'manifest', as: 'seen' },
            { do: 'umount' },
          ],
        },
        {
          name: 'ours',
          steps: [
            { do: 'mount', disks: ['ours'] },
            { do: 'manifest', as: 'seen' },
            { do: 'sh', script: UNTIL_COMPRESSED, timeoutSeconds: 100 },
            { do: 'umount' },
            { do: 'fsck', as: 'fsck', disks: ['ours'] },
          ],
        },
      ],
    });
  }, patient(300_000));

  test('are what the kernel makes of them', () => {
    const seen = (name: string) =>
      (resultOf(caseNamed(result, name), 'seen').manifest ?? [])
        .filter(({ path }) => path !== undefined && /^[de]\b|^volume$/.test(path))
        .toSorted((a, b) => (a.path! < b.path! ? -1 : 1));
    expect(seen('theirs').length).toBe(19);
    const ignore = ['ino', 'subvol', 'mtime_ns', 'ctime_ns', 'btime_ns'] as const;
    expect(compareManifests(seen('ours'), seen('theirs'), { ignore })).toEqual([]);
  });

  test('a kernel compresses what was there when an option for it is set', () => {
    const filesystem = openFilesystem([ours]);
    try {
      const types = [...filesystem.btree('extents').keys({})]
        .filter(({ k }) => k.size > 8)
        .flatMap(({ value }) => decodeExtentEntries(value))
        .flatMap(entry => ('compression_type' in entry ? [compressionTypes.nameOf(entry.compression_type)] : []));
      expect(new Set(types)).toEqual(new Set(['zstd']));
      expect([...filesystem.btree('reconcile_work').keys({})]).toEqual([]);
      expect(checkInvariants(filesystem).findings.map(findingText)).toEqual([]);
    } finally {
      filesystem.close();
    }
  });

  test('the kernel has nothing to complain of', () => {
    expect(resultOf(caseNamed(result, 'ours'), 'fsck').fsck!.complaints).toEqual([]);
  });
});
