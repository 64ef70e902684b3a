"""Asking again: reopen what was abandoned, or set a whole shard aside. Needs the files of a job only.

Whatever is reopened, its questions go on above every number used before, so that none is ever repeated.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from . import events, record, shards
from .appendlog import disk_errors, owned, whole_lines, write_whole
from .errors import ConfigError, Damaged
from .events import Abandoned, Fault, Invalid, Paid, Reopened
from .exchange import NO_USAGE, Usage
from .ledger import frozen
from .shards import Folder

LEAP = 1000
"""How far the numbering of questions leaps where what was asked before is not known for sure."""


@dataclass(slots=True)
class Spent:
    """What was asked about an index so far.

    `nth` numbers its next question; a record of a question below `floor` is void.
    """

    nth: int = 0
    floor: int = 0
    settled: bool = False
    answers: int = 0
    usage: Usage = NO_USAGE
    usd: float | None = None

    def pay(self, answers: int, usage: Usage, usd: float | None) -> None:
        """So many answers came, at this price."""
        self.answers += answers
        self.usage = self.usage.plus(usage)
        if usd is not None:
            self.usd = (self.usd or 0.0) + usd


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


def require(folder: Folder, number: int) -> list[range]:
    """The indices of each shard of a job. Raises ConfigError where it has no shard `number`."""
    ranges = _ranges(folder)
    if not 0 <= number < len(ranges):
        raise ConfigError(f"no shard {number}", where=str(folder.path), fix=f"it has 0 to {len(ranges) - 1}")
    return ranges


def restart(folder: Folder, number: int, now: str) -> int:
    """Set a shard aside, into the trash folder, and reopen all its indices; returns how many were settled.

    Raises ConfigError where the job has no such shard, Held, Damaged or Full.
    """
    ranges = require(folder, number)
    with owned(folder.lock, range(number, number + 1)), disk_errors(folder.path):
        shards.finish_restart(folder, number)
        spent = _spent(folder, number, ranges[number])
        lines = [
            events.to_line(Reopened(index, one.nth, "restart-shard", now, one.answers, one.usage, one.usd))
            for index, one in sorted(spent.items())
        ]
        write_whole(shards.following(folder, number), b"".join(lines))
        shards.finish_restart(folder, number)
    return sum(one.settled for one in spent.values())


def _spent(folder: Folder, number: int, indices: range) -> dict[int, Spent]:
    """What was asked about the indices of a shard; damage is read around."""
    stories = folder.growing(number) if folder.growing(number).exists() else folder.stories(number)
    spent: dict[int, Spent] = defaultdict(Spent)
    whole = _is_whole(folder, number, indices)
    for path, read in ((folder.events(number), _event), (stories, _record)):
        for _, line in whole_lines(path):
            try:
                read(line, spent)
            except (ValueError, TypeError):
                whole = False
    if not whole:
        leap = LEAP + max((one.nth for one in spent.values()), default=0)
        for index in indices:
            spent[index].nth = leap
    return {index: one for index, one in spent.items() if index in indices}


def _is_whole(folder: Folder, number: int, indices: range) -> bool:
    """Whether no file of a shard is known to be lost or cut."""
    try:
        shards.require_events(folder, number)
        shards.sealed(folder, number, indices)
    except Damaged:
        return False
    return True


def _event(line: bytes, spent: dict[int, Spent]) -> None:
    event = events.from_line(line)
    one = spent[event.index]
    match event:
        case Reopened(nth=nth, answers=answers, usage=usage, usd=usd):
            one.nth, one.floor, one.settled = max(one.nth, nth), nth, False
            one.pay(answers, usage, usd)
        case Invalid(nth=nth, answer=Paid() as answer) | Abandoned(nth=nth, answer=Paid() as answer):
            one.nth, one.settled = max(one.nth, nth + 1), isinstance(event, Abandoned)
            one.pay(1, answer.usage, answer.usd)
        case Fault(nth=nth) | Abandoned(nth=nth):
            one.nth, one.settled = max(one.nth, nth + 1), isinstance(event, Abandoned)


def _record(line: bytes, spent: dict[int, Spent]) -> None:
    stored = record.from_line(line)
    if stored.part == 0:
        one = spent[stored.index]
        one.settled = one.settled or stored.nth >= one.floor
        one.nth = max(one.nth, stored.nth + 1)
        one.pay(1, stored.usage, stored.usd)


def _ranges(folder: Folder) -> list[range]:
    """The indices of each shard, from the frozen job."""
    job = frozen(folder)
    if job is None:
        raise ConfigError("no such job", where=str(folder.path), fix="see the folders beside it")
    stories, size = job["job"]["stories"], job["job"]["shard_size"]
    return [range(first, min(first + size, stories)) for first in range(0, stories, size)]
