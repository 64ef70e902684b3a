"""Which tokens count as a form of a word."""

import pytest

from storyd.forms import known, look_up


@pytest.mark.parametrize(
    ("word", "forms"),
    [
        ("jump", "jump jumps jumped jumping"),
        ("run", "ran running runs"),
        ("bake", "baked baking bakes"),
        ("cry", "cries cried crying"),
        ("play", "plays played playing"),
        ("hug", "hugged hugging hugs"),
        ("visit", "visited visiting visits"),
        ("travel", "travelled traveling"),
        ("see", "saw seen seeing sees"),
        ("think", "thought thinking thinks"),
        ("leave", "left leaving leaves"),
        ("feel", "felt feeling"),
        ("break", "broke broken breaking"),
        ("go", "went gone going goes"),
        ("tie", "tied tying ties"),
        ("thank", "thanks thanked thanking"),
        ("happy", "happier happiest"),
        ("big", "bigger biggest"),
        ("cool", "cooler coolest"),
        ("bad", "worse worst"),
        ("child", "children"),
        ("goose", "geese"),
        ("leaf", "leaves"),
        ("wolf", "wolves"),
        ("sky", "skies"),
        ("potato", "potatoes"),
        ("grandma", "grandmas"),
        ("lunchbox", "lunchboxes"),
        ("hippo", "hippos hippo"),
        ("glasses", "glasses"),
        ("hidden", "hidden"),
    ],
)
def test_english_forms(word, forms):
    for form in forms.split():
        assert look_up(word, "en").among({"the", form}), form


@pytest.mark.parametrize(
    ("word", "others"),
    [
        ("cat", "catch education cattle"),
        ("see", "seed"),
        ("star", "stare staring"),
        ("bake", "baker bakery"),
        ("car", "care carpet"),
        ("sing", "singer single"),
        ("think", "thing"),
    ],
)
def test_other_words_are_no_forms(word, others):
    for other in others.split():
        assert not look_up(word, "en").among({other}), other


@pytest.mark.parametrize(
    ("language", "word", "forms"),
    [
        ("es", "saltar", "salta saltó saltando"),
        ("es", "perro", "perros"),
        ("es", "niña", "niñas"),
        ("es", "saltó", "salta"),
        ("de", "springen", "sprang gesprungen"),
        ("de", "hund", "hunde hundes"),
        ("de", "groß", "große großen"),
        ("hi", "खेलना", "खेला खेलती"),
        ("hi", "लड़का", "लड़के"),
        ("es-MX", "gato", "gatos"),
    ],
)
def test_forms_of_other_languages(language, word, forms):
    assert known(language)
    for form in forms.split():
        assert look_up(word, language).among({form}), form


@pytest.mark.parametrize(
    ("word", "token", "found"),
    [
        ("खेळणे", "खेळला", True),
        ("खेळणे", "खेळत", True),
        ("खेळणे", "पळाला", False),
        ("घर", "घरात", True),
        ("घर", "नगर", False),
    ],
)
def test_where_no_forms_are_known_a_stem_decides(word, token, found):
    assert not known("mr")
    assert look_up(word, "mr").among({token}) is found
