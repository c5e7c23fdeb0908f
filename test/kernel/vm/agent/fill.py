"""The standard mixed workload: one tree that has everything a filesystem can hold, from a seed and a size.

The same seed and size make the same tree (names, contents, modes, xattrs; times and inode numbers are the kernel's).
`size` is about how many bytes of file data there will be at the end; the number of files grows with it too.
Every part has its own directory, so that a failure says what was being done.
"""

import os
import stat

import linux
from pattern import pattern_bytes


class Fill:
    def __init__(self, root, seed, size):
        self.root = root
        self.seed = seed
        self.size = size
        self._count = 0

    def path(self, name):
        return os.path.join(self.root, name)

    def files(self, per_4_mib, at_least):
        """A number of files that fits the size."""
        return max(at_least, min(per_4_mib * 8, per_4_mib * self.size // (4 << 20)))

    def content(self, kind, size):
        self._count += 1
        return pattern_bytes(kind, f'{self.seed}.{self._count}', size)

    def number(self, below):
        """A number from 0 to below - 1, each call another one."""
        return int.from_bytes(self.content('random', 6), 'little') % below

    def write(self, name, content, at=0, mode=0o644):
        fd = os.open(self.path(name), os.O_RDWR | os.O_CREAT, mode)
        try:
            os.pwrite(fd, content, at)
        finally:
            os.close(fd)

    def with_file(self, name, act):
        fd = os.open(self.path(name), os.O_RDWR)
        try:
            act(fd)
        finally:
            os.close(fd)


def fill(root, seed, size, subvolumes):
    os.makedirs(root, exist_ok=True)
    tree = Fill(root, seed, size)
    for part in PARTS + ((_subvolumes,) if subvolumes else ()):
        part(tree)


def _small_files(tree):
    os.mkdir(tree.path('small'))
    for i in range(tree.files(60, 12)):
        kind = ('random', 'text')[i % 2]
        tree.write(f'small/f{i}', tree.content(kind, tree.number(9000)), mode=(0o644, 0o600, 0o755, 0o4711)[i % 4])
    tree.write('small/empty', b'')


def _inline_files(tree):
    os.mkdir(tree.path('inline'))
    for i in range(tree.files(30, 8)):
        tree.write(f'inline/f{i}', tree.content('text', 1 + tree.number(200)))


def _large_files(tree):
    os.mkdir(tree.path('large'))
    tree.write('large/random', tree.content('random', tree.size * 30 // 100))
    tree.write('large/text', tree.content('text', tree.size * 25 // 100))
    tree.write('large/zero', bytes(tree.size * 10 // 100))
    mixed = tree.size * 15 // 100
    tree.write('large/mixed', tree.content('text', mixed))
    for _ in range(12):  # overwrites inside what is there, aligned and not
        tree.write('large/mixed', tree.content('random', 1 + tree.number(20_000)), at=tree.number(max(1, mixed)))
    tree.write('large/shrunk', tree.content('random', 30_000))
    os.truncate(tree.path('large/shrunk'), 12_345)
    tree.write('large/grown', tree.content('random', 5_000))
    os.truncate(tree.path('large/grown'), 300_000)


def _wide_directory(tree):
    os.mkdir(tree.path('wide'))
    count = tree.files(400, 60)
    for i in range(count):
        tree.write(f'wide/entry-{i:05}', b'' if i % 7 else tree.content('text', 40))
    for i in range(0, count, 3):
        os.unlink(tree.path(f'wide/entry-{i:05}'))
    for i in range(1, count, 6):
        os.rename(tree.path(f'wide/entry-{i:05}'), tree.path(f'wide/renamed-{i:05}'))


def _deep_tree(tree):
    name = 'deep'
    os.mkdir(tree.path(name))
    for level in range(12):
        tree.write(f'{name}/file', tree.content('text', 100 * level))
        name = f'{name}/level-{level}'
        os.mkdir(tree.path(name), 0o700 if level % 2 else 0o755)
    os.rename(tree.path('deep/level-0/level-1/level-2'), tree.path('deep/moved'))


def _links(tree):
    os.mkdir(tree.path('links'))
    os.symlink('small/f0', tree.path('links/short'))
    os.symlink('x' * 4095, tree.path('links/longest'))
    os.symlink(('../' * 300) + 'nowhere', tree.path('links/dangling'))
    tree.write('links/many', tree.content('random', 3_000))
    for i in range(5):
        os.link(tree.path('links/many'), tree.path(f'links/many-{i}'))
    os.unlink(tree.path('links/many-3'))
    os.link(tree.path('links/short'), tree.path('links/short-again'), follow_symlinks=False)


def _special_files(tree):
    os.mkdir(tree.path('special'))
    os.mknod(tree.path('special/fifo'), stat.S_IFIFO | 0o640)
    os.mknod(tree.path('special/socket'), stat.S_IFSOCK | 0o755)
    os.mknod(tree.path('special/char'), stat.S_IFCHR | 0o600, os.makedev(5, 1))
    os.mknod(tree.path('special/block'), stat.S_IFBLK | 0o660, os.makedev(8, 17))
    os.mknod(tree.path('special/largest'), stat.S_IFCHR | 0o600, os.makedev(4095, 1048575))


def _attributes(tree):
    os.mkdir(tree.path('attributes'))
    tree.write('attributes/file', tree.content('text', 500))
    for i in range(12):
        os.setxattr(tree.path('attributes/file'), f'user.attribute-{i}', tree.content('random', 1 + i * 11))
    os.removexattr(tree.path('attributes/file'), 'user.attribute-7')
    os.setxattr(tree.path('attributes/file'), 'user.empty', b'')
    os.setxattr(tree.path('attributes/file'), 'user.large', tree.content('random', 1_900))
    os.setxattr(tree.path('attributes/file'), 'trusted.t', b'trust')
    os.setxattr(tree.path('attributes/file'), 'security.s', b'secure')
    os.setxattr(tree.path('attributes'), 'user.on-directory', b'yes')
    os.symlink('file', tree.path('attributes/link'))
    os.setxattr(tree.path('attributes/link'), 'trusted.on-link', b'yes', follow_symlinks=False)
    tree.write('attributes/owned', b'')
    os.chown(tree.path('attributes/owned'), 1000, 4_000_000_000)
    os.chmod(tree.path('attributes/owned'), 0o6070)
    for name, nanoseconds in (('before-epoch', -1_500_000_001), ('past-2038', 4_102_444_800_000_000_001)):
        tree.write('attributes/' + name, b'')
        os.utime(tree.path('attributes/' + name), ns=(nanoseconds, nanoseconds))


def _odd_names(tree):
    os.mkdir(tree.path('names'))
    names = ('ünïcödé 文字 🗄', 'n' * 255, ' leading and trailing ', '-dash', 'new\nline', 'tab\tbell\a', '\udce9 latin1', '%s')
    for name in names:
        tree.write('names/' + name, name.encode('utf-8', 'surrogateescape'))


def _sparse_and_preallocated(tree):
    os.mkdir(tree.path('ranges'))
    tree.write('ranges/sparse', tree.content('random', 5_000), at=1 << 20)
    tree.write('ranges/sparse', tree.content('random', 5_000), at=(16 << 20) + 1)
    os.truncate(tree.path('ranges/sparse'), 1 << 40)
    block = 4096
    some = 4 * block if tree.size >= 2 << 20 else block
    changes = {
        'allocated': ('allocate', 0, 6 * some),
        'kept-size': ('keep-size', 10 * some, 4 * some),
        'punched': ('punch-hole', 2 * some, 2 * some),
        'punched-unaligned': ('punch-hole', 1_000, 4 * some - 5_000),
        'zeroed': ('zero-range', 3 * block + 17, 2 * some + 1_000),
        'collapsed': ('collapse-range', 2 * some, some),
        'inserted': ('insert-range', some, some + block),
    }
    for name, (mode, offset, length) in changes.items():
        tree.write(f'ranges/{name}', b'' if name == 'allocated' else tree.content('random', 8 * some))
        tree.with_file(f'ranges/{name}', os.fsync)
        tree.with_file(f'ranges/{name}', lambda fd: linux.fallocate(fd, mode, offset, length))


def _clones(tree):
    os.mkdir(tree.path('clones'))
    tree.write('clones/origin', tree.content('random', 30 * 4096 + 55))

    def clone_to(name, act):
        tree.write(name, b'')
        tree.with_file(name, lambda target: tree.with_file('clones/origin', lambda origin: act(target, origin)))
    clone_to('clones/whole', linux.clone)
    clone_to('clones/part', lambda target, origin: linux.clone_range(target, origin, 4 * 4096, 8 * 4096, 4096))
    tree.write('clones/whole', tree.content('random', 6_000), at=9_000)


def _churn(tree):
    os.mkdir(tree.path('churn'))
    for i in range(tree.files(60, 12)):
        name = f'churn/t{i}'
        os.mkdir(tree.path(name))
        tree.write(name + '/file', tree.content('random', tree.number(6_000)))
        os.rename(tree.path(name + '/file'), tree.path(name + '/other'))
        if i % 4:
            os.unlink(tree.path(name + '/other'))
            os.rmdir(tree.path(name))
    linux.rename(tree.path('churn/t0'), tree.path('churn/t4'), linux.RENAME_FLAGS['exchange'])


def _subvolumes(tree):
    os.mkdir(tree.path('subvolumes'))
    linux.subvolume_create(tree.path('subvolumes/main'))
    tree.write('subvolumes/main/kept', tree.content('text', 7_000))
    tree.write('subvolumes/main/changed', tree.content('random', 20_000))
    tree.write('subvolumes/main/removed', tree.content('random', 2_000))
    linux.subvolume_snapshot(tree.path('subvolumes/main'), tree.path('subvolumes/before'), read_only=True)
    tree.write('subvolumes/main/changed', tree.content('random', 5_000), at=3_000)
    os.unlink(tree.path('subvolumes/main/removed'))
    linux.subvolume_snapshot(tree.path('subvolumes/main'), tree.path('subvolumes/after'))
    tree.write('subvolumes/after/added', tree.content('text', 900))


PARTS = (_small_files, _inline_files, _large_files, _wide_directory, _deep_tree, _links, _special_files, _attributes,
         _odd_names, _sparse_and_preallocated, _clones, _churn)
