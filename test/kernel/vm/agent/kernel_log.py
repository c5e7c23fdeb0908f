"""The kernel's log, read record by record from /dev/kmsg: what the kernel said since we last asked.

A record is `priority,sequence,microseconds,flags;text` and may hold several lines, escaped as \\x0a. We give back plain
lines without the timestamp. Records that user space wrote (our own step marks) are left out.
"""

import errno
import os
import re

_ESCAPE = re.compile(r'\\x([0-9a-f]{2})')


class KernelLog:
    def __init__(self):
        self._fd = os.open('/dev/kmsg', os.O_RDWR | os.O_NONBLOCK)

    def new_lines(self, limit=4000):
        """Lines since the last call. Of more than `limit` lines the middle is left out, and a line says so."""
        lines = []
        while True:
            try:
                record = os.read(self._fd, 16384)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.EPIPE:
                    raise
                lines.append('[kernel-vm: the log was overwritten before it could be read; lines are missing here]')
                continue
            head, _, text = record.decode('utf-8', 'replace').partition(';')
            if int(head.split(',', 1)[0]) >> 3:
                continue  # a facility other than the kernel's: written by user space
            text = text.split('\n', 1)[0]  # what follows are the record's dictionary lines (SUBSYSTEM=, DEVICE=)
            text = _ESCAPE.sub(lambda match: chr(int(match.group(1), 16)), text)
            lines.extend(text.split('\n'))
        if len(lines) > limit:
            left_out = len(lines) - limit
            lines[limit // 2:len(lines) - limit // 2] = [f'[kernel-vm: {left_out} lines left out]']
        return lines

    def mark(self, text):
        """Writes a line of ours to the log, for readers of the console."""
        os.write(self._fd, f'<5>kernel-vm: {text}\n'.encode('utf-8', 'replace')[:900])
