"""Everything a mounted filesystem shows of itself, one entry per path, in the form of the reference manifests.

Fields (see test/kernel/README.md): path or path_b64, type, ino, mode, uid, gid, size, nlink, blocks, mtime_ns, ctime_ns,
btime_ns, subvol, projid, flags, sha256 or sha256_data, data, target, rdev, xattrs, options, open_errno, read_errno.
Numbers that may pass 2^53 are decimal strings. Nothing is followed, nothing is changed (O_NOATIME).
"""

import binascii
import errno
import os
import stat
import struct

import linux

try:
    from _sha256 import sha256  # Python 3.11
except ImportError:
    from _sha2 import sha256  # Python 3.12 and later

TYPES = {stat.S_IFREG: 'reg', stat.S_IFDIR: 'dir', stat.S_IFLNK: 'lnk', stat.S_IFIFO: 'fifo', stat.S_IFSOCK: 'sock',
         stat.S_IFCHR: 'chr', stat.S_IFBLK: 'blk'}
HASH_WHOLE_UP_TO_BYTES = 4 << 30
OPTION_PREFIXES = ('bcachefs.', 'bcachefs_effective.')


def base64(raw):
    return binascii.b2a_base64(raw, newline=False).decode()


def _text_or_base64(entry, name, raw):
    try:
        entry[name] = raw.decode()
    except UnicodeDecodeError:
        entry[name + '_b64'] = base64(raw)


def _data_segments(fd, size):
    segments = []
    at = 0
    while at < size:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                break
            raise
        at = min(os.lseek(fd, start, os.SEEK_HOLE), size)
        segments.append([start, at - start])
    return segments


def _hash_range(digest, fd, offset, length):
    while length:
        piece = os.pread(fd, min(length, 1 << 20), offset)
        if not piece:
            break
        digest.update(piece)
        offset += len(piece)
        length -= len(piece)


def _zeroes(digest, length):
    while length:
        piece = bytes(min(length, 1 << 20))
        digest.update(piece)
        length -= len(piece)


def _file_content(entry, fd, size, blocks, with_hashes):
    segments = _data_segments(fd, size)
    # As the reference manifests have it: only for sparse files of more than a page, which is how finely holes are seen.
    if size > 4096 and blocks * 512 < size and segments != [[0, size]]:
        entry['data'] = segments
    if not with_hashes:
        return
    digest = sha256()
    if size > HASH_WHOLE_UP_TO_BYTES:
        for offset, length in segments:
            digest.update(struct.pack('<QQ', offset, length))
            _hash_range(digest, fd, offset, length)
        entry['sha256_data'] = digest.hexdigest()
    else:
        # Read the holes too: that they read as zeroes is part of what is being checked.
        _hash_range(digest, fd, 0, size)
        entry['sha256'] = digest.hexdigest()


def _xattrs(entry, path):
    plain, options = {}, {}
    for name in os.listxattr(path, follow_symlinks=False):
        value = os.getxattr(path, name, follow_symlinks=False)
        name = os.fsdecode(name)
        if name.startswith(OPTION_PREFIXES):
            options[name] = value.rstrip(b'\0').decode()
        else:
            plain[name] = base64(value)
    if plain:
        entry['xattrs'] = plain
    if options:
        entry['options'] = options


def describe(path, shown_path, with_hashes=True):
    """One entry. @param path bytes, to reach the file. @param shown_path bytes, relative to the root."""
    entry = {}
    _text_or_base64(entry, 'path', shown_path)
    st = linux.statx(path)
    kind = TYPES[stat.S_IFMT(st.mode)]
    entry.update(type=kind, ino=str(st.ino), mode=f'{stat.S_IMODE(st.mode):04o}', uid=st.uid, gid=st.gid, size=st.size,
                 nlink=st.nlink, blocks=st.blocks, mtime_ns=str(st.mtime_ns), ctime_ns=str(st.ctime_ns),
                 btime_ns=str(st.btime_ns))
    if st.subvol is not None:
        entry['subvol'] = st.subvol
    if kind == 'lnk':
        try:
            _text_or_base64(entry, 'target', os.readlink(path))
        except OSError as error:
            entry['read_errno'] = error.errno
    elif kind in ('chr', 'blk'):
        entry['rdev'] = list(st.rdev)
    elif kind in ('reg', 'dir'):
        _opened(entry, path, kind, st, with_hashes)
    try:
        _xattrs(entry, path)
    except OSError as error:
        entry['xattr_errno'] = error.errno
    return entry


def _opened(entry, path, kind, st, with_hashes):
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NOATIME | os.O_NONBLOCK)
    except OSError as error:
        entry['open_errno'] = error.errno
        return
    try:
        if flags := linux.get_flags(fd):
            entry['flags'] = flags
        if project := linux.get_project(fd):
            entry['projid'] = project
        if kind == 'reg':
            _file_content(entry, fd, st.size, st.blocks, with_hashes)
    except OSError as error:
        entry['read_errno'] = error.errno
    finally:
        os.close(fd)


def walk(root, with_hashes=True):
    """Entries of everything below `root`, and of `root` itself as '.', each directory before its sorted children."""
    root = os.fsencode(root)
    stack = [b'']
    while stack:
        relative = stack.pop()
        path = root + b'/' + relative if relative else root
        entry = describe(path, relative or b'.', with_hashes)
        if entry['type'] == 'dir':
            try:
                names = sorted(os.listdir(path), reverse=True)
                prefix = relative + b'/' if relative else b''
                stack.extend(prefix + name for name in names)
            except OSError as error:
                entry['read_errno'] = error.errno
        yield entry
