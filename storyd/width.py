"""How many requests are in flight at once: few at first, more while that brings more, fewer when the provider
refuses. Pure: no clock.

A server that never refuses answers a longer queue no faster. What a width brings is measured by Little's law:
tokens per second of one call times the calls in flight. That needs no stretch of time without disturbance,
and each answer counts for the width that it was sent at (its generation).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

START = 8
WIDEST = 512
"""The ceiling where nobody gives one."""
SAMPLE = 16
"""Answers that a judgement needs at least; else as many as the width."""
BOUND = 0.1
"""Share of the requests that had to wait for their turn, from which on the width is what binds."""
GAIN, LOSS = 1.05, 0.97
"""A wider width must bring at least this much of the throughput; a narrower one may cost that much."""
REST = 8
"""Judgements between two looks at another width."""
DOUBLE_IN = 0.5
"""Seconds in which the width doubles after an outage: eight to 512 in three seconds."""


@dataclass(slots=True)
class Width:
    """The width now, `size`, which never exceeds `ceiling`; where it `climbs`, only as far as it helps."""

    ceiling: int = WIDEST
    climbs: bool = True
    size: int = START
    mode: Literal["ramp", "recover", "hold"] = "ramp"
    generation: int = 0
    _base: int = 0
    _best: float = 0.0
    _goal: int = 0
    _rest: int = 0
    _wider: bool = True
    _since: float = float("-inf")
    _answers: int = 0
    _held: int = 0
    _tokens: float = 0.0
    _seconds: float = 0.0
    _beside: float = 0.0

    def __post_init__(self) -> None:
        self.size = self._base = min(self.size, self.ceiling)

    def allowed(self, now: float) -> int:
        """The width that may be used now: after an outage it grows back within seconds."""
        grown = (now - self._since) / DOUBLE_IN
        return self.size if grown > 16 else min(self.size, int(START * 2.0**grown))

    def restart(self, now: float) -> None:
        """An outage has ended: come back quickly, but not all at once."""
        self._since = now
        self._renew()

    def held(self) -> None:
        """A request had to wait for its turn."""
        self._held += 1

    def answered(self, generation: int, beside: int, tokens: int, seconds: float) -> None:
        """An answer of so many tokens took so long, with `beside` requests in flight when it was sent."""
        if generation != self.generation:
            return
        self._answers += 1
        self._beside += beside
        self._tokens += tokens + 1
        self._seconds += seconds
        if self._answers >= (max(SAMPLE, self.size) if self.climbs else self.size):
            self._judge()

    def cut(self, in_flight: int) -> None:
        """The provider has refused, with so many in flight: be narrower, and grow back slowly."""
        self._goal = max(self._goal if self.mode == "recover" else 0, self.size)
        self.size = self._base = max(1, int(0.7 * min(self.size, in_flight)))
        self.mode = "recover"
        self._renew()

    def _judge(self) -> None:
        if self._held >= BOUND * self._answers:
            brings = self._beside / self._answers * self._tokens / max(self._seconds, 1e-9)
            match self.mode:
                case "ramp":
                    self._ramp(brings)
                case "recover":
                    self._recover(brings)
                case "hold":
                    self._hold(brings)
        self._renew()

    def _ramp(self, brings: float) -> None:
        if self.climbs and self._best and brings < GAIN * self._best:
            self.size, self.mode = self._base, "hold"
            return
        self._best, self._base = brings, self.size
        self.size = min(2 * self.size, self.ceiling)
        if self.size == self._base:
            self.mode = "hold"

    def _recover(self, brings: float) -> None:
        self._best, self._base = brings, self.size
        self.size = min(self.size + max(1, self.size // 16), self.ceiling)
        if self.size >= self._goal:
            self.mode = "hold" if self.climbs else "ramp"

    def _hold(self, brings: float) -> None:
        if self.size == self._base:
            self._best += 0.3 * (brings - self._best)
            self._rest += 1
            if self._rest >= REST and self.climbs:
                self._look()
        elif brings >= (GAIN if self._wider else LOSS) * self._best:
            self._best, self._base = brings, self.size
            self._look()
        else:
            self.size, self._rest, self._wider = self._base, 0, not self._wider

    def _look(self) -> None:
        """Try a width a quarter wider or a fifth narrower."""
        size = self.size + max(1, self.size // 4) if self._wider else self.size - max(1, self.size // 5)
        self.size = max(1, min(size, self.ceiling))
        if self.size == self._base:
            self._rest, self._wider = 0, not self._wider

    def _renew(self) -> None:
        self.generation += 1
        self._answers = self._held = 0
        self._tokens = self._seconds = self._beside = 0.0
