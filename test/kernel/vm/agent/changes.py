"""Random changes of whatever there is below a directory: the same ones for the same seed and tree.

An operation that the kernel refuses, as it has to (a read-only snapshot, a directory that is not empty, another
subvolume), does not count. Anything else that fails is an error, a lack of room too: half of what a filesystem has is never
used, whatever is drawn.
"""

import errno
import os
import stat
import time

import linux
from pattern import pattern_bytes
from space import place_of, snapshotted_subvolumes, space, wait_for_deletion, wait_for_deletions

REFUSALS = {errno.EROFS, errno.ENOTEMPTY, errno.EXDEV}
BLOCK = 4096
LARGEST_FILE = 150_000
SPARSE = 1 << 20  # larger than anything that is written here
SNAPSHOTS_AT_MOST = 6
PATHS_IN_A_SNAPSHOT = 400


class Numbers:
    """SHAKE128 of the seed, a block at a time."""

    def __init__(self, seed):
        self._seed = seed
        self._blocks = 0
        self._bytes = b''

    def below(self, limit):
        if len(self._bytes) < 4:
            self._bytes = pattern_bytes('random', f'changes.{self._seed}.{self._blocks}', 4096)
            self._blocks += 1
        value, self._bytes = int.from_bytes(self._bytes[:4], 'little'), self._bytes[4:]
        return value * limit >> 32

    def pick(self, values):
        return values[self.below(len(values))]


