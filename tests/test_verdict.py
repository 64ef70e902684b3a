"""How stories are found in an answer, cleaned and judged."""

import json
import re
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storyd import checks, clean
from storyd.exchange import Completion
from storyd.space import Prompt
from storyd.verdict import REASON, REASONS, json_field, judge, listed, split, text

PROMPT = Prompt(0, "Write a story.", {"noun": "cat"})
LONG = ("words", partial(checks.words, min=3))
FINISHED = ("finished", checks.finished)


def verdict(said, finish="stop", extract=text, steps=(), tests=(LONG,)):
    return judge(extract, steps, tests, PROMPT, Completion(said, finish))


# ── one story ─────────────────────────────────────────────────────────────────────────────────────


def test_a_valid_story_is_kept_cleaned_and_stripped():
    found = verdict(" **Tom** ran  home. ", steps=[clean.strip_markdown, clean.one_paragraph])
    assert found.ok
    assert found.stories == ("Tom ran home.",)
    assert found.why == ()


def test_steps_are_taken_in_order():
    first, second = (lambda said: said + "1"), (lambda said: said + "2")
    assert verdict("a b c", steps=[first, second]).stories == ("a b c12",)


def test_every_check_has_its_say():
    contains = ("contains", partial(checks.contains, axes=["noun"]))
    found = verdict("Tom ran", "length", tests=[FINISHED, LONG, contains])
    assert not found.ok
    assert found.stories == ()
    assert found.why == (
        "finished: cut off by max_tokens",
        "words: 2 words, want at least 3",
        'contains: no form of the noun "cat"',
    )


@pytest.mark.parametrize(
    ("said", "finish", "reason"),
    [
        ("", "stop", "answer: empty"),
        (" \n ", "stop", "answer: empty"),
        ("***", "stop", "answer: empty"),
        ("", "length", "answer: empty (cut off by max_tokens)"),
        ("", "filter", "answer: empty (filtered by the provider)"),
        ("Tom ran home.", "oversize", "answer: larger than the bound"),
    ],
)
def test_what_no_check_needs_to_be_asked_about(said, finish, reason):
    assert verdict(said, finish, steps=[clean.strip_markdown], tests=[]).why == (reason,)
    assert verdict(said, finish, json_field("story"), tests=[]).why[0].startswith("answer: ")


def test_half_a_character_is_no_text():
    assert verdict("Tom ran \ud83d.").why[0].startswith("answer: holds half a character")
    assert (
        verdict('{"story": "Tom \\ud83d ran."}', extract=json_field("story"))
        .why[0]
        .startswith("answer: holds")
    )


def test_reasons_are_short_few_and_safe_to_print():
    unsafe = ("bad", lambda prompt, answer: "a\x1b[31m\n\u202e\ud83db" + "x" * 500)
    (reason,) = verdict("a b c", tests=[unsafe]).why
    assert reason.startswith("bad: a [31m b")
    assert len(reason) == REASON
    assert reason.encode().decode().isprintable()
    many = [(f"check{n}", lambda prompt, answer: "no") for n in range(REASONS + 5)]
    assert len(verdict("a b c", tests=many).why) == REASONS


def test_a_bug_in_a_check_is_seen():
    def broken(prompt, answer):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        verdict("a b c", tests=[("broken", broken)])


@given(st.text(), st.sampled_from(["stop", "length", "oversize"]))
def test_a_verdict_is_stories_or_reasons(said, finish):
    for extract in (text, json_field("story"), listed(), listed("lines"), split("END")):
        found = verdict(said, finish, extract)
        assert found.ok is bool(found.stories) is not bool(found.why)


# ── JSON ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "said",
    [
        '{"story": "Tom ran."}',
        '{"title": "T", "story": "Tom ran.", "words": [1, {"a": 2}]}',
        '```json\n{"story": "Tom ran."}\n```',
        'Sure! Here it is:\n{"story": "Tom ran."}\nI hope you {like} it.',
        'For {verb}: {"story": "Tom ran."}',
        '{"note": 1} {"story": "Tom ran."}',
        '[{"story": "Tom ran."}]',
    ],
)
def test_a_field_of_an_object_is_found(said):
    assert json_field("story")(said) == ("Tom ran.",)


