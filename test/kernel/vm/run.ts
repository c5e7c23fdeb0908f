// runInKernel: cases in, results out. One boot serves all cases; when a case ends the machine (a reset it asked for, a
// panic, a hang), the machine boots again and goes on with what is left, so that one bad image costs one case.

import path from 'node:path';
import { patient } from '../../support/patience.ts';
import { copySparse } from '../../support/sparse.ts';
import { KernelFailure } from './failure.ts';
import { type FsckReport, readFsckLog, troubleIn } from './fsck-log.ts';
import { makeResultsDisk, writeJobDisk } from './job-disks.ts';
import { type KernelSeries, prepareMachine } from './machine.ts';
import { type ManifestEntry, parseManifestLines } from './manifest.ts';
import { type QemuEnd, runQemu } from './qemu.ts';
import { type AgentRecord, type ReadRecord, readRecords, type StepEnd } from './records.ts';
import { withScratchFolder } from './scratch.ts';
import { type Case, encodeStep, endsInReset, type Step } from './steps.ts';

export interface Disk {
  /** What steps call it: letters, digits, dot, dash and underscore. */
  readonly name: string;
  /** A raw image file. It is written to unless the disk is a throwaway one. */
  readonly path: string;
  /** The image stays as it is: what the machine writes is thrown away at the end. */
  readonly throwaway?: boolean;
  readonly logicalBlockBytes?: number;
  readonly physicalBlockBytes?: number;
}

interface CommonOptions {
  readonly disks: readonly Disk[];
  /** For everything together, boots included. Default 300. Longer where the machine is slow or busy (test/support/patience.ts). */
  readonly timeoutSeconds?: number;
  /** For a step that does not say. Default 60. Longer likewise, as are those that steps give. */
  readonly stepTimeoutSeconds?: number;
  readonly memoryMb?: number;
  readonly cpus?: number;
  readonly extraModules?: readonly string[];
  /** Which kernel. Default 6.12. */
  readonly series?: KernelSeries;
  /** `throw` (default): a failed case is a KernelFailure. `return`: the caller looks at the result. */
  readonly failures?: 'throw' | 'return';
}

/** Either one sequence of steps, or several cases that stand for themselves. */
export type RunOptions = CommonOptions & ({ readonly steps: readonly Step[] } | { readonly cases: readonly Case[] });

export type MachineEnd = 'poweroff' | 'reset' | 'panic' | 'timeout';

export interface StepResult {
  readonly step: Step;
  /** It went as the step wanted it to go. */
  readonly ok: boolean;
  /** Symbolic, such as ENOSPC, of the system call that failed. */
  readonly errno?: string;
  readonly message?: string;
  /** Exit status of a script. */
  readonly status?: number;
  readonly stdout: string;
  readonly stderr: string;
  /** What the kernel said meanwhile, without timestamps. */
  readonly log: readonly string[];
  readonly seconds: number;
  /** What a read or getxattr step read. */
  readonly bytes: Uint8Array;
  /** What a list or listxattr step listed. */
  readonly names: readonly string[];
  /** What a step counted: space, operations. */
  readonly counts: Readonly<Record<string, number>>;
  readonly manifest?: readonly ManifestEntry[];
  readonly fsck?: FsckReport;
}

export interface CaseResult {
  readonly name: string;
  readonly ok: boolean;
  /** Why the case ended: it was done, a step failed, or the machine stopped under it. */
  readonly ended: 'done' | 'failed' | 'panic' | 'timeout' | 'reset' | 'not run';
  readonly steps: readonly StepResult[];
  /** What went wrong outside the steps. */
  readonly message?: string;
  /** What the kernel said after the last step, while things were unmounted. */
  readonly log: readonly string[];
}

export interface RunResult {
  readonly ok: boolean;
  readonly cases: readonly CaseResult[];
  /** The steps of the only case, or of the first. */
  readonly steps: readonly StepResult[];
  /** Of all boots, one after the other. */
  readonly kernelLog: readonly string[];
  readonly kernelRelease: string;
  /** From the start of the first kernel to the first step, by the guest's clock. */
  readonly bootSeconds: number;
  readonly seconds: number;
  /** How each boot ended. */
  readonly ends: readonly MachineEnd[];
}

