// What scrub prints: bad copies by their places, lost data by the paths of its files, and the table of the reference.

import {
  type BadCopy,
  type FilePath,
  faultOf,
  humanText,
  type LostRun,
  PrintBuffer,
  printableBytes,
  type ScrubFinding,
  type ScrubReport,
} from '@bcachefs-ts/core/engine';

export interface ScrubSummary {
  readonly kind: 'summary';
  readonly uuid: string;
  readonly members: readonly string[];
  /** Nothing was to be repaired. */
  readonly isDry: boolean;
  readonly isMetadataOnly: boolean;
  /** Bad copies that were found and not shown, by error. */
  readonly notShown: ReadonlyMap<string, number>;
  readonly report: ScrubReport;
  readonly exitCode: number;
}

export function* scrubFindingLines(finding: ScrubFinding): Generator<string> {
  if (finding.kind === 'copy') yield badCopyText(finding);
  else yield* lostLines(finding);
}

function badCopyText({ damage, outcome, reason }: BadCopy): string {
  const result = outcome === 'correctable' ? 'there is a good copy' : outcome;
  return `${damage.text()}: ${result}${reason === undefined ? '' : ` (${reason})`}`;
}

/** The path first, one line for each. */
function* lostLines(lost: LostRun): Generator<string> {
  const { damage, offset, length, files, inum, snapshot, btree, pos } = lost;
  const what = `bytes ${offset} to ${offset + length} have no good copy: ${damage.error}: ${damage.detail}`;
  const paths = files.flatMap(file => file.paths);
  for (const path of paths) yield `${filePathText(path)}: ${what}`;
  if (paths.length > 0) return;
  if (inum === undefined) yield `${btree} ${pos}: ${what} (no file points there)`;
  else yield `inode ${inum} in snapshot ${snapshot}: ${what} (no path leads there)`;
}

function filePathText({ path, isWhole, topInode }: FilePath): string {
  if (isWhole) return `/${printableBytes(path)}`;
  return `(inode ${topInode})${path.length === 0 ? '' : `/${printableBytes(path)}`}`;
}

export function* scrubSummaryLines(summary: ScrubSummary): Generator<string> {
  const { report, notShown, members, isDry } = summary;
  for (const [error, count] of notShown) yield `${count} more of ${error}`;
  yield* tableText(report).split('\n');
  const { corrected, correctable, uncorrected, lost, missing, refused } = report;
  const parts = [
    ...(corrected > 0 ? [`${copies(corrected)} corrected`] : []),
    ...(correctable > 0
      ? [`${copies(correctable)} bad, with a good one beside ${correctable === 1 ? 'it' : 'them'}`]
      : []),
    ...(uncorrected > 0 ? [`${copies(uncorrected)} uncorrected`] : []),
    ...(lost > 0 ? [`no good copy of ${lost === 1 ? '1 extent or node' : `${lost} extents or nodes`}`] : []),
  ];
  const isDamaged = corrected + correctable + uncorrected + lost > 0;
  yield `${members.join(', ')}: ${isDamaged ? parts.join(', ') : 'every copy is good'}${isDry && isDamaged ? '; nothing was changed' : ''}`;
  if (missing > 0) yield `${copies(missing)} ${missing === 1 ? 'is' : 'are'} on members that are missing`;
  if (refused !== undefined) yield `not repaired: ${refused}`;
}

const copies = (count: number): string => (count === 1 ? '1 copy' : `${count} copies`);

/** As bcachefs-tools has it, with room for long names. */
function tableText({ members }: ScrubReport): string {
  const out = new PrintBuffer();
  const nameColumns = Math.max(16, ...members.map(({ name }) => (name?.length ?? 0) + 2));
  for (const columns of [nameColumns, 12, 12, 12, 12, 6]) out.pushTabStop(columns);
  out.print('device\tchecked\rcorrected\runcorrected\rtotal\r');
  for (const { name, checkedBytes, correctedBytes, uncorrectedBytes, totalBytes } of members) {
    out.newline();
    const numbers = [checkedBytes, correctedBytes, uncorrectedBytes, totalBytes].map(bytes => `${humanText(bytes)}\r`);
    const percent = name !== undefined ? 100 : 0;
    out.print(
      `${name ?? '(offline)'}\t${numbers.join('')}${percent}%\r  ${name === undefined ? 'offline' : 'complete'}`,
    );
  }
  return out.toString();
}

export function scrubFindingJson(finding: ScrubFinding): object {
  const { damage } = finding;
  const shared = {
    kind: finding.kind === 'copy' ? 'bad_copy' : 'lost_data',
    id: damage.error,
    number: faultOf(damage.error).id,
    severity: faultOf(damage.error).severity,
    where: damage.where,
    detail: damage.detail,
  };
  if (finding.kind === 'copy') {
    const { what, dev, sizeBytes, outcome, reason } = finding;
    return { ...shared, data_type: what, member: dev, bytes: sizeBytes, outcome, reason: reason ?? null };
  }
  const { btree, pos, inum, snapshot, offset, length, files } = finding;
  return {
    ...shared,
    btree,
    pos,
    inode: inum === undefined ? null : `${inum}`,
    snapshot: snapshot ?? null,
    offset,
    length,
    files: files.map(({ subvolume, paths }) => ({ subvolume, paths: paths.map(filePathText) })),
  };
}

export function scrubSummaryJson({ uuid, isDry, isMetadataOnly, report, exitCode }: ScrubSummary): object {
  const { corrected, correctable, uncorrected, lost, missing, refused } = report;
  return {
    filesystem: uuid,
    dry_run: isDry,
    metadata_only: isMetadataOnly,
    devices: report.members.map(({ dev, name, checkedBytes, correctedBytes, uncorrectedBytes, totalBytes }) => ({
      member: dev,
      device: name ?? null,
      checked: checkedBytes,
      corrected: correctedBytes,
      uncorrected: uncorrectedBytes,
      total: totalBytes,
    })),
    corrected,
    correctable,
    uncorrected,
    lost,
    missing,
    refused: refused ?? null,
    exit_code: exitCode,
  };
}
