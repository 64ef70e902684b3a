"""What each check accepts, what it refuses, and what it says then."""

import inspect
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storyd import checks
from storyd.answer import Answer
from storyd.space import Prompt

STORY = (
    "Once there was a little girl named Lily. She jumped over the big pond with her dog. "
    '"Look, Mom!" she said. Mom smiled, and they went home.'
)
CHECKS = {
    name: check
    for name, check in inspect.getmembers(checks, inspect.isfunction)
    if check.__module__ == "storyd.checks" and not name.startswith("_")
}
ARGUMENTS = {
    "contains": {"axes": ["verb"]},
    "matches": {"pattern": "."},
    "rejects": {"pattern": "zzz"},
    "script": {"name": "Latin"},
}
TEXTS = st.one_of(st.text(), st.lists(st.sampled_from([*"aé अ。.!?\"'\n-", "jump ", "word "])).map("".join))


def asked(text="Write a story.", prefill="", **traits):
    return Prompt(0, text, traits, prefill=prefill)


def said(check, text, prompt=None, **arguments):
    return check(prompt or asked(verb="jump"), Answer(text), **arguments)


# ── the rule for all of them ──────────────────────────────────────────────────────────────────────


def test_the_checks_are_these():
    length = {"finished", "words", "sentences", "ends_well"}
    content = {"contains", "matches", "rejects"}
    quality = {"no_repeats", "script", "no_refusal", "no_prompt_echo"}
    assert set(CHECKS) == length | content | quality


@pytest.mark.parametrize("name", CHECKS)
def test_a_check_is_bound_by_its_signature(name):
    prompt, answer, *arguments = inspect.signature(CHECKS[name]).parameters.values()
    assert (prompt.name, answer.name) == ("prompt", "answer")
    assert all(one.kind is one.KEYWORD_ONLY and one.annotation for one in arguments)
    assert CHECKS[name].__doc__


@pytest.mark.parametrize("name", CHECKS)
@given(text=TEXTS)
def test_any_text_is_judged(name, text):
    reason = said(partial(CHECKS[name], **ARGUMENTS.get(name, {})), text)
    assert reason is None or reason.strip()


@pytest.mark.parametrize("name", CHECKS)
def test_a_good_story_passes(name):
    assert said(CHECKS[name], STORY, **ARGUMENTS.get(name, {})) is None


@pytest.mark.parametrize("name", CHECKS)
@pytest.mark.parametrize("text", ["ha " * 30_000, "!" * 90_000, "jump" * 20_000, "ज" * 30_000])
def test_a_hostile_text_takes_no_longer_than_its_length(name, text):
    said(CHECKS[name], text, asked(text, verb="jump"), **ARGUMENTS.get(name, {}))


@pytest.mark.parametrize(
    ("check", "arguments", "problem"),
    [
        (checks.words, {"min": 5, "max": 4}, "max: 4 is less than min: 5"),
        (checks.sentences, {"min": 5, "max": 4}, "max: 4 is less than min: 5"),
        (checks.contains, {"axes": ["noun"]}, 'the prompts have no axis "noun"'),
        (checks.matches, {"pattern": "(a"}, "no regular expression: missing )"),
        (checks.rejects, {"pattern": r"(a)\1"}, r"no regular expression: invalid escape sequence: \\1"),
        (checks.script, {"name": "Klingon"}, 'no script "Klingon"'),
        (checks.script, {"name": "Latin] ["}, "no script"),
        (checks.no_prompt_echo, {"words": 0}, "words: 0 is less than 1"),
    ],
)
def test_a_bad_argument_is_refused_whatever_the_answer(check, arguments, problem):
    for text in ("", STORY):
        with pytest.raises(ValueError, match=problem.replace("(", r"\(").replace(")", r"\)")):
            said(check, text, **arguments)


# ── one by one ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("finish", "reason"),
    [
        ("stop", None),
        ("length", "cut off by max_tokens"),
        ("filter", "filtered by the provider"),
        ("oversize", "larger than the bound"),
        ("tool_calls", 'ended with "tool_calls"'),
    ],
)
def test_finished(finish, reason):
    assert checks.finished(asked(), Answer("Tom ran.", finish)) == reason


def test_words():
    assert said(checks.words, "one two three", min=3, max=3) is None
    assert said(checks.words, "one two", min=3) == "2 words, want at least 3"
    assert said(checks.words, "one two three four", max=3) == "4 words, want at most 3"
    assert said(checks.words, "") == "0 words, want at least 1"


