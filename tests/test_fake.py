"""The fake provider: a pure function of the request, valid unless it is told to be bad."""

from collections import Counter
from itertools import pairwise

import anyio
import orjson
import pytest

from storyd import checks, tales
from storyd.answer import Answer
from storyd.errors import ConfigError, Transient
from storyd.exchange import Request
from storyd.providers import fake
from storyd.settings import ProviderSettings
from storyd.space import Prompt

ASK = 'Write a short story. The story should use the verb "{}", the noun "{}" and the adjective “{}”.'
WORDS = ("whisper", "cactus", "purple")
PROMPT = ASK.format(*WORDS)
CHECKS = {
    "finished": checks.finished,
    "words": lambda prompt, answer: checks.words(prompt, answer, min=50, max=300),
    "sentences": lambda prompt, answer: checks.sentences(prompt, answer, min=5, max=40),
    "contains": lambda prompt, answer: checks.contains(prompt, answer, axes=["words"]),
    "ends_well": checks.ends_well,
    "no_repeats": lambda prompt, answer: checks.no_repeats(prompt, answer, sentences=0.0, ngrams=0.0),
    "script": lambda prompt, answer: checks.script(prompt, answer, name="Latin"),
    "no_refusal": checks.no_refusal,
    "no_prompt_echo": checks.no_prompt_echo,
}


def request(key="job/1.0", text=PROMPT, max_tokens=400, **more):
    return Request(key, "m", (("user", text),), max_tokens, **more)


def many(count, **more):
    return [request(f"job/{index}.0", **more) for index in range(count)]


def reasons(asked, text, finish="stop"):
    prompt = Prompt(0, asked.messages[-1][1], {"words": WORDS})
    judged = {name: check(prompt, Answer(text, finish)) for name, check in CHECKS.items()}
    return {name: why for name, why in judged.items() if why}


def settings(**options):
    return ProviderSettings("rehearsal", "fake", options=options)


# ── answers ──────────────────────────────────────────────────────────────────────────────────────


def test_every_story_passes_every_check():
    for asked in many(500):
        assert reasons(asked, *fake.answer(asked)) == {}


@pytest.mark.parametrize("prefill", ["Once upon a time.", "Once upon a time, ", "There lived a", '"Oh!"'])
def test_the_answer_starts_with_the_prefill(prefill):
    asked = request(prefill=prefill)
    text, _ = fake.answer(asked)
    assert text.startswith(prefill)
    assert reasons(asked, text) == {}


@pytest.mark.parametrize("prefill", ["", "{", '{"story": ', '{"story":"', '{"story": "Once upon a time, '])
def test_json_is_answered_where_it_is_asked_for(prefill):
    asked = request(text=PROMPT + ' Answer with JSON: {"story": "…"}', prefill=prefill)
    text, finish = fake.answer(asked)
    assert text.startswith(prefill) and finish == "stop"
    assert reasons(asked, orjson.loads(text)["story"]) == {}


def test_a_story_that_does_not_fit_is_cut_off():
    asked = request(max_tokens=70)
    text, finish = fake.answer(asked)
    assert finish == "length" and len(text.split()) == 50
    assert tales.story(asked).startswith(text)


# ── bad habits ────────────────────────────────────────────────────────────────────────────────────


def test_the_wanted_share_of_answers_is_invalid_in_every_way():
    habits = fake.Habits(invalid=0.3)
    bad = {asked.id: reasons(asked, *fake.answer(asked, habits)) for asked in many(2000)}
    assert 0.27 < sum(map(bool, bad.values())) / len(bad) < 0.33
    found = Counter(tuple(sorted(why)) for why in bad.values() if why)
    assert found[("contains",)] > 80
    assert any("finished" in why and "ends_well" in why for why in found)
    assert any("no_refusal" in why for why in found)


def test_whether_an_answer_is_invalid_follows_from_the_id_alone():
    habits = fake.Habits(invalid=0.5)

    def good(text):
        return [not reasons(one, *fake.answer(one, habits)) for one in many(100, text=text)]

    assert good(PROMPT) == good("Please. " + PROMPT)


def test_every_answer_is_invalid_where_all_are():
    habits = fake.Habits(invalid=1.0)
    assert all(reasons(asked, *fake.answer(asked, habits)) for asked in many(200))


def test_shares_are_even():
    drawn = sorted(fake.share("any", number) for number in range(2000))
    assert drawn[0] >= 0 and drawn[-1] < 1
    assert max(high - low for low, high in pairwise(drawn)) < 0.01


# ── the provider ──────────────────────────────────────────────────────────────────────────────────


async def test_a_completion_says_what_it_cost():
    async with fake.connect(settings()) as provider:
        completion = await provider.complete(request())
    assert completion.text == tales.story(request()) and completion.finish == "stop"
    assert completion.model == "m" and completion.seconds == 0.0
    assert completion.usage.input > 15
    assert 1.2 < completion.usage.output / len(completion.text.split()) < 1.4


async def test_a_question_gets_through_when_it_is_asked_again():
    async with fake.connect(settings(faults=0.5)) as provider:
        tries = [await _tries(provider, asked) for asked in many(400)]
        again = [await _tries(provider, asked) for asked in reversed(many(400))]
    assert again[::-1] == tries, "faults follow from the question and its faults so far"
    assert 0.4 < sum(one > 1 for one in tries) / len(tries) < 0.6
    assert max(tries) > 3


async def _tries(provider, asked):
    for count in range(1, 100):
        try:
            completion = await provider.complete(asked)
        except Transient:
            continue
        assert completion.text == tales.story(asked)
        return count
    raise AssertionError("never got through")


async def test_what_failed_is_remembered_up_to_a_bound(monkeypatch):
    monkeypatch.setattr(fake, "REMEMBERED", 10)
    async with fake.connect(settings(faults=1.0)) as provider:
        for asked in many(50):
            with pytest.raises(Transient):
                await provider.complete(asked)
        assert len(provider._failed) == 10


async def test_latency_takes_time():
    async with fake.connect(settings(latency=0.01)) as provider:
        completion = await provider.complete(request())
    assert 0.005 <= completion.seconds <= 0.015


async def test_a_loop_over_it_can_be_cancelled():
    async with fake.connect(settings()) as provider:
        with anyio.move_on_after(0.01) as scope:
            while True:
                await provider.complete(request())
    assert scope.cancelled_caught


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"invalid": 1.5}, "rehearsal: invalid: 1.5 is no share (from 0 to 1)"),
        ({"faults": -1}, "rehearsal: faults: -1 is no share (from 0 to 1)"),
        ({"words": 7}, "rehearsal: words: 7 is out of range (from 40 to 600)"),
        ({"latency": float("nan")}, "rehearsal: latency: nan is no time (seconds, from 0)"),
    ],
)
async def test_an_option_out_of_range_is_refused(options, said):
    with pytest.raises(ConfigError) as refused:
        async with fake.connect(settings(**options)):
            pass
    assert str(refused.value) == said
