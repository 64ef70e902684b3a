"""Checking what a file says against its shape: the first fault, on one line. Knows no file's shape.

Done here and not by pydantic, whose import alone takes 0.15 s of the second in which a resumed job must ask
again. Messages name the place, the line and the nearest known key, and never a value that stands under `key`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin

from .document import Document, Keys, shown
from .shape import Entry, Like, Sized, Within, entries_of, is_rest

T = TypeVar("T")
FEW = 6
"""So many known keys are told where an unknown one is near to none."""


class Fault(NamedTuple):
    """What is wrong with the value at a place, and how to mend it."""

    at: Keys
    what: str
    fix: str = ""


def checked(shape: type[T], document: Document, at: Keys = ()) -> T:
    """What stands in the document at `at`, as a `shape`.

    Raises ConfigError: the first fault in the file, and how many more there are.
    """
    value = document.value
    for part in at:
        value = value[part]
    faults: list[Fault] = []
    made: T = _fit(shape, value, at, faults)
    _refuse(faults, document)
    return made


def fitted(entries: Mapping[str, Entry], value: Any, document: Document, at: Keys) -> dict[str, Any]:
    """A mapping with these entries; messages say that it stands at `at`. Raises ConfigError."""
    faults: list[Fault] = []
    made = _entries(entries, value, at, faults)
    _refuse(faults, document)
    return made


def nearest(name: str, known: Iterable[str]) -> str:
    """`did you mean "…"?`, or nothing where no known name is near."""
    near = difflib.get_close_matches(name[:100], [*known], 1)
    return f"did you mean {shown(near[0])}?" if near else ""


def literal(value: Any) -> str:
    """A value for a message."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case str():
            return shown(value)
        case int() | float():
            return str(value)
        case _:
            return _kind(value)


def _refuse(faults: Sequence[Fault], document: Document) -> None:
    if not faults:
        return

    def line(fault: Fault) -> int:
        mark = document.mark(fault.at)
        return mark if isinstance(mark, int) else 0

    first = min(faults, key=line)
    more = f"and {len(faults) - 1} more" if len(faults) > 1 else ""
    raise document.wrong(first.at, first.what, "; ".join(filter(None, (first.fix, more))))


# ── one form of type after the other ──────────────────────────────────────────────────────────────

_SCALARS: Mapping[Any, str] = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


def _fit(form: Any, value: Any, at: Keys, faults: list[Fault]) -> Any:
    """The value as this type; what hinders it goes to `faults`."""
    origin = get_origin(form)
    if form is Any or (form is NoneType and value is None):
        return value
    if origin is Annotated:
        return _annotated(form, value, at, faults)
    if origin in (Union, UnionType):
        return _union(get_args(form), value, at, faults)
    if origin is Literal:
        return _option(get_args(form), value, at, faults)
    if form in _SCALARS:
        return _scalar(form, value, at, faults)
    return _collection(form, value, at, faults)


def _annotated(form: Any, value: Any, at: Keys, faults: list[Fault]) -> Any:
    base, *notes = get_args(form)
    before = len(faults)
    made = _fit(base, value, at, faults)
    if len(faults) == before and made is not None:
        said = [note.fault(made) for note in notes if isinstance(note, Within | Like | Sized)]
        faults += [Fault(at, what) for what in said if what]
    return made


def _union(members: Sequence[Any], value: Any, at: Keys, faults: list[Fault]) -> Any:
    kind = _kind(value)
    for member in members:
        if _kind_of(member) == kind:
            return _fit(member, value, at, faults)
    others = [member for member in members if member is not NoneType]
    if len(others) == 1:
        return _fit(others[0], value, at, faults)
    expected = " or ".join(map(_kind_of, others))
    faults.append(Fault(at, f"expected {expected}, not {_said(value, at)}"))
    return None


def _option(options: Sequence[str], value: Any, at: Keys, faults: list[Fault]) -> Any:
    if value not in options or not isinstance(value, str):
        what = f"must be {' or '.join(options)}, not {_said(value, at)}"
        faults.append(Fault(at, what, nearest(str(value), options)))
    return value


def _scalar(form: Any, value: Any, at: Keys, faults: list[Fault]) -> Any:
    if form is float and type(value) is int:
        return float(value)
    if type(value) is not form:
        if form is str and not isinstance(value, list | dict):
            faults.append(Fault(at, f"{_said(value, at)} is not text", "quote it"))
        else:
            faults.append(Fault(at, f"expected {_SCALARS[form]}, not {_said(value, at)}"))
    return value


def _collection(form: Any, value: Any, at: Keys, faults: list[Fault]) -> Any:
    if _kind(value) != _kind_of(form):
        faults.append(Fault(at, f"expected {_kind_of(form)}, not {_said(value, at)}"))
        return value
    if is_dataclass(form):
        return _shape(form, value, at, faults)
    if isinstance(value, list):
        (inner, *_) = get_args(form)
        return [_fit(inner, one, (*at, number), faults) for number, one in enumerate(value)]
    key_form, inner = get_args(form)
    return {
        _fit(key_form, key, (*at, key), faults): _fit(inner, one, (*at, key), faults)
        for key, one in value.items()
    }


def _shape(shape: Any, value: Mapping[str, Any], at: Keys, faults: list[Fault]) -> Any:
    known = entries_of(shape)
    rest = next((field.name for field in fields(shape) if is_rest(field.type)), None)
    others = {} if rest is None else {key: one for key, one in value.items() if key not in known}
    before = len(faults)
    later: frozenset[str] = getattr(shape, "LATER", frozenset())
    what = "this version of storyd does not know it yet"
    faults += [Fault((*at, key), what, "remove it") for key in value if key in later]
    inside = {key: one for key, one in value.items() if key not in others and key not in later}
    made = _entries(known, inside, at, faults)
    if len(faults) > before:
        return None
    names = {field.name.rstrip("_"): field.name for field in fields(shape)}
    return shape(**{names[key]: one for key, one in made.items()}, **({rest: others} if rest else {}))


def _entries(entries: Mapping[str, Entry], value: Any, at: Keys, faults: list[Fault]) -> dict[str, Any]:
    if not isinstance(value, dict):
        faults.append(Fault(at, f"expected a mapping, not {_said(value, at)}"))
        return {}
    unknown = [key for key in value if key not in entries]
    missing = [key for key, entry in entries.items() if entry.required and key not in value]
    faults += [Fault((*at, key), "unknown key", _known(key, entries)) for key in unknown]
    faults += [Fault((*at, key), "is missing") for key in missing]
    return {
        key: _fit(entries[key].form, one, (*at, key), faults) for key, one in value.items() if key in entries
    }


def _known(key: str, entries: Mapping[str, Entry]) -> str:
    return nearest(key, entries) or (f"there are {', '.join(entries)}" if len(entries) <= FEW else "")


def _kind(value: Any) -> str:
    match value:
        case None:
            return "nothing"
        case bool():
            return _SCALARS[bool]
        case str():
            return "text"
        case int() | float():
            return "a number"
        case list():
            return "a list"
        case _:
            return "a mapping"


def _kind_of(form: Any) -> str:
    """The kind of values that a type takes."""
    origin = get_origin(form)
    if origin is Annotated:
        return _kind_of(get_args(form)[0])
    if form in (int, float):
        return "a number"
    if form in (bool, NoneType):
        return _SCALARS.get(form, "nothing")
    if form is str or origin is Literal:
        return "text"
    return "a list" if isinstance(origin, type) and issubclass(origin, Sequence) else "a mapping"


def _said(value: Any, at: Keys) -> str:
    return "this" if at[-1:] == ("key",) else literal(value)
