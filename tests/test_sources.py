# ruff: noqa: E501 (what a user sees on one line stands on one line)
import os

import orjson
import pytest

from storyd import sources
from storyd.errors import ConfigError, Damaged
from storyd.sources import Table, conversations, fields, tidy, words


def refusal(call, *arguments) -> str:
    with pytest.raises(ConfigError) as caught:
        call(*arguments)
    return str(caught.value)


@pytest.fixture
def file(tmp_path, monkeypatch):
    """Writes a file in the working directory; returns its path."""
    monkeypatch.chdir(tmp_path)

    def write(name: str, data: bytes | str):
        path = (tmp_path / name).relative_to(tmp_path)
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return path

    return write


# ── word lists ────────────────────────────────────────────────────────────────────────────────────


def test_a_word_list_is_one_value_a_line(file):
    path = file("w.txt", b"\xef\xbb\xbfcat\r\n# a comment\r\n\r\n  black dog \r\nC#\r\nno\r\ntrue\r\n7")
    assert words(path) == ["cat", "black dog", "C#", "no", "true", "7"]


@pytest.mark.parametrize("name", ["w.json", "w.yaml", "w.yml"])
def test_a_list_in_json_or_yaml(file, name):
    assert words(file(name, '["cat", "no"]')) == ["cat", "no"]
    assert words(file(name, '{"verbs": ["run"], "nouns": ["cat"]}'), "nouns") == ["cat"]


@pytest.mark.parametrize(
    ("name", "data", "key", "line"),
    [
        ("w.txt", b"cat\n\xff", None, "w.txt:2: not UTF-8 (save the file as UTF-8)"),
        ("w.txt", b"cat\n\0", None, "w.txt:2: the character U+0000 may not stand here (remove it)"),
        ("w.txt", b"cat", "nouns", "w.txt: `key` is for .json and .yaml files (remove it)"),
        ("w.yaml", "- cat\n- true", None, "w.yaml:2: [1]: true is not text (quote it)"),
        ("w.yaml", "- cat\n-\n- 7", None, "w.yaml:2: [1]: nothing is not text (quote it)"),
        ("w.yaml", "a: [x]\nb: [1.5]", "b", "w.yaml:2: b[0]: 1.5 is not text (quote it)"),
        ("w.yaml", "a: [[x]]", "a", "w.yaml:1: a[0]: a list is not text"),
        ("w.yaml", "a: x", "a", 'w.yaml:1: a: expected a list, not "x"'),
        ("w.yaml", "cat", None, 'w.yaml:1: expected a list, not "cat"'),
        ("w.json", '{"nouns": []}', "nuons", 'w.json:1: has no key "nuons" (did you mean "nouns"?)'),
        ("w.json", '{"a": [], "b": []}', None, "w.json:1: holds several lists, and no `key` says which (add one of: a, b)"),
        ("w.json", '["a", }', None, "w.json:1: not YAML: did not find expected node content while parsing a flow node"),
    ],
)  # fmt: skip
def test_a_bad_word_list_is_refused_with_its_line(file, name, data, key, line):
    assert refusal(words, file(name, data), key) == line


def test_values_are_compared_stripped_and_composed():
    assert tidy(" cafe\u0301\n") == "café"


def test_a_pipe_is_no_word_list(tmp_path):
    os.mkfifo(tmp_path / "w.txt")
    assert refusal(words, tmp_path / "w.txt").endswith("w.txt: is no file")


def test_a_folder_is_no_word_list(tmp_path):
    assert refusal(words, tmp_path).endswith(": is no file")


def test_what_is_not_there_cannot_be_read(tmp_path):
    assert refusal(words, tmp_path / "w.txt").endswith("w.txt: cannot be read: No such file or directory")


def test_a_word_list_is_bounded(file, monkeypatch):
    monkeypatch.setattr(sources, "WORDS_BOUND", 1 << 20)
    assert refusal(words, file("w.txt", b"x" * (1 << 20) + b"\n")) == "w.txt: larger than 1 MB"


