# ruff: noqa: E501 (what a user sees on one line stands on one line)
"""Axes, prompts, records and examples of a job file, as prompts."""

import orjson
import pytest
from jobfiles import GOOD, folder, load, refusal

HEAD = "name: p\nprovider: fake\n"


def texts(setup) -> list[str]:
    return [setup.job.prompt(index).text for index in range(setup.job.stories)]


def grid(axes: str, template: str = "{a}", stories: int = 1, more: str = "") -> str:
    return f"{HEAD}stories: {stories}\nprompt:\n  template: '{template}'\n{more}  axes:\n    {axes}\n"


# ── axes ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "axis",
    [
        "a: [cat, dog]",
        "a: {values: [cat, dog]}",
        "a: {from: [cat, dog]}",
        "a: {file: nouns.txt}",
        "a: {from: {file: nouns.txt}}",
        "a: {file: words.json, key: nouns}",
        "a: {from: {file: words.yaml}}",
    ],
)
def test_an_axis_takes_its_values_from_anywhere(tmp_path, axis):
    (tmp_path / "words.json").write_text('{"nouns": ["cat", "dog", "cat "]}')
    (tmp_path / "words.yaml").write_text("- cat\n- dog\n")
    assert sorted(texts(load(tmp_path, grid(axis, stories=2)))) == ["cat", "dog"]


def test_equal_values_count_once_and_their_weights_add_up(tmp_path):
    axis = 'a: {values: [cat, " cat", "cafe\u0301", "café", dog], weights: [1, 2, 3, 4, 0]}'
    space = load(tmp_path, grid(axis, more="  draw: independent\n")).job.space
    assert space.axes[0].values == ("cat", "café", "dog")
    assert space.axes[0].weights == (3.0, 7.0, 0.0)


def test_a_weight_of_nothing_is_never_drawn(tmp_path):
    axis = "a: {values: [cat, dog], weights: [1, 0]}"
    text = grid(axis, stories=200, more="  draw: independent\n")
    assert set(texts(load(tmp_path, text))) == {"cat"}


def test_choose_takes_different_ones_and_joins_them(tmp_path):
    setup = load(tmp_path, grid('a: {from: [x, y, z], choose: 2, join: "+"}', stories=3))
    assert sorted(texts(setup)) == ["x+y", "x+z", "y+z"]
    assert all(isinstance(setup.job.prompt(n).traits["a"], tuple) for n in range(3))


def test_a_range_may_choose_none_and_what_depends_on_it_vanishes(tmp_path):
    setup = load(tmp_path, grid("a: {from: [x, y], choose: [0, 1]}", "Tell[[ of {a}]].", 3))
    assert sorted(texts(setup)) == ["Tell of x.", "Tell of y.", "Tell."]


def test_values_may_hold_slots_of_other_axes(tmp_path):
    axes = 'a: ["{b} and {c}"]\n    b: ["the {c}"]\n    c: [cat]'
    prompt = load(tmp_path, grid(axes)).job.prompt(0)
    assert prompt.text == "the cat and cat"
    assert prompt.traits == {"a": "the cat and cat", "b": "the cat", "c": "cat"}


def test_other_braces_are_literal(tmp_path):
    template = '{"story": "{a}"} {{a}} {A} {a b} { a } {} {0}'
    assert texts(load(tmp_path, grid('a: ["{{a}} {x y}"]', template))) == [
        '{"story": "{a} {x y}"} {a} {A} {a b} { a } {} {0}'
    ]


def test_an_axis_that_the_template_does_not_use_is_a_trait_all_the_same(tmp_path):
    prompt = load(tmp_path, grid("a: [x]\n    level: [easy]")).job.prompt(0)
    assert prompt.traits == {"a": "x", "level": "easy"}


def test_independent_draws_may_be_more_than_the_combinations(tmp_path):
    assert len(texts(load(tmp_path, grid("a: [x, y]", stories=50, more="  draw: independent\n")))) == 50


def test_repeats_ask_each_prompt_several_times(tmp_path):
    text = grid("a: [x, y]", stories=4, more="  repeats: 2\n  draw: ordered\n")
    assert texts(load(tmp_path, text)) == ["x", "x", "y", "y"]


def test_a_template_may_do_without_axes(tmp_path):
    assert texts(load(tmp_path, f"{HEAD}stories: 1\nprompt: {{template: Tell me a story.}}\n")) == [
        "Tell me a story."
    ]


def test_ordered_prompts_end_with_their_space(tmp_path):
    assert "there are only 2 different prompts" in refusal(
        tmp_path, grid("a: [x, y]", stories=3, more="  draw: ordered\n")
    )