def test_sentences():
    assert said(checks.sentences, 'Tom ran. "Go!" said Sam.', min=2, max=2) is None
    assert said(checks.sentences, "Tom ran.", min=2) == "1 sentences, want at least 2"
    assert said(checks.sentences, "Tom ran. Sam sat.", max=1) == "2 sentences, want at most 1"


@pytest.mark.parametrize(
    "end", [".", "!", "?", "…", '."', "!”", ".)", "!'", "।", "॥", "。", "。」", "？", "؟", "។", '." ', ".»"]
)
def test_an_end_in_any_script(end):
    assert said(checks.ends_well, "Tom ran" + end) is None


@pytest.mark.parametrize("end", ["", ",", ":", "-", '"', ", and", ".)x", "(", ". The"])
def test_no_end(end):
    assert said(checks.ends_well, "Tom ran" + end).startswith('ends in "')


@pytest.mark.parametrize(
    ("traits", "reason"),
    [
        ({"verb": "jump", "noun": "pond"}, None),
        ({"verb": "say", "noun": "girl", "adjective": "big"}, None),
        ({"noun": ("dog", "pond")}, None),
        ({"noun": ("dog", "cat")}, 'no form of the noun "cat"'),
        ({"verb": "run", "noun": "cat"}, 'no form of the verb "run", the noun "cat"'),
        ({"name": "Lily", "animal": "DOG"}, None),
        ({"noun": "little girl"}, None),
        ({"noun": "big girl"}, 'no form of the noun "big girl"'),
        ({"verb": "go home"}, None),
        ({"noun": "on"}, 'no form of the noun "on"'),
        ({"noun": ()}, None),
        ({"noun": ""}, None),
    ],
)
def test_words_that_a_story_must_contain(traits, reason):
    assert said(checks.contains, STORY, asked(**traits), axes=list(traits)) == reason


def test_contains_says_how_it_looked():
    prompt = asked(verb="खेळणे")
    assert said(checks.contains, "तो खेळला.", prompt, axes=["verb"], language="mr") is None
    assert said(checks.contains, "तो पळाला.", prompt, axes=["verb"], language="mr") == (
        'no form of the verb "खेळणे" (prefix match: no word forms known for "mr")'
    )
    prompt = asked(verb="跳")
    assert said(checks.contains, "小狗跳了起来。", prompt, axes=["verb"], language="zh") is None
    assert said(checks.contains, "小狗睡觉。", prompt, axes=["verb"], language="zh") == (
        'no form of the verb "跳" (exact match: "zh" puts no spaces between words)'
    )


def test_contains_takes_one_axis_by_its_name():
    assert said(checks.contains, "They jumped.", axes="verb") is None


def test_patterns():
    assert said(checks.matches, "Tom ran.”", pattern='[.!?"”]$') is None
    assert said(checks.matches, "Tom ran", pattern="[.!?]$") == "nothing matches [.!?]$"
    assert said(checks.rejects, "Tom ran.", pattern="(?i)as an ai") is None
    assert said(checks.rejects, "Oh. As an AI, no.", pattern="(?i)as an ai") == '"As an AI" is not wanted'


def test_repeated_sentences():
    text = "Tom ran. Sam sat. Ann hid. Tom ran. Bob slept."
    assert said(checks.no_repeats, text) is None
    assert said(checks.no_repeats, text, sentences=0.1) == "1 of 5 sentences are repeated"
    assert said(checks.no_repeats, text + " SAM sat!") == "2 of 6 sentences are repeated"


def test_repeated_runs_of_words():
    loop = "Tom and the dog ran and ran and " + "the dog ran to the big red house and " * 4 + "slept."
    assert said(checks.no_repeats, loop) == "24 of 41 runs of 5 words are repeated"
    assert said(checks.no_repeats, loop, ngrams=0.7) is None
    assert said(checks.no_repeats, "Tom ran.", ngrams=0.0) is None


@given(st.lists(st.sampled_from(["a", "b", "c", "d e f g h", "x y"]), max_size=40), st.floats(0, 1))
def test_counting_pairs_first_hides_no_repetition(pieces, share):
    words = " ".join(pieces).split()
    runs = [tuple(words[at : at + 5]) for at in range(len(words) - 4)]
    too_many = len(runs) - len(set(runs)) > share * len(runs)
    assert bool(said(checks.no_repeats, " ".join(words), sentences=1.0, ngrams=share)) is too_many


