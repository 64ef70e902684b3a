"""What an index has been through, as far as the next question depends on it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rejected:
    """The last invalid answer and why it was one."""

    text: str
    why: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Past:
    """A fold of an index's events; see `retry.after`.

    `nth` numbers the next question: it is above the number of every question that was answered or given
    up. `invalid` counts the invalid answers since the index was last (re)opened; `faults` counts the
    faults since the last answer, and `own` those that were the index's own.
    """

    nth: int = 0
    invalid: int = 0
    own: int = 0
    faults: int = 0
    rejected: Rejected | None = None


FRESH = Past()