@pytest.mark.parametrize(
    ("axis", "said"),
    [
        ("a: {values: [x], from: [y]}", "prompt.axes.a: expected exactly one of file, job, values and from"),
        ("a: {choose: 1}", "prompt.axes.a: expected exactly one of file, job, values and from"),
        ("a: {from: {file: nouns.txt, job: x}}", "prompt.axes.a.from: expected exactly one of file and job"),
        ("a: {values: [x], key: y}", "prompt.axes.a.key: goes with file only (remove it)"),
        ("a: {from: [x, y], choose: [0, 0]}", "prompt.axes.a.choose: cannot choose 0 to 0 (write [least, most])"),
        ("a: {file: many.txt, choose: 65}", "prompt.axes.a.choose: choosing 65 of 99 takes too much memory (choose fewer)"),
    ],
)  # fmt: skip
def test_an_axis_that_makes_no_sense_is_refused(tmp_path, axis, said):
    (tmp_path / "many.txt").write_text("\n".join(f"w{n}" for n in range(99)))
    assert refusal(tmp_path, grid(axis)).endswith(f": {said}")


def test_an_axis_of_weights_that_is_chosen_from_is_refused(tmp_path):
    text = grid("a: {values: [x, y], weights: [1, 2], choose: 1}", more="  draw: independent\n")
    assert refusal(tmp_path, text).endswith("prompt.axes.a.weights: weights and choose do not go together")


def test_slots_in_slots_cannot_make_a_prompt_without_bounds(tmp_path):
    axes = (
        "\n    ".join(f'{a}: ["{f"{{{b}}}" * 50}"]' for a, b in ("ab", "bc", "cd", "de")) + "\n    e: [xxxx]"
    )
    assert refusal(tmp_path, grid(axes)).endswith(
        "prompt.axes.a: fills a slot with more than 1048576 characters"
    )
    assert refusal(tmp_path, grid(f'a: ["{"x" * 60_000}"]', "{a}" * 20)).endswith(
        "prompt: a prompt may become longer than 1048576 characters"
    )


# ── prompts that exist ────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def prompts(tmp_path):
    lines = [{"text": f"Tell of {{no slot}} {n}", "verb": f"v{n}"} for n in range(5)]
    (tmp_path / "p.jsonl").write_bytes(b"\n".join(map(orjson.dumps, lines)))
    return HEAD + "prompt:\n  prompts: {file: p.jsonl, field: text, traits: [verb]}\n"


def test_prompts_of_a_file_are_asked_as_they_stand_and_in_order(tmp_path, prompts):
    setup = load(tmp_path, prompts)
    assert texts(setup) == [f"Tell of {{no slot}} {n}" for n in range(5)]
    assert setup.job.prompt(3).traits == {"verb": "v3"}


def test_prompts_of_a_file_may_be_fewer_repeated_or_shuffled(tmp_path, prompts):
    assert len(texts(load(tmp_path, prompts + "stories: 2\n"))) == 2
    assert texts(load(tmp_path, prompts + "  repeats: 2\n"))[:2] == ["Tell of {no slot} 0"] * 2
    shuffled = texts(load(tmp_path, prompts + "  draw: unique\n"))
    assert sorted(shuffled) == texts(load(tmp_path, prompts))


def test_prompts_of_a_file_may_have_a_system_message_of_their_fields(tmp_path, prompts):
    setup = load(tmp_path, prompts + "  system: Use {verb}.\n")
    assert setup.job.prompt(1).system == "Use v1."
    line = "job.yaml:5: prompt.system: no field for the slot {noun}"
    assert refusal(tmp_path, prompts + "  system: Use {noun}.\n") == line


def test_the_fingerprint_holds_the_prompts(tmp_path, prompts):
    was = load(tmp_path, prompts).job.fingerprint["prompts"]
    assert load(tmp_path, prompts).job.fingerprint["prompts"] == was
    with (tmp_path / "p.jsonl").open("ab") as file:
        file.write(b'\n{"text": "x", "verb": "y"}')
    assert load(tmp_path, prompts).job.fingerprint["prompts"] != was


def test_a_bad_line_of_prompts_is_refused_with_its_file_and_line(tmp_path, prompts):
    (tmp_path / "p.jsonl").write_text('{"text": "a", "verb": "b"}\n{"text": "a"}')
    assert refusal(tmp_path, prompts) == 'p.jsonl:2: no field "verb"'
    (tmp_path / "p.jsonl").write_text("\n")
    assert refusal(tmp_path, prompts) == "job.yaml:4: prompt.prompts.file: holds no prompts"


# ── examples ──────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def examples(tmp_path):
    said = [
        [{"role": "user", "content": f"q{n}"}, {"role": "assistant", "content": f"a{n}"}] for n in range(4)
    ]
    (tmp_path / "e.json").write_bytes(orjson.dumps(said))

    def text(spec: str) -> str:
        return GOOD.replace("  axes:", f"  examples: {spec}\n  axes:")

    return text


