// Within one test process, what scrypt made of a passphrase is not derived again: the salt is the same for all filesystems, so that every
// encrypted image with the same passphrase asks for the same half second of work. The first time is real, and so is every time in the
// programs that tests run. vitest.config.ts loads this before each test file.

import { platform } from '../../packages/core/src/platform/node.ts';

const derived = new Map<string, Uint8Array>();
const { scrypt } = platform;

platform.scrypt = (passphrase, salt, parameters) => {
  const name = JSON.stringify([[...passphrase], [...salt], parameters]);
  const known = derived.get(name) ?? scrypt(passphrase, salt, parameters);
  derived.set(name, known);
  // A caller may wipe its key.
  return known.slice();
};
