// undump: the device in a qcow2 file, as a sparse image. Mirrors the second half of c_src/cmd_dump.c, v1.36.1.

import { bytesText, defineCommand, runSteps } from '@bcachefs-ts/command';
import { NewFile, openFile, Qcow2Device, UsageError, undump } from '@bcachefs-ts/core/engine';

const SUFFIX = '.qcow2';

export const undumpCommand = defineCommand({
  name: 'undump',
  summary: 'Turn qcow2 files of dump back into images',
  description:
    'Writes NAME for each NAME.qcow2: a sparse image as large as the device was, with everything that is in the dump and zeroes elsewhere. ' +
    'Other qcow2 files are taken too, unless they are encrypted, lie on top of another file, or have features that are not known ' +
    'here. An image appears under its name only when it is whole.',
  examples: [
    { command: 'bcachefs undump broken.qcow2', does: 'Writes the image to broken' },
    { command: 'bcachefs undump --output=broken.img broken.qcow2', does: 'Writes the image to broken.img' },
    { command: 'bcachefs undump --force pair.0.qcow2 pair.1.qcow2', does: 'Overwrites pair.0 and pair.1' },
  ],
  positionals: { files: { count: 'some', file: true, help: 'qcow2 files' } },
  options: {
    force: { type: 'flag', alias: 'f', help: 'overwrite images that are there' },
    output: {
      type: 'string',
      alias: 'o',
      value: 'PATH',
      file: true,
      help: 'where to write the image of a single file to',
    },
  },
  async run(context, args) {
    const files = args.files.map(path => ({ path, target: targetOf(path, args.files.length, args.output) }));
    const twin = files.find(({ target }, i) => files.findIndex(other => other.target === target) !== i);
    if (twin !== undefined) throw new UsageError(`${twin.path} is named twice`);
    const sources: Qcow2Device[] = [];
    const targets: NewFile[] = [];
    const forget = () => {
      for (const target of targets) target.discard();
    };
    const done = context.onInterrupt(forget);
    try {
      for (const { path } of files) sources.push(openQcow2(path));
      for (const { target } of files) targets.push(new NewFile(target, { overwrite: args.force }));
      const images = [];
      for (const [nr, source] of sources.entries()) {
        const target = targets[nr];
        if (target === undefined) continue;
        const task = context.progress.start({ what: `writing ${target.path}`, unit: 'bytes' });
        let contentBytes = 0;
        await runSteps(undump(source, target), bytes => {
          contentBytes = bytes;
          task.at(bytes);
        });
        task.end();
        images.push({ file: source.name, image: target.path, bytes: source.sizeBytes, content_bytes: contentBytes });
      }
      for (const target of targets) target.flush();
      for (const target of targets) target.commit();
      return { images };
    } catch (thrown) {
      forget();
      throw thrown;
    } finally {
      done();
      for (const source of sources) source.close();
    }
  },
  text({ images }, out) {
    for (const { image, bytes, content_bytes } of images) {
      out.line(`${image}: ${bytesText(bytes)}, ${bytesText(content_bytes)} of them from the dump`);
    }
  },
});

function targetOf(path: string, files: number, output: string | undefined): string {
  if (output !== undefined) {
    if (files > 1) throw new UsageError('one name does not do for several files', '--output');
    return output;
  }
  const isNamedSo = path.endsWith(SUFFIX) && path.length > SUFFIX.length && !path.endsWith(`/${SUFFIX}`);
  if (!isNamedSo)
    throw new UsageError(`the name of ${path} does not end with ${SUFFIX}; --output says where to write to`);
  return path.slice(0, -SUFFIX.length);
}

function openQcow2(path: string): Qcow2Device {
  const file = openFile(path, { write: false });
  try {
    return new Qcow2Device(file);
  } catch (thrown) {
    file.close();
    throw thrown;
  }
}
