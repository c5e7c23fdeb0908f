// On an encrypted filesystem no two ciphertexts share a nonce: after edits that failed late, were dropped, were killed, were repeated, and on
// copies of an image that went different ways. Every file is one byte all through, another for each edit, so that what was written reveals the
// keystream; journal entries and btree nodes reveal their numbers.

import {
  assert,
  btreeNodeMagic,
  DeviceError,
  type Fault,
  FaultyDevice,
  FileEdit,
  jsetMagic,
  loadChecksums,
  loadCompression,
  type MemoryDevice,
  openMembers,
  type RecordedEvent,
  RecordingDevice,
  readJournal,
} from '@bcachefs-ts/core/engine';
import { beforeAll, describe, expect, test } from 'vitest';
import { journalRanges, writerOn } from '../support/commits.ts';
import { formattedImage, type MemoryImage, MIB } from '../support/memory-images.ts';
import { patient } from '../support/patience.ts';

const FILE_BYTES = 400_000;
const CHACHA_BLOCK = 64;
/** Added to the number of an edit for the one that was dropped before it. */
const DROPPED = 128;
const text = new TextEncoder();

/** What was ever written, by nonce. */
class Ciphertexts {
  /** By the keystream of one block of data, as it begins: the byte that was encrypted with it. */
  readonly #data = new Map<string, number>();
  /** By number: the seal, which is another one for other contents. */
  readonly #sealed = new Map<string, string>();
  /** Each once. */
  readonly reused = new Set<string>();
  edits = 0;
  readonly counts = { data: 0, journal: 0, node: 0 };

  /** @param byte that the files of this edit are made of */
  add(events: readonly RecordedEvent[], uuid: string, byte: number, isData: (offset: number) => boolean): void {
    const [jset, node] = [jsetMagic(uuid), btreeNodeMagic(uuid)];
    for (const event of events) {
      if (event.kind !== 'write' || event.bytes.length < 512) continue;
      const { offset, bytes } = event;
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
      const magic = view.getBigUint64(16, true);
      const seal = Buffer.from(bytes.subarray(0, 16)).toString('hex');
      if (magic === jset) this.#seal('journal', `${view.getBigUint64(24, true)}`, seal);
      else if (magic === node)
        this.#seal('node', `${view.getBigUint64(136, true)}:${view.getBigUint64(144, true)}`, seal);
      else if (isData(offset) && bytes.length >= 65_536) this.#blocks(bytes, byte);
    }
  }

  #seal(kind: 'journal' | 'node', number: string, seal: string): void {
    const name = `${kind} ${number}`;
    const known = this.#sealed.get(name);
    if (known !== undefined && known !== seal) this.reused.add(name);
    this.#sealed.set(name, seal);
    this.counts[kind]++;
  }

  #blocks(bytes: Uint8Array, byte: number): void {
    for (let at = 0; at + CHACHA_BLOCK <= bytes.length; at += CHACHA_BLOCK) {
      const keystream = Buffer.from(bytes.subarray(at, at + 16).map(value => value ^ byte)).toString('latin1');
      const known = this.#data.get(keystream);
      if (known !== undefined && known !== byte) this.reused.add(`data of edits ${known} and ${byte}`);
      this.#data.set(keystream, byte);
      this.counts.data++;
    }
  }
}

/** One life of an image, edit by edit, all of them looked at together with those of its copies. */
class Life {
  readonly #key: Uint8Array | undefined;
  readonly #seen: Ciphertexts;
  device: MemoryDevice;

  constructor(device: MemoryDevice, key: Uint8Array | undefined, seen: Ciphertexts) {
    this.device = device;
    this.#key = key;
    this.#seen = seen;
  }

