// Image files in a temporary folder. Block devices: loop-device.test.ts.

import { execFileSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { DeviceError } from '../ondisk/errors.ts';
import { readBytes } from './block-device.ts';
import { openDevice, openFile, searchSize } from './file-device.ts';
import { isMarked } from './writer-marker.ts';

const folder = mkdtempSync(join(tmpdir(), 'bcachefs-ts-device-'));
afterAll(() => rmSync(folder, { recursive: true }));

let files = 0;
function imageOf(contents: Uint8Array): string {
  const path = join(folder, `disk${files++}.img`);
  writeFileSync(path, contents);
  return path;
}

function kindOf(call: () => unknown): string {
  try {
    call();
  } catch (error) {
    return error instanceof DeviceError ? error.kind : `${error}`;
  }
  return 'nothing thrown';
}

describe('openDevice', () => {
  it('reads and writes an image file', () => {
    const path = imageOf(Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8));
    const device = openDevice(path, { write: true });
    expect(device).toMatchObject({
      name: path,
      kind: 'file',
      sizeBytes: 8,
      logicalSectorBytes: 512,
      physicalSectorBytes: 0, // nothing depends on the host
      rotational: undefined,
      writable: true,
      created: false,
    });
    device.write(2, Uint8Array.of(9, 9));
    device.flush();
    expect(readBytes(device, 0, 8)).toEqual(Uint8Array.of(1, 2, 9, 9, 5, 6, 7, 8));
    device.close();
    device.close();
    expect([...readFileSync(path)]).toEqual([1, 2, 9, 9, 5, 6, 7, 8]);
  });

  it('creates a sparse image, and leaves one that is there as it is', () => {
    const path = join(folder, 'new.img');
    const create = { sizeBytes: 2 ** 33 };
    const device = openDevice(path, { write: true, create });
    expect([device.sizeBytes, device.created]).toEqual([2 ** 33, true]);
    device.write(2 ** 33 - 1, Uint8Array.of(5));
    device.close();
    expect(statSync(path).blocks * 512).toBeLessThan(1 << 20);

    const again = openDevice(path, { write: true, create: { sizeBytes: 4096 } });
    expect([again.sizeBytes, again.created, readBytes(again, 2 ** 33 - 1, 1)[0]]).toEqual([2 ** 33, false, 5]);
    again.close();
  });

  it('grows a short image on request', () => {
    const device = openDevice(imageOf(Uint8Array.of(1)), { write: true });
    device.setSize(1 << 20);
    expect(device.sizeBytes).toBe(1 << 20);
    expect(readBytes(device, (1 << 20) - 1, 1)[0]).toBe(0);
    device.close();
  });

  it('says that there is nothing', () => {
    const path = join(folder, 'nothing.img');
    expect(() => openDevice(path, { write: false })).toThrow(
      `${path}: there is no such device or file; check the path`,
    );
    expect(kindOf(() => openDevice(join(path, 'x'), { write: true, create: { sizeBytes: 1 } }))).toBe('missing');
  });

  it.each([
    { path: folder, words: 'is a directory, expected an image file or a block device' },
    // Raw disks are character devices elsewhere.
    ...(process.platform === 'linux'
      ? [{ path: '/dev/null', words: 'is a character device, expected an image file or a block device' }]
      : []),
  ])('refuses $path', ({ path, words }) => {
    expect(() => openDevice(path, { write: false })).toThrow(expect.objectContaining({ name: 'UsageError' }));
    expect(() => openDevice(path, { write: true })).toThrow(words);
  });

  it('does not write what was opened for reading', () => {
    const device = openFile(imageOf(new Uint8Array(512)), { write: false });
    expect(kindOf(() => device.write(0, Uint8Array.of(1)))).toBe('read-only');
    expect(kindOf(() => device.setSize(1))).toBe('read-only');
    device.flush();
    device.close();
  });

  it('notices a file that shrinks under it', () => {
    const path = imageOf(new Uint8Array(8192));
    const device = openDevice(path, { write: false });
    truncateSync(path, 4096);
    expect(() => readBytes(device, 4000, 200)).toThrow(
      `${path}: ended at byte 4096 while 200 bytes were read at byte 4000; it was 8192 bytes long when it was opened`,
    );
    device.close();
  });

  it('takes use after close for our own bug', () => {
    const device = openDevice(imageOf(new Uint8Array(512)), { write: false });
    device.close();
    expect(() => readBytes(device, 0, 1)).toThrow(expect.objectContaining({ name: 'InvariantError' }));
  });
});

describe('two writers', () => {
  it('refuse each other in one process, and the second may come when the first has gone', () => {
    const path = imageOf(new Uint8Array(512));
    const first = openDevice(path, { write: true });
    expect(() => openDevice(path, { write: true })).toThrow(
      /disk\d+\.img: is (already )?open for writing in (this|another) process/,
    );
    const reader = openDevice(path, { write: false });
    reader.close();
    first.close();
    openDevice(path, { write: true }).close();
  });

  it('refuse each other across processes', () => {
    const path = imageOf(new Uint8Array(512));
    const script = `
      import { openDevice } from ${JSON.stringify(fileURLToPath(new URL('./file-device.ts', import.meta.url)))};
      try { openDevice(process.argv[1], { write: true }); console.log('opened'); }
      catch (error) { console.log(error.message); }`;
    const inAnotherProcess = () =>
      execFileSync(
        process.execPath,
        ['--conditions=@bcachefs-ts/source', '--import', 'tsx', '--input-type=module', '-e', script, path],
        {
          encoding: 'utf8',
          cwd: fileURLToPath(new URL('../../../..', import.meta.url)), // where tsx is installed
        },
      ).trim();

    const device = openDevice(path, { write: true });
    expect(inAnotherProcess()).toMatch(
      process.platform === 'linux'
        ? `${path}: is open for writing in process ${process.pid} (`
        : `${path}: is open for writing in another process`,
    );
    device.close();
    expect(inAnotherProcess()).toBe('opened');
  });

  it('let other programs hold the file open, as the creators of temporary files do', () => {
    const path = imageOf(new Uint8Array(512));
    const fd = openSync(path, 'r+');
    openDevice(path, { write: true }).close();
    closeSync(fd);
  });

  it('know each other by two flags', () => {
    expect(isMarked('pos:\t0\nflags:\t0104002\nmnt_id:\t27\n')).toBe(true);
    expect(isMarked('pos:\t0\nflags:\t0100002\nmnt_id:\t27\n')).toBe(false); // O_RDWR only
    expect(isMarked('pos:\t0\nflags:\t0104000\nmnt_id:\t27\n')).toBe(false); // O_NONBLOCK only
    expect(isMarked('')).toBe(false);
  });
});

describe('searchSize', () => {
  it.each([512, 1024, 512 * 4097, 2 ** 40 + 512])('finds the end of %d bytes by reading', sizeBytes => {
    const path = imageOf(new Uint8Array(0));
    truncateSync(path, sizeBytes);
    const fd = openSync(path, 'r');
    expect(searchSize(path, fd)).toBe(sizeBytes);
    closeSync(fd);
  });
});
