// A plan: what would be repaired, as JSON lines that a person may read and delete from, and the state of the filesystem that it was made
// for. Carrying it out repairs what is still listed, each finding recognised by its id (finding-id.ts), and nothing else; what follows from
// such a repair follows. A plan is input like any other: it names what may be repaired, and never what is to be written.

import { createHash } from 'node:crypto';
import { closeSync, fsyncSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { CommandFailed } from '@bcachefs-ts/command';
import {
  btrees,
  type Decided,
  decidedJson,
  type FilesystemWriter,
  printable,
  type Reported,
} from '@bcachefs-ts/core/engine';
import { FSCK } from './exit-codes.ts';
import { findingId, ID_PATTERN } from './finding-id.ts';

const SCHEMA = 'bcachefs-ts/fsck-plan';
const VERSION = 1;
/** No person looks at more. */
const BYTES_MAX = 256 * 2 ** 20;
export const PLANNED_MAX = 200_000;

/** What must not have changed in between. Every commit changes all of it. */
export interface FilesystemIdentity {
  readonly filesystem: string;
  readonly superblock_seq: string;
  readonly journal_seq: string;
  /** Of the roots of all btrees. */
  readonly roots: string;
}

export function identityOf({ filesystem: { sb, replay } }: FilesystemWriter): FilesystemIdentity {
  const hash = createHash('sha256');
  for (const [id, { level, key }] of [...replay.roots].sort(([a], [b]) => a - b)) {
    hash.update(`${btrees.nameOf(id)} ${level} ${key === undefined ? 'none' : key.k.p.join(':')} `);
    if (key !== undefined) hash.update(key.value);
  }
  return {
    filesystem: sb.user_uuid,
    superblock_seq: `${sb.seq}`,
    journal_seq: `${replay.lastSeq}`,
    roots: hash.digest('hex'),
  };
}

/** A plan that is being written: a new file, for its owner to read. */
export class PlanFile {
  readonly #path: string;
  #fd: number | undefined;
  #isWhole = false;

  /** @throws the system's error when there is something at the path */
  constructor(path: string) {
    this.#path = path;
    this.#fd = openSync(path, 'wx', 0o600);
  }

  get path(): string {
    return this.#path;
  }

  write(identity: FilesystemIdentity, findings: readonly Decided[]): void {
    this.#line({ schema: SCHEMA, version: VERSION, ...identity });
    for (const decided of findings) {
      const { decision: _decision, ...described } = decidedJson(decided) as { readonly decision: string };
      this.#line({ finding: findingId(decided), ...described });
    }
    if (this.#fd !== undefined) fsyncSync(this.#fd);
    this.#isWhole = true;
  }

  /** Removes it unless all of it was written. */
  close(): void {
    if (this.#fd === undefined) return;
    closeSync(this.#fd);
    this.#fd = undefined;
    if (!this.#isWhole) rmSync(this.#path, { force: true });
  }

  #line(value: object): void {
    if (this.#fd === undefined) return;
    const bytes = Buffer.from(`${JSON.stringify(value)}\n`);
    for (let done = 0; done < bytes.length; ) done += writeSync(this.#fd, bytes, done);
  }
}

export const tooManyFor = ({ path }: PlanFile): CommandFailed =>
  new CommandFailed(
    `${path}: more findings than the ${PLANNED_MAX} that a plan holds; nothing was changed, and there is no plan. ` +
      'fsck -y repairs them, with --undo_file so that it can be taken back',
    { exitCode: FSCK.operational, code: 'plan' },
  );

export class Plan {
  readonly #path: string;
  readonly #identity: FilesystemIdentity;
  readonly #ids: ReadonlySet<string>;

  private constructor(path: string, identity: FilesystemIdentity, ids: ReadonlySet<string>) {
    this.#path = path;
    this.#identity = identity;
    this.#ids = ids;
  }

  /** @throws CommandFailed in a line for what is not a plan; the system's error */
  static read(path: string): Plan {
    const lines = readText(path).split('\n');
    const identity = identityIn(path, jsonIn(path, 1, lines[0] ?? ''));
    const ids = new Set<string>();
    for (const [index, line] of lines.entries()) {
      if (index === 0 || line.trim() === '') continue;
      const { finding } = jsonIn(path, index + 1, line);
      if (typeof finding !== 'string' || !ID_PATTERN.test(finding))
        throw badPlan(path, index + 1, "a finding has no 'finding' of 32 hexadecimal digits");
      ids.add(finding);
      if (ids.size > PLANNED_MAX) throw badPlan(path, index + 1, `more than ${PLANNED_MAX} findings`);
    }
    return new Plan(path, identity, ids);
  }

  /** @throws CommandFailed when the filesystem is not as it was when the plan was made */
  check(writer: FilesystemWriter): void {
    const now = identityOf(writer);
    const wanted = this.#identity;
    if (now.filesystem !== wanted.filesystem)
      throw refused(
        `${this.#path} is for the filesystem ${printable(wanted.filesystem)}, and this is ${now.filesystem}`,
      );
    for (const name of ['superblock_seq', 'journal_seq', 'roots'] as const) {
      if (now[name] === wanted[name]) continue;
      const found = `${name} is ${now[name]}, and was ${printable(wanted[name])}`;
      throw refused(`the filesystem has changed since ${this.#path} was made (${found}); make another plan`);
    }
  }

  isListed(reported: Reported): boolean {
    return this.#ids.has(findingId(reported));
  }
}

type Json = { readonly [name: string]: unknown };

function identityIn(path: string, { schema, version, ...rest }: Json): FilesystemIdentity {
  if (schema !== SCHEMA) throw badPlan(path, 1, `expected the schema ${SCHEMA}`);
  if (version !== VERSION) throw badPlan(path, 1, `expected version ${VERSION} of the schema`);
  const text = (name: keyof FilesystemIdentity) => {
    const value = rest[name];
    if (typeof value !== 'string' || value.length > 100) throw badPlan(path, 1, `'${name}' is not what it should be`);
    return value;
  };
  return {
    filesystem: text('filesystem'),
    superblock_seq: text('superblock_seq'),
    journal_seq: text('journal_seq'),
    roots: text('roots'),
  };
}

function jsonIn(path: string, line: number, text: string): Json {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (thrown) {
    if (!(thrown instanceof SyntaxError)) throw thrown;
    throw badPlan(path, line, 'it is not JSON');
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw badPlan(path, line, 'it is not an object');
  return value as Json;
}

/** All of a file that may be of any kind and any length. */
function readText(path: string): string {
  const fd = openSync(path, 'r');
  try {
    const pieces: Uint8Array[] = [];
    let length = 0;
    for (;;) {
      const piece = new Uint8Array(1 << 20);
      const got = readSync(fd, piece, 0, piece.length, null);
      if (got === 0) return Buffer.concat(pieces).toString('utf8');
      length += got;
      if (length > BYTES_MAX) throw refused(`${path} is longer than a plan can be (${BYTES_MAX} bytes)`);
      pieces.push(piece.subarray(0, got));
    }
  } finally {
    closeSync(fd);
  }
}

const refused = (message: string): CommandFailed =>
  new CommandFailed(message, { exitCode: FSCK.operational, code: 'plan' });
const badPlan = (path: string, line: number, detail: string): CommandFailed =>
  refused(`${path}, line ${line}: this is not a plan of fsck: ${detail}`);
