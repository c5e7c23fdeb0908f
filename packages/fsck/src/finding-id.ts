// What a finding is recognised by from one run to the next, and in a plan: the pass, the error, the place and the facts. Paths are left
// out, since repairs change them, and so are the names of devices, which may be given in another way.

import { createHash } from 'node:crypto';
import { factsJson, type Reported } from '@bcachefs-ts/core/engine';

const ID_CHARACTERS = 32;
export const ID_PATTERN: RegExp = /^[0-9a-f]{32}$/;

export function findingId({ finding, pass }: Reported): string {
  const { path: _path, device: _device, ...where } = finding.where;
  const text = JSON.stringify([pass ?? null, finding.error, where, factsJson(finding.facts)]);
  return createHash('sha256').update(text).digest('hex').slice(0, ID_CHARACTERS);
}
