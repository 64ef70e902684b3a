# ruff: noqa: E501 (what a user sees on one line stands on one line)
import hashlib
import subprocess
import sys
from dataclasses import replace

import orjson
import pytest
from jobfiles import GOOD, folder, load, refusal, write

from storyd import config
from storyd.checks import finished
from storyd.errors import ConfigError
from storyd.job import changed
from storyd.settings import Budget, Limits, Price, Timeouts

FULL = """\
name: full-1
seed: 7
stories: 6
shard_size: 2
provider: {kind: fake, latency: 0.5, limits: {rpm: 60, concurrency: 2}, timeouts: {total: 9}}
model: m
mode: live
prompt:
  draw: ordered
  repeats: 2
  system: You write about {noun}s.
  template: "{{literal}} {noun}[[ with {f}]] {mood}"
  axes:
    noun: {file: nouns.txt}
    f: {from: [x, y, z], choose: [0, 1], join: " and "}
    mood: ["{noun}ish", plain]
  prefill: "The {noun}"
sampling: {max_tokens: 100, temperature: 1, top_p: 0.9, seed: auto, stop: [END], extra: {a: null}}
answer: {json: story}
checks:
  - finished
  - words: {min: 2}
  - contains: {axes: [noun], language: en}
  - matches: "[.]$"
retry: {invalid: 3, transient: 4, feedback: true, tolerate: 0}
width: 8
budget: {usd: 5.00, tokens: 2_000_000}
price: {input: 1, output: 2.5, cached: 0.5}
"""


# ── what a job file becomes ───────────────────────────────────────────────────────────────────────


def test_a_short_file_has_sensible_defaults(tmp_path):
    setup = load(tmp_path)
    job = setup.job
    assert (job.name, job.seed, job.stories, job.shard_size, job.model) == ("tiny", 1, 4, 1000, "fake")
    assert [name for name, _ in job.checks] == ["finished", "words"]
    assert (setup.width, setup.budget, setup.mode, setup.then) == (None, Budget(), "live", ())
    assert {job.prompt(n).text for n in range(4)} <= {
        f"Write about {a} {n}." for a in ("no", "on", "true") for n in ("cat", "dog")
    }


def test_checks_default_to_finished(tmp_path):
    (check,) = load(tmp_path, GOOD[: GOOD.index("checks")]).job.checks
    assert check == ("finished", finished)


def test_a_full_file_is_understood_whole(tmp_path):
    setup = load(tmp_path, FULL)
    job, provider = setup.job, setup.provider
    prompt = job.prompt(2)
    assert job.space.size == 2 * 4 * 2 * 2
    assert (prompt.system, prompt.prefill) == ("You write about cats.", "The cat")
    assert prompt.text == "{literal} cat plain"
    assert job.prompt(4).text == "{literal} cat with x catish"
    assert job.prompt(4).traits == {"noun": "cat", "f": ("x",), "mood": "catish"}
    assert (job.sampling.max_tokens, job.sampling.seed, job.sampling.extra) == (100, "auto", {"a": None})
    assert job.sampling.options == {"temperature": 1.0, "top_p": 0.9, "stop": ["END"]}
    assert job.extract('```json\n{"story": "Once."}\n```') == ("Once.",)
    assert (job.retry.invalid, job.retry.transient, job.retry.feedback, job.retry.tolerate) == (
        3,
        4,
        True,
        0.0,
    )
    assert (provider.name, provider.kind, provider.options) == ("fake", "fake", {"latency": 0.5})
    assert (provider.limits, provider.timeouts) == (Limits(rpm=60, concurrency=2), Timeouts(total=9))
    assert (setup.width, setup.budget) == (8, Budget(5.0, 2_000_000))
    assert setup.price == Price(1.0, 2.5, cached=0.5)


def test_a_json_job_file_is_one_too(tmp_path):
    path = folder(tmp_path) / "job.json"
    body = {"name": "j", "stories": 1, "provider": "fake", "prompt": {"template": "Tell \U0001f600."}}
    path.write_bytes(orjson.dumps(body))
    assert config.load(path, directory=tmp_path).job.prompt(0).text == "Tell \U0001f600."


