"""What the annotations of a shape may say. Knows no file, and checks nothing by itself.

A shape is a frozen dataclass that stands for a mapping in a file. Its annotations are types and not text, so
that they can be read without evaluating them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from functools import cache
from typing import Any, NamedTuple, TypeVar, dataclass_transform

from .document import shown

T = TypeVar("T")


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def shape(cls: type[T]) -> type[T]:
    """Make a class a shape. Shapes are neither compared nor printed, which halves the time to define them."""
    return dataclass(frozen=True, kw_only=True, eq=False, repr=False)(cls)


class Entry(NamedTuple):
    """A key of a mapping: the type of its value, and whether it must be there."""

    form: Any
    required: bool


# ── what an annotation may say besides the type ───────────────────────────────────────────────────

REST = object()
"""Marks the field that takes the keys which no other field names."""


@dataclass(frozen=True)
class Within:
    """Bounds of a number: `least` and `most` are inside, `above` is not."""

    least: float | None = None
    most: float | None = None
    above: float | None = None

    def fault(self, value: float) -> str:
        """What is wrong with a value; empty where nothing is."""
        if self.above is not None and value <= self.above:
            return f"must be more than {self.above}"
        if self.least is not None and value < self.least:
            return f"must be at least {self.least}"
        return f"must be at most {self.most}" if self.most is not None and value > self.most else ""


@dataclass(frozen=True)
class Like:
    """A regular expression that the whole text must match."""

    pattern: str

    def fault(self, value: str) -> str:
        """What is wrong with a value; empty where nothing is."""
        return "" if re.fullmatch(self.pattern, value) else f"{shown(value)} does not match {self.pattern}"


@dataclass(frozen=True)
class Sized:
    """How many characters or entries there may be."""

    least: int = 0
    most: int | None = None

    def fault(self, value: Sequence[object] | Mapping[str, object]) -> str:
        """What is wrong with a value; empty where nothing is."""
        if len(value) < self.least:
            return "must not be empty" if self.least == 1 else f"needs {self.least} entries"
        return f"takes at most {self.most}" if self.most is not None and len(value) > self.most else ""


@cache
def entries_of(shape: Any) -> dict[str, Entry]:
    """The keys of a shape; a field's last underscore only keeps it from being a word of Python."""
    return {
        field.name.rstrip("_"): Entry(field.type, field.default is field.default_factory is MISSING)
        for field in fields(shape)
        if not is_rest(field.type)
    }


def is_rest(form: Any) -> bool:
    """Whether this is the type of the field that takes all other keys."""
    return REST in getattr(form, "__metadata__", ())


def plain(value: Any) -> Any:
    """A shape as the mapping that it was made of, with defaults; None where nothing was said is left out."""
    if not is_dataclass(value):
        return {key: plain(one) for key, one in value.items()} if isinstance(value, dict) else value
    said = [(field, getattr(value, field.name)) for field in fields(value)]
    found = {field.name.rstrip("_"): plain(one) for field, one in said if one is not None}
    rest = next((field.name for field, _ in said if is_rest(field.type)), "")
    return found | found.pop(rest, {})
