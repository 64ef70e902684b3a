"""The `prompt:` part of a job file → its space. Knows no provider and no check."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from . import jobfile
from .axes import AXES, LONGEST, axis_of, harvest, lengths, longest_of, nested_in, order_of
from .document import Keys, shown
from .examples import Primed
from .fitting import nearest
from .origin import Origin
from .sources import Table, conversations, fields
from .space import Draw, Grid, Rows, Slot, Space, Template, Wording, parse

PROMPT: Keys = ("prompt",)


@dataclass(frozen=True, slots=True)
class Asked:
    """A space, the names of its traits, and all that its prompts depend on: for the fingerprint."""

    space: Space
    traits: frozenset[str]
    meaning: Mapping[str, Any]


def space_of(origin: Origin, said: jobfile.Prompt) -> Asked:
    """The space that a job file asks for. Raises ConfigError."""
    builders: dict[str, Callable[[Origin, jobfile.Prompt], Asked]] = {
        "template": _grid,
        "prompts": _prompts,
        "records": _records,
    }
    given = [name for name in builders if getattr(said, name) is not None]
    if len(given) != 1:
        raise origin.wrong(PROMPT, "expected exactly one of template, prompts and records")
    if said.axes and said.template is None:
        raise origin.wrong(AXES, "axes go with a template only", "remove them")
    asked = builders[given[0]](origin, said)
    meaning = {"system": said.system, "prefill": said.prefill, "repeats": said.repeats, **asked.meaning}
    return _primed(origin, said, Asked(asked.space, asked.traits, meaning))


def _grid(origin: Origin, said: jobfile.Prompt) -> Asked:
    wording = _wording(said, parse(said.template or ""))
    _known_slots(origin, said, wording, said.axes)
    draw: Draw = said.draw or "unique"
    axes = tuple(axis_of(origin, name, spec, draw) for name, spec in said.axes.items())
    nested = nested_in(origin, axes, said.axes)
    order = order_of(origin, said.axes, nested)
    sizes = lengths(origin, axes, nested, order)
    if sum(longest_of(part, sizes) for part in (wording.text, wording.system, wording.prefill)) > LONGEST:
        raise origin.wrong(PROMPT, f"a prompt may become longer than {LONGEST} characters")
    meaning: dict[str, Any] = {"template": said.template, "draw": draw, "axes": [axis.name for axis in axes]}
    for axis in axes:
        meaning[f"axes.{axis.name}"] = [axis.values, axis.choose, axis.join, axis.weights]
    return Asked(Grid(wording, axes, draw, said.repeats, nested, order), frozenset(said.axes), meaning)


def _prompts(origin: Origin, said: jobfile.Prompt) -> Asked:
    spec = said.prompts
    assert spec is not None
    at = (*PROMPT, "prompts", "file")
    table = Table(origin.file(at, spec.file), fields(dict.fromkeys((spec.field, *spec.traits))))
    if not len(table):
        raise origin.wrong(at, "holds no prompts")
    wording = _wording(said, Template((Slot(spec.field),)))
    _known_slots(origin, said, wording, [spec.field, *spec.traits])
    draw: Draw = said.draw or "ordered"
    space = Rows(wording, table, draw, said.repeats, tuple(spec.traits))
    meaning = {"prompts": [spec.field, spec.traits, table.digest], "draw": draw}
    return Asked(space, frozenset(spec.traits), meaning)


def _records(origin: Origin, said: jobfile.Prompt) -> Asked:
    spec = said.records
    assert spec is not None
    rows = harvest(origin, (*PROMPT, "records", "job"), spec.job)
    wording = _wording(said, parse(spec.template))
    _known_slots(origin, said, wording, rows[0])
    traits = ("id", *sorted(wording.slots - {"id", "story"}))
    draw: Draw = said.draw or "ordered"
    meaning = {"template": spec.template, "records": [spec.job, rows.digest], "draw": draw}
    return Asked(Rows(wording, rows, draw, said.repeats, traits), frozenset(traits), meaning)


def _wording(said: jobfile.Prompt, text: Template) -> Wording:
    return Wording(text, parse(said.system), parse(said.prefill))


def _known_slots(origin: Origin, said: jobfile.Prompt, wording: Wording, known: Iterable[str]) -> None:
    text: Keys = ("records", "template") if said.records else ("template",)
    noun = "field" if said.template is None else "axis"
    for at, template in (
        (text, wording.text),
        (("system",), wording.system),
        (("prefill",), wording.prefill),
    ):
        for name in sorted(template.slots - set(known)):
            raise origin.wrong((*PROMPT, *at), f"no {noun} for the slot {{{name}}}", nearest(name, known))


def _primed(origin: Origin, said: jobfile.Prompt, asked: Asked) -> Asked:
    spec = said.examples
    if spec is None:
        return asked
    at = (*PROMPT, "examples")
    _pick(origin, (*at, "pick"), spec.pick)
    found = conversations(origin.file((*at, "file"), spec.file))
    if spec.k > len(found):
        raise origin.wrong((*at, "k"), f"{spec.k} are wanted, but the file has {len(found)}")
    space = Primed(asked.space, found, spec.k, spec.pick == "seeded")
    meaning = {**asked.meaning, "examples": [spec.k, spec.pick, found]}
    return Asked(space, asked.traits, meaning)


def _pick(origin: Origin, at: Keys, pick: str) -> None:
    if pick.startswith("python:"):
        origin.trusted(at, "python")
        raise origin.wrong(at, "this version of storyd does not know python: yet")
    if pick not in ("first", "seeded"):
        raise origin.wrong(
            at, f"must be first or seeded, not {shown(pick)}", nearest(pick, ("first", "seeded"))
        )
