"""One exchange with a model: a Request out, a Completion back, Usage spent. Knows no provider and no job.

What is made once an answer is a named tuple: a frozen dataclass takes five times as long to make.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import add
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, Protocol

Role = Literal["system", "user", "assistant"]
NOTHING: Mapping[str, Any] = MappingProxyType({})


def nothing() -> Mapping[str, Any]:
    """The empty mapping, as a dataclass wants its default."""
    return NOTHING


class Usage(NamedTuple):
    """Tokens of one answer. `cached` and `cache_write` are parts of `input`, `reasoning` of `output`."""

    input: int = 0
    output: int = 0
    cached: int = 0
    cache_write: int = 0
    reasoning: int = 0

    def plus(self, other: Usage) -> Usage:
        """The sum."""
        return Usage(*map(add, self, other))


NO_USAGE = Usage()


@dataclass(frozen=True, slots=True)
class Request:
    """One question. `id` is `<job>/<index>.<nth>`: unique per question, equal when it is repeated."""

    id: str
    model: str
    messages: tuple[tuple[Role, str], ...]
    max_tokens: int
    sampling: Mapping[str, Any] = field(default_factory=nothing)
    """Further parameters by the job file's names (temperature, top_p, seed, …), without `extra`."""
    extra: Mapping[str, Any] = field(default_factory=nothing)
    """Passed on to the provider as it is."""
    prefill: str = ""
    """The first words of the answer; part of the completion's text whatever the provider returns."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a provider said of one of its limits.

    `meter` is requests, tokens, input or output; `limit` and `remaining` are in its unit; `reset` is
    the number of seconds until the meter is full again (None where it is not told).
    """

    meter: Literal["requests", "tokens", "input", "output"]
    limit: float
    remaining: float
    reset: float | None = None


class Completion(NamedTuple):
    """One answer. `finish`: stop, length, filter, oversize, or what the provider said instead.

    `model` is who the provider says has answered ("" where it says nothing).
    """

    text: str
    finish: str
    usage: Usage = NO_USAGE
    model: str = ""
    seconds: float = 0.0
    readings: tuple[Reading, ...] = ()


class Provider(Protocol):
    """Turns a Request into a Completion."""

    async def complete(self, request: Request) -> Completion:
        """Ask once. Raises Transient, Refused or Fatal; never retries and never waits to be polite."""
        ...


def guess_tokens(text: str) -> int:
    """About how many tokens a text has: a quarter of its bytes, which suits Latin and other scripts alike."""
    return (len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))) // 4 + 1
