import pytest
from hypothesis import given
from hypothesis import strategies as st

from storyd.exchange import Usage
from storyd.prices import FREE, cost
from storyd.settings import Price

MILLION = 1_000_000
LISTED = Price(input=3.0, output=15.0, cached=0.3, cache_write=3.75)


@pytest.mark.parametrize(
    ("price", "usage", "usd"),
    [
        (LISTED, Usage(), 0.0),
        (LISTED, Usage(input=MILLION), 3.0),
        (LISTED, Usage(output=MILLION), 15.0),
        (LISTED, Usage(input=1000, output=200), 0.006),
        (LISTED, Usage(input=MILLION, cached=MILLION), 0.3),
        (LISTED, Usage(input=MILLION, cached=500_000), 1.65),
        (LISTED, Usage(input=MILLION, cache_write=MILLION), 3.75),
        (LISTED, Usage(input=MILLION, cached=600_000, cache_write=400_000), 1.68),
        (LISTED, Usage(output=1000, reasoning=900), 0.015),
        (Price(input=1.0, output=2.0), Usage(input=MILLION, cached=400_000, cache_write=100_000), 1.0),
        (Price(input=1.0, output=2.0, cached=0.0), Usage(input=MILLION, cached=MILLION), 0.0),
        (FREE, Usage(input=MILLION, output=MILLION), 0.0),
    ],
)
def test_a_bill_is_what_a_hand_reckons(price, usage, usd):
    assert cost(price, usage) == pytest.approx(usd)


def test_usage_that_contradicts_itself_never_gives_money_back():
    assert cost(LISTED, Usage(input=10, cached=500, cache_write=500)) >= 0


counts = st.integers(0, MILLION)


@given(counts, counts, counts)
def test_the_cost_of_a_sum_is_the_sum_of_the_costs(asked, cached, answered):
    one = Usage(input=asked + cached, output=answered, cached=cached)
    assert cost(LISTED, one.plus(one)) == pytest.approx(2 * cost(LISTED, one))
