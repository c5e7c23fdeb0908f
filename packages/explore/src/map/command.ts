// map: what lies where on every member, as a picture of its buckets.

import {
  type Context,
  DamageLog,
  defineCommand,
  devicesPositional,
  EXIT,
  filesystemOptions,
  openForReading,
} from '@bcachefs-ts/command';
import {
  bucketMap,
  type DeviceMap,
  dataTypeText,
  declaredCompressionTypes,
  fsLabelText,
  isAllocInfoStripped,
  loadChecksums,
  loadCompression,
  sectorsToBytes,
  type TypeTotal,
  UsageError,
} from '@bcachefs-ts/core/engine';
import { isEmptyType } from './dots.ts';
import { mapSvg } from './svg.ts';
import { printDevice } from './text.ts';

const CELLS = 4096;
const CELLS_MAX = 16_384;
const ROWS = 8;

interface Mapped {
  readonly uuid: string;
  readonly label: string;
  readonly devices: readonly DeviceMap[];
  readonly rows: number;
  readonly isSvg: boolean;
  readonly damages: readonly string[];
}

export const mapCommand = defineCommand({
  name: 'map',
  summary: 'Draw what is in the buckets of every device',
  description:
    'Draws each member as dots in the order of its buckets. A dot is one bucket, or as many neighbours as it takes to fit; it shows the kind ' +
    'of data that takes most of its room. With colours, two dots share a character; without, each dot is a letter, a small one where less ' +
    'than half of the room is taken. A table below says what is what, how full its buckets are, and how much room is left over in those in use.\n\n' +
    'Reads the allocation info alone, also of missing members; what the journal adds counts. Buckets whose part of it is lost appear as ' +
    'free, which is reported.',
  examples: [
    { command: 'bcachefs map disk.img', does: 'Draws what is where' },
    { command: 'bcachefs map --svg sda.img sdb.img > map.svg', does: 'Draws it for a browser' },
    { command: "bcachefs map --json disk.img | jq '.devices[].totals'", does: 'Prints buckets and bytes of each kind' },
  ],
  positionals: devicesPositional,
  options: {
    svg: { type: 'flag', help: 'print an SVG drawing' },
    rows: { type: 'number', value: 'N', min: 1, max: 200, default: ROWS, help: 'lines that a device takes at most' },
    cells: {
      type: 'number',
      value: 'N',
      min: 1,
      max: CELLS_MAX,
      default: CELLS,
      help: 'of a device in --svg and --json at most; neighbouring buckets share one',
    },
    ...filesystemOptions,
  },
  async run(context: Context, { svg, rows, cells, ...args }): Promise<Mapped> {
    if (svg && context.json) throw new UsageError('--svg and --json are two ways to print the same', '--svg');
    await loadChecksums();
    const filesystem = await openForReading(context, args);
    try {
      await loadCompression(declaredCompressionTypes(filesystem.sb));
      const log = new DamageLog(context);
      const { sb } = filesystem;
      if (isAllocInfoStripped(sb)) log.report('the allocation info was dropped: which buckets are in use is not known');
      else if (filesystem.btree('alloc').root?.key === undefined) {
        log.report('there is no allocation info: which buckets are in use is not known');
      }
      const devices = bucketMap(filesystem, { cellsMax: cells, onDamage: log.onDamage });
      log.finish();
      return { uuid: sb.user_uuid, label: fsLabelText(sb.label), devices, rows, isSvg: svg, damages: log.messages };
    } finally {
      filesystem.close();
    }
  },
  async text({ uuid, label, devices, rows, isSvg }, out) {
    if (isSvg) {
      out.write(mapSvg(label === '' ? uuid : `${label} (${uuid})`, devices));
      return;
    }
    for (const [nr, device] of devices.entries()) {
      if (nr > 0) out.line();
      await printDevice(device, rows, out);
    }
  },
  json: ({ uuid, devices, damages }) => ({ filesystem: uuid, devices: devices.map(deviceJson), damages }),
  exitCode: ({ damages }) => (damages.length > 0 ? EXIT.failed : EXIT.ok),
});

function deviceJson({ path, label, bucketSizeSectors, firstBucket, bucketsPerCell, ...device }: DeviceMap): object {
  const types = (totals: readonly TypeTotal[]) => totals.map(total => typeJson(total, bucketSizeSectors));
  return {
    index: device.index,
    device: path ?? null,
    label: label ?? null,
    bucket_size: sectorsToBytes(bucketSizeSectors),
    first_bucket: firstBucket,
    buckets: device.buckets,
    buckets_per_cell: bucketsPerCell,
    totals: types(device.totals),
    cells: device.cells.map(cell => ({ first: cell.firstBucket, buckets: cell.buckets, types: types(cell.types) })),
  };
}

function typeJson({ dataType, buckets, sectors, fragmentedSectors }: TypeTotal, bucketSizeSectors: number): object {
  return {
    data_type: dataTypeText(dataType),
    buckets,
    size: sectorsToBytes(isEmptyType(dataType) ? buckets * bucketSizeSectors : sectors),
    fragmented: sectorsToBytes(fragmentedSectors),
  };
}
