"""When an account falls silent: stop asking, but for one probe now and then. Pure: no clock."""

from __future__ import annotations

import math
from dataclasses import dataclass

OPENS_AT = 8
"""Faults in a row."""
BASE, CAP = 0.5, 5.0
"""Seconds between probes: doubled each time, up to CAP, so that the end of an outage is soon noticed."""


@dataclass(slots=True)
class Breaker:
    """Closed: all may go. Open: one probe at a time."""

    open: bool = False
    probes: int = 0
    probing: bool = False
    faults: int = 0
    """In a row."""
    refusals: int = 0
    """How many of them were refusals that might concern every question."""
    _again: float = 0.0

    def wait(self, now: float) -> float:
        """Seconds until something may be sent; inf while a probe is under way."""
        if not self.open:
            return 0.0
        return math.inf if self.probing else self._again - now

    def sent(self) -> bool:
        """Something is sent: whether it is a probe."""
        if not self.open:
            return False
        self.probing = True
        self.probes += 1
        return True

    def answered(self) -> bool:
        """The account lives: whether that ends an outage."""
        was, self.open, self.probing = self.open, False, False
        self.faults = self.refusals = self.probes = 0
        return was

    def fault(self, now: float, jitter: float, retry_after: float, *, probe: bool, refused: bool) -> None:
        """No answer. `jitter` is a draw from [0, 1); `retry_after` are seconds."""
        self.faults += 1
        self.refusals += refused
        if probe:
            self.probing = False
        if probe or (not self.open and self.faults >= OPENS_AT):
            self.open = True
            self._again = now + max(retry_after, (0.75 + jitter / 4) * min(CAP, BASE * 2.0**self.probes))

    def abandoned(self) -> None:
        """The probe was taken back before it was sent, or cancelled."""
        self.probing = False

    @property
    def refused(self) -> bool:
        """Whether it is open, and nothing but refusals have opened it."""
        return self.open and self.refusals == self.faults
