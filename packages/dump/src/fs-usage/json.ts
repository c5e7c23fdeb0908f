// What `fs usage` knows as plain data: docs/json/fs-usage.md. Sizes are in bytes; kinds of counters that text leaves out are here too.

import {
  btrees,
  type Counted,
  compressionTypeText,
  type DeviceUsage,
  dataTypes,
  dataTypeText,
  type FsUsage,
  isCountedKind,
  memberStates,
  reconcileAccountingTypes,
  versionNumber,
  versionOf,
} from '@bcachefs-ts/core/engine';

/** Since then, a btree's counter says how many nodes it has; and a snapshot's, how many keys of which btree. */
const NODES_COUNTED_SINCE = versionOf('btree_node_accounting');

export function usageJson(usage: FsUsage): object {
  const btreeName = (id: number) => btrees.nameOf(id);
  const each = <T extends Counted['type']>(
    type: T,
    toJson: (counted: Extract<Counted, { type: T }>, values: readonly bigint[]) => object,
  ) => usage.counters.filter(isCountedKind(type)).map(({ counted, values }) => toJson(counted, values));
  const [rebalance] = usage.counters.filter(isCountedKind('rebalance_work'));
  const countsNodes = usage.version >= NODES_COUNTED_SINCE;
  return {
    uuid: usage.uuid,
    label: usage.label,
    version: versionNumber(usage.version),
    counted_by: usage.from,
    size: bytes(usage.capacitySectors),
    used: bytes(usage.usedSectors),
    online_reserved: null, // only a mounted filesystem knows
    reserve: bytes(usage.reserveSectors),
    hidden: bytes(usage.hiddenSectors),
    inodes: usage.inodes,
    statfs: {
      size: bytes(usage.statfs.capacitySectors),
      free: bytes(usage.statfs.freeSectors),
      available: bytes(usage.statfs.availableSectors),
    },
    reserved: each('persistent_reserved', ({ nr_replicas }, [sectors]) => ({
      nr_replicas,
      size: bytes(sectors),
    })),
    replicas: each('replicas', ({ entry: { data_type, nr_required, devs } }, [sectors]) => ({
      data_type: dataTypeText(data_type),
      nr_required,
      devices: devs,
      size: bytes(sectors),
    })),
    compression: each('compression', ({ compression_type }, [extents = 0n, uncompressed, compressed]) => ({
      type: compressionTypeText(compression_type),
      extents,
      uncompressed: bytes(uncompressed),
      compressed: bytes(compressed),
    })),
    btrees: each('btree', ({ id }, [sectors, nodes = 0n, interior = 0n]) => ({
      btree: btreeName(id),
      size: bytes(sectors),
      ...(countsNodes ? { nodes, interior_nodes: interior } : {}),
    })),
    snapshots: each('snapshot', ({ id, btree }, values) =>
      values.length > 1
        ? { id, btree: btreeName(btree), keys: values[0], key_bytes: values[1], size: bytes(values[2]) }
        : { id, size: bytes(values[0]) },
    ),
    rebalance_work: rebalance === undefined ? null : bytes(rebalance.values[0]),
    reconcile_work: each('reconcile_work', ({ work }, [data, metadata]) => ({
      work: reconcileAccountingTypes.nameOf(work),
      data: bytes(data),
      metadata: bytes(metadata),
    })),
    devices: usage.devices.map(deviceJson),
  };
}

function deviceJson(device: DeviceUsage): object {
  const bucket = BigInt(device.bucketSizeSectors);
  return {
    index: device.index,
    uuid: device.uuid,
    label: device.label ?? null,
    device: device.path ?? null,
    state: memberStates.nameOf(device.state),
    durability: device.durability,
    bucket_size: bytes(bucket),
    buckets: device.buckets,
    size: bytes(device.buckets * bucket),
    leaving: bytes(device.leavingSectors),
    data_types: device.types.map(({ dataType, buckets, sectors, fragmentedSectors }) => ({
      data_type: dataTypeText(dataType),
      buckets,
      size: bytes(dataTypes.byId(dataType)?.isEmpty ? buckets * bucket : sectors),
      fragmented: bytes(fragmentedSectors),
    })),
  };
}

const bytes = (sectors: bigint = 0n) => 512n * sectors;
