"""YAML 1.2 → plain values, and the line of every one of them. Knows nothing of jobs.

PyYAML means YAML 1.1, where `no` is false. So only its parser is used (libyaml's where there is one), and
what a plain scalar means is decided here, by the core schema of 1.2. Aliases, anchors and tags are refused: a
file says what it says where it says it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

import yaml

from .document import Document, Lines, Mark, mark_of, shown
from .errors import ConfigError

LARGEST = 4 << 20
"""Bytes of a file that is read whole."""
DEEPEST = 64
NUMBER_BOUND = 2**63

Event = Any
"""One of yaml's events; the fields of its base class do not tell what there is."""

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_ALIEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ufffe\uffff]")
_PAIR = re.compile(r"(?<!\\)((?:\\\\)*)\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})")
_BREAK = re.compile(r"\r\n|\r|\n")
_CONSTANTS = {"": None, "~": None, "null": None, "Null": None, "NULL": None} | {
    said: said.lower() == "true" for said in ("true", "True", "TRUE", "false", "False", "FALSE")
}
_INTEGER = re.compile(r"[-+]?[0-9]+(?:_[0-9]+)*|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:_[0-9]+)*(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")


def read(data: bytes, name: str) -> Document:
    """The one document in `data`; `name` stands in messages. Raises ConfigError with the line."""
    if len(data) > LARGEST:
        raise ConfigError(
            f"larger than {LARGEST >> 20} MB", where=name, fix="put long lists into files of their own"
        )
    text = decode(data, name)
    if name.endswith(".json"):
        # JSON writes characters beyond U+FFFF as two escapes, and indents with tabs
        text = _PAIR.sub(_joined, text).replace("\t", " ")
    try:
        return Document(name, *_document(iter(yaml.parse(text, Loader=_LOADER))))
    except yaml.MarkedYAMLError as error:
        raise _syntax(error, text, name) from None
    except yaml.YAMLError as error:
        raise ConfigError(f"not YAML: {shown(str(error))}", where=name) from None
    except _Refusal as refusal:
        raise ConfigError(refusal.what, where=f"{name}:{refusal.line}", fix=refusal.fix) from None


def decode(data: bytes, name: str) -> str:
    """Text in UTF-8, without a BOM. Raises ConfigError for anything else, and for control characters."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = len(_BREAK.findall(data[: error.start].decode("utf-8", "replace"))) + 1
        raise ConfigError("not UTF-8", where=f"{name}:{line}", fix="save the file as UTF-8") from None
    alien = _ALIEN.search(text)
    if alien:
        line = len(_BREAK.findall(text, 0, alien.start())) + 1
        code = f"U+{ord(alien.group()):04X}"
        raise ConfigError(f"the character {code} may not stand here", where=f"{name}:{line}", fix="remove it")
    return text


def scalar(text: str) -> Any:
    """What a plain scalar means in YAML 1.2. Raises ValueError for a number that nothing can hold."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if text[0] not in "+-.0123456789":
        return text
    if _INTEGER.fullmatch(text):
        number = int(text, 0 if text[:2] in ("0o", "0x") else 10) if len(text) < 100 else NUMBER_BOUND
        if not -NUMBER_BOUND < number < NUMBER_BOUND:
            raise ValueError("a number of more than 63 bits")
        return number
    if _NOT_FINITE.fullmatch(text) or (_FLOAT.fullmatch(text) and math.isinf(float(text))):
        raise ValueError("a number that is not finite")
    return float(text) if _FLOAT.fullmatch(text) else text


# ── events → values ───────────────────────────────────────────────────────────────────────────────


class _Refusal(Exception):
    def __init__(self, event: Event, what: str, fix: str = "") -> None:
        super().__init__(what)
        self.line, self.what, self.fix = event.start_mark.line + 1, what, fix


def _document(events: Iterator[Event]) -> tuple[Any, Lines]:
    next(events)
    if isinstance(start := next(events), yaml.StreamEndEvent):
        raise _Refusal(start, "the file is empty")
    said = _value(events, next(events), 1)
    next(events)
    if not isinstance(more := next(events), yaml.StreamEndEvent):
        raise _Refusal(more, "a second document begins here", "one file holds one")
    return said


def _value(events: Iterator[Event], event: Event, depth: int) -> tuple[Any, Lines]:
    line = event.start_mark.line + 1
    _refuse(event, depth)
    if isinstance(event, yaml.ScalarEvent):
        return _said(event), line
    if isinstance(event, yaml.MappingStartEvent):
        mapping, marks = _mapping(events, depth)
        return mapping, (line, marks)
    values: list[Any] = []
    lines: list[Lines] = []
    while not isinstance(event := next(events), yaml.SequenceEndEvent):
        value, inner = _value(events, event, depth + 1)
        values.append(value)
        lines.append(inner)
    return values, (line, lines)


def _mapping(events: Iterator[Event], depth: int) -> tuple[dict[str, Any], dict[str, Lines]]:
    values: dict[str, Any] = {}
    lines: dict[str, Lines] = {}
    while not isinstance(event := next(events), yaml.MappingEndEvent):
        key, line = _key(event), event.start_mark.line + 1
        if key in values:
            raise _Refusal(event, f"{shown(key)} is given twice", f"first on line {mark_of(lines[key])}")
        values[key], inner = _value(events, next(events), depth + 1)
        lines[key] = _moved(inner, line)
    return values, lines


def _key(event: Event) -> str:
    _refuse(event, 0)
    if not isinstance(event, yaml.ScalarEvent):
        raise _Refusal(event, "a key must be text", "quote braces and brackets that are meant as text")
    _said(event)
    return str(event.value)


def _said(event: Event) -> Any:
    if event.style:
        if "\0" in event.value or not _encodable(event.value):
            raise _Refusal(event, "an escaped character that no text may hold", "remove it")
        return event.value
    try:
        return scalar(event.value)
    except ValueError as error:
        raise _Refusal(event, str(error), "quote it if it is meant as text") from None


def _encodable(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _refuse(event: Event, depth: int) -> None:
    if isinstance(event, yaml.AliasEvent):
        raise _Refusal(
            event, f"aliases (*{shown(event.anchor or '', '')}) are off", "write the value out, or quote it"
        )
    if event.anchor is not None:
        raise _Refusal(event, f"anchors (&{shown(event.anchor, '')}) are off", "remove it, or quote it")
    if event.tag is not None:
        raise _Refusal(event, f"tags ({shown(event.tag, '')}) are off", "remove it, or quote it")
    if depth > DEEPEST:
        raise _Refusal(event, f"nested deeper than {DEEPEST} levels")


def _syntax(error: yaml.MarkedYAMLError, text: str, name: str) -> ConfigError:
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark else 1
    lines = _BREAK.split(text)
    if line <= len(lines) and lines[line - 1].lstrip(" ").startswith("\t"):
        return ConfigError("a tab where YAML wants spaces", where=f"{name}:{line}", fix="indent with spaces")
    what = " ".join(filter(None, (error.problem, error.context)))
    return ConfigError(f"not YAML: {shown(what, '', 120)}", where=f"{name}:{line}")


def _joined(found: re.Match[str]) -> str:
    high, low = int(found.group(2), 16), int(found.group(3), 16)
    return f"{found.group(1)}\\U{0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00):08x}"


def _moved(lines: Lines, mark: Mark) -> Lines:
    return (mark, lines[1]) if isinstance(lines, tuple) else mark
