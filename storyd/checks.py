"""Every public function here is a check: (prompt, answer) → a reason, or None when content.

Knows texts; knows nothing of models, retries and files. Arguments are keyword-only and bound by whoever reads
the job file. A bad argument raises ValueError whatever the answer is: to prove arguments good, call the
check once, on any answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any
from unicodedata import category

import re2  # type: ignore[import-untyped]

from .answer import CLOSING, FINAL, Answer, lower, stands, tokens
from .forms import UNSPACED, Word, known, look_up
from .space import Prompt

_GRAM = 5
_UNFINISHED = {
    "length": "cut off by max_tokens",
    "filter": "filtered by the provider",
    "oversize": "larger than the bound",
}

# A story told by somebody begins with a quotation mark; an assistant speaks without one, before or after it.
_BEFORE = r"""
I(?:['’]m| am) (?:\w+ )?sorry\b.{0,3}(?:but )?(?:I (?:can|could|am|do|will|won)|I['’](?:m|ll) |as an)
(?:sorry|unfortunately|I apologi[sz]e)\b.{0,20}?\bI (?:can['’]?t|can ?not|am (?:unable|not able)|won['’]t)
I (?:can['’]?t|can ?not|am (?:unable|not able) to|won['’]t) (?:help|assist|write|create|generate|comply)
(?:sure|certainly|of course|absolutely|okay|ok|great)[!,.:]+\s+(?:here|I['’]ll|I['’]d|I (?:can|will|would))
here(?:['’]s| is) [^.!?\n]{0,99}\b(?:story|tale|version|draft)\b[^.!?\n]{0,99}(?::|[.!]?\s*\n)
lo siento\b.{0,3}(?:pero )?(?:no p[ou]|no me es|como )
no puedo (?:ayudar|cumplir|escribir|generar|crear|proporcionar)
¡?(?:claro|por supuesto|desde luego|con (?:mucho )?gusto)(?: que sí)?[!,.]+\s+(?:aquí|a continuación|te )
aquí (?:tienes|está|va|te dejo) [^.!?\n]{0,99}\b(?:cuento|historia|relato)\b[^.!?\n]{0,99}(?::|[.!]?\s*\n)
es tut mir leid\b.{0,3}(?:aber )?(?:ich kann|als )
(?:je suis )?désolée?.{0,3}(?:mais )?je ne peux
"""
_ANYWHERE = r"""
\bas an? (?:AI|artificial intelligence|(?:large )?language model)\b
\bI(?:['’]m| am) an? (?:AI|artificial intelligence|(?:large )?language model|(?:AI|virtual) assistant)\b
\b(?:OpenAI|ChatGPT)\b
\bcomo (?:un |una )?(?:IA\b|inteligencia artificial|modelo de lenguaje)
\bsoy (?:un |una )?(?:IA\b|inteligencia artificial|modelo de lenguaje|asistente virtual)
\bals (?:eine? )?(?:KI\b|künstliche Intelligenz|Sprachmodell)
\ben tant qu(?:['’]IA\b|['’]intelligence artificielle|e modèle de langage)
"""
_AFTER = r"""
let me know if
feel free to
I hope (?:this|you|that)\b
would you like (?:me to|another)
is there anything else
espero que (?:te|les|os|esta|este|esto)\b
¿(?:te gustaría|quieres) que
"""


def _any_of(patterns: str) -> str:
    return "|".join(patterns.split("\n")[1:-1])


_ASSISTANT = (
    rf"(?i)\A[*_#\s]*(?:{_any_of(_BEFORE)})|{_any_of(_ANYWHERE)}"
    rf"|(?m:^)[*_(\s]*(?:{_any_of(_AFTER)})[^\n\"“”«»]*\s*\z"
)

# ── length and end ────────────────────────────────────────────────────────────────────────────────


def finished(prompt: Prompt, answer: Answer) -> str | None:
    """The model came to an end by itself."""
    if answer.finish == "stop":
        return None
    return _UNFINISHED.get(answer.finish, f'ended with "{answer.finish}"')


def words(prompt: Prompt, answer: Answer, *, min: int = 1, max: int | None = None) -> str | None:
    """At least `min` and at most `max` words, as white space divides them."""
    return _within(len(answer.words), "words", min, max)


def sentences(prompt: Prompt, answer: Answer, *, min: int = 1, max: int | None = None) -> str | None:
    """At least `min` and at most `max` sentences."""
    return _within(len(answer.sentences), "sentences", min, max)


def _within(count: int, what: str, least: int, most: int | None) -> str | None:
    if most is not None and most < least:
        raise ValueError(f"max: {most} is less than min: {least}")
    if count < least:
        return f"{count} {what}, want at least {least}"
    return f"{count} {what}, want at most {most}" if most is not None and count > most else None


def ends_well(prompt: Prompt, answer: Answer) -> str | None:
    """The last character is a final punctuation mark of any script; quotes and brackets may follow it."""
    last = answer.text.rstrip().rstrip(CLOSING)[-1:]
    return None if last and last in FINAL else f'ends in "{answer.text[-12:]}"'


# ── words and patterns ────────────────────────────────────────────────────────────────────────────


def contains(prompt: Prompt, answer: Answer, *, axes: Sequence[str], language: str = "en") -> str | None:
    """The values of these axes occur as whole words or phrases, in any form that the language gives them."""
    missing = [
        f'the {axis} "{value}"'
        for axis in ((axes,) if isinstance(axes, str) else axes)
        for value in _values(prompt, axis)
        if not _occurs(answer, value, language)
    ]
    return f"no form of {', '.join(missing)}{_how(language)}" if missing else None


def _values(prompt: Prompt, axis: str) -> Sequence[str]:
    try:
        value = prompt.traits[axis]
    except KeyError:
        raise ValueError(f'the prompts have no axis "{axis}"') from None
    return (value,) if isinstance(value, str) else value


def _occurs(answer: Answer, value: str, language: str) -> bool:
    if language in UNSPACED:
        return value in answer.text
    parts = _parts(value, language)
    if len(parts) == 1:
        forms = parts[0].forms
        return any(stands(answer.low, form) for form in forms) or parts[0].others(answer.vocabulary)
    rows = _grams(answer.tokens, len(parts))
    return not parts or any(
        all(part.among([one]) for part, one in zip(parts, row, strict=True)) for row in rows
    )


@lru_cache(maxsize=8192)
def _parts(value: str, language: str) -> tuple[Word, ...]:
    return tuple(look_up(token, language) for token in tokens(lower(value)))


def _how(language: str) -> str:
    if language in UNSPACED:
        return f' (exact match: "{language}" puts no spaces between words)'
    return "" if known(language) else f' (prefix match: no word forms known for "{language}")'


def matches(prompt: Prompt, answer: Answer, *, pattern: str) -> str | None:
    """The regular expression (re2) is found in the text."""
    return None if _compiled(pattern).search(answer.utf8) else f"nothing matches {pattern}"


def rejects(prompt: Prompt, answer: Answer, *, pattern: str) -> str | None:
    """The regular expression (re2) is found nowhere in the text."""
    found = _compiled(pattern).search(answer.utf8)
    return f"{_quoted(found)} is not wanted" if found else None


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> Any:
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern.encode(), options)
    except re2.error as why:
        said = why.args[0].decode() if isinstance(why.args[0], bytes) else str(why)
        raise ValueError(f"no regular expression: {said}") from None


def _quoted(found: Any) -> str:
    return f'"{found.group()[:60].decode(errors="ignore")}"'


# ── the text as a whole ───────────────────────────────────────────────────────────────────────────


def no_repeats(prompt: Prompt, answer: Answer, *, sentences: float = 0.2, ngrams: float = 0.2) -> str | None:
    """At most these shares of the sentences, and of the runs of five words, were there before."""
    count = len(answer.sentences)
    again = count - len(set(map(str.lower, answer.sentences)))
    if again > sentences * count:
        return f"{again} of {count} sentences are repeated"
    again, count = _repeated_runs(answer.tokens, ngrams)
    return f"{again} of {count} runs of {_GRAM} words are repeated" if again else None


def _repeated_runs(said: Sequence[str], share: float) -> tuple[int, int]:
    """How many runs of words are repeated, of how many; 0 where their share is not exceeded."""
    pairs, runs = len(said) - 1, len(said) - _GRAM + 1
    # no more runs than pairs of words are repeated, and pairs are quicker to count
    if runs <= 0 or pairs - len(set(pairwise(said))) <= share * runs:
        return 0, runs
    again = runs - len(set(_grams(said, _GRAM)))
    return (again if again > share * runs else 0), runs


def script(prompt: Prompt, answer: Answer, *, name: str, share: float = 0.9) -> str | None:
    """At least this share of the letters is of a Unicode script ("Latin"), or of one of several names."""
    native = _of_script(name)
    if answer.text.isascii() and "Latin" in name.split() and any(map(str.isalpha, answer.text)):
        return None
    letters = {char: count for char, count in Counter(answer.text).items() if category(char)[0] in "LM"}
    inside = sum(count for char, count in letters.items() if native(char))
    total = sum(letters.values())
    if total and inside >= share * total:
        return None
    return f"{inside / max(total, 1):.0%} of the letters are {name}, want at least {share:.0%}"


@lru_cache(maxsize=64)
def _of_script(name: str) -> Callable[[str], bool]:
    """Whether a letter is of the scripts named, or of no script of its own (as accents are)."""
    try:
        scripts = [_compiled(rf"\p{{{one}}}") for one in (*name.split(), "Common", "Inherited")]
    except ValueError:
        raise ValueError(f'no script "{name}" (Unicode names: Latin, Cyrillic, Devanagari, …)') from None

    @lru_cache(maxsize=4096)
    def native(char: str) -> bool:
        return any(pattern.match(char.encode()) for pattern in scripts)

    return native


def no_refusal(prompt: Prompt, answer: Answer) -> str | None:
    """No refusal and no talk of an assistant around the story (English and Spanish best, some others)."""
    found = _compiled(_ASSISTANT).search(answer.utf8)
    return f"an assistant speaks: {_quoted(found)}" if found else None


def no_prompt_echo(prompt: Prompt, answer: Answer, *, words: int = 10) -> str | None:
    """No run of this many words of the prompt returns; a trait or a prefill may, whatever its length."""
    if words < 1:
        raise ValueError(f"words: {words} is less than 1")
    asked = tokens(lower(f"{prompt.system}\n{prompt.text}"))
    # a run of the prompt's words, in any order, comes first: it is quick to look for, and rare
    if b"\1" * words not in bytes(map(frozenset(asked).__contains__, answer.tokens)):
        return None
    echoes = set(_grams(asked, words))
    for value in (prompt.prefill, *prompt.traits.values()):
        said = value if isinstance(value, str) else "\n".join(value)
        echoes.difference_update(_grams(tokens(lower(said)), words))
    found = next((gram for gram in _grams(answer.tokens, words) if gram in echoes), None)
    return f'repeats the prompt: "{" ".join(found)}"' if found else None


def _grams(said: Sequence[str], size: int) -> Iterator[tuple[str, ...]]:
    return zip(*(said[at:] for at in range(size)), strict=False)
