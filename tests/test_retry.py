import pytest
from hypothesis import given
from hypothesis import strategies as st
from pocket import ASKED, NOW, answer, parted, tiny

from storyd.errors import Fatal, Refused, Transient
from storyd.events import Abandoned, Accepted, Fault, Invalid, Paid, Reopened
from storyd.exchange import Completion, Request, Usage
from storyd.job import RetryPolicy
from storyd.past import FRESH, Past, Rejected
from storyd.retry import ACCOUNT_CAP, Asked, after, decide

JOB = tiny(retry=RetryPolicy(invalid=3, transient=2, base=1.0, cap=30.0))
PROMPT = JOB.prompt(4)
GOOD = Completion("Once.", "stop", Usage(10, 5), "said-model", 1.23456)
BAD = Completion("bad", "stop", Usage(10, 1), seconds=0.5)


def decided(past, outcome, job=JOB):
    return decide(job, job.prompt(4), past, outcome, ASKED)


# ── answers ───────────────────────────────────────────────────────────────────────────────────────


def test_a_valid_answer_becomes_a_record():
    event = decided(Past(nth=7, invalid=2), GOOD)
    assert isinstance(event, Accepted)
    (record,) = event.records
    assert (record.id, record.story, record.words) == ("tiny/4", "Once.", 1)
    assert (record.nth, record.attempts, record.finish) == (7, 3, "stop")
    assert (record.provider, record.model, record.created) == ("pocket", "said-model", NOW)
    assert (record.usage, record.usd, record.seconds) == (Usage(10, 5), 25e-6, 1.235)
    assert record.traits == PROMPT.traits


def test_a_nameless_model_is_the_one_that_was_asked():
    event = decided(FRESH, answer(Request("x", "m", (("user", "?"),), 9), bad=0))
    assert isinstance(event, Accepted) and event.records[0].model == "m"


def test_an_answer_of_several_stories_is_paid_once():
    job = tiny(extract=parted)
    event = decided(FRESH, Completion("One|Two|Three", "stop", Usage(10, 5), seconds=2.0), job)
    assert isinstance(event, Accepted)
    assert [record.id for record in event.records] == ["tiny/4.0", "tiny/4.1", "tiny/4.2"]
    assert [record.usage for record in event.records] == [Usage(10, 5), Usage(), Usage()]
    assert sum(record.usd for record in event.records) == 25e-6
    assert sum(record.seconds for record in event.records) == 2.0


def test_without_a_price_the_money_is_not_known():
    event = decide(JOB, PROMPT, FRESH, GOOD, Asked("pocket", None, NOW))
    assert isinstance(event, Accepted) and event.records[0].usd is None


@pytest.mark.parametrize(
    ("invalid", "kind"), [(0, Invalid), (1, Invalid), (2, Abandoned), (3, Abandoned), (9, Abandoned)]
)
def test_an_index_is_asked_until_its_last_attempt(invalid, kind):
    event = decided(Past(nth=invalid + 4, invalid=invalid), BAD)
    assert type(event) is kind
    assert event.nth == invalid + 4
    assert event.why == ("told: it is bad",)
    assert event.answer == Paid("bad", "stop", "m", Usage(10, 1), 13e-6, 0.5)


@pytest.mark.parametrize("text", ["", " \n\t", "\x00"])
def test_an_empty_answer_was_paid_for_like_any_other(text):
    def spoken(prompt, said):
        return None if said.text.strip("\x00") else "0, want 1"

    event = decided(FRESH, Completion(text, "stop", Usage(9, 0)), tiny(checks=[("words", spoken)]))
    assert isinstance(event, Invalid) and event.answer.usage == Usage(9, 0)


def test_half_a_character_does_not_stop_the_job():
    event = decided(FRESH, Completion("bad \ud83d", "stop"))
    assert isinstance(event, Invalid) and event.answer.text == "bad ?"


# ── no answers ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("certain", [True, False])
def test_a_refusal_abandons_the_index(certain):
    event = decided(Past(nth=2, invalid=2), Refused("HTTP 400: no", certain=certain))
    assert event == Abandoned(4, 2, ("HTTP 400: no",), NOW)


