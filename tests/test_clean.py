"""What each cleaning step takes away, and what must survive it."""

import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storyd import clean

STORY = (
    "Tom had a red ball. He liked it very much and he played with it every day in the garden. "
    "Then it was lost. Sam found it under a bush. They were happy."
)
STEPS = [step for name, step in inspect.getmembers(clean, inspect.isfunction) if not name.startswith("_")]

dressed = st.lists(
    st.sampled_from(
        [
            *"*_#>`~-=<[](:.!?\n\r\t \x00\u00a0\u200b—“”’…\"'12aZé",
            *("**", "```", "\n\n", "\n# ", "\n> ", "* ", "---\n", "</think>", "<think>", "</s>", "[INST]"),
            *("Title: ", "The end.", "\nThe End\n", "Moral: ", "Note: ", "(Note: ", "User 0:", "Words:"),
            *("Sure! ", "Here is a story: ", "Story: ", "The moral of the story is ", "Once upon a time "),
            "e\u0301",
        ]
    ),
    max_size=40,
).map("".join)


@pytest.mark.parametrize("step", STEPS)
@given(text=st.one_of(dressed, st.text()))
def test_cleaning_twice_is_cleaning_once(step, text):
    once = step(text)
    assert step(once) == once


@pytest.mark.parametrize("step", STEPS)
def test_a_clean_story_stays_as_it_is(step):
    assert step(STORY) == STORY


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(
    "text",
    [
        *("*a " * 20_000, "*" * 60_000, "The End. " * 7_000, "Note: a\n" * 8_000, "# a\n\n" * 12_000),
        *("</think>" * 8_000, "Sure! " * 10_000, " \n" * 30_000, "> " * 30_000, "```\n" * 15_000),
        *("_a" * 30_000, "A — b " * 10_000, "User 0:" * 9_000, "here is story" * 5_000),
    ],
    ids=lambda text: text[:8],
)
def test_a_hostile_text_takes_no_longer_than_its_length(step, text):
    step(text)  # an hour, where a step took the square of it


def test_every_step_says_what_it_does():
    assert all(step.__doc__ for step in STEPS)


@pytest.mark.parametrize(
    ("dressed", "plain"),
    [
        ("**Tom** had a *red* ball.", "Tom had a red ball."),
        ("__Tom__ had a _red_ ball.", "Tom had a red ball."),
        ("***Tom***", "Tom"),
        ("*5 apples* and **3 pears**", "5 apples and 3 pears"),
        ("# The Ball\nTom ran.", "The Ball\nTom ran."),
        ("> Tom ran.\n> Sam sat.", "Tom ran.\nSam sat."),
        ("* one\n* two", "one\ntwo"),
        ("Tom ran.\n---\nSam sat.", "Tom ran.\nSam sat."),
        ("```text\nTom ran.\n```", "Tom ran."),
        ("`Tom`", "Tom"),
        ("2*3 is 6, and 2 * 3 too", "2*3 is 6, and 2 * 3 too"),
        ("a snake_case_name", "a snake_case_name"),
        ("- Hola, dijo Ana.", "- Hola, dijo Ana."),
        ("He was #1.", "He was #1."),
        ("1 < 2 > 0", "1 < 2 > 0"),
    ],
)
def test_markdown_goes_and_words_stay(dressed, plain):
    assert clean.strip_markdown(dressed) == plain


@pytest.mark.parametrize(
    ("curly", "straight"),
    [
        ("“Hi,” said Tom’s dog…", '"Hi," said Tom\'s dog...'),
        ("He ran—fast — away", "He ran - fast - away"),
        ("“I want—”", '"I want-"'),
        ("3–5 «oui»\u00a0!", '3-5 "oui" !'),
        ("लीला “हाँ”।", 'लीला "हाँ"।'),
        ("plain - \"text\" 'here'...", "plain - \"text\" 'here'..."),
    ],
)
def test_quotes_and_dashes_become_ascii(curly, straight):
    assert clean.straight_quotes(curly) == straight


def test_composed_letters():
    assert clean.nfc("cafe\u0301") == "café"


@pytest.mark.parametrize(
    ("wide", "squeezed"),
    [
        ("  Tom  ran. \n\n\n\n Sam\tsat.\r\nOk. ", "Tom ran.\n\nSam sat.\nOk."),
        ("Tom\x00 ran\u200b.\ufeff", "Tom ran."),
        ("Tom\u00a0\u3000ran.", "Tom ran."),
        ("क्\u200dष", "क्\u200dष"),
    ],
)
def test_spaces_are_squeezed_and_paragraphs_kept(wide, squeezed):
    assert clean.squeeze_spaces(wide) == squeezed


def test_one_paragraph():
    assert clean.one_paragraph(" Tom ran.\n\nSam \t sat.\n") == "Tom ran. Sam sat."


@pytest.mark.parametrize(
    ("thought", "said"),
    [
        ("<think>Hm. A cat?</think>\n\nTom ran.", "\n\nTom ran."),
        ("Hm. A cat?</think>Tom ran.", "Tom ran."),
        ("<think>Hm. A cat", ""),
        ("Tom said <think> twice.", "Tom said <think> twice."),
    ],
)
def test_thinking_is_no_story(thought, said):
    assert clean.strip_thinking(thought) == said


@pytest.mark.parametrize(
    ("fenced", "bare"),
    [
        ("```\nTom ran.\n```", "Tom ran."),
        ("```json\n{}\n```\nmore", "{}\nmore"),
        ("Tom said ``` once.", "Tom said ``` once."),
    ],
)
def test_fences(fenced, bare):
    assert clean.strip_fences(fenced) == bare


