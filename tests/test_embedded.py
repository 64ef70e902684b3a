import importlib.util
import os
import runpy
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import pytest
import tiny_model

from storyd import config, models
from storyd.checks import Answer
from storyd.errors import ConfigError, Fatal, Transient
from storyd.exchange import Completion, Provider, Request
from storyd.providers import connect, embedded, launch
from storyd.settings import ProviderSettings

needs_runtime = pytest.mark.skipif(
    importlib.util.find_spec("xllamacpp") is None, reason="xllamacpp is not installed (extra: embedded)"
)
pytestmark = needs_runtime
CHILD = runpy.run_path(str(embedded.CHILD))


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model.write(tmp_path_factory.mktemp("models") / "tiny-llama.gguf")


def settings(gguf: Path | str, **options: Any) -> ProviderSettings:
    return ProviderSettings("embedded", "embedded", gguf=str(gguf), options=options)


def question(nth: int = 0, **more: Any) -> Request:
    messages = (("user", "Tell a story."),)
    return Request(f"job/0.{nth}", "tiny", messages, **({"max_tokens": 8, "sampling": {}} | more))


# ── the model ─────────────────────────────────────────────────────────────────────────────────────


async def test_a_model_file_answers_as_many_at_once_as_it_has_slots(gguf: Path):
    answers: list[Completion] = []

    async def ask(provider: Provider, nth: int) -> None:
        answers.append(await provider.complete(question(nth)))

    async with connect(settings(gguf, slots=2, ctx=256)) as provider, anyio.create_task_group() as around:
        for nth in range(4):
            around.start_soon(ask, provider, nth)
    assert [answer.finish for answer in answers] == ["length"] * 4
    assert [answer.usage.output for answer in answers] == [8] * 4
    assert {answer.model for answer in answers} == {"tiny-llama"}


async def test_it_goes_on_where_a_prefill_ends(gguf: Path):
    async with connect(settings(gguf)) as provider:
        answer = await provider.complete(question(prefill="Once upon a time"))
    assert answer.text.startswith("Once upon a time")
    assert answer.text.count("Once upon a time") == 1
    assert len(answer.text) > len("Once upon a time")


async def test_it_knows_every_sampling_name_that_it_claims_to_know(gguf: Path):
    values = {
        **dict.fromkeys(embedded.SAMPLING, 0.5),
        "seed": 7,
        "top_k": 20,
        "stop": ["\n"],
        "response_format": {"type": "text"},
    }
    async with connect(settings(gguf)) as provider:
        first = await provider.complete(question(sampling=values))
        again = await provider.complete(question(sampling=values))
    assert first.text == again.text


async def test_a_repetition_penalty_reaches_it_by_its_own_name(gguf: Path):
    heard: list[Request] = []

    class Ear:
        async def complete(self, request: Request) -> Completion:
            heard.append(request)
            return Completion("", "stop")

    await embedded.LlamaTalk(Ear()).complete(question(sampling={"repetition_penalty": 1.1, "seed": 1}))
    assert heard[0].sampling == {"repeat_penalty": 1.1, "seed": 1}


# ── the child ─────────────────────────────────────────────────────────────────────────────────────


@asynccontextmanager
async def child(gguf: Path) -> AsyncIterator[tuple[launch.Child, int]]:
    """The child, and the process that holds the model."""
    async with launch.launched(
        embedded._server(settings(gguf, slots=1, ctx=256), gguf), lambda _: None
    ) as one:
        yield one, process_of(gguf)