const BOOT_TIMEOUT_SECONDS = 60;
/** More make it slower: emulated processors spend their time waiting for each other (17 s became 22 s with two). */
const DEFAULT_CPUS = 1;

/**
 * Boots a real Linux kernel, does the steps there, and gives back what happened.
 * @throws KernelFailure if a case failed, unless `failures` is `return`
 * @throws MachineUnavailable where no kernel machine is available
 */
export async function runInKernel(options: RunOptions): Promise<RunResult> {
  const result = await withScratchFolder(scratch => new Run(options, scratch).complete());
  if (!result.ok && options.failures !== 'return') throw new KernelFailure(result);
  return result;
}

/** The result of a case by its name. */
export function caseNamed(result: RunResult, name: string): CaseResult {
  const found = result.cases.find(one => one.name === name);
  if (!found) throw new Error(`no case named ${name}; there are ${result.cases.map(one => one.name).join(', ')}`);
  return found;
}

/** The result of the step that was called `as`. */
export function resultOf(of: { readonly steps: readonly StepResult[] }, as: string): StepResult {
  const found = of.steps.find(result => result.step.as === as);
  if (!found) throw new Error(`no result of a step called ${as}`);
  return found;
}

/** How far a case has come. */
interface Progress {
  readonly index: number;
  readonly case: Case;
  readonly steps: StepResult[];
  ended?: CaseResult['ended'];
  message?: string;
  log: readonly string[];
}

class Run {
  readonly #progress: Progress[];
  readonly #kernelLog: string[] = [];
  readonly #ends: MachineEnd[] = [];
  readonly #startedMs = Date.now();
  readonly #timeoutSeconds: number;
  #bootSeconds = 0;
  #kernelRelease = '';
  #bootsForNothing = 0;

  constructor(
    private readonly options: RunOptions,
    private readonly scratch: string,
  ) {
    const cases = 'cases' in options ? options.cases : [{ name: 'steps', steps: options.steps }];
    this.#progress = cases.map((one, index) => ({ index, case: one, steps: [], log: [] }));
    this.#timeoutSeconds = patient(options.timeoutSeconds ?? 300);
    checkNames(options.disks, cases);
  }

  async complete(): Promise<RunResult> {
    const disks = this.#disksThatKeepTheirState();
    for (let left = this.#left(); left.length > 0; left = this.#left()) {
      if (this.#secondsLeft() <= 0) {
        for (const one of left) one.message = `not run: ${this.#timeoutSeconds} seconds were over`;
        for (const one of left) one.ended = 'not run';
        break;
      }
      await this.#boot(left, disks);
    }
    const cases = this.#progress.map(toCaseResult);
    return {
      ok: cases.every(one => one.ok),
      cases,
      steps: cases[0]?.steps ?? [],
      kernelLog: this.#kernelLog,
      kernelRelease: this.#kernelRelease,
      bootSeconds: this.#bootSeconds,
      seconds: (Date.now() - this.#startedMs) / 1000,
      ends: this.#ends,
    };
  }

  #left(): Progress[] {
    return this.#progress.filter(one => one.ended === undefined);
  }

