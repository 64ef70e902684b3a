import pytest
from jobfiles import GOOD, load, refusal

from storyd import checks, clean
from storyd.checks import Answer
from storyd.fitting import fitted
from storyd.judging import arguments_of, functions
from storyd.space import Prompt
from storyd.yaml12 import read


def test_steps_are_the_public_functions_of_their_module():
    assert {"finished", "words", "contains", "matches", "rejects"} <= functions(checks).keys()
    assert {"nfc", "strip_markdown"} <= functions(clean).keys()
    assert not any(name.startswith("_") for name in functions(checks))
    assert "Answer" not in functions(checks) and "lru_cache" not in functions(checks)


@pytest.mark.parametrize("module", [checks, clean])
def test_every_argument_of_every_step_has_a_type_that_a_job_file_can_be_checked_against(module):
    document = read(b"x: 1", "f.yaml")
    for function in functions(module).values():
        for name, entry in arguments_of(function).items():
            for value in ("text", 1, 0.5, True, ["a"], None):
                try:
                    fitted({name: entry}, {name: value}, document, ())
                except Exception as error:
                    assert type(error).__name__ == "ConfigError"


def verdicts(setup, text: str) -> dict[str, str | None]:
    prompt = Prompt(0, "", {"noun": "cat", "adjective": "big"})
    return {name: check(prompt, Answer(text)) for name, check in setup.job.checks}


def test_arguments_are_bound_by_name_and_a_lone_one_is_the_first(tmp_path):
    more = '  - matches: "[.]$"\n  - rejects: {pattern: "(?i)as an ai"}\n  - contains: [noun]\n'
    said = verdicts(load(tmp_path, GOOD.replace("min: 2", "min: 3") + more), "As an AI")
    assert said["words"] is None
    assert said["matches"] and said["rejects"] and said["contains"]


def test_a_step_without_arguments_may_be_written_in_every_way(tmp_path):
    for step in ("finished", "finished:", "finished: {}"):
        assert load(tmp_path, GOOD.replace("- finished", f"- {step}")).job.checks[0] == (
            "finished",
            checks.finished,
        )


def test_cleaning_steps_work_in_order(tmp_path):
    steps = load(tmp_path, GOOD + "clean: [strip_markdown, nfc]\n").job.clean
    text = "**Cafe\u0301**"
    for step in steps:
        text = step(text)
    assert text == "Café"


@pytest.mark.parametrize(
    ("said", "answer", "stories"),
    [
        ("text", "One.", ("One.",)),
        ("{json: story}", '{"story": "One."}', ("One.",)),
        ("{list: numbered}", "1. One\n2. Two", ("One", "Two")),
        ("{list: lines, min: 2}", "One\nTwo", ("One", "Two")),
        ('{split: "THE END."}', "One. THE END. Two. THE END.", ("One.", "Two.")),
        ('{split: "---", min: 2}', "One. --- Two.", ("One.", "Two.")),
    ],
)
def test_an_answer_is_taken_apart_as_the_file_says(tmp_path, said, answer, stories):
    assert load(tmp_path, GOOD + f"answer: {said}\n").job.extract(answer) == stories


def test_too_few_stories_are_no_answer(tmp_path):
    extract = load(tmp_path, GOOD + "answer: {list: numbered, min: 3}\n").job.extract
    with pytest.raises(ValueError, match="want at least 3"):
        extract("1. One\n2. Two")


def test_min_goes_with_several_stories(tmp_path):
    line = "job.yaml:12: answer.min: goes with list and split only (remove it)"
    assert refusal(tmp_path, GOOD + "answer: {json: story, min: 2}\n") == line


def test_python_is_not_half_built(tmp_path):
    line = "job.yaml:12: checks[2].python: this version of storyd does not know python: yet"
    assert refusal(tmp_path, GOOD + "  - python: mine.check\n", trust=True) == line
