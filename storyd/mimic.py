"""A provider's side of its wire format: questions read, answers and refusals worded as it would. Pure.

OpenAI's chat completions so far. Knows nothing of sockets, and not when anything happens.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

import orjson

from .exchange import NOTHING, Request, Role, Usage
from .weather import Allowance, Refusal

UNLIMITED = 1 << 20
"""The max_tokens of a request that has none."""
OVERSIZE = 4 << 20
"""Characters of an oversized answer."""


class Reply(NamedTuple):
    """What is sent back."""

    status: int
    body: bytes
    headers: Mapping[str, str]


JSON: Mapping[str, str] = {"Content-Type": "application/json"}

# ── questions and answers ─────────────────────────────────────────────────────────────────────────


def read_chat(body: bytes, key: str) -> Request:
    """The question that a chat completion's body asks. Raises ValueError for what is none."""
    said = orjson.loads(body)
    if not isinstance(said, dict) or not isinstance(said.get("messages"), list) or not said["messages"]:
        raise ValueError("you must provide a model and messages")
    if said.get("stream"):
        raise ValueError("this simulator does not stream")
    messages = tuple([_message(one) for one in said["messages"]])
    prefill = ""
    if messages[-1][0] == "assistant":
        prefill, messages = messages[-1][1], messages[:-1]
    max_tokens = said.get("max_completion_tokens") or said.get("max_tokens") or UNLIMITED
    if type(max_tokens) is not int or max_tokens < 1:
        raise ValueError("max_tokens is no number of tokens")
    sampling = {"seed": said["seed"]} if "seed" in said else NOTHING
    return Request(key, str(said.get("model")), messages, max_tokens, sampling, prefill=prefill)


def _message(said: Any) -> tuple[Role, str]:
    match said:
        case {"role": "system" | "user" | "assistant" as role, "content": str(content)}:
            return role, content
        case {"role": "system" | "user" | "assistant" as role, "content": list(parts)}:
            return role, "".join([str(part.get("text", "")) for part in parts if isinstance(part, dict)])
    raise ValueError("a message has no role or no content")


def write_chat(request: Request, text: str, finish: str, spent: Usage, created: int) -> bytes:
    """The body of a chat completion. A prefill was the client's own: the answer goes on after it."""
    message = {"role": "assistant", "content": text.removeprefix(request.prefill), "refusal": None}
    return orjson.dumps(
        {
            "id": f"chatcmpl-{blake2b(request.id.encode(), digest_size=8).hexdigest()}",
            "object": "chat.completion",
            "created": created,
            "model": request.model,
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": finish}],
            "usage": {
                "prompt_tokens": spent.input,
                "completion_tokens": spent.output,
                "total_tokens": spent.input + spent.output,
                "prompt_tokens_details": {"cached_tokens": 0},
                "completion_tokens_details": {"reasoning_tokens": 0},
            },
            "service_tier": "default",
            "system_fingerprint": None,
        }
    )


