# ruff: noqa: E501 (what a user sees on one line stands on one line)
"""What is wrong with a job file is told in one line with its place, and never as anything but a ConfigError."""

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jobfiles import GOOD, folder, load, refusal

from storyd import config
from storyd.errors import ConfigError


def swap(was: str, now: str) -> str:
    """GOOD with something else in the place of `was`."""
    assert was in GOOD
    return GOOD.replace(was, now)


def provider(said: str) -> str:
    return swap("provider: fake", f"provider: {said}")


# the exact line of every refusal that the documentation promises
REFUSALS = {
    "an unknown key": (swap("stories:", "storis:"), 'job.yaml:2: storis: unknown key (did you mean "stories"?)'),
    "an unknown key deep inside": (
        swap("{file: nouns.txt}", "{fil: nouns.txt}"),
        'job.yaml:8: prompt.axes.noun.fil: unknown key (did you mean "file"?)',
    ),
    "several faults": (
        swap("stories: 4", "storis: 4\nsed: 1\nwidth: x"),
        'job.yaml:2: storis: unknown key (did you mean "stories"?; and 2 more)',
    ),
    "a wrong type": (swap("stories: 4", "stories: many"), 'job.yaml:2: stories: expected a whole number, not "many"'),
    "a number that is none": (swap("stories: 4", "stories: 4.5"), "job.yaml:2: stories: expected a whole number, not 4.5"),
    "a number out of bounds": (swap("stories: 4", "stories: 0"), "job.yaml:2: stories: must be at least 1"),
    "an option that is none": (
        GOOD + "mode: baatch\n",
        'job.yaml:12: mode: must be live or batch, not "baatch" (did you mean "batch"?)',
    ),
    "a missing key": (swap("name: tiny\n", ""), "job.yaml:1: name: is missing"),
    "no stories": (swap("stories: 4\n", ""), "job.yaml:1: stories: is missing"),
    "a missing file": (
        swap("nouns.txt", "nuons.txt"),
        'job.yaml:8: prompt.axes.noun.file: no such file: "nuons.txt" (did you mean "nouns.txt"?)',
    ),
    "an empty axis": (
        swap('[no, "on", "true"]', "[]"),
        "job.yaml:7: prompt.axes.adjective: an axis needs at least one value",
    ),
    "a slot without an axis": (
        swap("{noun}.", "{nuon}."),
        'job.yaml:5: prompt.template: no axis for the slot {nuon} (did you mean "noun"?)',
    ),
    "a slot of a value without an axis": (
        swap("[no,", '["{nuon}",'),
        'job.yaml:7: prompt.axes.adjective: no axis for the slot {nuon} of the value "{nuon}" (did you mean "noun"?)',
    ),
    "more stories than prompts": (
        swap("stories: 4", "stories: 7"),
        "job.yaml:2: stories: 7 stories, but there are only 6 different prompts (ask for fewer, add values, or set prompt.repeats)",
    ),
    "more stories than prompts, as equal values count once": (
        swap('[no, "on", "true"]', '[no, " no", "no "]'),
        "job.yaml:2: stories: 4 stories, but there are only 2 different prompts (ask for fewer, add values, or set prompt.repeats)",
    ),
    "an unset variable": (
        provider("{kind: openai, url: 'https://x.example/v1', key: env:NO_SUCH}"),
        "job.yaml:3: provider.key: the environment variable NO_SUCH is not set (export it, or write it into .env)",
    ),
    "an unset variable that nobody wrote down": (
        provider("openai"),
        "job.yaml:3: provider: the environment variable OPENAI_API_KEY is not set (export it, or write it into .env)",
    ),
    "a key given twice": (GOOD + "stories: 5\n", 'job.yaml:12: "stories" is given twice (first on line 2)'),
    "true in an axis": (
        swap('"true"', "true"),
        "job.yaml:7: prompt.axes.adjective[2]: true is not text (quote it)",
    ),
    "null in an axis": (
        swap('"true"', "null"),
        "job.yaml:7: prompt.axes.adjective[2]: nothing is not text (quote it)",
    ),
    "a number in an axis": (swap('"true"', "007"), "job.yaml:7: prompt.axes.adjective[2]: 7 is not text (quote it)"),
    "slots in a circle": (
        swap("[no,", '["{b}",').replace("  axes:\n", '  axes:\n    b: ["{adjective}"]\n'),
        "job.yaml:7: prompt.axes.b: the slots go in a circle: b → adjective → b",
    ),
    "a slot of its own axis": (
        swap("[no,", '["very {adjective}",'),
        "job.yaml:7: prompt.axes.adjective: the slots go in a circle: adjective → adjective",
    ),
    "a literal key": (
        provider("{kind: openai, key: sk-live-1}"),
        "job.yaml:3: provider.key: a key itself never stands in a file: write env:NAME, cred:NAME or file:PATH",
    ),
    "a literal key that is a number": (provider("{kind: openai, key: 12345}"), "job.yaml:3: provider.key: this is not text (quote it)"),
    "a key in a url": (
        provider("{kind: openai, url: 'https://me:sk-live-1@x.example/v1'}"),
        "job.yaml:3: provider.url: a key itself never stands in a url: write key: env:NAME",
    ),
    "sampling that no provider knows": (
        GOOD + "sampling: {temprature: 1}\n",
        'job.yaml:12: sampling.temprature: unknown key (did you mean "temperature"?)',
    ),
    "sampling that this provider does not know": (
        provider("{kind: openai, url: 'http://127.0.0.1:1/v1'}") + "model: m\nsampling: {max_tokens: 9, no_such: 1}\n",
        "job.yaml:13: sampling.no_such: unknown key",
    ),
    "an unknown check": (swap("- words", "- wrods"), 'job.yaml:11: checks[1].wrods: "wrods" is not known (did you mean "words"?)'),
    "an unknown argument of a check": (
        swap("max: 300", "maximum: 300"),
        'job.yaml:11: checks[1].words.maximum: unknown key (did you mean "max"?)',
    ),
    "a wrong argument of a check": (
        swap("max: 300", "max: lots"),
        'job.yaml:11: checks[1].words.max: expected a whole number, not "lots"',
    ),
    "arguments of a check that contradict each other": (
        swap("max: 300", "max: 1"),
        "job.yaml:11: checks[1].words: max: 1 is less than min: 2",
    ),
    "an argument that a check must have": (GOOD + "  - contains: {}\n", "job.yaml:12: checks[2].contains.axes: is missing"),
    "an argument for a check that has none": (swap("- finished", "- finished: 3"), "job.yaml:10: checks[0].finished: takes no arguments"),
    "a check of an axis that is none": (
        GOOD + "  - contains: {axes: [nuon]}\n",
        'job.yaml:12: checks[2].contains.axes: no axis "nuon" (did you mean "noun"?)',
    ),
    "a bad regular expression": (
        GOOD + "  - matches: '('\n",
        "job.yaml:12: checks[2].matches: no regular expression: missing ): (",
    ),
    "an unknown cleaning step": (GOOD + "clean: [strip_markdwn]\n", 'job.yaml:12: clean[0]: "strip_markdwn" is not known (did you mean "strip_markdown"?)'),
    "a bad name": (swap("name: tiny", "name: ../tiny"), 'job.yaml:1: name: "../tiny" does not match [A-Za-z0-9][A-Za-z0-9_-]{0,63}'),
    "a bad name of a slot": (
        swap("    noun:", "    Noun:"),
        'job.yaml:8: prompt.axes.Noun: "Noun" does not match [a-z_][a-z0-9_]*',
    ),
    "choose larger than the list": (
        swap("{file: nouns.txt}", "{from: {file: nouns.txt}, choose: 3}"),
        "job.yaml:8: prompt.axes.noun.choose: cannot choose 3 of 2 different values",
    ),
    "choose the wrong way round": (
        swap("{file: nouns.txt}", "{from: [a, b], choose: [2, 1]}"),
        "job.yaml:8: prompt.axes.noun.choose: cannot choose 2 to 1 (write [least, most])",
    ),
    "weights without independent": (
        swap("{file: nouns.txt}", "{values: [a, b], weights: [1, 2]}"),
        "job.yaml:8: prompt.axes.noun.weights: weights need draw: independent",
    ),
    "more values than weights": (
        swap("{file: nouns.txt}", "{values: [a, b], weights: [1]}").replace("prompt:", "prompt:\n  draw: independent"),
        "job.yaml:9: prompt.axes.noun.weights: 1 weights for 2 values",
    ),
    "two sources of an axis": (
        swap("{file: nouns.txt}", "{file: nouns.txt, values: [a]}"),
        "job.yaml:8: prompt.axes.noun: expected exactly one of file, job, values and from",
    ),
    "a key over http": (
        provider("{kind: openai, url: 'http://x.example/v1', key: env:HOME}"),
        "job.yaml:3: provider.url: the key would travel unencrypted over http:// (use https://, or add insecure: true)",
    ),
    "launch without trust": (
        provider("{kind: openai, launch: vllm serve}"),
        "job.yaml:3: provider.launch: launch: runs what the file says (add --trust if you trust it)",
    ),
    "python without trust": (
        GOOD + "  - python: mine.check\n",
        "job.yaml:12: checks[2].python: python: runs what the file says (add --trust if you trust it)",
    ),
    "an unknown provider": (
        provider("opnai"),
        'job.yaml:3: provider: no provider "opnai" (did you mean "openai"?)',
    ),
    "a kind that is none": (
        provider("{kind: anthropic}"),
        'job.yaml:3: provider.kind: no kind "anthropic" (there are embedded, fake, openai, simulator)',
    ),
    "an option of another kind": (
        provider("{kind: fake, url: 'http://127.0.0.1:1/v1'}"),
        "job.yaml:3: provider.url: kind fake does not know it (remove it)",
    ),
    "several providers": (provider("[fake, openai]"), "job.yaml:3: provider: expected text or a mapping, not a list"),
    "no model": (
        provider("{kind: openai, url: 'http://127.0.0.1:1/v1'}"),
        "job.yaml:1: model: is missing",
    ),
    "dollars without a price": (
        provider("{kind: openai, url: 'http://127.0.0.1:1/v1'}") + "model: m\nbudget: {usd: 1}\n",
        'job.yaml:13: budget.usd: the price of "m" is not known, so dollars cannot be counted (add price: {input: …, output: …}, per million tokens)',
    ),
    "batch mode": (GOOD + "mode: batch\n", "job.yaml:12: mode: this version of storyd does not know mode: batch yet (write live)"),
    "a key of a later version": (
        GOOD + "retry: {then: [{model: m}]}\n",
        "job.yaml:12: retry.then: this version of storyd does not know it yet (remove it)",
    ),
    "a runner that is none": (
        GOOD + "then: [no_such: {tokenizer: gpt2}]\n",
        'job.yaml:12: then[0]: no runner "no_such" (there are none yet)',
    ),
    "two kinds of prompts": (
        swap("  axes:", "  prompts: {file: p.jsonl}\n  axes:"),
        "job.yaml:4: prompt: expected exactly one of template, prompts and records",
    ),
    "another job that is not there": (
        swap("{file: nouns.txt}", "{job: names}"),
        "job.yaml:8: prompt.axes.noun.job: there is no job names in shards (run it to its end first)",
    ),
    "two kinds of answers": (
        GOOD + "answer: {json: a, split: b}\n",
        "job.yaml:12: answer: expected text, or exactly one of json, list and split",
    ),
    "an unquoted slot": (
        swap("Write about {adjective} {noun}.", "{noun}"),
        "job.yaml:5: prompt.template: expected text, not a mapping",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSALS)
def test_a_refusal_says_file_line_key_and_remedy(tmp_path, monkeypatch, what):
    monkeypatch.chdir(tmp_path)
    text, line = REFUSALS[what]
    assert refusal(tmp_path, text) == line


def test_a_key_of_the_file_goes_to_no_url_of_the_command_line(tmp_path):
    text = provider("{kind: openai, url: 'https://x.example/v1', key: env:HOME}") + "model: m\n"
    line = "--set provider.url: a key of the file goes only to the url beside it in the file (write the url into the file)"
    assert refusal(tmp_path, text, sets=["provider.url=https://evil.example/v1"]) == line


# one file each; what exactly is said matters less than that it is said well
BROKEN: dict[str, bytes | str] = {
    "nothing": b"",
    "only a comment": b"# name: x\n",
    "only white space": b" \n\n ",
    "a list": b"- name: x\n",
    "a word": b"name",
    "null": b"~",
    "not UTF-8": GOOD.encode() + b"# \xff\n",
    "UTF-16": GOOD.encode("utf-16"),
    "Latin-1": swap("Write", "Öffne").encode("latin-1"),
    "a NUL": GOOD.encode().replace(b"about", b"ab\0ut"),
    "an escape character": GOOD.encode().replace(b"about", b"ab\x1b[31mut"),
    "tabs": swap("  template", "\ttemplate"),
    "a tab among spaces": swap("    noun:", "  \tnoun:"),
    "an anchor": swap("[no,", "&a [no,"),
    "an alias": swap('[no, "on", "true"]', "*a"),
    "a merge key": swap("prompt:", "prompt:\n  <<: {draw: unique}"),
    "a tag": swap("stories: 4", "stories: !!int 4"),
    "a python tag": swap("tiny", "!!python/object/apply:os.system [ls]"),
    "a directive with a tag": "%TAG ! tag:x,2000:\n---\n" + swap("tiny", "!x tiny"),
    "two documents": GOOD + "---\n" + GOOD,
    "a key twice": GOOD + "name: other\n",
    "a key twice in a flow": swap("{min: 2, max: 300}", "{min: 2, min: 3}"),
    "a key that is a list": GOOD + "[a]: b\n",
    "a key that is a mapping": GOOD + "? {a: b}\n: c\n",
    "an open bracket": swap("{file: nouns.txt}", "{file: nouns.txt"),
    "an open quote": swap("template: W", 'template: "W'),
    "bad indentation": swap("  axes:", " axes:"),
    "a colon too many": swap("Write about", "Write: about"),
    "nesting": GOOD + "x: " + "[" * 100_000,
    "nesting of mappings": GOOD + "x: " + "{a: " * 100_000,
    "10 MB of nesting": b"[" * (10 << 20),
    "10 MB of indentation": b"".join(b" " * n + b"a:\n" for n in range(4500)),
    "3 MB of nesting": b"- " * (3 << 19),
    "a number of a million digits": swap("stories: 4", "stories: " + "9" * 1_000_000),
    "a number beyond 64 bits": swap("stories: 4", "seed: 18446744073709551616"),
    "infinity": GOOD + "sampling: {temperature: .inf}\n",
    "no number": GOOD + "budget: {usd: .nan}\n",
    "a negative seed": GOOD + "seed: -1\n",
    "true for a number": swap("stories: 4", "stories: true"),
    "text for a number": swap("stories: 4", "stories: '4'"),
    "a number for a name": swap("name: tiny", "name: 7"),
    "a list for a name": swap("name: tiny", "name: [tiny]"),
    "an endless name": swap("name: tiny", "name: " + "x" * 65),
    "a name with a line end": swap("name: tiny", 'name: "tiny\\n"'),
    "no prompt": GOOD[: GOOD.index("prompt:")],
    "an empty prompt": GOOD[: GOOD.index("  template")],
    "a prompt that is text": GOOD[: GOOD.index("prompt:")] + "prompt: Tell me a story\n",
    "axes without a template": swap("  template: Write about {adjective} {noun}.\n", ""),
    "axes that are a list": swap("  axes:\n    adjective:", "  axes:\n    - adjective:").replace("    noun", "    - noun"),
    "a word list of numbers": swap('[no, "on", "true"]', "[1, 2, 3]"),
    "a word list of mappings": swap('[no, "on", "true"]', "[a: b]"),
    "a word list that is text": swap('[no, "on", "true"]', "no"),
    "a word list with an empty entry": swap('[no, "on", "true"]', "\n      - no\n      -\n"),
    "a path that is a folder": swap("nouns.txt", "."),
    "a path that is a device": swap("nouns.txt", "/dev/zero"),
    "a path that is too long": swap("nouns.txt", "x" * 5000),
    "a path with an escaped NUL": swap("nouns.txt", '"a\\0b"'),
    "an absolute path that is not there": swap("nouns.txt", "/no/such/file"),
    "a key of a text file": swap("{file: nouns.txt}", "{file: nouns.txt, key: a}"),
    "choose nothing": swap("{file: nouns.txt}", "{file: nouns.txt, choose: 0}"),
    "choose three bounds": swap("{file: nouns.txt}", "{file: nouns.txt, choose: [0, 1, 2]}"),
    "choose less than nothing": swap("{file: nouns.txt}", "{file: nouns.txt, choose: [-1, 1]}"),
    "negative weights": swap("{file: nouns.txt}", "{values: [a], weights: [-1]}"),
    "weights of nothing": swap("{file: nouns.txt}", "{values: [a], weights: [0]}").replace("prompt:", "prompt:\n  draw: independent"),
    "a bomb of slots": swap("[no,", '["' + "{b}" * 9000 + '",').replace("  axes:\n", '  axes:\n    b: ["' + "{noun}" * 9000 + '"]\n'),
    "a job that leads elsewhere": swap("{file: nouns.txt}", "{job: ../../etc}"),
    "prompts that are not there": "name: x\nprovider: fake\nprompt: {prompts: {file: p.jsonl}}\n",
    "records of no job": "name: x\nprovider: fake\nprompt: {records: {job: x, template: y}}\n",
    "examples that are no conversations": swap("  axes:", "  examples: {file: nouns.txt}\n  axes:"),
    "examples picked by nobody": swap("  axes:", "  examples: {file: nouns.txt, pick: best}\n  axes:"),
    "examples picked by code": swap("  axes:", "  examples: {file: nouns.txt, pick: python:os.system}\n  axes:"),
    "a provider that is a number": provider("7"),
    "a provider without a kind": provider("{url: 'https://x.example/v1'}"),
    "a provider whose kind is a path": provider("{kind: ../fake}"),
    "a provider whose kind is no kind": provider("launch"),
    "no url": provider("{kind: openai, url: ''}"),
    "no urls": provider("{kind: openai, url: []}"),
    "a url of another sort": provider("{kind: openai, url: 'file:///etc/passwd'}"),
    "a url with half an address": provider("{kind: openai, url: 'http://[::1'}"),
    "a url with a bad port": provider("{kind: openai, url: 'http://x.example:99999/v1'}"),
    "a url with a line end": provider('{kind: openai, url: "http://x.example/v1\\nHost: y"}'),
    "a url with a query": provider("{kind: openai, url: 'http://x.example/v1?key=sk-live-1'}"),
    "limits that are none": provider("{kind: fake, limits: {rpm: 0}}"),
    "limits of nobody": provider("{kind: fake, limits: {rps: 3}}"),
    "a model file that is not there": provider("{kind: embedded, gguf: none.gguf}"),
    "a check that is a list": GOOD + "  - [words]\n",
    "two checks in one": GOOD + "  - {finished: , words: }\n",
    "a check of Python's": GOOD + "  - __import__: os\n",
    "checks that are text": GOOD[: GOOD.index("checks:")] + "checks: finished\n",
    "a cleaning step that is none": GOOD + "clean: [exec]\n",
    "an answer of another sort": GOOD + "answer: xml\n",
    "an answer with half a rule": GOOD + "answer: {min: 3}\n",
    "a list of no style": GOOD + "answer: {list: roman}\n",
    "an empty marker": GOOD + "answer: {split: ''}\n",
    "a share above one": GOOD + "retry: {tolerate: 2}\n",
    "a width of nothing": GOOD + "width: 0\n",
    "a width that is a word": GOOD + "width: wide\n",
    "a budget below nothing": GOOD + "budget: {usd: -5}\n",
    "half a price": GOOD + "price: {input: 1}\n",
}  # fmt: skip


def test_there_are_enough_of_them():
    assert len(BROKEN) >= 40


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_file_is_refused_in_one_line(tmp_path, monkeypatch, what):
    monkeypatch.chdir(tmp_path)
    line = refusal(tmp_path, BROKEN[what])
    assert line.startswith(("job.yaml:", "nouns.txt:"))
    assert line.isprintable() and len(line) < 500
    assert "sk-live" not in line


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"job\.yaml: cannot be read: No such file or directory$"):
        config.load(tmp_path / "job.yaml")


