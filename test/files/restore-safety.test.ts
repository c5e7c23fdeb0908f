// restore into a folder that another user of the host can write to. What that user does is done by the test at the moment that suits it best:
// while a file's data is read, between its data and its attributes, when a folder was just opened. Root plays the other user, by giving
// what it makes away; without root those tests cannot be.

import { spawn } from 'node:child_process';
import {
  chmodSync, chownSync, existsSync, lchownSync, linkSync, lstatSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, renameSync,
  rmdirSync, rmSync, symlinkSync, unlinkSync, writeFileSync,
} from 'node:fs'; // biome-ignore format: one line of names
import { join } from 'node:path';
import { loadNativeCalls } from '@bcachefs-ts/command';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Folder, OpenFolders } from '../../packages/files/src/restore/folder.ts';
import { scratchFolder } from '../support/folder-manifest.ts';
import { crippled, type Fake, type FakeOptions, fakeSource, restoreInto } from './fake-tree.ts';

const MALLORY = 54_321;
const isRoot = process.geteuid?.() === 0;
const WORK = '.bcachefs-restore';

let folder = '';
/** What root has and mallory wants. */
let victim = '';
beforeEach(() => {
  folder = mkdtempSync(join(scratchFolder, 'safety-'));
  chmodSync(folder, 0o755);
  victim = join(folder, 'victim');
  writeFileSync(victim, 'secret', { mode: 0o600 });
  mkdirSync(join(folder, 'etc'));
});
afterEach(() => {
  // Nothing of what is outside changed, whatever happened.
  const { mode, uid, nlink } = lstatSync(victim);
  expect({ mode: mode & 0o7777, uid, nlink, text: readFileSync(victim, 'utf8') }).toEqual({
    mode: 0o600, uid: process.geteuid?.() ?? 0, nlink: 1, text: 'secret',
  }); // biome-ignore format: a record
  expect(readdirSync(join(folder, 'etc'))).toEqual([]);
  rmSync(folder, { recursive: true, force: true });
});

const out = (...names: string[]): string => join(folder, 'out', ...names);

/** A folder that belongs to mallory. */
function mallorysFolder(path: string): void {
  mkdirSync(path);
  if (isRoot) chownSync(path, MALLORY, MALLORY);
}

/** Lets somebody else act each time before a name in a folder is used. */
class WatchedFolders extends OpenFolders {
  readonly #act: () => void;
  constructor(act: () => void) {
    super();
    this.#act = act;
  }
  override used(opened: Folder): void {
    super.used(opened);
    this.#act();
  }
}

const intoOut = (
  tree: readonly Fake[],
  options: FakeOptions = {},
  ...hooks: (((name: string) => void) | undefined)[]
) => restoreInto(out(), fakeSource(tree, ...hooks), options);