def spoiled(kind: str | None, text: str, finish: str) -> tuple[str, str]:
    """The answer with one of `weather.IN_ANSWER`, or as it was."""
    match kind:
        case "empty":
            return "", "stop"
        case "length":
            return text[: len(text) * 2 // 3], "length"
        case "oversized":
            return text * (OVERSIZE // max(1, len(text)) + 1), "stop"
    return text, finish


# ── refusals ──────────────────────────────────────────────────────────────────────────────────────


def failure(
    status: int, message: str, kind: str = "invalid_request_error", code: str | None = None, **headers: str
) -> Reply:
    """An error in OpenAI's form; an underscore in a header's name stands for a hyphen."""
    param = "messages" if code == "context_length_exceeded" else None
    error = {"error": {"message": message, "type": kind, "param": param, "code": code}}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, orjson.dumps(error, option=orjson.OPT_INDENT_2), {**JSON, **named})


def denied(authorization: str, key: str) -> Reply | None:
    """The answer to a wrong key or to none; None where it is right."""
    given = authorization.removeprefix("Bearer ")
    if not key or given == key:
        return None
    if not given:
        return failure(401, "You didn't provide an API key.")
    shown = f"{given[:3]}{'*' * (len(given) - 7)}{given[-4:]}" if len(given) > 7 else "*" * len(given)
    return failure(401, f"Incorrect API key provided: {shown}.", code="invalid_api_key")


def models(names: Sequence[str]) -> Reply:
    """The list of the models."""
    data = [{"id": name, "object": "model", "created": 0, "owned_by": "storyd"} for name in names]
    return Reply(200, orjson.dumps({"object": "list", "data": data}), JSON)


def unknown_model(model: str) -> Reply:
    """404."""
    text = f"The model `{model}` does not exist or you do not have access to it."
    return failure(404, text, code="model_not_found")


def too_many() -> Reply:
    """429 for one request more than may be under way at once."""
    return failure(429, "Too many requests at a time.", "requests", "rate_limit_exceeded")


def refused(refusal: Refusal, model: str) -> Reply:
    """429 for one request more than a minute's allowance has room for."""
    bucket, wait = refusal.bucket, refusal.seconds
    unit = "requests per min (RPM)" if refusal.meter == "requests" else "tokens per min (TPM)"
    where = f"for {model} in organization org-simulated on {unit}: Limit {bucket.limit:.0f}"
    if math.isinf(wait):
        text = f"Request too large {where}, Requested {refusal.cost:.0f}. Input or output must be reduced."
        return failure(429, text, refusal.meter, "rate_limit_exceeded")
    used = bucket.capacity - bucket.level
    text = f"Rate limit reached {where}, Used {used:.0f}, Requested {refusal.cost:.0f}."
    return failure(
        429,
        f"{text} Please try again in {duration(wait)}.",
        refusal.meter,
        "rate_limit_exceeded",
        retry_after=str(max(1, math.ceil(wait))),
        retry_after_ms=str(max(1, math.ceil(wait * 1000))),
    )


def limits(allowance: Allowance) -> dict[str, str]:
    """The headers that tell of an account's limits: what is left now, and when it will be full again."""
    headers = {}
    for meter, bucket in allowance.buckets.items():
        headers[f"x-ratelimit-limit-{meter}"] = f"{bucket.limit:.0f}"
        headers[f"x-ratelimit-remaining-{meter}"] = f"{int(bucket.level)}"
        headers[f"x-ratelimit-reset-{meter}"] = duration(bucket.until(bucket.capacity))
    return headers


def duration(seconds: float) -> str:
    """As OpenAI's headers say it: 120ms, 1s, 8.64s, 6m0s, 1h0m0s."""
    thousandths = math.ceil(seconds * 1000)
    if thousandths < 1000:
        return f"{thousandths}ms"
    minutes, thousandths = divmod(thousandths, 60_000)
    hours, minutes = divmod(minutes, 60)
    head = f"{hours}h{minutes}m" if hours else f"{minutes}m" if minutes else ""
    return f"{head}{thousandths / 1000:g}s"


# ── faults that are a reply ───────────────────────────────────────────────────────────────────────

_SORRY = "The server had an error while processing your request. Sorry about that!"
_PAGE = b"<!DOCTYPE html>\n<html><head><title>502 Bad Gateway</title></head><body>Bad gateway</body></html>\n"

FAULTS: Mapping[str, Reply] = {
    "400": failure(400, "The request could not be processed."),
    "429": failure(429, "Rate limit reached.", "requests", "rate_limit_exceeded", retry_after="1"),
    "500": failure(500, _SORRY, "server_error"),
    "503": failure(503, "The engine is currently overloaded, please try again later.", "server_error"),
    "error_200": failure(200, _SORRY, "server_error"),
    "html": Reply(200, _PAGE, {"Content-Type": "text/html"}),
    "redirect": failure(307, "Moved.", location="https://moved.invalid/v1/chat/completions"),
    "insufficient_quota": failure(
        429,
        "You exceeded your current quota, please check your plan and billing details.",
        "insufficient_quota",
        "insufficient_quota",
    ),
    "context_length_exceeded": failure(
        400,
        "This model's maximum context length is 8192 tokens. Please reduce the length of the messages.",
        code="context_length_exceeded",
    ),
}
