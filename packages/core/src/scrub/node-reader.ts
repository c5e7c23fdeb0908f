// Reads every replica of every btree node, in the order in which they lie on their devices, some thousand at a time. What is walked to find
// them are the interior nodes, by whichever replica is good.

import { btreePtrPlaces } from '../btree/node-read.ts';
import type { FilesystemSource } from '../btree/source.ts';
import type { Key } from '../ondisk/bkey.ts';
import { CorruptError, DeviceError } from '../ondisk/errors.ts';
import type { ExtentPtr } from '../ondisk/extent-entries.ts';
import type { Filesystem } from '../opened/filesystem.ts';
import { nodePointers } from '../opened/node-pointers.ts';
import type { Damage } from '../report/finding.ts';

export interface ScrubbedNode {
  readonly btree: number;
  /** The node's own. */
  readonly level: number;
  readonly ptr: Key;
  readonly replicas: readonly NodeReplica[];
}

export interface NodeReplica {
  readonly node: ScrubbedNode;
  readonly ptr: ExtentPtr;
  state: 'unread' | 'good' | 'bad' | 'missing';
  /** Of one that is bad or missing. */
  problem: Damage | undefined;
}

/** About a KiB of memory each. */
const NODES_MAX = 8192;

/** The nodes of a filesystem, in batches. @param onDamage called with what contradicts itself between nodes */
export function* nodeBatches(
  filesystem: Filesystem,
  onDamage: (damage: Damage) => void,
  nodesMax: number = NODES_MAX,
): Generator<readonly ScrubbedNode[], void, void> {
  let batch: ScrubbedNode[] = [];
  // Nodes that cannot be read are replicas that are not good: that is said of them, and not here.
  for (const { btree, level, ptr } of nodePointers(filesystem, onDamage, () => {})) {
    const node = scrubbedNode(btree, level, ptr, onDamage);
    if (node === undefined) continue;
    batch.push(node);
    if (batch.length < nodesMax) continue;
    yield batch;
    batch = [];
  }
  if (batch.length > 0) yield batch;
}

function scrubbedNode(
  btree: number,
  level: number,
  key: Key,
  onDamage: (damage: Damage) => void,
): ScrubbedNode | undefined {
  const ptr = { k: { ...key.k, p: key.k.p.slice() }, value: key.value.slice() };
  try {
    const replicas: NodeReplica[] = [];
    const node: ScrubbedNode = { btree, level, ptr, replicas };
    for (const replica of btreePtrPlaces(btree, level, ptr).replicas)
      replicas.push({ node, ptr: replica, state: 'unread', problem: undefined });
    return node;
  } catch (thrown) {
    if (!(thrown instanceof CorruptError)) throw thrown;
    onDamage(thrown);
    return undefined;
  }
}

/** Reads and judges all replicas of some nodes. @yields each when it was read */
export function* readReplicas(
  filesystem: Filesystem,
  nodes: readonly ScrubbedNode[],
): Generator<NodeReplica, void, void> {
  const replicas = nodes
    .flatMap(node => node.replicas)
    .sort((a, b) => a.ptr.dev - b.ptr.dev || a.ptr.offset - b.ptr.offset);
  for (const replica of replicas) {
    judge(filesystem, replica);
    yield replica;
  }
}

function judge(filesystem: Filesystem & FilesystemSource, replica: NodeReplica): void {
  const { btree, level, ptr } = replica.node;
  try {
    filesystem.reader.readReplica(btree, level, ptr, replica.ptr);
    replica.state = 'good';
  } catch (thrown) {
    if (!(thrown instanceof CorruptError || thrown instanceof DeviceError)) throw thrown;
    replica.state = thrown instanceof DeviceError && thrown.kind === 'missing' ? 'missing' : 'bad';
    replica.problem = thrown;
  }
}
