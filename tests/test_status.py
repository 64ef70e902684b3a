from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storyd.errors import Fatal, Refused, Transient
from storyd.status import DAY, PARK, REFUSE, Failure, classify, redact, retry_after

NOW = 1_800_000_000.0


def test_every_status_and_every_code_has_an_answer():
    for status in range(100, 600):
        for code in ("", *PARK, *REFUSE, "rate_limit_exceeded", "nobody_has_heard_of_it"):
            said = classify(Failure(status, code, message="no"))
            assert isinstance(said, Transient | Refused | Fatal)
            assert str(status) in str(said)
            if isinstance(said, Fatal):
                assert said.fix, "who is parked must be told how to go on"


@given(st.integers(), st.text(), st.text(), st.text(), st.floats(0, DAY), st.booleans())
def test_no_refusal_is_without_meaning(status, code, kind, message, wait, insists):
    assert isinstance(
        classify(Failure(status, code, kind, message, wait, insists)), Transient | Refused | Fatal
    )


@pytest.mark.parametrize("status", [401, 402, 403, 404, 407, 300, 301, 302, 303, 307, 308])
def test_what_no_question_escapes_parks(status):
    assert isinstance(classify(Failure(status)), Fatal)


@pytest.mark.parametrize("code", sorted(PARK))
@pytest.mark.parametrize("status", [400, 403, 429])
def test_an_empty_account_parks_whatever_the_status(status, code):
    assert isinstance(classify(Failure(status, code)), Fatal)
    assert isinstance(classify(Failure(status, kind=code)), Fatal)


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504, 520, 529])
def test_weather_is_transient(status):
    said = classify(Failure(status, retry_after=7))
    assert isinstance(said, Transient)
    assert said.retry_after == 7
    assert said.limited is (status == 429)


def test_slow_down_is_the_providers_limit():
    said = classify(Failure(503, message="Slow Down: you are sending too fast"))
    assert isinstance(said, Transient)
    assert said.limited


def test_a_server_that_insists_is_asked_again():
    assert isinstance(classify(Failure(400, insists=True)), Transient)
    assert isinstance(classify(Failure(400, "insufficient_quota", insists=True)), Fatal)


@pytest.mark.parametrize(
    "failure",
    [
        Failure(400, "context_length_exceeded"),
        Failure(400, kind="exceed_context_size_error"),
        Failure(400, message="This model's maximum context length is 4096 tokens"),
        Failure(400, "content_filter"),
        Failure(400, "content_policy_violation"),
        Failure(403, message="your input was flagged"),
        Failure(413),
        Failure(422, message="prompt is too long"),
    ],
)
def test_what_is_about_this_question_is_certain(failure):
    said = classify(failure)
    assert isinstance(said, Refused)
    assert said.certain


@pytest.mark.parametrize("status", [400, 405, 406, 410, 415, 418, 422, 451])
def test_an_unexplained_refusal_is_doubted(status):
    said = classify(Failure(status, message="no"))
    assert isinstance(said, Refused)
    assert not said.certain


def test_a_spend_limit_told_as_a_bad_request_parks():
    assert isinstance(classify(Failure(400, message="Your credit balance is too low")), Fatal)
    assert isinstance(
        classify(Failure(400, message="You have reached your specified API usage limits")), Fatal
    )


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 0),
        ({"retry-after": "20"}, 20),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": datetime.fromtimestamp(NOW + 30, UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")}, 30),
        ({"retry-after": datetime.fromtimestamp(NOW - 30, UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")}, 0),
        ({"retry-after": "99999999"}, DAY),
        ({"retry-after": "-5"}, 0),
        ({"retry-after": "nan"}, 0),
        ({"retry-after": "inf"}, 0),
        ({"retry-after": "soon"}, 0),
        ({"retry-after": ""}, 0),
    ],
)
def test_retry_after(headers, seconds):
    assert retry_after(headers, NOW) == pytest.approx(seconds)


@given(st.text())
def test_retry_after_is_bounded_whatever_it_says(said):
    assert 0 <= retry_after({"retry-after": said}, NOW) <= DAY


@pytest.mark.parametrize(
    "secret",
    [
        "sk-proj-abcdefghij0123456789",
        "hf_abcdefghijklmnop",
        "Bearer abc.def-ghi_jkl",
        "basic QWxhZGRpbjpvcGVu",
    ],
)
def test_what_looks_like_a_key_is_not_shown(secret):
    assert secret.split()[-1] not in redact(f"Incorrect API key provided: {secret}. See there.")


def test_our_own_key_is_not_shown_whatever_it_looks_like():
    assert redact("you sent hunter2!", ["hunter2"]) == "you sent …!"


def test_a_message_is_one_short_line():
    said = redact("a\nb\tc\x1b[31m\u202e" + "x" * 9999)
    assert len(said) == 300
    assert said.isprintable()


@given(st.text(max_size=200), st.from_regex(r"[a-z0-9]{12,40}", fullmatch=True))
def test_no_secret_is_left(text, secret):
    assert secret not in redact(f"{text}{secret}{text}", [secret])
