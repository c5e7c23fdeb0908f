// Changes that are written in parts before their commit: what is on the devices counts as it did until then, whatever has been written, and
// the parts leave what one transaction would have left.

import {
  BatchedEdit,
  bucketStateOf,
  checkInvariants,
  FileEdit,
  type FileRef,
  FileTree,
  findingText,
  loadChecksums,
  type MemoryDevice,
  members,
  RecordingDevice,
} from '@bcachefs-ts/core/engine';
import { beforeAll, describe, expect, test } from 'vitest';
import { writerOn } from '../support/commits.ts';
import { openOn } from '../support/cut-states.ts';
import { treeText } from '../support/file-model.ts';
import { formattedImage, MIB } from '../support/memory-images.ts';

beforeAll(loadChecksums);

const text = new TextEncoder();
const FILES = 120;
const CHANGES_MAX = 100;

function create(edit: FileEdit, directory: FileRef, name: string, sizeBytes: number): void {
  const file = edit.files.create(directory, text.encode(name), { mode: 0o100644 });
  edit.content.write(file, 0, text.encode(`${name} `.repeat(Math.ceil(sizeBytes / 4))).subarray(0, sizeBytes));
}

/** A filesystem with some files, which the change removes. */
function beginning(): readonly MemoryDevice[] {
  const { devices } = formattedImage({ sizeBytes: 32 * MIB });
  const { writer, options } = writerOn(devices, undefined, 1);
  const edit = new FileEdit(writer, options);
  for (let nr = 0; nr < FILES; nr++) create(edit, edit.files.root(), `old ${nr}`, 100 * nr);
  edit.commit();
  return devices;
}

/** @param between called after each file */
function change(batches: { readonly edit: FileEdit }, between: () => void): void {
  const root = batches.edit.files.root();
  for (let nr = 0; nr < FILES; nr++) {
    const { edit } = batches;
    edit.files.remove(root, text.encode(`old ${nr}`));
    create(edit, root, `new ${nr}`, 120 * nr);
    if (nr % 2 === 1)
      edit.content.write(edit.files.lookup(root, text.encode(`new ${nr - 1}`))!, 3000, text.encode('again'));
    between();
  }
}

const stateOf = (devices: readonly MemoryDevice[]) => {
  const filesystem = openOn(devices);
  return {
    tree: treeText(filesystem, ''),
    findings: checkInvariants(filesystem).findings.map(findingText),
  };
};

describe('a change in parts', () => {
  test('leaves what one transaction leaves, and keeps no more keys than a part has', () => {
    const [whole, parts] = [beginning(), beginning()];
    const one = writerOn(whole, undefined, 2);
    const edit = new FileEdit(one.writer, one.options);
    change({ edit }, () => undefined);
    edit.commit();

    const { writer, options } = writerOn(parts, undefined, 2);
    const batches = new BatchedEdit(writer, { ...options, isOneCommit: true, changesMax: CHANGES_MAX });
    const sizes: number[] = [];
    change(batches, () => {
      sizes.push(batches.edit.tx.size);
      batches.step();
    });
    batches.finish();
    // A part ends with the file that makes it large enough.
    expect(Math.max(...sizes)).toBeLessThan(CHANGES_MAX + 50);
    expect(edit.tx.size).toBeGreaterThan(4 * CHANGES_MAX);
    expect(batches.commits).toBe(1);
    expect(stateOf(parts)).toEqual(stateOf(whole));
    expect(stateOf(parts).findings).toEqual([]);
  });

  test('writes to nothing but free buckets before its commit', () => {
    const devices = beginning();
    const base = openOn(devices.map(device => device.clone()));
    const bucketBytes = members(base.sb)[0]!.bucket_size * 512;
    const recorded = devices.map(device => new RecordingDevice(device));
    const { writer, options } = writerOn(recorded, undefined, 2);
    const batches = new BatchedEdit(writer, { ...options, isOneCommit: true, changesMax: CHANGES_MAX });
    change(batches, () => batches.step());
    batches.edit.content.flush();
    const written = new Set<number>();
    for (const event of recorded[0]!.events) {
      if (event.kind !== 'write') continue;
      const last = event.offset + event.bytes.length - 1;
      for (let nr = Math.floor(event.offset / bucketBytes); nr * bucketBytes <= last; nr++) written.add(nr);
    }
    expect(written.size).toBeGreaterThan(10);
    for (const { k, value } of [...base.btree('alloc').keys()]) {
      const state = bucketStateOf({ k, value });
      const isFree = state.dirtySectors + state.cachedSectors === 0;
      if (!isFree) expect(written, `bucket ${k.p[1]}`).not.toContain(k.p[1]);
    }
    const { tree } = stateOf(devices);
    expect(tree).toEqual(treeText(base, ''));
    batches.finish();
    expect(stateOf(devices).tree).not.toEqual(tree);
  });

  test('uses the room of its own parts again', () => {
    const { devices } = formattedImage({ sizeBytes: 32 * MIB });
    const { writer, options } = writerOn(devices, undefined, 3);
    let edit = new FileEdit(writer, options);
    const free = () => edit.allocator.space('btree').reduce((sum, { freeBuckets }) => sum + freeBuckets, 0);
    const counts: number[] = [];
    for (let part = 0; part < 30; part++) {
      edit.files.setXattr(edit.files.root(), 'user.part', text.encode(`${part}`));
      edit = edit.stage();
      counts.push(free());
    }
    // The nodes of the last two parts, and what the committed state has.
    expect(Math.min(...counts.slice(3))).toBe(counts[3]);
    edit.commit();
  });

  test('is given up when another one begins', () => {
    const { devices } = formattedImage({ sizeBytes: 32 * MIB });
    const { writer, options } = writerOn(devices, undefined, 4);
    const first = new FileEdit(writer, options);
    create(first, first.files.root(), 'given up', 5000);
    const second = first.stage();
    expect(FileTree.open(second.tx).lookup('given up').inode.bi_size).toBe(5000n);
    expect(() => second.files.create(second.files.root(), text.encode('given up'), { mode: 0o100644 })).toThrow();
    const other = new FileEdit(writer, options);
    create(other, other.files.root(), 'kept', 5000);
    expect(() => second.commit()).toThrow('begun last');
    other.commit();
    const { tree, findings } = stateOf(devices);
    expect(findings).toEqual([]);
    expect(JSON.stringify(tree)).not.toContain('given up');
    expect(JSON.stringify(tree)).toContain('kept');
  });
});
