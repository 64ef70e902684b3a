"""An HTTP server that behaves like a provider: limits, latency and faults included. Knows no client of ours.

It answers as `fake` does: the same question gets the same text from both. What it was asked, and whose
answers left the house, is counted by `X-Client-Request-Id` (by a hash of the body where there is none):
`GET /sim/counts`. `POST /sim/faults` changes any of the settings while it runs; a new schedule counts its
seconds from that moment.

Limits: a request is charged when it arrives, with 1 request and with max_tokens plus a quarter of the
prompt's bytes. Nothing is given back for a short answer, and refused requests count as requests too.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import signal
import socket
import struct
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import anyio
import orjson
from aiohttp import web

from . import mimic, weather
from .door import HOST, Door, Handler
from .errors import ConfigError
from .exchange import NOTHING, Request, guess_tokens
from .mimic import Reply
from .providers.fake import Habits, answer, usage
from .tally import Tally
from .weather import Allowance, Spell

_AT_ONCE = nullcontext()


@dataclass(frozen=True, slots=True)
class SimulatorSettings:
    """How it behaves. Times are seconds; None is no limit."""

    rpm: float | None = None
    tpm: float | None = None
    burst: float = 60.0
    """Seconds of allowance that may be used at once."""
    concurrency: int | None = None
    """Requests at a time; one more is refused."""
    slots: int | None = None
    """Requests at a time; one more waits for its turn, as at a server of one's own."""
    latency: float = 0.0
    jitter: float = 0.0
    """Sigma of the log-normal latency."""
    per_token: float = 0.0
    """Latency of each token of the answer, on top."""
    invalid: float = 0.0
    words: int = Habits().words
    faults: Mapping[str, float] = field(default_factory=lambda: NOTHING)
    """Kind → share of the requests: see `weather.KINDS`. "refuse" closes the connection at once."""
    schedule: tuple[Spell, ...] = ()
    """Faults that befall every request for a time. While "refuse" does, nothing listens."""
    hang: float = 3600.0
    drip: float = 30.0
    """How long a dripping answer takes."""
    key: str = ""
    models: tuple[str, ...] = ()
    """The models there are; where none is named any will do."""
    seed: int = 0
    """Another seed, other answers."""


def checked(settings: SimulatorSettings) -> SimulatorSettings:
    """The settings themselves. Raises ConfigError where one makes no sense."""
    said = weather.wrong(settings.faults, settings.schedule)
    for name in ("rpm", "tpm", "concurrency", "slots", "burst"):
        value = getattr(settings, name)
        if value is not None and not 0 < value < math.inf:
            said = f"{name}: {value} is not more than 0"
    for name in ("latency", "jitter", "per_token", "hang", "drip"):
        if not 0 <= getattr(settings, name) < math.inf:
            said = f"{name}: {getattr(settings, name)} is no time"
    if not 0 <= settings.invalid <= 1:
        said = f"invalid: {settings.invalid} is no share (0 to 1)"
    if said:
        raise ConfigError(said, where="simulator")
    return settings


# ── the account ───────────────────────────────────────────────────────────────────────────────────