  copy(): Life {
    return new Life(this.device.clone(), this.#key, this.#seen);
  }

  /**
   * An edit that puts a file of one byte.
   * @param how faults may stop it; `drop`: another edit of the same opening was dropped before, its data written
   * @returns what was written, and whether it was committed
   */
  edit({ faults = [], drop = false }: { faults?: readonly Fault[]; drop?: boolean } = {}) {
    const nr = ++this.#seen.edits;
    assert(nr < DROPPED, 'each edit has a byte of its own');
    const recording = new RecordingDevice(this.device);
    const { writer, options } = writerOn([new FaultyDevice(recording, faults)], this.#key, nr);
    const { uuid } = writer.filesystem.sb;
    const put = (byte: number) => {
      const edit = new FileEdit(writer, options);
      const ref = edit.files.create(edit.files.root(), text.encode(`file ${byte}`), { mode: 0o100644 });
      edit.content.write(ref, 0, new Uint8Array(FILE_BYTES).fill(byte));
      edit.content.flush();
      return edit;
    };
    if (drop) put(DROPPED + nr);
    const dropped = recording.events.length;
    let isCommitted = true;
    try {
      put(nr).commit();
    } catch (thrown) {
      if (!(thrown instanceof DeviceError)) throw thrown;
      isCommitted = false;
    }
    this.#add(recording.events.slice(0, dropped), uuid, DROPPED + nr);
    this.#add(recording.events.slice(dropped), uuid, nr);
    return { recording, isCommitted };
  }

  #add(events: readonly RecordedEvent[], uuid: string, byte: number): void {
    const journal = journalRanges(this.device).at(-1)!;
    this.#seen.add(events, uuid, byte, offset => offset >= journal.offset + journal.length);
  }

  journal() {
    return readJournal(openMembers([this.device]), this.#key);
  }
}

let base: MemoryImage;
beforeAll(async () => {
  await loadChecksums();
  await loadCompression();
  base = formattedImage({ isEncrypted: true, sizeBytes: 64 * MIB });
}, patient(120_000));

function newLife(): { life: Life; seen: Ciphertexts } {
  const seen = new Ciphertexts();
  return { life: new Life(base.devices[0]!.clone(), base.key, seen), seen };
}

function expectFresh({ reused, counts }: Ciphertexts): void {
  expect([...reused]).toEqual([]);
  expect(counts.data).toBeGreaterThan(FILE_BYTES / CHACHA_BLOCK);
  expect(counts.journal).toBeGreaterThan(1);
  expect(counts.node).toBeGreaterThan(10);
}

describe('no nonce is used twice', () => {
  test('after edits that failed late, wherever that was', () => {
    const { life, seen } = newLife();
    let skip = 0;
    while (!life.edit({ faults: [{ kind: 'write-error', skip, times: 1 }] }).isCommitted) {
      skip += skip < 6 ? 1 : 4;
      expect(life.edit().isCommitted).toBe(true);
    }
    expect(skip).toBeGreaterThan(10);
    expect(life.edit({ faults: [{ kind: 'full-after', bytes: FILE_BYTES + 20_000 }] }).isCommitted).toBe(false);
    expect(life.edit({ faults: [{ kind: 'flush-error', skip: 1 }] }).isCommitted).toBe(false);
    life.edit();
    expectFresh(seen);
  });

  test('after an edit of the same opening that was dropped', () => {
    const { life, seen } = newLife();
    life.edit({ drop: true });
    life.edit({ drop: true });
    expectFresh(seen);
  });

  test('after killed edits, as the next opening finds the image', () => {
    const { life, seen } = newLife();
    for (let events = 1; ; events += 5) {
      const before = life.copy().device;
      const { recording } = life.edit();
      if (events > recording.events.length) break;
      recording.replay(before, { events });
      life.device = before;
    }
    expectFresh(seen);
  });

  test('on copies of an image that went different ways', () => {
    const { life, seen } = newLife();
    life.edit();
    const copies = [life, life.copy(), life.copy()];
    for (let round = 0; round < 4; round++) for (const copy of copies) copy.edit();
    expectFresh(seen);
  });

  test('after edits that were undone', () => {
    const { life, seen } = newLife();
    life.edit();
    for (let round = 0; round < 4; round++) {
      const before = life.copy().device;
      life.edit();
      life.edit();
      // What undo makes of the image: test/undo and test/crash/undo.test.ts.
      life.device = before;
    }
    expectFresh(seen);
  });

  test('when the journal of a clean filesystem was lost: its last number is not used again', () => {
    const { life, seen } = newLife();
    life.edit();
    const last = life.journal().entries.at(-1)!.seq;
    for (const { offset, length } of journalRanges(life.device)) life.device.write(offset, new Uint8Array(length));
    life.edit();
    expectFresh(seen);
    expect(life.journal().entries.map(({ seq }) => seq > last)).toEqual([true, true]);
  });

  test('a new filesystem counts from one: its key is new', () => {
    const { life } = newLife();
    expect(life.journal().entries.map(({ seq }) => seq)).toEqual([1]);
  });
});
