"""`fake`: a provider that answers as a pure function of the request, in process. Knows no network.

For rehearsals and tests: the same question gets the same answer whatever the order, on any machine.
`answer` is what the simulator says too.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from hashlib import blake2b

import anyio
import anyio.lowlevel
import orjson

from storyd.errors import ConfigError, Transient
from storyd.exchange import Completion, Request, Usage
from storyd.settings import ProviderSettings
from storyd.tales import USUAL, asked, quoted, story

SAMPLING = frozenset(
    {
        *("seed", "temperature", "top_p", "top_k", "min_p", "stop"),
        *("repetition_penalty", "frequency_penalty", "presence_penalty"),
    }
)
OPTIONS: Mapping[str, type] = {"latency": float, "invalid": float, "faults": float, "words": int}
"""Mean seconds of an answer; share of invalid answers; share of calls that fail; mean words of a story."""

YIELD_EVERY = 16
REMEMBERED = 65_536

_BEGUN = re.compile(r'\{\s*"story"\s*:\s*"(.*)', re.DOTALL)
"""A prefill that has begun the JSON that is asked for."""

# ── the answer ────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Habits:
    """How it answers: the mean number of words of a story (40 to 600) and the share of invalid answers."""

    words: int = USUAL
    invalid: float = 0.0


PLAIN = Habits()


def answer(request: Request, habits: Habits = PLAIN) -> tuple[str, str]:
    """The text of the answer to a request, and its finish: stop or length."""
    prompt = asked(request)
    said = quoted(prompt)
    tell = _teller(request.id, habits.invalid)
    if "JSON" not in prompt or "story" not in prompt:
        text, finish = tell(request, habits.words, said)
        text = text if text.startswith(request.prefill) else request.prefill + text
        return _cut(text, finish, request.max_tokens)
    said.pop("story", None)
    begun = _BEGUN.fullmatch(request.prefill)
    inside = begun[1] if begun else ""
    text, finish = tell(replace(request, prefill=inside), habits.words, said)
    quoting = orjson.dumps(text[len(inside) :]).decode()[1:] + "}"
    head = request.prefill if begun else '{"story": "'
    return _cut(head + quoting, finish, request.max_tokens)


def usage(request: Request, text: str) -> Usage:
    """Tokens of an exchange, estimated from its words."""
    words = sum([text.count(" ") + 1 for _, text in request.messages])
    return Usage(words * 27 // 20, (text.count(" ") + 1) * 27 // 20 if text else 0)


def share(*key: object) -> float:
    """A number in [0, 1) that follows from the key: less than p for a share p of all keys."""
    return int.from_bytes(blake2b("/".join(map(str, key)).encode(), digest_size=7).digest()) / 2**56


def _cut(text: str, finish: str, max_tokens: int) -> tuple[str, str]:
    most = int(max_tokens / 1.4)
    if len(text.split()) <= most:
        return text, finish
    return "".join(re.findall(r"\s*\S+", text)[:most]), "length"


# ── tellers: how a story is told, or is not ───────────────────────────────────────────────────────────

_Teller = Callable[[Request, int, Mapping[str, str]], tuple[str, str]]


def _whole(request: Request, words: int, said: Mapping[str, str]) -> tuple[str, str]:
    return story(request, words, said), "stop"


def _short(request: Request, words: int, said: Mapping[str, str]) -> tuple[str, str]:
    return "There was a small house. The end.", "stop"


def _broken_off(request: Request, words: int, said: Mapping[str, str]) -> tuple[str, str]:
    text = story(request, words, said)
    return text[: len(text) * 3 // 5].rsplit(None, 1)[0].rstrip('.!?"”'), "length"


def _wordless(request: Request, words: int, said: Mapping[str, str]) -> tuple[str, str]:
    text = story(request, words, {})
    holds = all(word.casefold() in text.casefold() for word in said)
    return _short(request, words, said) if holds else (text, "stop")


def _empty(request: Request, words: int, said: Mapping[str, str]) -> tuple[str, str]:
    return "", "stop"


def _refusal(request: Request, words: int, said: Mapping[str, str]) -> tuple[str, str]:
    return "I'm sorry, but I can't write that story.", "stop"


_INVALID: tuple[_Teller, ...] = (_short, _broken_off, _wordless, _empty, _refusal)


def _teller(key: str, invalid: float) -> _Teller:
    """How the question of this id is answered; the five invalid ways are equally frequent."""
    luck = share("invalid", key) if invalid else 1.0
    return _INVALID[int(luck / invalid * len(_INVALID))] if luck < invalid else _whole


# ── the provider ──────────────────────────────────────────────────────────────────────────────────


class Fake:
    """Answers at once, or after about `latency` seconds; fails for a share of the calls."""

    def __init__(self, habits: Habits = PLAIN, latency: float = 0.0, faults: float = 0.0) -> None:
        self._habits, self._latency, self._faults = habits, latency, faults
        self._failed: dict[str, int] = {}
        self._calls = 0

    async def complete(self, request: Request) -> Completion:
        """The answer. Raises Transient by chance; the same question asked again has another chance."""
        seconds = await self._wait(request)
        if self._faults:
            self._fail(request.id)
        text, finish = answer(request, self._habits)
        return Completion(text, finish, usage(request, text), request.model, seconds)

    async def _wait(self, request: Request) -> float:
        self._calls += 1
        if self._latency:
            seconds = self._latency * (0.5 + share("latency", request.id))
            await anyio.sleep(seconds)
            return seconds
        if self._calls % YIELD_EVERY == 0:
            # without it a hand would never give way: no other hand, no display and no cancellation had a turn
            await anyio.lowlevel.checkpoint()
        return 0.0

    def _fail(self, key: str) -> None:
        """Raise Transient by chance of the id and of its faults so far; forget them once it gets through."""
        times = self._failed.pop(key, 0)
        if share("fault", times, key) >= self._faults:
            return
        self._failed[key] = times + 1
        if len(self._failed) > REMEMBERED:
            del self._failed[next(iter(self._failed))]
        raise Transient("a fault was asked for")


@asynccontextmanager
async def connect(settings: ProviderSettings) -> AsyncIterator[Fake]:
    """The provider that `settings.options` describe. Raises ConfigError where one is out of range."""
    options = settings.options
    latency, words = float(options.get("latency", 0)), int(options.get("words", USUAL))
    shares = {name: float(options.get(name, 0)) for name in ("invalid", "faults")}
    for name, value in shares.items():
        if not 0 <= value <= 1:
            raise ConfigError(f"{name}: {value:g} is no share", where=settings.name, fix="from 0 to 1")
    if not 40 <= words <= 600:
        raise ConfigError(f"words: {words} is out of range", where=settings.name, fix="from 40 to 600")
    if not 0 <= latency < float("inf"):
        raise ConfigError(f"latency: {latency:g} is no time", where=settings.name, fix="seconds, from 0")
    yield Fake(Habits(words, shares["invalid"]), latency, shares["faults"])
