"""Judging a completion: extract the stories, clean them, let every check have its say."""

from __future__ import annotations

from collections.abc import Callable

from .checks import Answer
from .space import Prompt

Extract = Callable[[str], tuple[str, ...]]
"""The stories in an answer's text. Raises ValueError, with the reason, where there is none."""
Cleaner = Callable[[str], str]
Check = Callable[[Prompt, Answer], str | None]
