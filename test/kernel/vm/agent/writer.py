"""The background writer: a stream of small changes for the power to fail in."""

import os

from pattern import pattern_bytes


def run_forever(root, seed):
    """Never returns. Errors end it silently: the filesystem may go read-only under it, and that is not its business."""
    try:
        directory = os.path.join(root, 'writer')
        os.makedirs(directory, exist_ok=True)
        count = 0
        while True:
            name = f'{directory}/{seed}-{count}'
            with open(name, 'wb') as file:
                file.write(pattern_bytes('random', seed * 1_000_003 + count, 100 + count * 977 % 40_000))
                if count % 16 == 0:
                    file.flush()
                    os.fsync(file.fileno())
            if count % 3 == 0:
                os.rename(name, name + '.renamed')
            if count % 5 == 4:
                os.unlink(f'{directory}/{seed}-{count - 2}' + ('.renamed' if (count - 2) % 3 == 0 else ''))
            if count % 50 == 0:
                os.mkdir(f'{directory}/d{count}')
            if count > 2000:
                os.unlink(f'{directory}/{seed}-{count - 2000}' + ('.renamed' if (count - 2000) % 3 == 0 else ''))
            count += 1
    finally:
        os._exit(0)
