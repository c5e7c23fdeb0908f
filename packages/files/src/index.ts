// The public door of @bcachefs-ts/files: files of a filesystem without mounting it.

export {};
