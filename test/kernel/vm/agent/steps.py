"""What a step of a job does inside the machine. One function per step, registered under the name that `steps.ts` uses.

A step function takes the step's own fields as keyword arguments and a `Context`. It returns None, or a dict that goes
into the step's result (`payload`, if present, is bytes). It fails by raising OSError (errno and all) or StepFailed.
Relative paths mean: below /mnt, where filesystems are mounted unless a step says otherwise.
"""

import binascii
import json
import os
import select
import signal
import socket
import stat
import time

import changes as random_changes
import fill as fill_workload
import linux
import manifest as manifests
import space as space_workload
import stress as stress_workload
import writer as background_writer
from pattern import pattern_bytes

MNT = '/mnt'
OUTPUT_LIMIT_BYTES = 64 << 10
# Each call begins elsewhere in a file of random bytes, so that no two files are alike. An emulated processor takes most of the time of
# `head /dev/urandom > FILE` for making random numbers.
NOISE = '''
noise_at=$(($$ * 7919 % 900000))
noise() {
  [ -e /noise ] || head -c 1000003 /dev/urandom > /noise
  noise_at=$(((noise_at + 4099) % 900000))
  { tail -c +$((noise_at + 1)) /noise; while cat /noise; do :; done; } 2> /dev/null | head -c "$1"
}
'''
READ_LIMIT_BYTES = 256 << 20

STEPS = {}


class StepFailed(Exception):
    """A step did not do what it should, for a reason that is not an errno. `result` goes into the step's result."""

    def __init__(self, message, result=None):
        super().__init__(message)
        self.result = result or {}


class Context:
    """What a case has going: which device each disk name is, what is mounted, which writer runs."""

    def __init__(self, devices):
        self.devices = devices
        self.mounted = []
        self.writer_pid = None

    def sources(self, disks):
        return ':'.join(self.devices[name] for name in disks)

    def cleanup(self):
        """After a case: stop the writer, unmount everything, forget the keys. Raises OSError if a mount stays."""
        if self.writer_pid:
            stop_writer(self)
        while self.mounted:
            linux.umount(self.mounted[-1])
            self.mounted.pop()
        linux.forget_keys()


def step(name):
    def register(function):
        STEPS[name] = function
        return function
    return register


def below_mnt(path):
    return os.path.join(MNT, path)


# Filesystems ---------------------------------------------------------------------------------------------------------


@step('mount')
def mount(context, disks, at=MNT, options='', readOnly=False, key=None):
    at = below_mnt(at)
    os.makedirs(at, exist_ok=True)
    if key:
        linux.add_key('bcachefs:' + key['uuid'], binascii.unhexlify(key['hex']))
    linux.mount(context.sources(disks), at, 'bcachefs', linux.MS_RDONLY if readOnly else 0, options)
    context.mounted.append(at)


@step('umount')
def umount(context, at=MNT):
    at = below_mnt(at)
    linux.umount(at)
    context.mounted.remove(at)


@step('fsck')
def fsck(context, disks, options, key=None):
    """A mount that checks (and repairs, if the options say so), and an umount. The verdict is in the kernel's log."""
    try:
        mount(context, disks, options=options, key=key)
    except OSError as error:
        return {'mounted': False, 'mountErrno': error.errno}
    umount(context)
    return {'mounted': True}


@step('sync')
def sync(context):
    os.sync()


@step('dropCaches')
def drop_caches(context):
    with open('/proc/sys/vm/drop_caches', 'w') as file:
        file.write('3')


@step('subvolumeCreate')
def subvolume_create(context, path):
    linux.subvolume_create(below_mnt(path))


@step('subvolumeDelete')
def subvolume_delete(context, path):
    linux.subvolume_delete(below_mnt(path))


@step('snapshot')
def snapshot(context, source, path, readOnly=False):
    linux.subvolume_snapshot(below_mnt(source), below_mnt(path), readOnly)


# Looking -------------------------------------------------------------------------------------------------------------


@step('manifest')
def manifest(context, at=MNT, hashes=True):
    lines = (json.dumps(entry) for entry in manifests.walk(below_mnt(at), hashes))
    return {'payload': '\n'.join(lines).encode()}


@step('list')
def listing(context, path='.'):
    return {'names': sorted(os.listdir(below_mnt(path)))}


@step('read')
def read(context, path, offset=0, length=None):
    with open(below_mnt(path), 'rb', buffering=0) as file:
        if length is None:
            length = max(0, os.fstat(file.fileno()).st_size - offset)
        if length > READ_LIMIT_BYTES:
            raise StepFailed(f'{path}: {length} bytes asked for, at most {READ_LIMIT_BYTES} fit in an answer')
        pieces = []
        while length:
            piece = os.pread(file.fileno(), min(length, 1 << 20), offset)
            if not piece:
                break
            pieces.append(piece)
            offset += len(piece)
            length -= len(piece)
    return {'payload': b''.join(pieces)}


