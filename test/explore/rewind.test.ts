// Going back in the journal of images that a kernel filled: an earlier state is what a snapshot of that time holds, what is gone is there again, and
// what cannot be reached is refused. Nothing is written.

import { readFileSync, writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { run, runForBytes, succeed } from '../support/cli.ts';
import { testImages, withTestImage } from '../support/images.ts';
import { validator } from '../support/schemas.ts';

const schema = validator('journal_rewind_info');

interface Reach {
  readonly points: readonly { readonly seq: number; readonly seconds: number | null }[];
  readonly reached: number;
  readonly limit: string;
}

async function reachOf(images: readonly string[], passphrase?: string): Promise<Reach> {
  const options = passphrase === undefined ? {} : { env: { BCACHEFS_PASSPHRASE: passphrase } };
  const found = JSON.parse(await succeed('journal_rewind_info', ['--json', '--all', ...images], options));
  expect(schema(found)).toEqual([]);
  return found;
}

const bytesOf = async (...words: readonly string[]) => {
  const { exitCode, stdoutBytes, stderr } = await runForBytes('cat', words);
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
  return stdoutBytes;
};

/** The newest state in which a path is there. */
async function lastWith(image: string, path: string): Promise<number> {
  for (const { seq } of (await reachOf([image])).points.toReversed()) {
    if ((await run('stat', [`--at=${seq}`, image, path])).exitCode === 0) return seq;
  }
  throw new Error(`no state has ${path}`);
}

test('what a kernel deleted and overwrote is as it was, and as the snapshot of that time has it', () =>
  withTestImage('basic', async ([image]) => {
    const before = readFileSync(image!);
    const main = (name: string) => `subvolumes/main/${name}`;
    expect((await run('stat', [image!, main('removed')])).exitCode).toBe(2);
    const seq = await lastWith(image!, main('removed'));
    const at = `--at=${seq}`;
    for (const name of ['removed', 'changed', 'kept']) {
      const then = await bytesOf(at, image!, main(name));
      expect(then.length, name).toBeGreaterThan(0);
      expect(then, name).toEqual(await bytesOf(image!, `subvolumes/before/${name}`));
    }
    expect(await bytesOf(at, image!, main('changed'))).not.toEqual(await bytesOf(image!, main('changed')));
    const { stdout, exitCode } = await run('diff', ['--json', `${image}@at:${seq}`, image!]);
    expect(exitCode).toBe(1);
    expect(stdout).toContain(`{"kind":"only","side":"first","path":"${main('removed')}","type":"reg"}`);
    expect(readFileSync(image!)).toEqual(before);
  }));

test('every reader takes --at, by number and by time', () =>
  withTestImage('upgraded', async ([image]) => {
    const { points } = await reachOf([image!]);
    const newest = points.at(-1)!;
    for (const [command, ...words] of [
      ['ls', '-l', image!],
      ['tree', image!],
      ['stat', image!, 'directory'],
      ['du', image!],
      ['get-file-option', image!, 'directory'],
    ] as const) {
      const now = await succeed(command, words);
      expect(await succeed(command, [`--at=${newest.seq}`, ...words]), command).toBe(now);
      expect(await succeed(command, [`--at=@${newest.seconds}`, ...words]), command).toBe(now);
      expect((await run(command, [`--at=${points[0]!.seq}`, ...words])).exitCode, command).toBeLessThan(2);
    }
    const oldest = new Date(1000 * points[0]!.seconds!).toISOString();
    expect((await run('ls', [`--at=${oldest}`, image!])).exitCode).toBe(0);
  }));

test('list shows the keys of then, of the btrees that files are read from', () =>
  withTestImage('basic', async ([image]) => {
    const seq = await lastWith(image!, 'subvolumes/main/removed');
    const count = async (...words: readonly string[]) =>
      (await succeed('list', ['--btree=subvolumes', ...words, image!])).trimEnd().split('\n').length;
    // Two snapshots were made since.
    expect([await count(`--at=${seq}`), await count()]).toEqual([2, 4]);
    expect(await succeed('list', ['--btree=alloc', `--at=${seq}`, image!])).toBe(
      await succeed('list', ['--btree=alloc', image!]),
    );
    expect((await run('list', ['--mode=nodes', `--at=${seq}`, image!])).exitCode).toBe(2);
  }));

test('each image reaches back to where its journal ends; what is not reached is refused', async () => {
  for (const { name, passphrase } of testImages) {
    await withTestImage(name, async images => {
      const { points, reached, limit } = await reachOf(images, passphrase);
      expect(points.length, name).toBe(reached);
      expect(reached, name).toBeGreaterThan(1);
      expect(limit, name).toMatch(/^entry \d+ (is the oldest in the journal|is not in the journal any more)$/);
      if (passphrase !== undefined) return;
      const [oldest] = points;
      for (const at of [`${oldest!.seq - 1}`, `${points.at(-1)!.seq + 1}`, '@1', 'yesterday', '']) {
        expect(await run('ls', [`--at=${at}`, images.join(':')]), at).toMatchObject({ exitCode: 2, stdout: '' });
      }
    });
  }
});

test('a commit of this program cannot be taken back', () =>
  withTestImage('basic', async ([image]) => {
    await succeed('mkdir', [image!, 'new']);
    const { points, limit } = await reachOf([image!]);
    expect(points.length).toBe(1);
    expect(limit).toMatch(/^entry \d+ /);
    expect(await run('ls', [`--at=${points[0]!.seq - 1}`, image!])).toMatchObject({ exitCode: 2 });
  }));

test('a journal that is damaged anywhere stops it, or not; nothing else happens', () =>
  withTestImage('basic', async ([image]) => {
    const whole = readFileSync(image!);
    const { points } = await reachOf([image!]);
    const jsets: number[] = [];
    const { stdout } = await run('list_journal', ['--json', '--all', '--headers_only', image!]);
    for (const line of stdout.split('\n').slice(1)) {
      if (line !== '') jsets.push(...JSON.parse(line).ptrs.map(({ sector }: { sector: number }) => 512 * sector));
    }
    expect(jsets.length).toBeGreaterThan(5);
    for (const [nr, jset] of jsets.entries()) {
      const damaged = new Uint8Array(whole);
      damaged[jset + 16 + ((nr * 37) % 200)]! ^= 1 << (nr % 8);
      writeFileSync(image!, damaged);
      const shown = await run('journal_rewind_info', ['--all', image!]);
      expect([0, 2, 3, 4]).toContain(shown.exitCode);
      const listed = await run('ls', [`--at=${points[0]!.seq}`, image!]);
      expect([0, 1, 2, 3, 4]).toContain(listed.exitCode);
    }
  }));
