"""One promise of an account, so many units per second: kept by reservation, and resynchronised from what the
provider says of it. Pure: no clock.

A meter is one float, `due`: when all that was let go will have been paid for. Something may go while `due` is
less than BURST ahead, so a minute's allowance is spread over the minute.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from .exchange import Reading

BURST = 0.1
"""Seconds of allowance that may go at once, or a late wake-up would be lost for ever."""
WINDOWS = (1.0, 60.0, 3600.0, 86400.0)
MINUTE = 60.0
ALIKE = 1.25
"""How far a window that was inferred may be from one of WINDOWS."""
BELIEVED = 3
"""How many readings must agree that a limit refills like a bucket, and how fast."""
STILL = 0.02
"""Seconds by which a reset must change to tell anything."""
LEARN_EVERY = 5.0
TOP, LOW = 0.98, 0.1
"""A bucket fuller than TOP hides what was charged; below LOW of it the pace eases."""
FACTOR = (0.1, 4.0)
CUT, LEAST, HEAL = 0.9, 0.05, 0.002
"""A refusal leaves CUT of the pace, never less than LEAST of it in all; it comes back by HEAL a second."""
DISTRUST = 900.0
"""Seconds after a refusal in which a full bucket is no invitation to go faster."""


def reserve(due: float, now: float, cost: float, rate: float, burst: float) -> tuple[float, float]:
    """The meter after `cost` units at `rate` a second, and how many seconds to wait first."""
    return max(due, now) + cost / rate, max(0.0, due - burst - now)


@dataclass(slots=True)
class _Bucket:
    """Whether a limit refills steadily, and in which window: three readings in a row must agree.

    In one bucket remaining + rate · reset is the same for all readings, so two of them tell the rate. A fixed
    window never agrees with that: its reset counts down. Where reset stands still, the bucket is compared to
    a full one; but only where it is half full at least, for it may hold less than its limit.
    """

    window: float = MINUTE
    sure: bool = False
    _last: tuple[float, float] | None = None
    _vote: float = 0.0
    _votes: int = 0

    def see(self, reading: Reading) -> None:
        if reading.reset is None:
            return
        remaining, reset = self._last or (reading.limit, 0.0)
        if abs(reading.reset - reset) >= STILL:
            self._last = (reading.remaining, reading.reset)
            self._count(_window(reading.limit * (reading.reset - reset), remaining - reading.remaining))
        elif reading.remaining >= reading.limit / 2:
            window = _window(reading.limit * reading.reset, reading.limit - reading.remaining)
            if window:
                self._count(window)

    def _count(self, window: float) -> None:
        self._votes = self._votes + 1 if window and window == self._vote else 1
        self._vote = window
        if self._votes >= BELIEVED:
            self.sure = bool(window)
            self.window = window or MINUTE


def _window(limit_seconds: float, units: float) -> float:
    """The window that limit · seconds / units is close to; 0 where there is none."""
    guess = limit_seconds / units if units else 0.0
    return next((window for window in WINDOWS if window / ALIKE <= guess <= window * ALIKE), 0.0)


@dataclass(slots=True)
class Meter:
    """So many units per second. `ceiling` is what was configured, `told` what is told; inf is unknown.

    `rate` is the pace now, in units as we estimate them, and `spent` all that was reserved.
    """

    ceiling: float = math.inf
    told: float = math.inf
    rate: float = math.inf
    due: float = 0.0
    spent: float = 0.0
    factor: float = 1.0
    """What the provider charges for one unit that we reserve."""
    level: float = 1.0
    """What remains, as a share of the most that was ever seen to remain."""
    _gain: float = 1.0
    _cut_at: float = -math.inf
    _full: float = 0.0
    _bucket: _Bucket = field(default_factory=_Bucket)
    _mark: tuple[float, float, float] | None = None

    def __post_init__(self) -> None:
        self.rate = self.ceiling

    def wait(self, now: float) -> float:
        """Seconds until the next request may go, whatever it costs."""
        return self.due - BURST - now

    def take(self, now: float, cost: float) -> None:
        """Let a request of `cost` units go."""
        self.due, _ = reserve(self.due, now, cost, self.rate, BURST)
        self.spent += cost

    def give_back(self, units: float) -> None:
        """So many of the units reserved were not needed (less than 0: were not enough)."""
        self.due -= units / self.rate
        self.spent -= units

    def cut(self, now: float) -> None:
        """The provider has refused: go slower."""
        self._gain = max(LEAST, CUT * self._healed(now))
        self._cut_at = now
        self.factor = max(self.factor, 1.0)
        self.refresh(now)

    @property
    def healing(self) -> bool:
        """Whether it is slower than it was, and time makes it faster."""
        return self._gain < 1.0

    def refresh(self, now: float) -> None:
        """Bring the pace up to date; what is owed is owed at the new pace."""
        if self._gain < 1.0 <= self._healed(now):
            self._gain = 1.0
        base = min(self.ceiling, self.told)
        rate = base * self._healed(now) * min(1.0, 0.5 + self.level / (2 * LOW)) / self.factor
        if self.due > now:
            self.due = now + (self.due - now) * (self.rate / rate if math.isfinite(rate) else 0.0)
        self.rate = rate

    def read(self, reading: Reading, sent: float, spent: float, now: float) -> None:
        """Learn from the answer to a request that was `sent` when `spent` units had been reserved."""
        self._bucket.see(reading)
        self.told = reading.limit / self._bucket.window
        if self._bucket.window > MINUTE:
            # a day's allowance need not be spread over the day: a minute's share of what is left goes on top
            self.told += reading.remaining / MINUTE
        self._full = min(reading.limit, max(self._full, reading.remaining))
        self.level = reading.remaining / self._full if self._full else 0.0
        self._learn(reading, sent, spent)
        self.refresh(now)

    def _learn(self, reading: Reading, sent: float, spent: float) -> None:
        mark = self._mark
        if mark is not None and sent - mark[0] < LEARN_EVERY:
            return
        self._mark = (sent, reading.remaining, spent)
        if mark is None or not self._bucket.sure:
            return
        elapsed, used = sent - mark[0], spent - mark[2]
        refill = reading.limit / self._bucket.window * elapsed
        least, most = FACTOR
        if max(mark[1], reading.remaining) < TOP * self._full:
            if used > 0.1 * refill:
                charged = (mark[1] - reading.remaining + refill) / used
                self.factor += 0.3 * (min(most, max(least, charged)) - self.factor)
        elif used > 0.9 * self.rate * elapsed and self.ceiling >= self.told and self._trusted(sent):
            # at full pace, and yet the bucket stays full: less is charged than we think
            self.factor = max(least, 0.9 * self.factor)

    def _trusted(self, now: float) -> bool:
        return now - self._cut_at > DISTRUST

    def _healed(self, now: float) -> float:
        return min(1.0, self._gain + HEAL * max(0.0, now - self._cut_at)) if self._gain < 1.0 else 1.0
