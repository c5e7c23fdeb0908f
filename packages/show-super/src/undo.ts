// undo: puts back what a command has overwritten, from the undo file that it wrote (--undo_file).

import { bytesText, type Context, defineCommand, identifyMember, type Out, runSteps } from '@bcachefs-ts/command';
import {
  type BlockDevice,
  loadChecksums,
  memberPaths,
  openDevice,
  openFile,
  planUndo,
  printable,
  UndoLog,
  type UndoPlan,
} from '@bcachefs-ts/core/engine';

interface Undone {
  readonly undoFile: string;
  readonly command: string;
  readonly time: string;
  readonly isFinished: boolean;
  readonly action: 'undone' | 'dry run' | 'none needed';
  readonly devices: UndoPlan['devices'];
}

export const undoCommand = defineCommand({
  name: 'undo',
  summary: 'Undo a command, from the file that its --undo_file made',
  description:
    'Every command that writes to devices takes --undo_file=FILE, and saves there what it is about to overwrite. This puts it back: ' +
    'afterwards the devices are what they were before the command, byte for byte.\n\n' +
    'Everything is looked at before the first write. All devices that the command has changed have to be named, in any order and under any ' +
    'name, and each sector has to be as the command left it: once something else has written to the filesystem, a mount included, ' +
    'nothing can be undone any more. Of several commands the last one is undone first.\n\n' +
    'A command that was cut off can be undone as well, and so can one that failed. If undo itself is cut off, ask for the same again: ' +
    'until it is done the devices have no valid superblocks, so that nothing mounts what is half of one state and half of the other.\n\n' +
    'On an encrypted filesystem the counters that nonces are made of do not go back: what is written later begins at a random distance, as ' +
    'after each opening.\n\n' +
    'The file holds what was on the devices, in the clear unless the filesystem is encrypted. It is only read here: remove it when it is ' +
    'not needed any more.',
  examples: [
    { command: 'bcachefs rm --undo_file=rm.undo -r disk.img home/anna', does: 'Removes files, and can be undone' },
    { command: 'bcachefs undo -n rm.undo disk.img', does: 'Says whether it can be undone, and what would be put back' },
    { command: 'bcachefs undo rm.undo disk.img', does: 'Undoes it' },
    { command: 'bcachefs undo mkfs.undo /dev/sdb /dev/sdc', does: 'Brings back what format has overwritten' },
  ],
  positionals: {
    undo_file: { count: 'one', file: true, help: 'what --undo_file has made' },
    devices: { count: 'some', file: true, help: 'all devices and images that the command has changed; not mounted' },
  },
  options: {
    dry_run: { type: 'flag', alias: 'n', help: 'look at everything, say what would be put back, and write nothing' },
  },
  async run(context, args): Promise<Undone> {
    await loadChecksums();
    const source = openFile(args.undo_file, { write: false });
    const opened: BlockDevice[] = [];
    try {
      const log = new UndoLog(source);
      for (const path of memberPaths(args.devices)) opened.push(openDevice(path, { write: !args.dry_run }));
      const plan = planUndo(log, opened, identifyMember);
      const action = plan.isUndone ? 'none needed' : args.dry_run ? 'dry run' : 'undone';
      if (action === 'undone') await putBack(context, plan);
      const { command, time } = log.about;
      return { undoFile: args.undo_file, command, time, isFinished: log.isFinished, action, devices: plan.devices };
    } finally {
      for (const device of opened) device.close();
      source.close();
    }
  },
  text: printUndone,
  json: ({ undoFile, command, time, isFinished, action, devices }) => ({
    undo_file: undoFile,
    command,
    time,
    finished: isFinished,
    action,
    devices: devices.map(({ name, nameThen, differentBytes, sizeBytes, sizeBefore }) => ({
      path: name,
      path_then: nameThen,
      restored_bytes: differentBytes,
      size: sizeBefore,
      size_found: sizeBytes,
    })),
  }),
});

async function putBack(context: Context, plan: UndoPlan): Promise<void> {
  const total = plan.devices.reduce((sum, { differentBytes }) => sum + differentBytes, 0);
  const task = context.progress.start({ what: 'putting back what was there', unit: 'bytes', total });
  await runSteps(plan.steps(), bytes => task.advance(bytes));
  task.end();
}

function printUndone({ command, time, isFinished, action, devices }: Undone, out: Out): void {
  const what = `${printable(command)} of ${printable(time)}${isFinished ? '' : ', which was cut off,'}`;
  const first = {
    undone: `Undid ${what}`,
    'dry run': `Dry run, nothing was written: would undo ${what}`,
    'none needed': `The devices are as they were before ${what}; nothing was written`,
  };
  out.line(first[action]);
  if (action === 'none needed') return;
  for (const { name, differentBytes, sizeBytes, sizeBefore } of devices) {
    const parts = [`${bytesText(differentBytes)} put back`];
    if (sizeBytes !== sizeBefore) parts.push(`its size is ${sizeBefore} bytes again`);
    out.line(`${printable(name)}: ${parts.join(', ')}`);
  }
}
