import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pocket import QUICK, tiny

from storyd.job import Sampling, changed, compose
from storyd.past import FRESH, Past, Rejected
from storyd.space import Prompt

PROMPT = Prompt(41, "Tell.", {}, system="Be kind.", prefill="Once")


@given(st.integers(1, 400), st.integers(1, 50))
def test_the_shards_of_a_job_are_its_indices_cut_in_order(stories, size):
    job = tiny(stories, size)
    assert [index for number in range(job.shards) for index in job.shard(number)] == list(range(stories))
    assert all(len(job.shard(number)) == size for number in range(job.shards - 1))


def test_a_question_carries_all_that_the_job_says():
    job = tiny(sampling=Sampling(99, None, {"temperature": 0.5}, {"top_k": 3}))
    request = compose(job, PROMPT, Past(nth=7))
    assert request.id == "tiny/41.7"
    assert request.messages == (("system", "Be kind."), ("user", "Tell."))
    assert (request.model, request.max_tokens, request.prefill) == ("m", 99, "Once")
    assert (request.sampling, request.extra) == ({"temperature": 0.5}, {"top_k": 3})


def test_the_same_past_makes_the_same_question():
    job = tiny(sampling=Sampling(seed="auto"))
    assert compose(job, PROMPT, Past(nth=3)) == compose(job, PROMPT, Past(nth=3, faults=5, own=2))


@pytest.mark.parametrize("seed", ["auto", 0, 7, 2**31 - 1])
def test_a_seed_differs_per_question_and_fits_31_bits(seed):
    job = tiny(sampling=Sampling(seed=seed, options={"top_p": 0.9}))
    seeds = [compose(job, PROMPT, Past(nth=nth)).sampling["seed"] for nth in range(200)]
    assert len(set(seeds)) == 200
    assert all(0 <= one < 2**31 for one in seeds)
    assert compose(job, PROMPT, FRESH).sampling["top_p"] == 0.9


def test_without_a_seed_none_is_sent():
    assert "seed" not in compose(tiny(), PROMPT, FRESH).sampling


REJECTED = Past(nth=1, invalid=1, rejected=Rejected("bad", ("words: 1, want 5", "told: it is bad")))


def test_feedback_shows_the_answer_and_what_was_wrong_with_it():
    job = tiny(retry=QUICK.__class__(feedback=True))
    assert compose(job, PROMPT, REJECTED).messages[2:] == (
        ("assistant", "bad"),
        (
            "user",
            "That answer cannot be used:\n- words: 1, want 5\n- told: it is bad\n"
            "Answer the same request again, without these faults.",
        ),
    )


@pytest.mark.parametrize("past", [FRESH, Past(1, 1, rejected=Rejected(" \n", ("words: 0",)))])
def test_there_is_no_feedback_on_nothing(past):
    job = tiny(retry=QUICK.__class__(feedback=True))
    assert compose(job, PROMPT, past).messages == PROMPT.messages


def test_feedback_is_given_only_where_it_is_asked_for():
    assert compose(tiny(), PROMPT, REJECTED).messages == PROMPT.messages


def test_a_changed_fingerprint_names_its_keys():
    was, now = {"seed": "1", "model": "a", "draw": "x"}, {"seed": "1", "model": "b", "clean": "y"}
    assert changed(was, now) == ["clean", "draw", "model"]
    assert changed(was, was) == []


@given(st.text(max_size=40), st.integers(0, 10**9), st.integers(0, 10**6))
def test_every_question_of_a_job_has_an_id_of_its_own(text, index, nth):
    request = compose(tiny(), Prompt(index, text, {}), Past(nth=nth))
    assert re.fullmatch(rf"tiny/{index}\.{nth}", request.id)
