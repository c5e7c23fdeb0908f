import { expect, test } from 'vitest';
import { CorruptError, DeviceError } from '../ondisk/errors.ts';
import { Reporter } from '../report/reporter.ts';
import { FileFinding } from './finding.ts';

test('a finding in file data is one like any other, with what it means for the bytes', () => {
  const where = { device: 'a.img', sector: 80 };
  const found = new FileFinding(
    'healed',
    new CorruptError('data_read_csum_err', where, 'found 1, expected 2'),
    512,
    4096,
  );
  expect(found).toMatchObject({ error: 'data_read_csum_err', where, detail: 'found 1, expected 2' });
  expect(found.facts).toEqual({ detail: 'found 1, expected 2', kind: 'healed', offset: 512, length: 4096 });
  expect(found.text()).toBe('bytes 512 to 4608: healed: a.img sector 80: data_read_csum_err: found 1, expected 2');
  const report = new Reporter({ policy: { kind: 'no' } });
  report.found(found);
  report.found(new FileFinding('lost', new DeviceError('io', 'a.img', 'cannot be read'), 0, 512));
  expect(report.groups().map(({ error, found: count }) => [error, count])).toEqual([
    ['data_read_csum_err', 1],
    ['device_io', 1],
  ]);
});
