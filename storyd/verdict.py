"""Judging a completion: extract the stories, clean them, let every check have its say.

Knows answers; knows nothing of retries, records and files.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from .answer import Answer
from .checks import finished
from .exchange import Completion
from .space import Prompt

Extract = Callable[[str], tuple[str, ...]]
"""The stories in an answer's text. Raises ValueError, with the reason, where there is none."""
Cleaner = Callable[[str], str]
Check = Callable[[Prompt, Answer], str | None]

REASON = 200
"""The longest reason, in characters."""
REASONS = 20
"""The most reasons of one verdict: an answer of many stories may fail in many ways."""

_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]+")


class Verdict(NamedTuple):
    """The stories of an answer or, where there are none, why: `check: reason` or `answer: reason`.

    `words` counts those of each story.
    """

    stories: tuple[str, ...] = ()
    why: tuple[str, ...] = ()
    words: tuple[int, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether there is a story to keep."""
        return bool(self.stories)


@dataclass(frozen=True, slots=True)
class Several:
    """An Extract of many stories, of which at least `least` must be valid; the others are dropped."""

    find: Extract
    least: int = 1

    def __call__(self, answer: str) -> tuple[str, ...]:
        """The stories in an answer. Raises ValueError where they are too few."""
        found = self.find(answer)
        if len(found) < self.least:
            raise ValueError(f"{len(found)} stories, want at least {self.least}")
        return found


def judge(
    extract: Extract,
    clean: Sequence[Cleaner],
    checks: Sequence[tuple[str, Check]],
    prompt: Prompt,
    completion: Completion,
) -> Verdict:
    """What a completion is worth: every check has its say about every story of it."""
    try:
        found = _found(extract, completion)
    except ValueError as why:
        return _invalid([f"answer: {why}"])
    valid: list[Answer] = []
    faults: list[str] = []
    for answer in _answers(found, clean, completion.finish):
        if said := _said(checks, prompt, answer):
            faults += said
        else:
            valid.append(answer)
    if len(valid) >= (extract.least if isinstance(extract, Several) else len(found)):
        return Verdict(tuple([one.text for one in valid]), words=tuple([len(one.words) for one in valid]))
    count = [f"answer: {len(valid)} of {len(found)} stories are valid"] if len(found) > 1 else []
    return _invalid([*count, *faults])


def _found(extract: Extract, completion: Completion) -> tuple[str, ...]:
    if completion.finish == "oversize":
        raise ValueError("larger than the bound")
    if not completion.text.strip():
        return ("",)
    found = extract(completion.text)
    try:
        "".join(found).encode()
    except UnicodeEncodeError:
        raise ValueError("holds half a character (a surrogate without its other half)") from None
    return found


def _answers(found: Sequence[str], clean: Sequence[Cleaner], finish: str) -> Iterator[Answer]:
    """The stories as the checks see them: only the last one can have been cut off."""
    for left, text in zip(range(len(found) - 1, -1, -1), found, strict=True):
        for step in clean:
            text = step(text)
        yield Answer(text.strip(), "stop" if left else finish)


def _said(checks: Sequence[tuple[str, Check]], prompt: Prompt, answer: Answer) -> list[str]:
    if not answer.text:
        cause = finished(prompt, answer)
        return [f"answer: empty ({cause})" if cause else "answer: empty"]
    return [f"{name}: {reason}" for name, check in checks if (reason := check(prompt, answer))]


def _invalid(why: Iterable[str]) -> Verdict:
    tidy = (_UNSEEN.sub(" ", reason).strip() for reason in why)
    short = (one if len(one) <= REASON else one[: REASON - 1] + "…" for one in tidy)
    return Verdict(why=tuple(dict.fromkeys(short))[:REASONS])


# ── where the stories are in an answer ────────────────────────────────────────────────────────────


def text(answer: str) -> tuple[str, ...]:
    """The whole answer is the story."""
    return (answer,)


def json_field(name: str) -> Extract:
    """The story is a field of a JSON object, whatever stands around it; raw line breaks in it are fine."""

    def extract(answer: str) -> tuple[str, ...]:
        found = _object(answer, name)[name]
        if not isinstance(found, str):
            raise ValueError(f'"{name}" holds {json.dumps(found)[:40]}, want text')
        return (found,)

    return extract


_TRIES = 8
_JSON = json.JSONDecoder(strict=False)


def _object(answer: str, name: str) -> dict[str, Any]:
    """The first object with this field among the first few that the answer may hold."""
    end = 0
    problems: list[str] = []
    while len(problems) < _TRIES and (at := answer.find("{", end)) >= 0:
        try:
            found, end = _JSON.raw_decode(answer, at)
        except (ValueError, RecursionError) as why:
            problems.append(_unreadable(why, answer))
            end = at + 1
        else:
            if name in found:
                return dict(found)
            problems.append(f'no "{name}" in the JSON object, only {", ".join(found) or "nothing"}')
    raise ValueError(problems[0] if problems else "no JSON object")


def _unreadable(why: Exception, answer: str) -> str:
    if not isinstance(why, json.JSONDecodeError):
        return "the JSON is nested too deep" if isinstance(why, RecursionError) else f"the JSON: {why}"
    if why.msg.startswith("Unterminated string") or why.pos >= len(answer.rstrip()):
        return "the JSON is cut off before its end"
    return f'the JSON breaks off with "{why.msg}" before "{answer[why.pos : why.pos + 20]}"'


_RECORD = {
    "numbered": re.compile(r"[\s>*_]*\d{1,6}\s?[.):-](?:\*\*|__)?\s+(.+)"),
    "bulleted": re.compile(r"[\s>]*[-*•–+]\s+(.+)"),
    "lines": re.compile(r"\s*(.+)"),
}


def listed(style: str = "numbered", min: int = 1) -> Extract:
    """One story a line: a list that is "numbered" or "bulleted", or all "lines"; equal ones count once."""
    if style not in _RECORD:
        raise ValueError(f'no style of a list: "{style}" (one of {", ".join(_RECORD)})')

    def find(answer: str) -> tuple[str, ...]:
        lines = (_RECORD[style].fullmatch(line.rstrip()) for line in answer.splitlines())
        first: dict[str, str] = {}
        for one in [line.group(1) for line in lines if line]:
            first.setdefault(one.casefold(), one)
        return tuple(first.values())

    return Several(find, _at_least(min))


def split(on: str, min: int = 1) -> Extract:
    """Several stories with a marker between or after them."""
    if not on.strip():
        raise ValueError("the marker to split at is empty")
    return Several(
        lambda answer: tuple(one for piece in answer.split(on) if (one := piece.strip())), _at_least(min)
    )


def _at_least(count: int) -> int:
    if count < 1:
        raise ValueError(f"min: {count} is less than 1")
    return count
