// view: what keeps others from the server, what the page's worker answers, and the page itself in a Chromium where one is installed.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { MemoryDevice } from '@bcachefs-ts/core';
import { serveView, type ViewServer } from '@bcachefs-ts/viewer';
import { chromium } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { browserOpener, openBrowser } from '../../packages/viewer/src/open-browser.ts';
import { Session } from '../../packages/viewer/src/page/session.ts';
import { viewerPage } from '../../scripts/viewer-page.ts';
import { built } from '../support/built.ts';
import { succeed } from '../support/cli.ts';
import { testImageContents, withTestImage } from '../support/images.ts';
import { patient } from '../support/patience.ts';
import { validator } from '../support/schemas.ts';

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const bytes = Uint8Array.from({ length: 10_000 }, (_, at) => at * 7);

interface Reply {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: Buffer;
}

function get(
  port: number,
  path: string,
  headers: Readonly<Record<string, string>> = {},
  method = 'GET',
): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const sent = request({ host: '127.0.0.1', port, path, method, headers }, response => {
      const parts: Buffer[] = [];
      response.on('data', part => void parts.push(part));
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(parts) }),
      );
    });
    sent.on('error', reject).end();
  });
}

describe('the server of view', () => {
  let server: ViewServer;
  let port = 0;
  let session = '';
  beforeAll(async () => {
    server = await serveView({
      page: '<p>page</p>',
      devices: [MemoryDevice.from(bytes, { name: 'a.img' })],
      degraded: false,
    });
    port = Number(new URL(server.address).port);
  });
  afterAll(() => server.close());

  test('gives its secret path once, to who has the address', async () => {
    expect((await get(port, '/open/guess')).status).toBe(404);
    const path = new URL(server.address).pathname;
    expect((await get(port, path, { Host: `evil.example:${port}` })).status).toBe(404);
    const first = await get(port, path);
    expect(first.status).toBe(303);
    session = first.headers.location as string;
    expect(session).toMatch(/^\/[\w-]{43}\/$/);
    expect((await get(port, path)).status).toBe(404);
    const page = await get(port, session);
    expect(page).toMatchObject({ status: 200, body: Buffer.from('<p>page</p>') });
    expect(page.headers).toMatchObject({
      'cache-control': 'no-store',
      'referrer-policy': 'no-referrer',
      'x-content-type-options': 'nosniff',
      'x-frame-options': 'DENY',
    });
  });

  test('gives ranges of the members, and no more than it has', async () => {
    const device = `${session}device/0`;
    expect(JSON.parse(String((await get(port, `${session}devices.json`)).body))).toEqual({
      names: ['a.img'],
      degraded: false,
    });
    const part = await get(port, device, { Range: 'bytes=100-199' });
    expect(part.status).toBe(206);
    expect(part.headers['content-range']).toBe('bytes 100-199/10000');
    expect(part.body.equals(bytes.subarray(100, 200))).toBe(true);
    expect((await get(port, device, { Range: 'bytes=9990-99999' })).body).toHaveLength(10);
    for (const range of ['bytes=10000-10001', 'bytes=5-4', 'bytes=-5', 'bytes=0-1,3-4', `bytes=0-${'9'.repeat(30)}`])
      expect((await get(port, device, { Range: range })).status, range).toBe(416);
    expect((await get(port, device)).status).toBe(416);
  });

  test('gives nothing to anybody else, and nothing but what it has', async () => {
    const device = `${session}device/0`;
    const range = { Range: 'bytes=0-9' };
    const own = `http://127.0.0.1:${port}`;
    expect((await get(port, device, { ...range, Origin: own, 'Sec-Fetch-Site': 'same-origin' })).status).toBe(206);
    const refused: [string, Record<string, string>, string?][] = [
      ['/', {}],
      ['/device/0', range],
      [`${session.slice(0, -2)}x/device/0`, range],
      [device, { ...range, Host: `localhost:${port}` }],
      [device, { ...range, Host: 'evil.example' }],
      [device, { ...range, Origin: 'http://evil.example' }],
      [device, { ...range, Origin: 'null' }],
      [device, { ...range, 'Sec-Fetch-Site': 'cross-site' }],
      [device, { ...range, 'Sec-Fetch-Site': 'same-site' }],
      [device, range, 'POST'],
      [device, range, 'PUT'],
      [`${session}device/1`, range],
      [`${session}device/-1`, range],
      [`${session}device/0/x`, range],
      [`${session}../../etc/passwd`, {}],
      [`${session}devices.json?x`, {}],
    ];
    for (const [path, headers, method] of refused) {
      const { status, body } = await get(port, path, headers, method);
      expect([status, body.length], `${method} ${path} ${JSON.stringify(headers)}`).toEqual([404, 0]);
    }
  });

  test('a browser is given a file that only the user can read', { timeout: patient(20_000) }, async () => {
    const scratch = mkdtempSync(join(tmpdir(), 'bcachefs-ts-opener-'));
    try {
      const [opener, seen] = [join(scratch, 'opener'), join(scratch, 'seen')];
      writeFileSync(opener, `#!/bin/sh\nprintf '%s' "$*" > ${seen}.part && mv ${seen}.part ${seen}\nexit 3\n`, {
        mode: 0o755,
      });
      let remove = () => {};
      const why = await new Promise<string>(resolve => {
        remove = openBrowser(opener, server.address, resolve);
      });
      expect(why).toMatch(/failed with 3/);
      const file = readFileSync(seen, 'utf8');
      expect(file).not.toContain(new URL(server.address).pathname);
      expect([statSync(file).mode & 0o777, statSync(dirname(file)).mode & 0o777]).toEqual([0o600, 0o700]);
      expect(readFileSync(file, 'utf8')).toContain(`url=${server.address}"`);
      remove();
      expect(existsSync(file)).toBe(false);
    } finally {
      rmSync(scratch, { recursive: true, force: true });
    }
  });

  test('a browser is opened where there is a screen', () => {
    expect(browserOpener('linux', { DISPLAY: ':0' })).toBe('xdg-open');
    expect(browserOpener('linux', { WAYLAND_DISPLAY: 'wayland-0' })).toBe('xdg-open');
    expect(browserOpener('linux', {})).toBeUndefined();
    expect(browserOpener('darwin', {})).toBe('open');
  });
});

