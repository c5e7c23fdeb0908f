"""Process 1 of the machine: sets it up, does the job it finds on the disk named `job`, and powers it off.

The job is JSON, written by `run.ts`:
    {"disks": {"serial": "name"}, "stepTimeoutSeconds": 60,
     "cases": [{"name": …, "index": …, "startAt": …, "steps": [{"do": …, …}]}]}
or {"shell": {…}} for a person at the console. Results go to the disk named `results` (results.py), one record when a
step begins and one when it has ended, so that the host knows what was under way when the machine stopped.
"""

import errno
import json
import os
import signal
import sys
import time

import kernel_log
import linux
import results
import shell
import steps

BOUNDED_MESSAGE = 2000


def main():
    linux.mount('proc', '/proc', 'proc')
    linux.mount('sys', '/sys', 'sysfs')
    linux.mount('dev', '/dev', 'devtmpfs')
    with open('/modules/order') as order:
        for name in order.read().split():
            linux.load_module(f'/modules/{name}.ko')
    disks = disks_by_serial(('job', 'results'))
    job = read_job(disks['job'])
    disks = disks_by_serial(('job', 'results', *job['disks']))
    devices = {name: disks[serial] for serial, name in job['disks'].items()}
    os.mkdir('/disks')
    for name, device in devices.items():
        os.symlink(device, f'/disks/{name}')
    with open('/proc/sys/kernel/printk_ratelimit', 'w') as ratelimit:
        ratelimit.write('0')  # a complaint that is left out is a complaint missed
    linux.join_session_keyring()
    out = results.Results(disks['results'])
    if 'shell' in job:
        shell.run(job['shell'], devices, out)
    else:
        run_job(job, devices, out)


def disks_by_serial(wanted):
    """Serial number → device path of every disk. Disks appear a moment after their driver is loaded."""
    for _ in range(500):
        found = {}
        for name in os.listdir('/sys/block'):
            try:
                with open(f'/sys/block/{name}/serial') as serial:
                    found[serial.read().strip()] = f'/dev/{name}'
            except OSError:
                continue
        missing = [serial for serial in wanted if serial not in found]
        if not missing:
            return found
        time.sleep(0.01)
    raise RuntimeError(f'no disk with serial number {missing}; found {found}')


def read_job(device):
    with open(device, 'rb') as disk:
        return json.loads(disk.read().rstrip(b'\0'))


def run_job(job, devices, out):
    log = kernel_log.KernelLog()
    with open('/proc/sys/kernel/printk', 'w') as console_level:
        console_level.write('8')  # everything, so that the console has the last words before a panic
    out.write({'type': 'booted', 'uptimeSeconds': time.clock_gettime(time.CLOCK_BOOTTIME), 'kernel': os.uname().release,
               'log': log.new_lines()})
    for case in job['cases']:
        context = steps.Context(devices)
        for index in range(case['startAt'], len(case['steps'])):
            if not run_step(job, case, index, context, log, out):
                break
        clean = end_case(case, context, log, out)
        if not clean:
            break  # something is still mounted or running: the next case deserves a fresh machine
    out.write({'type': 'done'})


def run_step(job, case, index, context, log, out):
    """@return whether the case goes on."""
    step = case['steps'][index]
    log.mark(f'case {case["name"]!r} step {index} {step["do"]}')
    out.write({'type': 'begin', 'case': case['index'], 'step': index})
    before = time.monotonic()
    record = attempt(step, context, step.get('timeoutSeconds', job['stepTimeoutSeconds']))
    payload = record.pop('payload', b'')
    record.update(type='end', case=case['index'], step=index, seconds=time.monotonic() - before, log=log.new_lines())
    try:
        out.write(record, payload)
    except OverflowError as error:
        record.update(failed=True, message=str(error), log=record['log'][-50:])
        out.write(record)
    return goes_on(step, record)


def goes_on(step, record):
    expected = step.get('expectFailure')
    if not expected:
        return not record['failed'] or bool(step.get('allowFailure'))
    return record['failed'] and (expected is True or record.get('errno') == expected)


def attempt(step, context, timeout_seconds):
    arguments = {name: value for name, value in step.items() if name not in COMMON_FIELDS}

    def out_of_time(_signal, _frame):
        raise TimeoutError(errno.ETIMEDOUT, f'not done after {timeout_seconds} seconds')
    signal.signal(signal.SIGALRM, out_of_time)
    signal.setitimer(signal.ITIMER_REAL, timeout_seconds)
    try:
        return {'failed': False, **(steps.STEPS[step['do']](context, **arguments) or {})}
    except OSError as error:
        return {'failed': True, 'errno': errno.errorcode.get(error.errno, str(error.errno)),
                'message': str(error)[:BOUNDED_MESSAGE]}
    except steps.StepFailed as error:
        return {'failed': True, 'message': str(error)[:BOUNDED_MESSAGE], **error.result}
    except Exception:  # a mistake in a step or in the agent: the test shall see where
        return {'failed': True, 'message': stack_trace()[-BOUNDED_MESSAGE:]}
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


COMMON_FIELDS = ('do', 'as', 'timeoutSeconds', 'expectFailure', 'allowFailure')


def end_case(case, context, log, out):
    log.mark(f'case {case["name"]!r} ends')
    out.write({'type': 'begin', 'case': case['index'], 'step': len(case['steps'])})
    message = None
    try:
        context.cleanup()
    except OSError as error:
        message = f'unmounting at the end of the case: {error}'
    out.write({'type': 'caseEnd', 'case': case['index'], 'message': message, 'log': log.new_lines()})
    return message is None


def stack_trace():
    import traceback  # here, because it takes 0.1 seconds that few runs need
    return traceback.format_exc()


try:
    main()
except BaseException:
    print('kernel-vm: the agent failed:', stack_trace(), file=sys.stderr, flush=True)
linux.power_off()
