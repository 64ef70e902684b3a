"""What stands under `prompt.axes` → axes. Knows files of words and other jobs; knows no template."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

from . import jobfile
from .document import Keys, shown
from .exchange import NOTHING
from .fitting import nearest
from .harvest import Harvest
from .origin import Origin
from .sources import tidy, words
from .space import Axis, Draw, Slot, Template, parse

AXES: Keys = ("prompt", "axes")
MOST_CHOSEN = 64
"""Values of an axis in one prompt."""
MOST_COUNTED = 1 << 20
"""Values in one prompt times values of the axis: beyond it, numbering the subsets takes too much memory."""
LONGEST = 1 << 20
"""Characters of a text with all its slots filled."""

Spec = list[str] | jobfile.Axis
Nested = Mapping[str, Mapping[str, Template]]
"""axis → value → its template, for the values that hold slots."""


def axis_of(origin: Origin, name: str, spec: Spec, draw: Draw) -> Axis:
    """One axis. Raises ConfigError."""
    at = (*AXES, name)
    if isinstance(spec, list):
        return Axis(name, _distinct(origin, at, spec))
    raw = _values(origin, at, spec)
    weights = None if spec.weights is None else _weights(origin, (*at, "weights"), raw, spec.weights)
    if weights and draw != "independent":
        raise origin.wrong((*at, "weights"), "weights need draw: independent")
    values = _distinct(origin, at, raw)
    choose = None if spec.choose is None else _choose(origin, (*at, "choose"), spec.choose, len(values))
    if choose and weights:
        raise origin.wrong((*at, "weights"), "weights and choose do not go together")
    return Axis(name, values, choose, spec.join, weights)


def nested_in(origin: Origin, axes: Iterable[Axis], specs: Mapping[str, Spec]) -> Nested:
    """The values that hold slots of other axes. Raises ConfigError for a slot that no axis fills."""
    found = {axis.name: _templates(origin, axis, specs) for axis in axes if not _foreign(specs[axis.name])}
    return {name: templates for name, templates in found.items() if templates}


def order_of(origin: Origin, names: Iterable[str], nested: Nested) -> tuple[str, ...]:
    """The axes, each after those that its values need. Raises ConfigError where they need each other."""
    needs = {name: _needed(nested.get(name, NOTHING)) for name in names}
    try:
        return tuple(TopologicalSorter(needs).static_order()) if nested else ()
    except CycleError as error:
        circle = [*reversed(error.args[1])]
        said = " → ".join(circle)
        raise origin.wrong((*AXES, circle[0]), f"the slots go in a circle: {said}") from None


def lengths(origin: Origin, axes: Iterable[Axis], nested: Nested, order: Iterable[str]) -> dict[str, int]:
    """The most characters that each axis can fill a slot with. Raises ConfigError beyond LONGEST."""
    by_name = {axis.name: axis for axis in axes}
    found: dict[str, int] = {}
    for name in order or by_name:
        axis, templates = by_name[name], nested.get(name, NOTHING)
        longest = max(
            longest_of(templates[value], found) if value in templates else len(value) for value in axis.values
        )
        count = axis.choose[1] if axis.choose else 1
        found[name] = count * (longest + len(axis.join))
        if found[name] > LONGEST:
            raise origin.wrong((*AXES, name), f"fills a slot with more than {LONGEST} characters")
    return found


def longest_of(template: Template, sizes: Mapping[str, int]) -> int:
    """The most characters of a template's text, when its slots take at most `sizes`."""
    total = 0
    for part in template.parts:
        match part:
            case str():
                total += len(part)
            case Slot(name):
                total += sizes.get(name, 0)
            case Template():
                total += longest_of(part, sizes)
    return total


# ── values ────────────────────────────────────────────────────────────────────────────────────────


def _values(origin: Origin, at: Keys, spec: jobfile.Source) -> list[str]:
    """The values of a source, as they stand there."""
    given = [name for name in ("file", "job", "values", "from_") if getattr(spec, name, None) is not None]
    if len(given) != 1:
        kinds = "file, job, values and from" if isinstance(spec, jobfile.Axis) else "file and job"
        raise origin.wrong(at, f"expected exactly one of {kinds}")
    if spec.key is not None and spec.file is None:
        raise origin.wrong((*at, "key"), "goes with file only", "remove it")
    if spec.file is not None:
        return words(origin.file((*at, "file"), spec.file), spec.key)
    if spec.job is not None:
        return [row["story"] for row in harvest(origin, (*at, "job"), spec.job)]
    inner = getattr(spec, given[0])
    return inner if isinstance(inner, list) else _values(origin, (*at, "from"), inner)


def harvest(origin: Origin, at: Keys, name: str) -> Harvest:
    """The records of the job that is named at `at`. Raises ConfigError."""
    if not jobfile.NAME.fullmatch(name):
        raise origin.wrong(at, f"{shown(name)} is no name of a job")
    try:
        return Harvest(origin.jobs / name)
    except ValueError as error:
        raise origin.wrong(at, str(error), "run it to its end first") from None


def _distinct(origin: Origin, at: Keys, raw: Iterable[str]) -> tuple[str, ...]:
    values = tuple(dict.fromkeys(map(tidy, raw)))
    if not values:
        raise origin.wrong(at, "an axis needs at least one value")
    return values


def _choose(origin: Origin, at: Keys, said: int | list[int], count: int) -> tuple[int, int]:
    least, most = (said, said) if isinstance(said, int) else (said[0], said[1])
    if most > count:
        raise origin.wrong(at, f"cannot choose {most} of {count} different values")
    if least > most or most < 1:
        raise origin.wrong(at, f"cannot choose {least} to {most}", "write [least, most]")
    if most > MOST_CHOSEN or most * count > MOST_COUNTED:
        raise origin.wrong(at, f"choosing {most} of {count} takes too much memory", "choose fewer")
    return least, most


def _weights(origin: Origin, at: Keys, raw: Sequence[str], weights: Sequence[float]) -> tuple[float, ...]:
    """One weight for each different value: those of equal values add up."""
    if len(weights) != len(raw):
        raise origin.wrong(at, f"{len(weights)} weights for {len(raw)} values")
    merged: dict[str, float] = {}
    for value, weight in zip(map(tidy, raw), weights, strict=True):
        merged[value] = merged.get(value, 0.0) + weight
    if not 0 < sum(merged.values()) < float("inf"):
        raise origin.wrong(at, "the weights must add up to more than 0")
    return tuple(merged.values())


# ── values with slots ─────────────────────────────────────────────────────────────────────────────


def _foreign(spec: Spec) -> bool:
    """Whether a model wrote the values: their braces mean nothing."""
    if isinstance(spec, list):
        return False
    inner = spec.from_ if isinstance(spec.from_, jobfile.Source) else spec
    return inner.job is not None


def _templates(origin: Origin, axis: Axis, known: Iterable[str]) -> dict[str, Template]:
    """The values that hold slots, or braces that stand for others."""
    found = {value: parse(value) for value in axis.values if "{" in value}
    for value, template in found.items():
        for name in sorted(template.slots - set(known)):
            what = f"no axis for the slot {{{name}}} of the value {shown(value)}"
            raise origin.wrong((*AXES, axis.name), what, nearest(name, known))
    return {value: template for value, template in found.items() if template.parts != (value,)}


def _needed(templates: Mapping[str, Template]) -> list[str]:
    return sorted({name for template in templates.values() for name in template.slots})
