import math
from dataclasses import replace

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from storyd.errors import Fatal, Refused, Transient, Unanswered
from storyd.exchange import Completion, Reading, Request, Usage
from storyd.providers.chat import bound, decode, encode, readings, seconds
from storyd.wire import Reply

ASK = Request(
    "job/7.0", "m", (("system", "Be kind."), ("user", "A story.")), 50, {"top_p": 0.9}, {"user": "u"}
)


def reply(body, status=200, **headers):
    body = body if isinstance(body, bytes) else orjson.dumps(body)
    return Reply(
        status, CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()}), body, 0.5
    )


def answer(text="Once.", finish="stop", usage=None, **message):
    said = {
        "choices": [{"message": {"role": "assistant", "content": text, **message}, "finish_reason": finish}]
    }
    return {"model": "m-1", **said, **({"usage": usage} if usage is not None else {})}


def test_a_request_is_what_the_job_says():
    assert orjson.loads(encode(ASK)) == {
        "model": "m",
        "messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "A story."}],
        "max_tokens": 50,
        "top_p": 0.9,
        "user": "u",
    }


def test_newer_models_name_the_budget_otherwise():
    assert "max_tokens" not in orjson.loads(encode(ASK, "max_completion_tokens"))


def test_a_prefill_is_the_start_of_the_answer_whether_it_is_repeated_or_not():
    ask = replace(ASK, prefill="Once upon")
    assert orjson.loads(encode(ask))["messages"][-1] == {"role": "assistant", "content": "Once upon"}
    assert decode(reply(answer(" a time.")), ask).text == "Once upon a time."
    assert decode(reply(answer("Once upon a time.")), ask).text == "Once upon a time."


def test_an_answer():
    usage = {
        "prompt_tokens": 30,
        "completion_tokens": 40,
        "prompt_tokens_details": {"cached_tokens": 20},
        "completion_tokens_details": {"reasoning_tokens": 10},
    }
    limits = (Reading("requests", 60, 59),)
    assert decode(reply(answer(usage=usage)), ASK, limits) == Completion(
        "Once.", "stop", Usage(30, 40, cached=20, reasoning=10), "m-1", 0.5, limits
    )


def test_missing_usage_is_guessed():
    usage = decode(reply(answer("x" * 400)), ASK).usage
    assert 95 <= usage.output <= 105
    assert 2 <= usage.input <= 10


@pytest.mark.parametrize(
    "usage", [{}, {"prompt_tokens": "9"}, {"prompt_tokens": -9}, {"completion_tokens": True}, 7, []]
)
def test_senseless_usage_is_guessed(usage):
    assert decode(reply(answer(usage=usage)), ASK).usage == decode(reply(answer()), ASK).usage


@pytest.mark.parametrize(
    ("finish", "said"),
    [
        ("stop", "stop"),
        ("eos", "stop"),
        ("length", "length"),
        ("content_filter", "filter"),
        ("tool_calls", "tool_calls"),
        (None, "unknown"),
    ],
)
def test_finish_reasons(finish, said):
    assert decode(reply(answer(finish=finish)), ASK).finish == said


def test_empty_content_was_paid_for():
    for content in ("", None):
        assert decode(reply(answer(content)), ASK).text == ""
    assert decode(reply(answer(None, refusal="I cannot")), ASK).finish == "filter"


def test_content_in_parts_is_one_text():
    parts = [{"type": "text", "text": "Once "}, {"type": "image"}, "?", {"type": "text", "text": "upon."}]
    assert decode(reply(answer(parts)), ASK).text == "Once upon."


def test_an_oversized_answer_is_no_text_and_all_its_tokens():
    said = decode(Reply(200, {}, b'{"choices": [{"mess', 0.5, whole=False), ASK)
    assert (said.text, said.finish, said.usage.output) == ("", "oversize", 50)


def test_the_bound_grows_with_what_is_asked_for():
    assert bound(1000) == 65536 + 64000


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>502</html>",
        b'{"choices": [{"mess',
        b"\xff\xfe",
        b"null",
        b"[]",
        {},
        {"choices": []},
        {"choices": 3},
    ],
)
def test_what_is_no_answer_is_weather(body):
    with pytest.raises(Transient):
        decode(reply(body), ASK)


def test_an_answer_under_the_wrong_content_type_was_paid_for_all_the_same():
    assert decode(reply(answer(), content_type="text/html"), ASK).text == "Once."


