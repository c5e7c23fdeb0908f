// The package's door for programs. What bcachefs-ts offers is its binaries; the library is @bcachefs-ts/core.

export { version } from './version.ts';