def test_what_is_frozen_is_plain_and_complete(tmp_path):
    frozen = load(tmp_path, FULL).frozen
    again = orjson.loads(orjson.dumps(frozen))
    assert again == frozen
    assert again["prompt"]["axes"]["f"] == {"from": ["x", "y", "z"], "choose": [0, 1], "join": " and "}
    assert again["provider"]["latency"] == 0.5
    assert again["sampling"]["extra"] == {"a": None}
    assert (again["stories"], again["model"]) == (6, "m")


def test_a_frozen_job_is_a_job_file_that_means_the_same(tmp_path):
    setup = load(tmp_path, FULL)
    path = tmp_path / "again.json"
    path.write_bytes(orjson.dumps(setup.frozen))
    again = config.load(path, directory=tmp_path)
    assert again.job.fingerprint == setup.job.fingerprint
    assert [again.job.prompt(n) for n in range(6)] == [setup.job.prompt(n) for n in range(6)]


def test_windows_line_ends_and_a_bom_change_nothing(tmp_path):
    plain = load(tmp_path)
    windows = load(tmp_path, b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert windows.job.fingerprint == plain.job.fingerprint


# ── the command line ──────────────────────────────────────────────────────────────────────────────


def test_set_overrides_what_the_file_says(tmp_path):
    sets = ["stories=6", "seed=9", "budget.usd=1.5", "prompt.axes.adjective=[big]", "prompt.system=Hi: there"]
    with pytest.raises(ConfigError):
        load(tmp_path, sets=sets)
    setup = load(tmp_path, sets=[*sets[:4], "prompt.system=Hi there", "stories=2"])
    assert (setup.job.stories, setup.job.seed, setup.budget.usd) == (2, 9, 1.5)
    assert setup.job.prompt(0).text.startswith("Write about big ")
    assert setup.job.prompt(0).system == "Hi there"
    assert (setup.frozen["seed"], setup.frozen["stories"]) == (9, 2)


def test_the_provider_may_be_another(tmp_path):
    assert load(tmp_path, provider="simulator").provider.kind == "simulator"
    assert load(tmp_path, provider="{kind: fake, words: 60}").provider.options == {"words": 60}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("storis=6", '--set storis: unknown key (did you mean "stories"?)'),
        ("stories=many", '--set stories: expected a whole number, not "many"'),
        ("prompt.axes.noun.fil=x", '--set prompt.axes.noun.fil: unknown key (did you mean "file"?)'),
        ("prompt.axes={noun: [1], adjective: [x]}", "--set prompt.axes: prompt.axes.noun[0]: 1 is not text (quote it)"),
        ("name.first=x", '--set name.first: there is no mapping that "first" could stand in'),
        ("stories", "--set stories: expected KEY.KEY=VALUE"),
        ("=3", "--set : expected KEY.KEY=VALUE"),
        ("seed=[", "--set seed: not YAML: did not find expected node content while parsing a flow node"),
        ("provider.key=sk-1", '--set provider.key: there is no mapping that "key" could stand in'),
    ],
)  # fmt: skip
def test_a_bad_set_is_refused_by_its_name(tmp_path, text, line):
    assert refusal(tmp_path, GOOD, sets=[text]) == line


# ── the fingerprint ───────────────────────────────────────────────────────────────────────────────

