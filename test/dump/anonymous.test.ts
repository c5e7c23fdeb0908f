// dump --sanitize=all: nothing in the dump says whose filesystem it is, and it can be read as before, an encrypted one without its passphrase.
// That a kernel checks it as it checks the original is test/kernel/sanitise.test.ts.

import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { run, succeed } from '../support/cli.ts';
import { testImages, withTestImage } from '../support/images.ts';

interface Shown {
  readonly external_uuid: string;
  readonly internal_uuid: string;
  readonly label: string;
}

const shown = async (paths: readonly string[]): Promise<readonly Shown[]> =>
  JSON.parse(await succeed('show-super', ['--json', ...paths])).superblocks.map(
    (one: { superblock: Shown }) => one.superblock,
  );

const uuidBytes = (uuid: string) => Buffer.from(uuid.replaceAll('-', ''), 'hex');

describe('dump --sanitize=all', () => {
  test.each(testImages.map(({ name, passphrase }) => [name, passphrase] as const))('of %s', (name, passphrase) =>
    withTestImage(name, async images => {
      const env = passphrase === undefined ? {} : { BCACHEFS_PASSPHRASE: passphrase };
      const out = join(dirname(images[0]!), 'dump');
      const dumped = async (level: string) => {
        const { exitCode, stderr } = await run('dump', ['-f', `--sanitize=${level}`, '-o', out, ...images], { env });
        expect(exitCode, stderr).toBe(0);
        return images.length === 1 ? [`${out}.qcow2`] : images.map((_, nr) => `${out}.${nr}.qcow2`);
      };
      const [before] = await shown(images);
      const text = await succeed('show-super', ['--fields=all', ...images]);
      const memberUuids = [...text.matchAll(/^ {2}UUID: +(\S+)$/gm)].map(match => match[1]!);
      const secrets = [
        uuidBytes(before!.external_uuid),
        uuidBytes(before!.internal_uuid).subarray(8),
        ...memberUuids.map(uuidBytes),
        ...(before!.label === '' ? [] : [Buffer.from(`${before!.label}\0`)]),
        ...(name === 'multi' ? ['ssd', 'fast', 'hdd', 'slow'].map(label => Buffer.from(`${label}\0\0\0\0`)) : []),
      ];
      expect(secrets.length).toBeGreaterThan(2);
      const holds = (paths: readonly string[]) =>
        secrets.map(secret => paths.some(path => readFileSync(path).includes(secret)));
      expect(holds(await dumped('filenames'))).toEqual(secrets.map(() => true));
      const files = await dumped('all');
      expect(holds(files)).toEqual(secrets.map(() => false));

      const after = await shown(files);
      expect(new Set(after.map(one => one.external_uuid)).size).toBe(1);
      expect(after[0]!.internal_uuid.slice(0, 19)).toBe(before!.internal_uuid.slice(0, 19));
      // No passphrase is needed, and the tree has as many names.
      const tree = async (paths: readonly string[]) =>
        (await run('tree', [paths.join(':')], { env })).stdout.trimEnd().split('\n').slice(1);
      expect((await run('ls', [files.join(':')])).exitCode).toBe(0);
      expect((await tree(files)).length).toBe((await tree(images)).length);
    }),
  );
});
