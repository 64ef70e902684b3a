from contextlib import suppress

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storyd.exchange import Usage
from storyd.record import Record, facts, from_line, to_line, usage_body, usage_from

NASTY = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(
    ["\u2028\u2029", "\x00", "\r\n\n", '"\\"', "\ufeff", "e\u0301", "\U0001f431", "\x85", "\x1c"]
)
COUNTS = st.integers(0, 10**9)
NAMES = st.from_regex("[a-z_][a-z0-9_]{0,9}", fullmatch=True)
USAGES = st.builds(Usage, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS)


@st.composite
def records(draw):
    parts = draw(st.integers(1, 3))
    return Record(
        job=draw(st.from_regex("[A-Za-z0-9][A-Za-z0-9_-]{0,20}", fullmatch=True)),
        index=draw(COUNTS),
        nth=draw(COUNTS),
        story=draw(NASTY),
        words=draw(COUNTS),
        traits=draw(st.dictionaries(NAMES, NASTY | st.lists(NASTY).map(tuple), max_size=3)),
        provider=draw(NASTY),
        model=draw(NASTY),
        attempts=draw(COUNTS),
        finish=draw(NASTY),
        usage=draw(USAGES),
        usd=draw(st.none() | st.floats(0, 1e6)),
        seconds=draw(st.floats(0, 1e6)),
        created="2026-01-01T00:00:00Z",
        part=draw(st.integers(0, parts - 1)),
        parts=parts,
    )


@given(records())
def test_a_record_comes_back_from_its_line(record):
    line = to_line(record)
    assert from_line(line) == record
    assert line.count(b"\n") == 1 and line.endswith(b"\n")
    line.decode()


RECORD = Record(
    "tiny", 41, 1, "Once.", 1, {"verb": "jump", "kinds": ("a", "b")}, "openai", "m", 2, "stop",
    Usage(101, 203, 50, 0, 7), 0.00014, 1.4, "2026-01-01T00:00:00Z",
)  # fmt: skip


def test_a_line_holds_what_the_contract_says():
    assert orjson.loads(to_line(RECORD)) == {
        "id": "tiny/41",
        "index": 41,
        "nth": 1,
        "story": "Once.",
        "words": 1,
        "traits": {"verb": "jump", "kinds": ["a", "b"]},
        "provider": "openai",
        "model": "m",
        "attempts": 2,
        "finish": "stop",
        "usage": {"input": 101, "output": 203, "cached": 50, "reasoning": 7},
        "usd": 0.00014,
        "seconds": 1.4,
        "created": "2026-01-01T00:00:00Z",
    }


def test_the_records_of_one_answer_are_numbered():
    part = orjson.loads(to_line(RECORD._replace(part=2, parts=3)))
    assert (part["id"], part["part"], part["parts"]) == ("tiny/41.2", 2, 3)


@pytest.mark.parametrize(
    "change",
    [
        {"provider": "x"}, {"model": "x"}, {"usage": Usage(1, 1)}, {"usd": 9.0}, {"seconds": 9.0},
        {"created": "2030-01-01T00:00:00Z"}, {"words": 9}, {"job": "other"}, {"nth": 5},
    ],
)  # fmt: skip
def test_time_money_and_provider_do_not_make_another_record(change):
    assert facts(orjson.loads(to_line(RECORD._replace(**change)))) == facts(orjson.loads(to_line(RECORD)))


@pytest.mark.parametrize(
    "change",
    [
        {"index": 42}, {"part": 1, "parts": 2}, {"story": "Once!"}, {"traits": {"verb": "run"}},
        {"attempts": 3}, {"finish": "length"},
    ],
)  # fmt: skip
def test_index_part_story_traits_attempts_and_finish_do(change):
    assert facts(orjson.loads(to_line(RECORD._replace(**change)))) != facts(orjson.loads(to_line(RECORD)))


def test_the_order_of_traits_does_not_matter():
    turned = RECORD._replace(traits=dict(reversed(RECORD.traits.items())))
    assert facts(orjson.loads(to_line(turned))) == facts(orjson.loads(to_line(RECORD)))


def test_the_facts_of_a_record_never_change():
    assert facts(orjson.loads(to_line(RECORD))) == (
        b'[41,0,"Once.",{"kinds":["a","b"],"verb":"jump"},2,"stop"]\n'
    )


@given(USAGES, USAGES)
def test_usage_adds_up_and_comes_back(one, other):
    assert usage_from(usage_body(one)) == one
    assert one.plus(other).input == one.input + other.input
    assert one.plus(other).reasoning == one.reasoning + other.reasoning


@pytest.mark.parametrize(
    "line",
    [b"", b"\n", b"{}", b"[]", b"null", b'"id"', b"5", b"\xff", b'{"id": "a/1"', b"\x00\x00", b"[" * 3000],
)
def test_garbage_is_no_record(line):
    with pytest.raises(ValueError):
        from_line(line)


@pytest.mark.parametrize("key", ["id", "index", "nth", "story", "traits", "usage", "attempts"])
def test_a_record_lacks_nothing(key):
    body = orjson.loads(to_line(RECORD))
    del body[key]
    with pytest.raises(ValueError, match="not a record"):
        from_line(orjson.dumps(body))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_record_or_a_value_error(line):
    with suppress(ValueError):
        from_line(line)