describe('bcachefs view', () => {
  test('serves until it is stopped', { timeout: patient(120_000) }, async () => {
    await withTestImage('basic', async ([image]) => {
      const child = spawn(process.execPath, [built('bcachefs'), 'view', '--no_open', '--json', image!]);
      const exited = once(child, 'exit');
      try {
        let printed = '';
        for await (const part of child.stdout) {
          printed += part;
          if (printed.split('\n').length > 2) break;
        }
        const [head, { address }] = printed
          .trim()
          .split('\n')
          .map(line => JSON.parse(line));
        const fits = validator('view');
        expect([fits(head), fits({ address })]).toEqual([[], []]);
        const { port, pathname } = new URL(address);
        const { headers } = await get(Number(port), pathname);
        const page = await get(Number(port), String(headers.location));
        expect(String(page.body)).toContain('<title>bcachefs</title>');
        const part = await get(Number(port), `${headers.location}device/0`, { Range: 'bytes=4096-4127' });
        expect(part.body.equals(readFileSync(image!).subarray(4096, 4128))).toBe(true);
        child.kill('SIGINT');
        expect(await exited).toEqual([130, null]);
      } finally {
        child.kill('SIGKILL');
      }
    });
  });
});

describe("the page's worker", () => {
  const session = new Session(async source => MemoryDevice.from(new Uint8Array(await (source as Blob).arrayBuffer())));
  const blobs = (name: string) => testImageContents(name).map(contents => new Blob([new Uint8Array(contents)]));

  test('answers about files, the superblock and the buckets', async () => {
    await expect(session.answer('list', { path: '' })).rejects.toThrow('no filesystem is open');
    expect(await session.answer('open', { sources: blobs('multi'), degraded: false })).toMatchObject({ label: '' });
    const entries = await session.answer('list', { path: '' });
    expect(entries.map(({ type }) => type).indexOf('reg')).not.toBe(0);
    expect(entries.map(({ name }) => name)).toContain('large');
    expect(await session.answer('stat', { path: 'large/text' })).toMatchObject({ type: 'reg', sizeBytes: 65536n });
    expect(await session.answer('read', { path: 'large/text', from: 10, to: 20 })).toHaveLength(10);
    await expect(session.answer('read', { path: 'large', from: 0, to: 1 })).rejects.toThrow(/directory/);
    const { summary, subvolumes, damages } = await session.answer('overview', {});
    expect(summary.members.map(({ label }) => label)).toEqual(['ssd.fast', 'hdd.slow']);
    expect(subvolumes.map(({ path }) => path)).toContain('subvolumes/main');
    expect(damages).toEqual([]);
    const maps = await session.answer('map', { cells: 16 });
    expect(maps.map(({ cells }) => cells.length <= 16 && cells.length > 0)).toEqual([true, true]);
    for (const { cells, totals } of maps) {
      const sum = (buckets: readonly { buckets: number }[]) => buckets.reduce((all, one) => all + one.buckets, 0);
      expect(sum(cells)).toBe(sum(totals));
      expect(totals.map(({ type }) => type)).toContain('btree');
    }
    expect(() => structuredClone(maps)).not.toThrow();
  });

  test('says what is needed to open one', async () => {
    const encrypted = blobs('encrypted');
    await expect(session.answer('open', { sources: encrypted, degraded: false })).rejects.toMatchObject({
      code: 'passphrase_needed',
    });
    await session.answer('open', { sources: encrypted, degraded: false, passphrase: 'correct horse' });
    expect(await session.answer('list', { path: '' })).toContainEqual({ name: 'secret', type: 'reg' });
    expect((await session.answer('map', { cells: 4 })).length).toBe(1);
    const [half] = blobs('multi');
    await expect(session.answer('open', { sources: [half!], degraded: false })).rejects.toMatchObject({
      code: 'member_missing',
    });
    await session.answer('open', { sources: [half!], degraded: true });
    expect((await session.answer('map', { cells: 4 })).map(({ name }) => name)).toContain('missing');
  });
});

