import errno
import io
import logging
import re
import unicodedata
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from storyd.display import (
    View,
    animated,
    drawn,
    duration,
    fitted,
    line,
    money,
    pace,
    percent,
    phrases,
    safe,
    safe_lines,
    sampled,
    shown,
    speed,
)

VIEW = View(
    job="quickstart",
    stories=24,
    settled=18,
    accepted=17,
    valid=0.34,
    stories_per_minute=9.12,
    tokens_per_second=141.2,
    in_flight=8,
    width=8,
    eta=40.0,
    limit="width",
)
FULL = replace(
    VIEW,
    stories=1_000_000,
    settled=123_456,
    abandoned=12,
    usd=3.5,
    sealed=123,
    shards=1000,
    faults=7,
    in_flight=60,
    width=64,
    note="paused: the server refuses connections",
)


@pytest.fixture(autouse=True)
def terminal(monkeypatch):
    """An ordinary terminal, whatever these tests themselves run on."""
    for name in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0:00"),
        (-3, "0:00"),
        (39.6, "0:40"),
        (59.7, "1:00"),
        (725, "12:05"),
        (3_599.9, "1:00:00"),
        (11_220, "3:07:00"),
        (86_400, "1d 0h"),
        (187_200, "2d 4h"),
        (None, "?"),
        (float("inf"), "?"),
        (float("nan"), "?"),
    ],
)
def test_a_duration_reads_as_a_clock(seconds, words):
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("usd", "words"),
    [(0, "$0.00"), (0.0031, "$0.0031"), (0.1, "$0.10"), (1.239, "$1.24"), (1234.5, "$1,234.50")],
)
def test_small_money_keeps_its_digits(usd, words):
    assert money(usd) == words


@pytest.mark.parametrize(
    ("number", "words"),
    [(0, "0.0"), (9.12, "9.1"), (9.94, "9.9"), (9.96, "10"), (141.2, "141"), (12345, "12,345")],
)
def test_a_pace_has_two_digits_at_least(number, words):
    assert pace(number) == words


@pytest.mark.parametrize(
    ("share", "words"),
    [
        (0, "0 %"),
        (0.001, "<1 %"),
        (0.34, "34 %"),
        (0.994, "99 %"),
        (0.999, ">99 %"),
        (1, "100 %"),
    ],
)
def test_a_share_is_rounded_neither_to_none_nor_to_all(share, words):
    assert percent(share) == words


def test_the_line_says_everything_once():
    assert line(VIEW) == (
        "quickstart  18/24 settled, 17 accepted, valid 34 %, 9.1 stories/min, 141 tok/s, "
        "8 in flight, limit: width, eta 0:40"
    )
    assert line(FULL) == (
        "quickstart  123,456/1,000,000 settled, 17 accepted, 12 abandoned, valid 34 %, 9.1 stories/min, "
        "141 tok/s, $3.50, 60 of 64 in flight, faults: 7, 123/1,000 shards sealed, limit: width, eta 0:40; "
        "paused: the server refuses connections"
    )


def test_the_line_of_a_finished_job_is_about_nothing_to_come():
    assert line(replace(VIEW, settled=24, valid=None, in_flight=0, usd=0.02)) == (
        "quickstart  24/24 settled, 17 accepted, 9.1 stories/min, 141 tok/s, $0.0200"
    )


# ── speed ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_speed_needs_two_moments():
    assert speed(()) == 0
    assert speed(((1.0, 5),)) == 0
    assert speed(((1.0, 5), (1.0, 9))) == 0
    assert speed(((0.0, 0), (10.0, 20))) == 2


def test_a_speed_is_never_negative():
    assert speed(((0.0, 9), (10.0, 3))) == 0


def test_the_speed_forgets_what_is_older_than_a_minute():
    samples = ()
    for second in range(300):
        samples = sampled(samples, float(second), min(second, 200))
    assert len(samples) <= 62
    assert speed(samples) == 0


