"""Stories for rehearsals: pure, various, and holding what the prompt quotes."""

import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storyd import checks, tales
from storyd.answer import Answer
from storyd.exchange import Request
from storyd.space import Prompt

PROMPT = 'Write a story with the verb "whisper", the noun "cactus" and the adjective “purple”.'


def request(key="job/1.0", text=PROMPT, **more):
    return Request(key, "m", (("user", text),), 400, **more)


def many(count, **more):
    return [request(f"job/{index}.0", **more) for index in range(count)]


# ── stories ───────────────────────────────────────────────────────────────────────────────────────


def test_a_story_has_100_to_190_words_with_and_without_words_to_use():
    for text in (PROMPT, "Tell me a story."):
        lengths = [len(tales.story(asked).split()) for asked in many(1000, text=text)]
        assert min(lengths) >= 100 and max(lengths) <= 190
        assert max(lengths) - min(lengths) > 50


@pytest.mark.parametrize("mean", [40, 80, 145, 300, 600])
def test_the_mean_length_is_as_asked(mean):
    lengths = [len(tales.story(asked, mean).split()) for asked in many(400, text="Tell me a story.")]
    assert abs(sum(lengths) / len(lengths) - mean) < 0.1 * mean + 10


def test_long_stories_repeat_no_sentence():
    for asked in many(100):
        told = Answer(tales.story(asked, 600))
        assert checks.no_repeats(Prompt(0, "", {}), told, sentences=0.0, ngrams=0.0) is None


def test_stories_differ_from_each_other():
    stories = {tales.story(asked) for asked in many(2000)}
    assert len(stories) == 2000
    assert len({text.split(".")[0] for text in stories}) > 200


def test_a_story_has_paragraphs():
    assert Counter(tales.story(asked).count("\n\n") >= 2 for asked in many(300))[True] > 250


def test_the_same_question_has_the_same_answer_in_any_order():
    asked = many(50)
    assert [tales.story(one) for one in asked] == [tales.story(one) for one in reversed(asked)][::-1]


def test_another_id_prompt_prefill_or_seed_is_another_story():
    stories = {
        tales.story(request()),
        tales.story(request("job/1.1")),
        tales.story(request(text="Tell me a story.")),
        tales.story(request(prefill="One day it rained.")),
        tales.story(request(sampling={"seed": 7})),
    }
    assert len(stories) == 5


def test_temperature_changes_nothing():
    assert tales.story(request(sampling={"temperature": 0.1})) == tales.story(request())


@given(st.text(max_size=200), st.text(max_size=60), st.text(max_size=30))
def test_any_prompt_prefill_and_id_makes_a_story(text, prefill, key):
    asked = request(key, text, prefill=prefill)
    told = tales.story(asked)
    assert told.startswith(prefill.rstrip()) and len(told.split()) > 20
    assert all(word in told for word in tales.quoted(text))


# ── what the prompt wants ─────────────────────────────────────────────────────────────────────────


def test_quoted_words_are_found_with_their_part_of_speech():
    assert tales.quoted(
        'the verb "jump", the nouns “ice cream” and "a\nb", "…" but 5" of rope, "THE END."'
    ) == {
        "jump": "verb",
        "ice cream": "",
        "THE END.": "",
    }


def test_a_word_in_braces_stays_as_it_is():
    assert "{name}" in tales.story(request(text='Use "{name}".'))


def test_twenty_words_are_all_told():
    words = [f"word{number}" for number in range(20)]
    told = tales.story(request(text=" ".join(f'"{word}"' for word in words)))
    assert all(re.search(rf"\b{word}\b", told) for word in words)


def test_only_the_last_question_counts_but_feedback_refers_to_the_one_before():
    messages = (
        ("system", 'Never say "system".'),
        ("user", 'Use "first".'),
        ("assistant", "…"),
        ("user", 'Use "second".'),
        ("assistant", "…"),
        ("user", "That answer cannot be used."),
    )
    asked = Request("job/1.1", "m", messages, 400)
    assert tales.quoted(tales.asked(asked)) == {"second": ""}
