"""The system calls that Python has no name for.

Thin wrappers that raise OSError with the kernel's errno. Structure layouts and constants are those of the Linux
user-space headers (x86-64); the two bcachefs ioctls are those of bcachefs_ioctl.h, v1.13.0.
"""

import ctypes
import fcntl
import os
import struct
from collections import namedtuple

libc = ctypes.CDLL('libc.so.6', use_errno=True)
libc.syscall.restype = ctypes.c_long

AT_FDCWD = -100
AT_SYMLINK_NOFOLLOW = 0x100


def _checked(result, *where):
    if result == -1:
        errno = ctypes.get_errno()
        raise OSError(errno, os.strerror(errno), *where)
    return result


# Machine -------------------------------------------------------------------------------------------------------------

SYS_FINIT_MODULE = 313
SYS_ADD_KEY = 248
SYS_KEYCTL = 250

MS_RDONLY = 1
MS_REMOUNT = 32
MNT_DETACH = 2


def load_module(path):
    fd = os.open(path, os.O_RDONLY)
    try:
        _checked(libc.syscall(SYS_FINIT_MODULE, fd, b'', 0), path)
    finally:
        os.close(fd)


def mount(source, target, fstype, flags=0, options=''):
    _checked(libc.mount(os.fsencode(source), os.fsencode(target), fstype.encode(), ctypes.c_ulong(flags),
                        options.encode() or None), target)


def umount(target, flags=0):
    _checked(libc.umount2(os.fsencode(target), flags), target)


def power_off():
    os.sync()
    libc.reboot(0x4321FEDC)


def reset_now():
    """Restarts the machine at once: nothing is synced, nothing is unmounted. Does not return."""
    with open('/proc/sysrq-trigger', 'w') as trigger:
        trigger.write('b')
    while True:
        os.read(os.pipe()[0], 1)


KEYCTL_JOIN_SESSION_KEYRING = 1
KEYCTL_CLEAR = 7
KEY_SPEC_SESSION_KEYRING = -3
KEY_SPEC_USER_KEYRING = -4


def join_session_keyring():
    _checked(libc.syscall(SYS_KEYCTL, KEYCTL_JOIN_SESSION_KEYRING, None))


def add_key(description, payload):
    """Adds a "user" key where request_key() of a later mount looks: in the session keyring and the user keyring."""
    for keyring in (KEY_SPEC_USER_KEYRING, KEY_SPEC_SESSION_KEYRING):
        _checked(libc.syscall(SYS_ADD_KEY, b'user', description.encode(), payload, ctypes.c_size_t(len(payload)),
                              ctypes.c_int(keyring)), description)


def forget_keys():
    for keyring in (KEY_SPEC_USER_KEYRING, KEY_SPEC_SESSION_KEYRING):
        _checked(libc.syscall(SYS_KEYCTL, KEYCTL_CLEAR, ctypes.c_int(keyring)))


# Files ---------------------------------------------------------------------------------------------------------------

Stat = namedtuple('Stat', 'nlink uid gid mode ino size blocks atime_ns btime_ns ctime_ns mtime_ns rdev subvol')
_STATX_ALL = 0xFFF | 0x8000  # basic stats, btime, and the subvolume number


def statx(path):
    """@param path bytes. Never follows a symlink."""
    buffer = ctypes.create_string_buffer(256)
    _checked(libc.statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, _STATX_ALL, buffer), path)
    raw = buffer.raw
    nlink, uid, gid, mode = struct.unpack_from('<IIIH', raw, 16)
    ino, size, blocks = struct.unpack_from('<QQQ', raw, 32)
    times = []
    for at in (64, 80, 96, 112):
        seconds, nanoseconds = struct.unpack_from('<qI', raw, at)
        times.append(seconds * 1_000_000_000 + nanoseconds)
    rdev = struct.unpack_from('<II', raw, 128)
    has_subvol = struct.unpack_from('<I', raw, 0)[0] & 0x8000
    subvol = struct.unpack_from('<Q', raw, 160)[0] if has_subvol else None
    return Stat(nlink, uid, gid, mode, ino, size, blocks, *times, rdev, subvol)


FALLOCATE_MODES = {
    'allocate': 0x00,
    'keep-size': 0x01,
    'punch-hole': 0x03,  # the kernel wants keep-size with it
    'collapse-range': 0x08,
    'zero-range': 0x10,
    'zero-range-keep-size': 0x11,
    'insert-range': 0x20,
    'unshare-range': 0x40,
}


