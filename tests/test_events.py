import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_record import COUNTS, NASTY, USAGES

from storyd.events import Abandoned, Fault, Invalid, Paid, Reopened, from_line, to_line
from storyd.exchange import Usage

WHY = st.lists(NASTY, max_size=3).map(tuple)
MONEY = st.none() | st.floats(0, 1e6)
PAID = st.builds(Paid, NASTY, NASTY, NASTY, USAGES, MONEY, st.floats(0, 1e6))
EVENTS = (
    st.builds(Invalid, COUNTS, COUNTS, WHY, PAID, NASTY)
    | st.builds(Fault, COUNTS, COUNTS, NASTY, st.booleans(), st.floats(0, 1e6), NASTY, st.booleans())
    | st.builds(Abandoned, COUNTS, COUNTS, WHY, NASTY, st.none() | PAID)
    | st.builds(Reopened, COUNTS, COUNTS, NASTY, NASTY, COUNTS, USAGES, MONEY)
)


@given(EVENTS)
def test_an_event_comes_back_from_its_line(event):
    line = to_line(event)
    assert from_line(line) == event
    assert line.count(b"\n") == 1 and line.endswith(b"\n")
    line.decode()


def test_a_line_says_what_happened_to_which_index():
    answer = Paid("bad", "stop", "m", Usage(10, 3), 0.5, 1.5)
    assert orjson.loads(to_line(Invalid(4, 1, ("words: 1",), answer, "now"))) == {
        "event": "invalid",
        "index": 4,
        "nth": 1,
        "why": ["words: 1"],
        "answer": {
            "text": "bad",
            "finish": "stop",
            "model": "m",
            "usage": {"input": 10, "output": 3},
            "usd": 0.5,
            "seconds": 1.5,
        },
        "at": "now",
    }


@pytest.mark.parametrize(
    "line",
    [
        b"", b"{}", b"[]", b"null", b"5", b'"event"', b'{"event": []}', b'{"event": "accepted", "index": 1}',
        b'{"event": "fault"}', b'{"event": "fault", "index": 1, "unknown": 2}', b"\x00" * 9,
        b'{"event": "invalid", "index": 1, "nth": 0, "why": [], "at": "", "answer": 5}',
        b'{"event": "reopened", "index": 1, "nth": 0, "because": "", "at": "", "usage": {"in": 1}}',
    ],
)  # fmt: skip
def test_garbage_is_no_event(line):
    with pytest.raises(ValueError):
        from_line(line)


@given(EVENTS, st.data())
def test_a_torn_line_is_no_event(event, data):
    line = to_line(event).rstrip()
    with pytest.raises(ValueError):
        from_line(line[: data.draw(st.integers(0, len(line) - 1))])
