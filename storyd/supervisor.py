"""Which jobs run on which providers: start, park, drain. Knows no arguments and no screen."""

from __future__ import annotations

import signal
from collections.abc import Callable

import anyio

from . import providers
from .budget import Purse
from .config import Setup
from .ledger import Ledger, freeze, opened
from .limiter import Limited
from .settings import Budget
from .shards import Folder
from .worker import Account, work

WIDEST = 512
"""How many requests may be in flight where neither the job nor the account says so."""
LOOK_EVERY = 0.25
"""Seconds between two looks at a run."""


class Stop:
    """How a run is asked to end: the first time it drains, the second time it stops at once."""

    def __init__(self) -> None:
        self.drain, self.all = anyio.CancelScope(), anyio.CancelScope()
        self.limited: Limited | None = None
        self.signal = 0

    def ask(self, number: int) -> None:
        """A signal has come."""
        if self.limited is None or self.signal:  # nothing was sent yet, or enough was waited
            self.all.cancel()
            if self.limited is not None:
                self.limited.stop()
        self.signal = number
        self.drain.cancel()


Watch = Callable[[Ledger, Stop], None]
"""Shown the state of a run every now and then, and once more at its end."""


async def run(setup: Setup, folder: Folder, numbers: range, watch: Watch) -> int:
    """Settle and seal the shards `numbers` of a job; returns the signal that ended it early, or 0.

    Raises ConfigError, Damaged or Fatal.
    """
    stop = Stop()
    freeze(setup.job, folder, setup.frozen)
    width = setup.width or setup.provider.limits.concurrency or WIDEST
    with opened(setup.job, folder, numbers, width * _room(setup.job.sampling.max_tokens)) as ledger:
        try:
            if len(ledger.progress.sealed) < len(numbers):
                with stop.all:
                    async with anyio.create_task_group() as around:
                        around.start_soon(_heed_signals, stop)
                        await _ask(setup, ledger, width, stop, watch)
                        around.cancel_scope.cancel()
        finally:
            watch(ledger, stop)
    return stop.signal


async def _ask(setup: Setup, ledger: Ledger, width: int, stop: Stop, watch: Watch) -> None:
    async with providers.connect(setup.provider) as provider:
        limited = stop.limited = Limited(provider, setup.provider.limits, width=setup.width)
        purse = None
        if setup.budget != Budget():
            purse = Purse(setup.budget, setup.price, ledger.progress.spent)
        account = Account(setup.provider.name, limited, setup.price, purse)
        async with anyio.create_task_group() as around:
            around.start_soon(_look, watch, ledger, stop)
            await work(setup.job, account, ledger, width, stop.drain)
            around.cancel_scope.cancel()


async def _look(watch: Watch, ledger: Ledger, stop: Stop) -> None:
    while True:
        watch(ledger, stop)
        await anyio.sleep(LOOK_EVERY)


async def _heed_signals(stop: Stop) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for number in signals:
            stop.ask(number)


def _room(max_tokens: int) -> int:
    """Bytes that one answer may take in a file: 16 a token, more than any script needs, and an envelope."""
    return 4096 + 16 * max_tokens
