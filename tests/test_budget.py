import pytest
from hypothesis import given
from hypothesis import strategies as st

from storyd.budget import Purse
from storyd.errors import Spent, Transient
from storyd.exchange import Request
from storyd.settings import Budget, Price

QUESTION = Request("tiny/1.0", "m", (("system", "x" * 30), ("user", "x" * 270)), 900)
"""At its worst 100 tokens in and 900 out: 0.0028 dollars."""
PRICE = Price(1.0, 3.0)


def purse(usd=None, tokens=None, spent=(0.0, 0), price=PRICE):
    return Purse(Budget(usd, tokens), price, lambda: spent)


def test_what_fits_is_admitted():
    with purse(usd=0.0028, tokens=1000).reserved(QUESTION):
        pass


@pytest.mark.parametrize(
    ("held", "line"),
    [
        (
            purse(usd=0.0027),
            "budget: 0.0000 of 0.0027 US dollars are spent, and the next question might not fit "
            "(raise budget.usd, then run it again)",
        ),
        (
            purse(tokens=5000, spent=(0.0, 4001)),
            "budget: 4001 of 5000 tokens are spent, and the next question might not fit "
            "(raise budget.tokens, then run it again)",
        ),
    ],
)
def test_what_might_not_fit_is_refused_in_one_line(held, line):
    with pytest.raises(Spent) as caught, held.reserved(QUESTION):
        pass
    assert str(caught.value) == line


def test_what_is_in_flight_counts_at_its_worst_until_it_is_back():
    held = purse(tokens=2500)
    assert held.idle
    with held.reserved(QUESTION), held.reserved(QUESTION):
        assert not held.idle
        with pytest.raises(Spent), held.reserved(QUESTION):
            pass
    assert held.idle
    with held.reserved(QUESTION):
        pass


def test_what_failed_is_given_back():
    held = purse(tokens=1000)
    with pytest.raises(Transient), held.reserved(QUESTION):
        raise Transient("reset")
    assert held.idle
    with held.reserved(QUESTION):
        pass


def test_no_bound_is_no_bound():
    with purse(spent=(1e9, 10**18)).reserved(QUESTION):
        pass
    with purse(usd=1.0, price=None).reserved(QUESTION):
        pass


def test_a_script_of_many_bytes_takes_more_tokens():
    chinese = Request("tiny/1.0", "m", (("user", "故" * 300),), 900)
    with pytest.raises(Spent), purse(tokens=1100).reserved(chinese):
        pass


def test_writing_a_cache_may_be_dearer_than_the_input():
    with pytest.raises(Spent), purse(usd=0.0028, price=Price(1.0, 3.0, cache_write=1.25)).reserved(QUESTION):
        pass


@given(st.lists(st.integers(0, 1000), max_size=60), st.integers(0, 20_000))
def test_no_more_is_spent_than_the_budget(costs, budget):
    spent = 0
    held = Purse(Budget(tokens=budget), None, lambda: (0.0, spent))
    for cost in costs:
        try:
            with held.reserved(QUESTION):
                spent += cost
        except Spent:
            break
    assert spent <= budget
