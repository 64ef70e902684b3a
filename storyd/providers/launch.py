"""A local server as a supervised child: started, waited for, started again when it dies, ended with us.

Knows ports, deaths and when a server is up; knows nothing of what it is asked. The server's output goes
nowhere but into a tail of bounded size, whose last lines are shown when it fails.
"""

from __future__ import annotations

import os
import re
import secrets
import shlex
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import aiohttp
import anyio
from anyio.abc import Process

from storyd.errors import ConfigError, Fatal, Transient
from storyd.exchange import Completion, Provider, Request
from storyd.settings import ProviderSettings, Secret

from .leash import leashed

LOOPBACK = "http://127.0.0.1:{port}/v1"
KEY_NAMES = ("VLLM_API_KEY", "LLAMA_API_KEY")
"""Where servers look for the key that they are to ask for."""
NOT_FOUND, HOPELESS = 127, 78
"""Exit statuses of a server that would only die of the same again (sysexits.h calls 78 EX_CONFIG)."""
TRIES, QUICK, PAUSE = 4, 60.0, 0.25
"""A server that dies so many times in a row within so many seconds of its start is given up; seconds of the
pause before another start, doubled each time."""
PULSE, PROBE, MISSES = 15.0, 10.0, 4
"""Seconds between two looks at a server that is up, seconds a look may take, how many may fail in a row."""
KEPT = 16_384
"""Bytes of output that are remembered."""
_LISTENS = re.compile(rb"storyd: listening on (http://127\.0\.0\.1:\d+)\s")

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Server:
    """A server to start. `{port}` in `command` and `url` is replaced by a free port.

    Where `url` is "", the server tells it by a line `storyd: listening on http://127.0.0.1:PORT`. It finds
    its `key` in the environment, under each of `key_names`. `start`: seconds that it may take to be up.
    """

    name: str
    command: tuple[str, ...]
    url: str
    key: str = field(repr=False)
    key_names: tuple[str, ...] = KEY_NAMES
    env: Mapping[str, str] = field(default_factory=dict)
    start: float = 1800.0


def server(settings: ProviderSettings) -> Server:
    """The server that `settings.launch` names. Raises ConfigError where it cannot be one."""
    try:
        command = tuple(shlex.split(settings.launch))
    except ValueError as error:
        raise _mistaken(settings, f"{error}", "close it") from None
    if not command or shutil.which(command[0]) is None:
        raise _mistaken(settings, f"no such program: {' '.join(command[:1])}", "install it, or name its path")
    if len(settings.urls) > 1:
        raise _mistaken(settings, "starts one server, but `url` names several", "give one url")
    url = next(iter(settings.urls), LOOPBACK if any("{port}" in word for word in command) else "")
    if not url:
        raise _mistaken(settings, "says no port", "write {port} where it belongs, or give `url`")
    key = settings.key.reveal() if settings.key else secrets.token_urlsafe(24)
    return Server(settings.name, command, url, key)


def _mistaken(settings: ProviderSettings, what: str, fix: str) -> ConfigError:
    return ConfigError(f"launch: {what}", where=settings.name, fix=fix)


def tell(line: str) -> None:
    """Say a line on stderr."""
    sys.stderr.write(f"storyd: {line}\n")