def test_a_stream_parks():
    with pytest.raises(Fatal, match="stream"):
        decode(reply(b"data: {}\n\n"), ASK)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"error": {"message": "busy", "code": 502}}, Transient),
        ({"error": {"message": "Provider returned error", "code": 429}}, Transient),
        ({"error": {"message": "no more", "code": "insufficient_quota"}}, Fatal),
        ({"error": "something"}, Transient),
    ],
)
def test_an_error_under_status_200(body, kind):
    with pytest.raises(kind):
        decode(reply(body), ASK)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            {"error": {"message": "too long", "type": "t", "code": "context_length_exceeded"}},
            "context_length_exceeded: too long",
        ),
        (
            {
                "object": "error",
                "message": "maximum context length is 9",
                "type": "BadRequestError",
                "code": 400,
            },
            "maximum",
        ),
        (
            {"error": {"message": "the request exceeds", "type": "exceed_context_size_error", "code": 400}},
            "exceeds",
        ),
        ({"detail": "prompt is too long"}, "prompt is too long"),
        (b"prompt is too long", "prompt is too long"),
    ],
)
def test_errors_in_the_forms_of_many_servers(body, said):
    with pytest.raises(Refused, match=said) as caught:
        decode(reply(body, 400), ASK)
    assert caught.value.certain


def test_a_refusal_names_the_request_for_the_providers_support():
    with pytest.raises(Transient, match="req_123"):
        decode(reply({}, 500, x_request_id="req_123"), ASK)


def test_a_limit_tells_how_long_to_wait_and_what_is_left():
    limits = (Reading("requests", 60, 0),)
    with pytest.raises(Transient) as caught:
        decode(reply({"error": {"message": "slow"}}, 429, retry_after="7"), ASK, limits)
    assert (caught.value.retry_after, caught.value.limited, caught.value.readings) == (7, True, limits)


json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.sampled_from(
                [
                    "choices",
                    "message",
                    "content",
                    "error",
                    "code",
                    "usage",
                    "text",
                    "detail",
                    "finish_reason",
                    "refusal",
                ]
            ),
            inner,
        )
    ),
    max_leaves=20,
)


@given(json | st.binary(), st.sampled_from([200, 204, 302, 400, 429, 500]))
def test_no_body_surprises(body, status):
    try:
        said = decode(reply(body, status), ASK)
    except (Unanswered, Fatal) as error:
        assert str(error)
    else:
        assert isinstance(said.text, str)
        assert isinstance(said.finish, str)


# ── limits ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ("1s", 1),
        ("6m0s", 360),
        ("120ms", 0.12),
        ("1h2m3.5s", 3723.5),
        ("2d1h", 176400),
        ("20", 20),
        ("0s", 0),
        ("", None),
        (None, None),
        ("-1s", None),
        ("1 s", None),
        ("soon", None),
        ("nan", None),
        ("1e400", None),
        ("9" * 500 + "s", None),
    ],
)
def test_durations(said, wanted):
    assert seconds(said) == (wanted if wanted is None else pytest.approx(wanted))


def limits(**what):
    return readings(
        CIMultiDict({f"x-ratelimit-{name.replace('_', '-')}": value for name, value in what.items()})
    )


def test_limit_headers():
    said = limits(
        limit_requests="60", remaining_requests="59", reset_requests="1s",
        limit_tokens="150000", remaining_tokens="149984", reset_tokens="6m0s",
    )  # fmt: skip
    assert said == (Reading("requests", 60, 59, 1), Reading("tokens", 150000, 149984, 360))


def test_the_tighter_of_two_token_limits_counts():
    said = limits(
        limit_tokens="1000",
        remaining_tokens="900",
        limit_project_tokens="500",
        remaining_project_tokens="400",
    )
    assert said == (Reading("tokens", 500, 400),)


@pytest.mark.parametrize("garbage", ["", "-1", "nan", "inf", "many", "1e99", "0x10"])
def test_garbage_is_passed_over(garbage):
    assert limits(limit_requests=garbage, remaining_requests="1") == ()
    assert limits(limit_requests="60", remaining_requests=garbage) == ()


def test_more_left_than_there_is_is_garbage_too():
    assert limits(limit_requests="60", remaining_requests="61") == ()


@given(st.text(), st.text(), st.text())
def test_readings_are_numbers_whatever_is_said(limit, remaining, reset):
    for reading in limits(limit_tokens=limit, remaining_tokens=remaining, reset_tokens=reset):
        assert 0 <= reading.remaining <= reading.limit
        assert reading.limit > 0
        assert reading.reset is None or math.isfinite(reading.reset)