def test_a_folder_is_no_job_file(tmp_path):
    with pytest.raises(ConfigError, match=r": is no file$"):
        config.load(tmp_path)


def test_words_that_yaml_1_1_would_change_are_fine(tmp_path):
    text = swap('[no, "on", "true"]', "[no, yes, on, off, y, n, ~tilde, 12:30, 1e, 0b1, off]")
    values = load(tmp_path, text).job.space.axes[0].values
    assert values == ("no", "yes", "on", "off", "y", "n", "~tilde", "12:30", "1e", "0b1")


# ── any other way to break a file ─────────────────────────────────────────────────────────────────

LINES = [line for line in GOOD.splitlines() if line.strip()]
SCRAPS = st.sampled_from(
    ["", " ", "\t", ":", "- ", "{", "}", "[", "]", '"', "'", "#", "&a ", "*a", "!x ", "|", ">", "~", "true", "7", "{noun}"]
)  # fmt: skip


def loads_or_refuses(path) -> None:
    try:
        config.load(path, directory=path.parent)
    except ConfigError as error:
        assert str(error).isprintable()


@given(data=st.data())
@settings(max_examples=80)
def test_no_scrap_in_a_good_file_raises_anything_else(tmp_path_factory, data):
    path = folder(tmp_path_factory.getbasetemp()) / "scraps.yaml"
    text = GOOD
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text)))
        text = text[:at] + data.draw(SCRAPS) + text[at + data.draw(st.integers(0, 3)) :]
    path.write_text(text)
    loads_or_refuses(path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5) | st.sampled_from(["{noun}", "env:HOME", "nouns.txt", "fake", "unique", "auto"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
        ["name", "file", "key", "job", "from", "values", "choose", "weights", "join", "draw", "axes", "kind", "url", "min", "max", "axes", "language", "pattern"]
    ), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
PLACES = [
    ("name",), ("seed",), ("stories",), ("shard_size",), ("provider",), ("model",), ("mode",), ("prompt",), ("sampling",),
    ("answer",), ("clean",), ("checks",), ("retry",), ("width",), ("budget",), ("price",), ("then",),
    ("prompt", "draw"), ("prompt", "repeats"), ("prompt", "system"), ("prompt", "template"), ("prompt", "axes"),
    ("prompt", "axes", "noun"), ("prompt", "axes", "adjective"), ("prompt", "prompts"), ("prompt", "records"),
    ("prompt", "examples"), ("prompt", "prefill"), ("sampling", "extra"), ("retry", "invalid"), ("budget", "usd"),
]  # fmt: skip


@given(place=st.sampled_from(PLACES), value=JSON)
@settings(max_examples=150)
def test_no_value_in_any_place_raises_anything_else(tmp_path_factory, place, value):
    path = folder(tmp_path_factory.getbasetemp()) / "values.json"
    body = {
        "name": "tiny",
        "stories": 2,
        "provider": "fake",
        "prompt": {"template": "{noun}{adjective}", "axes": {"noun": ["a", "b"], "adjective": ["c"]}},
    }
    inner = body
    for key in place[:-1]:
        inner = inner.setdefault(key, {})
    inner[place[-1]] = value
    path.write_bytes(orjson.dumps(body))
    loads_or_refuses(path)
