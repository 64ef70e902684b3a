"""What a provider's refusal means: an HTTP status and an error body as one of our errors. A table, and pure.

Branches on the code where there is one, for the status alone does not tell a busy account from an empty one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from email.utils import parsedate_to_datetime
from math import isfinite
from typing import NamedTuple

from .errors import Fatal, Refused, Transient

DAY = 86400.0
SHOWN = 300
"""Characters of a server's message that are passed on."""


class Failure(NamedTuple):
    """An error reply: its status, what its body says, and how long it asks to wait (seconds)."""

    status: int
    code: str = ""
    kind: str = ""
    message: str = ""
    retry_after: float = 0.0
    insists: bool = False
    """The server says that the same request may succeed later (x-should-retry)."""


_KEY = "check the key"
_MONEY = "add credit, or wait for the next period"
_CAP = "raise the spend limit in the provider's console"
_MODEL = "check model and url, and what this key may use"

PARK: Mapping[str, str] = {
    "insufficient_quota": _MONEY,
    "credit_balance_exhausted": _MONEY,
    "billing_error": _MONEY,
    "billing_not_active": _MONEY,
    "billing_hard_limit_reached": _CAP,
    "organization_spend_limit_exceeded": _CAP,
    "project_spend_limit_exceeded": _CAP,
    "workspace_spend_limit_exceeded": _CAP,
    "organization_usage_limit_exceeded": _CAP,
    "enforced_spend_limit_reached": _CAP,
    "access_terminated": "ask the provider why",
    "account_deactivated": "ask the provider why",
    "invalid_api_key": _KEY,
    "authentication_error": _KEY,
    "permission_error": _KEY,
    "model_not_found": _MODEL,
}
"""Codes (and types) that no other question will escape, whatever the status: what the user can do."""

PARK_STATUS: Mapping[int, str] = {
    401: _KEY,
    402: _MONEY,
    403: _KEY,
    404: _MODEL,
    407: "check the proxy's password",
}

REFUSE: frozenset[str] = frozenset(
    {
        "context_length_exceeded",
        "exceed_context_size_error",
        "string_above_max_length",
        "request_too_large",
        "content_filter",
        "content_policy_violation",
        "invalid_prompt",
        "responsibleaipolicyviolation",
    }
)
"""Codes (and types) that are about this very question."""

REFUSE_WORDS = re.compile(
    "maximum context length|context (?:length|window|size)|too many tokens|prompt is too long"
    "|content management policy|safety system|usage polic|was flagged",
    re.IGNORECASE,
)
PARK_WORDS = re.compile("credit balance is too low|api key not valid|usage limits", re.IGNORECASE)
SLOW_WORDS = re.compile(r"slow[ _]down", re.IGNORECASE)


def classify(failure: Failure) -> Transient | Refused | Fatal:
    """What a refusal means for whoever asked. Total: every status and every code has an answer."""
    status = failure.status
    if fix := _parks(failure):
        return Fatal(_said(failure), fix=fix)
    if failure.insists or status in (408, 409, 425, 429) or status >= 500 or status < 300:
        limited = status == 429 or bool(SLOW_WORDS.search(f"{failure.code} {failure.message}"))
        return Transient(_said(failure), retry_after=failure.retry_after, limited=limited)
    return Refused(_said(failure), certain=_certain(failure))


def _parks(failure: Failure) -> str:
    """How to mend an account that answers nothing any more, or ""."""
    status = failure.status
    if 300 <= status < 400:
        return "give the final address as `url`: redirects are not followed"
    for name in (failure.code, failure.kind):
        if fix := PARK.get(name.lower()):
            return fix
    if not 400 <= status < 500 or status == 429 or failure.insists or _certain(failure):
        return ""
    if PARK_WORDS.search(failure.message):
        return "see the provider's message"
    return PARK_STATUS.get(status, "")


def _certain(failure: Failure) -> bool:
    """Whether the refusal is plainly about this question."""
    if failure.status == 413 or failure.code.lower() in REFUSE or failure.kind.lower() in REFUSE:
        return True
    return failure.status in (400, 403, 422) and bool(REFUSE_WORDS.search(failure.message))


def _said(failure: Failure) -> str:
    code = failure.code or failure.kind
    head = f"HTTP {failure.status}" + (f" {code[:80]}" if code else "")
    return f"{head}: {failure.message}" if failure.message else head


# ── what is read off a reply ──────────────────────────────────────────────────────────────────────


def retry_after(headers: Mapping[str, str], now: float) -> float:
    """Seconds that the server asks to wait, 0 to a day. `now` is the wall clock, for dates."""
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        said = headers.get(name)
        if said:
            seconds = _seconds(said, unit, now)
            return min(seconds, DAY) if isfinite(seconds) and seconds > 0 else 0.0
    return 0.0


def _seconds(said: str, unit: float, now: float) -> float:
    try:
        return float(said) * unit
    except ValueError:
        pass
    try:
        return parsedate_to_datetime(said).timestamp() - now
    except (ValueError, OverflowError):
        return 0.0


_SECRETS = re.compile(r"(?i:bearer|basic)\s+[\w.~+/=-]{8,}|\b(?:sk|rk|pk|hf|gsk|key)[-_][\w-]{8,}")
_UNPRINTABLE = re.compile(r"[^\S ]+|[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]+")


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """The text on one line, shortened, without the secrets and without anything that looks like one."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "…")
    text = " ".join(_UNPRINTABLE.sub(" ", text[: 4 * SHOWN]).split())
    text = _SECRETS.sub("…", text)
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
