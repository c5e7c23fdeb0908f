// A look at every inode: which blocks are in use and by whom, compared with ext4's bitmaps and counts. What differs is damage, and so is a
// block with two owners, since a caller that adopts or copies blocks has to know whose they are. (With the feature shared_blocks they are noted.)
//
// Blocks are counted in clusters. Two extents of a file may lie in one cluster; two files may not.

import { roundUp } from '@bcachefs-ts/core/engine';
import { BlockMap } from './block-map.ts';
import { damaged } from './faults.ts';
import { RO_SHARED_BLOCKS } from './features.ts';
import type { Inode } from './inode.ts';
import type { Internals } from './internals.ts';
import type { Ext4BlockRun, Ext4Extent, Ext4InodeKind, Ext4Loss, Ext4Losses, Ext4Usage, Ext4Xattr } from './types.ts';

/** What one key holds of an attribute: 250 u64s, four bytes of them its header. */
const XATTR_VALUE_BYTES = 2000;
const LOSS_EXAMPLES = 10;

/** Whether an attribute is more than one key of bcachefs holds. */
export function isTooLarge({ name, value }: Ext4Xattr): boolean {
  const prefixBytes = name.indexOf(0x2e) + 1;
  return areTooMany(name.length - prefixBytes, value.length);
}

const areTooMany = (nameBytes: number, valueBytes: number): boolean =>
  roundUp(4 + nameBytes + valueBytes, 8) > XATTR_VALUE_BYTES;

export function* usageSteps(fs: Internals): Generator<number, Ext4Usage> {
  const survey = new Survey(fs);
  survey.groupMetadata();
  let last = 0;
  for (const inode of fs.inodes()) {
    survey.inode(inode);
    if (inode.number - last >= 4096) {
      last = inode.number;
      yield inode.number / fs.facts.inodes;
    }
  }
  return survey.finish();
}

