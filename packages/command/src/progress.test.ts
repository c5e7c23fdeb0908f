import { describe, expect, test } from 'vitest';
import type { Sink } from './host.ts';
import { bytesText, durationText, Progress, type ProgressMode, progressText } from './progress.ts';

/** A progress on a clock that the test moves, and what it wrote. */
function scene(mode: ProgressMode, columns = 80) {
  const written: string[] = [];
  const clock = { ms: 0 };
  const sink: Sink = { isTerminal: true, columns, writeBytes: () => {}, write: text => written.push(text) };
  return { progress: new Progress(sink, mode, () => clock.ms), clock, written };
}

describe('on a terminal', () => {
  test('nothing for the first second, then a line ten times a second, then it goes away', () => {
    const { progress, clock, written } = scene('terminal');
    const task = progress.start({ what: 'scanning disk.img', total: 1000, unit: 'bytes' });
    for (clock.ms = 10; clock.ms <= 990; clock.ms += 10) task.advance(1);
    expect(written).toEqual([]);
    for (; clock.ms < 1200; clock.ms += 10) task.advance(1);
    expect(written).toEqual([
      '\r\u001b[Kscanning disk.img: 10%, 100 B of 1000 B, 100 B/s, 9 s left',
      '\r\u001b[Kscanning disk.img: 11%, 110 B of 1000 B, 100 B/s, 9 s left',
    ]);
    task.end();
    expect(written.at(-1)).toBe('\r\u001b[K');
    task.advance(1);
    expect(written).toHaveLength(3);
  });

  test('a line is cut to the width of the terminal', () => {
    const { progress, clock, written } = scene('terminal', 20);
    const task = progress.start({ what: 'scanning a file with a long name', unit: 'keys' });
    clock.ms = 2000;
    task.at(5);
    expect(written).toEqual(['\r\u001b[Kscanning a file wit']);
  });
});

test('JSON events: start, at most one a second, end', () => {
  const { progress, clock, written } = scene('json');
  const task = progress.start({ what: 'copying', total: 4, unit: 'keys' });
  for (let i = 0; i < 4; i++) {
    clock.ms += 600;
    task.advance(1);
  }
  task.end();
  expect(written).toEqual([
    '{"event":"start","what":"copying","done":0,"total":4,"unit":"keys","elapsed_ms":0}\n',
    '{"event":"progress","what":"copying","done":2,"total":4,"unit":"keys","elapsed_ms":1200}\n',
    '{"event":"progress","what":"copying","done":4,"total":4,"unit":"keys","elapsed_ms":2400}\n',
    '{"event":"end","what":"copying","done":4,"total":4,"unit":"keys","elapsed_ms":2400}\n',
  ]);
});

test('none writes nothing', () => {
  const { progress, clock, written } = scene('none');
  const task = progress.start({ what: 'copying', unit: 'keys' });
  clock.ms = 5000;
  task.advance(1);
  progress.end();
  expect(written).toEqual([]);
});

test('text', () => {
  const GiB = 1024 ** 3;
  expect(progressText({ what: 'copying', total: 4 * GiB, unit: 'bytes' }, GiB, 10_000)).toBe(
    'copying: 25%, 1 GiB of 4 GiB, 102 MiB/s, 30 s left',
  );
  expect(progressText({ what: 'walking', unit: 'keys' }, 1200, 2000)).toBe('walking: 1200 keys, 600 keys/s');
  expect(progressText({ what: 'nothing', total: 0, unit: 'keys' }, 0, 0)).toBe('nothing: 100%, 0 of 0 keys');
  expect([0, 999, 1000, 1024, 1536, 1e6, 1e9, 5e15].map(bytesText)).toEqual([
    '0 B',
    '999 B',
    '1000 B',
    '1 KiB',
    '1.5 KiB',
    '977 KiB',
    '954 MiB',
    '4.4 PiB',
  ]);
  expect([0.2, 59.4, 60, 3599, 7800].map(durationText)).toEqual([
    '1 s',
    '59 s',
    '1 min 0 s',
    '59 min 59 s',
    '2 h 10 min',
  ]);
});
