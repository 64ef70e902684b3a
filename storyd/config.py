"""A job file → a job and all that it is run with. Knows every part of the file; leaves each to its module."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypedDict, Unpack, get_args

import orjson

from . import accounts, checks, clean, jobfile
from .document import Document, put, shown
from .errors import ConfigError
from .fitting import checked, literal, nearest
from .job import Job, RetryPolicy, Sampling
from .judging import arguments_of, checkers, cleaners, extractor, functions
from .origin import Origin
from .pricelist import price_of
from .prompting import Asked, space_of
from .schema import schema_of, step
from .settings import Budget, Price, ProviderSettings
from .shape import entries_of, plain
from .sources import content, named
from .yaml12 import LARGEST, read

RUNNERS = Path(__file__).parent.parent / "runners"
"""Beside the package, in a checkout and where it is installed."""
_RECIPE = re.compile(r"#\s*([A-Za-z0-9][A-Za-z0-9_-]*):\s*(.+)")


@dataclass(frozen=True, slots=True)
class Setup:
    """A job, and what may change between two runs of it."""

    job: Job
    provider: ProviderSettings
    width: int | None
    """Requests in flight; None finds out."""
    budget: Budget
    mode: Literal["live"]
    then: tuple[tuple[str, Mapping[str, Any]], ...]
    """The runners, in order, each with its arguments."""
    price: Price | None
    """None where it is not known."""
    frozen: Mapping[str, Any]
    """The job file with its defaults filled in, as plain values; keys stand there by reference only."""


class Said(TypedDict, total=False):
    """What the command line says besides the job file."""

    sets: Sequence[str]
    """`a.b=value`, in order; the value is YAML."""
    provider: str | None
    """Instead of the file's: a name, or a mapping in YAML."""
    trust: bool
    """The file may name commands to run."""
    directory: Path
    """Where the jobs lie, for `{job: …}`."""
    offline: bool
    """Nothing will be asked: keys are not looked for."""
    service: Path | None
    """storyd.yaml, where it is not configs/storyd.yaml."""


def load(path: Path, **said: Unpack[Said]) -> Setup:
    """The setup that a job file describes. Raises ConfigError; nothing is asked of any network."""
    document = read(content(path, LARGEST + 1), named(path))
    for text in said.get("sets", ()):
        document = _with_set(document, text)
    provider = said.get("provider")
    if provider is not None:
        document = put(document, ("provider",), _flow(provider, "--provider"), "--provider")
    file = checked(jobfile.JobFile, document)
    jobs = said.get("directory", Path("shards"))
    origin = Origin(document, (path.parent, shipped()), jobs)
    service = accounts.service(said.get("service"), origin)
    may = frozenset(get_args(jobfile.Trust) if said.get("trust") else service.said.allow)
    origin = replace(origin, may=may)
    return _setup(origin, file, service, said.get("offline", False))


def schema() -> dict[str, Any]:
    """JSON Schema of the job file, for editors."""
    found = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema_of(jobfile.JobFile)}
    for key, module in (("checks", checks), ("clean", clean)):
        steps = [
            step(name, arguments_of(call), inspect.getdoc(call) or "")
            for name, call in functions(module).items()
        ]
        found["properties"][key]["items"] = {"anyOf": steps}
    return found


# ── recipes ───────────────────────────────────────────────────────────────────────────────────────


def shipped() -> Path:
    """The folder of the shipped configs: in a wheel inside the package, in a checkout beside it."""
    package = Path(__file__).parent
    inside = package / "_configs"
    return inside if inside.is_dir() else package.parent / "configs"


def recipes() -> list[tuple[str, str]]:
    """(name, one line) of the shipped job files, by name: those whose first line is `# NAME: …`."""
    found = []
    for path in sorted(shipped().glob("*.yaml")):
        with path.open(encoding="utf-8") as file:
            line = _RECIPE.match(file.readline())
        if line and line[1] == path.stem:
            found.append((line[1], line[2].strip()))
    return found


def recipe(name: str) -> str:
    """The text of a shipped job file. Raises ConfigError."""
    names = [known for known, _ in recipes()]
    if name not in names:
        fix = nearest(name, names) or f"there are {', '.join(names)}"
        raise ConfigError(f"no recipe {shown(name)}", where="init", fix=fix)
    return (shipped() / f"{name}.yaml").read_text(encoding="utf-8")


# ── what the command line sets ────────────────────────────────────────────────────────────────────


def _with_set(document: Document, text: str) -> Document:
    path, equals, value = text.partition("=")
    keys = tuple(path.split("."))
    if not equals or not all(keys):
        raise ConfigError("expected KEY.KEY=VALUE", where=f"--set {shown(path, '')}")
    mark = f"--set {shown(path, '', 200)}"
    return put(document, keys, _flow(value, mark), mark)


