// Images with one named damage each, made beside a kernel's verdict. They lie outside of the repository, in the folder that
// BCACHEFS_DAMAGE names or in ../shared/damage; its README describes them. Tests skip without them.

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { hasZstdCommand, unzstdToFile } from './zstd.ts';

const root = path.dirname(path.dirname(path.dirname(fileURLToPath(import.meta.url))));

export interface DamagedImage {
  readonly name: string;
  readonly area: string;
  /** Names of errors that the damage is about; none where that is not one of the reference's. */
  readonly aims: readonly string[];
}

const folderOf = (): string => process.env.BCACHEFS_DAMAGE || path.join(root, '..', 'shared', 'damage');

/** Why tests that need them cannot run; undefined when they can. */
export const whyNoDamage: string | undefined = !existsSync(path.join(folderOf(), 'README.md'))
  ? 'no damaged images here: set BCACHEFS_DAMAGE to their folder'
  : hasZstdCommand()
    ? undefined
    : 'the program zstd is needed to unpack the damaged images';

/** The folder; undefined where there is none, or nothing to decompress its images with. */
const damageDir = (): string | undefined => (whyNoDamage === undefined ? folderOf() : undefined);

/** All of them, by name. */
export function damagedImages(): readonly DamagedImage[] {
  const folder = damageDir();
  if (folder === undefined) return [];
  return readdirSync(folder)
    .filter(name => name.endsWith('.json') && !name.endsWith('.manifest.json'))
    .toSorted()
    .map(name => {
      const { area, aims = [] } = JSON.parse(readFileSync(path.join(folder, name), 'utf8'));
      return { name: name.slice(0, -'.json'.length), area, aims };
    });
}

/** Decompresses an image into a folder. @returns the paths of its devices, in order */
export function damagedDevices(name: string, into: string): readonly string[] {
  const folder = damageDir();
  if (folder === undefined) throw new Error('there are no damaged images here');
  const files = [`${name}.img`, `${name}.0.img`, `${name}.1.img`].filter(file =>
    existsSync(path.join(folder, `${file}.zst`)),
  );
  return files.map(file => {
    const target = path.join(into, file);
    unzstdToFile(path.join(folder, `${file}.zst`), target);
    return target;
  });
}
