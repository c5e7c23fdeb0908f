import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { makeBpos, makeKey } from '@bcachefs-ts/core/engine';
import { afterAll, expect, test } from 'vitest';
import { Quarantine } from './quarantine.ts';

const folder = mkdtempSync(join(tmpdir(), 'quarantine-'));
afterAll(() => rmSync(folder, { recursive: true }));

const key = makeKey(0, makeBpos(4096n, 7n, 1), new Uint8Array([1, 255, 0, 0, 0, 0, 0, 0]));

test('a key is kept with its value and the reason, for its owner to read', () => {
  const path = join(folder, 'kept');
  const quarantine = new Quarantine(path);
  expect(existsSync(path)).toBe(false);
  quarantine.add(0, key, 'why');
  quarantine.addBytes(0, new Uint8Array([0, 7]), 'no key');
  quarantine.keep();
  quarantine.close();
  expect(quarantine.file).toBe(path);
  expect(statSync(path).mode & 0o777).toBe(0o600);
  const [line = '', bytes = ''] = readFileSync(path, 'utf8').split('\n');
  expect(JSON.parse(bytes)).toEqual({ btree: 'extents', bytes: '0007', reason: 'no key' });
  expect(JSON.parse(line)).toMatchObject({
    btree: 'extents',
    pos: '4096:7:1',
    value: '01ff000000000000',
    reason: 'why',
  });
});

test('what was never kept goes again, and what is there is not touched', () => {
  const path = join(folder, 'dropped');
  const quarantine = new Quarantine(path);
  quarantine.add(0, key, 'why');
  expect(() => new Quarantine(path).create()).toThrow('EEXIST');
  quarantine.close();
  expect(existsSync(path)).toBe(false);
});
