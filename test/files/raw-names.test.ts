// Names on the command line that are not UTF-8: Node has lost their bytes, the commands have them nevertheless. In processes of
// their own, through a shell, since Node cannot start anything with such a word either.

import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { shell } from '../support/built.ts';
import { succeed } from '../support/cli.ts';
import { scratchFolder } from '../support/folder-manifest.ts';
import { withTestImage } from '../support/images.ts';
import { patient } from '../support/patience.ts';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(scratchFolder, 'raw-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** @param line words of a shell; $R is a name of the bytes ff fe 6e, $S one of 80 20 c3 */
const run = (line: string) => shell(`R=$'\\xff\\xfen' S=$'\\x80 \\xc3'; cd '${folder}'; ${line}`);
const bcachefs = (words: string) => run(`node "$BCACHEFS" ${words}`);

test.skipIf(process.platform !== 'linux')(
  'put, mv, ls, restore, rm: the real bytes; names of images are refused',
  () =>
    withTestImage('basic', async ([image = '']) => {
      writeFileSync(join(folder, 'f'), 'contents');
      expect(run('cp f "$S"').exitCode).toBe(0);
      // As the issue has it, and a host file with such a name that keeps it.
      expect(bcachefs(`put '${image}' f "/$R"`)).toMatchObject({
        exitCode: 0,
        stdout: 'put 1 file (8 B) into /\\xff\\xfen\n',
      });
      expect(bcachefs(`put '${image}' "$S" /`)).toMatchObject({ exitCode: 0 });
      const listed = (await succeed('ls', [image])).split('\n');
      expect(listed).toContain('\\xff\\xfen');
      expect(listed).toContain('\\x80 \\xc3');
      const json = (await succeed('ls', ['--json', image]))
        .trim()
        .split('\n')
        .map(line => JSON.parse(line).name_hex);
      expect(json).toContain('fffe6e');
      expect(bcachefs(`mv '${image}' "$R" "$R.moved"`)).toMatchObject({ exitCode: 0 });
      expect(bcachefs(`cat '${image}' "$R.moved"`)).toMatchObject({ exitCode: 0, stdout: 'contents' });
      expect(bcachefs(`restore '${image}' "$R.moved" "$S.out"`)).toMatchObject({ exitCode: 0 });
      const out = readdirSync(Buffer.from(folder), { encoding: 'buffer' }).find(name => name.includes('.out'));
      expect(out?.toString('hex')).toBe('8020c32e6f7574');
      const restored = Buffer.concat([
        Buffer.from(`${folder}/`),
        out!,
        Buffer.from([0x2f, 0xff, 0xfe]),
        Buffer.from('n.moved'),
      ]);
      expect(readFileSync(restored, 'utf8')).toBe('contents');
      expect(bcachefs(`rm '${image}' "$R.moved" "$S"`)).toMatchObject({ exitCode: 0 });
      expect(await succeed('ls', [image])).not.toContain('\\x');
      // What takes no such bytes says so.
      expect(bcachefs('ls "$R"')).toMatchObject({
        exitCode: 2,
        stderr: expect.stringContaining(
          '<filesystem>: \\xff\\xfen: has bytes that are not UTF-8, which is not possible here',
        ),
      });
      expect(bcachefs('format --label="$R" none.img')).toMatchObject({
        exitCode: 2,
        stderr: expect.stringContaining('not UTF-8'),
      });
    }),
  patient(120_000),
);