def test_raw_line_breaks_and_escapes_are_fine():
    assert json_field("story")('{"story": "Tom\nran.\\n\\"Hi!\\" \\u00e9"}') == ('Tom\nran.\n"Hi!" é',)


@given(st.text(), st.dictionaries(st.text(), st.text()), st.booleans())
def test_what_json_writes_is_read(story, others, ascii_only):
    said = json.dumps({**others, "story": story}, ensure_ascii=ascii_only)
    assert json_field("story")(f"```json\n{said}\n```") == (story,)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("Tom ran.", "no JSON object"),
        ('{"story": "Tom ran', "the JSON is cut off before its end"),
        ('{"story": "Tom ran."', "the JSON is cut off before its end"),
        (
            '{"story": "Tom said "hi" to Sam."}',
            """the JSON breaks off with "Expecting ',' delimiter" before "hi""",
        ),
        ("{'story': 'Tom ran.'}", "the JSON breaks off with"),
        ('{"text": "Tom ran.", "title": "T"}', 'no "story" in the JSON object, only text, title'),
        ("{}", 'no "story" in the JSON object, only nothing'),
        ('{"story": 3}', '"story" holds 3, want text'),
        ('{"story": ["Tom ran."]}', '"story" holds ["Tom ran."], want text'),
        ('{"story": ' + "[" * 100_000, "the JSON is nested too deep"),
    ],
)
def test_why_there_is_no_field(said, reason):
    with pytest.raises(ValueError, match="^" + re.escape(reason)):
        json_field("story")(said)


def test_the_way_to_a_field_is_short():
    with pytest.raises(ValueError, match="the JSON breaks off"):
        json_field("story")("{" * 100_000)


# ── many stories ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("style", "said", "found"),
    [
        ("numbered", "Names:\n1. Tom\n2) Sam \n 3: Ann\n**4.** Bob\n\nDone.", ["Tom", "Sam", "Ann", "Bob"]),
        ("numbered", "1. Tom\n2. tom\n3. Sam\n4. TOM", ["Tom", "Sam"]),
        ("numbered", "1. In a 3.5 mile wood\n2 apples\n3.5 pears", ["In a 3.5 mile wood"]),
        ("bulleted", "- Tom\n* Sam\n• Ann\nBob", ["Tom", "Sam", "Ann"]),
        ("lines", "Tom\n\n  Sam\n", ["Tom", "Sam"]),
    ],
)
def test_a_list_has_one_story_a_line(style, said, found):
    assert listed(style)(said) == tuple(found)


def test_stories_between_markers():
    assert split("THE END.")("Tom ran.\nTHE END.\n\nSam sat. THE END.\n") == ("Tom ran.", "Sam sat.")
    assert split("THE END.")("Tom ran.") == ("Tom ran.",)


def test_too_few_are_none():
    with pytest.raises(ValueError, match="2 stories, want at least 3"):
        listed(min=3)("1. Tom\n2. Sam")
    with pytest.raises(ValueError, match="0 stories, want at least 1"):
        listed()("Tom")


def test_of_many_stories_the_valid_ones_are_kept():
    found = verdict("1. one two three\n2. one\n3. a b c", extract=listed())
    assert found.stories == ("one two three", "a b c")
    assert found.why == ()


def test_too_few_valid_ones_are_none():
    found = verdict("1. one two three\n2. one\n3. a\n4. b", extract=listed(min=2))
    assert found.stories == ()
    assert found.why == ("answer: 1 of 4 stories are valid", "words: 1 words, want at least 3")


def test_only_the_last_of_many_stories_can_have_been_cut_off():
    found = verdict("a b c END d e f END g h i", "length", split("END"), tests=[FINISHED, LONG])
    assert found.stories == ("a b c", "d e f")


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (partial(listed, "roman"), 'no style of a list: "roman"'),
        (partial(listed, min=0), "min: 0 is less than 1"),
        (partial(split, " "), "the marker to split at is empty"),
        (partial(split, "END", min=0), "min: 0 is less than 1"),
    ],
)
def test_an_extract_that_makes_no_sense_is_refused(make, problem):
    with pytest.raises(ValueError, match=problem):
        make()