class Survey {
  readonly #fs: Internals;
  readonly #map: BlockMap;
  readonly #metadata: BlockMap;
  readonly #shared: BlockMap;
  readonly #maySee: boolean;
  readonly #inodes: Record<Ext4InodeKind, number> = {
    dir: 0,
    file: 0,
    symlink: 0,
    chr: 0,
    blk: 0,
    fifo: 0,
    sock: 0,
    ea_inode: 0,
    filesystem: 0,
  };
  /** Blocks of attributes, and how many inodes have not been met that have them as well. */
  readonly #attributeBlocks = new Map<number, number>();
  readonly #directories: Uint32Array;
  readonly #losses = {
    casefold: noLoss(),
    verity: noLoss(),
    encrypted: noLoss(),
    largeXattrs: noLoss(),
    times: noLoss(),
  };
  #extents = 0;
  #dataBlocks = 0;

  constructor(fs: Internals) {
    this.#fs = fs;
    this.#map = new BlockMap(fs.facts, true);
    this.#metadata = new BlockMap(fs.facts, true);
    this.#shared = new BlockMap(fs.facts, false);
    this.#maySee = (fs.facts.roCompat & RO_SHARED_BLOCKS) !== 0;
    this.#directories = new Uint32Array(fs.facts.groups);
  }

  groupMetadata(): void {
    const { groups, sb } = this.#fs;
    for (let group = 0; group < this.#fs.facts.groups; group++)
      for (const run of groups.metadata(group)) this.#own(run, `group ${group}`, true);
    if (sb.mmpBlock !== 0) this.#own({ block: sb.mmpBlock, blocks: 1 }, 'multiple mount protection', true);
  }

  inode(inode: Inode): void {
    const owner = `inode ${inode.number}`;
    this.#inodes[inode.kind]++;
    if (inode.kind === 'dir' || (inode.kind === 'filesystem' && inode.typeOf() === 0o040000))
      this.#directories[Math.floor((inode.number - 1) / this.#fs.facts.inodesPerGroup)]!++;
    this.#noteLosses(inode);
    for (const run of this.#fs.treeBlocks(inode)) this.#own(run, owner, true);
    this.#attributes(inode);
    const isData = inode.kind === 'file';
    let before: Ext4Extent | undefined;
    for (const extent of this.#fs.extents(inode)) {
      this.#ownExtent(extent, before, owner, !isData);
      before = extent;
      if (!isData) continue;
      this.#extents++;
      this.#dataBlocks += extent.blocks;
    }
  }

  finish(): Ext4Usage {
    for (const [block, left] of this.#attributeBlocks)
      if (left !== 0)
        throw this.#bad(`block ${block} of attributes`, `it says that ${left} more inodes have it than do`);
    for (let group = 0; group < this.#fs.facts.groups; group++) this.#compareGroup(group);
    return {
      map: this.#map,
      metadata: this.#metadata,
      shared: this.#shared,
      inodes: this.#inodes,
      extents: this.#extents,
      dataBlocks: this.#dataBlocks,
      losses: this.#losses satisfies Ext4Losses,
    };
  }

  #ownExtent(extent: Ext4Extent, before: Ext4Extent | undefined, owner: string, isMetadata: boolean): void {
    const { blocksPerCluster } = this.#fs.facts;
    if (blocksPerCluster === 1) {
      this.#own(extent, owner, isMetadata);
      return;
    }
    if (extent.fileBlock % blocksPerCluster !== extent.block % blocksPerCluster)
      throw this.#bad(
        owner,
        `its file block ${extent.fileBlock} is not at the same place of a cluster as block ${extent.block}`,
      );
    let { block, blocks } = extent;
    const lastCluster = before === undefined ? -1 : this.#map.clusterOf(before.block + before.blocks - 1);
    const isNeighbour =
      before !== undefined &&
      this.#map.clusterOf(block) === lastCluster &&
      Math.floor((before.fileBlock + before.blocks - 1) / blocksPerCluster) ===
        Math.floor(extent.fileBlock / blocksPerCluster);
    if (isNeighbour) {
      const rest = this.#map.firstBlockOf(lastCluster + 1);
      blocks -= rest - block;
      block = rest;
    }
    if (blocks > 0) this.#own({ block, blocks }, owner, isMetadata);
  }

  #own({ block, blocks }: Ext4BlockRun, owner: string, isMetadata: boolean): void {
    const first = this.#map.clusterOf(block);
    const count = this.#map.clusterOf(block + blocks - 1) - first + 1;
    const isOfGroup = !owner.startsWith('inode');
    // Several tables and bitmaps may lie in one cluster.
    const mayMeet = isOfGroup && this.#fs.facts.blocksPerCluster > 1;
    if (this.#maySee && !isOfGroup && !isMetadata) this.#ownShared(first, count, owner);
    else {
      const taken = this.#map.mark(first, count);
      if (taken !== undefined && !mayMeet) throw this.#taken(taken, owner);
    }
    if (isMetadata) this.#metadata.mark(first, count);
  }

  /** Data of two files in one place is allowed; data where metadata is is not. */
  #ownShared(first: number, count: number, owner: string): void {
    for (let cluster = first; cluster < first + count; cluster++) {
      if (this.#map.mark(cluster, 1) === undefined) continue;
      if (this.#metadata.isUsed(this.#map.firstBlockOf(cluster))) throw this.#taken(cluster, owner);
      this.#shared.mark(cluster, 1);
    }
  }

  #taken(cluster: number, owner: string) {
    return this.#bad(owner, `it owns block ${this.#map.firstBlockOf(cluster)}, which something else owns as well`);
  }

  #attributes(inode: Inode): void {
    const block = inode.attributeBlock;
    if (block === 0) return;
    const known = this.#attributeBlocks.get(block);
    if (known !== undefined) {
      if (known === 0)
        throw this.#bad(
          `inode ${inode.number}`,
          `its attributes are in block ${block}, which says that fewer inodes have it`,
        );
      this.#attributeBlocks.set(block, known - 1);
      return;
    }
    const refs = this.#fs.attributeBlockRefs(inode);
    if (refs === 0)
      throw this.#bad(`inode ${inode.number}`, `its attributes are in block ${block}, which says that no inode has it`);
    this.#own({ block, blocks: 1 }, `inode ${inode.number}`, true);
    this.#attributeBlocks.set(block, refs - 1);
  }

  #noteLosses(inode: Inode): void {
    const { casefold, verity, encrypted } = inode.flags;
    if (inode.kind === 'filesystem' || inode.kind === 'ea_inode') return;
    const note = (loss: Mutable, isLost: boolean) => {
      if (!isLost) return;
      loss.count++;
      if (loss.inodes.length < LOSS_EXAMPLES) loss.inodes.push(inode.number);
    };
    note(this.#losses.casefold, casefold && inode.kind === 'dir');
    note(this.#losses.verity, verity);
    note(this.#losses.encrypted, encrypted);
    note(this.#losses.times, inode.hasTimePast2262());
    note(this.#losses.largeXattrs, this.#fs.hasAttributes(inode) && this.#hasLarge(inode));
  }

  #hasLarge(inode: Inode): boolean {
    for (const { nameBytes, valueBytes } of this.#fs.xattrSizes(inode))
      if (areTooMany(nameBytes, valueBytes)) return true;
    return false;
  }

  #compareGroup(group: number): void {
    const { groups, facts } = this.#fs;
    const own = this.#map.groupBits(group);
    const theirs = groups.blockBitmap(group);
    const clusters = Math.ceil(groups.blocksOf(group) / facts.blocksPerCluster);
    const bytes = Math.ceil(clusters / 8);
    let used = 0;
    for (let i = 0; i < bytes; i++) {
      const mask = i === bytes - 1 && clusters % 8 !== 0 ? (1 << (clusters % 8)) - 1 : 0xff;
      const found = (own?.[i] ?? 0) & mask;
      used += POPULATION[found]!;
      if (theirs === undefined) continue;
      const difference = found ^ (theirs[i]! & mask);
      if (difference === 0) continue;
      const bit = 31 - Math.clz32(difference & -difference);
      const block = groups.firstBlock(group) + (8 * i + bit) * facts.blocksPerCluster;
      const isOwned = ((found >>> bit) & 1) === 1;
      throw this.#bad(
        `group ${group}`,
        isOwned
          ? `its bitmap says that block ${block} is free, and it is in use`
          : `its bitmap says that block ${block} is in use, and nothing owns it`,
      );
    }
    if (clusters - used !== groups.freeClusters(group))
      throw this.#bad(
        `group ${group}`,
        `it counts ${groups.freeClusters(group)} free ${facts.blocksPerCluster === 1 ? 'blocks' : 'clusters'}, expected ${clusters - used}`,
      );
    if (this.#directories[group] !== groups.directories(group))
      throw this.#bad(
        `group ${group}`,
        `it counts ${groups.directories(group)} directories, expected ${this.#directories[group]}`,
      );
  }

  #bad(field: string, detail: string) {
    return damaged(this.#fs.name, field, detail);
  }
}

interface Mutable extends Ext4Loss {
  count: number;
  inodes: number[];
}

const noLoss = (): Mutable => ({ count: 0, inodes: [] });

const POPULATION = Uint8Array.from({ length: 256 }, (_, byte) => byte.toString(2).replaceAll('0', '').length);
