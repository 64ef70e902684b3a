"""What a model costs, as the installed genai-prices knows it. Knows no job and asks no network."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from .prices import FREE
from .settings import Price

OURS = frozenset({"embedded", "fake", "simulator"})
"""Kinds that cost nothing."""
HERE = frozenset({"127.0.0.1", "localhost", "::1"})
"""Hosts that are on nobody's list."""


def price_of(kind: str, model: str, url: str = "") -> Price | None:
    """The list price of a kind's model (at the server `url` where one is given); None where it is not known.

    A price that rises with the length of the input is the one for short input.
    """
    if kind in OURS:
        return FREE
    if urlsplit(url).hostname in HERE:
        return None
    # heavy: reading the list takes a fifth of a second
    from genai_prices.data_snapshot import get_snapshot

    try:
        _, found = get_snapshot().find_provider_model(model, None, None if url else kind, url or None)
    except LookupError:
        return None
    listed = found.get_prices(datetime.now(UTC))
    asked, answered = _amount(listed.input_mtok), _amount(listed.output_mtok)
    if asked is None or answered is None:
        return None
    return Price(asked, answered, _amount(listed.cache_read_mtok), _amount(listed.cache_write_mtok))


def _amount(listed: Any) -> float | None:
    base = getattr(listed, "base", listed)
    return None if base is None else float(base)
