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
    """A fold of an index's events; see `progress.after`.

    `nth` numbers the next question: it counts every invalid answer there ever was. `invalid` counts
    them since the index was last (re)opened. `own` counts the index's own faults since its last
    answer, `faults` all of them.
    """

    nth: int = 0
    invalid: int = 0
    own: int = 0
    faults: int = 0
    rejected: Rejected | None = None


FRESH = Past()