class Changes:
    def __init__(self, root, seed, among=()):
        self.operations = [(name, act) for name, act in OPERATIONS if not among or name in among]
        self.root = os.fsencode(root)
        self.numbers = Numbers(seed)
        self.seed = seed
        self.count = 0
        self.snapshots = 0
        self.kinds = {}  # path: 'reg', 'dir', 'subvolume' or 'other'
        self.scan(self.root, linux.statx(self.root).subvol)
        self.done = {}

    def scan(self, directory, subvolume):
        for name in sorted(os.listdir(directory)):
            path = directory + b'/' + name
            if path == self.root + b'/lost+found':
                continue
            found = linux.statx(path)
            if stat.S_ISDIR(found.mode):
                self.kinds[path] = 'dir' if found.subvol == subvolume else 'subvolume'
                self.scan(path, found.subvol)
            else:
                self.kinds[path] = 'reg' if stat.S_ISREG(found.mode) else 'other'

    def run(self, operations, each=()):
        """@return how many of each kind were done: `operations`, and more if those in `each` were not all among them."""
        for attempt in range(operations * 6 + 2000):
            among = self.operations
            missing = [name for name in each if name not in self.done]
            if self.count >= operations and missing:
                # Some need what others make.
                names = missing if attempt % 2 == 0 else ('create', 'make_subvolume')
                among = [one for one in among if one[0] in names]
            if self.try_one(among):
                if self.count >= operations and all(name in self.done for name in each):
                    wait_for_deletions(self.root)
                    return self.done
        raise RuntimeError(f'{self.count} of {operations} operations were possible: {self.done}')

    def run_until(self, until, at_least):
        """@param until by the monotonic clock, and until so many are done; @return how many of each kind were done"""
        while time.monotonic() < until or self.count < at_least:
            self.try_one(self.operations)
        return self.done

    def try_one(self, among):
        name, act = self.numbers.pick(among)
        if name in TAKES_ROOM and self.is_half_full():
            return False
        try:
            if not act(self):
                return False
        except OSError as error:
            if error.errno not in REFUSALS:
                raise OSError(error.errno, f'{error.strerror}: {name}, after {self.count} operations') from error
            return False
        self.done[name] = self.done.get(name, 0) + 1
        self.count += 1
        return True

    def is_half_full(self):
        now = space(self.root)
        return now['freeBytes'] < now['totalBytes'] // 2

    def existing(self, *kinds):
        paths = [path for path, kind in self.kinds.items() if kind in kinds]
        return self.numbers.pick(paths) if paths else None

    def directory(self):
        return self.existing('dir', 'subvolume') or self.root

    def new_path(self):
        name = self.numbers.pick(('k', 'kernel-', 'ä', 'long-' * 20))
        return self.directory() + b'/' + os.fsencode(f'{name}{self.seed}-{self.count}')

    def bytes(self):
        sizes = (1, self.numbers.below(300), 4096, self.numbers.below(9_000), self.numbers.below(LARGEST_FILE))
        kind = self.numbers.pick(('random', 'text', 'zero'))
        return pattern_bytes(kind, f'{self.seed}.{self.numbers.below(1 << 32)}', self.numbers.pick(sizes))

    def forget_below(self, path):
        for other in [other for other in self.kinds if other == path or other.startswith(path + b'/')]:
            del self.kinds[other]

    def with_file(self, act):
        path = self.existing('reg')
        if path is None:
            return False
        fd = os.open(path, os.O_RDWR)
        try:
            act(fd)
        finally:
            os.close(fd)
        return True

    def create(self):
        path = self.new_path()
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, self.numbers.pick((0o644, 0o600, 0o4755)))
        self.kinds[path] = 'reg'
        try:
            os.pwrite(fd, self.bytes(), self.numbers.pick((0, 0, self.numbers.below(LARGEST_FILE))))
        finally:
            os.close(fd)
        return True

    def make_directory(self):
        path = self.new_path()
        os.mkdir(path)
        self.kinds[path] = 'dir'
        return True

    def make_symlink(self):
        path = self.new_path()
        os.symlink(b'x' * (1 + self.numbers.below(300)), path)
        self.kinds[path] = 'other'
        return True

    def make_fifo(self):
        path = self.new_path()
        os.mkfifo(path)
        self.kinds[path] = 'other'
        return True

    def write(self):
        return self.with_file(lambda fd: os.pwrite(fd, self.bytes(), self.numbers.below(LARGEST_FILE)))

    def append(self):
        return self.with_file(lambda fd: os.pwrite(fd, self.bytes(), min(os.fstat(fd).st_size, LARGEST_FILE)))

    def truncate(self):
        limit = self.numbers.pick((1, 5_000, LARGEST_FILE))
        return self.with_file(lambda fd: os.ftruncate(fd, self.numbers.below(limit)))

    def allocate(self):
        mode = self.numbers.pick(('allocate', 'keep-size', 'punch-hole', 'punch-hole', 'punch-hole', 'zero-range'))
        offset, length = self.numbers.below(60_000), 1 + self.numbers.below(60_000)

        def act(fd):
            size = os.fstat(fd).st_size
            # Zeroes take the room that they fill: of the sparse file of a tebibyte there would be no end.
            wanted = 'punch-hole' if mode == 'zero-range' and size > SPARSE else mode
            # To the end. Of an extent that a snapshot has from its ancestor, 6.12 takes the front away in its counters only:
            # a snapshot of 120000 bytes, the first 40960 punched, still has them all, and its i_sectors are wrong.
            past = max(0, size - offset + BLOCK) if wanted in ('punch-hole', 'zero-range') else 0
            linux.fallocate(fd, wanted, offset, max(length, past))

        return self.with_file(act)

    def clone(self):
        source, target = self.existing('reg'), self.new_path()
        if source is None:
            return False
        source_fd = os.open(source, os.O_RDONLY)
        try:
            target_fd = os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
            self.kinds[target] = 'reg'
            try:
                linux.clone(target_fd, source_fd)
            finally:
                os.close(target_fd)
        finally:
            os.close(source_fd)
        return True

    def unlink(self):
        path = self.existing('reg', 'other')
        if path is None:
            return False
        os.unlink(path)
        del self.kinds[path]
        return True

    def remove_directory(self):
        path = self.existing('dir')
        if path is None:
            return False
        os.rmdir(path)
        del self.kinds[path]
        return True

    def rename(self):
        source, kinds = self.existing('reg', 'other', 'dir'), self.kinds
        if source is None:
            return False
        target = self.new_path()
        if kinds[source] == 'reg' and self.numbers.below(3) == 0:
            target = self.existing('reg')
        if target == source or target.startswith(source + b'/'):
            return False
        os.rename(source, target)
        if source in kinds:
            moved = {path: kind for path, kind in kinds.items() if path == source or path.startswith(source + b'/')}
            self.forget_below(source)
            kinds.update({target + path[len(source):]: kind for path, kind in moved.items()})
        return True

    def exchange(self):
        one, other = self.existing('reg'), self.existing('reg')
        if one is None or one == other:
            return False
        linux.rename(one, other, linux.RENAME_FLAGS['exchange'])
        return True

    def link(self):
        source, target = self.existing('reg', 'other'), self.new_path()
        if source is None:
            return False
        os.link(source, target, follow_symlinks=False)
        self.kinds[target] = self.kinds[source]
        return True

    def set_attribute(self):
        path = self.existing('reg', 'dir')
        if path is None:
            return False
        name = self.numbers.pick(('user.kernel', 'user.k', 'user.' + 'y' * 60, 'trusted.kernel'))
        os.setxattr(path, name, pattern_bytes('text', self.count, self.numbers.below(400)))
        return True

    def remove_attribute(self):
        path = self.existing('reg', 'dir')
        names = [name for name in os.listxattr(path) if not name.startswith('bcachefs')] if path else []
        if not names:
            return False
        os.removexattr(path, self.numbers.pick(sorted(names)))
        return True

    def set_mode(self):
        path = self.existing('reg', 'dir')
        if path is None:
            return False
        os.chmod(path, self.numbers.pick((0o700, 0o1755, 0o640)))
        os.chown(path, self.numbers.below(70_000), self.numbers.below(9))
        return True

    def make_subvolume(self):
        path = self.new_path()
        linux.subvolume_create(path)
        self.kinds[path] = 'subvolume'
        return True

    def snapshot(self):
        source = self.existing('subvolume')
        if source is None or self.snapshots == SNAPSHOTS_AT_MOST:
            return False
        if sum(path.startswith(source + b'/') for path in self.kinds) > PATHS_IN_A_SNAPSHOT:
            return False
        target = self.new_path()
        if target.startswith(source + b'/'):
            return False
        linux.subvolume_snapshot(source, target, self.numbers.below(3) == 0)
        self.snapshots += 1
        self.kinds[target] = 'subvolume'
        self.scan(target, linux.statx(target).subvol)
        return True

    def delete_subvolume(self):
        path = self.existing('subvolume')
        if path is None or self.numbers.below(3):
            return False
        subvolume = linux.statx(path).subvol
        if subvolume in snapshotted_subvolumes():
            return False
        place = place_of(subvolume)
        linux.subvolume_delete(path)
        self.forget_below(path)
        wait_for_deletion(place)
        return True

    def sync(self):
        return self.with_file(os.fsync)


TAKES_ROOM = {'create', 'write', 'append', 'allocate'}
# Each as often as it stands here.
OPERATIONS = [(name, getattr(Changes, name)) for name in (
    'create create create create create create make_directory make_symlink make_fifo write write write append append '
    'truncate truncate allocate allocate allocate clone unlink unlink unlink unlink remove_directory rename rename rename '
    'exchange link link set_attribute set_attribute remove_attribute set_mode make_subvolume snapshot delete_subvolume '
    'sync').split()]
