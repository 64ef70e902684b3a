"""Record ↔ one JSON line: one accepted story and where it came from. Knows nothing of files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from .exchange import Usage
from .space import Trait


class Record(NamedTuple):
    """One accepted story. `nth` is the number of its question; `attempts` counts the answers that it took
    since the index was last (re)opened, this one included.

    `part` numbers the records of one answer; its usage, usd and seconds stand in part 0 alone, so that
    sums over records are right.
    """

    job: str
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody asks of a record
    nth: int
    story: str
    words: int
    traits: Mapping[str, Trait]
    provider: str
    model: str
    attempts: int
    finish: str
    usage: Usage
    usd: float | None
    seconds: float
    created: str
    part: int = 0
    parts: int = 1

    @property
    def id(self) -> str:
        """`<job>/<index>`, or `<job>/<index>.<part>` where an answer made several."""
        return f"{self.job}/{self.index}" if self.parts == 1 else f"{self.job}/{self.index}.{self.part}"


def to_line(record: Record) -> bytes:
    """The line of a record, newline included."""
    body: dict[str, Any] = {"id": record.id, "index": record.index, "nth": record.nth}
    if record.parts > 1:
        body |= {"part": record.part, "parts": record.parts}
    body |= {
        "story": record.story,
        "words": record.words,
        "traits": dict(record.traits),
        "provider": record.provider,
        "model": record.model,
        "attempts": record.attempts,
        "finish": record.finish,
        "usage": usage_body(record.usage),
        "usd": record.usd,
        "seconds": record.seconds,
        "created": record.created,
    }
    return orjson.dumps(body, option=orjson.OPT_APPEND_NEWLINE)


def from_line(line: bytes) -> Record:
    """The record of a line. Raises ValueError where it is none."""
    try:
        body = orjson.loads(line)
        return Record(
            body["id"].partition("/")[0],
            body["index"],
            body["nth"],
            body["story"],
            body["words"],
            {name: said if isinstance(said, str) else tuple(said) for name, said in body["traits"].items()},
            body["provider"],
            body["model"],
            body["attempts"],
            body["finish"],
            usage_from(body["usage"]),
            body["usd"],
            body["seconds"],
            body["created"],
            body.get("part", 0),
            body.get("parts", 1),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a record: {error!r}") from error


def usage_body(usage: Usage) -> dict[str, int]:
    """Usage as JSON: input and output always, the rest where there is any."""
    body = {"input": usage.input, "output": usage.output}
    if usage.cached:
        body["cached"] = usage.cached
    if usage.cache_write:
        body["cache_write"] = usage.cache_write
    if usage.reasoning:
        body["reasoning"] = usage.reasoning
    return body


def usage_from(body: Mapping[str, int]) -> Usage:
    """The inverse of `usage_body`."""
    return Usage(**body)


def facts(body: Mapping[str, Any]) -> bytes:
    """What makes a record the same record, as bytes; `body` is a parsed story line.

    (index, part, story, traits, attempts, finish): time, money and provider are not in it.
    """
    said = [
        body["index"],
        body.get("part", 0),
        body["story"],
        body["traits"],
        body["attempts"],
        body["finish"],
    ]
    return orjson.dumps(said, option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)
