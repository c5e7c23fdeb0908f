// Names without regard to case: Linux 6.16 turns them on and makes some, we find, make, move and remove others, and turn them on in another
// directory; then its check is silent, it finds ours however they are written, and reads what we read.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { checkInvariants, findingText, loadChecksums, openFilesystem } from '@bcachefs-ts/core/engine';
import { afterAll, expect, test } from 'vitest';
import { run, runForBytes, succeed } from '../support/cli.ts';
import { treeManifest } from '../support/tree-manifest.ts';
import { compareManifests, resultOf, runInKernel } from './vm/index.ts';
import { entryKey } from './vm/manifest.ts';
import { kernelSuiteOf } from './vm/suite.ts';

const SERIES = '6.16';
const FS_CASEFOLD_FL = 0x4000_0000;
const suite = await kernelSuiteOf(SERIES);

suite('names without regard to case', () => {
  const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-casefold-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  const image = join(folder, 'image');
  const file = join(folder, 'file');

  test('the kernel and we find what the other has made', async () => {
    await loadChecksums();
    writeFileSync(file, 'contents\n'.repeat(1000));
    await succeed('format', ['-q', '--version=1.28', '--fs_size=256M', image]);
    await runInKernel({
      series: SERIES,
      disks: [{ name: 'disk', path: image }],
      steps: [
        { do: 'mount', disks: ['disk'], options: 'version_upgrade=incompatible' },
        { do: 'mkdir', path: 'deep/any', parents: true },
        { do: 'setFlags', path: 'deep/any', flags: FS_CASEFOLD_FL },
        { do: 'write', path: 'deep/any/Straße', content: 'by the kernel' },
        { do: 'write', path: 'deep/any/Gone', content: 'by the kernel' },
        { do: 'mkdir', path: 'deep/any/Below' },
        { do: 'umount' },
      ],
    });
    const { stdoutBytes } = await runForBytes('cat', [image, 'deep/any/STRASSE']);
    expect(new TextDecoder().decode(stdoutBytes)).toBe('by the kernel');
    expect((await run('put', [image, file, 'deep/any/strasse'])).exitCode).not.toBe(0);
    await succeed('put', [image, file, 'deep/any/ÄPFEL']);
    await succeed('put', [image, file, 'deep/any/below/Œuvre']);
    await succeed('mv', [image, 'deep/any/straße', 'deep/any/ÜBER']);
    await succeed('rm', [image, 'deep/any/gONE']);
    await succeed('mkdir', [image, 'own', 'plain']);
    await succeed('set-file-option', ['--casefold=1', image, 'own']);
    await succeed('put', [image, file, 'own/Ours']);
    const filesystem = openFilesystem([image]);
    const { entries, complaints } = treeManifest(filesystem, () => undefined);
    expect([complaints, checkInvariants(filesystem).findings.map(findingText)]).toEqual([[], []]);
    filesystem.close();

    const names = ['deep/any/über', 'deep/any/äpfel', 'deep/any/BELOW/ŒUVRE', 'own/OURS'];
    const seen = await runInKernel({
      series: SERIES,
      disks: [{ name: 'disk', path: image, throwaway: true }],
      steps: [
        { do: 'fsck', disks: ['disk'], as: 'fsck' },
        { do: 'mount', disks: ['disk'] },
        { do: 'manifest', as: 'seen' },
        { do: 'sh', script: `for name in ${names.join(' ')}; do stat -c %s "$name" || exit 1; done` },
        { do: 'sh', script: '! test -e deep/any/gone && ! test -e deep/any/strasse && ! test -e PLAIN' },
        { do: 'write', path: 'own/NEXT', content: 'x' },
        { do: 'sh', script: 'rm own/next deep/any/ÄPFEL' },
        { do: 'umount' },
        { do: 'fsck', disks: ['disk'], as: 'again' },
      ],
    });
    for (const which of ['fsck', 'again']) expect(resultOf(seen, which).fsck?.complaints, which).toEqual([]);
    const expected = resultOf(seen, 'seen').manifest ?? [];
    expect(expected.map(entryKey)).toContain('deep/any/ÜBER');
    expect(compareManifests(entries, expected, { ignore: ['data'] })).toEqual([]);
  });
});
