// show-super: prints superblocks. Reads only, needs no passphrase, and goes on where sector 8 is lost: a copy that the layout lists, or
// that a search finds, is shown instead, and stderr says so.

import {
  CommandFailed,
  type Context,
  defineCommand,
  describeError,
  type ErrorReport,
  type Out,
  withDevice,
} from '@bcachefs-ts/command';
import {
  devicePaths,
  locationText,
  mountability,
  readSuperblock,
  type SbFieldName,
  type SuperblockReading,
  sbFieldIds,
  shortfallText,
  superblockJson,
  superblockText,
  UsageError,
  versionNumber,
} from '@bcachefs-ts/core/engine';

/** What came of one device. */
export type Shown =
  | { readonly device: string; readonly reading: SuperblockReading }
  | { readonly device: string; readonly failure: ErrorReport };

export const showSuperCommand = defineCommand({
  name: 'show-super',
  summary: 'Print the superblock of a device or image',
  description:
    'Prints the header, the options and the usual sections: ext, errors and the members. With several devices each gets a ' +
    'heading, and members are called by the paths given.\n\n' +
    'When the superblock at sector 8 is missing or damaged, a copy is shown that the layout block lists or, without one, that is ' +
    'found at the start or the end of the device; recover-super writes it back.',
  examples: [
    { command: 'bcachefs show-super disk.img', does: 'Prints the header, the options and the members' },
    { command: 'bcachefs show-super --layout --fields=all disk.img', does: 'Prints everything' },
    { command: 'bcachefs show-super --kernels disk.img', does: 'Prints also which kernels can mount it' },
    { command: 'bcachefs show-super --field_only=counters disk.img', does: 'Prints one section and nothing else' },
    {
      command: "bcachefs show-super --json disk.img | jq '.superblocks[0].superblock.options'",
      does: 'Prints the options as JSON',
    },
  ],
  positionals: {
    devices: {
      count: 'some',
      file: true,
      help: 'devices or images, several joined by colons, or directories of images',
    },
  },
  options: {
    fields: {
      type: 'string',
      alias: 'f',
      value: 'NAMES',
      parse: parseFields,
      hints: ['all', ...sbFieldIds.rows.map(row => row.name)],
      help: 'sections to print instead of the usual ones: names with commas between them, or all',
    },
    field_only: {
      type: 'string',
      alias: 'F',
      value: 'NAME',
      parse: parseField,
      hints: sbFieldIds.rows.map(row => row.name),
      conflictsWith: ['fields', 'layout'],
      help: 'print this section only, without the header',
    },
    kernels: {
      type: 'flag',
      alias: 'k',
      help: 'print last which kernels can mount it: read-write, read-only, or not at all',
    },
    layout: { type: 'flag', alias: 'l', help: 'print where the copies of the superblock are' },
  },
  run(context, args) {
    const devices = args.devices.flatMap(devicePaths);
    const shown = devices.map(device => showOne(context, device, devices.length > 1));
    return { shown, layout: args.layout, kernels: args.kernels, fields: args.fields, fieldOnly: args.field_only };
  },
  text({ shown, layout, kernels, fields, fieldOnly }, out) {
    let isFirst = true;
    for (const one of shown) {
      if ('failure' in one) continue; // reported on stderr
      if (shown.length > 1) out.line(`${isFirst ? '' : '\n'}${one.device}:`);
      isFirst = false;
      out.write(
        superblockText(one.reading.sb, {
          layout,
          ...(fields === undefined ? {} : { fields }),
          ...(fieldOnly === undefined ? {} : { fieldOnly }),
          memberName: index => memberPath(one.reading, shown, index),
        }),
      );
      if (kernels) printKernels(one.reading, out);
    }
  },
  json({ shown }) {
    return {
      superblocks: shown.map(one =>
        'failure' in one
          ? { device: one.device, error: one.failure }
          : {
              device: one.device,
              sector: one.reading.sector,
              found_by: one.reading.foundBy,
              failures: one.reading.failures,
              problems: one.reading.problems.map(({ error, where, detail }) => ({
                error,
                where: locationText(where),
                detail,
              })),
              kernels: mountability(one.reading.sb, one.reading.problems.length > 0).map(({ kernel, access, why }) => ({
                kernel: kernel.name,
                version: versionNumber(kernel.version),
                access,
                why: why ?? null,
              })),
              superblock: superblockJson(one.reading.sb),
            },
      ),
    };
  },
  exitCode: ({ shown }) => Math.max(0, ...shown.map(one => ('failure' in one ? one.failure.exitCode : 0))),
});

/** Of the kernels that are known, which can mount it. */
function printKernels({ sb, problems }: SuperblockReading, out: Out): void {
  const rows = mountability(sb, problems.length > 0);
  const width = Math.max(...rows.map(({ kernel }) => kernel.text.length));
  out.line('\nKernels:');
  for (const { kernel, access, why } of rows) {
    const words = access === 'none' ? 'not at all' : access;
    out.line(`  ${`${kernel.text}:`.padEnd(width + 2)}${words}${why === undefined ? '' : ` (${why})`}`);
  }
}

/** @throws CorruptError, IncompatibleError or DeviceError for a device that is alone; several are shown as far as it goes */
function showOne(context: Context, device: string, isOneOfSeveral: boolean): Shown {
  let reading: SuperblockReading;
  let shortfall: string | undefined;
  try {
    ({ reading, shortfall } = withDevice(device, false, opened => {
      const found = readSuperblock(opened);
      return { reading: found, shortfall: shortfallText(opened, found.sb, found.sb.dev_idx) };
    }));
  } catch (thrown) {
    if (!isOneOfSeveral || thrown instanceof CommandFailed) throw thrown;
    const failure = describeError(thrown);
    if (failure.kind === 'bug') throw thrown;
    context.warn(failure.message);
    return { device, failure };
  }
  for (const { sector, message } of reading.failures) context.warn(`${device} sector ${sector}: ${message}`);
  if (reading.failures.length > 0) context.warn(`${device}: showing the copy at sector ${reading.sector}`);
  if (shortfall !== undefined) context.warn(`${device}: ${shortfall}`);
  for (const { where, detail } of reading.problems) {
    context.warn([locationText({ device, ...where }), detail].filter(Boolean).join(': '));
  }
  return { device, reading };
}

/** The path that was given for a member of the same filesystem. */
function memberPath(of: SuperblockReading, shown: readonly Shown[], index: number): string | undefined {
  const found = shown.find(
    one => 'reading' in one && one.reading.sb.uuid === of.sb.uuid && one.reading.sb.dev_idx === index,
  );
  return found?.device;
}

function parseFields(text: string): readonly SbFieldName[] | 'all' {
  return text === 'all' ? 'all' : text.split(',').map(parseField);
}

function parseField(text: string): SbFieldName {
  const row = sbFieldIds.byName(text);
  if (row !== undefined) return row.name;
  const known = sbFieldIds.rows.map(({ name }) => name).join(', ');
  throw new UsageError(`there is no superblock section called ${JSON.stringify(text)}, only ${known}`);
}
