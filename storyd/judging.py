"""The `answer:`, `clean:` and `checks:` of a job file → functions. Knows no provider and no file."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any

from . import checks, clean, jobfile, verdict
from .answer import Answer
from .document import Keys, shown
from .fitting import fitted, nearest
from .origin import Origin
from .shape import Entry
from .space import Prompt
from .verdict import Extract


@dataclass(frozen=True, slots=True)
class Step:
    """One step with its arguments bound; `meaning` is its name and all arguments, for the fingerprint."""

    name: str
    call: Callable[..., Any]
    meaning: tuple[str, Mapping[str, Any]]


def cleaners(origin: Origin, said: list[str | dict[str, Any]]) -> list[Step]:
    """The cleaning steps of a job file. Raises ConfigError."""
    steps = [_step(origin, clean, ("clean", number), one) for number, one in enumerate(said)]
    for number, step in enumerate(steps):
        _tried(origin, ("clean", number, step.name), partial(step.call, ""))
    return steps


def checkers(origin: Origin, said: list[str | dict[str, Any]], traits: Iterable[str]) -> list[Step]:
    """The checks of a job file whose prompts have these traits. Raises ConfigError."""
    # with nothing asked for, a check proves its arguments without reading the dictionaries of word forms
    trial = Prompt(0, "", dict.fromkeys(traits, ""))
    steps = [_step(origin, checks, ("checks", number), one) for number, one in enumerate(said)]
    for number, step in enumerate(steps):
        at = ("checks", number, step.name)
        for name in step.meaning[1].get("axes", ()):
            if name not in trial.traits:
                raise origin.wrong((*at, "axes"), f"no axis {shown(name)}", nearest(name, trial.traits))
        _tried(origin, at, partial(step.call, trial, Answer("")))
    return steps


def extractor(origin: Origin, said: str | jobfile.Answer) -> Extract:
    """What takes the stories out of an answer. Raises ConfigError."""
    if isinstance(said, str):
        return verdict.text
    given = [name for name in ("json_", "list_", "split") if getattr(said, name) is not None]
    if len(given) != 1:
        raise origin.wrong(("answer",), "expected text, or exactly one of json, list and split")
    if said.min is not None and said.json_ is not None:
        raise origin.wrong(("answer", "min"), "goes with list and split only", "remove it")
    try:
        if said.json_ is not None:
            return verdict.json_field(said.json_)
        if said.split is not None:
            return verdict.split(said.split, said.min or 1)
        return verdict.listed(said.list_ or "", said.min or 1)
    except ValueError as error:
        raise origin.wrong(("answer", given[0].strip("_")), str(error)) from None


def functions(module: ModuleType) -> dict[str, Callable[..., Any]]:
    """The public functions that a module defines."""
    return {
        name: function
        for name, function in vars(module).items()
        if inspect.isfunction(function)
        and function.__module__ == module.__name__
        and not name.startswith("_")
    }


def _step(origin: Origin, module: ModuleType, at: Keys, said: str | dict[str, Any]) -> Step:
    name, given = (said, None) if isinstance(said, str) else next(iter(said.items()))
    at = (*at, name) if isinstance(said, dict) else at
    if name == "python":
        origin.trusted(at, "python")
        raise origin.wrong(at, "this version of storyd does not know python: yet")
    known = functions(module)
    if name not in known:
        fix = nearest(name, known) or f"there are {', '.join(known)}"
        raise origin.wrong(at, f"{shown(name)} is not known", fix)
    entries = arguments_of(known[name])
    arguments = fitted(entries, _named(origin, at, entries, given), origin.document, at)
    bound = inspect.signature(known[name]).bind_partial(**arguments)
    bound.apply_defaults()
    call = partial(known[name], **arguments) if arguments else known[name]
    return Step(name, call, (name, dict(bound.arguments)))


def arguments_of(function: Callable[..., Any]) -> dict[str, Entry]:
    """A function's keyword-only parameters."""
    return {
        parameter.name: Entry(parameter.annotation, parameter.default is parameter.empty)
        for parameter in inspect.signature(function, eval_str=True).parameters.values()
        if parameter.kind is parameter.KEYWORD_ONLY
    }


def _named(origin: Origin, at: Keys, entries: Mapping[str, Entry], given: Any) -> dict[str, Any]:
    """Arguments by name: one without a name is the first."""
    if isinstance(given, dict) or given is None:
        return given or {}
    if not entries:
        raise origin.wrong(at, "takes no arguments")
    return {next(iter(entries)): given}


def _tried(origin: Origin, at: Keys, call: Callable[[], object]) -> None:
    try:
        call()
    except ValueError as error:
        raise origin.wrong(at, str(error)) from None
