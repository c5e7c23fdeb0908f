// kernelSuite: a vitest suite that needs the kernel machine. Where the machine cannot be had, the suite is skipped with
// one line that says why and what would make it run; with CI=true or BCACHEFS_REQUIRE_KERNEL=1 that is a failure.

import { describe, test } from 'vitest';
import { patient } from '../../support/patience.ts';
import { type KernelSeries, prepareMachine } from './machine.ts';
import { MachineUnavailable } from './unavailable.ts';

const required = process.env.CI === 'true' || process.env.BCACHEFS_REQUIRE_KERNEL === '1';
let said = false;

/** Preparing downloads at its first time, so this is not a test's own time limit. */
const whyUnavailable = (series: KernelSeries): Promise<MachineUnavailable | undefined> =>
  prepareMachine({ series }).then(
    () => undefined,
    (error: unknown) => {
      if (error instanceof MachineUnavailable) return error;
      throw error;
    },
  );

/**
 * Like `describe`, for tests that boot kernels.
 * @param timeoutSeconds of each test in it
 */
export type KernelSuite = (name: string, define: () => void, timeoutSeconds?: number) => void;

/** A suite for one of the kernels, once its machine is there. */
export async function kernelSuiteOf(series: KernelSeries): Promise<KernelSuite> {
  const unavailable = await whyUnavailable(series);
  return (name, define, timeoutSeconds = 300) => {
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
  };
}

const suite = await kernelSuiteOf('6.12');

/** For the kernel that judges what is written by default. */
export function kernelSuite(name: string, define: () => void, timeoutSeconds?: number): void {
  suite(name, define, timeoutSeconds);
}

/** `describe.skipIf` for kernel suites: for what else a suite may lack, such as reference images. */
kernelSuite.skipIf = (skip: boolean) =>
  skip ? (name: string, define: () => void) => describe.skip(name, define) : kernelSuite;
