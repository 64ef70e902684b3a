import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storyd.exchange import Reading
from storyd.meter import BELIEVED, BURST, FACTOR, LEARN_EVERY, Meter, reserve

rates = st.floats(0.01, 1e6)
costs = st.floats(0, 1e5)


@given(st.floats(0, 1e6), st.floats(0, 1e6), costs, rates, st.floats(0, 10))
def test_a_reservation_is_arithmetic(due, now, cost, rate, burst):
    after, wait = reserve(due, now, cost, rate, burst)
    assert after >= now
    assert after == pytest.approx(max(due, now) + cost / rate)
    assert wait == pytest.approx(max(0.0, due - burst - now))


@given(rates, st.lists(st.tuples(st.floats(0, 5), st.floats(0.1, 1e4)), max_size=50))
def test_no_more_goes_than_the_rate_and_a_burst_allow(rate, arrivals):
    meter, now, went = Meter(rate), 0.0, []
    for later, cost in arrivals:
        now += later
        now += max(0.0, meter.wait(now))
        meter.take(now, cost)
        went.append((now, cost))
    for first, (start, _) in enumerate(went):
        for end, _ in went[first + 1 :]:
            spent = sum(cost for at, cost in went if start <= at < end)
            last = max((cost for at, cost in went if start <= at < end), default=0)
            assert spent <= rate * (end - start + BURST) * (1 + 1e-9) + last + 1e-6


def test_a_minute_is_spread_and_does_not_burst_at_the_start():
    meter = Meter(600 / 60)
    went = 0
    while meter.wait(0.0) <= 0:
        meter.take(0.0, 1)
        went += 1
    assert went <= 2


def test_a_late_wake_up_is_not_lost():
    meter = Meter(100.0)
    now = 0.0
    for _ in range(1000):
        now += max(0.0, meter.wait(now)) + 0.02
        while meter.wait(now) <= 0:
            meter.take(now, 1)
    assert meter.spent == pytest.approx(100 * now, rel=0.01)


def test_what_was_not_needed_is_given_back():
    meter = Meter(10.0)
    meter.take(0.0, 100)
    assert meter.wait(0.0) == pytest.approx(10 - BURST)
    meter.give_back(50)
    assert meter.wait(0.0) == pytest.approx(5 - BURST)


def test_an_unknown_limit_never_holds():
    meter = Meter()
    meter.take(5.0, 1e9)
    assert meter.wait(5.0) <= 0


# ── what the provider says ────────────────────────────────────────────────────────────────────────


def bucket(limit, window, used, reset_scale=1.0):
    """What a bucket of `limit` in `window` seconds says when so much of it is used."""
    return Reading("requests", limit, limit - used, used * window / limit * reset_scale)


def told(meter, *readings, every=0.3):
    for number, reading in enumerate(readings):
        meter.read(reading, number * every, meter.spent, number * every)
    return meter


def test_the_header_is_the_truth_where_it_is_lower():
    assert told(Meter(100.0), bucket(600, 60, 1)).rate == pytest.approx(10)


def test_the_configured_limit_stays_the_ceiling():
    assert told(Meter(5.0), bucket(600, 60, 1)).rate == pytest.approx(5)


def test_a_changed_header_changes_the_pace_at_once():
    meter = told(Meter(), bucket(600, 60, 1), bucket(60, 60, 1))
    assert meter.rate == pytest.approx(1)
    meter.take(1.0, 100)
    meter.read(bucket(6000, 60, 1), 1.0, meter.spent, 1.0)
    assert meter.rate == pytest.approx(100)
    assert meter.wait(1.0) < 2, "what is owed is owed at the new pace"


@pytest.mark.parametrize("window", [1, 3600, 86400])
def test_a_limit_of_another_window_is_understood_from_its_reset(window):
    meter = told(Meter(), *[bucket(10_000, window, used) for used in (1000, 3000, 2000, 4000, 500)])
    spare = 9500 / 60 if window > 60 else 0
    assert meter.rate == pytest.approx(10_000 / window + spare)


def test_a_bucket_that_holds_less_than_a_minute_is_understood_too():
    said = [Reading("requests", 3000, 100 - used, used / 50) for used in (5, 20, 50, 40, 30)]
    assert told(Meter(), *said).rate == pytest.approx(50)


def test_a_fixed_window_is_taken_for_a_minute():
    said = [Reading("requests", 600, 600 - n, 60 - n / 10) for n in range(1, 100, 7)]
    meter = told(Meter(), *said)
    assert meter.rate == pytest.approx(10)
    assert meter.factor == 1


def test_two_odd_readings_are_not_believed():
    said = [bucket(600, 60, 10), bucket(600, 3600, 20), bucket(600, 60, 30), bucket(600, 3600, 40)]
    assert told(Meter(), *said * BELIEVED).rate == pytest.approx(10)


def spending(meter, charge, seconds, limit=60_000.0):
    """Spend at the meter's pace where each unit costs `charge`; the provider's bucket holds a minute."""
    level, now = limit, 0.0
    while now < seconds:
        now += 0.05
        level = min(limit, level + limit / 1200)
        while meter.wait(now) <= 0:
            meter.take(now, 100)
            level = max(0.0, level - 100 * charge)
        reset = (limit - level) / (limit / 60)
        meter.read(Reading("tokens", limit, level, reset), now, meter.spent, now)


@pytest.mark.parametrize("charge", [0.3, 0.5, 1.0, 1.5, 3.0])
def test_what_is_really_charged_is_learned(charge):
    meter = Meter(1000.0)
    spending(meter, charge, 300)
    assert meter.factor == pytest.approx(charge, rel=0.15)


def test_the_factor_is_bounded():
    meter = Meter(1000.0)
    spending(meter, 50.0, 200)
    assert meter.factor <= FACTOR[1]


def test_a_configured_ceiling_below_the_header_is_no_invitation_to_exceed_it():
    meter = Meter(100.0)
    spending(meter, 1.0, 200)
    assert meter.rate <= 100


def test_a_nearly_empty_account_is_used_gently():
    meter = told(Meter(), bucket(600, 60, 1), bucket(600, 60, 599))
    assert 4.5 < meter.rate < 6


def test_a_refusal_slows_and_time_heals():
    meter = Meter(100.0)
    meter.cut(0.0)
    assert meter.rate == pytest.approx(90)
    meter.refresh(25.0)
    assert meter.rate == pytest.approx(95)
    assert meter.healing
    meter.refresh(60.0)
    assert meter.rate == pytest.approx(100)
    assert not meter.healing


readings = st.builds(
    Reading,
    st.just("tokens"),
    st.floats(1e-3, 1e15),
    st.floats(0, 1e15),
    st.none() | st.floats(0, 1e9),
)


@given(st.lists(st.tuples(readings, st.floats(0, 100), costs), max_size=30), st.floats(0.1, 1e6))
def test_no_reading_breaks_a_meter(story, ceiling):
    meter, now = Meter(ceiling), 0.0
    for reading, later, cost in story:
        now += later
        meter.take(now, cost)
        meter.read(reading, now - LEARN_EVERY, meter.spent, now)
        assert 0 < meter.rate <= ceiling / FACTOR[0]
        assert math.isfinite(meter.due)
