// A filesystem is not changed when its journal is damaged, unless it is asked for: then what is lost is lost, and a mount will check all.

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { loadChecksums, loadCompression, openFilesystem } from '@bcachefs-ts/core/engine';
import { beforeAll, expect, test } from 'vitest';
import { run, succeed } from '../support/cli.ts';
import { damageJournal } from '../support/damaged-journal.ts';
import { withTestImage } from '../support/images.ts';

beforeAll(async () => {
  await loadChecksums();
  await loadCompression();
});

test('refused with the reason and the way on; with --damaged_journal changed, and to be checked', async () => {
  await withTestImage('unclean', async ([image]) => {
    const seq = damageJournal([image!]);
    const source = join(image!, '..', 'source');
    writeFileSync(source, 'put all the same\n');
    const before = readFileSync(image!);
    const refused = await run('put', [image!, source, 'new']);
    expect(refused.exitCode).toBe(3);
    expect(refused.stderr).toMatch(
      /the journal is damaged \(--damaged_journal changes the filesystem without what is lost\)/,
    );
    expect(readFileSync(image!).equals(before)).toBe(true);

    const done = await run('put', ['--damaged_journal', image!, source, 'new']);
    expect(done).toMatchObject({ exitCode: 0 });
    expect(done.stderr).toContain(`journal entry ${seq}`);
    expect(JSON.parse(await succeed('stat', ['--json', image!, 'new']))).toMatchObject({ files: [{ size: 17 }] });
    expect(await succeed('show-super', ['--fields=ext', image!])).toMatch(
      /Recovery passes required:\s+check_allocations,/,
    );
    const filesystem = openFilesystem([image!]);
    expect(filesystem.replay).toMatchObject({ from: 'clean', problems: [] });
    filesystem.close();
    expect((await run('put', [image!, source, 'another'])).exitCode).toBe(0);
  });
});
