import { expect, test } from 'vitest';
import { joinDeviceNumber, splitDeviceNumber } from './device-numbers.ts';

test('numbers of devices, taken apart and joined', () => {
  // What gnu_dev_makedev makes of them.
  const known: readonly [bigint, number, number][] = [
    [0x801n, 8, 1],
    [0x1111_2c70n, 300, 70_000],
    [0xffff_f000_000f_ff00n, 0xffff_ffff, 0],
    [0x0000_0fff_fff0_00ffn, 0, 0xffff_ffff],
  ];
  for (const [dev, major, minor] of known) {
    expect(splitDeviceNumber(dev)).toEqual({ major, minor });
    expect(joinDeviceNumber({ major, minor })).toBe(dev);
  }
});
