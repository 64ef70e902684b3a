"""The one HTTP client: bytes out, a bounded reply back, every fault an error. Knows no provider's format.

Timeouts are kept by one sweep over all calls instead of two timers per call, which would cost more than to
parse an answer. So they are exact to a tenth of their length, or to a second.
"""

from __future__ import annotations

import asyncio
import errno
import os
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import Any, NamedTuple
from urllib.request import getproxies_environment, proxy_bypass

import aiohttp
from yarl import URL

from . import __version__
from .errors import ConfigError, Fatal, Transient
from .settings import Secret, Timeouts

HEADERS = {
    "Accept": "application/json",
    "Accept-Encoding": "identity",
    "Content-Type": "application/json",
    "User-Agent": f"storyd/{__version__}",
}
DNS_TTL = 60
"""Seconds that an address is remembered."""


class Reply(NamedTuple):
    """What came back. `whole` is False where the body was longer than the bound, and was cut there."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float
    whole: bool = True


class Unreached(Transient):
    """No connection was made, so nothing was sent: another replica may be asked at once."""


class Client:
    """Posts requests over kept-alive connections, as many as it is asked to: the limiter bounds them."""

    def __init__(self, session: aiohttp.ClientSession, timeouts: Timeouts) -> None:
        self._session, self._timeouts = session, timeouts
        self._calls: dict[asyncio.Task[Any], _Call] = {}
        self._loop = asyncio.get_running_loop()
        self._proxies = getproxies_environment()
        self._every = min(1.0, timeouts.first_byte / 10, timeouts.total / 10)
        self._timer = self._loop.call_later(self._every, self._sweep)

    async def post(self, url: URL, headers: Mapping[str, str], body: bytes, bound: int) -> Reply:
        """POST JSON and read at most `bound` bytes of what comes back, whatever its status.

        Raises Transient (Unreached where nothing was sent), and Fatal where a certificate is not valid.
        """
        task = asyncio.current_task()
        assert task is not None
        started = self._loop.time()
        call = self._calls[task] = _Call(started, task.cancelling())
        try:
            async with self._session.post(
                url, data=body, headers=headers, allow_redirects=False, proxy=_proxy(self._proxies, url)
            ) as response:
                payload, whole = await self._read(response, bound, call)
            return Reply(response.status, response.headers, payload, self._loop.time() - started, whole)
        except asyncio.CancelledError:
            if not call.late or task.uncancel() > call.cancelling:
                raise
            raise Transient(call.late) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # `from None`: aiohttp's exceptions may hold the request, and with it the key
            raise translated(error, url, self._timeouts) from None
        finally:
            del self._calls[task]

    async def _read(self, response: aiohttp.ClientResponse, bound: int, call: _Call) -> tuple[bytes, bool]:
        chunks: list[bytes] = []
        room = bound
        while chunk := await response.content.readany():
            call.heard = self._loop.time()
            room -= len(chunk)
            chunks.append(chunk)
            if room < 0:
                response.close()
                return b"".join(chunks)[:bound], False
        return b"".join(chunks), True

    def _sweep(self) -> None:
        now = self._loop.time()
        for task, call in self._calls.items():
            if not call.late and (late := call.overdue(now, self._timeouts)):
                call.late = late
                task.cancel()
        self._timer = self._loop.call_later(self._every, self._sweep)

    def close(self) -> None:
        """Sweep no more."""
        self._timer.cancel()


class _Call:
    """A call under way: when it began, when a byte was last heard, and, once it is late, the reason."""

    __slots__ = ("cancelling", "heard", "late", "started")

    def __init__(self, started: float, cancelling: int) -> None:
        self.started = self.heard = started
        self.cancelling = cancelling
        self.late = ""

    def overdue(self, now: float, timeouts: Timeouts) -> str:
        if now - self.started >= timeouts.total:
            return f"not answered within {timeouts.total:g} s (timeouts.total)"
        if now - self.heard >= timeouts.first_byte:
            return f"no byte for {timeouts.first_byte:g} s (timeouts.first_byte)"
        return ""


@asynccontextmanager
async def client(timeouts: Timeouts) -> AsyncIterator[Client]:
    """A client for one account."""
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=DNS_TTL),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers=HEADERS,
        timeout=aiohttp.ClientTimeout(total=None, connect=timeouts.connect),
        auto_decompress=False,
    ) as session:
        one = Client(session, timeouts)
        try:
            yield one
        finally:
            one.close()


def endpoint(base: str, path: str, key: Secret | None, insecure: bool = False) -> URL:
    """Where to post. Raises ConfigError for what is no URL, or where the key would travel in clear text."""
    try:
        url = URL(f"{base.rstrip('/')}/{path}")
        host = url.host
    except ValueError:
        host = None
    if not host or url.scheme not in ("http", "https"):
        raise ConfigError("this is no http:// or https:// address", where="url", fix="as in https://host/v1")
    if url.user or url.password:
        raise ConfigError("an address holds a password", where="url", fix="use `key: env:NAME`")
    if key is not None and url.scheme == "http" and not (insecure or _loopback(host)):
        raise ConfigError(
            f"the key would travel to {host} in clear text", where="url", fix="https://, or `insecure: true`"
        )
    return url


def _loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _proxy(proxies: Mapping[str, str], url: URL) -> str | None:
    """The proxy that the environment names for an address; none for what listens on this machine."""
    host = url.host or ""
    if not proxies or _loopback(host) or proxy_bypass(f"{host}:{url.port}"):
        return None
    return proxies.get(url.scheme)


# ── faults of the road ────────────────────────────────────────────────────────────────────────────


def translated(error: Exception, url: URL, timeouts: Timeouts) -> Transient | Fatal:
    """What an exception of aiohttp or the system means, in one line without secrets."""
    peer = f"{url.host}:{url.port}"
    match error:
        case aiohttp.ClientConnectorCertificateError():
            why = _certificate(error)
            return Fatal(f"the certificate of {peer} is not valid: {why}", fix="check the url and the clock")
        case aiohttp.ConnectionTimeoutError():
            return Unreached(f"no connection to {peer} within {timeouts.connect:g} s (timeouts.connect)")
        case aiohttp.ClientConnectorError():
            return Unreached(f"no connection to {peer}: {_unreached(error)}")
        case aiohttp.ServerDisconnectedError():
            return Transient(f"{peer} closed the connection without an answer")
        case aiohttp.ClientPayloadError():
            return Transient(f"the answer of {peer} broke off")
        case aiohttp.ClientResponseError():
            return Transient(f"{peer} does not speak HTTP")
        case OSError():
            return Transient(f"the connection to {peer} broke: {_reason(error)}")
    return Transient(f"the call to {peer} failed: {type(error).__name__}")


def _unreached(error: aiohttp.ClientConnectorError) -> str:
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "the name cannot be resolved"
    return _reason(error.os_error)


def _certificate(error: aiohttp.ClientConnectorCertificateError) -> str:
    cause = error.certificate_error
    return cause.verify_message if isinstance(cause, ssl.SSLCertVerificationError) else type(cause).__name__


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "handshake failed").replace("_", " ").lower()
    if error.errno in errno.errorcode:
        return os.strerror(error.errno or 0).lower()
    return "it was closed"
