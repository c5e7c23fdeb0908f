"""The way out: a raw disk that takes records one after the other.

A record is the length of its JSON as a little-endian u32, the JSON, and `payload` bytes that the JSON announces. Each
record is on the disk (and so in the host's file) before the next step begins, so a reset, a panic or a kill loses
nothing that was finished. A zero length ends the sequence. `job.ts` is the reader.
"""

import json
import os
import struct


class Results:
    def __init__(self, device):
        self._fd = os.open(device, os.O_RDWR)
        self._size = os.lseek(self._fd, 0, os.SEEK_END)
        self._offset = 0

    def write(self, record, payload=b''):
        # ensure_ascii keeps lone surrogates (names that are not UTF-8) as escapes that JSON.parse understands.
        text = json.dumps({**record, 'payload': len(payload)}, ensure_ascii=True).encode()
        if self._offset + 4 + len(text) + len(payload) + 4096 > self._size:
            raise OverflowError(f'results disk is full: {self._offset} of {self._size} bytes used, '
                                f'{len(text) + len(payload)} more to write')
        bytes_out = struct.pack('<I', len(text)) + text + payload
        at = self._offset
        while bytes_out:
            written = os.pwrite(self._fd, bytes_out[:1 << 20], at)
            at += written
            bytes_out = bytes_out[written:]
        os.fsync(self._fd)
        self._offset = at
