// map: its sums are those of fs usage, which come from counters and not from buckets; and names cannot get out of their places.

import { renameSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { escapeXml } from '../../packages/explore/src/map/svg.ts';
import { run, succeed } from '../support/cli.ts';
import { testImages, withTestImage } from '../support/images.ts';
import { validator } from '../support/schemas.ts';

const mapSchema = validator('map');

interface Total {
  readonly data_type: string;
  readonly buckets: number;
  readonly size: number;
  readonly fragmented: number;
}
interface Device {
  readonly buckets: number;
  readonly first_bucket: number;
  readonly totals: readonly Total[];
  readonly cells: readonly { readonly first: number; readonly buckets: number; readonly types: readonly Total[] }[];
}

const envOf = (passphrase: string | undefined) =>
  passphrase === undefined ? {} : { env: { BCACHEFS_PASSPHRASE: passphrase } };

describe('the sums of all buckets are those of the counters', () => {
  test.each(testImages.map(({ name, passphrase }) => [name, passphrase] as const))('%s', (name, passphrase) =>
    withTestImage(name, async images => {
      const options = envOf(passphrase);
      const map = JSON.parse(await succeed('map', ['--json', '--cells=100', ...images], options));
      expect(mapSchema(map)).toEqual([]);
      const usage = JSON.parse(await succeed('fs usage', ['--json', ...images], options)).filesystems[0];
      const devices: readonly Device[] = map.devices;
      expect(devices.length).toBe(images.length);
      for (const [nr, { totals, cells, buckets, first_bucket }] of devices.entries()) {
        const counted = usage.devices[nr].data_types.filter((type: Total) => type.buckets > 0);
        expect(totals.map(({ fragmented: _, ...total }) => total)).toEqual(
          counted.map(({ fragmented: _, ...total }: Total) => total),
        );
        expect(cells.length).toBeLessThanOrEqual(100);
        let next = first_bucket;
        for (const cell of cells) {
          expect(cell.first).toBe(next);
          expect(cell.types.reduce((sum, type) => sum + type.buckets, 0)).toBe(cell.buckets);
          next += cell.buckets;
        }
        expect(next).toBe(first_bucket + buckets);
      }
    }),
  );
});

test('letters without colours, half blocks with them, in as many lines as are asked for', () =>
  withTestImage('basic', async images => {
    const plain = await succeed('map', ['--rows=2', ...images], { columns: 60 });
    const drawn = plain.split('\n').filter(line => /^ {2}[.A-Za-z]{20,}$/.test(line));
    expect(drawn.length).toBe(2);
    expect(drawn[0]).toMatch(/^ {2}[Ss]+J/);
    const colored = await succeed('map', ['--color=always', '--rows=2', ...images], { columns: 60 });
    const lines = colored.split('\n').filter(line => line.includes('▀'));
    expect(lines.length).toBe(2);
    // The first lines of both halves: superblocks above.
    expect(lines[0]).toContain('\u001b[35;');
    for (const line of lines) expect(line.split('▀').length - 1).toBeLessThanOrEqual(57);
  }));

test('a device whose name is markup and control characters stays text', () =>
  withTestImage('basic', async ([image]) => {
    const hostile = join(dirname(image!), '<script>alert(1)<|script>&"\'\u001b]0;x\u0007\u202e.img');
    renameSync(image!, hostile);
    const before = statSync(hostile).mtimeMs;
    for (const words of [['--svg', hostile], [hostile], ['--json', hostile], ['--color=always', hostile]]) {
      const out = await succeed('map', words);
      // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
      expect(out.replaceAll(/\u001b\[[0-9;]*m/g, '')).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f\u202e]/);
    }
    const svg = await succeed('map', ['--svg', hostile]);
    expect(svg).not.toContain('<script');
    expect(svg).toContain('&#60;script&#62;alert(1)');
    expect([...svg.matchAll(/<([a-z]+)/g)].map(match => match[1]).filter(tag => !TAGS.has(tag!))).toEqual([]);
    expect(statSync(hostile).mtimeMs).toBe(before);
  }));

const TAGS = new Set(['svg', 'title', 'style', 'text', 'rect']);

test('text for XML', () => {
  expect(escapeXml('a<b>&"\'')).toBe('a&#60;b&#62;&#38;&#34;&#39;');
  expect(escapeXml('\u0000\u001b\ufffe')).toBe('\\x00\\x1b\ufffd');
  expect(escapeXml('😀')).toBe('😀');
});

test('what is not there is said, and --svg is not JSON', () =>
  withTestImage('multi', async ([first]) => {
    const { exitCode, stdout, stderr } = await run('map', ['--json', first!]);
    expect(exitCode).toBe(0);
    expect(stderr).toContain('is missing');
    expect(JSON.parse(stdout).devices[1]).toMatchObject({ device: null, label: 'hdd.slow' });
    expect(await run('map', ['--svg', '--json', first!])).toMatchObject({ exitCode: 2 });
  }));

test('without allocation info nothing is taken for free without a word', () =>
  withTestImage('basic', async images => {
    await succeed('strip-alloc', images);
    const { exitCode, stderr } = await run('map', images);
    expect(exitCode).toBe(1);
    expect(stderr).toContain('the allocation info was dropped');
  }));
