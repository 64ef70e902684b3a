"""A job that fits in a test, and what it is asked of: no network, no clock, every answer a function of its question."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path

import anyio
import orjson

from storyd import ledger, reopen, shards, verify
from storyd.errors import Transient
from storyd.events import Accepted, Event
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
    return replace(job, fingerprint={"template": "t", "model": "m"}, **changes)


def body(job: Job) -> dict[str, object]:
    """What is frozen of a job."""
    return {"stories": job.stories, "shard_size": job.shard_size}


# ── answers ───────────────────────────────────────────────────────────────────────────────────────


def chance(*facts: object) -> float:
    """In [0, 1), decided by the facts."""
    return int.from_bytes(blake2b(repr(facts).encode(), digest_size=7).digest()) / 2**56


def answer(request: Request, bad: float = 0.3) -> Completion:
    """Bad in `bad` of the cases; else two stories in one, for those who want parts."""
    said = "bad" if chance("bad", request.id) < bad else f"Once|{request.messages[-1][1]}"
    return Completion(f"{said} ({request.id})", "stop", Usage(10, len(said)), seconds=0.25)


class Teller:
    """A provider whose answers are functions of their questions.

    `latency` is the most seconds of an answer; `faults` the share of questions that fail at first, the
    question's own or not. Like `Limited` it shields what is sent, so that an answer on its way arrives.
    """

    def __init__(self, bad: float = 0.3, faults: float = 0.0, latency: float = 0.0, own: bool = True) -> None:
        self.bad, self.faults, self.latency, self.own = bad, faults, latency, own
        self.answered: list[str] = []
        self.asked: list[str] = []
        self._failed: set[str] = set()

    async def complete(self, request: Request) -> Completion:
        await anyio.lowlevel.checkpoint()
        self.asked.append(request.id)
        with anyio.CancelScope(shield=True):
            await anyio.sleep(self.latency * chance("latency", request.id, len(self.asked)))
        if request.id not in self._failed and chance("fault", request.id) < self.faults:
            self._failed.add(request.id)
            raise Transient("no answer", own=self.own)
        self.answered.append(request.id)
        return answer(request, self.bad)


# ── a job without a worker ────────────────────────────────────────────────────────────────────────


def facts() -> Mapping[str, str]:
    return {"sealed_at": NOW}


@contextmanager
def opened(job: Job, path: Path, numbers: range | None = None, reserve: int = 4096) -> Iterator[Ledger]:
    folder = Folder(path)
    ledger.freeze(job, folder, body(job))
    with ledger.opened(job, folder, range(job.shards) if numbers is None else numbers, reserve) as account:
        yield account


def ask(job: Job, index: int, past: Past = FRESH, bad: float = 0.3) -> Event:
    """What one question leads to."""
    request = Request(f"{job.name}/{index}.{past.nth}", "m", (("user", "?"),), 64)
    return decide(job, job.prompt(index), past, answer(request, bad), ASKED)


def settle(account: Ledger, index: int, bad: float = 0.3) -> None:
    """Ask about an index until it is settled."""
    while True:
        event = ask(account.job, index, account.past(index), bad)
        account.note(event)
        if isinstance(event, Accepted) or not account.open(index // account.job.shard_size).left:
            return
        if event.index not in account.open(index // account.job.shard_size).unsettled():
            return


def fill(account: Ledger, number: int, count: int | None = None, bad: float = 0.3) -> None:
    """Settle the first `count` open indices of a shard."""
    for index in list(account.open(number).unsettled())[:count]:
        settle(account, index, bad)


def close(account: Ledger, number: int) -> None:
    """Seal a shard."""
    account.seal(number, facts())
    account.retire(number)


def finish(job: Job, path: Path, bad: float = 0.3) -> Tally:
    """Settle and seal whatever is left."""
    with opened(job, path) as account:
        for number in range(job.shards):
            if number not in account.progress.sealed:
                fill(account, number, bad=bad)
                close(account, number)
        return account.progress.total()


def sound(path: Path) -> verify.Report:
    """The report of a job that verify finds no fault with."""
    report = verify.verify(Folder(path))
    assert not report.faults, report.faults
    return report


@lru_cache
def digest_of(job_facts: tuple[int, int]) -> str:
    raise NotImplementedError


def lines(path: Path) -> list[dict[str, object]]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


__all__ = ["reopen", "shards"]
