"""What a file says, and where it says it: values and their lines. Knows no syntax and no shape."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from .errors import ConfigError

Mark = int | str
"""The line of a value, or the argument that it came from instead of a file."""
Lines = Mark | tuple[Mark, "dict[str, Lines] | list[Lines]"]
"""The mark of a value, and those of what it holds. A key's mark is that of its value."""
Keys = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """What a file says, and where it says it."""

    name: str
    value: Any
    lines: Lines

    def mark(self, path: Keys) -> Mark:
        """The line of the value at `path`, or of the nearest thing around it that is there."""
        lines = self.lines
        for part in path:
            inside = _inside(lines, part)
            if inside is None:
                break
            lines = inside
        return mark_of(lines)

    def where(self, path: Keys) -> str:
        """`file:line: key.key[n]`, for the head of a message."""
        mark, key = self.mark(path), dotted(path)
        place = f"{self.name}:{mark}" if isinstance(mark, int) else mark
        return f"{place}: {key}" if key and not place.endswith(f" {key}") else place

    def wrong(self, path: Keys, what: str, fix: str = "") -> ConfigError:
        """The error that says what is wrong with the value at `path`."""
        return ConfigError(what, where=self.where(path), fix=fix)


def put(document: Document, path: tuple[str, ...], value: Any, mark: Mark) -> Document:
    """The document with the value at `path` replaced; `mark` says where the new one comes from.

    Raises ConfigError where the path leads through something that is no mapping.
    """
    values, lines = _put(document.value, document.lines, path, (value, mark))
    return replace(document, value=values, lines=lines)


def _put(values: Any, lines: Lines, path: tuple[str, ...], new: tuple[Any, Mark]) -> tuple[Any, Lines]:
    if not path:
        return new
    if values is None:
        values, lines = {}, mark_of(lines)
    if not isinstance(values, dict):
        raise ConfigError(f"there is no mapping that {shown(path[0])} could stand in", where=str(new[1]))
    marks = lines[1] if isinstance(lines, tuple) and isinstance(lines[1], dict) else {}
    inner, inner_lines = _put(values.get(path[0]), marks.get(path[0], new[1]), path[1:], new)
    return {**values, path[0]: inner}, (mark_of(lines), {**marks, path[0]: inner_lines})


def dotted(path: Keys) -> str:
    """`prompt.axes.verb[2]`: a path as people write it."""
    said = "".join(f"[{part}]" if isinstance(part, int) else f".{shown(part, '')}" for part in path)
    return said.removeprefix(".")


def shown(text: str, quote: str = '"', most: int = 60) -> str:
    """A user's text for a message: on one line, clipped, with control characters escaped."""
    clipped = text if len(text) <= most else text[: most - 1] + "…"
    return quote + "".join(c if c.isprintable() else repr(c)[1:-1] for c in clipped) + quote


def mark_of(lines: Lines) -> Mark:
    """The mark of a value itself."""
    return lines[0] if isinstance(lines, tuple) else lines


def _inside(lines: Lines, part: str | int) -> Lines | None:
    inside = lines[1] if isinstance(lines, tuple) else None
    if isinstance(inside, dict) and isinstance(part, str):
        return inside.get(part)
    if isinstance(inside, list) and isinstance(part, int) and part < len(inside):
        return inside[part]
    return None
