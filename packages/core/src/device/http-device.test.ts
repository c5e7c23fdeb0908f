import { describe, expect, test } from 'vitest';
import { DeviceError } from '../ondisk/errors.ts';
import { HttpDevice, type RangeRequest } from './http-device.ts';

const MIB = 1024 * 1024;
const contents = Uint8Array.from({ length: 20 * MIB + 5 }, (_, at) => (at * 31) ^ (at >> 9));

interface Server {
  readonly asked: [from: number, to: number][];
  readonly request: RangeRequest;
  tag: string;
  change: (answer: ReturnType<RangeRequest>) => ReturnType<RangeRequest>;
}

function serverOf(file: Uint8Array): Server {
  const server: Server = {
    asked: [],
    tag: '"one"',
    change: answer => answer,
    request(_, from, to) {
      server.asked.push([from, to]);
      const end = Math.min(to + 1, file.length);
      const headers: Record<string, string> = {
        etag: server.tag,
        'content-range': `bytes ${from}-${end - 1}/${file.length}`,
      };
      return server.change({ status: 206, header: name => headers[name] ?? null, body: file.slice(from, end) });
    },
  };
  return server;
}

const at = 'http://there/a.img';

describe('a device over HTTP', () => {
  test('reads what the file has, wherever it is asked, in pieces that are kept', async () => {
    const server = serverOf(contents);
    const device = await HttpDevice.open(at, server);
    expect(device.sizeBytes).toBe(contents.length);
    for (const [offset, length] of [
      [4096, 4096],
      [0, 10],
      [256 * 1024 - 3, 6],
      [contents.length - 7, 7],
      [3 * MIB + 1, 7 * MIB],
      [5, 0],
    ] as const) {
      const into = new Uint8Array(length);
      device.read(offset, into);
      expect(Buffer.compare(into, contents.subarray(offset, offset + length)), `${offset}`).toBe(0);
    }
    // One for the size, one for each piece, and 7 MiB by two.
    expect(server.asked.map(([from]) => from)).toEqual([0, 0, 256 * 1024, 20 * MIB - 256 * 1024, 3 * MIB, 7 * MIB]);
    expect(Math.max(...server.asked.map(([from, to]) => to - from + 1))).toBe(4 * MIB);
    expect(() => device.read(contents.length - 1, new Uint8Array(2))).toThrow(/range inside/);
    expect(() => device.write(0, new Uint8Array(1))).toThrow(/reading only/);
  });

  const spoil = (change: Server['change'], tag = '"one"') => ({ change, tag });
  test.each([
    ['a file that has changed', spoil(answer => answer, '"two"'), /has changed/],
    ['less than was asked for', spoil(answer => ({ ...answer, body: answer.body.subarray(1) })), /asked for/],
    [
      'another range',
      spoil(({ header, ...answer }) => ({
        ...answer,
        header: name => (name === 'etag' ? header(name) : `bytes 1-9/${contents.length}`),
      })),
      /asked for/,
    ],
    ['a whole file', spoil(answer => ({ ...answer, status: 200 })), /no ranges/],
    ['an error', spoil(answer => ({ ...answer, status: 500 })), /answers 500/],
    ['no size', spoil(answer => ({ ...answer, header: () => null })), /Content-Range/],
    [
      'nothing',
      spoil(() => {
        throw new Error('connection lost');
      }),
      /no answer.*connection lost/,
    ],
  ])('takes %s for an error', async (_, spoiled, message) => {
    const server = serverOf(contents);
    const device = await HttpDevice.open(at, server);
    Object.assign(server, spoiled);
    expect(() => device.read(0, new Uint8Array(8192))).toThrow(DeviceError);
    expect(() => device.read(0, new Uint8Array(8192))).toThrow(message);
  });

  test('says why there is nothing to open', async () => {
    const gone = serverOf(contents);
    gone.change = answer => ({ ...answer, status: 404 });
    await expect(HttpDevice.open(at, gone)).rejects.toMatchObject({ kind: 'missing' });
    gone.change = answer => ({ ...answer, status: 416 });
    expect((await HttpDevice.open(at, gone)).sizeBytes).toBe(0);
    await expect(HttpDevice.open(at)).rejects.toThrow(/in a worker only/);
  });
});