@given(st.lists(st.tuples(st.floats(0.01, 100), st.integers(0, 50)), max_size=60))
def test_samples_span_the_window_and_little_more(steps):
    samples, now, count = (), 0.0, 0
    for wait, more in steps:
        now, count = now + wait, count + more
        samples = sampled(samples, now, count)
        assert samples[-1] == (now, count)
        assert len(samples) < 3 or samples[1][0] > now - 60
        assert speed(samples) >= 0


# ── text from outside ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "shown_as"),
    [
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("title\x1b]0;x\x07", r"title\x1b]0;x\x07"),
        ("\x9b2J", r"\x9b2J"),
        ("one\r\ntwo\tthree", r"one\x0d\x0atwo\x09three"),
        ("nul\x00 del\x7f", r"nul\x00 del\x7f"),
        ("\u202eabc\u202c", r"\u202eabc\u202c"),
        ("\u2066abc\u2069", r"\u2066abc\u2069"),
        ("\u200fabc\u061c", r"\u200fabc\u061c"),
        ("a\u200bb\ufeffc\xadd", r"a\u200bb\ufeffc\xadd"),
        ("a\u2028b\u2029c", r"a\u2028b\u2029c"),
        ("tag\U000e0041", r"tag\U000e0041"),
        ("half\ud83d", r"half\ud83d"),
    ],
)
def test_what_could_steer_a_terminal_is_escaped(text, shown_as):
    assert safe(text) == shown_as


@pytest.mark.parametrize(
    "text",
    [
        "Tom’s cat — “yes!”",
        "Füße, naïve",
        "শিশু ক\u200dষ",
        "می\u200cخواهم",
        "👩\u200d👩\u200d👧",
        "小猫。",
        "[b]{x}",
        r"C:\new",
        "\u0601",
    ],
)
def test_honest_text_stays_as_it_is(text):
    assert safe(text) == text


def test_a_story_keeps_its_paragraphs_and_nothing_else():
    assert safe_lines("One.\n\nTwo.\x1b[2J\r\n") == "One.\n\nTwo.\\x1b[2J\\x0d\n"


@given(st.text())
def test_nothing_unsafe_survives_and_it_all_encodes(text):
    said = safe(text)
    assert not any(unicodedata.category(char) in {"Cc", "Cs", "Zl", "Zp"} for char in said)
    said.encode()
    assert safe(said) == said


# ── on a terminal ─────────────────────────────────────────────────────────────────────────────────


@given(st.lists(st.text("ab ", min_size=1, max_size=30)), st.integers(1, 80))
def test_fitted_lines_hold_every_phrase_in_order(said, width):
    lines = fitted(said, width)
    assert ", ".join(lines) == ", ".join(said)
    assert all(len(one) <= width or one in said for one in lines)


def rendered(view, width):
    console = Console(file=io.StringIO(), record=True, width=width, force_terminal=True)
    console.print(drawn(view, width))
    return console.export_text().rstrip("\n").split("\n")


@pytest.mark.parametrize("width", [40, 80, 200])
@pytest.mark.parametrize("view", [VIEW, FULL])
def test_the_bar_shows_all_numbers_at_any_width(view, width):
    lines = rendered(view, width)
    assert all(len(one) <= width for one in lines)
    head, body = lines[0], ", ".join(one.strip() for one in lines[1:])
    assert head.startswith("quickstart ") and head.rstrip().endswith("%") and "━" in head
    assert all(phrase in body for phrase in phrases(view))
    assert view.note in body


def test_eighty_columns_need_few_lines():
    assert len(rendered(VIEW, 80)) == 3
    assert len(rendered(FULL, 80)) == 5
    assert len(rendered(VIEW, 200)) == 2


def test_long_names_and_notes_are_cut_and_never_spill():
    lines = rendered(replace(VIEW, job="x" * 64, note="é" * 500), 40)
    assert all(len(one) <= 40 for one in lines)
    assert lines[-1].endswith("…")