const browser = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(existsSync);

describe('the page', () => {
  let html = '';
  const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-view-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  beforeAll(async () => {
    ({ html } = await viewerPage(root));
  }, patient(60_000));

  test('is one file of a bounded size that asks no other server for anything', () => {
    expect(html.length).toBeLessThan(700_000);
    expect(html).toContain(`default-src 'none'`);
    expect(html.match(/<(script|link|img)[^>]*\b(src|href)="(?!data:,)/g)).toBeNull();
  });

  const names = [
    '<img src=x onerror=document.title="hit">',
    '"><script>document.title="hit"</script>',
    'back\u202egnp.exe',
    'new\nline',
    '&amp;{{7*7}}',
  ];

  test.skipIf(browser === undefined)(
    `shows a filesystem with hostile names, served and from disk, by keyboard${browser === undefined ? ' (no Chromium is installed)' : ''}`,
    { timeout: patient(120_000) },
    async () => {
      const source = join(folder, 'source');
      const image = join(folder, 'hostile.img');
      const page = join(folder, 'viewer.html');
      writeFileSync(page, html);
      mkdirSync(join(source, 'directory'), { recursive: true });
      for (const name of names)
        writeFileSync(join(source, 'directory', name.replaceAll('/', '\u2215')), `this is ${name}`);
      await succeed('format', ['--fs_size=16M', '--fs_label=<b>x</b>', `--source=${source}`, image]);
      const contents = readFileSync(image);
      const server = await serveView({
        page: html,
        devices: [MemoryDevice.from(contents, { name: '<i>.img' })],
        degraded: false,
      });
      const launched = await chromium.launch({ executablePath: browser!, args: ['--no-sandbox'] });
      try {
        for (const how of ['served', 'from disk'] as const) {
          const tab = await launched.newPage({
            viewport: { width: 1100, height: 700 },
            colorScheme: how === 'served' ? 'light' : 'dark',
          });
          const errors: string[] = [];
          tab.on('pageerror', error => void errors.push(String(error)));
          tab.on('console', message => void (message.type() === 'error' && errors.push(message.text())));
          if (how === 'served') await tab.goto(server.address);
          else {
            await tab.goto(pathToFileURL(page).href);
            await tab.locator('input[type=file]').setInputFiles(image);
          }
          await tab.getByRole('listbox').focus();
          await tab.keyboard.press('Enter');
          await tab.getByRole('option', { name: 'onerror' }).waitFor();
          const shown = await tab.getByRole('option').allTextContents();
          expect(shown.some(text => text.includes('back\\u202egnp.exe'))).toBe(true);
          expect(shown.some(text => text.includes('new\\x0aline'))).toBe(true);
          await tab.getByRole('listbox').focus();
          await tab.keyboard.press('End');
          await tab.locator('pre').filter({ hasText: 'this is' }).waitFor();
          await tab.getByRole('button', { name: 'Overview' }).press('Enter');
          await tab.getByRole('cell', { name: how === 'served' ? '<i>.img' : 'hostile.img' }).waitFor();
          await tab.getByRole('button', { name: 'Buckets' }).press('Enter');
          await tab.getByRole('slider').focus();
          await tab.keyboard.press('ArrowRight');
          await tab.getByText(/^bucket 1:/).waitFor();
          expect(await tab.title()).toBe('<b>x</b> – bcachefs');
          expect(await tab.locator('img, b, i, main script').count()).toBe(0);
          expect(errors).toEqual([]);
          await tab.close();
        }
      } finally {
        await launched.close();
        server.close();
      }
    },
  );
});
