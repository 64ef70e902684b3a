"""Conversations put before every prompt (k-shot). Knows no file and no model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from .exchange import Role
from .space import Prompt, Space, draw

Conversation = tuple[tuple[Role, str], ...]


@dataclass(frozen=True, slots=True)
class Primed:
    """A space whose prompts begin with `k` of some conversations: the first ones, or a seeded choice."""

    space: Space
    conversations: Sequence[Conversation]
    k: int
    seeded: bool

    @property
    def size(self) -> int:
        """The size of the space."""
        return self.space.size

    def prompt(self, seed: int, index: int) -> Prompt:
        """Prompt `index` of the space, with its conversations."""
        said = self._picked(seed, index) if self.seeded else self.conversations[: self.k]
        return replace(self.space.prompt(seed, index), examples=tuple(turn for one in said for turn in one))

    def _picked(self, seed: int, index: int) -> list[Conversation]:
        left = list(self.conversations)
        return [left.pop(draw(seed, index, f"example/{n}") % len(left)) for n in range(self.k)]
