"""The shipped word lists: their form, and that every word can be asked for and found again."""

import unicodedata
from functools import partial
from itertools import combinations
from pathlib import Path

import pytest

from storyd import checks
from storyd.answer import Answer
from storyd.space import Prompt

FOLDER = Path(__file__).parents[1] / "configs" / "vocab" / "en"
SIZES = {"nouns": (650, 750), "verbs": (420, 480), "adjectives": (330, 380)}
UNSUITABLE = {
    "kill",
    "die",
    "dead",
    "blood",
    "gun",
    "knife",
    "beer",
    "wine",
    "drunk",
    "hell",
    "hate",
    "stupid",
}


def lines(name):
    return (FOLDER / f"{name}.txt").read_text(encoding="utf-8").splitlines()


def words(name):
    return [line for line in lines(name) if not line.startswith("#")]


def test_these_lists_ship():
    assert sorted(path.stem for path in FOLDER.glob("*.txt")) == sorted(SIZES)


def test_together_they_are_about_1500_words():
    assert 1400 <= len({word for name in SIZES for word in words(name)}) <= 1600


@pytest.mark.parametrize("name", SIZES)
class TestList:
    def test_its_size(self, name):
        least, most = SIZES[name]
        assert least <= len(words(name)) <= most

    def test_it_begins_by_saying_what_it_holds(self, name):
        assert lines(name)[0].startswith("# ")
        assert not any(line.startswith("#") for line in lines(name)[1:])

    def test_its_words_are_plain(self, name):
        for word in words(name):
            assert word.isascii()
            assert word.isalpha()
            assert word.islower()
            assert unicodedata.is_normalized("NFC", word)
            assert 2 <= len(word) <= 14

    def test_it_is_sorted_and_has_no_word_twice(self, name):
        assert words(name) == sorted(set(words(name)))

    def test_nothing_in_it_is_unsuitable(self, name):
        assert not set(words(name)) & UNSUITABLE

    def test_each_word_is_found_where_it_stands(self, name):
        find = partial(checks.contains, axes=["word"])
        for word in words(name):
            prompt = Prompt(0, "", {"word": word})
            assert find(prompt, Answer(f"They saw it: {word}!")) is None
            assert find(prompt, Answer("They went to the xyz.")) is not None or word in {"go", "see"}


def test_few_words_are_of_two_kinds():
    for one, other in combinations(SIZES, 2):
        both = set(words(one)) & set(words(other))
        assert len(both) <= 0.1 * min(len(words(one)), len(words(other))), both


@pytest.mark.parametrize(
    ("name", "some"),
    [
        ("nouns", ["dog", "ball", "moon", "mother", "cake", "tree", "boat"]),
        ("verbs", ["run", "eat", "sing", "give", "sleep", "find", "help"]),
        ("adjectives", ["big", "happy", "red", "soft", "kind", "sad", "new"]),
    ],
)
def test_a_list_holds_what_it_says(name, some):
    assert set(some) <= set(words(name))
    others = {word for other in SIZES if other != name for word in words(other)}
    assert not set(some) & others
