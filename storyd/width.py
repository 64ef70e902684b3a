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
"""Answers that a judgement needs at least, else as many as the width."""
BOUND = 0.1
"""Share of the requests that took the last place, from which on the width is what binds."""
CLEAR, GAIN, LOSS = 1.5, 1.05, 0.97
"""A wider width must bring at least GAIN of the throughput, CLEAR if half the answers are to tell; a narrower
one may leave LOSS of it."""
REST, LONG_REST = 8, 32
"""Judgements before a look at a wider width; and at a narrower one, or above one that was refused."""
CUT = 0.8
"""What a refusal leaves of the width."""
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
    _settled: bool = False
    _last: int = 0
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

    def answered(self, generation: int, beside: int, tokens: int, seconds: float) -> None:
        """An answer of so many tokens took so long, with `beside` requests in flight, itself among them."""
        if generation != self.generation:
            return
        self._answers += 1
        self._last += beside >= self.size
        self._beside += beside
        self._tokens += tokens + 1
        self._seconds += seconds
        enough = max(SAMPLE if self._best else START, self.size)
        if self._settled:
            if self._answers >= enough:
                self._judge()
        elif 2 * self._answers >= enough:
            # the first ones were sent before the server's queue had its length: they flatter a wider width
            if self._clear():
                self._judge()
            else:
                self._settled = True
                self._count_anew()

    def cut(self, in_flight: int) -> None:
        """The provider has refused, with so many in flight: be narrower, and grow back slowly."""
        self._goal = min(self.size, in_flight)
        self.size = self._base = max(1, int(CUT * self._goal))
        self.mode, self._rest = "recover", 0
        self._renew()

    @property
    def _brings(self) -> float:
        """Tokens per second at this width, so far."""
        return self._beside / self._answers * self._tokens / max(self._seconds, 1e-9)

    def _clear(self) -> bool:
        return self.mode == "ramp" and self._binds and (not self.climbs or self._brings >= CLEAR * self._best)

    @property
    def _binds(self) -> bool:
        return self._last >= BOUND * self._answers

    def _judge(self) -> None:
        if self._binds:
            match self.mode:
                case "ramp":
                    self._ramp(self._brings)
                case "recover":
                    self._recover(self._brings)
                case "hold":
                    self._hold(self._brings)
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
        """Back to just below where it was refused; a little more only after a while."""
        self._best = brings
        self._rest += 1
        if self._rest >= LONG_REST:
            self._goal, self._rest = self._goal + max(1, self._goal // 16), 0
        self.size = min(self.size + max(0, self._goal - self.size) // 2, self.ceiling)
        self._base = self.size

    def _hold(self, brings: float) -> None:
        if self.size == self._base:
            self._best += 0.3 * (brings - self._best)
            self._rest += 1
            if self.climbs and self._rest >= (REST if self._wider else LONG_REST):
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
        self._settled = False
        self._count_anew()

    def _count_anew(self) -> None:
        self._answers = self._last = 0
        self._tokens = self._seconds = self._beside = 0.0
