import math

from hypothesis import given
from hypothesis import strategies as st

from storyd.breaker import CAP, OPENS_AT, Breaker


def failing(times, now=0.0, refused=False):
    breaker = Breaker()
    for _ in range(times):
        breaker.fault(now, 0.5, 0.0, probe=breaker.sent(), refused=refused)
    return breaker


def test_some_faults_are_weather():
    breaker = failing(OPENS_AT - 1)
    assert not breaker.open
    assert breaker.wait(0.0) == 0


def test_many_in_a_row_open_it():
    assert failing(OPENS_AT).open


def test_an_answer_in_between_starts_the_count_anew():
    breaker = failing(OPENS_AT - 1)
    assert not breaker.answered()
    breaker.fault(0.0, 0.5, 0.0, probe=False, refused=False)
    assert not breaker.open


def test_while_it_is_open_one_probe_goes_at_a_time():
    breaker = failing(OPENS_AT)
    assert 0.375 <= breaker.wait(0.0) <= 0.5
    assert breaker.wait(1.0) <= 0
    assert breaker.sent()
    assert breaker.wait(1.0) == math.inf


def test_late_faults_of_what_was_sent_before_do_not_delay_the_probe():
    breaker = failing(OPENS_AT)
    wait = breaker.wait(0.0)
    for _ in range(500):
        breaker.fault(0.0, 0.5, 60.0, probe=False, refused=False)
    assert breaker.wait(0.0) == wait


@given(st.floats(0, 1, exclude_max=True), st.integers(1, 100))
def test_probes_come_ever_slower_but_never_slower_than_the_cap(jitter, times):
    breaker, waits, now = failing(OPENS_AT), [], 0.0
    for _ in range(times):
        now += breaker.wait(now)
        breaker.fault(now, jitter, 0.0, probe=breaker.sent(), refused=False)
        waits.append(breaker.wait(now))
    assert all(0.375 <= wait <= CAP + 1e-6 for wait in waits)
    assert all(wait >= 0.75 * CAP - 1e-6 for wait in waits[5:])


def test_retry_after_is_a_minimum():
    breaker = failing(OPENS_AT)
    breaker.fault(0.0, 0.0, 60.0, probe=breaker.sent(), refused=False)
    assert breaker.wait(0.0) == 60


def test_the_first_answer_closes_it():
    breaker = failing(OPENS_AT)
    breaker.sent()
    assert breaker.answered()
    assert breaker.wait(0.0) == 0
    assert breaker == Breaker(_again=breaker._again)


def test_a_probe_that_was_taken_back_lets_another_go():
    breaker = failing(OPENS_AT)
    breaker.sent()
    breaker.abandoned()
    assert breaker.wait(9.0) <= 0


def test_nothing_but_refusals_is_told_apart():
    assert failing(OPENS_AT, refused=True).refused
    assert not failing(OPENS_AT - 1, refused=True).refused
    mixed = failing(1)
    for _ in range(OPENS_AT):
        mixed.fault(0.0, 0.5, 0.0, probe=False, refused=True)
    assert mixed.open
    assert not mixed.refused
