// What a folder of the host holds, in the form of the kernel machine's manifests, written by the program that writes those: nothing of ours
// has a part in it. For filesystems that were filled from the folder.

import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { type ManifestEntry, parseManifestLines } from '../kernel/vm/manifest.ts';

const agent = fileURLToPath(new URL('../kernel/vm/agent', import.meta.url));
const script = `
import json, sys
sys.path.insert(0, sys.argv[1])
import manifest
print('\\n'.join(json.dumps(entry) for entry in manifest.walk(sys.argv[2])), end='')
`;

export function hostManifest(folder: string): readonly ManifestEntry[] {
  const { status, stdout, stderr } = spawnSync('python3', ['-c', script, agent, folder], { maxBuffer: 2 ** 30 });
  if (status !== 0) throw new Error(`python3: ${stderr}`);
  return parseManifestLines(stdout);
}

/** Fields that belong to the filesystem that a file is in, and those that no copy keeps. */
export const OF_THE_HOST = ['ino', 'blocks', 'btime_ns', 'ctime_ns', 'data', 'flags', 'projid', 'subvol'] as const;

/** Of directories, size and links are the filesystem's own. */
export const asCopied = (entries: readonly ManifestEntry[]): ManifestEntry[] =>
  entries.map(entry => (entry.type === 'dir' ? { ...entry, size: 0, nlink: 0 } : entry));
