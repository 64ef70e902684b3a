"""Errors, named for what the caller does next. Knows nothing of who raises them.

StorydError
  ConfigError         the user mends a file or an argument            exit 2
  Damaged             files on disk contradict each other             exit 1
  Fatal               nothing more can be asked: park, keep all       exit 4
    Held              another process owns these shards
    Full              the disk takes no more
    Spent             the budget is reached
  Unanswered          a request ended without a completion (an outcome, not a crash)
    Transient         wait, then ask the very same question again
    Refused           this question will never be answered: abandon the index
"""

from typing import Any


class StorydError(Exception):
    """All that storyd raises on purpose; prints as `WHERE: WHAT (HOW TO FIX)`."""

    def __init__(self, what: str, *, where: str = "", fix: str = "") -> None:
        super().__init__(what)
        self.what, self.where, self.fix = what, where, fix

    def __str__(self) -> str:
        where = f"{self.where}: " if self.where else ""
        fix = f" ({self.fix})" if self.fix else ""
        return f"{where}{self.what}{fix}"


class ConfigError(StorydError):
    """A file or an argument of the user's does not say something sensible."""


class Damaged(StorydError):
    """Files of a job contradict each other in a way that healing would hide."""


class Fatal(StorydError):
    """No request will be answered until the user has mended something."""


class Held(Fatal):
    """Another process writes these shards."""


class Full(Fatal):
    """The disk takes no more, or the folder may not be written."""


class Spent(Fatal):
    """The budget is reached."""


class Unanswered(StorydError):
    """A request ended without a completion."""


class Transient(Unanswered):
    """Weather: ask the same question again, not before `retry_after` seconds.

    `limited` marks a provider's own limit (HTTP 429). `own` is set by whoever knows the state of the
    account: True when other requests succeed meanwhile, so that the fault is this question's own.
    `readings` are the limits that the provider told with it (exchange.Reading).
    """

    readings: tuple[Any, ...] = ()

    def __init__(
        self, what: str, *, retry_after: float = 0.0, limited: bool = False, own: bool = False
    ) -> None:
        super().__init__(what)
        self.retry_after, self.limited, self.own = retry_after, limited, own


class Refused(Unanswered):
    """The provider will never answer this question.

    `certain` is False where the refusal may as well concern every question (an unexplained HTTP 400).
    """

    def __init__(self, what: str, *, certain: bool = True) -> None:
        super().__init__(what)
        self.certain = certain
