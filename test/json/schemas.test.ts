// list, list_journal and fs usage --json against their documented schemas: every line of every image. A member that is added, renamed or left
// out breaks this; then the schema and its page change too, and the version where readers could have relied on it.

import { runCli } from '@bcachefs-ts/command';
import { btrees, keyTypes } from '@bcachefs-ts/core/engine';
import { describe, expect, test } from 'vitest';
import { bcachefs } from '../../packages/bcachefs/src/programs/bcachefs.ts';
import { fixture, whyNoFixtures } from '../support/fixtures.ts';
import { testImages, withTestImage } from '../support/images.ts';
import { validator } from '../support/schemas.ts';

if (whyNoFixtures !== undefined) console.warn(`schemas against reference images skipped: ${whyNoFixtures}`);

const list = validator('list');
const journal = validator('list_journal');
const usage = validator('fs-usage');

type Json = { readonly [name: string]: unknown };

/** Whatever the exit code: what is printed before damage counts as well. */
async function linesOf(words: readonly string[], passphrase: string | null | undefined): Promise<readonly Json[]> {
  const env = passphrase == null ? {} : { BCACHEFS_PASSPHRASE: passphrase };
  const { stdout } = await runCli(bcachefs, ['--json', ...words], { env });
  return stdout.split('\n').flatMap(line => (line === '' ? [] : [JSON.parse(line)]));
}

/** The first thing that a schema says against any of the lines. */
function firstViolation(lines: readonly Json[], violations: (line: unknown) => readonly unknown[]): unknown {
  for (const line of lines) if (violations(line).length > 0) return violations(line);
  return undefined;
}

async function expectValid(images: readonly string[], passphrase: string | null | undefined, deep: boolean) {
  // A passphrase takes half a second each time.
  const shown =
    passphrase == null ? btrees.rows.map(({ name }) => name) : (['inodes', 'extents', 'accounting'] as const);
  for (const name of shown) {
    const lines = await linesOf(['list', `--btree=${name}`, ...images], passphrase);
    expect(firstViolation(lines, list), `list --btree=${name}`).toBeUndefined();
    if (!deep) continue;
    for (const mode of ['nodes', 'formats', 'nodes-ondisk']) {
      const nodes = await linesOf(['list', `--btree=${name}`, `--mode=${mode}`, ...images], passphrase);
      expect(firstViolation(nodes, list), `list --btree=${name} --mode=${mode}`).toBeUndefined();
    }
  }
  for (const options of [
    ['--all', '--blacklisted'],
    ...(deep ? [['--offset', '--bkey_val=no'], ['--headers_only']] : []),
  ]) {
    const lines = await linesOf(['list_journal', ...options, ...images], passphrase);
    expect(firstViolation(lines, journal), `list_journal ${options.join(' ')}`).toBeUndefined();
  }
  const env = passphrase == null ? {} : { BCACHEFS_PASSPHRASE: passphrase };
  const { stdout } = await runCli(bcachefs, ['fs', 'usage', '--json', ...images], { env });
  if (stdout !== '') expect(usage(JSON.parse(stdout))).toEqual([]);
}

describe('the project’s images fit the schemas', () => {
  test.each(testImages.map(({ name, passphrase }) => [name, passphrase] as const))('%s', (name, passphrase) =>
    withTestImage(name, images => expectValid(images, passphrase, true)),
  );
});

describe.skipIf(whyNoFixtures !== undefined)('reference images fit the schemas', () => {
  // One of each kind: all of them take minutes, and their keys are of the same types.
  const names = [
    ...[
      'compress-background',
      'dmg-hash',
      'fresh-103',
      'multi4-tiers',
      'nocow',
      'quota',
      'reflink',
      'snapshots',
      'u103-2dev',
    ],
    ...['u136-basic', 'unclean', 'basic-1.39', 'dirty-1.39', 'ec-1.39', 'misc-1.39'],
  ];
  test.each(names)('%s', async name => {
    const { images, json } = fixture(name);
    await expectValid(images, json.passphrase, name === 'ec-1.39');
  });
});

describe('the schemas refuse', () => {
  const key = { btree: 'inodes', level: 0, type: 'cookie', pos: '1:2:3', size: 0, version: 0, value: { cookie: 7 } };

  test('members that they do not know, in each place', () => {
    expect(list(key)).toEqual([]);
    expect(list({ ...key, more: 1 })).not.toEqual([]);
    expect(list({ ...key, value: { cookie: 7, more: 1 } })).not.toEqual([]);
    expect(list({ ...key, type: 'lru' })).not.toEqual([]);
    expect(list({ ...key, type: 'unheard_of' })).not.toEqual([]);
    expect(list({ ...key, type: 'unknown(77)', value: { raw: '00ff' } })).toEqual([]);
    expect(list({ ...key, pos: '1:2' })).not.toEqual([]);
    const { level: _level, ...incomplete } = key;
    expect(list(incomplete)).not.toEqual([]);
    expect(list({ schema: 'bcachefs-ts/list', version: 2 })).not.toEqual([]);
  });

  test('the same in the journal and in usage', () => {
    const missing = { kind: 'missing', first_seq: 1, last_seq: 2, dirty: true };
    expect(journal(missing)).toEqual([]);
    expect(journal({ ...missing, more: 1 })).not.toEqual([]);
    expect(usage({ schema: 'bcachefs-ts/fs-usage', version: 1, filesystems: [] })).toEqual([]);
    expect(usage({ schema: 'bcachefs-ts/fs-usage', version: 1, filesystems: [{}] })).not.toEqual([]);
  });

  test('no key type is left out', () => {
    for (const { name } of keyTypes.rows) {
      expect(list({ ...key, type: name, value: { raw: '' } }), name).toEqual([]);
    }
  });
});
