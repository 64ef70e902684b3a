"""A job's budget: what a question may cost is set apart before it is asked. Knows no clock and no file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .errors import Spent
from .exchange import Request
from .settings import Budget, Price

CHARACTERS_PER_TOKEN = 3.0
"""A cautious guess: real text in Latin script has about 4."""


class Purse:
    """Keeps what was spent, together with what is in flight at its worst, within a budget."""

    def __init__(self, budget: Budget, price: Price | None, spent: Callable[[], tuple[float, int]]) -> None:
        self._budget, self._price, self._spent = budget, price, spent
        self._usd, self._tokens = 0.0, 0

    @property
    def idle(self) -> bool:
        """Whether nothing is set apart: what is not there now, no answer in flight will bring back."""
        return not self._tokens

    @contextmanager
    def reserved(self, request: Request) -> Iterator[None]:
        """Set apart what the request may cost while inside. Raises Spent where that is no longer there."""
        tokens = _worst_tokens(request)
        usd = 0.0 if self._price is None else _worst_usd(self._price, request)
        self._admit(usd, tokens)
        self._usd += usd
        self._tokens += tokens
        try:
            yield
        finally:
            self._usd -= usd
            self._tokens -= tokens

    def _admit(self, usd: float, tokens: int) -> None:
        usd_spent, tokens_spent = self._spent()
        budget = self._budget
        if budget.usd is not None and usd_spent + self._usd + usd > budget.usd:
            raise _spent(f"{usd_spent:.4f} of {budget.usd:.4f} US dollars are spent", "usd")
        if budget.tokens is not None and tokens_spent + self._tokens + tokens > budget.tokens:
            raise _spent(f"{tokens_spent} of {budget.tokens} tokens are spent", "tokens")


def _spent(what: str, key: str) -> Spent:
    return Spent(
        f"{what}, and the next question might not fit",
        where="budget",
        fix=f"raise budget.{key}, then run it again",
    )


def _worst_tokens(request: Request) -> int:
    # bytes for characters: the more of them a script needs for one, the more tokens it takes
    texts = (request.prefill, *(text for _, text in request.messages))
    size = sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)
    return int(size / CHARACTERS_PER_TOKEN) + request.max_tokens


def _worst_usd(price: Price, request: Request) -> float:
    asked = _worst_tokens(request) - request.max_tokens
    dearest = max(price.input, price.cache_write or 0.0)
    return (asked * dearest + request.max_tokens * price.output) / 1e6
