"""Every public function here is a cleaning step: text → text.

Pure, in linear time, and idempotent: what is clean already stays as it is. Knows how models dress up a story;
knows nothing of prompts, so that no step here can tell an echo of one.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import Any

import re2  # type: ignore[import-untyped]


def _compiled(pattern: str) -> Any:
    """A pattern laid out over several lines, one alternative or part a line."""
    options = re2.Options()
    options.log_errors = False
    return re2.compile("".join(line.strip() for line in pattern.splitlines()), options)


# ── characters ────────────────────────────────────────────────────────────────────────────────────


def nfc(text: str) -> str:
    """Unicode normal form C: one way to write each letter."""
    return unicodedata.normalize("NFC", text)


_STRAIGHT = [
    *((mark, '"') for mark in "“”„‟″«»"),
    *((mark, "'") for mark in "‘’‚‛′´"),
    *((mark, "-") for mark in "—―–‒−‐‑"),
    *((mark, " ") for mark in "\u00a0\u2009\u202f"),
    ("…", "..."),
]
_DASH_BETWEEN_WORDS = re.compile(r"(?<=\w)[ \t]*[—―][ \t]*(?=\w)")


def straight_quotes(text: str) -> str:
    """Curly quotes, dashes, ellipses and hard spaces as ASCII; a dash between words gets spaces."""
    if text.isascii():
        return text
    if "—" in text or "―" in text:
        text = _DASH_BETWEEN_WORDS.sub(" - ", text)
    for mark, plain in _STRAIGHT:
        text = text.replace(mark, plain)
    return text


_UNSEEN = re.compile("[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u200b\ufeff]+")
_EMPTY_LINES = re.compile(r"\n{3,}")
_GAPS = ("  ", " \n", "\n ", "\n\n\n")


def squeeze_spaces(text: str) -> str:
    """One space between words, at most one empty line between paragraphs, no control characters."""
    text = text.strip()
    if text.replace("\n", " ").isprintable() and not any(gap in text for gap in _GAPS):
        return text
    lines = _UNSEEN.sub("", text).replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return _EMPTY_LINES.sub("\n\n", "\n".join([" ".join(line.split()) for line in lines])).strip()


def one_paragraph(text: str) -> str:
    """All on one line, one space between words."""
    return " ".join(text.split())


# ── dress ─────────────────────────────────────────────────────────────────────────────────────────


def strip_thinking(text: str) -> str:
    """Without the <think> block that reasoning models put first; nothing is left of one that has no end."""
    text = text.rpartition("</think>")[2]
    return "" if text.lstrip().startswith("<think>") else text


_FENCE = re.compile(r"\s*`{3,}[ \t]*\w*\s*")


def strip_fences(text: str) -> str:
    """Without the lines that open and close a block of code."""
    if "```" not in text:
        return text
    return "\n".join(line for line in text.split("\n") if not _FENCE.fullmatch(line))


_STARS = re.compile(r"(\d\*(?=\d)|(?<!\S)\*(?!\S))|\*+")
_UNDERSCORES = re.compile(r"(?<!\w)_++(?=\w)|(?<=[^\W_])_++(?!\w)")
_LINE_MARKS = re.compile(r"^(?:[ \t]*+(?:>|#{1,6}[ \t]|\*[ \t]))+[ \t]*", re.MULTILINE)
_RULES = re.compile(r"^[ \t]*(?:-{3,}|_{3,}|={3,})[ \t]*(?:\n|\Z)", re.MULTILINE)


def strip_markdown(text: str) -> str:
    """Without emphasis, code marks, heading marks, quote marks, stars before items and rules; words stay."""
    text = strip_fences(text).replace("`", "")
    if "*" in text:
        text = _STARS.sub(r"\1", text)
    if "_" in text:
        text = _UNDERSCORES.sub("", text)
    if any(mark in text for mark in "#>*"):
        text = _LINE_MARKS.sub("", text)
    return _RULES.sub("", text) if any(rule in text for rule in ("---", "___", "===")) else text


def strip_headings(text: str) -> str:
    """Without the lines that are headings (`## The Red Ball`)."""
    if "#" not in text:
        return text
    return "\n".join(line for line in text.split("\n") if not re.match(r"\s*#{1,6}\s", line))


_TITLE = _compiled(
    r"""(?i)\A(?:\s*(?:
    #{1,6}[ \t][^\n]*
    |\*\*[^*\n]{1,80}\*\*[ \t]*
    |[*_]*(?:title|titel|titre|título|titulo)[*_]*[ \t]*:[^\n]{1,80}
    |[^\s"“«‘—–-]\S*(?:[ \t]+\S+){0,6}?[^\s.!?…:;,"”»’)।。！？][ \t]*\n[ \t]*
    )\n)+"""
)


def strip_title(text: str) -> str:
    """Without what stands above the story: headings, bold lines, `Title: …`, short lines without an end."""
    return _after(_TITLE, text)


_PREFIX_TALK = _compiled(
    r"""(?i)\A(?:[\s*_]*(?:
    (?:(?:sure|certainly|of course|absolutely|okay|ok|great|alright)(?: thing)?[!,.]+\s*)?
    here(?:['’]s| is)[^\n.!?:]{0,150}\b(?:story|tale|fable|version|draft)\b[^\n.!?:]{0,99}(?::|[.!]?[ \t]*\n)
    |(?:sure|certainly|of course|absolutely)[!,.]+[ \t]+I(?:['’]d|['’]ll| can| will| would)\b[^\n]*\n
    |(?:sure|certainly|of course|absolutely|okay|ok|great|alright)(?: thing)?[!.]+[ \t]*\n
    |(?:¡?(?:claro|por supuesto|desde luego|con gusto)(?: que sí)?[!,.]+\s*)?
    aquí (?:tienes|está|va)[^\n.!?:]{0,150}\b(?:cuento|historia|relato)\b[^\n.!?:]{0,99}(?::|[.!]?[ \t]*\n)
    |(?:possible |short |final )?(?:story|answer|response|assistant|cuento|historia|respuesta)[*_]*[ \t]*:
    |<\|[a-z_]{1,20}\|>|\[/?INST\]|</?s>
    )[\s*_]*)+"""
)


def strip_prefix_talk(text: str) -> str:
    """Without what an assistant says before the story ("Sure! Here is a story about a cat:")."""
    return _after(_PREFIX_TALK, text)


def _after(pattern: Any, text: str) -> str:
    """What follows a match at the start, if there is anything."""
    found = pattern.match(text)
    rest = text[found.end() :] if found else ""
    return rest.lstrip() or text


# ── tails ─────────────────────────────────────────────────────────────────────────────────────────

_TURN = _compiled(
    r"""\b(?:User|Human|Assistant|Student)[ \t]?\d{1,2}[ \t]*:
    |(?m:^)[ \t*_]*(?:User|Human|Assistant)[*_]*[ \t]*:
    |(?m:^)#{2,}[ \t]*(?:Instruction|Input|Response|User|Human|Assistant)\b
    |<\|[a-z_]{1,20}\|>|\[/?INST\]|</s>"""
)


def cut_user_turns(text: str) -> str:
    """Up to where the model goes on with a conversation of its own (`User 0:`, `[INST]`)."""
    for found in _TURN.finditer(text):
        if text[: found.start()].strip():
            return text[: found.start()].rstrip()
    return text


_MORAL = r"""
    (?:(?:and|so|thus|remember|that['’]s|that is|this is)\b,? )*(?:the |our |a )?(?:hidden )?
    moral(?: value| lesson)?
    (?: (?:of|to|in|from) (?:the|this|our|my) (?:story|tale|fable)\b|[*_]*(?:\s*[:?]| is\b| was\b))
    |they learned a (?:moral|lesson)\s*:|(?:la )?moraleja(?: de [a-z ]{1,30})?(?:\s*:| es\b)
"""
_NOTE = r"""
    (?:(?:author|editor|teacher)['’]?s? |development |parent )?
    notes?(?: (?:to|on|for|from|by) [^\n:.]{1,40})?[*_\]]*\s*:
    |(?:author|editor)['’]?s? note\b|notas?(?: (?:para|de|del) [^\n:.]{1,40})?\s*:
    |\d{1,3} ?[-–] ?\d{1,3} (?:simple |short )?(?:paragraphs|sentences|words)\)
"""
_LABEL = r"""
    (?:unexpected event|(?:plot )?twist|(?:bad )?ending|conflict|themes?|characters?|dialogue|foreshadowing
    |setting|features?|moral value|lessons?(?: learned)?|summary|vocabulary|(?:discussion )?questions?
    |(?:story |use of )?(?:key ?)?words(?: used)?)[*_]*[ \t]*:
"""
_WORD_LIST = r"""
    (?:here (?:are|is) )?(?:(?:a|the|some|all) )*(?:list )?(?:of )?(?:the )?simple words (?:used|in)\b
    |confused(?: by [^\n?]{1,40})?\?|\w+ = \w+
"""
_CLOSING_TALK = r"""
    let me know if\b|feel free to\b|would you like (?:me to|another)\b|espero que te guste
    |I hope (?:this|you|that)\b[^\n"“]*\b(?:story|help)
"""
_END_LINE = r"(?im)^([ \t>*_#(~-]*(?:the end|fin)[ \t.!…*_#)~-]*)$"
_END_SENTENCE = r"""[.!?…"”*_)]\s*(
    (?:The|THE) (?:End|END|end[.!…])[\s.!…*_)]*(?:(?i:the end)[\s.!…*_)]*)*)\z
"""
_LINE = rf"(?im)^([ \t>*_#(\[]*(?:##|{_MORAL}|{_NOTE}|{_LABEL}|{_WORD_LIST}|{_CLOSING_TALK}))"
_SENTENCE = rf"""(?i)[.!?…]["”*_)]*\s+([*(\[]+(?:{_NOTE})|(?:{_MORAL}))"""
_TAILS = [
    # from which share of the text on, and what (the group) ends the story there
    (0, _compiled(_END_LINE)),
    (0, _compiled(_END_SENTENCE)),
    (1 / 3, _compiled(_LINE)),
    (2 / 3, _compiled(_SENTENCE)),
]


def cut_after_end(text: str) -> str:
    """Up to "The end", a moral, a note, a word list, a heading or the like that follows the story.

    Each counts only at the start of a line or sentence, and all but "The end" only towards the text's end.
    """
    text = text.rstrip()
    while (end := _tail(text)) is not None:
        text = text[:end].rstrip()
    return text


def _tail(text: str) -> int | None:
    """Where the first tail begins that has a story before it."""
    starts = [
        next((at for at in _starts(pattern, text) if at >= share * len(text) and text[:at].strip()), None)
        for share, pattern in _TAILS
    ]
    return min((at for at in starts if at is not None), default=None)


def _starts(pattern: Any, text: str) -> Iterator[int]:
    return (found.start(1) for found in pattern.finditer(text))
