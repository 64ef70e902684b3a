"""Every public function here is a check: (prompt, answer) → a reason, or None when content."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Answer:
    """A story as the checks see it: extracted, cleaned, stripped; `finish` as in Completion."""

    text: str
    finish: str = "stop"