@step('getxattr')
def getxattr(context, path, name):
    return {'payload': os.getxattr(below_mnt(path), name, follow_symlinks=False)}


@step('listxattr')
def listxattr(context, path):
    return {'names': sorted(os.listxattr(below_mnt(path), follow_symlinks=False))}


@step('space')
def space(context, at=MNT):
    space_workload.settle()
    return {'counts': space_workload.space(below_mnt(at))}


# Changing ------------------------------------------------------------------------------------------------------------


@step('write')
def write(context, path, content=None, pattern=None, sizeBytes=0, offset=None, mode=0o644, fsync=False):
    """Without an offset the file is created or emptied first; with one, what is there stays."""
    flags = os.O_RDWR | os.O_CREAT | (os.O_TRUNC if offset is None else 0)
    fd = os.open(below_mnt(path), flags, mode)
    try:
        if content is not None:
            data = binascii.a2b_base64(content)
        else:
            data = pattern_bytes(pattern['kind'], pattern.get('seed', 0), sizeBytes)
        at = offset or 0
        view = memoryview(data)
        while view:
            written = os.pwrite(fd, view[:1 << 20], at)
            at += written
            view = view[written:]
        if fsync:
            os.fsync(fd)
    finally:
        os.close(fd)


@step('mkdir')
def mkdir(context, path, mode=0o755, parents=False):
    if parents:
        os.makedirs(below_mnt(path), mode, exist_ok=True)
    else:
        os.mkdir(below_mnt(path), mode)


@step('symlink')
def symlink(context, target, path):
    os.symlink(target, below_mnt(path))


@step('link')
def link(context, source, path):
    os.link(below_mnt(source), below_mnt(path), follow_symlinks=False)


@step('mknod')
def mknod(context, path, kind, mode=0o644, rdev=(0, 0)):
    path = below_mnt(path)
    if kind == 'socket':
        make_socket(path)
        return
    kinds = {'fifo': stat.S_IFIFO, 'char': stat.S_IFCHR, 'block': stat.S_IFBLK}
    os.mknod(path, kinds[kind] | mode, os.makedev(*rdev))


def make_socket(path):
    # A socket's address is at most 107 bytes long, so bind by the name alone.
    before = os.getcwd()
    os.chdir(os.path.dirname(path))
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(os.path.basename(path))
    finally:
        os.chdir(before)


@step('rename')
def rename(context, source, path, how='replace'):
    linux.rename(below_mnt(source), below_mnt(path), linux.RENAME_FLAGS[how])


@step('unlink')
def unlink(context, path):
    os.unlink(below_mnt(path))


@step('rmdir')
def rmdir(context, path):
    os.rmdir(below_mnt(path))


@step('setxattr')
def setxattr(context, path, name, value):
    os.setxattr(below_mnt(path), name, binascii.a2b_base64(value), follow_symlinks=False)


@step('removexattr')
def removexattr(context, path, name):
    os.removexattr(below_mnt(path), name, follow_symlinks=False)


@step('setOption')
def set_option(context, path, option, value=None):
    name = 'bcachefs.' + option
    if value is None:
        os.removexattr(below_mnt(path), name)
    else:
        os.setxattr(below_mnt(path), name, value.encode())


@step('setFlags')
def set_flags(context, path, flags):
    with_descriptor(path, lambda fd: linux.set_flags(fd, flags))


@step('setProject')
def set_project(context, path, project, inherit=False):
    with_descriptor(path, lambda fd: linux.set_project(fd, project, inherit))


@step('chmod')
def chmod(context, path, mode):
    os.chmod(below_mnt(path), mode)


@step('chown')
def chown(context, path, uid, gid):
    os.chown(below_mnt(path), uid, gid, follow_symlinks=False)


@step('utimens')
def utimens(context, path, atimeNs, mtimeNs):
    os.utime(below_mnt(path), ns=(int(atimeNs), int(mtimeNs)), follow_symlinks=False)


@step('truncate')
def truncate(context, path, sizeBytes):
    os.truncate(below_mnt(path), sizeBytes)


@step('fallocate')
def fallocate(context, path, mode, offset, length):
    with_descriptor(path, lambda fd: linux.fallocate(fd, mode, offset, length), os.O_RDWR | os.O_CREAT)


