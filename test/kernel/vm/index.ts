// The door of the kernel machine. See ../README.md for how to use it.

export { KernelFailure } from './failure.ts';
export { type FsckCase, type FsckOptions, kernelFsck, kernelFsckAll } from './fsck.ts';
export { type Complaint, complaintsIn, type FsckReport } from './fsck-log.ts';
export { unlockKey, volumeUuid } from './key.ts';
export { type KernelSeries, type Machine, prepareMachine } from './machine.ts';
export { compareManifests, type ManifestEntry } from './manifest.ts';
export { patternBytes } from './pattern.ts';
export {
  type CaseResult,
  caseNamed,
  type Disk,
  type RunOptions,
  type RunResult,
  resultOf,
  runInKernel,
  type StepResult,
} from './run.ts';
export { type Case, fsckOptions, MNT, type Pattern, type Step, type VolumeKey } from './steps.ts';
export { MachineUnavailable } from './unavailable.ts';
