"""A document, and where what it names lies. Knows nothing of what the document says."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .document import Document, Keys, shown
from .errors import ConfigError


@dataclass(frozen=True, slots=True)
class Origin:
    """A document of the user's; relative paths in it begin in one of `folders`, names of jobs in `jobs`.

    `may` names what it is trusted with: launch (commands), python (code).
    """

    document: Document
    folders: tuple[Path, ...]
    jobs: Path
    may: frozenset[str] = frozenset()

    def wrong(self, at: Keys, what: str, fix: str = "") -> ConfigError:
        """The error that says what is wrong with the value at `at`."""
        return self.document.wrong(at, what, fix)

    def trusted(self, at: Keys, what: str) -> None:
        """Raises ConfigError where the file is not trusted with `what`, which it uses at `at`."""
        if what not in self.may:
            raise self.wrong(at, f"{what}: runs what the file says", "add --trust if you trust it")

    def file(self, at: Keys, name: str) -> Path:
        """The file that `name`, which stands at `at`, means. Raises ConfigError."""
        tried = [folder / name for folder in self.folders]
        try:
            found = next((path for path in tried if path.exists()), None)
        except (OSError, ValueError):  # too long a name, or a NUL in it
            found = None
        if found is None:
            raise self.wrong(at, f"no such file: {shown(name)}", _near(tried))
        if not found.is_file():  # a pipe or a device would be waited on for ever, or never end
            raise self.wrong(at, f"{shown(name)} is no file")
        return found


def _near(tried: Sequence[Path]) -> str:
    for path in tried:
        try:
            there = [other.name for other in path.parent.iterdir()]
        except (OSError, ValueError):
            continue
        near = difflib.get_close_matches(path.name, there, 1)
        if near:
            return f"did you mean {shown(str(path.parent / near[0]), most=200)}?"
    return ""
