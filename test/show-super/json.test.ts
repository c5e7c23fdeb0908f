// show-super --json: the documented schema against every fixture, and that the text's facts are in it.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { runCli } from '@bcachefs-ts/command';
import { BCHFS_MAGIC, BchSb, superblockJson } from '@bcachefs-ts/core/engine';
import { showSuperCommand } from '@bcachefs-ts/show-super';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { imageHead, whyNoFixtures } from '../support/fixtures.ts';
import { showSuperFixtures } from './reference-runs.ts';

const schemaFile = fileURLToPath(new URL('../../docs/json/show-super.schema.json', import.meta.url));
const schema = JSON.parse(readFileSync(schemaFile, 'utf8'));
const ajv = new Ajv2020({ allErrors: true, strict: true, allowUnionTypes: true });
const isValid = ajv.compile(schema);

/** What the schema says against it; empty when it fits. */
function violations(document: unknown): unknown[] {
  isValid(document);
  return (isValid.errors ?? []).map(({ instancePath, message, params }) => ({ instancePath, message, params }));
}

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'show-super-json-'));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

async function run(
  ...words: string[]
): Promise<{ exitCode: number; document: { superblocks: Record<string, unknown>[] } }> {
  const { exitCode, stdout } = await runCli(showSuperCommand, ['--json', ...words]);
  return { exitCode, document: JSON.parse(stdout) };
}

const images =
  whyNoFixtures === undefined ? showSuperFixtures().flatMap(({ runs }) => runs.map(({ image }) => image)) : [];

describe.skipIf(whyNoFixtures !== undefined)('every fixture fits the schema', () => {
  test.each([...new Set(images)])('%s', async image => {
    const file = path.join(folder, image);
    writeFileSync(file, imageHead(image));
    const { exitCode, document } = await run(file);
    rmSync(file);
    expect(exitCode).toBe(0);
    expect(violations(document)).toEqual([]);
    const [shown] = document.superblocks;
    expect(shown).toMatchObject({ device: file, found_by: image.startsWith('sb-head') ? 'scan' : expect.any(String) });
    expect(shown?.problems).toEqual([]);
    expect(JSON.stringify(shown?.superblock)).not.toContain('"error":"invalid');
  });
});

describe('without fixtures', () => {
  const sb = {
    ...BchSb.get(new DataView(new ArrayBuffer(BchSb.size)), 0),
    magic: BCHFS_MAGIC,
    version: 1037,
    sections: [
      { type: 13, payload: new Uint8Array(8) },
      { type: 99, payload: Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8) },
      { type: 99, payload: new Uint8Array(8) },
    ],
  };
  const document = {
    schema: 'bcachefs-ts/show-super',
    version: 1,
    superblocks: [
      {
        device: 'x',
        sector: 8,
        found_by: 'sector',
        failures: [],
        problems: [],
        kernels: [],
        superblock: superblockJson(sb),
      },
    ],
  };

  test('damaged, unknown and doubled sections fit the schema', () => {
    expect(violations(document)).toEqual([]);
    expect(superblockJson(sb)).toMatchObject({
      fields: {
        ext: { error: 'invalid_sb_ext', where: 'ext', detail: '8 bytes, expected 80 or more', raw: '0000000000000000' },
        'unknown(99)': { raw: '0102030405060708' },
        'unknown(99)#2': { raw: '0000000000000000' },
      },
    });
  });

  test('the schema refuses what it does not describe', () => {
    expect(violations({ ...document, version: 2 })).not.toEqual([]);
    const [shown] = document.superblocks;
    expect(violations({ ...document, superblocks: [{ ...shown, superblock: {} }] })).not.toEqual([]);
  });

  test('several devices of which one fails', async () => {
    const { exitCode, document: several } = await run('/nonexistent/a', '/nonexistent/b');
    expect(exitCode).toBe(5);
    expect(violations(several)).toEqual([]);
    expect(several.superblocks.map(({ device }) => device)).toEqual(['/nonexistent/a', '/nonexistent/b']);
  });
});
