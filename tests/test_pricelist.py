import subprocess
import sys

import pytest

from storyd.pricelist import price_of
from storyd.prices import FREE


@pytest.mark.parametrize("kind", ["embedded", "fake", "simulator"])
def test_our_own_kinds_cost_nothing(kind):
    assert price_of(kind, "anything") == FREE


def test_a_listed_model_has_a_price():
    price = price_of("openai", "gpt-4o-mini")
    assert price is not None and 0 < price.input < price.output
    assert price.cached is not None and price.cached < price.input


def test_a_model_has_the_price_of_the_server_that_answers():
    assert price_of("openai", "gpt-4o-mini", "https://api.openai.com/v1") == price_of("openai", "gpt-4o-mini")
    assert price_of("openai", "gpt-4o-mini", "http://127.0.0.1:8000/v1") is None


def test_an_unknown_model_has_no_price():
    assert price_of("openai", "nobody-knows-this-one") is None


def test_the_list_is_read_only_when_it_is_needed():
    script = (
        "import sys, storyd.pricelist as p; p.price_of('fake', 'm'); sys.exit('genai_prices' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False, timeout=60).returncode == 0
