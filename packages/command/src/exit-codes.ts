// The exit codes of every command, in one table. They are part of the interface: scripts branch on them, so a number
// keeps its meaning for good. A command with a convention of its own (fsck(8)) declares it as `exitCodes` and maps
// errors in `exitCodeOf`; the rest of this table then doesn't apply to it.
// 70 is EX_SOFTWARE of sysexits(3); 128 + N is how a shell reports death by signal N.

export interface ExitCodeRow {
  readonly code: number;
  readonly means: string;
}

export const EXIT = {
  ok: 0,
  failed: 1,
  usage: 2,
  corrupt: 3,
  incompatible: 4,
  device: 5,
  bug: 70,
  hangup: 129,
  interrupted: 130,
  terminated: 143,
} as const;

export const exitCodeTable: readonly ExitCodeRow[] = [
  { code: EXIT.ok, means: 'done; also when the reader of a pipe went away' },
  { code: EXIT.failed, means: 'not done, or something was found wrong; the message says what' },
  { code: EXIT.usage, means: 'the command line is wrong, or what it asks for is not possible; nothing was written' },
  { code: EXIT.corrupt, means: 'the filesystem is damaged in a way that stops this command' },
  { code: EXIT.incompatible, means: 'a valid filesystem that this version cannot handle as asked' },
  { code: EXIT.device, means: 'a device or file is missing, busy, too small, or failed' },
  { code: EXIT.bug, means: 'a bug in bcachefs-ts; the stack trace is on stderr' },
  { code: EXIT.hangup, means: 'stopped by SIGHUP, after cleaning up' },
  { code: EXIT.interrupted, means: 'stopped by SIGINT (Ctrl-C), after cleaning up' },
  { code: EXIT.terminated, means: 'stopped by SIGTERM, after cleaning up' },
];