class Simulator:
    """One simulated account: what it allows, what befalls its requests, and what it was asked."""

    def __init__(self, settings: SimulatorSettings, state: Path | None = None) -> None:
        self._time = asyncio.get_running_loop().time
        self._tally = Tally(state)
        self._routes: Mapping[tuple[str, str], Handler] = {
            ("POST", "/v1/chat/completions"): self._chat,
            ("GET", "/v1/models"): self._models,
            ("GET", "/health"): self._health,
            ("GET", "/sim/counts"): self._counts,
            ("POST", "/sim/faults"): self._faults,
        }
        self.port = 0
        self.changed = anyio.Event()
        self.settings = checked(settings)
        self._since = self._time()
        self._prepare()

    @property
    def url(self) -> str:
        """Where it is asked, up to and with /v1."""
        return f"http://{HOST}:{self.port}/v1"

    def counts(self) -> dict[str, Any]:
        """What `GET /sim/counts` says."""
        return self._tally.report()

    def change(self, **what: Any) -> None:
        """Behave differently from now on; limits and slots start afresh.

        Raises ConfigError for a value, TypeError for a name that makes no sense.
        """
        self.settings = checked(replace(self.settings, **what))
        if "schedule" in what:
            self._since = self._time()
        if what.keys() & {"rpm", "tpm", "burst", "slots"}:
            self._prepare()
        self.changed.set()

    def refused(self) -> tuple[bool, float]:
        """Whether nobody is to listen now, and the seconds until the schedule says something else."""
        now = self._time() - self._since
        schedule = self.settings.schedule
        return weather.scheduled(schedule, now) == "refuse", weather.turns(schedule, now) - now

    def close(self) -> None:
        """Count no more."""
        self._tally.close()

    def _prepare(self) -> None:
        now, settings = self._time(), self.settings
        self._allowance = Allowance(settings.rpm, settings.tpm, settings.burst, now)
        self._slots = anyio.Semaphore(settings.slots) if settings.slots else None

    # ── requests ──────────────────────────────────────────────────────────────────────────────────

    async def handle(self, http: web.BaseRequest) -> web.StreamResponse:
        """Answer any request."""
        route = self._routes.get((http.method, http.path))
        if route is None:
            return _response(mimic.failure(404, f"Invalid URL ({http.method} {http.path})"))
        return await route(http)

    async def _health(self, http: web.BaseRequest) -> web.StreamResponse:
        return web.json_response({"status": "ok"})

    async def _counts(self, http: web.BaseRequest) -> web.StreamResponse:
        return _response(Reply(200, orjson.dumps(self.counts()), mimic.JSON))

    async def _models(self, http: web.BaseRequest) -> web.StreamResponse:
        if denial := mimic.denied(http.headers.get("Authorization", ""), self.settings.key):
            return _response(denial)
        return _response(mimic.models(self.settings.models or ("simulated",)))

    async def _faults(self, http: web.BaseRequest) -> web.StreamResponse:
        try:
            what = orjson.loads(await http.read())
            if "schedule" in what:
                what["schedule"] = tuple([weather.spell(one) for one in what["schedule"]])
            self.change(**what)
        except (ConfigError, TypeError, ValueError, AttributeError) as why:
            return _response(mimic.failure(400, str(why)))
        return _response(Reply(200, b"{}", mimic.JSON))

    async def _chat(self, http: web.BaseRequest) -> web.StreamResponse:
        body = await http.read()
        key = http.headers.get("X-Client-Request-Id") or f"body:{blake2b(body, digest_size=8).hexdigest()}"
        times = self._tally.ask(key)
        try:
            request = mimic.read_chat(body, key)
        except ValueError as why:
            return self._reject("unreadable", mimic.failure(400, f"{why}"))
        if rejected := self._turn_away(http, request):
            return rejected
        self._tally.enter()
        try:
            async with self._slots or _AT_ONCE:
                return await self._reply(http, request, times)
        finally:
            self._tally.in_flight -= 1

    def _turn_away(self, http: web.BaseRequest, request: Request) -> web.StreamResponse | None:
        settings = self.settings
        if settings.key and (denial := mimic.denied(http.headers.get("Authorization", ""), settings.key)):
            return self._reject("key", denial)
        if settings.models and request.model not in settings.models:
            return self._reject("model", mimic.unknown_model(request.model))
        if settings.concurrency and self._tally.in_flight >= settings.concurrency:
            return self._reject("concurrency", mimic.too_many())
        tokens = request.max_tokens + sum([guess_tokens(text) for _, text in request.messages])
        if refusal := self._allowance.admit(tokens, self._time()):
            return self._reject(refusal.meter, mimic.refused(refusal, request.model))
        self._tally.totals["requests"] += 1
        self._tally.totals["tokens"] += tokens
        return None

    def _reject(self, why: str, reply: Reply) -> web.StreamResponse:
        self._tally.rejected[why] += 1
        return _response(reply, mimic.limits(self._allowance))

    # ── answers ───────────────────────────────────────────────────────────────────────────────────

    async def _reply(self, http: web.BaseRequest, request: Request, times: int) -> web.StreamResponse:
        settings = self.settings
        kind = weather.scheduled(settings.schedule, self._time() - self._since) if settings.schedule else None
        if kind is None and settings.faults:
            kind = weather.fault(settings.faults, request.id, times)
        if kind is not None and kind in mimic.FAULTS:
            return self._reject(kind, mimic.FAULTS[kind])
        if kind is not None and kind in weather.WITHOUT_ANSWER:
            return await self._break_off(kind, http)
        named = replace(request, id=f"{settings.seed}/{request.id}") if settings.seed else request
        text, finish = mimic.spoiled(kind, *answer(named, Habits(settings.words, settings.invalid)))
        spent = usage(request, text)
        if seconds := self._seconds(request.id, times, spent.output):
            await anyio.sleep(seconds)
        body = mimic.write_chat(request, text, finish, spent, int(time.time()))
        return await self._send(kind, http, request.id, body)

    def _seconds(self, key: str, times: int, tokens: int) -> float:
        settings = self.settings
        return weather.delay(settings.latency, settings.jitter, key, times) + settings.per_token * tokens

    async def _break_off(self, kind: str, http: web.BaseRequest) -> web.StreamResponse:
        self._tally.rejected[kind] += 1
        if kind == "hang":
            await anyio.sleep(self.settings.hang)
        _drop(http, reset=kind == "reset")
        return web.Response()

    async def _send(
        self, kind: str | None, http: web.BaseRequest, key: str, body: bytes
    ) -> web.StreamResponse:
        headers = {"Content-Type": "application/json", "x-request-id": f"req_{self._tally.totals['asked']}"}
        headers |= mimic.limits(self._allowance)
        if kind == "truncated":
            return await self._truncate(http, body, headers)
        if kind == "drip":
            return await self._drip(http, key, body, headers)
        if kind == "content_type":
            self._tally.rejected[kind] += 1
            return web.Response(body=body, headers={**headers, "Content-Type": "application/octet-stream"})
        self._deliver(http, key)
        return web.Response(body=body, headers=headers)

    async def _truncate(
        self, http: web.BaseRequest, body: bytes, headers: Mapping[str, str]
    ) -> web.StreamResponse:
        self._tally.rejected["truncated"] += 1
        response = web.StreamResponse(headers={**headers, "Content-Length": str(len(body))})
        await response.prepare(http)
        await response.write(body[: len(body) // 2])
        _drop(http, reset=False)
        return response

    async def _drip(
        self, http: web.BaseRequest, key: str, body: bytes, headers: Mapping[str, str]
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={**headers, "Content-Length": str(len(body))})
        await response.prepare(http)
        size = -(-len(body) // 30)
        for start in range(0, len(body), size):
            await anyio.sleep(self.settings.drip / 30)
            if start + size >= len(body):
                self._deliver(http, key)
            await response.write(body[start : start + size])
        return response

    def _deliver(self, http: web.BaseRequest, key: str) -> None:
        """Count an answer that is written next: nothing waits in between, so no kill loses the count."""
        if http.transport is not None and not http.transport.is_closing():
            self._tally.deliver(key)


def _response(reply: Reply, more: Mapping[str, str] = NOTHING) -> web.Response:
    return web.Response(status=reply.status, body=reply.body, headers={**reply.headers, **more})


def _drop(http: web.BaseRequest, *, reset: bool) -> None:
    transport = http.transport
    if transport is None:
        return
    if not reset:
        transport.close()
        return
    # to abort is an orderly end for the peer: with a lingering time of zero the kernel sends a reset instead
    linger = struct.pack("ii", 1, 0)
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    transport.abort()


# ── serving ───────────────────────────────────────────────────────────────────────────────────────


@asynccontextmanager
async def serve(
    settings: SimulatorSettings, port: int = 0, state: Path | None = None
) -> AsyncIterator[Simulator]:
    """A simulator that listens on 127.0.0.1; port 0 takes a free one. Raises ConfigError and Fatal."""
    simulator = Simulator(settings, state)
    door = Door(simulator.handle, port)
    simulator.port = door.port
    failed: Exception | None = None
    if not simulator.refused()[0]:
        await door.open()
    # asyncio's group, as anyio's must be left by the task that has entered it, and pytest's fixtures are not
    async with asyncio.TaskGroup() as group:
        keeper = group.create_task(_keep(door, simulator))
        try:
            yield simulator
        except Exception as error:
            failed = error
        finally:
            keeper.cancel()
            with anyio.CancelScope(shield=True):
                await door.leave()
            simulator.close()
    if failed is not None:
        raise failed


async def _keep(door: Door, simulator: Simulator) -> None:
    """Open and shut the door as the schedule says."""
    while True:
        simulator.changed = anyio.Event()
        refused, seconds = simulator.refused()
        if refused:
            door.shut()
        else:
            await door.open()
        with anyio.move_on_after(seconds):
            await simulator.changed.wait()


# ── the command ───────────────────────────────────────────────────────────────────────────────────


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `storyd simulate`."""
    add = parser.add_argument
    add("--port", type=int, default=8080, help="0 takes a free one (default: 8080)")
    add("--rpm", type=float, help="requests a minute")
    add("--tpm", type=float, help="tokens a minute")
    add("--burst", type=float, default=60.0, help="seconds of allowance that may be used at once (60)")
    add("--concurrency", type=int, metavar="N", help="refuse more than N requests at a time")
    add("--slots", type=int, metavar="N", help="serve N requests at a time; others wait")
    add("--latency", type=float, default=0.0, metavar="SECONDS", help="mean time of an answer")
    add("--jitter", type=float, default=0.0, metavar="SIGMA", help="spread of the (log-normal) latency")
    add("--per-token", type=float, default=0.0, metavar="SECONDS", help="time of each token, on top")
    add("--invalid", type=float, default=0.0, metavar="SHARE", help="share of answers that are bad stories")
    kinds = ", ".join(sorted(weather.KINDS))
    add("--fault", action="append", default=[], metavar="KIND=SHARE", help=f"one of: {kinds}")
    add(
        "--schedule",
        action="append",
        default=[],
        metavar="KIND=FROM-TO",
        help="a fault for a time, in seconds",
    )
    add("--key", default="", help="the key to ask for; it is no secret")
    add("--models", default="", metavar="A,B", help="the models there are (default: any)")
    add("--answer-seed", type=int, default=0, metavar="N", help="another seed, other answers")
    add("--state", type=Path, metavar="FILE", help="keep the count of answers given in a file")


def settings_of(args: argparse.Namespace) -> SimulatorSettings:
    """What the command's arguments say. Raises ConfigError."""
    try:
        faults = dict([weather.share(one) for one in args.fault])
        schedule = tuple([weather.spell(one) for one in args.schedule])
    except ValueError as why:
        raise ConfigError(f"{why}", where="simulate", fix="--fault 500=0.1, --schedule 503=10-20") from None
    names = (
        "rpm",
        "tpm",
        "burst",
        "concurrency",
        "slots",
        "latency",
        "jitter",
        "per_token",
        "invalid",
        "key",
    )
    said = {name: getattr(args, name) for name in names}
    models = tuple([name for name in args.models.split(",") if name])
    return checked(
        SimulatorSettings(**said, faults=faults, schedule=schedule, models=models, seed=args.answer_seed)
    )


def run(args: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM comes; returns the exit code."""
    anyio.run(_until_signal, settings_of(args), args, backend_options={"use_uvloop": True})
    return 0


async def _until_signal(settings: SimulatorSettings, args: argparse.Namespace) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with serve(settings, args.port, args.state) as simulator:
            sys.stderr.write(f"storyd: simulating a provider at {simulator.url} (Ctrl-C stops it)\n")
            if args.json:
                sys.stdout.write(f'{{"url": "{simulator.url}"}}\n')
                sys.stdout.flush()
            async for _ in signals:
                return
