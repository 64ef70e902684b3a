"""Usage → money. Knows no provider, no model and no list of prices."""

from __future__ import annotations

from .exchange import Usage
from .settings import Price

FREE = Price()


def cost(price: Price, usage: Usage) -> float:
    """US dollars for one answer.

    What was read from a cache or written to one is part of the input, at a price of its own; reasoning is
    part of the output, at the price of output.
    """
    cached = price.input if price.cached is None else price.cached
    cache_write = price.input if price.cache_write is None else price.cache_write
    plain = max(0, usage.input - usage.cached - usage.cache_write)
    asked = plain * price.input + usage.cached * cached + usage.cache_write * cache_write
    return (asked + usage.output * price.output) / 1e6
