// What bcachefs-tools has and this program has not. A row that gets a command of its own has no effect any more, and goes.

import type { ElsewhereRow } from '@bcachefs-ts/command';

const kernel = (words: string, does: string, instead: string): ElsewhereRow => ({
  words,
  does,
  instead,
  why: 'kernel',
});
const mounted = 'use it on the machine that has the filesystem mounted';
const members =
  'this works on filesystems that are not mounted, whose members are those that are named; on the machine that has it mounted, use bcachefs-tools';

export const elsewhere: readonly ElsewhereRow[] = [
  kernel('fusemount', 'mounts a filesystem through FUSE', 'ls, cat, restore, tar and put need no mount'),
  kernel('wait-devices', 'waits until all members are there', 'show-super lists the members that there should be'),
  kernel(
    'fs top',
    'shows what a mounted filesystem is doing',
    'show-super --fields=counters prints the stored counters',
  ),
  kernel('fs timestats', 'shows how long operations take', mounted),
  kernel('device online', 'adds a member to a mounted filesystem again', members),
  kernel('device offline', 'takes a member away from a mounted filesystem', members),
  kernel(
    'data scrub',
    'verifies and repairs the data of a mounted filesystem',
    'scrub does it while it is not mounted',
  ),
  kernel('data job', 'runs one of the background jobs', mounted),
  kernel('reconcile status', 'says what the background work is at', mounted),
  kernel('reconcile wait', 'waits for the background work', mounted),
  kernel('reflink-option-propagate', 'hands options on to shared extents', mounted),
  kernel(
    'data-read',
    'reads data of a mounted filesystem, errors included',
    'cat and explain read it from the devices',
  ),
  kernel('unpoison', 'clears the mark of extents that cannot be read', mounted),
];
