// Changes to a tree of files, inside of one transaction: what the system calls do to names, inodes and attributes, as a kernel of 6.12
// does it. Contents are file-content.ts's. Each operation checks first and changes then: one that is refused has changed nothing. Files
// whose last name goes are deleted at once, with all that they had, since no process has them open.
//
// This is the door to it: what each operation does is in the file of its noun (names, rename, attributes, xattr-edit, inode-options,
// subvolumes), over the state that they share (edit-state).

import type { Transaction } from '../btree/transaction.ts';
import type { FeatureName } from '../ondisk/features.ts';
import type { InodeOptionName } from '../ondisk/inode-tables.ts';
import type { SnapshotTable } from '../snapshots/snapshot-table.ts';
import { type Attributes, setAttributes } from './attributes.ts';
import { checkCasefold } from './casefold-option.ts';
import { readDirectory } from './dirents.ts';
import type { EditState, FileRef } from './edit-state.ts';
import { hashOf } from './inode-cache.ts';
import { reinherit, setOption } from './inode-options.ts';
import type { EditableInode } from './inode-pack.ts';
import { create, isEmpty, link, lookup, type RemovedName, remove } from './names.ts';
import type { NewInode } from './new-inodes.ts';
import { type RenameOptions, rename } from './rename.ts';
import {
  createSnapshot,
  createSubvolume,
  deleteSubvolume,
  type NewSubvolumeOptions,
  setSubvolumeReadOnly,
} from './subvolumes.ts';
import { removeXattr, setXattr } from './xattr-edit.ts';
import { type ExtendedAttribute, readXattrs } from './xattrs.ts';

export interface EntryRef {
  /** Into a subvolume, its root. */
  readonly file: FileRef;
  readonly name: Uint8Array;
  readonly isSubvolume: boolean;
}

export class TreeEditor {
  readonly #state: EditState;
  readonly #tx: Transaction;

  constructor(state: EditState) {
    this.#state = state;
    this.#tx = state.tx;
  }

  /** The snapshots as they are now. */
  get table(): SnapshotTable {
    return this.#state.table;
  }

