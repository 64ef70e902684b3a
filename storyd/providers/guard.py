"""Runs a command; ends it and all that it has started when standard input ends: whoever held it is gone.

Knows processes and signals; knows nothing of servers. It is run by path, as `python -I -S guard.py COMMAND…`,
in a session of its own, and imports nothing of storyd, so that it starts in an instant and stays small.
Output and exit status are the command's own.
"""

import contextlib
import ctypes
import os
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

GRACE = 5.0
"""Seconds between asking the command to end and ending it."""
NOT_FOUND = 127
ASKED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_SET_PDEATHSIG, _SET_CHILD_SUBREAPER = 1, 36
_LIBC = ctypes.CDLL(None, use_errno=True)


def main(command: Sequence[str]) -> int:
    """Run the command; its exit status, negative where a signal ended it, 0 where we were asked to end it."""
    with contextlib.suppress(PermissionError):  # raised where we lead a session already
        os.setsid()
    # what outlives its parent becomes ours, in whatever group it is, and so can be ended too
    _LIBC.prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signals = _listen()
    try:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=_die_with_the_guard)
    except OSError as error:
        sys.stderr.write(f"{command[0]}: {error.strerror}\n")
        return NOT_FOUND
    asked = _wait(child, signals)
    if asked:
        os.killpg(0, signal.SIGTERM)
        os.killpg(0, signal.SIGCONT)  # what is stopped hears nothing
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(GRACE)
    _sweep()
    return 0 if asked else child.wait()


def _listen() -> int:
    """A file that becomes readable with each signal's number."""
    signals, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake)
    for number in (*ASKED, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    return signals


def _die_with_the_guard() -> None:
    """Runs in the command's process, before the command."""
    _LIBC.prctl(_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _wait(child: subprocess.Popen[bytes], signals: int) -> bool:
    """Wait for the command's end (False), for a signal or for the end of standard input (True)."""
    while True:
        ready, _, _ = select.select([0, signals], [], [])
        if 0 in ready and not os.read(0, 4096):
            return True
        if signals in ready and set(os.read(signals, 4096)) & {*ASKED}:
            return True
        if child.poll() is not None:
            return False


def _sweep() -> None:
    """Kill whatever is left, generation by generation."""
    until = time.monotonic() + GRACE
    while (left := _children()) and time.monotonic() < until:
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in left:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)


def _children() -> list[int]:
    own = os.getpid()
    with open(f"/proc/{own}/task/{own}/children", encoding="ascii") as children:
        return [int(pid) for pid in children.read().split()]


def _end_as(status: int) -> None:
    """Exit as the command did, by its signal where it was one."""
    if status >= 0:
        sys.exit(status)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if -status not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(-status, signal.SIG_DFL)
    os.kill(os.getpid(), -status)


if __name__ == "__main__":
    _end_as(main(sys.argv[1:]))