CHANGES = {
    "seed: 7": ("seed: 8", ["seed"]),
    "shard_size: 2": ("shard_size: 3", ["shard_size"]),
    "model: m": ("model: n", ["model"]),
    "draw: ordered": ("draw: unique", ["draw"]),
    "repeats: 2": ("repeats: 3", ["repeats"]),
    "system: You": ("system: We", ["system"]),
    "template: \"{{": ("template: \"x {{", ["template"]),
    "choose: [0, 1]": ("choose: [0, 2]", ["axes.f"]),
    "[x, y, z]": ("[x, y, w]", ["axes.f"]),
    "mood:": ("humour:", ["axes", "axes.humour", "axes.mood", "template"]),
    "prefill: \"The": ("prefill: \"A", ["prefill"]),
    "temperature: 1": ("temperature: 1.1", ["sampling"]),
    "json: story": ("json: tale", ["answer"]),
    "min: 2": ("min: 3", ["checks"]),
    "  - finished\n": ("", ["checks"]),
    "invalid: 3": ("invalid: 4", ["retry.invalid"]),
    "feedback: true": ("feedback: false", ["retry.feedback"]),
}  # fmt: skip
SAME = {
    "stories: 6": "stories: 8",
    "latency: 0.5": "latency: 0.7",
    "rpm: 60": "rpm: 90",
    "kind: fake": "kind: simulator",
    "transient: 4": "transient: 5",
    "tolerate: 0}": "tolerate: 1}",
    "width: 8": "width: auto",
    "usd: 5.00": "usd: 6",
    "price: {input: 1": "price: {input: 3",
    "temperature: 1,": "temperature: 1.0,",
    "words: {min: 2}": "words: {min: 2, max: null}",
    "  - finished": "  - finished: {}",
    "[noun], language: en": "[noun]",
}


def fingerprint(tmp_path, text):
    return load(tmp_path, text).job.fingerprint


@pytest.mark.parametrize("said", CHANGES)
def test_the_fingerprint_names_what_changed(tmp_path, said):
    instead, keys = CHANGES[said]
    text = FULL.replace(said, instead).replace("{mood}", "{humour}" if "humour" in instead else "{mood}")
    assert changed(fingerprint(tmp_path, FULL), fingerprint(tmp_path, text)) == keys


@pytest.mark.parametrize("said", SAME)
def test_the_fingerprint_lets_the_rest_change(tmp_path, said):
    text = FULL.replace(said, SAME[said])
    if "simulator" in text:
        text = text.replace("latency: 0.5, ", "")
    assert text != FULL
    assert changed(fingerprint(tmp_path, FULL), fingerprint(tmp_path, text)) == []


def test_the_fingerprint_holds_the_words_of_a_file_but_not_its_comments(tmp_path):
    was = fingerprint(tmp_path, GOOD)
    path = write(tmp_path, GOOD)
    (tmp_path / "nouns.txt").write_text("# two\ncat\r\n\n  dog\ncat")
    assert config.load(path).job.fingerprint == was
    (tmp_path / "nouns.txt").write_text("cat\nfox")
    assert changed(was, config.load(path).job.fingerprint) == ["axes.noun"]


def test_a_fingerprint_is_the_same_in_every_process(tmp_path):
    write(tmp_path, FULL)
    script = f"""
from pathlib import Path
from storyd import config
print(sorted(config.load(Path({str(tmp_path / "job.yaml")!r})).job.fingerprint.items()))
"""
    said = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            timeout=60,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(said) == 1
    assert hashlib.sha256(b"[0,1]").hexdigest().encode() not in said.pop()


# ── prices and budgets ────────────────────────────────────────────────────────────────────────────


def test_a_free_provider_needs_no_price_for_a_budget(tmp_path):
    assert load(tmp_path, GOOD + "budget: {usd: 1}\n").price == Price()


def test_the_jobs_price_counts_before_the_providers_and_that_before_the_list(tmp_path):
    own = "{kind: fake, price: {input: 1, output: 2}}"
    assert load(tmp_path, GOOD, provider=own).price == Price(1, 2)
    assert load(tmp_path, GOOD + "price: {input: 3, output: 4}\n", provider=own).price == Price(3, 4)


def test_an_unknown_price_is_no_price(tmp_path):
    text = GOOD + "model: nobody-knows-this-one\n"
    assert load(tmp_path, text, provider="openai", offline=True).price is None


# ── storyd.yaml ───────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def service(tmp_path, monkeypatch):
    """Writes configs/storyd.yaml into the working directory."""
    monkeypatch.chdir(tmp_path)

    def write(text: str):
        (tmp_path / "configs").mkdir(exist_ok=True)
        (tmp_path / "configs" / "storyd.yaml").write_text(text)

    return write


