"""What `run` shows of a job: numbers as words, one plain line, or a bar on a terminal.

Knows how to write a View for people; knows nothing of how its numbers come about, of jobs or of events.
"""

from __future__ import annotations

import logging
import math
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import TextIOBase
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import RenderableType

LINE_EVERY = 5.0
"""Seconds between two plain lines."""
DRAW_EVERY = 0.25
"""Seconds between two drawings of the bar."""
WINDOW = 60.0
"""Seconds over which a speed is measured."""

Samples = tuple[tuple[float, float], ...]
"""(seconds, count), oldest first."""
Show = Callable[["View"], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One moment of a job. `eta` is seconds; `valid` the share of the answers; None is unknown."""

    job: str
    stories: int
    settled: int
    accepted: int
    abandoned: int = 0
    valid: float | None = None
    stories_per_minute: float = 0.0
    tokens_per_second: float = 0.0
    in_flight: int = 0
    width: int = 0
    eta: float | None = None
    usd: float | None = None
    limit: str = ""
    """What binds right now: "width", "requests/min", …"""
    sealed: int = 0
    shards: int = 0
    faults: int = 0
    note: str = ""
    """What a person should know at this moment: "draining", "paused: the server refuses connections", …"""


# ── text from outside ─────────────────────────────────────────────────────────────────────────────

# Controls, lone surrogates, line separators, tags, and what is invisible or turns the direction of writing.
# Not: the two joiners (Indic and Arabic scripts and emoji need them) and the visible Arabic number signs.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\ud800-\udfff\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)


def safe(text: str) -> str:
    """Text that cannot steer a terminal or fake a line: whatever is unsafe stands as its escape."""
    return _UNSAFE.sub(lambda found: _escape(ord(found[0])), text)


def safe_lines(text: str) -> str:
    """As `safe`, with line breaks kept: for a story of several paragraphs."""
    return "\n".join(safe(line) for line in text.split("\n"))


def _escape(code: int) -> str:
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


# ── numbers ───────────────────────────────────────────────────────────────────────────────────────


def duration(seconds: float | None) -> str:
    """0:40, 12:05, 3:07:00, 2d 4h; ? where it is unknown."""
    if seconds is None or not math.isfinite(seconds):
        return "?"
    whole = max(0, round(seconds))
    if whole >= 86_400:
        return f"{whole // 86_400:,}d {whole % 86_400 // 3_600}h"
    hours, minutes, rest = whole // 3_600, whole % 3_600 // 60, whole % 60
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def money(usd: float) -> str:
    """$0.0031 below a cent's tenfold, else $12.34."""
    return f"${usd:,.4f}" if 0 < usd < 0.1 else f"${usd:,.2f}"


def pace(number: float) -> str:
    """9.1 below ten, else 1,234."""
    return f"{number:.1f}" if number < 9.95 else f"{number:,.0f}"


def percent(share: float) -> str:
    """34 %; never 0 % or 100 % of what is a little more or less."""
    if 0 < share < 0.005:
        return "<1 %"
    return ">99 %" if 0.995 <= share < 1 else f"{share:.0%}".replace("%", " %")


def sampled(samples: Samples, now: float, count: float) -> Samples:
    """The samples with one more, less those that the last minute does not need."""
    since = now - WINDOW
    kept = [*samples, (now, count)]
    while len(kept) > 2 and kept[1][0] <= since:
        kept.pop(0)
    return tuple(kept)


def speed(samples: Samples) -> float:
    """Counts per second between the first and the last sample; 0 where nothing can be said."""
    if len(samples) < 2:
        return 0.0
    (first, before), (last, after) = samples[0], samples[-1]
    return max(0.0, after - before) / (last - first) if last > first else 0.0


# ── lines ─────────────────────────────────────────────────────────────────────────────────────────


def phrases(view: View) -> list[str]:
    """What there is to say, in order of reading; nothing of what is nought, unknown or over."""
    busy = view.settled < view.stories
    spread = f" of {view.width:,}" if view.in_flight < view.width else ""
    said = (
        f"{view.settled:,}/{view.stories:,} settled",
        f"{view.accepted:,} accepted",
        f"{view.abandoned:,} abandoned" if view.abandoned else "",
        f"valid {percent(view.valid)}" if view.valid is not None else "",
        f"{pace(view.stories_per_minute)} stories/min",
        f"{pace(view.tokens_per_second)} tok/s",
        "" if view.usd is None else money(view.usd),
        f"{view.in_flight:,}{spread} in flight" if busy else "",
        f"faults: {view.faults:,}" if view.faults else "",
        f"{view.sealed:,}/{view.shards:,} shards sealed" if view.shards else "",
        f"limit: {safe(view.limit)}" if busy and view.limit else "",
        f"eta {duration(view.eta)}" if busy else "",
    )
    return [phrase for phrase in said if phrase]


def line(view: View) -> str:
    """The whole view in one line, for a log."""
    note = f"; {safe(view.note)}" if view.note else ""
    return f"{safe(view.job)}  {', '.join(phrases(view))}{note}"


def fitted(said: Sequence[str], width: int) -> list[str]:
    """The phrases in as few lines of at most `width` characters as they need; none is split."""
    lines: list[str] = []
    for phrase in said:
        if lines and len(lines[-1]) + 2 + len(phrase) <= width:
            lines[-1] += f", {phrase}"
        else:
            lines.append(phrase)
    return lines


# ── showing ───────────────────────────────────────────────────────────────────────────────────────


def animated(stream: TextIO) -> bool:
    """Whether a bar can be drawn there: a terminal that can move its cursor."""
    return stream.isatty() and os.environ.get("TERM", "dumb") not in {"dumb", "unknown", ""}


@contextmanager
def shown(stream: TextIO, live: bool, clock: Callable[[], float] = time.monotonic) -> Iterator[Show]:
    """Gives a function that shows a View; call it as often as you like: it draws the first, then at its
    own pace, and the last one at the end.

    `live` draws a bar that stays below whatever is logged to `stream` meanwhile; else plain lines.
    A stream that is gone (a closed terminal) is no reason to stop a job, so its errors are dropped.
    """
    with _bar(stream, clock) if live else _paced(_writer(stream), LINE_EVERY, clock) as show:
        yield show


@contextmanager
def _paced(draw: Show, every: float, clock: Callable[[], float]) -> Iterator[Show]:
    due = -math.inf
    waiting: View | None = None

    def show(view: View) -> None:
        nonlocal due, waiting
        waiting = view
        now = clock()
        if now >= due:
            due, waiting = now + every, None
            draw(view)

    try:
        yield show
    finally:
        if waiting is not None:
            draw(waiting)


def _writer(stream: TextIO) -> Show:
    def write(view: View) -> None:
        with suppress(OSError):
            stream.write(line(view) + "\n")
            stream.flush()

    return write


def drawn(view: View, width: int) -> RenderableType:
    """The bar and the numbers below it, for a terminal of `width` columns."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    def row(text: str, style: str = "") -> Text:
        return Text(text, style, no_wrap=True, overflow="ellipsis")

    head = Table.grid(padding=(0, 1), expand=True)
    head.add_column(max_width=max(8, width // 3))
    head.add_column(ratio=1)
    head.add_column(justify="right")
    done = view.settled / view.stories if view.stories else 1.0
    bar = ProgressBar(total=max(1, view.stories), completed=view.settled)
    head.add_row(row(safe(view.job), "bold"), bar, row(percent(done)))
    rows = [row(text) for text in fitted(phrases(view), width)]
    note = [row(safe(view.note), "yellow")] if view.note else []
    return Group(head, *rows, *note)


@contextmanager
def _bar(stream: TextIO, clock: Callable[[], float]) -> Iterator[Show]:
    from rich.console import Console
    from rich.file_proxy import FileProxy
    from rich.live import Live

    console = Console(file=stream, force_terminal=True, highlight=False, markup=False, emoji=False)
    live = Live(console=console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)

    def draw(view: View) -> None:
        try:
            live.update(drawn(view, console.width), refresh=True)
        except OSError:
            console.quiet = True  # or its buffer would grow with every drawing

    live.start()
    # rich hides the cursor; after kill -9 nobody would bring it back
    console.show_cursor(True)
    try:
        with _diverted(stream, FileProxy(console, stream)), _paced(draw, DRAW_EVERY, clock) as show:
            yield show
    finally:
        with suppress(OSError):
            live.stop()


@contextmanager
def _diverted(stream: TextIO, above: TextIOBase) -> Iterator[None]:
    """Sends what is logged to `stream` to `above` instead, which prints it over the bar."""
    handlers = [
        handler
        for handler in logging.getLogger().handlers
        if isinstance(handler, logging.StreamHandler) and handler.stream is stream
    ]
    for handler in handlers:
        handler.setStream(above)
    try:
        yield
    finally:
        for handler in handlers:
            handler.setStream(stream)
