"""A story as the checks see it: its text, and what several of them need of it, computed once.

Knows scripts and punctuation; knows nothing of prompts, models and reasons.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Generic, TypeVar
from unicodedata import category, normalize

T = TypeVar("T")
CLOSING = "\"'”’“‘»«›‹)]}」』）】〉》"
"""What may stand between a final punctuation mark and the end of a sentence."""
FINAL = ".!?…‼⁇⁈⁉‽。．！？｡।॥؟۔։။።។᠃"
"""Punctuation that ends a sentence, in any script."""

_ABBREVIATED = ("Mr", "Mrs", "Ms", "Dr", "St")
_SPACE_FOR_MARK = {code: " " for code in range(128) if not chr(code).isalnum()}
_ZERO_WIDTH_JOINERS = "\u200c\u200d"
_FEW = 64


class Once(Generic[T]):
    """A property that is computed once. That of functools takes a lock until Python 3.12: 2 µs each."""

    def __init__(self, compute: Callable[[Any], T]) -> None:
        self._compute, self.__doc__ = compute, compute.__doc__

    def __get__(self, owner: Any, kind: type) -> T:
        value = owner.__dict__[self._compute.__name__] = self._compute(owner)
        return value


@dataclass(frozen=True)
class Answer:
    """A story: extracted, cleaned, stripped; `finish` as in Completion."""

    text: str
    finish: str = "stop"

    @Once
    def utf8(self) -> bytes:
        """The text's bytes, which re2 searches without counting characters."""
        return self.text.encode()

    @Once
    def low(self) -> str:
        """The text in lower case and normal form C."""
        return lower(self.text)

    @Once
    def words(self) -> list[str]:
        """The text split at white space."""
        return self.text.split()

    @Once
    def tokens(self) -> list[str]:
        """The words in lower case without punctuation; apostrophes and hyphens divide ("dog's" is two)."""
        return tokens(self.low)

    @Once
    def vocabulary(self) -> frozenset[str]:
        """The different tokens."""
        return frozenset(self.tokens)

    @Once
    def sentences(self) -> list[str]:
        """The sentences without quotation marks; no sentence begins with a lower-case letter."""
        return _sentences(self.text)


def lower(text: str) -> str:
    """Lower case, normal form C: as words are compared."""
    return normalize("NFC", text.lower())


def tokens(low: str) -> list[str]:
    """The runs of letters, marks and digits."""
    if low.isascii():
        return low.translate(_SPACE_FOR_MARK).split()
    marks = [char for char in set(low) if _divides(char)]
    if len(marks) > _FEW:  # replacing one after the other would take the square of the text's length
        return low.translate(dict.fromkeys(map(ord, marks), " ")).split()
    for mark in marks:
        low = low.replace(mark, " ")
    return low.split()


def stands(low: str, word: str) -> bool:
    """Whether a word or phrase stands in a text with no letter, mark or digit before or after it."""
    at = low.find(word)
    while at >= 0:
        end = at + len(word)
        if (at == 0 or _divides(low[at - 1])) and (end == len(low) or _divides(low[end])):
            return True
        at = low.find(word, end)
    return False


@lru_cache(maxsize=4096)
def _divides(char: str) -> bool:
    return category(char)[0] not in "LMN" and char not in _ZERO_WIDTH_JOINERS


def _sentences(text: str) -> list[str]:
    plain = text.isascii()
    for mark in CLOSING[:2] if plain else CLOSING:
        text = text.replace(mark, "")
    for mark in ("!", "?", "\n\n") if plain else ("!", "?", "\n\n", *FINAL[3:]):
        text = text.replace(mark, ". ")
    found: list[str] = []
    for piece in text.replace("\n", " ").split(". "):
        piece = piece.strip(" .")
        if found and (piece[:1].islower() or found[-1].endswith(_ABBREVIATED)):
            found[-1] += f" {piece}"
        elif piece:
            found.append(piece)
    return found
