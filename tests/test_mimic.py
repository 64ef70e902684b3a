"""OpenAI's wire format from the server's side, read back by our own client's codec where it can."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storyd import mimic, weather
from storyd.exchange import Request, Usage
from storyd.providers import chat
from storyd.weather import Allowance

ASKED = Request("job/1.0", "m", (("system", "Be kind."), ("user", "Tell me a story.")), 300)


def error(reply):
    return orjson.loads(reply.body)["error"]


def test_a_question_is_read_as_our_client_writes_it():
    asked = Request("job/1.0", "m", ASKED.messages, 300, {"seed": 4}, prefill="Once")
    assert mimic.read_chat(chat.encode(asked), "job/1.0") == asked
    assert mimic.read_chat(chat.encode(ASKED, "max_completion_tokens"), "job/1.0") == ASKED


def test_text_may_come_in_parts():
    parts = [{"type": "text", "text": "Tell me "}, {"type": "text", "text": "a story."}]
    body = orjson.dumps({"model": "m", "messages": [{"role": "user", "content": parts}]})
    asked = mimic.read_chat(body, "key")
    assert asked.messages == (("user", "Tell me a story."),)
    assert asked.max_tokens == mimic.UNLIMITED


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'{"messages": []}',
        b'{"messages": [7]}',
        b'{"messages": [{"role": "user"}]}',
        b'{"messages": [{"role": "user", "content": "hello"}], "stream": true}',
        b'{"messages": [{"role": "user", "content": "hello"}], "max_tokens": "many"}',
        b'{"messages": [{"role": "user", "content": "hello"}], "max_tokens": -1}',
    ],
)
def test_what_is_no_question_is_refused(body):
    with pytest.raises(ValueError):
        mimic.read_chat(body, "key")


def test_an_answer_has_the_form_of_a_chat_completion():
    said = orjson.loads(mimic.write_chat(ASKED, "Once.", "stop", Usage(7, 2), 1))
    assert said["object"] == "chat.completion" and said["model"] == "m"
    assert said["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Once.", "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ]
    assert (said["usage"]["prompt_tokens"], said["usage"]["completion_tokens"]) == (7, 2)
    assert said["usage"]["total_tokens"] == 9


def test_an_answer_goes_on_after_the_prefill():
    asked = Request("job/1.0", "m", ASKED.messages, 300, prefill="Once ")
    said = orjson.loads(mimic.write_chat(asked, "Once upon a time.", "stop", Usage(), 1))
    assert said["choices"][0]["message"]["content"] == "upon a time."


# ── refusals ──────────────────────────────────────────────────────────────────────────────────────


def test_the_key_is_asked_for_and_never_told():
    assert mimic.denied("Bearer sk-right", "sk-right") is None
    assert mimic.denied("", "") is None
    reply = mimic.denied("Bearer sk-wrong-and-long", "sk-right")
    assert reply is not None and reply.status == 401
    assert error(reply) == {
        "message": "Incorrect API key provided: sk-**********long.",
        "type": "invalid_request_error",
        "param": None,
        "code": "invalid_api_key",
    }
    none = mimic.denied("", "sk-right")
    assert none is not None and none.status == 401 and error(none)["code"] is None


def test_a_refusal_by_a_limit_has_the_headers_and_words_of_the_real_one():
    allowance = Allowance(3, 40_000, 60, 0)
    assert [allowance.admit(100, 0) for _ in range(3)] == [None] * 3
    refusal = allowance.admit(100, 0)
    assert refusal is not None
    reply = mimic.refused(refusal, "gpt-4o-mini")
    assert reply.status == 429
    assert error(reply) == {
        "message": "Rate limit reached for gpt-4o-mini in organization org-simulated "
        "on requests per min (RPM): Limit 3, Used 3, Requested 1. Please try again in 20s.",
        "type": "requests",
        "param": None,
        "code": "rate_limit_exceeded",
    }
    assert (reply.headers["retry-after"], reply.headers["retry-after-ms"]) == ("20", "20000")
    assert mimic.limits(allowance) == {
        "x-ratelimit-limit-requests": "3",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "1m0s",
        "x-ratelimit-limit-tokens": "40000",
        "x-ratelimit-remaining-tokens": "39700",
        "x-ratelimit-reset-tokens": "450ms",
    }


def test_a_request_that_never_fits_is_refused_without_a_time():
    refusal = Allowance(None, 300, 60, 0).admit(301, 0)
    assert refusal is not None
    reply = mimic.refused(refusal, "m")
    assert error(reply)["message"].startswith("Request too large for m in organization")
    assert error(reply)["type"] == "tokens" and "retry-after" not in reply.headers


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0ms"),
        (0.12, "120ms"),
        (0.9999, "1s"),
        (1, "1s"),
        (8.64, "8.64s"),
        (59.9999, "1m0s"),
        (90.5, "1m30.5s"),
        (360, "6m0s"),
        (3600, "1h0m0s"),
    ],
)
def test_durations_are_said_as_openai_says_them(seconds, said):
    assert mimic.duration(seconds) == said


@given(st.floats(0, 1e6))
def test_our_client_understands_every_duration(seconds):
    understood = chat.seconds(mimic.duration(seconds))
    assert understood is not None and understood == pytest.approx(seconds, abs=0.0011)


# ── faults ────────────────────────────────────────────────────────────────────────────────────────


def test_every_fault_is_somebodys_business():
    by_the_server = {*weather.WITHOUT_ANSWER, "content_type", "drip", "truncated"}
    assert {*mimic.FAULTS, *weather.IN_ANSWER, *by_the_server} == {*weather.KINDS}
    for kind in weather.IN_ANSWER:
        assert mimic.spoiled(kind, "A story. " * 10, "stop") != ("A story. " * 10, "stop")


def test_an_oversized_answer_is_oversized():
    assert len(mimic.spoiled("oversized", "A story.", "stop")[0]) >= mimic.OVERSIZE
