"""run one job in the foreground; goes on where it stopped"""

from __future__ import annotations

import argparse
import logging
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import anyio
import orjson

from storyd import config, supervisor
from storyd.config import Setup
from storyd.display import Samples, View, animated, line, safe_lines, sampled, shown, speed
from storyd.errors import ConfigError
from storyd.ledger import Ledger
from storyd.progress import Tally
from storyd.record import Record
from storyd.shards import Folder, read

log = logging.getLogger("storyd")
SIGNALLED = 128
"""What a shell adds to a signal's number."""
SAMPLES = 3
"""How many stories are printed at the end."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `storyd run`."""
    parser.add_argument("job", type=Path, metavar="JOB.yaml")
    parser.add_argument(
        "--set", dest="sets", action="append", default=[], metavar="a.b=c", help="override a key"
    )
    parser.add_argument("--provider", metavar="P", help="ask this provider instead")
    parser.add_argument("--shards", metavar="A-B", help="only these shards (from 0, B included)")
    parser.add_argument("--budget-usd", metavar="X", help="never spend more than X US dollars")
    parser.add_argument("--no-runners", action="store_true", help="do not start the runners of `then:`")
    parser.add_argument("--trust", action="store_true", help="let the job file launch servers")


def call(args: argparse.Namespace) -> int:
    """Run the job; returns the exit code. Raises StorydError."""
    setup = _setup(args)
    folder, numbers = Folder(args.dir / setup.job.name), _numbers(args.shards, setup)
    log.info("%s: %s, shards %s-%s", setup.job.name, folder.path, numbers.start, numbers.stop - 1)
    views: list[View] = []
    with _watching(setup, numbers, views) as watch:
        signal = anyio.run(
            supervisor.run, setup, folder, numbers, watch, backend_options={"use_uvloop": True}
        )
    view = views[-1]
    code = _code(setup, view, signal)
    _ended(setup, view, code)
    if args.json:
        print(orjson.dumps(_summary(view, folder, code)).decode())
    elif code in (0, 3):
        _print_samples(folder, numbers)
    return code


def _setup(args: argparse.Namespace) -> Setup:
    budget = [] if args.budget_usd is None else [f"budget.usd={args.budget_usd}"]
    sets = [*args.sets, *budget]
    return config.load(args.job, sets=sets, provider=args.provider, trust=args.trust, directory=args.dir)


def _numbers(shards: str | None, setup: Setup) -> range:
    count = setup.job.shards
    if shards is None:
        return range(count)
    found = re.fullmatch(r"(\d{1,9})(?:-(\d{1,9}))?", shards)
    first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
    if not 0 <= first <= last < count:
        raise ConfigError(f"no such shards: {shards}", where="--shards", fix=f"the job has 0-{count - 1}")
    return range(first, last + 1)


# ── while it runs ─────────────────────────────────────────────────────────────────────────────────


@contextmanager
def _watching(setup: Setup, numbers: range, views: list[View]) -> Iterator[supervisor.Watch]:
    """Shows the run on stderr; the last view stays in `views`."""
    stories: Samples = ()
    tokens: Samples = ()
    total = setup.job.shard(numbers[-1]).stop - setup.job.shard(numbers[0]).start
    with shown(sys.stderr, animated(sys.stderr)) as show:

        def watch(ledger: Ledger, stop: supervisor.Stop) -> None:
            nonlocal stories, tokens
            tally, at = ledger.progress.total(), time.monotonic()
            stories = sampled(stories, at, tally.settled)
            tokens = sampled(tokens, at, tally.usage.output)
            view = _view(setup, tally, stop, (speed(stories), speed(tokens)))
            view = replace(view, stories=total, sealed=len(ledger.progress.sealed), shards=len(numbers))
            views[:] = [replace(view, eta=_eta(view, speed(stories)))]
            show(views[0])

        yield watch


def _view(setup: Setup, tally: Tally, stop: supervisor.Stop, speeds: tuple[float, float]) -> View:
    limited = stop.limited
    unknown = setup.price is None or (setup.price.input == 0 and setup.price.output == 0)
    return View(
        job=setup.job.name,
        stories=setup.job.stories,
        settled=tally.settled,
        accepted=tally.accepted,
        abandoned=tally.abandoned,
        valid=tally.accepted / tally.answers if tally.answers else None,
        stories_per_minute=speeds[0] * 60,
        tokens_per_second=speeds[1],
        in_flight=limited.in_flight if limited else 0,
        width=limited.width if limited else 0,
        usd=None if unknown else tally.usd,
        limit=limited.binding if limited else "",
        faults=tally.faults,
        note="draining: receives what is under way (Ctrl-C again stops at once)" if stop.signal else "",
    )


def _eta(view: View, pace: float) -> float | None:
    left = view.stories - view.settled
    return 0.0 if not left else left / pace if pace else None


# ── at the end ────────────────────────────────────────────────────────────────────────────────────


def _ended(setup: Setup, view: View, code: int) -> None:
    if code == 3:
        print(_too_many(setup, view), file=sys.stderr)
    elif code:
        print(f"storyd: {setup.job.name}: drained (run it again to go on)", file=sys.stderr)
    else:
        log.info("done: %s", line(view))


def _print_samples(folder: Folder, numbers: range) -> None:
    for record in _samples(folder, numbers):
        print(f"\n── {record.id} · {record.words} words · answer {record.attempts} ──\n")
        print(safe_lines(record.story))


def _code(setup: Setup, view: View, signal: int) -> int:
    if view.settled < view.stories:
        return SIGNALLED + signal
    return 3 if view.abandoned > setup.job.retry.tolerate * view.stories else 0


def _too_many(setup: Setup, view: View) -> str:
    return (
        f"storyd: {setup.job.name}: {view.abandoned} of {view.stories} prompts were abandoned, more than "
        f"retry.tolerate allows (see events/, then `storyd retry {setup.job.name}` and run it again)"
    )


def _summary(view: View, folder: Folder, code: int) -> dict[str, object]:
    return {
        "job": view.job,
        "folder": str(folder.path),
        "stories": view.stories,
        "settled": view.settled,
        "accepted": view.accepted,
        "abandoned": view.abandoned,
        "valid": view.valid,
        "usd": view.usd,
        "sealed": view.sealed,
        "shards": view.shards,
        "exit": code,
    }


def _samples(folder: Folder, numbers: range) -> Iterator[Record]:
    """The first story of each of some shards spread over the job."""
    step = max(1, len(numbers) // SAMPLES)
    for number in numbers[::step][:SAMPLES]:
        yield from (record for record, _ in zip(read(folder.stories(number)), range(1), strict=False))
