// A counter in the words that kernels print it in (internal/accounting in sysfs): `replicas user: 1/2 [0 1]: 584`.

import {
  btrees,
  compressionTypeText,
  dataTypeText,
  nameAt,
  replicasEntryText,
  type UsageCounter,
} from '@bcachefs-ts/core/engine';

/** As Linux 6.12 does. */
export function counterLine({ counted, values }: UsageCounter): string {
  return `${nameOf(counted)}: ${values.join(' ')}`;
}

function nameOf(counted: UsageCounter['counted']): string {
  switch (counted.type) {
    case 'persistent_reserved':
      return `persistent_reserved replicas=${counted.nr_replicas}`;
    case 'replicas':
      return `replicas ${replicasEntryText(counted.entry)}`;
    case 'dev_data_type':
      return `dev_data_type dev=${counted.dev} data_type=${dataTypeText(counted.data_type)}`;
    case 'compression':
      return `compression ${compressionTypeText(counted.compression_type)}`;
    case 'snapshot':
      return `snapshot id=${counted.id}`;
    case 'btree': {
      const row = btrees.byId(counted.id);
      return `btree btree=${row === undefined ? counted.id : nameAt('1.13', row)}`;
    }
    default:
      return `${counted.type} `;
  }
}
