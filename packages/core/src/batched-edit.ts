// A change of files that is too large for one transaction: it is committed in parts. Each part leaves a consistent filesystem, so that whoever
// wants all or nothing has to see to it: by holding back the superblocks of a filesystem that is only being made, for instance.

import { releaseEmptied } from './alloc/release-emptied.ts';
import { FileEdit, type FileEditOptions } from './file-edit.ts';
import type { FilesystemWriter } from './writer.ts';

/** About 1 KiB of memory each, and as much again while a commit is planned. */
const CHANGES_MAX = 60_000;

export interface BatchedEditOptions extends FileEditOptions {
  /** Changed keys that make a commit. */
  readonly changesMax?: number;
}

export class BatchedEdit {
  readonly #writer: FilesystemWriter;
  readonly #options: BatchedEditOptions;
  #edit: FileEdit;
  #commits = 0;

  constructor(writer: FilesystemWriter, options: BatchedEditOptions) {
    this.#writer = writer;
    this.#options = options;
    this.#edit = this.#begin();
  }

  /** The part that is being made; another one after `step`. What is known of files by their FileRef stays true. */
  get edit(): FileEdit {
    return this.#edit;
  }

  get commits(): number {
    return this.#commits;
  }

  /** Between two operations: commits when enough has changed. @throws as FileEdit.commit does */
  step(): void {
    if (this.#edit.tx.size < (this.#options.changesMax ?? CHANGES_MAX)) return;
    this.finish();
    this.#edit = this.#begin();
  }

  /** Commits what is left. The edit is used up. */
  finish(): void {
    this.#edit.commit();
    this.#commits++;
  }

  #begin(): FileEdit {
    const edit = new FileEdit(this.#writer, this.#options);
    // Else each commit would leave the nodes that it replaced behind, and a large image would be full of them.
    releaseEmptied(edit.triggers, edit.tx);
    return edit;
  }
}
