import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from storyd import yaml12
from storyd.errors import ConfigError
from storyd.yaml12 import DEEPEST, LARGEST, read


@pytest.fixture(params=["libyaml", "pure"], autouse=True)
def parser(request, monkeypatch):
    """Every test runs with libyaml and with the parser for machines that lack it."""
    if request.param == "pure":
        monkeypatch.setattr(yaml12, "_LOADER", yaml.SafeLoader)


def value(text: str):
    return read(text.encode(), "f.yaml").value


def refusal(data: bytes, name: str = "f.yaml") -> str:
    with pytest.raises(ConfigError) as caught:
        read(data, name)
    return str(caught.value)


def test_words_stay_words():
    said = value("[no, yes, on, off, y, n, 12:30, 2024-01-01, 1.2.3, 0b1, <<, =, 1_, _1, .]")
    assert said == [
        "no",
        "yes",
        "on",
        "off",
        "y",
        "n",
        "12:30",
        "2024-01-01",
        "1.2.3",
        "0b1",
        "<<",
        "=",
        "1_",
        "_1",
        ".",
    ]


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("~", None), ("null", None), ("NULL", None), ("", None), ("true", True), ("False", False),
        ("7", 7), ("-7", -7), ("+7", 7), ("007", 7), ("2_000_000", 2_000_000), ("0x1F", 31), ("0o17", 15),
        ("1.5", 1.5), (".5", 0.5), ("1.", 1.0), ("1e3", 1000.0), ("-1.5E-1", -0.15), ("1_000.5", 1000.5),
    ],
)  # fmt: skip
def test_plain_scalars_mean_what_the_core_schema_says(said, meant):
    found = value(f"a: {said}")["a"]
    assert found == meant and type(found) is type(meant)


@pytest.mark.parametrize("said", ["'true'", '"7"', "|\n  null"])
def test_what_is_quoted_is_text(said):
    assert isinstance(value(f"a: {said}")["a"], str)


def test_a_bom_and_windows_line_ends_are_fine():
    document = read(b"\xef\xbb\xbfa: 1\r\nb: |\r\n  x\r\n  y\r\n", "f.yaml")
    assert document.value == {"a": 1, "b": "x\ny\n"}
    assert document.where(("b",)) == "f.yaml:2: b"


def test_json_is_yaml_even_with_escaped_pairs_and_tabs():
    data = b'{\n\t"a": "\\ud83d\\ude00 \\\\ud83d \\u00e9",\n\t"b": [1, null, true]\n}'
    assert read(data, "f.json").value == {"a": "\U0001f600 \\ud83d é", "b": [1, None, True]}


def test_every_key_and_item_knows_its_line():
    document = read(b"a:\n  b:\n    - x\n    - y: 1\n      z: 2\n", "f.yaml")
    assert [document.mark(path) for path in [("a",), ("a", "b", 1), ("a", "b", 1, "z")]] == [1, 4, 5]


def test_what_is_not_there_has_the_line_of_what_is_around_it():
    document = read(b"a:\n  b: [1]\n", "f.yaml")
    assert document.where(("a", "b", 7, "x")) == "f.yaml:2: a.b[7].x"
    assert document.where(("c",)) == "f.yaml:1: c"


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"", "f.yaml:1: the file is empty"),
        (b"# nothing\n", "f.yaml:2: the file is empty"),
        (b"a: 1\n'a': 2", 'f.yaml:2: "a" is given twice (first on line 1)'),
        (b"a: &x 1", "f.yaml:1: anchors (&x) are off (remove it, or quote it)"),
        (b"a: *x", "f.yaml:1: aliases (*x) are off (write the value out, or quote it)"),
        (b"a: !!str 1", "f.yaml:1: tags (tag:yaml.org,2002:str) are off (remove it, or quote it)"),
        (b"a: !x 1", "f.yaml:1: tags (!x) are off (remove it, or quote it)"),
        (b"a:\n\tb: 1", "f.yaml:2: a tab where YAML wants spaces (indent with spaces)"),
        (b"a: 1\n---\nb: 2", "f.yaml:2: a second document begins here (one file holds one)"),
        (b"? [a]\n: 1", "f.yaml:1: a key must be text (quote braces and brackets that are meant as text)"),
        (b"{a}: 1", "f.yaml:1: a key must be text (quote braces and brackets that are meant as text)"),
        (b"a: 1\nb: \xff", "f.yaml:2: not UTF-8 (save the file as UTF-8)"),
        (b"\xff\xfea\x00", "f.yaml:1: not UTF-8 (save the file as UTF-8)"),
        (b"a: 1\n\x00", "f.yaml:2: the character U+0000 may not stand here (remove it)"),
        ("a: \u2028".encode(), "f.yaml:1: the character U+2028 may not stand here (remove it)"),
        (b'a: "\\0"', "f.yaml:1: an escaped character that no text may hold (remove it)"),
        (b"a: .inf", "f.yaml:1: a number that is not finite (quote it if it is meant as text)"),
        (b"a: 1e999", "f.yaml:1: a number that is not finite (quote it if it is meant as text)"),
        (b"a: " + b"9" * 5000, "f.yaml:1: a number of more than 63 bits (quote it if it is meant as text)"),
        (b"\n" + b"[" * 70, "f.yaml:2: nested deeper than 64 levels"),
        (b"- " * 100, "f.yaml:1: nested deeper than 64 levels"),
    ],
)
def test_what_a_file_may_not_hold_is_refused_with_its_line(data, line):
    assert refusal(data) == line


def test_half_a_pair_is_no_text():
    assert refusal(b'a: "\\ud800"').startswith("f.yaml:1: ")


def test_broken_syntax_is_told_in_one_line():
    assert refusal(b"a: [1,\nb: c: d").startswith("f.yaml:2: not YAML: ")


def test_depth_has_a_bound_and_what_is_within_it_is_read():
    assert value("[" * DEEPEST + "]" * DEEPEST)


def test_size_has_a_bound():
    fix = "(put long lists into files of their own)"
    assert refusal(b"#" * (LARGEST + 1)) == f"f.yaml: larger than 4 MB {fix}"


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(data):
    try:
        read(data, "f.yaml")
    except ConfigError as error:
        assert "\n" not in str(error)


@given(st.text(alphabet="{}[]:,-?&*!|>'\"%@` \n\tab01.~#_é", max_size=60))
def test_no_text_raises_anything_else(text):
    try:
        read(text.encode(), "f.yaml")
    except ConfigError as error:
        assert "\n" not in str(error)