class Child:
    """A server that is kept running."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.settled = anyio.Event()
        """Set once it is up or given up."""
        self._url = ""
        self._failed: Fatal | None = None
        self._tail = bytearray()

    @property
    def url(self) -> str:
        """Where it answers, up to and with /v1.

        Raises Transient while it starts again, Fatal once it is given up.
        """
        if self._failed:
            raise Fatal(self._failed.what, where=self._failed.where, fix=self._failed.fix)
        if not self._url:
            raise Transient(f"{self.server.name} is starting again", retry_after=1.0)
        return self._url

    @property
    def failed(self) -> bool:
        """Whether it is given up."""
        return self._failed is not None

    async def keep(self, say: Say) -> None:
        """Run it, again and again, until it is given up."""
        deaths = 0
        while True:
            began = anyio.current_time()
            how, hopeless = await self._live()
            deaths = deaths + 1 if anyio.current_time() - began < QUICK else 1
            if hopeless or deaths == TRIES:
                break
            wait = PAUSE * 2**deaths
            say(f"{self.server.name}: the server {how}; starting it again in {wait:g} s")
            await anyio.sleep(wait)
        self._failed = self._failure(f"{how}, {deaths} times in a row" if deaths > 1 else how)
        self.settled.set()

    async def _live(self) -> tuple[str, bool]:
        """Run it once; how it ended, and whether it is hopeless to start it again."""
        self._tail.clear()
        port = _free_port()
        command = [word.replace("{port}", str(port)) for word in self.server.command]
        env = {**os.environ, **self.server.env, **dict.fromkeys(self.server.key_names, self.server.key)}
        async with leashed(command, env, self._hear) as process:
            url = await self._up(process, self.server.url.replace("{port}", str(port)))
            if url:
                self._url = url
                self.settled.set()
                await _watch(process, url)
                self._url = ""
            status = process.returncode
        if status is None and not url:
            return f"was not up after {self.server.start:g} s", True
        return _how(status)

    async def _up(self, process: Process, url: str) -> str:
        """Its url once it answers there; "" where it dies first or takes too long."""
        with anyio.move_on_after(self.server.start):
            while process.returncode is None:
                told = url or self._told()
                if told and await _answers(told):
                    return told
                with anyio.move_on_after(0.1):
                    await process.wait()
        return ""

    def _told(self) -> str:
        found = _LISTENS.search(self._tail)
        return f"{found[1].decode()}/v1" if found else ""

    def _hear(self, said: bytes) -> None:
        self._tail += said
        del self._tail[:-KEPT]

    def _failure(self, how: str) -> Fatal:
        """Why it is given up, with the end of its output, less the key."""
        text = self._tail.decode(errors="replace").replace(self.server.key, "…")
        last = " / ".join([line.strip() for line in text.splitlines() if line.strip()][-3:])[-500:]
        what = f"the server {how}" + (f"; its last words: {last}" if last else "")
        return Fatal(what, where=self.server.name, fix="mend that, then run again")


class Kept:
    """A provider in front of a child, which is asked where the child is now."""

    def __init__(self, child: Child, provider: Provider, move: Callable[[str, Secret], None]) -> None:
        self._child, self._provider, self._move = child, provider, move
        self._url, self._key = child.url, Secret(child.server.key)

    async def complete(self, request: Request) -> Completion:
        """Ask once. Raises Transient while the child starts again, Fatal once it is given up."""
        url = self._child.url
        if url != self._url:
            self._move(url, self._key)
            self._url = url
        return await self._provider.complete(request)


@asynccontextmanager
async def launched(server: Server, say: Say = tell) -> AsyncIterator[Child]:
    """Keep a server running; entered once it is up. Raises Fatal where it does not come up."""
    child = Child(server)
    failed: Exception | None = None
    async with anyio.create_task_group() as around:
        around.start_soon(child.keep, say)
        await child.settled.wait()  # bounded by the server's `start`
        try:
            _ = child.url
            yield child
        except Exception as error:  # it leaves as itself, not as one of a group
            failed = error
        around.cancel_scope.cancel()
    if failed:
        raise failed


async def _watch(process: Process, url: str) -> None:
    """Wait until the server dies or has not answered for a long time."""
    misses = 0
    while misses < MISSES:
        with anyio.move_on_after(PULSE):
            await process.wait()
            return
        misses = 0 if await _answers(url) else misses + 1


async def _answers(url: str) -> bool:
    """Whether a server is ready there. The key is not shown to it."""
    parts = urlsplit(url)
    timeout = aiohttp.ClientTimeout(total=PROBE)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        for look in (f"{parts.scheme}://{parts.netloc}/health", f"{url}/models"):
            try:
                async with session.get(look, allow_redirects=False) as response:
                    status = response.status
            except (aiohttp.ClientError, TimeoutError, OSError):
                return False
            if status != 404:
                return status < 500
    return True


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def _how(status: int | None) -> tuple[str, bool]:
    """How a server ended, and whether it is hopeless to start it again."""
    if status in (None, 0):
        return "ended" if status == 0 else "did not answer any more", False
    if status == -signal.SIGILL:
        return "used an instruction that this processor lacks (on x86 it needs AVX2)", True
    if status < 0:
        return f"was ended by {signal.Signals(-status).name}", False
    return f"ended with status {status}", status in (NOT_FOUND, HOPELESS)