@pytest.mark.parametrize(
    ("text", "name", "share", "reason"),
    [
        ("Tom ran.", "Latin", 1.0, None),
        ("Zoë ran — “café”.", "Latin", 1.0, None),
        ("Tom бежал.", "Latin", 0.9, "38% of the letters are Latin, want at least 90%"),
        ("वह खेलती है। क्\u200dष १२", "Devanagari", 1.0, None),
        ("वह Tom है।", "Devanagari", 0.9, "57% of the letters are Devanagari, want at least 90%"),
        ("Tom ran.", "Devanagari", 0.1, "0% of the letters are Devanagari, want at least 10%"),
        ("彼はスーパーへ走った。", "Han Hiragana Katakana", 1.0, None),
        ("彼は走った。", "Hiragana", 0.5, None),
        ("123!", "Latin", 0.5, "0% of the letters are Latin, want at least 50%"),
    ],
)
def test_script(text, name, share, reason):
    assert said(checks.script, text, name=name, share=share) == reason


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't write that.",
        "I’m so sorry, but I cannot help with this.",
        "I am sorry, I am unable to do so.",
        "Sorry, but I can't help with that request.",
        "Unfortunately, I am unable to write this.",
        "I can't help with that.",
        "Sure! Here is a story.\nTom ran.",
        "**Sure, here's a story:** Tom ran.",
        "Of course! I'll write one. Tom ran.",
        "Here's a short story for you:\n\nTom ran.",
        "As an AI language model, I have no dogs.",
        "Tom ran. As an AI, I do not run.",
        "Tom asked ChatGPT.",
        "I'm an AI assistant.",
        "Tom ran.\n\nLet me know if you want another one!",
        "Tom ran.\n\nI hope this helps.",
        "Lo siento, pero no puedo escribir eso.",
        "¡Claro! Aquí tienes un cuento. Ana saltó.",
        "Aquí tienes una historia corta:\nAna saltó.",
        "Como modelo de lenguaje, no tengo perros.",
        "Ana saltó.\n\nEspero que te guste el cuento.",
        "Es tut mir leid, aber ich kann das nicht.",
        "Je suis désolé, mais je ne peux pas.",
    ],
)
def test_an_assistant_is_heard(text):
    assert said(checks.no_refusal, text).startswith('an assistant speaks: "')


@pytest.mark.parametrize(
    "text",
    [
        "\"I'm sorry, but I can't come,\" said Tom.",
        "“I’m sorry, but I can’t come,” said Tom.",
        'Tom cried. "I am sorry, I cannot find my ball," he said.',
        "I'm sorry for the dog. It is wet.",
        "Sure enough, here is the ball! Tom ran.",
        "Here is Tom. He has a dog.",
        "Here is the story of Tom. He ran.",
        "He worked as an aide. As an airplane flew by, he ran.",
        'Tom smiled.\n\n"I hope this helps," he said.',
        'She said,\n"Let me know if you see my dog."',
        "Of course the dog ran.",
        "Como un león, Ana saltó.",
        "—Lo siento, pero no puedo ir —dijo Ana.",
    ],
)
def test_a_story_may_be_sorry(text):
    assert said(checks.no_refusal, text) is None


PROMPT = (
    'Write a short story that uses the verb "jump". Only use words that a very small child would understand.'
)


@pytest.mark.parametrize(
    ("text", "echo"),
    [
        (f"{PROMPT} Tom ran.", True),
        ("Only use words that a very small child would understand! Tom ran.", True),
        ("Tom used words that a very small child would understand.", False),
        ("A child would understand a story that uses words very short.", False),
        (STORY, False),
    ],
)
def test_an_echo_of_the_prompt(text, echo):
    reason = said(checks.no_prompt_echo, text, asked(PROMPT))
    assert bool(reason) is echo
    assert not echo or reason.startswith('repeats the prompt: "')


def test_what_the_prompt_gave_as_a_trait_or_a_beginning_is_no_echo():
    opening = "Once upon a time there was a cat who lived in a red house"
    prompt = asked(f"Begin with: {opening}. {PROMPT}", opening=opening)
    assert said(checks.no_prompt_echo, f"{opening}. It ran.", prompt) is None
    prompt = asked(f"Begin with: {opening}. {PROMPT}", prefill=opening)
    assert said(checks.no_prompt_echo, f"{opening}. It ran.", prompt) is None
    assert said(checks.no_prompt_echo, f"{opening}. {PROMPT}", prompt) is not None


def test_the_length_of_an_echo_is_a_choice():
    text = "Tom said that a very small child would run."
    assert said(checks.no_prompt_echo, text, asked(PROMPT), words=6) is not None
    assert said(checks.no_prompt_echo, text, asked(PROMPT), words=7) is None