describe('a work folder that another user prepared is not used', () => {
  const files: Fake[] = [{ name: 'big', mode: 0o666, data: 'data' }];

  test.skipIf(!isRoot)('one of his own, with what he put into it', async () => {
    mallorysFolder(out());
    mallorysFolder(out(WORK));
    symlinkSync(victim, out(WORK, 'new'));
    symlinkSync(victim, out(WORK, 'state'));
    await expect(intoOut(files)).rejects.toThrow(`${WORK} belongs to user ${MALLORY}: nothing in it is used`);
    expect(readdirSync(out(WORK)).toSorted()).toEqual(['new', 'state']);
    expect(readdirSync(out())).toEqual([WORK]);
  });

  test.skipIf(!isRoot)('one that is root’s, and that everybody may write to', async () => {
    mallorysFolder(out());
    mkdirSync(out(WORK));
    chmodSync(out(WORK), 0o777);
    await expect(intoOut(files)).rejects.toThrow(`${WORK} can be written to by other users`);
    expect(readdirSync(out(WORK))).toEqual([]);
  });

  test.each(['symlink', 'file'])('a %s in its place', async kind => {
    mallorysFolder(out());
    if (kind === 'symlink') symlinkSync(join(folder, 'etc'), out(WORK));
    else writeFileSync(out(WORK), '');
    await expect(intoOut(files)).rejects.toThrow(`${WORK} is not a folder of ours`);
    expect(readdirSync(out())).toEqual([WORK]);
  });

  test.each(['state', 'done'])('one that an image held, with a %s that is not a file', async name => {
    mkdirSync(out(WORK), { recursive: true, mode: 0o700 });
    symlinkSync(victim, out(WORK, name));
    await expect(intoOut(files)).rejects.toThrow('was not made by a restore');
    unlinkSync(out(WORK, name));
    linkSync(victim, out(WORK, name));
    await expect(intoOut(files)).rejects.toThrow('was not made by a restore');
    unlinkSync(out(WORK, name));
  });

  test.skipIf(!isRoot || process.platform !== 'linux')('one that he exchanged when it had just been made', async () => {
    for (const kind of ['folder', 'symlink']) {
      rmSync(out(), { recursive: true, force: true });
      mallorysFolder(out());
      let isDone = false;
      const folders = new WatchedFolders(() => {
        if (isDone || !existsSync(out(WORK))) return;
        isDone = true;
        rmdirSync(out(WORK));
        if (kind === 'folder') mallorysFolder(out(WORK));
        else symlinkSync(join(folder, 'etc'), out(WORK));
      });
      await expect(intoOut(files, { folders })).rejects.toThrow('nothing in it is used');
      expect(isDone).toBe(true);
    }
  });
});

describe.each([true, false])('what happens while it is written (descriptors: %s)', usesDescriptors => {
  const files: Fake[] = [{ name: 'big', mode: 0o666, uid: MALLORY, data: 'data' }];

  test.skipIf(usesDescriptors && process.platform !== 'linux')(
    'the new file is exchanged for a symlink: no permissions go through it, and it gets no name',
    async () => {
      mkdirSync(out());
      const exchange = (): void => {
        unlinkSync(out(WORK, 'new'));
        symlinkSync(victim, out(WORK, 'new'));
      };
      await expect(intoOut(files, { usesDescriptors }, exchange)).rejects.toThrow(
        'is not what was made there any more',
      );
      expect(existsSync(out('big'))).toBe(false);
    },
  );

  test('the new file is exchanged for a hard link of another, after its data', async () => {
    mkdirSync(out());
    const exchange = (name: string): void => {
      if (name !== 'big') return;
      unlinkSync(out(WORK, 'new'));
      linkSync(victim, out(WORK, 'new'));
    };
    await expect(intoOut(files, { usesDescriptors }, undefined, exchange)).rejects.toThrow('is not what was made');
    unlinkSync(out(WORK, 'new'));
  });

  test('without koffi as well', async () => {
    mkdirSync(out());
    const exchange = (): void => {
      unlinkSync(out(WORK, 'new'));
      symlinkSync(victim, out(WORK, 'new'));
    };
    await expect(intoOut(files, { usesDescriptors, native: undefined }, exchange)).rejects.toThrow(
      'is not what was made',
    );
  });

  test('a folder is exchanged for a symlink while it is filled', async () => {
    const tree: Fake[] = [
      { name: 'd', type: 'dir', mode: 0o777, inside: [{ name: 'a', data: '1' }, { name: 'b', data: '2' }] },
    ]; // biome-ignore format: a table
    const exchange = (name: string): void => {
      if (name !== 'a') return;
      renameSync(out('d'), out('moved'));
      symlinkSync(join(folder, 'etc'), out('d'));
    };
    const done = intoOut(tree, { usesDescriptors }, exchange);
    if (!usesDescriptors) {
      await expect(done).rejects.toThrow('is not the folder any more that it was');
      return;
    }
    // Its descriptor is still the folder: what is written goes there, wherever its name is.
    await done;
    expect(readdirSync(out('moved')).toSorted()).toEqual(['a', 'b']);
    expect(readlinkSync(out('d'))).toBe(join(folder, 'etc'));
  });

  test('the work folder is exchanged before it is removed: nothing is deleted through it', async () => {
    const exchange = (): void => {
      renameSync(out(WORK), out('moved'));
      mallorysFolder(out(WORK));
      writeFileSync(out(WORK, 'keep'), '');
      symlinkSync(folder, out(WORK, 'down'));
    };
    const done = intoOut(files, { usesDescriptors }, exchange);
    await expect(done).rejects.toThrow('something else changes the destination');
    expect(readdirSync(out(WORK)).toSorted()).toEqual(['down', 'keep']);
    expect(existsSync(victim)).toBe(true);
  });
});

