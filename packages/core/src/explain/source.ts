// What explaining needs of an open filesystem: `Filesystem` is one.

import type { BtreeView } from '../btree/iterate.ts';
import type { NodeReader } from '../btree/node-read.ts';
import type { FilesystemSource } from '../btree/source.ts';
import type { ReplayState } from '../journal/replay.ts';
import type { BtreeName } from '../ondisk/btrees.ts';
import type { MemberSet } from '../superblock/member-set.ts';

export interface ExplainSource extends FilesystemSource {
  readonly set: MemberSet;
  readonly replay: ReplayState;
  readonly reader: NodeReader;
  btree(which: BtreeName | number): BtreeView;
}