# ── rows ──────────────────────────────────────────────────────────────────────────────────────────


def test_lines_are_rows_in_any_order(file):
    lines = [{"prompt": f"Tell {n} é", "verb": str(n), "more": n} for n in range(100)]
    table = Table(file("p.jsonl", b"\n\r\n".join(map(orjson.dumps, lines))), fields(["prompt", "verb"]))
    assert len(table) == 100
    for at in (99, 0, 57, -1):
        assert table[at] == {"prompt": lines[at]["prompt"], "verb": lines[at]["verb"]}


def test_a_bom_does_not_hurt(file):
    table = Table(file("p.jsonl", b'\xef\xbb\xbf{"prompt": "a"}\n{"prompt": "b"}'), fields(["prompt"]))
    assert [row["prompt"] for row in table] == ["a", "b"]


def test_the_digest_knows_the_rows_and_not_what_else_the_lines_hold(file):
    one = Table(file("a.jsonl", '{"prompt": "a", "n": 1}\n'), fields(["prompt"]))
    same = Table(file("b.jsonl", '\n{"n": 2,   "prompt": "a"}'), fields(["prompt"]))
    other = Table(file("c.jsonl", '{"prompt": "b"}'), fields(["prompt"]))
    assert one.digest == same.digest != other.digest


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "not JSON: unexpected end of data"),
        ("[1]", "expected one JSON object a line, not a list"),
        ('{"promt": "x"}', 'no field "prompt" (did you mean "promt"?)'),
        ('{"prompt": 7}', '"prompt" holds 7, not text'),
        ('{"prompt": null}', '"prompt" holds nothing, not text'),
    ],
)
def test_a_bad_line_is_refused_with_its_number(file, line, said):
    path = file("p.jsonl", '{"prompt": "a"}\n\n' + line)
    assert refusal(Table, path, fields(["prompt"])).startswith(f"p.jsonl:3: {said}")


def test_a_line_is_bounded(file):
    path = file("p.jsonl", b'{"prompt": "' + b"x" * sources.LINE_BOUND + b'"}')
    assert refusal(Table, path, fields(["prompt"])) == "p.jsonl:1: a line of more than 1 MB"


def test_a_file_that_changes_in_use_is_damage_and_no_prompt(file):
    path = file("p.jsonl", '{"prompt": "a"}\n')
    table = Table(path, fields(["prompt"]))
    path.write_bytes(b"x" * 16)
    with pytest.raises(Damaged, match=r"^p\.jsonl: changed while it was in use: not JSON"):
        table[0]


# ── conversations ─────────────────────────────────────────────────────────────────────────────────


def test_conversations_are_lists_of_messages(file):
    data = '[[{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]]'
    assert conversations(file("e.json", data)) == [(("user", "a"), ("assistant", "b"))]


@pytest.mark.parametrize(
    ("data", "line"),
    [
        ("[]", "e.json:1: holds no conversations"),
        ("{}", "e.json:1: expected a list of conversations, not a mapping"),
        ("[{}]", "e.json:1: [0]: expected a list of messages, not a mapping"),
        ("[[]]", "e.json:1: [0]: user and assistant must take turns, and the assistant ends"),
        ('[[{"role": "user", "content": "a"}]]', "e.json:1: [0]: user and assistant must take turns, and the assistant ends"),
        ('[\n[{"role": "usr", "content": "a"}]]', 'e.json:2: [0][0].role: must be user or assistant, not "usr" (did you mean "user"?)'),
        ('[[{"role": "user", "text": "a"}]]', 'e.json:1: [0][0].text: unknown key (there are role, content; and 1 more)'),
    ],
)  # fmt: skip
def test_bad_conversations_are_refused_with_their_line(file, data, line):
    assert refusal(conversations, file("e.json", data)) == line