def test_examples_stand_between_the_system_message_and_the_prompt(tmp_path, examples):
    text = examples("{file: e.json, k: 2}").replace("  axes:", "  system: Be brief.\n  axes:")
    said = [content for _, content in load(tmp_path, text).job.prompt(0).messages]
    assert said[:5] == ["Be brief.", "q0", "a0", "q1", "a1"]
    assert said[5].startswith("Write about")


def test_seeded_examples_differ_from_prompt_to_prompt_and_not_from_run_to_run(tmp_path, examples):
    text = examples("{file: e.json, k: 2, pick: seeded}").replace("stories: 4", "stories: 6")
    runs = [load(tmp_path, text).job for _ in range(2)]
    picked = [[job.prompt(n).examples for n in range(6)] for job in runs]
    assert picked[0] == picked[1]
    assert len(set(picked[0])) > 1
    assert all(len(set(one)) == 4 for one in picked[0])


def test_more_examples_than_there_are_is_refused(tmp_path, examples):
    said = "job.yaml:6: prompt.examples.k: 5 are wanted, but the file has 4"
    assert refusal(tmp_path, examples("{file: e.json, k: 5}")) == said


def test_the_fingerprint_holds_the_examples(tmp_path, examples):
    was = load(tmp_path, examples("{file: e.json}")).job.fingerprint
    assert "examples" in was
    assert was != load(tmp_path, examples("{file: e.json, k: 2}")).job.fingerprint


# ── other jobs ────────────────────────────────────────────────────────────────────────────────────


def done(tmp_path, stories=("Ann", "Bob {noun}", "Cleo"), seals=2, parts=False) -> None:
    """A finished job `names` with shards of two indices."""
    job = folder(tmp_path) / "shards" / "names"
    for name in ("stories", "seals"):
        (job / name).mkdir(parents=True, exist_ok=True)
    (job / "job.json").write_bytes(orjson.dumps({"job": {"stories": 4, "shard_size": 2}}))
    for number in range(seals):
        here = list(enumerate(stories))[number * 2 : number * 2 + 2]
        lines = [
            orjson.dumps(
                {"id": f"names/{n}", "index": n, "story": story, "traits": {"sex": "f", "all": ["x", "y"]}}
            )
            for n, story in here
        ]
        (job / "stories" / f"{number:05d}.jsonl").write_bytes(b"".join(line + b"\n" for line in lines))
        seal = {"records": len(lines), "digest": f"{number}{stories}"}
        (job / "seals" / f"{number:05d}.json").write_bytes(orjson.dumps(seal))


def test_an_axis_may_be_the_stories_of_another_job_whose_braces_mean_nothing(tmp_path):
    done(tmp_path)
    setup = load(tmp_path, GOOD.replace("{file: nouns.txt}", "{job: names}"))
    assert setup.job.space.axes[1].values == ("Ann", "Bob {noun}", "Cleo")
    found = {setup.job.prompt(n).text for n in range(4)}
    assert found <= {
        f"Write about {a} {n}." for a in ("no", "on", "true") for n in ("Ann", "Bob {noun}", "Cleo")
    }


RECORDS = HEAD + "prompt:\n  records: {job: names, template: 'Judge {id} ({sex}, {all}): {story}'}\n"


def test_there_is_one_prompt_per_record_of_another_job(tmp_path):
    done(tmp_path)
    setup = load(tmp_path, RECORDS)
    assert texts(setup) == [
        "Judge names/0 (f, x, y): Ann",
        "Judge names/1 (f, x, y): Bob {noun}",
        "Judge names/2 (f, x, y): Cleo",
    ]
    assert setup.job.prompt(2).traits == {"id": "names/2", "all": "x, y", "sex": "f"}


def test_the_seals_of_another_job_join_the_fingerprint(tmp_path):
    done(tmp_path)
    was = load(tmp_path, RECORDS).job.fingerprint["records"]
    done(tmp_path, ("Ann", "Bob", "Dora"))
    assert load(tmp_path, RECORDS).job.fingerprint["records"] != was


@pytest.mark.parametrize(
    ("seals", "stories", "said"),
    [
        (1, ("Ann", "Bob"), "the job names is not done: 1 of 2 shards are sealed (run it to its end first)"),
        (2, (), "the job names has no accepted records (run it to its end first)"),
    ],
)
def test_a_job_that_is_not_done_is_no_source(tmp_path, seals, stories, said):
    done(tmp_path, stories, seals)
    assert refusal(tmp_path, RECORDS) == f"job.yaml:4: prompt.records.job: {said}"


def test_a_slot_that_no_record_fills_is_refused(tmp_path):
    done(tmp_path)
    text = RECORDS.replace("{sex}", "{sax}")
    said = 'job.yaml:4: prompt.records.template: no field for the slot {sax} (did you mean "sex"?)'
    assert refusal(tmp_path, text) == said
