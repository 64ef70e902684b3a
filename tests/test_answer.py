"""How a text is divided into words and sentences, in several scripts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storyd.answer import Answer, lower, stands, tokens


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Tom's dog didn't run.", ["tom", "s", "dog", "didn", "t", "run"]),
        ("An ice-cream, 3 pears!", ["an", "ice", "cream", "3", "pears"]),
        ("“Tom’s” — café", ["tom", "s", "café"]),
        ("l'arbre", ["l", "arbre"]),
        ("लड़की ने कहा।", ["लड़की", "ने", "कहा"]),
        ("ক্ষুদ্র\u200cতা", ["ক্ষুদ্র\u200cতা"]),
        ("cafe\u0301", ["café"]),
        ("...", []),
    ],
)
def test_tokens(text, said):
    assert Answer(text).tokens == [lower(token) for token in said]


@given(st.text())
def test_a_text_of_any_kind_is_divided_at_the_same_places(text):
    """The quick way for ASCII and the ways for few and for many different marks agree."""
    many = "".join(map(chr, range(0x2190, 0x2200)))
    assert tokens(lower(text + " →")) == tokens(lower(text + " " + many))


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ('"Hi!" said Tom. He ran.', ["Hi said Tom", "He ran"]),
        ("Mr. Bear sat. Is it 3.5? Yes!", ["Mr Bear sat", "Is it 3.5", "Yes"]),
        ("Wait... what? Oh... Tom!", ["Wait.. what", "Oh", "Tom"]),
        ("The Ball\n\nTom ran\naway.", ["The Ball", "Tom ran away"]),
        ("वह गई। वह आई॥", ["वह गई", "वह आई"]),
        ("彼は走った。「はい！」と言った。", ["彼は走った", "はい", "と言った"]),
        ("", []),
        ("...", []),
    ],
)
def test_sentences(text, sentences):
    assert len(Answer(text).sentences) == len(sentences)
    assert [tokens(lower(one)) for one in Answer(text).sentences] == [tokens(lower(one)) for one in sentences]


@pytest.mark.parametrize(
    ("text", "word", "there"),
    [
        ("the cat sat", "cat", True),
        ("the cats sat", "cat", False),
        ("concat cat", "cat", True),
        ("cat's", "cat", True),
        ("ice-cream", "cream", True),
        ("वह खेला", "खेल", False),
        ("the teddy bear", "teddy bear", True),
        ("", "cat", False),
    ],
)
def test_a_word_stands_alone(text, word, there):
    assert stands(text, word) is there


def test_what_is_asked_twice_is_computed_once():
    answer = Answer("Tom ran. Tom sat.")
    assert answer.tokens is answer.tokens
    assert answer.sentences is answer.sentences
    assert answer.vocabulary == {"tom", "ran", "sat"}
    assert answer.words == ["Tom", "ran.", "Tom", "sat."]
    assert answer.utf8 == b"Tom ran. Tom sat."
