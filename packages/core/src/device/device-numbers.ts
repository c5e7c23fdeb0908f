// Numbers of devices, dev_t, as the C libraries of Linux have them (gnu_dev_makedev): 12 + 20 bits of major, 8 + 24 bits of minor.

export interface DeviceNumbers {
  readonly major: number;
  readonly minor: number;
}

export function splitDeviceNumber(dev: bigint): DeviceNumbers {
  return {
    major: Number(((dev >> 8n) & 0xfffn) | ((dev >> 32n) & 0xffff_f000n)),
    minor: Number((dev & 0xffn) | ((dev >> 12n) & 0xffff_ff00n)),
  };
}

export function joinDeviceNumber(numbers: DeviceNumbers): bigint {
  const [major, minor] = [BigInt(numbers.major), BigInt(numbers.minor)];
  return ((major & 0xfffn) << 8n) | ((major & ~0xfffn) << 32n) | (minor & 0xffn) | ((minor & ~0xffn) << 12n);
}