  #secondsLeft(): number {
    return this.#timeoutSeconds - (Date.now() - this.#startedMs) / 1000;
  }

  /** A throwaway disk must outlive a reset within the run, so there it becomes a copy of our own. */
  #disksThatKeepTheirState(): readonly Disk[] {
    const mayReset = this.#progress.some(one => one.case.steps.some(endsInReset));
    if (!mayReset) return this.options.disks;
    return this.options.disks.map(disk => {
      if (!disk.throwaway) return disk;
      return { ...disk, throwaway: false, path: copySparse(disk.path, path.join(this.scratch, `${disk.name}.copy`)) };
    });
  }

  async #boot(left: readonly Progress[], disks: readonly Disk[]): Promise<void> {
    const machine = await prepareMachine(this.options);
    this.#kernelRelease = machine.kernelRelease;
    const job = path.join(this.scratch, 'job');
    const results = path.join(this.scratch, 'results');
    writeJobDisk(job, this.#job(left, disks));
    makeResultsDisk(results);
    const end = await runQemu({
      machine,
      drives: [
        { path: job, serial: 'job', throwaway: true },
        { path: results, serial: 'results' },
        ...disks.map((disk, index) => ({ ...disk, serial: `disk${index}` })),
      ],
      memoryMb: this.options.memoryMb ?? 1024,
      cpus: this.options.cpus ?? DEFAULT_CPUS,
      scratchFolder: this.scratch,
      timeoutSeconds: this.#secondsLeft(),
      progressFile: {
        path: results,
        timeoutSeconds: patient(Math.max(BOOT_TIMEOUT_SECONDS, this.#longestStepSeconds() + 20)),
      },
    });
    this.#take(readRecords(results), end);
  }

  #job(left: readonly Progress[], disks: readonly Disk[]): object {
    return {
      disks: Object.fromEntries(disks.map((disk, index) => [`disk${index}`, disk.name])),
      stepTimeoutSeconds: patient(this.options.stepTimeoutSeconds ?? 60),
      cases: left.map(one => ({
        name: one.case.name,
        index: one.index,
        startAt: one.steps.length,
        steps: one.case.steps.map(step => ({ ...encodeStep(step), ...stepLimit(step) })),
      })),
    };
  }

  #longestStepSeconds(): number {
    const steps = this.#progress.flatMap(one => one.case.steps);
    return Math.max(this.options.stepTimeoutSeconds ?? 60, ...steps.map(step => step.timeoutSeconds ?? 0));
  }

  /** Adds what one boot did to what is known. */
  #take(records: readonly ReadRecord[], end: QemuEnd): void {
    const machineEnd = howItEnded(records, end);
    this.#ends.push(machineEnd);
    const before = this.#stepsDone();
    let begun: { case: number; step: number } | undefined;
    for (const { record, payload } of records) {
      this.#kernelLog.push(...('log' in record ? record.log : []));
      if (record.type === 'booted' && this.#bootSeconds === 0) this.#bootSeconds = record.uptimeSeconds;
      if (record.type === 'begin') begun = record;
      if (record.type === 'end' || record.type === 'caseEnd') {
        begun = undefined;
        this.#takeEnd(record, payload);
      }
    }
    if (machineEnd !== 'poweroff' && begun) this.#machineStopped(begun, machineEnd, end);
    if (this.#stepsDone() === before) this.#cameToNothing(end, machineEnd);
  }

  /** Grows with every boot that did something. */
  #stepsDone(): number {
    return this.#progress.reduce((sum, one) => sum + one.steps.length + (one.ended === undefined ? 0 : 1), 0);
  }

  #takeEnd(record: AgentRecord & { type: 'end' | 'caseEnd' }, payload: Uint8Array): void {
    const progress = this.#progress[record.case]!;
    if (record.type === 'end') {
      const result = toStepResult(progress.case.steps[record.step]!, record, payload);
      progress.steps.push(result);
      if (!result.ok) progress.ended = 'failed';
    } else {
      progress.log = record.log;
      const [trouble] = troubleIn(record.log);
      const message = record.message ?? (trouble && `the kernel is broken: ${trouble}`);
      if (message) progress.message = message;
      progress.ended ??= message ? 'failed' : 'done';
    }
  }

  /** The machine stopped in the middle of a step: as the step wanted, or not. */
  #machineStopped(
    begun: { case: number; step: number },
    machineEnd: Exclude<MachineEnd, 'poweroff'>,
    end: QemuEnd,
  ): void {
    const progress = this.#progress[begun.case]!;
    const step = progress.case.steps[begun.step];
    const log = consoleSinceLastMark(end.console);
    this.#kernelLog.push(...log);
    const wanted = step !== undefined && endsInReset(step) && machineEnd === 'reset';
    if (step) {
      const message = wanted ? {} : { message: whyItStopped(machineEnd, end) };
      progress.steps.push({ ...EMPTY_RESULT, step, ok: wanted, log, ...message });
    }
    if (!wanted) {
      progress.ended ??= machineEnd;
      progress.message = whyItStopped(machineEnd, end);
      progress.log = log;
    } else if (progress.steps.length === progress.case.steps.length) {
      progress.ended = 'done';
    }
  }

  /** Neither a step nor a case came to its end: the machine, or the agent in it, does not work. */
  #cameToNothing(end: QemuEnd, machineEnd: MachineEnd): void {
    if (this.#secondsLeft() <= 0) return; // complete() says so of every case
    if (++this.#bootsForNothing < 3 && end.killedBecause === undefined && end.status === 0) return; // once more
    const lines = [...end.stderr.trim().split('\n'), ...end.console.trim().split('\n').slice(-25)];
    throw new Error(`the machine does not work (${machineEnd}, qemu ended with ${end.status}):\n${lines.join('\n')}`);
  }
}