@step('clone')
def clone(context, source, path, range=None):
    source_fd = os.open(below_mnt(source), os.O_RDONLY)
    target_fd = os.open(below_mnt(path), os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if range is None:
            linux.clone(target_fd, source_fd)
        else:
            linux.clone_range(target_fd, source_fd, range['from'], range['length'], range['to'])
    finally:
        os.close(target_fd)
        os.close(source_fd)


@step('fsync')
def fsync(context, path):
    with_descriptor(path, os.fsync)


def with_descriptor(path, act, flags=os.O_RDONLY):
    fd = os.open(below_mnt(path), flags, 0o644)
    try:
        act(fd)
    finally:
        os.close(fd)


@step('fill')
def fill(context, at=MNT, seed=1, sizeBytes=4 << 20, subvolumes=False):
    fill_workload.fill(below_mnt(at), seed, sizeBytes, subvolumes)


@step('fillUp')
def fill_up(context, percent, at=MNT, seed=1, limitBytes=1 << 62):
    return {'counts': space_workload.fill_up(below_mnt(at), percent, seed, limitBytes)}


@step('deleteAll')
def delete_all(context, at=MNT):
    return {'counts': space_workload.delete_all(below_mnt(at))}


@step('change')
def change(context, operations, at=MNT, seed=1, among=(), each=()):
    return {'counts': random_changes.Changes(below_mnt(at), seed, among).run(operations, each)}


@step('stress')
def stress(context, seconds, atLeast, processes, at=MNT, seed=1):
    return {'counts': stress_workload.stress(below_mnt(at), seconds, atLeast, processes, seed)}


# Ends that are not clean ---------------------------------------------------------------------------------------------


@step('startWriter')
def start_writer(context, at=MNT, seed=1):
    """A process that creates, writes, renames and unlinks until it is stopped or the machine is."""
    if context.writer_pid:
        raise StepFailed('a writer is already running')
    pid = os.fork()
    if pid == 0:
        background_writer.run_forever(below_mnt(at), seed)
    context.writer_pid = pid


@step('stopWriter')
def stop_writer(context):
    os.kill(context.writer_pid, signal.SIGKILL)
    os.waitpid(context.writer_pid, 0)
    context.writer_pid = None


@step('reset')
def reset(context, afterSeconds=0):
    time.sleep(afterSeconds)
    linux.reset_now()


@step('crashAfterFsync')
def crash_after_fsync(context, path, sizeBytes=65536, seed=1):
    """Nothing comes between the fsync and the reset, not even the record of this step."""
    write(context, path, pattern={'kind': 'random', 'seed': seed}, sizeBytes=sizeBytes, fsync=True)
    linux.reset_now()


@step('sleep')
def sleep(context, seconds):
    time.sleep(seconds)


# Anything else -------------------------------------------------------------------------------------------------------


class BoundedOutput:
    """Keeps the first and the last bytes of a stream, and counts what fell out between."""

    def __init__(self, limit):
        self._half = limit // 2
        self._head = bytearray()
        self._tail = bytearray()
        self._dropped = 0

    def add(self, piece):
        room = self._half - len(self._head)
        self._head += piece[:room]
        self._tail += piece[room:] if room < len(piece) else b''
        if len(self._tail) > 2 * self._half:
            self._dropped += len(self._tail) - self._half
            del self._tail[:-self._half]

    def text(self):
        if len(self._tail) > self._half:
            self._dropped += len(self._tail) - self._half
            del self._tail[:-self._half]
        middle = f'\n[kernel-vm: {self._dropped} bytes left out]\n'.encode() if self._dropped else b''
        return (self._head + middle + self._tail).decode('utf-8', 'replace')


@step('sh')
def sh(context, script, outputLimitBytes=OUTPUT_LIMIT_BYTES):
    """A busybox shell script, in /mnt. Disks are at /disks/NAME. A non-zero exit is a failure of the step."""
    out_read, out_write = os.pipe()
    err_read, err_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            os.dup2(os.open('/dev/null', os.O_RDONLY), 0)
            os.dup2(out_write, 1)
            os.dup2(err_write, 2)
            os.chdir(MNT)
            whole = NOISE + script if 'noise' in script else script
            os.execve('/bin/sh', ['sh', '-c', whole], {'PATH': '/bin', 'HOME': '/', 'TERM': 'dumb', 'MNT': MNT})
        finally:
            os._exit(127)
    os.close(out_write)
    os.close(err_write)
    streams = {out_read: BoundedOutput(outputLimitBytes), err_read: BoundedOutput(outputLimitBytes)}
    collected = [streams[out_read], streams[err_read]]
    try:
        while streams:
            for fd in select.select(list(streams), [], [])[0]:
                piece = os.read(fd, 65536)
                if piece:
                    streams[fd].add(piece)
                else:
                    os.close(fd)
                    del streams[fd]
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    except TimeoutError:
        os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise StepFailed('the script ran out of time', {'stdout': collected[0].text(), 'stderr': collected[1].text()})
    finally:
        for fd in streams:
            os.close(fd)
    result = {'status': status, 'stdout': collected[0].text(), 'stderr': collected[1].text()}
    if status:
        raise StepFailed(f'the script ended with exit status {status}', result)
    return result
