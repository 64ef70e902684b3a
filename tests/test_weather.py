"""Limits, delays and faults of a simulated account, as numbers."""

import math
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storyd import weather
from storyd.weather import Allowance, Bucket, Spell

KEYS = [f"job/{index}.0" for index in range(4000)]


# ── faults ────────────────────────────────────────────────────────────────────────────────────────


def test_faults_befall_their_share_of_the_questions():
    met = [weather.fault({"500": 0.1, "reset": 0.2, "empty": 0.1}, key, 0) for key in KEYS]
    assert met.count("500") / len(KEYS) == pytest.approx(0.1, abs=0.02)
    assert met.count("reset") / len(KEYS) == pytest.approx(0.2, abs=0.02)
    assert met.count("empty") / len(KEYS) == pytest.approx(0.1 * 0.7, abs=0.02)


def test_a_fault_follows_from_the_question_and_from_how_often_it_was_asked():
    rates = {"500": 0.5}
    assert [weather.fault(rates, key, 1) for key in KEYS] == [weather.fault(rates, key, 1) for key in KEYS]
    again = sum(weather.fault(rates, key, 0) == weather.fault(rates, key, 1) for key in KEYS)
    assert again / len(KEYS) == pytest.approx(0.5, abs=0.05)


def test_an_answer_that_was_paid_for_is_the_same_when_it_is_asked_for_again():
    rates = {"empty": 0.3, "length": 0.2}
    for times in range(5):
        assert [weather.fault(rates, key, times) for key in KEYS] == [
            weather.fault(rates, key, 0) for key in KEYS
        ]


def test_a_schedule_says_what_is_now_and_when_it_changes():
    schedule = (weather.spell("refuse=5-10"), weather.spell("503=10-12.5"))
    assert schedule == (Spell("refuse", 5, 10), Spell("503", 10, 12.5))
    now = [weather.scheduled(schedule, time) for time in (0, 4.9, 5, 9.9, 10, 12, 12.5)]
    assert now == [None, None, "refuse", "refuse", "503", "503", None]
    assert [weather.turns(schedule, time) for time in (0, 5, 11, 20)] == [5, 10, 12.5, math.inf]


@pytest.mark.parametrize(
    ("faults", "schedule", "said"),
    [
        ({"rain": 0.1}, (), "no fault is called rain: there are 400, 429, "),
        ({"500": 1.1}, (), "shares, 1 in all"),
        ({"500": 0.6, "503": 0.6}, (), "shares, 1 in all"),
        ({"500": math.nan}, (), "shares, 1 in all"),
        ({}, (Spell("500", 3, 3),), "a fault ends after it has begun"),
        ({}, (Spell("hail", 3, 4),), "no fault is called hail"),
    ],
)
def test_a_forecast_that_makes_no_sense_is_told(faults, schedule, said):
    assert said in weather.wrong(faults, schedule)


def test_a_good_forecast_is_not():
    assert weather.wrong(dict.fromkeys(weather.KINDS, 1 / len(weather.KINDS)), (Spell("refuse", 0, 1),)) == ""


@pytest.mark.parametrize("text", ["500", "500=", "500=much", "500=1-x"])
def test_what_is_no_fault_is_refused(text):
    with pytest.raises(ValueError):
        weather.share(text)
    with pytest.raises(ValueError):
        weather.spell(text)


# ── delays ────────────────────────────────────────────────────────────────────────────────────────


def test_delays_have_the_mean_that_was_asked_for():
    delays = [weather.delay(2.0, 0.5, key, 0) for key in KEYS]
    assert fmean(delays) == pytest.approx(2.0, rel=0.05)
    assert min(delays) < 1 and max(delays) > 5
    assert weather.delay(2.0, 0.0, "any", 0) == 2.0


# ── limits ────────────────────────────────────────────────────────────────────────────────────────


def test_a_bucket_holds_what_comes_in_its_burst():
    bucket = Bucket(600, 2, 0)
    assert bucket.level == bucket.capacity == 20
    bucket.take(15)
    assert bucket.until(20) == 1.5
    bucket.refill(0.5)
    assert bucket.level == 10
    bucket.refill(100)
    assert bucket.level == 20


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(1, 400)), min_size=1, max_size=80))
def test_never_more_is_let_in_than_the_limits_allow(arrivals):
    allowance = Allowance(60, 6000, 10, 0)
    now, requests, tokens = 0.0, 0, 0
    for wait, cost in arrivals:
        now += wait
        if allowance.admit(cost, now) is None:
            requests, tokens = requests + 1, tokens + cost
    assert requests <= 10 + now + 1e-6
    assert tokens <= 1000 + 100 * now + 1e-3


def test_who_waits_as_long_as_was_said_is_let_in():
    allowance = Allowance(60, 6000, 2, 0)
    assert [allowance.admit(100, 0) for _ in range(2)] == [None, None]
    refusal = allowance.admit(100, 0.3)
    assert refusal is not None and refusal.meter == "requests"
    assert refusal.seconds == pytest.approx(1.0), "a refused request counts as a request"
    assert allowance.admit(100, 0.3 + refusal.seconds) is None


def test_tokens_are_not_charged_to_a_refused_request():
    allowance = Allowance(None, 600, 60, 0)
    assert allowance.admit(500, 0) is None
    for _ in range(3):
        refusal = allowance.admit(200, 0)
        assert refusal is not None and (refusal.meter, refusal.seconds) == ("tokens", 10.0)
    assert allowance.admit(100, 0) is None


def test_what_will_never_fit_is_told_so():
    refusal = Allowance(None, 600, 2, 0).admit(21, 0)
    assert refusal is not None and math.isinf(refusal.seconds)


def test_without_limits_all_are_let_in():
    allowance = Allowance(None, None, 60, 0)
    assert not any(allowance.admit(10**9, 0) for _ in range(1000))
