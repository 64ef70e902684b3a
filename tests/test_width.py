from hypothesis import given
from hypothesis import strategies as st

from storyd.width import REST, START, WIDEST, Width


def fed(width, server, answers):
    """Answers from a server that is asked at full width: `server(width)` is the seconds of one call."""
    for _ in range(answers):
        width.answered(width.generation, width.size, 100, server(width.size))
    return width


def tireless(width):
    return 1.0


def eight_slots(width):
    return max(1.0, width / 8)


def forty_slots(width):
    return max(1.0, width / 40)


def test_it_starts_small():
    assert Width().size == START
    assert Width(3).size == 3


def test_it_doubles_while_that_helps():
    sizes = [fed(width := Width(), tireless, 4).size]
    while width.size < WIDEST:
        sizes.append(fed(width, tireless, 1).size)
    assert sorted(set(sizes)) == [16, 32, 64, 128, 256, 512]
    assert len(sizes) < 700


def test_it_never_exceeds_its_ceiling():
    assert fed(Width(100), tireless, 5000).size == 100


def test_it_stops_where_more_brings_no_more():
    assert fed(Width(), eight_slots, 100).size == 8


def test_it_finds_the_width_of_a_server_that_never_refuses():
    width = fed(Width(), forty_slots, 4000)
    assert 36 <= width.size <= 64


def test_now_and_then_it_looks_whether_the_server_has_grown():
    width = fed(Width(), eight_slots, 1000)
    fed(width, forty_slots, 3000)
    assert 32 <= width.size <= 64


def test_a_width_that_was_asked_for_is_reached_whatever_it_brings():
    assert fed(Width(64, climbs=False), eight_slots, 500).size == 64


def test_it_does_not_grow_where_something_else_binds():
    width = Width()
    for _ in range(1000):
        width.answered(width.generation, 3, 100, 1.0)
    assert width.size == START


def test_answers_from_before_a_change_do_not_count():
    width = Width()
    for _ in range(1000):
        width.answered(width.generation - 1, 8, 100, 1.0)
    assert width.size == START


def test_a_refusal_narrows_and_what_was_refused_is_not_soon_asked_again():
    width = fed(Width(), tireless, 200)
    width.cut(50)
    assert width.size == 40
    fed(width, tireless, 200)
    assert 48 <= width.size < 50
    fed(width, tireless, 50 * 10)
    assert width.size < 50
    fed(width, tireless, 50 * 100)
    assert width.size > 50


def test_refusals_never_close_it():
    width = Width()
    for _ in range(100):
        width.cut(width.size)
    assert width.size == 1
    assert fed(width, tireless, 5000).size > 1


def test_after_an_outage_it_is_wide_again_within_seconds():
    width = fed(Width(), tireless, 2000)
    assert width.size == WIDEST
    width.restart(1000.0)
    assert width.allowed(1000.0) == START
    assert width.allowed(1001.0) == 4 * START
    assert width.allowed(1004.0) == WIDEST
    assert width.allowed(1e9) == WIDEST


@given(
    st.integers(1, 1000),
    st.booleans(),
    st.lists(
        st.tuples(st.integers(0, 600), st.integers(0, 5000), st.floats(0, 1000), st.booleans()), max_size=300
    ),
)
def test_it_stays_within_bounds_whatever_happens(ceiling, climbs, story):
    width = Width(ceiling, climbs)
    for beside, tokens, seconds, refused in story:
        if refused:
            width.cut(beside)
        else:
            width.answered(width.generation, beside, tokens, seconds)
        assert 1 <= width.size <= ceiling


def test_looking_costs_little():
    width, at_best = fed(Width(), forty_slots, 4000), 0
    best = width.size
    for _ in range(REST * best * 4):
        at_best += fed(width, forty_slots, 1).size >= 36
    assert at_best > 0.8 * REST * best * 4
