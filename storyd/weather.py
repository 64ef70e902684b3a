"""What a simulated provider does to a question: limits, delays, faults. Knows no HTTP and reads no clock.

Chance follows from the question and from how often it was asked before, so that a rehearsal can be repeated.
"""

from __future__ import annotations

import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

from .space import draw

IN_ANSWER = ("empty", "length", "oversized")
"""Faults of an answer that is given and paid for: they follow from the question alone, as any answer does."""
IN_DELIVERY = (
    *("400", "429", "500", "503", "content_type", "context_length_exceeded", "drip", "error_200", "hang"),
    *("html", "insufficient_quota", "redirect", "refuse", "reset", "truncated"),
)
WITHOUT_ANSWER = ("hang", "refuse", "reset")
KINDS = (*IN_ANSWER, *IN_DELIVERY)

Meter = Literal["requests", "tokens"]

# ── faults ────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Spell:
    """A fault that befalls every question from `start` to `end`, in seconds."""

    kind: str
    start: float
    end: float


def share(text: str) -> tuple[str, float]:
    """`KIND=RATE` → (kind, the share of questions it befalls). Raises ValueError."""
    kind, rate = _named(text)
    return kind, float(rate)


def spell(text: str) -> Spell:
    """`KIND=FROM-TO` → Spell. Raises ValueError."""
    kind, times = _named(text)
    start, _, end = times.partition("-")
    return Spell(kind, float(start), float(end))


def _named(text: str) -> tuple[str, str]:
    kind, found, rest = text.partition("=")
    if not found:
        raise ValueError(f"{text}: no = in it")
    return kind, rest


def wrong(faults: Mapping[str, float], schedule: Sequence[Spell]) -> str:
    """What is wrong with a forecast, or ""."""
    for kind in (*faults, *(spell.kind for spell in schedule)):
        if kind not in KINDS:
            return f"no fault is called {kind}: there are {', '.join(sorted(KINDS))}"
    if not all(0 <= rate <= 1 for rate in faults.values()) or sum(faults.values()) > 1 + 1e-9:
        return "the rates of the faults are shares, 1 in all"
    if not all(0 <= spell.start < spell.end for spell in schedule):
        return "a fault ends after it has begun, in seconds from 0"
    return ""


def fault(rates: Mapping[str, float], key: str, times: int) -> str | None:
    """Which fault befalls a question that was asked `times` times before."""
    return _drawn(rates, IN_DELIVERY, _luck(f"delivery/{key}", times)) or _drawn(
        rates, IN_ANSWER, _luck(f"answer/{key}", 0)
    )


def scheduled(schedule: Sequence[Spell], now: float) -> str | None:
    """The fault that everybody meets at this time."""
    return next((spell.kind for spell in schedule if spell.start <= now < spell.end), None)


def turns(schedule: Sequence[Spell], now: float) -> float:
    """When the schedule changes next; infinity where it does not."""
    times = [time for spell in schedule for time in (spell.start, spell.end) if time > now]
    return min(times, default=math.inf)


def delay(mean: float, sigma: float, key: str, times: int) -> float:
    """Seconds until an answer: log-normal around a mean."""
    if not sigma:
        return mean
    luck = _luck(f"delay/{key}", times)
    return mean * math.exp(sigma * NormalDist().inv_cdf(luck or 0.5) - sigma * sigma / 2)


def _drawn(rates: Mapping[str, float], kinds: Container[str], luck: float) -> str | None:
    for kind in sorted(rates):
        if kind in kinds:
            luck -= rates[kind]
            if luck < 0:
                return kind
    return None


def _luck(label: str, times: int) -> float:
    return draw(0, times, label) / 2**64


# ── limits ────────────────────────────────────────────────────────────────────────────────────────


class Bucket:
    """A token bucket: refilled evenly with `limit` a minute, it holds what comes in `burst` seconds."""

    def __init__(self, limit: float, burst: float, now: float) -> None:
        self.limit, self.rate = limit, limit / 60
        self.capacity = max(1.0, self.rate * burst)
        self.level, self._at = self.capacity, now

    def refill(self, now: float) -> None:
        """Let in what has come since the last time."""
        self.level = min(self.capacity, self.level + (now - self._at) * self.rate)
        self._at = now

    def until(self, level: float) -> float:
        """Seconds until it holds this much; 0 where it does already."""
        return max(0.0, (level - self.level) / self.rate)

    def take(self, cost: float) -> None:
        """Take out what is asked for, or all there is."""
        self.level = max(0.0, self.level - cost)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a question is not let in, and in how many seconds it would be (infinity: never)."""

    meter: Meter
    bucket: Bucket
    cost: float
    seconds: float


class Allowance:
    """What an account may ask for in a minute."""

    def __init__(self, rpm: float | None, tpm: float | None, burst: float, now: float) -> None:
        self.buckets: dict[Meter, Bucket] = {}
        if rpm:
            self.buckets["requests"] = Bucket(rpm, burst, now)
        if tpm:
            self.buckets["tokens"] = Bucket(tpm, burst, now)

    def admit(self, tokens: float, now: float) -> Refusal | None:
        """Charge one request of so many tokens, or say why not.

        A refused request counts as a request all the same, so hammering at the door keeps it shut.
        """
        costs = {"requests": 1.0, "tokens": tokens}
        for bucket in self.buckets.values():
            bucket.refill(now)
        short = next((meter for meter, bucket in self.buckets.items() if bucket.level < costs[meter]), None)
        for meter, bucket in self.buckets.items():
            if short is None or meter == "requests":
                bucket.take(costs[meter])
        return None if short is None else self._refusal(short, costs[short])

    def _refusal(self, meter: Meter, cost: float) -> Refusal:
        bucket = self.buckets[meter]
        return Refusal(meter, bucket, cost, bucket.until(cost) if cost <= bucket.capacity else math.inf)
