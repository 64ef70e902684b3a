"""Progress: the fold of a job's events. Nothing else counts anything. Knows no file.

Memory holds the open shards in detail and of the sealed ones a sum, so it does not grow with the job.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .events import Abandoned, Accepted, Event, Fault, Invalid, Paid, Reopened
from .exchange import NO_USAGE, Usage
from .past import FRESH, Past
from .record import Record, usage_body, usage_from
from .retry import after

BUCKETS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 60.0, 120.0, 300.0)
"""Upper bounds of the latency histogram in seconds; one more bucket holds what is slower."""

OPEN, ACCEPTED, ABANDONED = 0, 1, 2


@dataclass(slots=True)
class Tally:
    """What a set of indices has come to: sums only, so tallies add up."""

    accepted: int = 0
    records: int = 0
    abandoned: int = 0
    answers: int = 0
    faults: int = 0
    usage: Usage = NO_USAGE
    usd: float = 0.0
    unpriced: int = 0
    """Answers whose price is not known."""
    reasons: Counter[str] = field(default_factory=Counter)
    """Check → how many answers it has found invalid."""
    latency: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    models: Counter[str] = field(default_factory=Counter)

    @property
    def settled(self) -> int:
        """Indices that are accepted or abandoned."""
        return self.accepted + self.abandoned

    def paid(self, usage: Usage, usd: float | None, seconds: float, model: str) -> None:
        """One more answer was received."""
        self.answers += 1
        self.usage = self.usage.plus(usage)
        if usd is None:
            self.unpriced += 1
        else:
            self.usd += usd
        self.latency[bisect_left(BUCKETS, seconds)] += 1
        self.models[model] += 1

    def rejected(self, why: Iterable[str]) -> None:
        """An answer or an index failed for these reasons: counted once per check."""
        for check in {reason.partition(":")[0] for reason in why}:
            self.reasons[check] += 1

    def add(self, other: Tally) -> None:
        """Take another tally in."""
        self.accepted += other.accepted
        self.records += other.records
        self.abandoned += other.abandoned
        self.answers += other.answers
        self.faults += other.faults
        self.usage = self.usage.plus(other.usage)
        self.usd += other.usd
        self.unpriced += other.unpriced
        self.reasons.update(other.reasons)
        self.latency = [mine + theirs for mine, theirs in zip(self.latency, other.latency, strict=True)]
        self.models.update(other.models)

    def body(self) -> dict[str, Any]:
        """As JSON: what a seal carries."""
        return {
            "accepted": self.accepted,
            "records": self.records,
            "abandoned": self.abandoned,
            "answers": self.answers,
            "faults": self.faults,
            "usage": usage_body(self.usage),
            "usd": None if 0 < self.unpriced == self.answers else round(self.usd, 9),
            "unpriced": self.unpriced,
            "reasons": dict(sorted(self.reasons.items())),
            "latency": {"bounds": BUCKETS, "counts": self.latency},
            "models": dict(sorted(self.models.items())),
        }

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Tally:
        """The inverse of `body`. Raises KeyError or TypeError."""
        return cls(
            body["accepted"],
            body["records"],
            body["abandoned"],
            body["answers"],
            body["faults"],
            usage_from(body["usage"]),
            body["usd"] or 0.0,
            body["unpriced"],
            Counter(body["reasons"]),
            list(body["latency"]["counts"]),
            Counter(body["models"]),
        )


class OpenShard:
    """The fold of one open shard's events, in the order of its files: events first, then stories."""

    def __init__(self, indices: range) -> None:
        self.indices = indices
        self.tally = Tally()
        self.left = len(indices)
        self._state = bytearray(len(indices))
        self._pasts: dict[int, Past] = {}
        self._floors: dict[int, int] = {}
        self._parts: dict[int, int] = {}

    def state(self, index: int) -> int:
        """OPEN, ACCEPTED or ABANDONED."""
        return self._state[index - self.indices.start]

    def accepted(self, index: int) -> bool:
        """Whether an index is accepted."""
        return self.state(index) == ACCEPTED

    def past(self, index: int) -> Past:
        """What an open index has been through."""
        return self._pasts.get(index, FRESH)

    def unsettled(self) -> Iterator[int]:
        """The open indices, in order."""
        at = self._state.find(OPEN)
        while at >= 0:
            yield self.indices.start + at
            at = self._state.find(OPEN, at + 1)

    def abandoned(self) -> list[int]:
        """The abandoned indices, in order."""
        return [self.indices.start + at for at, state in enumerate(self._state) if state == ABANDONED]

    def floor(self, index: int) -> int:
        """Records of questions below this number are void: the index was reopened since."""
        return self._floors.get(index, 0)

    def see(self, event: Event) -> None:
        """One more event."""
        tally = self.tally
        match event:
            case Accepted(index, records):
                self._accept(index, records)
            case Invalid(why=why, answer=answer):
                self._pay(answer)
                tally.rejected(why)
            case Fault():
                tally.faults += 1
            case Abandoned(index, why=why, answer=paid):
                if paid is not None:
                    self._pay(paid)
                # a provider's own words would make as many kinds of reason as there are faults
                tally.rejected(why if paid is not None else ("unanswered",))
                self._settle(index, ABANDONED)
                tally.abandoned += 1
            case Reopened():
                self._reopen(event)
        self._remember(event)

    def see_stored(self, record: Record) -> None:
        """A record as it stands in the open file: accepted, unless it is void, and paid for either way."""
        if record.part == 0:
            self.tally.paid(record.usage, record.usd, record.seconds, record.model)
        if record.nth >= self.floor(record.index):
            self._count(record.index, 1)

    def _accept(self, index: int, records: tuple[Record, ...]) -> None:
        first = records[0]
        self.tally.paid(first.usage, first.usd, first.seconds, first.model)
        self._count(index, len(records))

    def _count(self, index: int, records: int) -> None:
        self.tally.records += records
        if self.state(index) == ACCEPTED:  # a further part of the same answer
            self._parts[index] = self._parts.get(index, 1) + records
            return
        if records > 1:
            self._parts[index] = records
        self._pasts.pop(index, None)
        self._settle(index, ACCEPTED)
        self.tally.accepted += 1

    def _pay(self, answer: Paid) -> None:
        self.tally.paid(answer.usage, answer.usd, answer.seconds, answer.model)

    def _settle(self, index: int, state: int) -> None:
        self._state[index - self.indices.start] = state
        self.left -= 1

    def _reopen(self, event: Reopened) -> None:
        tally = self.tally
        state = self.state(event.index)
        if state == ACCEPTED:
            tally.accepted -= 1
            tally.records -= self._parts.pop(event.index, 1)
        elif state == ABANDONED:
            tally.abandoned -= 1
        self.left += state != OPEN
        self._state[event.index - self.indices.start] = OPEN
        self._floors[event.index] = event.nth
        tally.answers += event.answers
        tally.usage = tally.usage.plus(event.usage)
        if event.usd is None:
            tally.unpriced += event.answers
        else:
            tally.usd += event.usd

    def _remember(self, event: Event) -> None:
        if not isinstance(event, Accepted):
            self._pasts[event.index] = after(self.past(event.index), event)


class Progress:
    """All that is known of a job: the sum of its sealed shards, and its open ones in detail."""

    def __init__(self) -> None:
        self.sealed: set[int] = set()
        self.open: dict[int, OpenShard] = {}
        self._sealed_total = Tally()

    def see_seal(self, number: int, tally: Tally) -> None:
        """A shard is sealed, with this tally."""
        self.open.pop(number, None)
        self.sealed.add(number)
        self._sealed_total.add(tally)

    def spent(self) -> tuple[float, int]:
        """US dollars and tokens so far; cheap enough to ask before every request."""
        tallies = [self._sealed_total, *(shard.tally for shard in self.open.values())]
        return sum(t.usd for t in tallies), sum(t.usage.input + t.usage.output for t in tallies)

    def total(self) -> Tally:
        """The tally of the whole job."""
        whole = Tally()
        whole.add(self._sealed_total)
        for shard in self.open.values():
            whole.add(shard.tally)
        return whole
