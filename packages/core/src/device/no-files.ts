// What stands for file-device.ts where there are no files (`#open-device` under the condition `browser`).

import { DeviceError } from '../ondisk/errors.ts';

/** @throws DeviceError kind `missing`, always */
export function openDevice(path: string): never {
  throw new DeviceError('missing', path, 'there are no paths in a browser; give the devices themselves');
}
