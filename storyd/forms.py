"""Word forms: which tokens are forms of a word. Knows languages; knows nothing of answers and checks.

A dictionary gives each token one base form, so it misses what is also a word of its own ("thought" is a
noun, "bigger" stands alone). For English, rules and a short table fill that gap; they may name forms that
do not exist ("thinked"), which nobody writes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

UNSPACED = frozenset(["bo", "ja", "km", "lo", "my", "th", "yue", "zh"])
"""Languages that put no spaces between words."""

_VOWELS = "aeiou"
_IRREGULAR = {
    "bad": "worse", "bear": "bore", "bend": "bent", "bind": "bound", "bite": "bit", "break": "broke",
    "dive": "dove", "drink": "drunk", "far": "further", "feel": "felt", "go": "gone", "gray": "grey",
    "grind": "ground", "leave": "left", "many": "more", "old": "eldest", "person": "people",
    "ring": "rung", "rise": "rose", "shake": "shook", "shoot": "shot", "slay": "slew", "smell": "smelt",
    "spell": "spelt", "swear": "swore", "think": "thought", "tread": "trod", "win": "won",
    "wind": "wound",
}  # fmt: skip
_ENDINGS = (
    ("s", "ses"), ("x", "xes"), ("z", "zes"), ("ch", "ches"), ("sh", "shes"), ("o", "oes"), ("o", "oing"),
    ("e", "eing"), ("y", "ies"), ("y", "ying"), ("f", "ves"), ("fe", "ves"),
)  # fmt: skip


@lru_cache(maxsize=1)
def _dictionary() -> Callable[[str, str], str]:
    # heavy: the import takes a tenth of a second, and many a job needs no word forms
    from simplemma import Lemmatizer
    from simplemma.strategies import DefaultStrategy

    # the small form of the dictionary: 3 MB a language instead of 20, and no slower behind a memory
    strategy = DefaultStrategy(low_memory=True)
    return Lemmatizer(cache_max_size=0, lemmatization_strategy=strategy).lemmatize


@dataclass(frozen=True, slots=True)
class Word:
    """A lower-case word: the `forms` that are certain, and a test for `others` among some tokens."""

    forms: tuple[str, ...]
    others: Callable[[Collection[str]], bool]

    def among(self, tokens: Collection[str]) -> bool:
        """Whether some form of the word is among lower-case tokens."""
        return any(form in tokens for form in self.forms) or self.others(tokens)


def known(language: str) -> bool:
    """Whether there is a dictionary of this language's word forms ("en", "pt-BR", …)."""
    try:
        _lemma("a", _code(language))
    except ValueError:
        return False
    return True


@lru_cache(maxsize=8192)
def look_up(word: str, language: str) -> Word:
    """A lower-case word with its forms; where no dictionary tells them, all that begins like the word."""
    if not known(language):
        start = word[: max(3, len(word) * 2 // 3)]
        return Word((word,), lambda tokens: any(token.startswith(start) for token in tokens))
    code = _code(language)
    bases, lemma = {word, _lemma(word, code)}, _lemmatiser(code)
    return Word(_forms(word, code), lambda tokens: not bases.isdisjoint(map(lemma, tokens)))


def _code(language: str) -> str:
    return language.replace("_", "-").split("-")[0].lower()


def _lemma(token: str, code: str) -> str:
    return _dictionary()(token, code).lower()


@lru_cache(maxsize=8)
def _lemmatiser(code: str) -> Callable[[str], str]:
    """The base form of one language's tokens, remembered for some 16 thousand of them (3 MB)."""

    @lru_cache(maxsize=1 << 14)
    def lemma(token: str) -> str:
        return _lemma(token, code)

    return lemma


def _forms(word: str, code: str) -> tuple[str, ...]:
    """Forms of a word that need no dictionary, the word itself first."""
    forms = [word, word + "s"]
    if code == "en":
        for start in _before_vowel(word):
            forms += [start + "ed", start + "ing"]
            if _lemma(start + "est", code) == word:  # an adjective: "bigger", but not "baker"
                forms.append(start + "er")
        forms += [word[: -len(end)] + form for end, form in _ENDINGS if word.endswith(end)]
        forms += [_IRREGULAR[word]] if word in _IRREGULAR else []
    return tuple(dict.fromkeys(forms))


def _before_vowel(word: str) -> list[str]:
    """What takes -ed, -ing, -er and -est in English."""
    if len(word) < 3 or word.endswith("ee"):
        return []  # "seed" is no form of "see"
    if word.endswith("e"):
        return [word[:-1]]
    if word.endswith("y") and word[-2] not in _VOWELS:
        return [word[:-1] + "i"]
    if word[-1] in _VOWELS + "wxy" or word[-2] not in _VOWELS or word[-3] in _VOWELS:
        return [word]
    syllables = sum(a in _VOWELS and b not in _VOWELS for a, b in pairwise(word))
    return [word + word[-1]] if syllables == 1 else [word, word + word[-1]]
