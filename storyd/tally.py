"""What a simulator was asked, and which answers left the house. Knows no questions, only their keys."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any


class Tally:
    """Counts by question. Those of the answers outlive a kill where there is a `state` file."""

    def __init__(self, state: Path | None) -> None:
        self.totals: Counter[str] = Counter(asked=0, answered=0, requests=0, tokens=0)
        self.asked: Counter[str] = Counter()
        self.rejected: Counter[str] = Counter()
        self.delivered: Counter[str] = Counter()
        self.in_flight = self.peak = 0
        self._file = -1
        if state is not None:
            if state.exists():
                self.delivered.update(state.read_text().splitlines())
            self._file = os.open(state, os.O_APPEND | os.O_CREAT | os.O_WRONLY, 0o640)

    def ask(self, key: str) -> int:
        """One more question; returns how often it was asked before."""
        self.totals["asked"] += 1
        times = self.asked[key]
        self.asked[key] = times + 1
        return times

    def enter(self) -> None:
        """One more request in flight."""
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)

    def deliver(self, key: str) -> None:
        """One more complete answer."""
        self.totals["answered"] += 1
        self.delivered[key] += 1
        if self._file >= 0:
            os.write(self._file, f"{key}\n".encode())

    def report(self) -> dict[str, Any]:
        """All of it; `keys` are the complete answers handed out for each key."""
        return {
            "asked": self.totals["asked"],
            "answered": self.totals["answered"],
            "rejected": dict(self.rejected),
            "charged": {"requests": self.totals["requests"], "tokens": self.totals["tokens"]},
            "in_flight": self.in_flight,
            "peak": self.peak,
            "asked_keys": dict(self.asked),
            "keys": dict(self.delivered),
        }

    def close(self) -> None:
        """Write no more."""
        if self._file >= 0:
            os.close(self._file)
