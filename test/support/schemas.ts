// The documented JSON schemas, compiled, and what each says against a line or a document.

import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Ajv2020 } from 'ajv/dist/2020.js';

const folder = new URL('../../docs/json/', import.meta.url);
const schemaOf = (name: string) =>
  JSON.parse(readFileSync(fileURLToPath(new URL(`${name}.schema.json`, folder)), 'utf8'));

/** What the schema of a command says against a value; empty when it fits. */
export function validator(
  name:
    | 'data'
    | 'list'
    | 'device'
    | 'list_journal'
    | 'fs-usage'
    | 'explain'
    | 'locate'
    | 'error'
    | 'format'
    | 'fsck'
    | 'get-file-option'
    | 'image-update'
    | 'diff'
    | 'du'
    | 'journal_rewind_info'
    | 'map'
    | 'migrate'
    | 'subvolume-list-snapshots'
    | 'scrub'
    | 'undo'
    | 'upgrade'
    | 'view',
): (value: unknown) => readonly unknown[] {
  // Properties of a key are declared in one schema and required in the one that refers to it.
  const ajv = new Ajv2020({ strict: true, strictRequired: false, strictTypes: false, allowUnionTypes: true });
  ajv.addSchema(schemaOf('keys'));
  const isValid = ajv.compile(schemaOf(name));
  return value => {
    isValid(value);
    return (isValid.errors ?? []).map(({ instancePath, message, params }) => ({
      instancePath,
      message,
      params,
      value,
    }));
  };
}
