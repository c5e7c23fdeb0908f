"""Runs on the host, under the guest's own Python: which files of the standard library the agent needs, compiled.

    python3.11 pack.py AGENT_FOLDER OUTPUT_FOLDER

Imports the agent's modules (not init, which would start), looks which files that pulled in, and writes them below
OUTPUT_FOLDER as .pyc files beside where the sources would be, so that the machine neither searches nor compiles.
Extension modules are copied. Prints nothing.
"""

import os
import sys

agent, output = sys.argv[1:]
sys.path.insert(0, agent)
sys.dont_write_bytecode = True

# What init.py imports, what it imports only when something goes wrong, and what Python opens its console with.
import errno, json, signal, time, traceback  # noqa: E401, F401
import encodings.ascii, encodings.latin_1, encodings.utf_8  # noqa: E401, F401

for name in sorted(os.listdir(agent)):
    if name.endswith('.py') and name != 'init.py':
        __import__(name[:-3])

wanted = [module for module in sys.modules.values() if module.__name__ != '__main__']

import py_compile  # noqa: E402 (what we need for packing ourselves comes after the list of what to pack)
import shutil  # noqa: E402

home = os.path.join(sys.prefix, 'lib', f'python{sys.version_info[0]}.{sys.version_info[1]}')
library = f'usr/lib/{os.path.basename(home)}'


def compiled(source, target, shown):
    os.makedirs(os.path.dirname(target), exist_ok=True)
    py_compile.compile(source, cfile=target, dfile=shown, doraise=True, optimize=1,
                       invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)


# importlib's own two are frozen into the interpreter, as are os, io, abc and the like; the latter are wanted as files
# all the same, because Python looks for os.py to find its home.
for module in wanted:
    source = getattr(module, '__file__', None)
    if not source or not source.startswith(home + os.sep):
        continue
    relative = os.path.relpath(source, home)
    target = os.path.join(output, library, relative)
    if source.endswith('.py'):
        compiled(source, target + 'c', f'/{library}/{relative}')
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copyfile(source, target)

for name in sorted(os.listdir(agent)):
    if name.endswith('.py'):
        compiled(os.path.join(agent, name), os.path.join(output, 'agent', name + 'c'), f'agent/{name}')
