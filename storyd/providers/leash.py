"""A command on a leash: it ends, with all it has started, when it is left, and when we are gone.

Knows processes and pipes; knows nothing of servers. The leash is held by guard.py, a small process between us
and the command, which listens to a pipe that the kernel closes when we die, however we die.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio
from anyio.abc import Process

GUARD = Path(__file__).with_name("guard.py")
STOP = 8.0
"""Seconds that the guard has for ending the command; a little more than it takes."""
LAST_WORDS = 1.0
"""Seconds that output may still come in after that."""


@asynccontextmanager
async def leashed(
    command: list[str], env: Mapping[str, str], hear: Callable[[bytes], None]
) -> AsyncIterator[Process]:
    """A command that runs while inside; `hear` is given whatever it and all that it starts write."""
    process, output = await _start(command, env)
    try:
        async with anyio.create_task_group() as around:
            around.start_soon(_listen, output, hear)
            try:
                yield process
            finally:
                with anyio.CancelScope(shield=True):  # bounded by STOP
                    await _end(process)
                around.cancel_scope.deadline = anyio.current_time() + LAST_WORDS
    finally:
        os.close(output)


async def _start(command: list[str], env: Mapping[str, str]) -> tuple[Process, int]:
    """The guard with its command, and where to read what they say.

    A pipe of our own, and none of the process': a stray may hold its other end for longer than we listen.
    """
    guard = [sys.executable, "-I", "-S", str(GUARD), *command]
    output, end = os.pipe()
    os.set_blocking(output, False)
    try:
        process = await anyio.open_process(guard, stdout=end, stderr=end, env=env, start_new_session=True)
        return process, output
    except BaseException:
        os.close(output)
        raise
    finally:
        os.close(end)


async def _listen(output: int, hear: Callable[[bytes], None]) -> None:
    while True:
        await anyio.wait_readable(output)
        said = os.read(output, 65_536)
        if not said:
            return
        hear(said)


async def _end(process: Process) -> None:
    assert process.stdin
    await process.stdin.aclose()
    with anyio.move_on_after(STOP):
        await process.wait()
    if process.returncode in (None, -signal.SIGKILL):  # the guard itself was killed, or hangs
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
