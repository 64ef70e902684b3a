"""A job that fits in a test, and whom it asks: no network, no clock; an answer depends on its question."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path

import anyio
import orjson
import pytest

from storyd import ledger, verify
from storyd.errors import Transient
from storyd.events import Event
from storyd.exchange import Completion, Request, Usage
from storyd.job import Job, RetryPolicy, Sampling
from storyd.ledger import Ledger
from storyd.past import FRESH, Past
from storyd.progress import Tally
from storyd.retry import Asked, decide
from storyd.settings import Price
from storyd.shards import Folder
from storyd.space import Axis, Grid, Wording, parse

NOW = "2026-01-01T00:00:00Z"
PRICE = Price(1.0, 3.0)
ASKED = Asked("pocket", PRICE, NOW)
WHO = Axis("who", tuple(f"animal{n}" for n in range(60)))
WHAT = Axis("what", tuple(f"thing{n}" for n in range(70)))
QUICK = RetryPolicy(invalid=3, transient=3, base=0.0005, cap=0.002)


def told(prompt, answer):
    """The only check: an answer that begins with "bad" is none."""
    return "it is bad" if answer.text.startswith("bad") else None


def whole(text: str) -> tuple[str, ...]:
    return (text,)


def parted(text: str) -> tuple[str, ...]:
    return tuple(text.split("|"))


def tiny(stories: int = 20, shard_size: int = 5, **changes) -> Job:
    space = Grid(Wording(parse("Tell of {who} and {what}.")), (WHO, WHAT))
    job = Job("tiny", 1, stories, shard_size, space, "m", Sampling(64), whole, (), [("told", told)], QUICK)
    return replace(job, **{"fingerprint": {"template": "t", "model": "m"}, **changes})


# ── answers ───────────────────────────────────────────────────────────────────────────────────────


def chance(*facts: object) -> float:
    """In [0, 1), decided by the facts."""
    return int.from_bytes(blake2b(repr(facts).encode(), digest_size=7).digest()) / 2**56


def answer(request: Request, bad: float = 0.3) -> Completion:
    """Bad in `bad` of the cases; else two stories in one, for those who want parts."""
    said = "bad" if chance("bad", request.id) < bad else "Once upon a time.|The end"
    return Completion(f"{said} ({request.id})", "stop", Usage(10, len(said)), seconds=0.25)


class Teller:
    """A provider. Like `Limited` it shields what is sent, so that an answer on its way arrives.

    `latency` is the most seconds of an answer; `faults` the share of questions that fail at first, by a fault
    of their own or of the account.
    """

    def __init__(self, bad: float = 0.3, faults: float = 0.0, latency: float = 0.0, own: bool = True) -> None:
        self.bad, self.faults, self.latency, self.own = bad, faults, latency, own
        self.sent: list[str] = []
        self.answered: list[str] = []
        self._failed: set[str] = set()

    async def complete(self, request: Request) -> Completion:
        await anyio.lowlevel.checkpoint()
        self.sent.append(request.id)
        with anyio.CancelScope(shield=True):
            await anyio.sleep(self.latency * chance("latency", request.id, self.latency))
        if request.id not in self._failed and chance("fault", request.id) < self.faults:
            self._failed.add(request.id)
            raise Transient("no answer", own=self.own)
        self.answered.append(request.id)
        return answer(request, self.bad)


# ── a job without a worker ────────────────────────────────────────────────────────────────────────

Noted = list[tuple[int, int]]
"""(index, nth) of answers, in the order in which they were written down."""


@contextmanager
def opened(job: Job, path: Path, numbers: range | None = None, reserve: int = 4096) -> Iterator[Ledger]:
    folder = Folder(path)
    ledger.freeze(job, folder, {"stories": job.stories, "shard_size": job.shard_size})
    with ledger.opened(job, folder, range(job.shards) if numbers is None else numbers, reserve) as account:
        yield account


def ask(job: Job, index: int, past: Past = FRESH, bad: float = 0.3) -> Event:
    """What one question leads to."""
    request = Request(f"{job.name}/{index}.{past.nth}", "m", (("user", "?"),), 64)
    return decide(job, job.prompt(index), past, answer(request, bad), ASKED)


def settle(account: Ledger, index: int, bad: float = 0.3, noted: Noted | None = None) -> None:
    """Ask about an index until it is settled. What was answered is added to `noted` once it is written."""
    fold = account.open(index // account.job.shard_size)
    while index in fold.unsettled():
        nth = account.past(index).nth
        account.note(ask(account.job, index, account.past(index), bad))
        if noted is not None:
            noted.append((index, nth))


def seal(account: Ledger, number: int) -> None:
    account.seal(number, {"sealed_at": NOW})
    account.retire(number)


def fill(job: Job, path: Path, indices: range, bad: float = 0.3) -> None:
    """Settle some indices and seal nothing."""
    with opened(job, path) as account:
        for index in indices:
            settle(account, index, bad)


def finish(job: Job, path: Path, bad: float = 0.3, noted: Noted | None = None) -> Tally:
    """Settle and seal whatever is left."""
    with opened(job, path) as account:
        for number in range(job.shards):
            if number not in account.progress.sealed:
                for index in list(account.open(number).unsettled()):
                    settle(account, index, bad, noted)
                seal(account, number)
        return account.progress.total()


def sound(path: Path) -> verify.Report:
    """The report of a job with which verify finds no fault."""
    report = verify.verify(Folder(path))
    assert not report.faults, report.faults
    return report


def lines(path: Path) -> list[dict[str, object]]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


def accepted(path: Path) -> dict[tuple[int, int, int], str]:
    """(index, part, nth) → story of all that lies in the story files, open or sealed."""
    found = [line for file in sorted((path / "stories").glob("*.jsonl*")) for line in lines(file)]
    return {(line["index"], line.get("part", 0), line["nth"]): line["story"] for line in found}


# ── kills ─────────────────────────────────────────────────────────────────────────────────────────

CALLS = ["open", "write", "ftruncate", "posix_fallocate", "fsync", "fdatasync", "rename", "unlink", "mkdir"]
Tear = Callable[[bytes], bytes]


class Killed(BaseException):
    """The process has died."""


def whole_line(data: bytes) -> bytes:
    """Of several lines, the first."""
    return data[: data.find(b"\n") + 1]


def all_but_a_byte(data: bytes) -> bytes:
    return data[:-1]


@contextmanager
def killed(at: int, tear: Tear | None = None) -> Iterator[list[str]]:
    """Dies at call number `at` to the kernel, which is a write that leaves what `tear` says, or does nothing.

    Says which calls there were.
    """
    calls: list[str] = []

    def dying(name: str, real: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **options: object) -> object:
            calls.append(name)
            if len(calls) <= at:
                return None if name in ("fsync", "fdatasync") else real(*args, **options)
            if len(calls) == at + 1 and name == "write" and tear is not None:
                real(args[0], tear(bytes(args[1])))
            raise Killed  # whatever is still called: the dead do nothing

        return call

    with pytest.MonkeyPatch.context() as patch, suppress(Killed):
        for name in CALLS:
            patch.setattr(os, name, dying(name, getattr(os, name)))
        yield calls


def every_kill(begin: Path, operation: Callable[[Path], None]) -> Iterator[tuple[str, Path]]:
    """Where and in which state a folder is left by a kill at each of an operation's calls to the kernel."""
    for tear in (None, whole_line, all_but_a_byte):
        for at in range(10_000):
            path = begin.with_name("killed")
            shutil.rmtree(path, ignore_errors=True)
            if begin.exists():
                shutil.copytree(begin, path)
            with killed(at, tear) as calls:
                operation(path)
            if len(calls) <= at:
                break
            if tear is None or calls[at] == "write":
                yield f"{calls[at]}, call {at}, {tear.__name__ if tear else 'nothing'} left", path
