// What the page's worker does: one open filesystem, and answers about it. Nothing of the web is in here but what is given, so that tests run it
// anywhere. Answers are plain values that can be posted.

import { Bcachefs, type BlockDevice, type FileStat, type FilesystemSummary, type SpaceUsage } from '@bcachefs-ts/core';
import {
  bucketMap,
  type Damage,
  dataTypeText,
  declaredCompressionTypes,
  type Filesystem,
  filesystemOf,
  isAllocInfoStripped,
  loadCompression,
  openMembers,
  sectorsToBytes,
} from '@bcachefs-ts/core/engine';

/** An image: what was dragged into the page, or the address of one and its name. */
export type Source = Blob | { readonly address: string; readonly name: string };

export interface Questions {
  open: { readonly sources: readonly Source[]; readonly passphrase?: string; readonly degraded: boolean };
  overview: object;
  list: { readonly path: string };
  stat: { readonly path: string };
  read: { readonly path: string; readonly from: number; readonly to: number };
  map: { readonly cells: number };
}

export interface Answers {
  open: { readonly label: string; readonly uuid: string };
  overview: Overview;
  list: readonly Entry[];
  stat: FileStat & { readonly target: string | undefined };
  read: Uint8Array;
  map: readonly MapOfDevice[];
}

export type Kind = keyof Questions;

export interface Entry {
  readonly name: string;
  readonly type: string;
}

export interface Overview {
  readonly summary: FilesystemSummary;
  readonly usage: SpaceUsage;
  readonly subvolumes: readonly { readonly id: number; readonly path: string | undefined; readonly kind: string }[];
  readonly damages: readonly string[];
}

/** One device, its cells with the data type that takes most of each. */
export interface MapOfDevice {
  readonly name: string;
  readonly label: string;
  readonly bucketBytes: number;
  readonly cells: readonly MapSquare[];
  readonly totals: readonly {
    readonly type: string;
    readonly buckets: number;
    readonly bytes: number;
    readonly spareBytes: number;
  }[];
  /** Why some of it is not known; empty when all is. */
  readonly lost: readonly string[];
}

export interface MapSquare {
  readonly firstBucket: number;
  readonly buckets: number;
  readonly type: string;
  /** Of its room, 0 to 1. */
  readonly fullness: number;
}

/** Listeners are called for each loss; so many are kept. */
const DAMAGES_KEPT = 100;

export class Session {
  readonly #deviceOf: (source: Source) => Promise<BlockDevice>;
  readonly #damages = new Set<string>();
  #open:
    | { readonly fs: Bcachefs; readonly devices: readonly BlockDevice[]; readonly asked: Questions['open'] }
    | undefined;
  #engine: Filesystem | undefined;

  constructor(deviceOf: (source: Source) => Promise<BlockDevice>) {
    this.#deviceOf = deviceOf;
  }

  /** @throws what core throws */
  async answer<K extends Kind>(kind: K, question: Questions[K]): Promise<Answers[K]>;
  async answer(kind: Kind, question: Questions[Kind]): Promise<Answers[Kind]> {
    switch (kind) {
      case 'open':
        return this.#openAll(question as Questions['open']);
      case 'overview':
        return this.#overview();
      case 'list':
        return this.#list((question as Questions['list']).path);
      case 'stat':
        return this.#stat((question as Questions['stat']).path);
      case 'read': {
        const { path, from, to } = question as Questions['read'];
        return this.#fs.readFile(path, { from, to });
      }
      case 'map':
        return this.#map((question as Questions['map']).cells);
    }
  }

  get #fs(): Bcachefs {
    if (this.#open === undefined) throw new Error('no filesystem is open');
    return this.#open.fs;
  }

  async #openAll(asked: Questions['open']): Promise<Answers['open']> {
    this.#open?.fs.close();
    this.#open = undefined;
    this.#engine = undefined;
    this.#damages.clear();
    const devices: BlockDevice[] = [];
    for (const source of asked.sources) devices.push(await this.#deviceOf(source));
    const { passphrase, degraded } = asked;
    const onDamage = ({ message }: Damage) => this.#keep(message);
    const fs = await Bcachefs.openDevices(devices, { passphrase, degraded, onDamage });
    this.#open = { fs, devices, asked };
    const { label, uuid } = fs.summary;
    return { label, uuid };
  }

  #keep(message: string): void {
    if (this.#damages.size < DAMAGES_KEPT) this.#damages.add(message);
  }

  #overview(): Overview {
    const fs = this.#fs;
    const subvolumes = fs.subvolumes().map(({ id, path, isSnapshot, isReadOnly }) => {
      const kind = `${isSnapshot ? 'snapshot' : 'subvolume'}${isReadOnly ? ', read-only' : ''}`;
      return { id, path, kind };
    });
    return { summary: fs.summary, usage: fs.usage(), subvolumes, damages: [...this.#damages] };
  }

  #list(path: string): readonly Entry[] {
    const collator = new Intl.Collator(undefined, { numeric: true });
    const rank = (type: string) => (type === 'dir' || type === 'subvol' ? 0 : 1);
    return this.#fs
      .readdir(path)
      .map(({ name, type }) => ({ name, type }))
      .toSorted((a, b) => rank(a.type) - rank(b.type) || collator.compare(a.name, b.name));
  }

  #stat(path: string): Answers['stat'] {
    const stat = this.#fs.lstat(path);
    return { ...stat, target: stat.type === 'lnk' ? this.#fs.readlink(path) : undefined };
  }

  async #map(cells: number): Promise<readonly MapOfDevice[]> {
    if (this.#open === undefined) throw new Error('no filesystem is open');
    const { devices, asked } = this.#open;
    const passphrase = asked.passphrase === undefined ? undefined : new TextEncoder().encode(asked.passphrase);
    this.#engine ??= filesystemOf(openMembers(devices), { passphrase, degraded: asked.degraded });
    await loadCompression(declaredCompressionTypes(this.#engine.sb));
    const lost = new Set<string>();
    if (isAllocInfoStripped(this.#engine.sb))
      lost.add('the allocation info was dropped: which buckets are in use is not known');
    const maps = bucketMap(this.#engine, { cellsMax: cells, onDamage: ({ message }) => void lost.add(message) });
    return maps.map(device => ({
      name: device.path ?? 'missing',
      label: device.label ?? '',
      bucketBytes: sectorsToBytes(device.bucketSizeSectors),
      cells: device.cells.map(({ firstBucket, buckets, types }) => {
        // What holds data hides what does not; free cells are what most of their buckets are.
        const most = types.toSorted((a, b) => b.sectors - a.sectors || b.buckets - a.buckets)[0];
        const sectors = types.reduce((sum, type) => sum + type.sectors, 0);
        const room = buckets * device.bucketSizeSectors;
        const type = most === undefined ? 'free' : dataTypeText(most.dataType);
        return { firstBucket, buckets, type, fullness: room === 0 ? 0 : Math.min(1, sectors / room) };
      }),
      totals: device.totals.map(({ dataType, buckets, sectors, fragmentedSectors }) => ({
        type: dataTypeText(dataType),
        buckets,
        bytes: sectorsToBytes(sectors),
        spareBytes: sectorsToBytes(fragmentedSectors),
      })),
      lost: [...lost],
    }));
  }
}
