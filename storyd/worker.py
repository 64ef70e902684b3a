"""The life of one index, and the work of a job: ask, decide, note, until every shard is sealed."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import anyio
from anyio import to_thread
from anyio.abc import TaskGroup

from . import __version__
from .budget import Purse
from .errors import Spent, StorydError, Unanswered
from .events import Event, Fault, Invalid
from .exchange import Completion, Provider, Request
from .job import Job, compose
from .ledger import SYNC_EVERY, Ledger
from .retry import Asked, decide
from .settings import Price


@dataclass(frozen=True, slots=True)
class Account:
    """Whom to ask, at what price, within which budget (None: no bound)."""

    name: str
    provider: Provider
    price: Price | None
    purse: Purse | None = None


class Frontier:
    """The open indices of a ledger's shards, each handed out once, in order; those put off come last."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._fresh = self._walk()
        self._later: deque[int] = deque()

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        for index in self._fresh:
            return index
        if self._later:
            return self._later.popleft()
        raise StopIteration

    def put_off(self, index: int) -> None:
        """Hand an index out again, after all others."""
        self._later.append(index)

    def _walk(self) -> Iterator[int]:
        for number in self._ledger.numbers:
            if number not in self._ledger.progress.sealed:
                yield from self._ledger.open(number).unsettled()


async def settle(job: Job, index: int, account: Account, ledger: Ledger) -> Event:
    """Ask about an index until its answer is valid, patience runs out or it is put off. Raises Fatal."""
    prompt = job.prompt(index)
    while True:
        past = ledger.past(index)
        outcome = await _ask(account, compose(job, prompt, past))
        # no await from here to the end of note(): what was paid for is written down
        event = decide(job, prompt, past, outcome, Asked(account.name, account.price, now()))
        ledger.note(event)
        if ledger.trouble is not None:
            raise ledger.trouble
        match event:
            case Fault(put_off=False, wait=wait):
                await anyio.sleep(wait)
            case Invalid():
                pass
            case _:
                return event


async def _ask(account: Account, request: Request) -> Completion | Unanswered:
    try:
        if account.purse is None:
            return await account.provider.complete(request)
        with account.purse.reserved(request):
            return await account.provider.complete(request)
    except Unanswered as unanswered:
        return unanswered


async def work(job: Job, account: Account, ledger: Ledger, width: int, drain: anyio.CancelScope) -> None:
    """Settle and seal all shards of a ledger, `width` indices at a time. Raises Fatal or Damaged.

    Cancelling `drain` ends it early: nothing more is asked; what was sent is still received and noted, which
    the provider sees to by shielding it (see limiter.Limited).
    """
    crew = _Crew(job, account, ledger, drain)
    async with anyio.create_task_group() as crew.seals:  # what is settled is sealed, drain or no drain
        for number in [number for number, fold in ledger.progress.open.items() if not fold.left]:
            crew.seals.start_soon(crew.seal, number)
        async with anyio.create_task_group() as syncing:
            syncing.start_soon(crew.sync)
            with drain:
                async with anyio.create_task_group() as hands:
                    for _ in range(min(width, job.stories)):
                        hands.start_soon(crew.hand)
            syncing.cancel_scope.cancel()
    if crew.stopped is not None:
        raise crew.stopped


class _Crew:
    """What the tasks of one `work` share."""

    def __init__(self, job: Job, account: Account, ledger: Ledger, drain: anyio.CancelScope) -> None:
        self.job, self.account, self.ledger, self.drain = job, account, ledger, drain
        self.frontier = Frontier(ledger)
        self.stopped: StorydError | None = None
        self.seals: TaskGroup
        self._disk = anyio.CapacityLimiter(1)  # a sync and a seal must not meet on a file

    async def hand(self) -> None:
        """Settle one index after another."""
        try:
            for index in self.frontier:
                await self._settle(index)
        except Spent as spent:
            # what is in flight may cost less than its worst: the hands get fewer as the budget runs out
            if self.account.purse is None or self.account.purse.idle:
                self._stop(spent)
        except StorydError as error:
            self._stop(error)

    async def _settle(self, index: int) -> None:
        try:
            event = await settle(self.job, index, self.account, self.ledger)
        except Spent:
            self.frontier.put_off(index)
            raise
        number = index // self.job.shard_size
        if isinstance(event, Fault):
            self.frontier.put_off(index)
        elif not self.ledger.progress.open[number].left:
            self.seals.start_soon(self.seal, number)

    async def seal(self, number: int) -> None:
        """Seal a shard that is settled."""
        try:
            facts = {"storyd": __version__, "sealed_at": now()}
            await to_thread.run_sync(self.ledger.seal, number, facts, limiter=self._disk)
            self.ledger.retire(number)
        except StorydError as error:
            self._stop(error)

    async def sync(self) -> None:
        """Put what was noted on the disk, for as long as there are hands."""
        while True:
            await anyio.sleep(SYNC_EVERY)
            try:
                await to_thread.run_sync(self.ledger.sync, limiter=self._disk)
            except StorydError as error:
                self._stop(error)

    def _stop(self, error: StorydError) -> None:
        self.stopped = self.stopped or error
        self.drain.cancel()


def now() -> str:
    """The time as records carry it."""
    return _stamp(int(time.time()))


@lru_cache(maxsize=2)
def _stamp(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
