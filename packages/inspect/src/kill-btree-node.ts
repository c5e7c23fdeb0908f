// kill_btree_node: damages single btree nodes as a bad medium does. Mirrors src/commands/kill_btree_node.rs, v1.39.2: anything that stops the
// damage is an error, since who asks for it goes on to see what a repair makes of it.

import { defineCommand, devicesPositional, filesystemOptions, undoFileOption } from '@bcachefs-ts/command';
import {
  BTREE_MAX_DEPTH,
  btrees,
  type DamagedCopy,
  damageNode,
  type Filesystem,
  type NodeRef,
  nodeDamageKinds,
  nodesOfLevel,
  parseBtree,
  systemRandom,
  UsageError,
} from '@bcachefs-ts/core/engine';
import { forceOption, withTarget } from './hand.ts';

/** A node as people name it. */
interface NodeName {
  readonly btree: number;
  readonly level: number;
  readonly index: number;
}

export const killBtreeNodeCommand = defineCommand({
  name: 'kill_btree_node',
  summary: 'Damage single btree nodes on purpose, for tests',
  description:
    'Damages nodes as a bad medium does: the first block is zeroes, a checksum does not hold, or a byte of a key is another one. Every copy of a node ' +
    'is damaged, or with --dev the one on a member.\n\n' +
    'This destroys data. Anything that stops the damage is an error: exit code 0 says that each of the nodes is damaged. All nodes are looked up ' +
    'before the first is damaged.',
  examples: [
    { command: 'bcachefs kill_btree_node -n dirents:0:0 disk.img', does: 'Zeroes the first leaf of a btree' },
    {
      command: 'bcachefs kill_btree_node -n extents:0 -e csum --dev=1 a.img:b.img',
      does: 'Damages one of two copies, so that its checksum does not hold',
    },
  ],
  positionals: devicesPositional,
  options: {
    node: {
      type: 'string',
      alias: 'n',
      value: 'BTREE:LEVEL:INDEX',
      repeat: true,
      parse: parseNode,
      help: 'which node: its btree, its level, and its number among those of the level, from 0; the first leaf where these are left out',
    },
    error: {
      type: 'choice',
      alias: 'e',
      choices: [...nodeDamageKinds],
      default: 'zero',
      help: 'zero: the first block is zeroes; csum: a checksum does not hold, and all keys are sound; keys: a key has another byte, and the checksum does not hold',
    },
    dev: { type: 'number', alias: 'd', min: 0, max: 255, help: 'damage the copy on this member only, by its index' },
    ...forceOption,
    ...undoFileOption,
    uuid: filesystemOptions.uuid,
    passphrase_file: filesystemOptions.passphrase_file,
  },
  async run(context, args) {
    if (args.node.length === 0) throw new UsageError('name the nodes that are to be damaged', '--node');
    return await withTarget(context, args, systemRandom, target => {
      const filesystem = target.filesystem();
      const nodes = args.node.map(name => ({ name, node: findNode(filesystem, name) }));
      return {
        error: args.error,
        nodes: nodes.map(({ name: { btree, level, index }, node }) => ({
          btree: btrees.nameOf(btree),
          level,
          index,
          copies: damageNode(filesystem, node, args.error, args.dev),
        })),
      };
    });
  },
  text({ error, nodes }, out) {
    for (const { btree, level, index, copies } of nodes) {
      out.line(`${btree}:${level}:${index} (${error}): ${copies.map(copyText).join(', ')}`);
    }
  },
  json: ({ error, nodes }) => ({
    error,
    nodes: nodes.map(({ btree, level, index, copies }) => ({
      btree,
      level,
      index,
      copies: copies.map(({ device, dev, sector, offsetBytes }) => ({
        device,
        dev,
        sector,
        offset_bytes: offsetBytes,
      })),
    })),
  }),
});

const copyText = ({ device, sector, offsetBytes }: DamagedCopy): string =>
  `${device}, sector ${sector}, byte ${offsetBytes}`;

/** @throws UsageError */
function parseNode(text: string): NodeName {
  const [btree = '', level = '0', index = '0', ...more] = text.split(':');
  const isNumbered = /^\d{1,15}$/.test(level) && /^\d{1,15}$/.test(index);
  if (more.length > 0 || !isNumbered) {
    throw new UsageError(`'${text.slice(0, 80)}' is not a node such as extents:0:3, BTREE:LEVEL:INDEX`);
  }
  if (Number(level) >= BTREE_MAX_DEPTH) {
    throw new UsageError(`level ${level}, the greatest is ${BTREE_MAX_DEPTH - 1}`);
  }
  return { btree: parseBtree(btree), level: Number(level), index: Number(index) };
}

/** @throws UsageError when there are fewer nodes */
function findNode(filesystem: Filesystem, { btree, level, index }: NodeName): NodeRef {
  let count = 0;
  for (const node of nodesOfLevel(filesystem, btree, level)) if (count++ === index) return node;
  throw new UsageError(
    `${btrees.nameOf(btree)} has ${count} ${count === 1 ? 'node' : 'nodes'} of level ${level}, and none of index ${index}`,
  );
}
