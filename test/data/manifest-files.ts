// The files of a reference image as its manifest lists them, each with the inode that the image has for it. Directories are read here
// from end to end, without hashes; the manifest's own inode numbers are rounded in the newest images.

import type { FileExtents, Filesystem } from '@bcachefs-ts/core/engine';
import { fileSize } from '../../packages/core/src/data/segments.ts';
import { bposText, makeBpos } from '../../packages/core/src/ondisk/bpos.ts';
import type { Inode } from '../../packages/core/src/ondisk/inode-unpack.ts';
import { dirent } from '../../packages/core/src/ondisk/keys/dirent.ts';
import { inode, inodeV2, inodeV3 } from '../../packages/core/src/ondisk/keys/inode.ts';
import { keyTypes } from '../../packages/core/src/ondisk/keys/key-types.ts';
import type { SnapshotTable } from '../../packages/core/src/snapshots/snapshot-table.ts';
import { visibleKeyAt, visibleKeys } from '../../packages/core/src/snapshots/visible.ts';
import type { Fixture } from '../support/fixtures.ts';

export interface ManifestEntry {
  readonly path?: string;
  readonly path_b64?: string;
  readonly type: string;
  readonly size: number;
  readonly sha256?: string;
  readonly sha256_data?: string;
  readonly data?: readonly (readonly [offset: number, length: number])[];
  readonly target?: string;
  readonly target_b64?: string;
  readonly read_errno?: unknown;
  readonly open_errno?: unknown;
}

export interface ManifestFile {
  readonly path: string;
  readonly entry: ManifestEntry;
  readonly file: FileExtents;
}

interface Place {
  readonly snapshot: number;
  readonly subvolume: number;
  readonly inum: bigint;
}

const kinds = [inode, inodeV2, inodeV3];

export function readInode(fs: Filesystem, table: SnapshotTable, { inum, snapshot }: Place): Inode | undefined {
  const key = visibleKeyAt(fs.btree('inodes'), table, snapshot, makeBpos(0n, inum, snapshot), { onDamage() {} });
  return kinds.find(({ name }) => key?.k.type === keyTypes.idOf(name))?.decode(key!.value);
}

/** Latin-1: names are bytes. */
const nameText = (name: Uint8Array): string => Buffer.from(name).toString('latin1');
const entryPath = ({ path, path_b64 }: ManifestEntry): string =>
  path_b64 === undefined
    ? Buffer.from(path ?? '', 'utf8').toString('latin1')
    : Buffer.from(path_b64, 'base64').toString('latin1');

/** The regular files and symlinks of a manifest that the image has, and the paths of those that it does not have. */
export function manifestFiles(
  fs: Filesystem,
  table: SnapshotTable,
  image: Fixture,
): { readonly files: readonly ManifestFile[]; readonly missing: readonly string[] } {
  const folders = new Map<string, ReadonlyMap<string, Place>>();
  const listing = (place: Place): ReadonlyMap<string, Place> => {
    const id = `${place.subvolume}:${place.inum}`;
    const known = folders.get(id);
    if (known !== undefined) return known;
    const found = new Map<string, Place>();
    const range = {
      from: makeBpos(place.inum, 0n, 0),
      to: makeBpos(place.inum, 0xffff_ffff_ffff_ffffn, 0xffff_ffff),
      onDamage() {},
    };
    for (const key of visibleKeys(fs.btree('dirents'), table, place.snapshot, range)) {
      if (key.k.type !== keyTypes.idOf('dirent')) continue;
      const { name, target } = dirent.decode(key.value);
      if ('inum' in target) found.set(nameText(name), { ...place, inum: target.inum });
      else if (target.parent_subvol === place.subvolume) {
        const child = table.subvolume(target.child_subvol);
        if (child !== undefined) {
          found.set(nameText(name), { snapshot: child.snapshot, subvolume: child.id, inum: child.rootInode });
        }
      }
    }
    folders.set(id, found);
    return found;
  };
  const root = table.subvolume(1);
  if (root === undefined) throw new Error(`${image.name} has no subvolume 1`);
  const top: Place = { snapshot: root.snapshot, subvolume: 1, inum: root.rootInode };

  const files: ManifestFile[] = [];
  const missing: string[] = [];
  for (const entry of image.readManifest<ManifestEntry>()) {
    if (entry.type !== 'reg' && entry.type !== 'lnk') continue;
    const path = entryPath(entry);
    let place: Place | undefined = top;
    for (const name of path.split('/')) place = place === undefined ? undefined : listing(place).get(name);
    const found = place === undefined ? undefined : readInode(fs, table, place);
    if (place === undefined || found === undefined) missing.push(path);
    else {
      const sizeBytes = fileSize(found.bi_size, bposText(makeBpos(0n, place.inum, place.snapshot)));
      files.push({ path, entry, file: { inum: place.inum, snapshot: place.snapshot, sizeBytes } });
    }
  }
  return { files, missing };
}