describe('further names of a file', () => {
  const native = loadNativeCalls();
  const tree: Fake[] = [
    { name: 'home', type: 'dir', uid: MALLORY, inside: [{ name: 'x', file: 'x', data: 'right' }] },
    { name: 'srv', type: 'dir', inside: [{ name: 'y', file: 'x' }, { name: 'z', file: 'x' }] },
  ]; // biome-ignore format: a table

  test('are not made from a name that somebody else has exchanged meanwhile', async () => {
    const exchange = (name: string): void => {
      if (name !== 'home') return;
      unlinkSync(out('home', 'x'));
      symlinkSync(victim, out('home', 'x'));
    };
    const report = await intoOut(tree, {}, undefined, exchange);
    expect(report.totals).toMatchObject({ files: 1, links: 2 });
    expect(readFileSync(out('srv', 'y'), 'utf8')).toBe('right');
    expect(lstatSync(out('srv', 'y')).nlink).toBe(2);
    expect(readdirSync(out()).toSorted()).toEqual(['home', 'srv']);
  });

  test('a device or fifo with several names that may not be made: all of them are named as not kept', async () => {
    const special: Fake[] = [
      { name: 'fifo', type: 'fifo', file: 'f' }, { name: 'fifo2', type: 'fifo', file: 'f' }, { name: 'tty', type: 'chr', file: 't' },
      { name: 'tty2', type: 'chr', file: 't' }, { name: 'zfile', data: 'z' },
    ]; // biome-ignore format: a table
    for (const [nr, host] of [crippled, undefined].entries()) {
      const report = await restoreInto(join(folder, `out${nr}`), fakeSource(special), { native: host });
      expect([...report.unkept.values()].filter(({ kind }) => kind === 'fifos' || kind === 'devices')).toMatchObject([
        { kind: 'fifos', count: 2, paths: ['fifo', 'fifo2'] },
        { kind: 'devices', count: 2, paths: ['tty', 'tty2'] },
      ]);
      expect(report.isIntact).toBe(true);
      expect(readdirSync(join(folder, `out${nr}`))).toEqual(['zfile']);
    }
  });

  test.skipIf(native === undefined)('a fifo with several names has them', async () => {
    const report = await intoOut([
      { name: 'a', type: 'fifo', file: 'f', mode: 0o640 },
      { name: 'b', type: 'fifo', file: 'f' },
    ]);
    expect(report.totals).toMatchObject({ special: 1, links: 1 });
    const [a, b] = ['a', 'b'].map(name => lstatSync(out(name)));
    expect([a?.ino, a?.mode, a?.nlink]).toEqual([b?.ino, 0o010640, 2]);
  });
});

