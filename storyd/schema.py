"""JSON Schema of shapes and of functions' arguments, for editors. Knows no file's keys."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from .shape import Entry, Like, Sized, Within, entries_of, is_rest

Schema = dict[str, Any]

_SCALARS: Mapping[Any, str] = {str: "string", int: "integer", float: "number", bool: "boolean"}


def schema_of(form: Any) -> Schema:
    """The schema of a type as `shape` understands types."""
    origin = get_origin(form)
    if form is Any:
        return {}
    if form in _SCALARS:
        return {"type": _SCALARS[form]}
    if is_dataclass(form):
        return _shape(form)
    if origin is Annotated:
        base, *notes = get_args(form)
        found = schema_of(base)
        return found | {key: one for note in notes for key, one in _note(note, found).items()}
    if origin is Literal:
        return {"enum": [*get_args(form)]}
    if origin in (Union, UnionType):
        return _either([schema_of(member) for member in get_args(form) if member is not NoneType])
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return {"type": "array", "items": schema_of(get_args(form)[0])}
    return {"type": "object", "additionalProperties": schema_of(get_args(form)[1])}


def mapping(entries: Mapping[str, Entry]) -> Schema:
    """The schema of a mapping with these keys and no others."""
    return {
        "type": "object",
        "properties": {key: schema_of(entry.form) for key, entry in entries.items()},
        "required": [key for key, entry in entries.items() if entry.required],
        "additionalProperties": False,
    }


def step(name: str, entries: Mapping[str, Entry], doc: str) -> Schema:
    """The schema of a step in a list: its name, or its name with arguments (one of them may stand alone)."""
    with_arguments = {"type": "object", "properties": {name: mapping(entries)}, "required": [name]}
    if entries:
        first = schema_of(next(iter(entries.values())).form)
        with_arguments["properties"] = {name: _either([mapping(entries), first])}
    options = [{"const": name}, {**with_arguments, "additionalProperties": False}]
    return {"description": doc, "anyOf": options if entries else options[:1]}


def _shape(shape: Any) -> Schema:
    found = mapping(entries_of(shape)) | {"description": inspect.getdoc(shape) or ""}
    if any(is_rest(field.type) for field in fields(shape)):
        found["additionalProperties"] = True
    return found


def _either(options: Sequence[Schema]) -> Schema:
    return options[0] if len(options) == 1 else {"anyOf": [*options]}


def _note(note: object, found: Schema) -> Schema:
    match note:
        case str():
            return {"description": note}
        case Like(pattern):
            return {"pattern": f"^{pattern}$"}
        case Within(least, most, above):
            bounds = {"minimum": least, "maximum": most, "exclusiveMinimum": above}
        case Sized(least, most):
            noun = {"array": "Items", "object": "Properties"}.get(found.get("type", ""), "Length")
            bounds = {f"min{noun}": least, f"max{noun}": most}
        case _:
            return {}
    return {key: bound for key, bound in bounds.items() if bound is not None}
