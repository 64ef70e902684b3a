"""A listening socket that can be shut for a while, so that connections are refused. Knows no requests."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from .errors import Fatal

HOST = "127.0.0.1"
LONGEST_REQUEST = 16 << 20
WAITING = 4096
"""Connections that may wait to be accepted."""

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Door:
    """Listens on a port of 127.0.0.1 while it is open; 0 takes a free one. Raises Fatal where it is taken.

    The port stays ours while the door is shut: a second socket is bound to it, and does not listen.
    """

    def __init__(self, handler: Handler, port: int) -> None:
        self._factory = web.Server(
            handler, request_factory=_request, handler_cancellation=True, access_log=None
        )
        self._place = _bound(port)
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        """Where it listens."""
        port: int = self._place.getsockname()[1]
        return port

    async def open(self) -> None:
        """Listen, if it does not yet."""
        if self._server is None:
            listener = _bound(self.port)
            loop = asyncio.get_running_loop()
            self._server = await loop.create_server(self._factory, sock=listener, backlog=WAITING)

    def shut(self) -> None:
        """Listen no more, and break what connections there are."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in self._factory.connections:
            if connection.transport is not None:
                connection.transport.abort()

    async def leave(self) -> None:
        """Shut it for good."""
        self.shut()
        await self._factory.shutdown(1.0)
        self._place.close()


def _bound(port: int) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((HOST, port))
    except OSError as why:
        sock.close()
        raise Fatal(
            f"cannot listen: {why.strerror}", where=f"port {port}", fix="take another --port"
        ) from None
    return sock


def _request(message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
    loop = asyncio.get_running_loop()
    return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=LONGEST_REQUEST)