def _flow(text: str, where: str) -> Any:
    """A value in YAML. Raises ConfigError, without the value: it may be a key."""
    try:
        return read(text.encode("utf-8", "surrogateescape") or b"''", where).value
    except ConfigError as error:
        raise ConfigError(error.what, where=where, fix=error.fix) from None


# ── the parts ─────────────────────────────────────────────────────────────────────────────────────


def _setup(origin: Origin, file: jobfile.JobFile, service: accounts.Service, offline: bool) -> Setup:
    if file.mode == "batch":
        raise origin.wrong(("mode",), "this version of storyd does not know mode: batch yet", "write live")
    provider = accounts.settings_of(origin, file.provider, service, offline)
    model = _model(origin, file, provider)
    sampling = _sampling(origin, file, provider.kind)
    job = _job(origin, file, model, sampling)
    return Setup(
        job,
        provider,
        None if file.width == "auto" else file.width,
        Budget(file.budget.usd, file.budget.tokens),
        "live",
        _runners(origin, file),
        _price(origin, file, provider, model),
        {**plain(file), "stories": job.stories, "model": model},
    )


def _job(origin: Origin, file: jobfile.JobFile, model: str, sampling: Sampling) -> Job:
    asked = space_of(origin, file.prompt)
    stories = _stories(origin, file, asked)
    cleaned = cleaners(origin, file.clean)
    checked_by = checkers(origin, file.checks, asked.traits)
    meaning = {
        **asked.meaning,
        "seed": file.seed,
        "shard_size": file.shard_size,
        "model": model,
        "sampling": plain(file.sampling),
        "answer": plain(file.answer),
        "clean": [one.meaning for one in cleaned],
        "checks": [one.meaning for one in checked_by],
        "retry.invalid": file.retry.invalid,
        "retry.feedback": file.retry.feedback,
    }
    return Job(
        file.name,
        file.seed,
        stories,
        file.shard_size,
        asked.space,
        model,
        sampling,
        extractor(origin, file.answer),
        tuple(one.call for one in cleaned),
        tuple((one.name, one.call) for one in checked_by),
        RetryPolicy(**vars(file.retry)),
        MappingProxyType({key: _hash(value) for key, value in meaning.items()}),
    )


def _hash(meaning: Any) -> str:
    return sha256(orjson.dumps(meaning, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _stories(origin: Origin, file: jobfile.JobFile, asked: Asked) -> int:
    size = asked.space.size
    if file.stories is None:
        if file.prompt.template is not None:
            raise origin.wrong(("stories",), "is missing")
        return size
    if file.stories > size and file.prompt.draw != "independent":
        what = f"{file.stories} stories, but there are only {size} different prompts"
        raise origin.wrong(("stories",), what, "ask for fewer, add values, or set prompt.repeats")
    return file.stories


def _model(origin: Origin, file: jobfile.JobFile, provider: ProviderSettings) -> str:
    model = file.model or accounts.model_of(provider)
    if not model:
        raise origin.wrong(("model",), "is missing")
    return model


def _sampling(origin: Origin, file: jobfile.JobFile, kind: str) -> Sampling:
    said, known = plain(file.sampling), accounts.module_of(kind).SAMPLING
    extra, max_tokens = said.pop("extra"), said.pop("max_tokens")
    for name in said:
        if name not in known:
            ours = entries_of(jobfile.Sampling)
            what, fix = (
                f"the provider kind {kind} does not know it",
                "remove it, or put it under sampling.extra",
            )
            if name not in ours:
                what, fix = "unknown key", nearest(name, {*ours, *known})
            raise origin.wrong(("sampling", name), what, fix)
    return Sampling(max_tokens, said.pop("seed", None), said, extra)


def _price(origin: Origin, file: jobfile.JobFile, provider: ProviderSettings, model: str) -> Price | None:
    url = provider.urls[0] if provider.urls else ""
    price = accounts.price_from(file.price) or provider.price or price_of(provider.kind, model, url)
    if price is None and file.budget.usd is not None:
        what = f"the price of {shown(model)} is not known, so dollars cannot be counted"
        raise origin.wrong(("budget", "usd"), what, "add price: {input: …, output: …}, per million tokens")
    return price


def _runners(origin: Origin, file: jobfile.JobFile) -> tuple[tuple[str, Mapping[str, Any]], ...]:
    known = sorted(path.stem for path in RUNNERS.glob("[a-z]*.py"))
    steps = [(one, {}) if isinstance(one, str) else next(iter(one.items())) for one in file.then]
    for number, (name, given) in enumerate(steps):
        if name not in known:
            fix = nearest(name, known) or f"there are {', '.join(known) or 'none yet'}"
            raise origin.wrong(("then", number), f"no runner {shown(name)}", fix)
        if not isinstance(given, dict | None):
            raise origin.wrong(("then", number, name), f"expected a mapping, not {literal(given)}")
    return tuple((name, given or {}) for name, given in steps)
