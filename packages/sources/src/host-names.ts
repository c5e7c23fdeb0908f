// Numbers of users and groups by name, from this machine's own lists: what unpacking an archive here would make of its names. Names that
// come from elsewhere (LDAP and the like) are not known.

import { readFileSync } from 'node:fs';
import type { LookUpName } from './acl-words.ts';

/** Reads a list when it is first needed. */
export function hostNames(folder = '/etc'): LookUpName {
  const lists = new Map<string, ReadonlyMap<string, number>>();
  return (kind, name) => {
    const file = `${folder}/${kind === 'user' ? 'passwd' : 'group'}`;
    const list = lists.get(file) ?? readList(file);
    lists.set(file, list);
    return list.get(name);
  };
}

/** `name:password:number:…`, a line each; the first line of a name counts. */
function readList(file: string): ReadonlyMap<string, number> {
  const numbers = new Map<string, number>();
  for (const line of textOf(file).split('\n')) {
    const [name = '', , number = ''] = line.split(':');
    if (name !== '' && /^\d{1,10}$/.test(number) && !numbers.has(name)) numbers.set(name, Number(number));
  }
  return numbers;
}

function textOf(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    // A machine without such a list knows no names, which the caller reports.
    return '';
  }
}
