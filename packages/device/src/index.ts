// The public door of @bcachefs-ts/device: the members of filesystems.

export { deviceAddCommand } from './add.ts';
export { dataDropExtraReplicasCommand } from './drop-extra-replicas.ts';
export { deviceEvacuateCommand } from './evacuate.ts';
export { fsFailureDomainsCommand } from './failure-domains.ts';
export { deviceListCommand } from './list.ts';
export { mountCommand, mountCommandOn, mountHelper, mountHelperOn } from './mount/command.ts';
export { dataRebalanceCommand } from './rebalance.ts';
export { deviceRemoveCommand } from './remove.ts';
export { deviceReplaceCommand } from './replace.ts';
export { dataRereplicateCommand } from './rereplicate.ts';
export { deviceResizeCommand } from './resize.ts';
export { deviceResizeJournalCommand } from './resize-journal.ts';
export { deviceResyncCommand } from './resync.ts';
export { deviceSetStateCommand } from './set-state.ts';