  /** What a kernel has to understand before it may use the options that were set. */
  get optionFeatures(): readonly FeatureName[] {
    return [...this.#state.optionFeatures];
  }

  /** Puts all changes into the transaction: before anybody else reads it, and before it is committed. */
  flush(): void {
    this.#state.cache.flush();
  }

  // ---- what is there by now

  root(subvolume?: number): FileRef {
    return this.#state.root(subvolume);
  }

  /** What a name in a directory leads to; into a subvolume, its root. */
  lookup(directory: FileRef, name: Uint8Array): FileRef | undefined {
    return lookup(this.#state, directory, name);
  }

  /** The inode as it will be; not to be changed. */
  inode(file: FileRef): Readonly<EditableInode> {
    return this.#state.cached(file).inode;
  }

  /** What the names in a directory lead to. */
  *entries(directory: FileRef): Generator<EntryRef> {
    const dir = this.#state.directory(directory);
    const { subvolume, snapshot, words } = dir;
    const view = { dirents: this.#tx.btree('dirents'), table: this.table, snapshot, subvolume };
    for (const { name, target } of readDirectory(view, words, { hash: hashOf(dir) })) {
      const isSubvolume = !('inum' in target);
      yield {
        name,
        isSubvolume,
        file: isSubvolume ? this.root(target.child_subvol) : { subvolume, inum: target.inum },
      };
    }
  }

  /** The attributes of an inode, as readXattrs gives them. */
  xattrs(file: FileRef): readonly ExtendedAttribute[] {
    const { inum, snapshot } = this.#state.cached(file);
    return [...readXattrs(this.#tx.btree('xattrs'), this.table, snapshot, inum)];
  }

  /** A time as inodes have it. */
  timeOf(ns: bigint): bigint {
    return this.#state.timeOf(ns);
  }

  // ---- names

  /** @returns the new file */
  create(directory: FileRef, name: Uint8Array, request: NewInode): FileRef {
    this.#state.cache.trim();
    return create(this.#state, directory, name, request);
  }

  link(directory: FileRef, name: Uint8Array, target: FileRef): void {
    this.#state.cache.trim();
    link(this.#state, directory, name, target);
  }

  /**
   * Takes a name away: of a file, or of an empty directory; not of a subvolume. The file goes with its last name.
   * @returns the inode that had it, and whether it is gone
   */
  remove(directory: FileRef, name: Uint8Array): RemovedName {
    this.#state.cache.trim();
    return remove(this.#state, directory, name);
  }

  rename(
    fromDirectory: FileRef,
    fromName: Uint8Array,
    toDirectory: FileRef,
    toName: Uint8Array,
    options: RenameOptions = {},
  ): void {
    this.#state.cache.trim();
    const [source, target] = [
      { directory: fromDirectory, name: fromName },
      { directory: toDirectory, name: toName },
    ];
    rename(this.#state, source, target, options);
  }

  // ---- attributes

  /** Without a time for ctime it is now. A new mode changes the file's ACL too. */
  setAttributes(file: FileRef, attributes: Attributes): void {
    this.#state.cache.trim();
    setAttributes(this.#state, file, attributes);
  }

  /**
   * Sets an extended attribute, as setxattr takes it: ACLs in the form of the system call, which may change the mode; `bcachefs.NAME`
   * is setOption's.
   * @throws FileError for a namespace that cannot be stored, or not of such a file, a value that is too large for a key, and what is not an ACL
   */
  setXattr(file: FileRef, fullName: string | Uint8Array, value: Uint8Array): void {
    this.#state.cache.trim();
    setXattr(this.#state, file, fullName, value);
  }

  /** @throws FileError ENODATA when it is not there */
  removeXattr(file: FileRef, fullName: string | Uint8Array): void {
    this.#state.cache.trim();
    removeXattr(this.#state, file, fullName);
  }

  /**
   * An option of the inode's own; undefined gives it back to what the directory has. What a directory has goes on to files that are
   * made in it later.
   * @param value as in the table of options, validated
   */
  setOption(file: FileRef, name: InodeOptionName, value: number | undefined): void {
    this.#state.cache.trim();
    if (name === 'casefold') checkCasefold(this.#state, file);
    setOption(this.#state, file, name, value);
  }

  /**
   * Takes on the options that the directory has and the file has not of its own; casefold only where a directory is empty.
   * @returns whether that changed anything
   */
  reinherit(directory: FileRef, file: FileRef): boolean {
    this.#state.cache.trim();
    return reinherit(this.#state, directory, file, dir => !isEmpty(this.#state, dir));
  }

  // ---- subvolumes

  /** An empty subvolume; its permissions are 0755 where neither the request nor a default ACL says otherwise. @returns its root */
  createSubvolume(directory: FileRef, name: Uint8Array, options: NewSubvolumeOptions = {}): FileRef {
    return createSubvolume(this.#state, directory, name, options);
  }

  /** A snapshot of a subvolume, with all that is in it now; subvolumes below it are not part of it. @returns its root */
  createSnapshot(
    directory: FileRef,
    name: Uint8Array,
    source: number,
    options: { readonly isReadOnly?: boolean } = {},
  ): FileRef {
    return createSnapshot(this.#state, directory, name, source, options);
  }

  /** Whether a subvolume may be changed. What was changed in it so far stays. */
  setSubvolumeReadOnly(subvolume: number, isReadOnly: boolean): void {
    setSubvolumeReadOnly(this.#state, subvolume, isReadOnly);
  }

  /**
   * A subvolume with all that is in it. Subvolumes below it have to be deleted first; snapshots that were made of it stay.
   * @throws FileError ENOTEMPTY, EINVAL when it is none
   */
  deleteSubvolume(directory: FileRef, name: Uint8Array): void {
    deleteSubvolume(this.#state, directory, name);
  }
}