describe.skipIf(!isRoot)('the way to the destination', () => {
  const files: Fake[] = [{ name: 'f', data: 'x' }];

  test('a symlink that another user put there is not followed', async () => {
    const home = join(folder, 'home');
    mallorysFolder(home);
    const link = join(home, 'out');
    symlinkSync(join(folder, 'etc'), link);
    const refusal = `out is a symlink in a folder of user ${MALLORY}, which is not followed; give the path that it leads to`;
    for (const usesDescriptors of [true, false]) {
      await expect(restoreInto(link, fakeSource(files), { usesDescriptors })).rejects.toThrow(refusal);
      await expect(restoreInto(join(link, 'x'), fakeSource(files), { usesDescriptors })).rejects.toThrow(refusal);
    }
    expect(existsSync(join(folder, 'etc', 'x'))).toBe(false);
  });

  test('nor one in a folder like /tmp that is his, nor any from which others are not kept out', async () => {
    const tmp = join(folder, 'tmp');
    mkdirSync(tmp);
    chmodSync(tmp, 0o1777);
    symlinkSync(join(folder, 'etc'), join(tmp, 'his'));
    lchownSync(join(tmp, 'his'), MALLORY, MALLORY);
    await expect(restoreInto(join(tmp, 'his'), fakeSource(files))).rejects.toThrow(
      `his is a symlink of user ${MALLORY}`,
    );
    mkdirSync(join(folder, 'mine'));
    symlinkSync('../mine', join(tmp, 'ours'));
    await restoreInto(join(tmp, 'ours'), fakeSource(files));
    expect(readdirSync(join(folder, 'mine'))).toEqual(['f']);
    chmodSync(tmp, 0o777);
    await expect(restoreInto(join(tmp, 'ours'), fakeSource(files), { merge: true })).rejects.toThrow(
      'ours is a symlink in a folder that everybody may write to',
    );
  });

  test('a folder that was made, and is exchanged as soon as it is open: nothing comes into the other', async () => {
    mallorysFolder(join(folder, 'home'));
    mkdirSync(join(folder, 'full'));
    writeFileSync(join(folder, 'full', 'passwd'), 'x');
    const path = join(folder, 'home', 'out');
    let isDone = false;
    const folders = new WatchedFolders(() => {
      if (isDone || !existsSync(path)) return;
      isDone = true;
      rmdirSync(path);
      symlinkSync(join(folder, 'full'), path);
    });
    await expect(restoreInto(path, fakeSource(files), { folders, merge: true })).rejects.toThrow('no such file');
    expect(readdirSync(join(folder, 'full'))).toEqual(['passwd']);
  });

  test('without descriptors root does not work in a folder of another user', async () => {
    mallorysFolder(out());
    await expect(intoOut(files, { usesDescriptors: false })).rejects.toThrow('belongs to another user');
    expect(readdirSync(out())).toEqual([]);
  });
});

describe.skipIf(!isRoot || process.platform !== 'linux')('a race against another process', () => {
  test('another user exchanges whatever he can, all the time', async () => {
    mallorysFolder(out());
    const script = `
      const fs = require('node:fs');
      process.setegid(${MALLORY}); process.seteuid(${MALLORY});
      const dest = process.argv[1], etc = process.argv[2], victim = process.argv[3];
      const attempt = f => { try { f(); } catch {} };
      process.stdout.write('on');
      for (let nr = 0; ; nr++) {
        for (const name of fs.readdirSync(dest)) {
          const path = dest + '/' + name;
          attempt(() => fs.renameSync(path, dest + '/gone' + nr));
          attempt(() => fs.symlinkSync(nr % 2 ? etc : victim, path));
          attempt(() => { fs.unlinkSync(path); fs.mkdirSync(path); fs.symlinkSync(victim, path + '/new'); });
        }
      }`;
    const attacker = spawn(process.execPath, ['-e', script, out(), join(folder, 'etc'), victim], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    try {
      await new Promise(resolve => attacker.stdout.once('data', resolve));
      const tree: Fake[] = Array.from({ length: 10 }, (_, nr) => ({
        name: `d${nr}`, type: 'dir', mode: 0o777, inside: [{ name: 'f', mode: 0o666, uid: MALLORY, file: `${nr}`, data: 'x' }, { name: 'g', file: `${nr}` }],
      })); // biome-ignore format: a table
      let ends = 0;
      for (let round = 0; round < 20; round++) {
        await intoOut(tree, { merge: true }).then(
          () => ends++,
          (thrown: Error) => {
            expect(thrown.name).toMatch(/^(UsageError|DeviceError)$/);
            ends++;
          },
        );
      }
      expect(ends).toBe(20);
    } finally {
      attacker.kill('SIGKILL');
      await new Promise(resolve => attacker.once('close', resolve));
    }
  });
});