def process_of(gguf: Path) -> int:
    """The process that was started last with this model."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if str(gguf).encode() in words and b"guard.py" not in b"".join(words):
            found.append(int(path.parent.name))
    return max(found)


def addresses() -> set[str]:
    """What this machine listens on and is connected from, as the kernel writes it."""
    return {line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines()}


def command_line(process: int) -> str:
    return Path(f"/proc/{process}/cmdline").read_text()


async def test_without_its_key_nobody_is_answered(gguf: Path):
    async with child(gguf) as (one, _), aiohttp.ClientSession() as session:
        for headers in ({}, {"Authorization": "Bearer guessed"}):
            body = {"messages": [{"role": "user", "content": "Hi"}]}
            async with session.post(f"{one.url}/chat/completions", json=body, headers=headers) as response:
                assert response.status == 401


async def test_it_listens_on_this_machine_only_and_its_key_is_in_no_command_line(gguf: Path):
    async with child(gguf) as (one, process):
        assert one.url.startswith("http://127.0.0.1:")
        port = int(one.url.split(":")[2].split("/")[0])
        assert f"0100007F:{port:04X}" in addresses()
        assert one.server.key not in command_line(process)


async def test_a_killed_child_is_started_again_and_asked_on(gguf: Path, capfd: pytest.CaptureFixture[str]):
    async with connect(settings(gguf)) as provider:
        await provider.complete(question())
        os.kill(process_of(gguf), signal.SIGKILL)
        faults = 0
        with anyio.fail_after(30):
            while True:
                try:
                    await provider.complete(question(1))
                    break
                except Transient:
                    faults += 1
                    await anyio.sleep(0.05)
    assert faults
    said = capfd.readouterr().err
    assert said == "storyd: embedded: the server was ended by SIGKILL; starting it again in 0.5 s\n"


# ── what it refuses ───────────────────────────────────────────────────────────────────────────────


async def refusal(settings: ProviderSettings) -> str:
    with pytest.raises((ConfigError, Fatal)) as refusal:
        async with connect(settings):
            pass
    return str(refusal.value)


async def test_a_file_that_is_no_model_is_refused_at_once(tmp_path: Path):
    path = tmp_path / "model.gguf"
    line = f"embedded: {path} is no GGUF file (name a model file in `gguf`)"
    assert await refusal(settings(path)) == line
    path.write_text("GGML")
    assert await refusal(settings(path)) == line


def cut(gguf: Path, folder: Path) -> Path:
    path = folder / "cut.gguf"
    path.write_bytes(gguf.read_bytes()[:60_000])
    return path


async def test_a_damaged_model_is_given_up_without_a_second_try(gguf: Path, tmp_path: Path):
    line = await refusal(settings(cut(gguf, tmp_path)))
    assert line.startswith("embedded: the server ended with status 78; its last words: ")
    assert "cut.gguf: " in line and "\n" not in line


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"slots": 0}, "embedded: slots: 0 is out of range (from 1)"),
        ({"ctx": 63}, "embedded: ctx: 63 is out of range (from 64)"),
        ({"threads": -1}, "embedded: threads: -1 is out of range (from 0)"),
        ({"ctx": 1 << 30}, "embedded: ctx: 1073741824 is out of range (from 64)"),
    ],
)
async def test_options_out_of_range_are_refused(gguf: Path, options: dict[str, int], line: str):
    assert await refusal(settings(gguf, **options)) == line


async def test_without_the_runtime_the_extra_is_named(gguf: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    line = "embedded: xllamacpp is not installed (pip install 'storyd[embedded]')"
    assert await refusal(settings(gguf)) == line


async def test_without_a_file_the_default_model_is_fetched(monkeypatch: pytest.MonkeyPatch, gguf: Path):
    async def fetch(say: models.Say) -> Path:
        return gguf

    monkeypatch.setattr(models, "fetch", fetch)
    async with connect(ProviderSettings("embedded", "embedded", options={"slots": 1})) as provider:
        assert (await provider.complete(question())).model == "tiny-llama"


# ── the quickstart ────────────────────────────────────────────────────────────────────────────────


def test_the_quickstart_asks_as_many_questions_at_once_as_there_are_slots():
    setup = config.load(config.shipped() / "quickstart.yaml", offline=True)
    assert setup.job.model == models.NAME
    assert setup.provider.limits.concurrency == embedded.SLOTS


@pytest.mark.parametrize(
    ("end", "failing"),
    [
        ("They became good friends, and they watched the stars together.", set()),
        ("They went to a big house.", {"matches"}),
        ('Ben said, "We became good friends!"', {"matches"}),
        ("They are good friends.", {"rejects"}),
        ("They became good friends and they", {"ends_well", "matches"}),
        ("They lived with a bird.", {"matches", "contains"}),
    ],
)
def test_the_quickstart_takes_a_tale_with_a_helper_told_in_the_past_and_with_an_end(
    end: str, failing: set[str]
):
    job = config.load(config.shipped() / "quickstart.yaml", offline=True).job
    prompt = job.prompt(3)
    helper = str(prompt.traits["helper"]) if "contains" not in failing else "bird"
    middle = f"He was all alone at first. A kind {helper} came along and had a good idea. It was hard work."
    text = f"{prompt.prefill} {middle} Both of them were busy until late in the evening. {end}"
    assert {name for name, check in job.checks if check(prompt, Answer(text))} == failing


# ── the machine ───────────────────────────────────────────────────────────────────────────────────


def test_it_takes_no_more_cores_than_it_may_use():
    assert 1 <= CHILD["cores"]() <= len(os.sched_getaffinity(0))
