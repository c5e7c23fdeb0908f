"""A person at the console: mounts what they asked for, gives them a shell, unmounts when they leave."""

import fcntl
import os
import struct

import linux
import steps

TIOCSCTTY = 0x540E
TIOCSWINSZ = 0x5414


def run(request, devices, out):
    context = steps.Context(devices)
    print()
    failed = None
    if request['mount']:
        try:
            steps.mount(context, list(devices), options=request['options'], readOnly=request['readOnly'],
                        key=request.get('key'))
        except OSError as error:
            failed = str(error)
            print(f'Mounting failed: {error.strerror}. The kernel says (dmesg):')
            os.system('dmesg | grep bcachefs | tail -20')
    names = ', '.join(f'{name} is {device}' for name, device in devices.items())
    print(f'{names}. ' + (f'Mounted at {steps.MNT}. ' if context.mounted else '') + 'Leave with ctrl-d or exit.')
    ask(request)
    try:
        context.cleanup()
        print('Unmounted.' if request['mount'] and not failed else '')
    except OSError as error:
        print(f'Unmounting failed: {error}')
    with open('/proc/sys/kernel/printk', 'w') as console_level:
        console_level.write('1')  # no farewell from the kernel
    out.write({'type': 'done'})


def ask(request):
    pid = os.fork()
    if pid == 0:
        os.setsid()
        fd = os.open('/dev/ttyS0', os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(fd, standard)
        fcntl.ioctl(0, TIOCSCTTY, 0)
        fcntl.ioctl(0, TIOCSWINSZ, struct.pack('<HHHH', request['rows'], request['columns'], 0, 0))
        os.chdir(steps.MNT)
        os.execve('/bin/sh', ['-sh'], {'PATH': '/bin', 'HOME': '/', 'TERM': request['terminal'], 'PS1': '(kernel-vm) \\w # '})
    while os.wait()[0] != pid:
        pass
