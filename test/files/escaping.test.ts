// Names that would talk to the terminal, or turn the direction of writing: no command prints them raw, as text, JSON or message.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type CommandName, run, succeed } from '../support/cli.ts';
import { scratchFolder } from '../support/folder-manifest.ts';
import { withTestImage } from '../support/images.ts';
import { patient } from '../support/patience.ts';

const EVIL = 'gpj.\u202eexe\u009b31m\u2066\u061c';
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not be printed
const RAW = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/;

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(scratchFolder, 'escaping-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

test(
  'U+202E and U+009B reach neither terminal nor JSON',
  () =>
    withTestImage('basic', async ([image = '']) => {
      const name = join(folder, EVIL);
      mkdirSync(name);
      writeFileSync(join(name, EVIL), 'x');
      const put = await run('put', ['-r', image, name, '/']);
      expect(put.exitCode).toBe(0);
      const commands: readonly (readonly [CommandName, readonly string[]])[] = [
        ['ls', [image]],
        ['ls', ['-lR', image]],
        ['tree', [image]],
        ['stat', [image, EVIL]],
        ['stat', [image, `${EVIL}/${EVIL}`]],
        ['locate', [image, `${EVIL}/${EVIL}`]],
        ['list', ['--btree=dirents', image]],
        ['list_journal', [image]],
        ['subvolume list', [image]],
        ['cat', [image, EVIL]],
        ['cat', [image, `no${EVIL}`]],
        ['rm', [image, EVIL]],
        ['mv', ['-T', image, `${EVIL}/${EVIL}`, 'deep']],
        ['mkdir', [image, EVIL]],
        ['format', ['--label', EVIL, join(folder, 'absent')]],
        ['show-super', [join(folder, EVIL)]],
      ];
      let escaped = 0;
      for (const [command, words] of commands) {
        const { stdout, stderr } = await run(command, words);
        expect({ command, found: RAW.exec(stdout + stderr) }).toEqual({ command, found: null });
        if (`${stdout}${stderr}`.includes('gpj.\\xe2\\x80\\xaeexe\\xc2\\x9b31m')) escaped++;
        const json = await run(command, ['--json', ...words]);
        expect({ command, found: RAW.exec(json.stdout + json.stderr) }).toEqual({ command, found: null });
      }
      expect(escaped).toBeGreaterThanOrEqual(12);
      // The strings are what they were.
      const lines = (await succeed('ls', ['--json', image])).trim().split('\n');
      expect(lines.map(line => JSON.parse(line).name)).toContain(EVIL);
      // What was printed can be typed.
      const printed = (await succeed('ls', [image])).split('\n').find(line => line.startsWith('gpj'))!;
      expect(await succeed('ls', [image, printed])).toBe(`${printed}\n`);
    }),
  patient(60_000),
);
