// The worker of the page: core runs here, so that the page stays alive. One question after the other, each with its number.

import { DeviceError, FileError, UsageError } from '@bcachefs-ts/core';
import { BlobDevice, HttpDevice, throughQcow2 } from '@bcachefs-ts/core/browser';
import { type Kind, type Questions, Session } from './session.ts';

const session = new Session(async source =>
  throughQcow2(
    source instanceof Blob ? new BlobDevice(source) : await HttpDevice.open(source.address, { name: source.name }),
  ),
);

interface Asked {
  readonly nr: number;
  readonly kind: Kind;
  readonly question: Questions[Kind];
}

let last: Promise<void> = Promise.resolve();

self.onmessage = ({ data }: MessageEvent<Asked>) => {
  last = last.then(() => answer(data));
};

async function answer({ nr, kind, question }: Asked): Promise<void> {
  try {
    const found = await session.answer(kind, question);
    self.postMessage({ nr, found });
  } catch (thrown) {
    const code = thrown instanceof UsageError || thrown instanceof FileError ? thrown.code : undefined;
    const message = thrown instanceof Error ? thrown.message : String(thrown);
    self.postMessage({ nr, error: { message, code: thrown instanceof DeviceError ? 'device' : code } });
  }
}
