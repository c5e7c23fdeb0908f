"""Filling a filesystem until it is as full as asked, and taking everything out of it again.

Files of many sizes: most bytes are in large files, most files are small, so that buckets of every kind are in use when
there is no more room. On the way there are snapshots, deletions and overwritten parts, so that room is given back too.
"""

import errno
import os
import stat
import time

import linux
from pattern import pattern_bytes

POOL_BYTES = 1 << 20
SIZES = (30, 400, 900, 4096, 5_000, 13_000, 40_000, 2_500, 130_000, 700, 300_000, 0)  # 0: a large part of what is missing
LARGEST_PART = 12
FILES_PER_DIRECTORY = 200
TOP = 'full'
SUBVOLUMES = ('sub', 'sub/inner')
GONE_AFTER_SECONDS = 60
READ_BYTES = 8 << 20
DEBUG = '/debug'


def space(at):
    """What statfs says, in bytes."""
    found = os.statvfs(at)
    return {'totalBytes': found.f_blocks * found.f_frsize, 'freeBytes': found.f_bfree * found.f_frsize}


def settle():
    os.sync()
    with open('/proc/sys/vm/drop_caches', 'w') as file:
        file.write('3')


class Filling:
    def __init__(self, at, seed, limit):
        self.at = at
        self.top = os.path.join(at, TOP)
        self.limit = limit
        self.written = 0
        self.count = 0
        self.deleted = 0
        self.paths = []
        # No compressor shrinks it, and what is repeated is too far apart.
        self.pool = pattern_bytes('random', f'full.{seed}', POOL_BYTES)
        os.mkdir(self.top)
        for name in SUBVOLUMES:
            linux.subvolume_create(os.path.join(self.top, name))
        self.places = [self.top, *(os.path.join(self.top, name) for name in SUBVOLUMES)]

    def missing(self, percent):
        now = space(self.at)
        used = now['totalBytes'] - now['freeBytes']
        return min(-(-now['totalBytes'] * percent // 100) - used, self.limit - self.written)

    def up_to(self, percent):
        while True:
            missing = self.missing(percent)
            if missing <= 0:
                # Cached pages hold room that they do not need any more (a tenth of the filesystem, seen in 6.12).
                settle()
                if self.missing(percent) <= 0:
                    return
                continue
            self.add(min(missing, SIZES[self.count % len(SIZES)] or max(500_000, missing // LARGEST_PART)))

    def add(self, size):
        place = self.places[self.count % len(self.places)]
        directory = os.path.join(place, f'd{self.count // FILES_PER_DIRECTORY}')
        os.makedirs(directory, exist_ok=True)
        self.paths.append(os.path.join(directory, f'f{self.count}'))
        self.count += 1
        self.write(self.paths[-1], size)

    def write(self, path, size):
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            at, offset = self.count * 4099 % POOL_BYTES, 0
            while size:
                done = os.pwrite(fd, memoryview(self.pool)[at:at + size], offset)
                self.written += done
                size -= done
                offset += done
                at = 0
        finally:
            os.close(fd)

    def change(self, nr):
        """A snapshot; then every fifth file goes, and every seventh gets another beginning."""
        linux.subvolume_snapshot(self.places[1], os.path.join(self.top, f'snapshot-{nr}'), read_only=nr == 0)
        for path in self.paths[::5]:
            os.unlink(path)
            self.deleted += 1
        del self.paths[::5]
        for path in self.paths[::7]:
            self.write(path, min(6_000, max(0, self.missing(100))))


def fill_up(at, percent, seed, limit):
    """Until statfs says that so much is in use, or so much was written. ENOSPC before that is an error."""
    settle()
    filling = Filling(at, seed, limit)
    for nr, part in enumerate((40, 75)):
        filling.up_to(percent * part // 100)
        filling.change(nr)
    filling.up_to(percent)
    return {'files': filling.count, 'deleted': filling.deleted, 'writtenBytes': filling.written, **space(at)}


def delete_all(at):
    """Everything below a directory but lost+found: files one by one, subvolumes and snapshots as they are."""
    counts = {'files': 0, 'subvolumes': 0}
    own = linux.statx(os.fsencode(at)).subvol

    def empty(directory, subvolume):
        for entry in os.listdir(directory):
            path = os.path.join(directory, entry)
            if path != lost_and_found:
                remove(path, subvolume)

    def remove(path, parent):
        found = linux.statx(path)
        if not stat.S_ISDIR(found.mode):
            os.unlink(path)
            counts['files'] += 1
        elif found.subvol == parent:
            empty(path, parent)
            os.rmdir(path)
            counts['files'] += 1
        else:
            for inner in subvolumes_in(path, found.subvol):
                remove(inner, found.subvol)
            delete_subvolume(path)
            counts['subvolumes'] += 1

    lost_and_found = os.path.join(os.fsencode(at), b'lost+found')
    empty(os.fsencode(at), own)
    wait_for_deletions(os.fsencode(at))
    return counts


def delete_subvolume(path):
    """Those inside of it that were deleted before are gone a moment later only, and until then it is not empty."""
    for _ in range(GONE_AFTER_SECONDS * 20):
        try:
            linux.subvolume_delete(path)
            return
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:
                raise
        time.sleep(0.05)
    linux.subvolume_delete(path)


def subvolumes_in(directory, subvolume):
    """Roots of the subvolumes below, none inside of another."""
    found = []
    for entry in os.scandir(directory):
        if entry.is_dir(follow_symlinks=False):
            if linux.statx(entry.path).subvol == subvolume:
                found.extend(subvolumes_in(entry.path, subvolume))
            else:
                found.append(entry.path)
    return found


def wait_for_deletions(at):
    """Until the kernel has deleted what belonged to deleted subvolumes, which it does in the background.

    What an unmount interrupts it goes on with at the next mount, but its own check in between calls it damage
    ("snapshot tree points to missing subvolume", and the mount fails; 6.12).
    """
    there = {linux.statx(at).subvol, *subvolume_ids(at)}
    for _ in range(GONE_AFTER_SECONDS * 10):
        known = {int(key.split(' type subvolume 0:')[1].split(':')[0]) for key in keys_of('subvolumes', ' type subvolume ')}
        dying = [key for key in keys_of('snapshots', ' type snapshot ') if ' deleted 1 ' in key]
        if known == there and not dying:
            return
        time.sleep(0.1)
    raise TimeoutError(
        errno.ETIMEDOUT, f'subvolumes {known - there} have no path, {there - known} no key; {len(dying)} deleted snapshots, {dying[:3]}')


def wait_for_deletion(subvolume):
    """Until the kernel has deleted the snapshot of a subvolume, and the one above it too if that has only one child left.

    The subvolume is given as place_of had it before.

    While 6.12 is at it, what the subvolume in that child changes can be lost. Keys are moved down to it in the order of
    positions, where the child's own come first. If there was none when it went past, the older version is written
    without another look (delete_dead_snapshots_process_key; 1.20 looks), also after the restart of a transaction that
    collided with the one that made it. A directory has no link for the first directory made in it ("directory with
    wrong i_nlink"), a root has the flag of the one above ("inode has_child_snapshots flag wrong"). Of 2000 directories
    that only a kernel had made, ten lost a link while each got a directory twelve times and a snapshot of them was
    deleted each time; none with a pause after the deletion.
    """
    number, _, snapshot = subvolume
    for _ in range(GONE_AFTER_SECONDS * 10):
        # Both numbers are given again at once, to another process too; the inode of its root is another one.
        if place_of(number) != subvolume:
            keys = keys_of('snapshots', f' type snapshot 0:{snapshot}:0 ')
            if not any(' deleted 1 ' in key for key in keys):
                return
        time.sleep(0.1)
    raise TimeoutError(errno.ETIMEDOUT, f'snapshot {snapshot} of subvolume {number} is not deleted')


def place_of(subvolume):
    """@return its number, the inode of its root and the snapshot that it is in now; None if there is none"""
    for key in keys_of('subvolumes', f' type subvolume 0:{subvolume}:0 '):
        root, snapshot = key.split(' root ')[1].split(' snapshot id ')
        return subvolume, int(root), int(snapshot.split()[0])
    return None


def snapshotted_subvolumes():
    """Subvolumes that others were snapshotted from, or that a snapshot tree with others names as its own.

    A kernel that deletes one of these goes on naming it, in the tree and in the root inode that the others have in
    common, and calls that damage afterwards (6.12, also where nothing else ever wrote).
    """
    # Keys of before 1.5, in a filesystem that was upgraded, end before it.
    parents = {int(key.split(' creation_parent ')[1].split()[0]) for key in keys_of('subvolumes', ' creation_parent ')}
    living = {}
    for key in keys_of('snapshots', ' is_subvol 1 '):
        words = key.split()
        living.setdefault(words[words.index('tree') + 1], []).append(words[words.index('subvol') + 1])
    trees = [key.split() for key in keys_of('snapshot_trees', ' type snapshot_tree ')]
    masters = {words[4].split(':')[1]: words[words.index('subvol') + 1] for words in trees}
    return parents | {int(masters[tree]) for tree, subvolumes in living.items() if len(subvolumes) > 1}


def keys_of(btree, wanted):
    """Keys of a btree as the kernel prints them, of the only filesystem that is mounted."""
    if not os.path.isdir(DEBUG):
        os.mkdir(DEBUG)
        linux.mount('debugfs', DEBUG, 'debugfs')
    [filesystem] = os.listdir(f'{DEBUG}/bcachefs')
    # In one piece: where a read ends in the middle, the kernel leaves out keys behind it (6.12).
    with open(f'{DEBUG}/bcachefs/{filesystem}/btrees/{btree}/keys', 'rb', buffering=0) as keys:
        text = keys.read(READ_BYTES)
    if len(text) == READ_BYTES:
        raise OSError(errno.EFBIG, f'the keys of {btree} take more than {READ_BYTES} bytes')
    return [key.rstrip() for key in text.decode().splitlines() if wanted in key]


def subvolume_ids(at):
    for path in subvolumes_in(at, linux.statx(at).subvol):
        yield linux.statx(path).subvol
        yield from subvolume_ids(path)
