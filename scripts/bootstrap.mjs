// Installs the workspace's dependencies when they are missing or older than the lock file, with nothing but
// Node and npm on the machine: pnpm itself comes through `npm exec`, at the version that package.json pins.
// Plain JavaScript, since it runs before anything is installed. Prints one line, and only when it has to work.

import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = dirname(dirname(fileURLToPath(import.meta.url)));

const minimumNode = [20, 19];

/** Makes sure that node_modules matches the lock file; returns true if it had to install. */
export function ensureInstalled() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major < minimumNode[0] || (major === minimumNode[0] && minor < minimumNode[1])) {
    fail(`Node ${minimumNode.join('.')} or newer is needed, this is ${process.versions.node}`);
  }
  const stampPath = join(root, 'node_modules', '.bcachefs-ts-installed');
  const wanted = installKey();
  if (existsSync(stampPath) && readFileSync(stampPath, 'utf8') === wanted) return false;

  process.stderr.write('bcachefs-ts: installing dependencies (first use, or the lock file changed) …\n');
  const { packageManager } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const run = spawnSync(
    process.platform === 'win32' ? 'npx.cmd' : 'npx',
    ['--yes', '--loglevel=error', packageManager, 'install', '--frozen-lockfile', '--reporter=silent'],
    {
      cwd: root,
      stdio: ['ignore', 'pipe', 'pipe'],
      encoding: 'utf8',
      shell: process.platform === 'win32',
      env: { ...process.env, CI: 'true' },
    },
  );
  if (run.error || run.status !== 0) {
    const words = `${run.stdout ?? ''}${run.stderr ?? ''}`.trim().split('\n').slice(-15).join('\n');
    fail(`installing failed (${run.error?.message ?? `exit ${run.status}`}); the package manager said:\n${words}`);
  }
  writeFileSync(stampPath, wanted);
  return true;
}

/** What an installation depends on: the lock file and every package.json. */
function installKey() {
  const hash = createHash('sha256');
  for (const name of ['pnpm-lock.yaml', 'pnpm-workspace.yaml', 'package.json'])
    hash.update(readFileSync(join(root, name)));
  return hash.digest('hex');
}

function fail(message) {
  process.stderr.write(`bcachefs-ts: ${message}\n`);
  process.exit(1);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) ensureInstalled();