def test_headings_go_wherever_they_stand():
    assert clean.strip_headings("# One\nTom ran.\n## Two\nHe was #1.\n#tag") == "Tom ran.\nHe was #1.\n#tag"


@pytest.mark.parametrize(
    "title",
    [
        "# The Red Ball\n\n",
        "## A\n",
        "**The Red Ball**\n\n",
        "Title: The Red Ball\n",
        "**Title:** The Red Ball\n\n",
        "Título: La pelota\n",
        "The Red Ball\n\n",
        "The Red Ball\n\nby Sam\n\n",
        "\n\nTom and the Big Red Ball\n\n",
    ],
)
def test_a_title_goes(title):
    assert clean.strip_title(title + STORY) == STORY


@pytest.mark.parametrize(
    "text",
    [
        "Once upon a time there was a small cat\n\nIt ran.",
        "Tom ran.\n\nSam sat.",
        '"Hello\n\nthere," said Tom.',
        "The ball was\nred and round.",
        "The Red Ball",
        "# The Red Ball",
        "— Hola\n\n— Sí, dijo Ana.",
    ],
)
def test_what_is_no_title_stays(text):
    assert clean.strip_title(text) == text


@pytest.mark.parametrize(
    "talk",
    [
        "Sure! Here's a story about a cat:\n\n",
        "Sure! Here is a story: ",
        "Here is a short story for you.\n\n",
        "**Story:** ",
        "Possible story:\n\n",
        "Certainly! I'd be happy to write one.\n\n",
        "Of course!\n\n",
        "Okay. Here's a simple tale, as you asked:\n\nStory: ",
        "¡Claro! Aquí tienes un cuento:\n\n",
        "Assistant: ",
        "<|im_start|>",
        "<s>[INST] ",
    ],
)
def test_talk_before_a_story_goes(talk):
    assert clean.strip_prefix_talk(talk + STORY) == STORY


@pytest.mark.parametrize(
    "text",
    [
        "Sure enough, the dog came back.",
        "Here is where Tom lives. He has a story to tell: it is long.",
        "Okay, said Tom.",
        '"Sure!" said Tom.\nHe ran.',
        "Stories are nice. This one is short.",
        "Of course he ran.\nSam sat.",
        "Here's a story:",
    ],
)
def test_a_story_that_begins_like_talk_stays(text):
    assert clean.strip_prefix_talk(text) == text


@pytest.mark.parametrize(
    "tail",
    [
        " User 0: Tell me more.",
        "\nUser: more",
        "\n**Human:** more",
        "<|im_end|>\nmore",
        " [INST] more",
        "</s>",
        "\n### Instruction:\nmore",
    ],
)
def test_a_conversation_after_the_story_goes(tail):
    assert clean.cut_user_turns(STORY + tail) == STORY


def test_a_user_in_a_story_stays():
    text = "The user: a cat. Human: said the robot? No."
    assert clean.cut_user_turns(text) == text


@pytest.mark.parametrize(
    "tail",
    [
        # the end
        " The end.",
        "\n\nThe end!",
        "\nTHE END",
        " The End! The End.",
        "\n\n*The End*",
        "\n\nFin.",
        "\n\nThe End\n\n" + "Once upon a time there was another cat. " * 9,
        # moral
        "\n\nMoral: share.",
        "\n\n**Moral of the Story:** Share.\n\nThe end.",
        " The moral of the story is to share.",
        " So, the moral is to be nice.",
        " And that is the moral of this story.",
        " That's the moral: share.",
        "\n\n* Moral Value: sharing",
        "\n\nThe hidden moral: share",
        "\n\nThey learned a moral: share",
        "\n\nMoraleja: comparte.",
        # labels
        "\n\nConflict: the ball is lost",
        "\n\n* Plot Twist: Sam",
        "\n\n**Characters:** Tom, Sam",
        "\nDialogue: none",
        # word lists
        "\n\nWords: ball, bush",
        "\n\nStory key words: ball",
        "\n\nHere are some of the simple words used: a",
        "\n\nConfused by the bad words?",
        "\n\n* Pretty = beautiful",
        # notes
        " (Note: simple words.)",
        "\n\nNote to Parents: read slowly",
        "\n\n> [Author's Note] hi",
        "\n\n##### *Note: x",
        "\n\n(3-5 simple paragraphs)",
        # headings and talk
        "\n\n## Words used",
        "\n\nLet me know if you want more!",
        "\n\nI hope you like this story!",
    ],
)
def test_what_follows_the_story_goes(tail):
    assert clean.cut_after_end(STORY + tail) == STORY


@pytest.mark.parametrize(
    "said",
    [
        "By the end of the day they slept.",
        "The end of the rope was red. Tom smiled.",
        "She has moral courage.",
        "He read the note: come home.",
        "They had a conflict: both wanted it.",
        '"The end," said Mom, and closed the book.',
        "That was the end.",
        "He took note of the words: ball and bush.",
        '"Let me know if you see it," said Tom.',
    ],
)
def test_a_story_that_speaks_of_ends_and_notes_stays(said):
    for text in (f"{said} {STORY}", f"{STORY} {said}", f"{STORY}\n\n{said}", f"{STORY}\n\n{said}\n\n{STORY}"):
        assert clean.cut_after_end(text) == text


def test_a_text_that_begins_with_its_notes_is_not_emptied():
    for text in (f"Characters: Tom, Sam\n\n{STORY}", f"## The Ball\n\n{STORY}", "The End", "Moral: share."):
        assert clean.cut_after_end(text) == text