def test_a_terminal_of_one_column_is_survived():
    assert rendered(VIEW, 1)


def test_nothing_to_do_is_all_done():
    assert "100 %" in rendered(replace(VIEW, stories=0, settled=0), 80)[0]


def test_markup_and_escapes_in_a_note_are_only_text():
    assert rendered(replace(VIEW, note="[bold]\x1b[2J:smile:"), 80)[-1].strip() == r"[bold]\x1b[2J:smile:"


# ── shown ─────────────────────────────────────────────────────────────────────────────────────────


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def test_lines_come_every_few_seconds_and_the_last_one_always():
    stream, clock = io.StringIO(), Clock()
    with shown(stream, False, clock) as show:
        for settled in range(12):
            show(replace(VIEW, settled=settled))
            clock.now += 1
    assert re.findall(r" (\d+)/24 settled", stream.getvalue()) == ["0", "5", "10", "11"]


def test_nothing_is_said_twice_at_the_end():
    stream = io.StringIO()
    with shown(stream, False) as show:
        show(VIEW)
    assert stream.getvalue() == line(VIEW) + "\n"


def test_the_last_view_is_shown_even_when_the_job_fails():
    stream, clock = io.StringIO(), Clock()
    with pytest.raises(KeyError), shown(stream, False, clock) as show:
        show(VIEW)
        show(replace(VIEW, settled=19))
        raise KeyError
    assert "19/24" in stream.getvalue().splitlines()[-1]


def test_the_bar_is_drawn_four_times_a_second_at_most():
    stream, clock = io.StringIO(), Clock()
    with shown(stream, True, clock) as show:
        for settled in range(11):
            show(replace(VIEW, settled=settled))
            clock.now += 0.1
    drawings = re.findall(r"(\d+)/24 settled", stream.getvalue())
    assert list(dict.fromkeys(drawings)) == ["0", "3", "6", "9", "10"]


def test_what_is_logged_stands_above_the_bar():
    stream, handler = io.StringIO(), None
    root = logging.getLogger()
    handler = logging.StreamHandler(stream)
    root.addHandler(handler)
    try:
        with shown(stream, True) as show:
            show(VIEW)
            root.warning("sealed shard [0] :smile:")
        assert handler.stream is stream
    finally:
        root.removeHandler(handler)
    said = stream.getvalue()
    assert said.index("sealed shard [0] :smile:\n") < said.rindex("18/24 settled")


def test_the_cursor_is_never_left_hidden():
    stream = io.StringIO()
    with shown(stream, True) as show:
        show(VIEW)
        so_far = stream.getvalue()
    assert so_far.rindex("\x1b[?25h") > so_far.rfind("\x1b[?25l")


def test_without_colour_there_is_none(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    stream = io.StringIO()
    with shown(stream, True) as show:
        show(replace(VIEW, note="draining"))
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", stream.getvalue())


class Gone(io.StringIO):
    def write(self, text):
        raise OSError(errno.EIO, "Input/output error")


class Leaving(io.StringIO):
    gone = False

    def write(self, text):
        if self.gone:
            raise OSError(errno.EIO, "Input/output error")
        return super().write(text)


def test_a_closed_terminal_stops_no_job():
    with shown(Gone(), False, Clock()) as show:
        show(VIEW)
    stream, clock = Leaving(), Clock()
    with shown(stream, True, clock) as show:
        show(VIEW)
        stream.gone = True
        for _ in range(3):
            clock.now += 1
            show(VIEW)


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("term", "bar"), [("xterm-256color", True), ("dumb", False), ("", False), (None, False)]
)
def test_a_bar_needs_a_terminal_that_moves_its_cursor(monkeypatch, term, bar):
    if term is None:
        monkeypatch.delenv("TERM", raising=False)
    else:
        monkeypatch.setenv("TERM", term)
    assert animated(Terminal()) is bar
    assert not animated(io.StringIO())
