// A change of files that is too large for one transaction: it is made in parts. Either each part is a commit that leaves a consistent
// filesystem, and a caller that wants all or nothing has to see to it (by holding back the superblocks of a filesystem that is only being made,
// for instance); or the parts are staged, and the last one commits them all.

import { FileEdit, type FileEditOptions } from './file-edit.ts';
import type { CommitReport, FilesystemWriter } from './writer.ts';

/** The memory that a part takes goes by its changed keys, and so does the time that is saved by making fewer parts. */
const CHANGES_MAX = 60_000;
/** Of a part of one commit, on a filesystem that exists: a small machine has room for it (ADR 17). */
const CHANGES_STAGED_MAX = 20_000;

export interface BatchedEditOptions extends FileEditOptions {
  /** Changed keys that make a part. */
  readonly changesMax?: number;
  /** All of it is one commit, whatever its size. */
  readonly isOneCommit?: boolean;
}

export class BatchedEdit {
  readonly #writer: FilesystemWriter;
  readonly #options: BatchedEditOptions;
  #edit: FileEdit;
  #commits = 0;

  constructor(writer: FilesystemWriter, options: BatchedEditOptions) {
    this.#writer = writer;
    this.#options = options;
    this.#edit = options.isOneCommit ? new FileEdit(writer, options) : this.#begin();
  }

  /** The part that is being made; another one after `step`. What is known of files by their FileRef stays true. */
  get edit(): FileEdit {
    return this.#edit;
  }

  get commits(): number {
    return this.#commits;
  }

  /** Between two operations: ends the part when enough has changed. @throws as FileEdit.commit does */
  step(): void {
    const { isOneCommit = false, changesMax = isOneCommit ? CHANGES_STAGED_MAX : CHANGES_MAX } = this.#options;
    if (this.#edit.tx.size < changesMax) return;
    if (isOneCommit) {
      this.#edit = this.#edit.stage();
      return;
    }
    this.finish();
    this.#edit = this.#begin();
  }

  /** Commits what is left. The edit is used up. */
  finish(): CommitReport {
    const report = this.#edit.commit();
    this.#commits++;
    return report;
  }

  #begin(): FileEdit {
    return new FileEdit(this.#writer, { ...this.#options, releasesEmptied: true });
  }
}
