"""Chat completions as OpenAI and all that is compatible with it speak them: a pure codec."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import orjson

from storyd.errors import Fatal, Refused, Transient
from storyd.exchange import Completion, Reading, Request, Usage, guess_tokens
from storyd.status import Failure, classify, redact, retry_after
from storyd.wire import Reply

# ── what is sent ──────────────────────────────────────────────────────────────────────────────────


def encode(request: Request, budget: str = "max_tokens") -> bytes:
    """The body of a request; `budget` is the server's name for max_tokens."""
    messages = [{"role": role, "content": said} for role, said in request.messages]
    if request.prefill:
        messages.append({"role": "assistant", "content": request.prefill})
    body = {"model": request.model, "messages": messages, budget: request.max_tokens}
    return orjson.dumps({**body, **request.sampling, **request.extra})


# ── what comes back ───────────────────────────────────────────────────────────────────────────────

FINISHES = {
    **dict.fromkeys(("stop", "eos", "eos_token", "end_turn", "stop_sequence", "complete"), "stop"),
    **dict.fromkeys(("length", "max_tokens", "model_length"), "length"),
    **dict.fromkeys(("content_filter", "content_filtered", "safety", "refusal"), "filter"),
}


def bound(max_tokens: int) -> int:
    """Bytes that an answer may have."""
    return 65536 + 64 * max_tokens


def decode(reply: Reply, request: Request, limits: tuple[Reading, ...] = ()) -> Completion:
    """The answer in a reply. Raises Transient, Refused or Fatal where there is none."""
    if not 200 <= reply.status < 300:
        raise _refusal(reply, _parsed(reply.body), limits)
    if not reply.whole:
        usage = Usage(_asked(request), request.max_tokens)
        return Completion("", "oversize", usage, request.model, reply.seconds, limits)
    parsed = _parsed(reply.body)
    if not isinstance(parsed, dict):
        raise _unreadable(reply)
    choices = parsed.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise _refusal(reply, parsed, limits)
    text, finish = _said(choices[0])
    if request.prefill and not text.lstrip().startswith(request.prefill.strip()):
        text = request.prefill + text
    model = parsed.get("model")
    usage = _usage(parsed.get("usage"), request, text)
    return Completion(text, finish, usage, _short(model), reply.seconds, limits)


def _parsed(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def _said(choice: Mapping[str, Any]) -> tuple[str, str]:
    """The text of a choice and why it ended. A message without text is an empty answer: it was paid for."""
    message = choice.get("message")
    content = message.get("content") if isinstance(message, dict) else choice.get("text")
    finish = choice.get("finish_reason")
    finish = FINISHES.get(finish, finish) if isinstance(finish, str) else "unknown"
    if isinstance(message, dict) and message.get("refusal"):
        finish = "filter"
    if isinstance(content, list):
        content = "".join(part["text"] for part in content if isinstance(_field(part, "text"), str))
    return content if isinstance(content, str) else "", finish


def _usage(said: Any, request: Request, text: str) -> Usage:
    """The usage told, or a guess for what is missing of it."""
    asked, answered = _count(said, "prompt_tokens"), _count(said, "completion_tokens")
    cached = _count(_field(said, "prompt_tokens_details"), "cached_tokens")
    reasoning = _count(_field(said, "completion_tokens_details"), "reasoning_tokens")
    return Usage(
        _asked(request) if asked is None else asked,
        guess_tokens(text) if answered is None else answered,
        cached or 0,
        reasoning=reasoning or 0,
    )


def _field(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


def _count(said: Any, name: str) -> int | None:
    number = said.get(name) if isinstance(said, dict) else None
    return number if type(number) is int and 0 <= number < 1 << 40 else None


def _asked(request: Request) -> int:
    return sum([guess_tokens(said) for _, said in request.messages])


def _short(said: Any) -> str:
    return said[:200] if isinstance(said, str) else ""


def _unreadable(reply: Reply) -> Transient | Fatal:
    kind = _short(reply.headers.get("Content-Type"))
    if reply.body.startswith(b"data:") or "event-stream" in kind:
        return Fatal("the server streams its answers", fix="take `stream` out of sampling.extra")
    coding = reply.headers.get("Content-Encoding", "")
    return Transient(redact(f"HTTP {reply.status} without readable JSON: {kind or 'no type'} {coding[:40]}"))


def _refusal(reply: Reply, parsed: Any, limits: tuple[Reading, ...]) -> Transient | Refused | Fatal:
    error = classify(failure(reply, parsed))
    if isinstance(error, Transient):
        error.readings = limits
    return error


def failure(reply: Reply, parsed: Any) -> Failure:
    """What an error reply says, in any of the forms that servers use."""
    error = _field(parsed, "error") or parsed
    status, code = reply.status, _field(error, "code")
    if type(code) is int:  # a relay hands on the status of the server behind it
        status, code = (code if status == 200 and 400 <= code < 600 else status), None
    said = error if isinstance(error, str) else _field(error, "message") or _field(error, "detail")
    if not said and parsed is None:
        said = reply.body[:500].decode("utf-8", "replace")
    trace = _short(reply.headers.get("x-request-id"))
    message = redact(str(said or "")) + (f" [{redact(trace)}]" if trace else "")
    wait = retry_after(reply.headers, time.time())
    insists = reply.headers.get("x-should-retry") == "true"
    return Failure(status, _short(code), _short(_field(error, "type")), message, wait, insists)


# ── limits ────────────────────────────────────────────────────────────────────────────────────────

_METERS: Mapping[Literal["requests", "tokens"], Sequence[str]] = {
    "requests": ("requests",),
    "tokens": ("tokens", "project-tokens"),
}
_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[dhms])")
_DURATION = re.compile(rf"(?:{_PART.pattern}){{1,6}}")


def readings(headers: Mapping[str, str]) -> tuple[Reading, ...]:
    """What the headers say of the limits; of several on one meter, the tightest. Garbage is passed over."""
    found = []
    for meter, names in _METERS.items():
        tightest = min(_told(headers, meter, names), key=lambda reading: reading.limit, default=None)
        if tightest is not None:
            found.append(tightest)
    return tuple(found)


def _told(
    headers: Mapping[str, str], meter: Literal["requests", "tokens"], names: Sequence[str]
) -> Iterator[Reading]:
    for name in names:
        limit = _number(headers.get(f"x-ratelimit-limit-{name}"))
        remaining = _number(headers.get(f"x-ratelimit-remaining-{name}"))
        if limit and remaining is not None and remaining <= limit:
            yield Reading(meter, limit, remaining, seconds(headers.get(f"x-ratelimit-reset-{name}")))


def _number(said: str | None) -> float | None:
    try:
        number = float(said) if said else math.nan
    except ValueError:
        return None
    return number if 0 <= number < 1e15 else None


def seconds(said: str | None) -> float | None:
    """A duration such as 1s, 6m0s, 120ms, 1h2m3.5s or a plain number of seconds; None for anything else."""
    if not said or len(said) > 40:
        return None
    if _DURATION.fullmatch(said):
        return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(said))
    return _number(said)
