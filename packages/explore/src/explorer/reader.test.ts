import { expect, test } from 'vitest';
import type { Lists } from './lists.ts';
import type { Answer } from './messages.ts';
import { PagedList } from './paged-list.ts';
import { Reader } from './reader.ts';

const place = { kind: 'buckets', device: 0 } as const;

test('a file that says it has a tebibyte is not read for a pager', async () => {
  const file = { subvolume: 1, snapshot: 0, path: 'huge', isDirectory: false, sizeBytes: 2 ** 40 };
  const shown = { items: new PagedList([0]), row: () => ({ text: 'huge' }), detail: () => [], file: () => file };
  const lists: Pick<Lists, 'open'> = { open: () => shown };
  const ran: string[] = [];
  const said: Answer[] = [];
  const reader = new Reader(
    lists,
    async name => {
      ran.push(name);
      return { exitCode: 0, stdout: '', stderr: '' };
    },
    answer => said.push(answer),
  );
  await reader.ask({ id: 1, kind: 'page', place, row: 0 });
  expect({ ran, said }).toEqual({
    ran: [],
    said: [{ id: 1, kind: 'said', message: '1 TiB, a pager gets at most 64 MiB: c copies the file' }],
  });
  reader.close();
});