/** A step that is given a fraction of a second is meant to run out of time. */
function stepLimit({ timeoutSeconds }: Step): { readonly timeoutSeconds?: number } {
  if (timeoutSeconds === undefined) return {};
  return { timeoutSeconds: timeoutSeconds < 1 ? timeoutSeconds : patient(timeoutSeconds) };
}

const EMPTY_RESULT = { stdout: '', stderr: '', log: [], seconds: 0, bytes: new Uint8Array(), names: [], counts: {} };

function checkNames(disks: readonly Disk[], cases: readonly Case[]): void {
  const names = new Set<string>();
  for (const { name } of disks) {
    if (!/^[\w.-]{1,64}$/.test(name)) throw new Error(`disk name ${JSON.stringify(name)}: letters, digits, . _ - only`);
    if (names.has(name)) throw new Error(`two disks are called ${name}`);
    names.add(name);
  }
  for (const step of cases.flatMap(one => one.steps)) {
    if (!('disks' in step)) continue;
    for (const name of step.disks) if (!names.has(name)) throw new Error(`step ${step.do}: no disk is called ${name}`);
  }
}

function toCaseResult(progress: Progress): CaseResult {
  const ended = progress.ended ?? 'not run';
  const ok = ended === 'done' && progress.message === undefined;
  const message = progress.message === undefined ? {} : { message: progress.message };
  return { name: progress.case.name, ok, ended, steps: progress.steps, log: progress.log, ...message };
}

function toStepResult(step: Step, record: StepEnd, payload: Uint8Array): StepResult {
  const { failed, errno, message, status, stdout = '', stderr = '', log, seconds, names = [], counts = {} } = record;
  const wanted = step.expectFailure;
  const ok = wanted ? failed && (wanted === true || wanted === errno) : !failed || step.allowFailure === true;
  const given = {
    ...(errno ? { errno } : {}),
    ...(message ? { message } : {}),
    ...(status === undefined ? {} : { status }),
  };
  const base = { step, ok, ...given, stdout, stderr, log, seconds, names, counts };
  // In a check it is a complaint in its report. Elsewhere it might go unnoticed.
  const [trouble] = step.do === 'fsck' ? [] : troubleIn(log);
  if (trouble !== undefined) return { ...base, ok: false, message: `the kernel is broken: ${trouble}`, bytes: payload };
  if (failed) return { ...base, bytes: payload };
  if (step.do === 'manifest') return { ...base, bytes: EMPTY_RESULT.bytes, manifest: parseManifestLines(payload) };
  if (step.do === 'fsck') {
    return {
      ...base,
      bytes: payload,
      fsck: readFsckLog(log, { mounted: record.mounted ?? false, errno: record.mountErrno }),
    };
  }
  return { ...base, bytes: payload };
}

function howItEnded(records: readonly ReadRecord[], end: QemuEnd): MachineEnd {
  if (end.killedBecause) return 'timeout';
  if (records.some(({ record }) => record.type === 'done')) return 'poweroff';
  return /Kernel panic - not syncing/.test(end.console) ? 'panic' : 'reset';
}

function whyItStopped(machineEnd: MachineEnd, end: QemuEnd): string {
  if (machineEnd === 'timeout') return `the machine was stopped: ${end.killedBecause}`;
  if (machineEnd === 'panic') return 'the kernel panicked';
  const words = end.stderr.trim().split('\n').slice(-3).join(' | ');
  return `the machine stopped (qemu ended with ${end.status}${words ? `: ${words}` : ''})`;
}

/** What the console shows since the agent's last mark, without timestamps: the kernel's words about the step under way. */
function consoleSinceLastMark(console: string): string[] {
  const lines = console.split('\n').map(line => line.replace(/^\[ *\d+\.\d+\] /, ''));
  const mark = lines.findLastIndex(line => line.startsWith('kernel-vm: '));
  return lines.slice(mark + 1).filter(line => line.trim() !== '');
}
