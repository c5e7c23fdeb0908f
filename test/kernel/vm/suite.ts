// kernelSuite: a vitest suite that needs the kernel machine. Where the machine cannot be had, the suite is skipped with
// one line that says why and what would make it run; with CI=true or BCACHEFS_REQUIRE_KERNEL=1 that is a failure.

import { describe, test } from 'vitest';
import { patient } from '../../support/patience.ts';
import { prepareMachine } from './machine.ts';
import { MachineUnavailable } from './unavailable.ts';

/** Preparing downloads at its first time, so this is not a test's own time limit. */
const unavailable = await prepareMachine().then(
  () => undefined,
  (error: unknown) => {
    if (error instanceof MachineUnavailable) return error;
    throw error;
  },
);

const required = process.env.CI === 'true' || process.env.BCACHEFS_REQUIRE_KERNEL === '1';
let said = false;

/**
 * Like `describe`, for tests that boot kernels.
 * @param timeoutSeconds of each test in it
 */
export function kernelSuite(name: string, define: () => void, timeoutSeconds = 300): void {
  if (!unavailable) {
    describe(name, { timeout: patient(timeoutSeconds * 1000) }, define);
  } else if (required) {
    test(name, () => {
      throw unavailable;
    });
  } else {
    if (!said) console.warn(`kernel suite skipped: ${unavailable.message}`);
    said = true;
    describe.skip(name, define);
  }
}

/** `describe.skipIf` for kernel suites: for what else a suite may lack, such as reference images. */
kernelSuite.skipIf = (skip: boolean) =>
  skip ? (name: string, define: () => void) => describe.skip(name, define) : kernelSuite;
