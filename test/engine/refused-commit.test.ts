// A commit whose superblocks or journal entry could not be written in its end is not begun: nothing is written, and the writer goes on.

import {
  checkInvariants,
  FileEdit,
  findingText,
  loadChecksums,
  RecordingDevice,
  type Superblock,
} from '@bcachefs-ts/core/engine';
import { beforeAll, expect, test } from 'vitest';
import { writerOn } from '../support/commits.ts';
import { formattedImage } from '../support/memory-images.ts';

beforeAll(loadChecksums);

const text = new TextEncoder();
/** A section of a later version, larger than a superblock may be. */
const tooLarge = (sb: Superblock): Superblock => ({
  ...sb,
  sections: [...sb.sections, { type: 200, payload: new Uint8Array(2 ** 20) }],
});

test.each(['superblock', 'superblockAfter'] as const)(
  'a superblock that outgrows its layout (%s) is found before the first write',
  which => {
    const { devices: images, key } = formattedImage({ members: 2 });
    const devices = images.map(device => new RecordingDevice(device));
    const { writer, options } = writerOn(devices, key, 1);
    const edit = new FileEdit(writer, options);
    edit.files.create(edit.files.root(), text.encode('name'), { mode: 0o100644 });
    edit.files.flush();
    const { tx, allocator, triggers } = edit;
    const request = { tx, allocator, superblock: (sb: Superblock) => triggers.needs.applyTo(sb) };
    expect(() => writer.commit({ ...request, [which]: tooLarge })).toThrow(
      /the superblock needs \d+ bytes, its layout reserves \d+/,
    );
    expect(devices.map(({ events }) => events.length)).toEqual([0, 0]);

    const again = new FileEdit(writer, options);
    again.files.create(again.files.root(), text.encode('name'), { mode: 0o100644 });
    again.commit();
    expect(checkInvariants(writer.filesystem).findings.map(findingText)).toEqual([]);
  },
);
