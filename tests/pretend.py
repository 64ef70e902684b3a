"""Time that passes only when nothing else is to be done, and a pretended account behind limits of its own."""

import asyncio
import math
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, field

import anyio

from storyd.errors import Transient
from storyd.exchange import Completion, Reading, Request, Usage
from storyd.space import draw


class _Leaping(asyncio.SelectorEventLoop):
    """An event loop whose clock leaps to the next timer."""

    def __init__(self):
        super().__init__()
        self._clock = 1000.0
        select = self._selector.select

        def leap(timeout=None):
            self._clock += timeout or 0.0
            return select(0)

        self._selector.select = leap

    def time(self):
        return self._clock


def played(main: Coroutine):
    """Run a coroutine in time that leaps."""
    with asyncio.Runner(loop_factory=_Leaping) as runner:
        return runner.run(main)


@dataclass
class Bucket:
    """So many units a second, of which `burst` seconds' worth may be used at once."""

    rate: float
    burst: float
    level: float = math.nan
    at: float = 0.0

    def __post_init__(self):
        self.level = self.rate * self.burst

    def refill(self, now):
        self.level = min(self.rate * self.burst, self.level + (now - self.at) * self.rate)
        self.at = now


@dataclass
class Account:
    """Answers after `latency` (log-normal around it) and says its limits, as OpenAI does."""

    rpm: float = math.inf
    tpm: float = math.inf
    burst: float = 2.0
    latency: float = 0.6
    spread: float = 0.4
    slots: int = 10**9
    """How many are answered at a time; others queue."""
    concurrency: int = 10**9
    """How many it takes; others are refused."""
    says: bool = True
    charges: float = 1.0
    """What it charges of max_tokens."""
    down: tuple[float, float] = (math.inf, math.inf)
    """From when to when it answers nothing."""
    asked: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    done: list[float] = field(default_factory=list)
    in_flight: int = 0
    peak: int = 0

    def __post_init__(self):
        self.buckets = {
            "requests": Bucket(self.rpm / 60, self.burst),
            "tokens": Bucket(self.tpm / 60, self.burst),
        }
        self.free = self.slots
        self.queue = []

    def change(self, **limits):
        for name, per_minute in limits.items():
            self.buckets[name].refill(asyncio.get_running_loop().time())
            self.buckets[name].rate = per_minute / 60

    async def complete(self, request: Request) -> Completion:
        now = asyncio.get_running_loop().time()
        self.asked.append(now)
        if self.down[0] <= now < self.down[1]:
            await asyncio.sleep(0.01)
            raise Transient("connection refused")
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        try:
            return await self._answered(request, now)
        finally:
            self.in_flight -= 1

    async def _answered(self, request, now):
        costs = {"requests": 1.0, "tokens": request.max_tokens * self.charges}
        for bucket in self.buckets.values():
            bucket.refill(now)
        short = [self.buckets[name] for name, cost in costs.items() if self.buckets[name].level < cost]
        if short or self.in_flight > self.concurrency:
            self.refused.append(now)
            said = self._readings()
            await asyncio.sleep(0.05)
            error = Transient("HTTP 429", retry_after=1.0 if short else 0.0, limited=True)
            error.readings = said
            raise error
        for name, cost in costs.items():
            self.buckets[name].level -= cost
        said = self._readings()
        luck = draw(1, len(self.asked), "latency") / 2**64 - 0.5
        await self._served(self.latency * math.exp(2 * self.spread * luck))
        self.done.append(asyncio.get_running_loop().time())
        return Completion("once", "stop", Usage(10, 100), readings=said)

    async def _served(self, seconds):
        if not self.free:
            turn = asyncio.Event()
            self.queue.append(turn)
            await turn.wait()
        else:
            self.free -= 1
        await asyncio.sleep(seconds)
        if self.queue:
            self.queue.pop(0).set()
        else:
            self.free += 1

    def _readings(self):
        if not self.says:
            return ()
        return tuple(
            Reading(
                name,
                bucket.rate * 60,
                max(0.0, bucket.level),
                (bucket.rate * self.burst - bucket.level) / bucket.rate,
            )
            for name, bucket in self.buckets.items()
            if math.isfinite(bucket.rate)
        )


async def worked(limited, seconds: float, hands: int = 512, max_tokens: int = 400):
    """Ask without end for so long, with so many hands."""

    async def hand(number):
        nth = 0
        while True:
            nth += 1
            with suppress(Transient):
                await limited.complete(Request(f"job/{number}.{nth}", "m", (("user", "x" * 36),), max_tokens))

    with anyio.move_on_after(seconds):
        async with anyio.create_task_group() as group:
            for number in range(hands):
                group.start_soon(hand, number)


def between(times, start, end):
    """How many of the times lie from `start` to `end` seconds after the clock's begin."""
    return sum(start <= time - 1000.0 < end for time in times)
