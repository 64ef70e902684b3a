"""Files of words, prompts and conversations → values. Knows nothing of job files.

Every message names the file and, where there is one, the line.
"""

from __future__ import annotations

import os
import unicodedata
import weakref
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from .document import Document, Keys, shown
from .errors import ConfigError, Damaged
from .examples import Conversation
from .fitting import checked, literal, nearest
from .jobfile import Message
from .yaml12 import decode, read

WORDS_BOUND = 64 << 20
"""Bytes of a word list."""
LINE_BOUND = 1 << 20
"""Bytes of a line of prompts."""
VALUE_BOUND = 64 << 10
"""Characters of a value of an axis."""

Row = Mapping[str, str]


def named(path: Path) -> str:
    """A path for a message, on one line."""
    return shown(str(path), "", 500)


def content(path: Path, most: int) -> bytes:
    """A file of at most `most` bytes. Raises ConfigError."""
    try:
        with _opened(path) as file:
            data = file.read(most + 1)
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", where=named(path)) from None
    if len(data) > most:
        raise ConfigError(f"larger than {most >> 20} MB", where=named(path))
    return data


def _opened(path: Path) -> BinaryIO:
    # a pipe or a device would be waited on for ever, or never end
    if path.exists() and not path.is_file():
        raise ConfigError("is no file", where=named(path))
    return path.open("rb", buffering=0)


# ── word lists ────────────────────────────────────────────────────────────────────────────────────


def words(path: Path, key: str | None = None) -> list[str]:
    """The values in a file, in its order: one a line, `#` begins a comment line; or a list in JSON or YAML.

    Raises ConfigError.
    """
    data = content(path, WORDS_BOUND)
    if path.suffix in (".json", ".yaml", ".yml"):
        return _listed(read(data, named(path)), key)
    if key is not None:
        raise ConfigError("`key` is for .json and .yaml files", where=named(path), fix="remove it")
    text = decode(data, named(path))
    lines = (line.strip() for line in text.replace("\r\n", "\n").split("\n"))
    return [line for line in lines if line and not line.startswith("#")]


def tidy(value: str) -> str:
    """A value as it is used and compared: stripped, in NFC."""
    return unicodedata.normalize("NFC", value.strip())


def _listed(document: Document, key: str | None) -> list[str]:
    at: Keys = ()
    values = document.value
    if isinstance(values, dict):
        if key is None:
            fix = f"add one of: {', '.join(shown(name, '') for name in [*values][:8])}"
            raise document.wrong((), "holds several lists, and no `key` says which", fix)
        if key not in values:
            raise document.wrong((), f"has no key {shown(key)}", nearest(key, values))
        at, values = (key,), values[key]
    if not isinstance(values, list):
        raise document.wrong(at, f"expected a list, not {literal(values)}")
    for number, value in enumerate(values):
        if not isinstance(value, str):
            fix = "quote it" if not isinstance(value, list | dict) else ""
            raise document.wrong((*at, number), f"{literal(value)} is not text", fix)
    return values


# ── rows ──────────────────────────────────────────────────────────────────────────────────────────


class Table(Sequence[Row]):
    """The lines of a JSONL file as rows, read when they are asked for: 12 bytes a line in memory.

    `row` makes a row of a line, and raises ValueError with the reason. Every line is looked at once, at the
    beginning: raises ConfigError. `digest` is the sha256 of the rows.
    """

    def __init__(self, path: Path, row: Callable[[bytes], Row]) -> None:
        self._path, self._row = path, row
        self._starts, self._sizes = array("Q"), array("I")
        hashed = sha256()
        try:
            self._file = _opened(path)
            weakref.finalize(self, self._file.close)
            for number, start, line in _lines(path):
                hashed.update(orjson.dumps(self._checked(number, line), option=orjson.OPT_SORT_KEYS))
                self._starts.append(start)
                self._sizes.append(len(line))
        except OSError as error:
            raise ConfigError(f"cannot be read: {error.strerror}", where=named(path)) from None
        self.digest = hashed.hexdigest()

    def _checked(self, number: int, line: bytes) -> Row:
        try:
            return self._row(line)
        except ValueError as error:
            raise ConfigError(str(error), where=f"{named(self._path)}:{number}") from None

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, at: int) -> Row:  # type: ignore[override]
        """Row `at`. Raises Damaged where the file is no longer what it was."""
        line = os.pread(self._file.fileno(), self._sizes[at], self._starts[at])
        try:
            return self._row(line)
        except ValueError as error:
            raise Damaged(f"changed while it was in use: {error}", where=named(self._path)) from None


def fields(names: Iterable[str]) -> Callable[[bytes], Row]:
    """What makes a row of a line: these fields of its object, which must be text."""
    wanted = tuple(names)

    def row(line: bytes) -> Row:
        body = parsed(line)
        for name in wanted:
            if name not in body:
                near = nearest(name, body)
                raise ValueError(f"no field {shown(name)}" + (f" ({near})" if near else ""))
            if not isinstance(body[name], str):
                raise ValueError(f"{shown(name)} holds {literal(body[name])}, not text")
        return {name: body[name] for name in wanted}

    return row


def parsed(line: bytes) -> dict[str, Any]:
    """The object of a line. Raises ValueError."""
    try:
        body = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg}") from None
    if not isinstance(body, dict):
        raise ValueError(f"expected one JSON object a line, not {literal(body)}")
    return body


def _lines(path: Path) -> Iterator[tuple[int, int, bytes]]:
    """(number, offset, line) of the lines that are not blank."""
    start = 0
    with path.open("rb") as file:
        if file.read(3) == b"\xef\xbb\xbf":
            start = 3
        file.seek(start)
        number = 0
        while line := file.readline(LINE_BOUND + 1):
            number += 1
            if len(line) > LINE_BOUND:
                raise ConfigError(
                    f"a line of more than {LINE_BOUND >> 20} MB", where=f"{named(path)}:{number}"
                )
            if not line.isspace():
                yield number, start, line
            start += len(line)


# ── conversations ─────────────────────────────────────────────────────────────────────────────────


def conversations(path: Path) -> list[Conversation]:
    """The conversations in a JSON or YAML file: a list of lists of {role, content}. Raises ConfigError."""
    document = read(content(path, WORDS_BOUND), named(path))
    if not isinstance(document.value, list):
        raise document.wrong((), f"expected a list of conversations, not {literal(document.value)}")
    if not document.value:
        raise document.wrong((), "holds no conversations")
    return [_conversation(document, number) for number in range(len(document.value))]


def _conversation(document: Document, number: int) -> Conversation:
    said = document.value[number]
    if not isinstance(said, list):
        raise document.wrong((number,), f"expected a list of messages, not {literal(said)}")
    messages = [checked(Message, document, (number, at)) for at in range(len(said))]
    turns = [message.role for message in messages]
    if not turns or turns != ["user", "assistant"] * (len(turns) // 2):
        raise document.wrong((number,), "user and assistant must take turns, and the assistant ends")
    return tuple((message.role, message.content) for message in messages)