@pytest.mark.parametrize(
    ("own", "put_off", "abandoned"),
    [(0, False, False), (1, True, False), (2, False, False), (3, False, True), (4, False, True)],
)
def test_faults_of_its_own_put_an_index_off_and_then_abandon_it(own, put_off, abandoned):
    event = decided(Past(nth=1, own=own, faults=own), Transient("reset", own=True))
    if abandoned:
        assert event == Abandoned(4, 1, ("reset",), NOW)
    else:
        assert isinstance(event, Fault)
        assert (event.own, event.put_off, event.nth) == (True, put_off, 1)


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.booleans())
def test_weather_never_abandons_an_index(faults, own, limited):
    event = decided(Past(own=own, faults=faults), Transient("HTTP 429", limited=limited))
    assert isinstance(event, Fault)
    assert not event.own and not event.put_off


@given(
    st.integers(0, 200), st.integers(0, 50), st.booleans(), st.floats(0, 1e5), st.floats(0.01, 5),
    st.floats(1, 100), st.integers(0, 2**40),
)  # fmt: skip
def test_waits_double_up_to_a_cap_and_keep_what_the_provider_asks(
    faults, nth, own, retry_after, base, cap, seed
):
    job = tiny(seed=seed, retry=RetryPolicy(transient=10**9, base=base, cap=cap))
    event = decided(Past(nth=nth, faults=faults), Transient("x", retry_after=retry_after, own=own), job)
    assert isinstance(event, Fault)
    whole = min(cap if own else min(cap, ACCOUNT_CAP), base * 2**faults)
    assert event.wait >= retry_after
    assert event.wait >= 0.75 * whole - 0.0005
    assert event.wait <= max(retry_after, whole + 0.0005)


def test_waits_spread():
    waits = {
        decide(JOB, JOB.prompt(index), FRESH, Transient("x", own=True), ASKED).wait for index in range(20)
    }
    assert len(waits) > 15 and min(waits) >= 0.75 and max(waits) <= 1.0


@pytest.mark.parametrize("outcome", [Fatal("bad key"), None, "text"])
def test_what_is_no_outcome_decides_nothing(outcome):
    with pytest.raises(TypeError):
        decided(FRESH, outcome)


# ── the past ──────────────────────────────────────────────────────────────────────────────────────

PAID = Paid("bad", "stop", "m", Usage(1, 1), 0.0, 0.1)
LONG = Past(5, 2, 3, 4, Rejected("old", ("x",)))


@pytest.mark.parametrize(
    ("event", "then"),
    [
        (Invalid(4, 5, ("w",), PAID, NOW), Past(6, 3, 0, 0, Rejected("bad", ("w",)))),
        (Fault(4, 5, "x", True, 1.0, NOW), Past(5, 2, 4, 5, Rejected("old", ("x",)))),
        (Fault(4, 5, "x", False, 1.0, NOW), Past(5, 2, 3, 5, Rejected("old", ("x",)))),
        (Abandoned(4, 5, ("w",), NOW, PAID), Past(6)),
        (Abandoned(4, 5, ("HTTP 400",), NOW), Past(6)),
        (Reopened(4, 6, "retry", NOW), Past(6)),
        (Reopened(4, 1006, "restart-shard", NOW), Past(1006)),
        (Reopened(4, 2, "retry", NOW), Past(5)),
    ],
)
def test_the_past_after_an_event(event, then):
    assert after(LONG, event) == then


def test_a_reopened_index_has_all_its_attempts_again_and_new_numbers():
    past, asked = FRESH, []
    for _ in range(2):
        while True:
            event = decided(past, BAD)
            asked.append(event.nth)
            past = after(past, event)
            if isinstance(event, Abandoned):
                break
        past = after(past, Reopened(4, past.nth, "retry", NOW))
    assert asked == [0, 1, 2, 3, 4, 5]


@given(st.lists(st.sampled_from(["bad", "own", "weather", "refused", "reopened"]), max_size=40))
def test_numbers_never_go_back_and_no_answered_question_is_asked_again(outcomes):
    past, answered = FRESH, set()
    for outcome in outcomes:
        before = past.nth
        match outcome:
            case "reopened":
                event = Reopened(4, past.nth, "retry", NOW)
            case "bad":
                assert past.nth not in answered
                answered.add(past.nth)
                event = decided(past, BAD)
            case "refused":
                event = decided(past, Refused("no"))
            case _:
                event = decided(past, Transient("x", own=outcome == "own"))
        past = after(past, event)
        assert past.nth >= before
        assert past.nth == before or not isinstance(event, Fault)
