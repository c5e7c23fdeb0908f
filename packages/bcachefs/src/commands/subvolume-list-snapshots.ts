// A part of the bundle by itself, loaded when the command is run.

export { subvolumeListSnapshotsCommand as command } from '@bcachefs-ts/files';
