"""Asking again: reopen what was abandoned, or set a whole shard aside. Needs the files of a job only.

Whatever is reopened, its questions go on above every number used before, so that none is ever repeated.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from . import events, record, shards
from .appendlog import disk_errors, owned, whole_lines, write_whole
from .errors import ConfigError
from .events import Abandoned, Invalid, Paid, Reopened
from .exchange import NO_USAGE, Usage
from .ledger import frozen
from .shards import Folder

LEAP = 1000
"""How far the numbering of questions leaps where what was asked before is not known for sure."""


@dataclass(slots=True)
class Spent:
    """What was asked about an index so far."""

    nth: int = 0
    answers: int = 0
    usage: Usage = NO_USAGE
    usd: float = 0.0

    def answered(self, nth: int, usage: Usage, usd: float | None) -> None:
        """Question `nth` was answered, and paid for."""
        self.nth = max(self.nth, nth + 1)
        self.answers += 1
        self.usage = self.usage + usage
        self.usd += usd or 0.0


def retry(folder: Folder, now: str) -> int:
    """Reopen every abandoned index of a job; returns how many. Raises ConfigError, Held, Damaged or Full."""
    ranges = _ranges(folder)
    with owned(folder.lock, range(len(ranges))):
        return sum(_retry_shard(folder, number, indices, now) for number, indices in enumerate(ranges))


def _retry_shard(folder: Folder, number: int, indices: range, now: str) -> int:
    tally = shards.sealed(folder, number, indices)
    if not folder.events(number).exists() or (tally is not None and not tally.abandoned):
        return 0
    with disk_errors(folder.events(number)):
        growing = shards.open_shard(folder, number, indices)
        abandoned = growing.fold.abandoned()
        try:
            for index in abandoned:
                nth = growing.fold.past(index).nth
                growing.events.append(events.to_line(Reopened(index, nth, "retry", now)))
        finally:
            growing.close()
    return len(abandoned)


def restart(folder: Folder, number: int, now: str) -> int:
    """Set a shard aside, into the trash folder, and reopen all its indices; returns how many were settled.

    Raises ConfigError where the job has no such shard, Held, Damaged or Full.
    """
    ranges = _ranges(folder)
    if not 0 <= number < len(ranges):
        raise ConfigError(f"no shard {number}", where=str(folder.path), fix=f"it has 0 to {len(ranges) - 1}")
    with owned(folder.lock, range(number, number + 1)), disk_errors(folder.path):
        shards.finish_restart(folder, number)
        spent, settled = _spent(folder, number, ranges[number])
        lines = [
            events.to_line(Reopened(index, one.nth, "restart-shard", now, one.answers, one.usage, one.usd))
            for index, one in sorted(spent.items())
        ]
        write_whole(shards.following(folder, number), b"".join(lines))
        shards.finish_restart(folder, number)
    return settled


def _spent(folder: Folder, number: int, indices: range) -> tuple[dict[int, Spent], int]:
    """What was asked about each index of a shard, and how many are settled; damage is read around."""
    stories = folder.growing(number) if folder.growing(number).exists() else folder.stories(number)
    spent: dict[int, Spent] = defaultdict(Spent)
    settled: set[int] = set()
    whole = folder.events(number).exists() or not stories.exists()
    for path, read in ((folder.events(number), _event), (stories, _record)):
        for _, line in whole_lines(path):
            try:
                index, final = read(line, spent)
            except ValueError:
                whole = False
                continue
            (settled.add if final else settled.discard)(index)
    if not whole:
        leap = LEAP + max((one.nth for one in spent.values()), default=0)
        for index in indices:
            spent[index].nth = leap
    return {index: spent[index] for index in spent if index in indices}, len(settled)


def _event(line: bytes, spent: dict[int, Spent]) -> tuple[int, bool]:
    event = events.from_line(line)
    one = spent[event.index]
    match event:
        case Invalid(nth=nth, answer=answer) | Abandoned(nth=nth, answer=Paid() as answer):
            one.answered(nth, answer.usage, answer.usd)
        case Reopened(nth=nth, answers=answers, usage=usage, usd=usd):
            one.nth = max(one.nth, nth)
            one.answers += answers
            one.usage = one.usage + usage
            one.usd += usd or 0.0
    return event.index, isinstance(event, Abandoned)


def _record(line: bytes, spent: dict[int, Spent]) -> tuple[int, bool]:
    stored = record.from_line(line)
    if stored.part == 0:
        spent[stored.index].answered(stored.nth, stored.usage, stored.usd)
    return stored.index, True


def _ranges(folder: Folder) -> list[range]:
    """The indices of each shard, from the frozen job."""
    job = frozen(folder)
    if job is None:
        raise ConfigError("no such job", where=str(folder.path), fix="see the folders beside it")
    stories, size = job["job"]["stories"], job["job"]["shard_size"]
    return [range(first, min(first + size, stories)) for first in range(0, stories, size)]