def fallocate(fd, mode, offset, length):
    _checked(libc.fallocate64(fd, FALLOCATE_MODES[mode], ctypes.c_int64(offset), ctypes.c_int64(length)))


RENAME_FLAGS = {'replace': 0, 'no-replace': 1, 'exchange': 2, 'whiteout': 4}


def rename(source, target, flags):
    _checked(libc.renameat2(AT_FDCWD, os.fsencode(source), AT_FDCWD, os.fsencode(target), flags), source, None, target)


FICLONE = 0x40049409
FICLONERANGE = 0x4020940D
FS_IOC_GETFLAGS = 0x80086601
FS_IOC_SETFLAGS = 0x40086602
FS_IOC_FSGETXATTR = 0x801C581F
FS_IOC_FSSETXATTR = 0x401C5820


def clone(target_fd, source_fd):
    fcntl.ioctl(target_fd, FICLONE, source_fd)


def clone_range(target_fd, source_fd, source_offset, length, target_offset):
    fcntl.ioctl(target_fd, FICLONERANGE, struct.pack('<qQQQ', source_fd, source_offset, length, target_offset))


def get_flags(fd):
    return struct.unpack('<Q', fcntl.ioctl(fd, FS_IOC_GETFLAGS, bytes(8)))[0] & 0xFFFFFFFF


def set_flags(fd, flags):
    fcntl.ioctl(fd, FS_IOC_SETFLAGS, struct.pack('<Q', flags))


def get_project(fd):
    return struct.unpack_from('<I', fcntl.ioctl(fd, FS_IOC_FSGETXATTR, bytes(28)), 12)[0]


FS_XFLAG_PROJINHERIT = 0x200


def set_project(fd, project, inherit):
    """What get_project says of it changes only with the next mount, unless project quotas are on."""
    attributes = bytearray(fcntl.ioctl(fd, FS_IOC_FSGETXATTR, bytes(28)))
    flags = struct.unpack_from('<I', attributes, 0)[0] & ~FS_XFLAG_PROJINHERIT
    struct.pack_into('<I', attributes, 0, flags | (FS_XFLAG_PROJINHERIT if inherit else 0))
    struct.pack_into('<I', attributes, 12, project)
    fcntl.ioctl(fd, FS_IOC_FSSETXATTR, bytes(attributes))


# bcachefs ------------------------------------------------------------------------------------------------------------

# struct bch_ioctl_subvolume { u32 flags, dirfd; u16 mode, pad[3]; u64 dst_ptr, src_ptr; }
BCH_IOCTL_SUBVOLUME_CREATE = 0x4020BC10
BCH_IOCTL_SUBVOLUME_DESTROY = 0x4020BC11
BCH_SUBVOL_SNAPSHOT_CREATE = 1
BCH_SUBVOL_SNAPSHOT_RO = 2


def _subvolume_ioctl(request, target, flags=0, mode=0, source=None):
    directory = os.open(os.path.dirname(target) or '.', os.O_RDONLY | os.O_DIRECTORY)
    try:
        target_name = ctypes.create_string_buffer(os.fsencode(target))
        source_name = ctypes.create_string_buffer(os.fsencode(source)) if source is not None else None
        fcntl.ioctl(directory, request, struct.pack(
            '<IIH6xQQ', flags, AT_FDCWD & 0xFFFFFFFF, mode, ctypes.addressof(target_name),
            ctypes.addressof(source_name) if source_name is not None else 0))
    except OSError as error:
        raise OSError(error.errno, error.strerror, target) from None
    finally:
        os.close(directory)


def subvolume_create(path, mode=0o777):
    _subvolume_ioctl(BCH_IOCTL_SUBVOLUME_CREATE, path, mode=mode)


def subvolume_snapshot(source, target, read_only=False):
    flags = BCH_SUBVOL_SNAPSHOT_CREATE | (BCH_SUBVOL_SNAPSHOT_RO if read_only else 0)
    _subvolume_ioctl(BCH_IOCTL_SUBVOLUME_CREATE, target, flags=flags, mode=0o777, source=source)


def subvolume_delete(path):
    _subvolume_ioctl(BCH_IOCTL_SUBVOLUME_DESTROY, path)
