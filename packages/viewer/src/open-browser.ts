// Opens an address in the user's browser. The words of a program can be read by everyone on the machine, and the address is a secret: what the
// program is given is a file that only the user can read, which leads there.

import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** What opens files for people, or undefined where there is no screen. */
export function browserOpener(platform: string, env: Readonly<Record<string, string | undefined>>): string | undefined {
  if (platform === 'darwin') return 'open';
  const hasScreen = (env.DISPLAY ?? '') !== '' || (env.WAYLAND_DISPLAY ?? '') !== '';
  return platform !== 'win32' && hasScreen ? 'xdg-open' : undefined;
}

/** @param onFailed when the program cannot be run, or says that it failed. @returns removes the file */
export function openBrowser(opener: string, address: string, onFailed: (why: string) => void): () => void {
  // Both are the user's alone: 0700 and 0600.
  const folder = mkdtempSync(join(tmpdir(), 'bcachefs-view-'));
  const file = join(folder, 'open.html');
  writeFileSync(file, `<!doctype html><meta http-equiv="refresh" content="0; url=${address}">`, { mode: 0o600 });
  const child = spawn(opener, [file], { stdio: 'ignore', detached: true });
  child.on('error', ({ message }) => onFailed(message));
  child.on('exit', code => {
    if (code !== 0 && code !== null) onFailed(`${opener} failed with ${code}`);
  });
  child.unref();
  return () => rmSync(folder, { recursive: true, force: true });
}
