// Where the system gives few descriptors, deep trees are restored with those that there are.

import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { shell } from '../support/built.ts';
import { succeed } from '../support/cli.ts';
import { scratchFolder } from '../support/folder-manifest.ts';
import { patient } from '../support/patience.ts';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(scratchFolder, 'few-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

test.skipIf(process.platform === 'win32')(
  'EMFILE: restore keeps fewer folders open; put and tar need few',
  async () => {
    const image = join(folder, 'x.img');
    await succeed('format', ['-q', '--fs_size=256M', image]);
    const parts = Array.from({ length: 60 }, () => 'd');
    mkdirSync(join(folder, 'tree', ...parts), { recursive: true });
    for (let depth = 0; depth <= parts.length; depth++)
      writeFileSync(join(folder, 'tree', ...parts.slice(0, depth), 'f'), `${depth}`);
    const run = (words: string) => shell(`cd '${folder}'; ulimit -n 45; node "$BCACHEFS" ${words}`);
    expect(run('put -r x.img tree/. /')).toMatchObject({ exitCode: 0 });
    expect(run('restore -q x.img out')).toMatchObject({ exitCode: 0, stderr: '' });
    expect(existsSync(join(folder, 'out', ...parts, 'f'))).toBe(true);
    expect(run('tar -o x.tar x.img')).toMatchObject({ exitCode: 0 });
  },
  patient(120_000),
);
