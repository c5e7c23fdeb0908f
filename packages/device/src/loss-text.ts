// What would be lost, in words and as JSON.

import { bytesText } from '@bcachefs-ts/command';
import { dataTypeText, type Losses, replicasEntryText, type SetLoss } from '@bcachefs-ts/core/engine';

/** One clause. @param isAway it is missing already */
export function lossText(
  { lostBytes, lostMetadataBytes, degradedBytes, isJournalLost, isAnyLost, isAnyDegraded }: Losses,
  isAway: boolean,
): string {
  const [would, have] = isAway ? ['', 'has'] : ['would be ', 'would have'];
  const lost = lostBytes - lostMetadataBytes;
  const parts: string[] = [];
  if (lostMetadataBytes > 0n) parts.push(`${bytesText(Number(lostMetadataBytes))} of btree nodes`);
  if (lost > 0n) parts.push(`${bytesText(Number(lost))} of data`);
  if (isJournalLost) parts.push('the newest entries of the journal');
  if (parts.length === 0 && isAnyLost) parts.push('some of it');
  const verb = isAway ? 'cannot be read' : 'would be lost';
  const clauses = [parts.length === 0 ? `nothing ${isAway ? 'is' : would.trim()} lost` : `${listText(parts)} ${verb}`];
  if (degradedBytes > 0n) clauses.push(`${bytesText(Number(degradedBytes))} ${have} fewer copies`);
  else if (isAnyDegraded) clauses.push(`some of it ${have} fewer copies`);
  return clauses.join('; ');
}

/** Each set of which something is lost. */
export function setLines({ sets }: Losses): readonly string[] {
  return sets.filter(({ isLost }) => isLost).map(setText);
}

function setText({ entry, bytes }: SetLoss): string {
  return bytes === undefined ? replicasEntryText(entry) : `${replicasEntryText(entry)} ${bytesText(Number(bytes))}`;
}

export function lossesJson({ sets, lostBytes, lostMetadataBytes, degradedBytes, isJournalLost }: Losses): object {
  return {
    lost: lostBytes,
    lost_metadata: lostMetadataBytes,
    degraded: degradedBytes,
    journal_lost: isJournalLost,
    replicas: sets.map(({ entry, bytes, left, isLost }) => ({
      data_type: dataTypeText(entry.data_type),
      nr_required: entry.nr_required,
      devices: entry.devs,
      size: bytes ?? null,
      left,
      lost: isLost,
    })),
  };
}

/** `a`, `a and b`, `a, b and c` */
const listText = (parts: readonly string[]): string =>
  parts.length < 2 ? parts.join('') : `${parts.slice(0, -1).join(', ')} and ${parts.at(-1)}`;
