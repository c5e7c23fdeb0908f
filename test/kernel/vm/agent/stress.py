"""Random changes by several processes at once, each below a directory of its own, until the time is over and each has done enough."""

import json
import os
import sys
import time
import traceback

from changes import Changes
from space import wait_for_deletions


def stress(root, seconds, at_least, processes, seed):
    """@return how many operations of each kind were done. Raises RuntimeError with what a process has run into."""
    until = time.monotonic() + seconds
    workers = [start(f'{root}/p{nr}', seed + nr, until, at_least) for nr in range(processes)]
    counts = {}
    problems = []
    for pid, results in workers:
        with os.fdopen(results) as file:
            result = json.loads(file.read() or '{"problem": "it was killed"}')
        os.waitpid(pid, 0)
        if 'problem' in result:
            problems.append(result['problem'])
        for name, count in result.get('counts', {}).items():
            counts[name] = counts.get(name, 0) + count
    if problems:
        raise RuntimeError('; '.join(problems))
    wait_for_deletions(os.fsencode(root))
    return counts


def start(root, seed, until, at_least):
    results, to = os.pipe()
    pid = os.fork()
    if pid:
        os.close(to)
        return pid, results
    try:
        os.makedirs(root, exist_ok=True)
        result = {'counts': Changes(root, seed).run_until(until, at_least)}
    except BaseException as error:
        result = {'problem': f'{root}: {error!r}'}
        traceback.print_exc(file=sys.stderr)
    os.write(to, json.dumps(result).encode())
    os._exit(0)
