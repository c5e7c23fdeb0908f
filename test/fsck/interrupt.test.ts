// Ctrl-C: a check stops between two of its steps with the exit code of fsck(8), and nothing has changed.

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { runCli } from '@bcachefs-ts/command';
import { loadChecksums } from '@bcachefs-ts/core/engine';
import { fsckCommand, scrubCommand } from '@bcachefs-ts/fsck';
import { beforeAll, expect, test } from 'vitest';
import { lostInode, withDamaged } from './damaged.ts';

beforeAll(loadChecksums);

/** Asked to stop before the first step. */
function interrupted(command: typeof fsckCommand | typeof scrubCommand, words: readonly string[]) {
  let listening = 0;
  const onSignal = (handle: (signal: 'SIGINT') => void) => {
    listening++;
    handle('SIGINT');
    return () => void listening--;
  };
  return runCli(command, words, { onSignal }).then(result => ({ ...result, listening }));
}

test.each([[['-n']], [['-y']], [['-p', '-f']]])('fsck %j', words =>
  withDamaged(lostInode, async ({ image, folder, contents }) => {
    const before = contents();
    const path = join(folder, 'keys.jsonl');
    const { exitCode, stdout, stderr, listening } = await interrupted(fsckCommand, [
      ...words,
      `--quarantine=${path}`,
      image,
    ]);
    expect(exitCode).toBe(32);
    expect(stdout).toBe('');
    expect(stderr).toContain('stopped before the commit: nothing was changed');
    expect(listening).toBe(0);
    expect(existsSync(path)).toBe(false);
    expect(contents().equals(before)).toBe(true);
  }),
);

test('scrub', () =>
  withDamaged(undefined, async ({ image, contents }) => {
    const before = contents();
    const { exitCode, stderr, listening } = await interrupted(scrubCommand, [image]);
    expect(exitCode).toBe(32);
    expect(stderr).toContain('stopped: what was repaired until then stays repaired');
    expect(listening).toBe(0);
    expect(contents().equals(before)).toBe(true);
  }));