def test_a_job_may_name_an_account_of_storyd_yaml(tmp_path, service):
    service(
        "providers:\n  cheap: {kind: fake, words: 50, limits: {rpm: 5}}\n  fake: {kind: fake, words: 70}\n"
    )
    setup = load(tmp_path, provider="cheap")
    assert (setup.provider.name, setup.provider.kind, setup.provider.limits.rpm) == ("cheap", "fake", 5.0)
    assert load(tmp_path).provider.options == {"words": 70}
    assert setup.frozen["provider"] == "cheap"


def test_storyd_yaml_may_lie_elsewhere(tmp_path):
    (tmp_path / "mine.yaml").write_text("providers: {cheap: {kind: fake}}")
    assert load(tmp_path, provider="cheap", service=tmp_path / "mine.yaml").provider.name == "cheap"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("provders: {}", 'configs/storyd.yaml:1: provders: unknown key (did you mean "providers"?)'),
        ("providers: {cheap: {kind: fake, wrds: 5}}", 'configs/storyd.yaml:1: providers.cheap.wrds: unknown key (did you mean "words"?)'),
        ("providers:\n  cheap: {kind: fke}", 'configs/storyd.yaml:2: providers.cheap.kind: no kind "fke" (did you mean "fake"?)'),
        ("providers: {}", '--provider: provider: no provider "cheap" (there are embedded, fake, openai, simulator)'),
        ("providers: {cheep: {kind: fake}}", '--provider: provider: no provider "cheap" (did you mean "cheep"?)'),
    ],
)  # fmt: skip
def test_a_fault_of_storyd_yaml_is_told_with_its_line(tmp_path, service, text, line):
    service(text)
    assert refusal(tmp_path, GOOD, provider="cheap") == line


# ── recipes and schema ────────────────────────────────────────────────────────────────────────────


def test_recipes_are_those_that_begin_with_their_name(tmp_path, monkeypatch):
    monkeypatch.setattr(config, "shipped", lambda: tmp_path)
    (tmp_path / "bedtime-en.yaml").write_text("# bedtime-en: three words, one story\nname: x\n")
    (tmp_path / "storyd.yaml").write_text("# accounts: not a recipe\n")
    (tmp_path / "empty.yaml").write_text("")
    assert config.recipes() == [("bedtime-en", "three words, one story")]
    assert config.recipe("bedtime-en").endswith("name: x\n")
    with pytest.raises(ConfigError, match=r'init: no recipe "bedtime" \(did you mean "bedtime-en"\?\)'):
        config.recipe("bedtime")


def test_every_shipped_recipe_loads():
    for name, line in config.recipes():
        setup = config.load(config.shipped() / f"{name}.yaml", offline=True)
        assert line and setup.job.prompt(0).text


def test_paths_lead_to_the_shipped_configs_too(tmp_path):
    text = GOOD.replace("nouns.txt", "vocab/en/nouns.txt")
    assert len(load(tmp_path, text).job.space.axes[1].values) > 100


def test_the_schema_knows_keys_checks_and_cleaning_steps():
    found = config.schema()
    assert found["required"] == ["name", "provider", "prompt"]
    assert found["properties"]["stories"]["minimum"] == 1
    names = [
        option["const"]
        for item in found["properties"]["checks"]["items"]["anyOf"]
        for option in item["anyOf"][:1]
    ]
    assert {"finished", "words", "contains", "matches"} <= set(names)
    assert "from" in str(found["properties"]["prompt"]["properties"]["axes"])
    orjson.dumps(found)


def test_reading_a_job_file_imports_nothing_heavy(tmp_path):
    write(tmp_path, GOOD)
    script = f"""
import sys
from pathlib import Path
from storyd import config
config.load(Path({str(tmp_path / "job.yaml")!r}))
print({{"pydantic", "genai_prices", "aiohttp", "rich"}} & set(sys.modules))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "set()\n"


def test_a_setup_can_be_changed_by_who_runs_it(tmp_path):
    assert replace(load(tmp_path), budget=Budget(usd=1.0)).budget.usd == 1.0
