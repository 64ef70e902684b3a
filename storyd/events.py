"""Events: facts about an index, each at once the decision, the log line, the statistic and the resume state.

An `Accepted` is its records' lines in the story shard; every other event is one line of its event file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from .exchange import NO_USAGE, Usage
from .record import Record, usage_body, usage_from


class Paid(NamedTuple):
    """An answer that did not become a story: what it said, how it ended and what it cost."""

    text: str
    finish: str
    model: str
    usage: Usage
    usd: float | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Accepted:
    """The answer was valid: these are its stories (at least one)."""

    index: int
    records: tuple[Record, ...]


@dataclass(frozen=True, slots=True)
class Invalid:
    """Answer `nth` was well-formed and not valid; the index is asked again."""

    index: int
    nth: int
    why: tuple[str, ...]
    answer: Paid
    at: str


@dataclass(frozen=True, slots=True)
class Fault:
    """Question `nth` got no answer; it is repeated after `wait` seconds.

    `own` marks a fault of this index's own. `put_off` sends the index to the end of the frontier.
    """

    index: int
    nth: int
    why: str
    own: bool
    wait: float
    at: str
    put_off: bool = False


@dataclass(frozen=True, slots=True)
class Abandoned:
    """The index is given up, with why; `answer` is the last one where an answer was the reason."""

    index: int
    nth: int
    why: tuple[str, ...]
    at: str
    answer: Paid | None = None


@dataclass(frozen=True, slots=True)
class Reopened:
    """All that was decided about the index is void; its next question is number `nth`.

    `usage`, `usd` and `answers` carry over what was spent on it where its earlier events were set aside.
    """

    index: int
    nth: int
    because: str
    at: str
    answers: int = 0
    usage: Usage = NO_USAGE
    usd: float | None = None


Event = Accepted | Invalid | Fault | Abandoned | Reopened
Logged = Invalid | Fault | Abandoned | Reopened
Final = Accepted | Abandoned


def to_line(event: Logged) -> bytes:
    """The line of an event, newline included."""
    body: dict[str, Any] = {"event": type(event).__name__.lower()}
    for name in event.__slots__:
        value = getattr(event, name)
        if isinstance(value, Usage):
            value = usage_body(value)
        elif isinstance(value, Paid):
            value = _paid_body(value)
        body[name] = value
    return orjson.dumps(body, option=orjson.OPT_APPEND_NEWLINE)


def from_line(line: bytes) -> Logged:
    """The event of a line. Raises ValueError where it is none."""
    try:
        body = orjson.loads(line)
        kind = _KINDS[body.pop("event")]
        if "usage" in body:
            body["usage"] = usage_from(body["usage"])
        if body.get("answer"):
            body["answer"] = Paid(**body["answer"] | {"usage": usage_from(body["answer"]["usage"])})
        if isinstance(body.get("why"), list):
            body["why"] = tuple(body["why"])
        event: Logged = kind(**body)
        return event
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not an event: {error!r}") from error


_KINDS: dict[str, Any] = {kind.__name__.lower(): kind for kind in (Invalid, Fault, Abandoned, Reopened)}


def _paid_body(answer: Paid) -> dict[str, Any]:
    return {
        "text": answer.text,
        "finish": answer.finish,
        "model": answer.model,
        "usage": usage_body(answer.usage),
        "usd": answer.usd,
        "seconds": answer.seconds,
    }
