"""The simulator over real HTTP: what a client sees, and what is counted."""

import argparse
import asyncio
import errno
import json
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import asynccontextmanager

import aiohttp
import anyio
import pytest

from storyd import simulator, weather
from storyd.errors import ConfigError
from storyd.exchange import Request
from storyd.providers import fake, openai
from storyd.settings import ProviderSettings, Secret
from storyd.simulator import SimulatorSettings, serve

PROMPT = 'Write a story with the verb "jump", the noun "boat" and the adjective "happy".'
BODY = {"model": "m", "messages": [{"role": "user", "content": PROMPT}], "max_tokens": 400}
ANY = SimulatorSettings()


class Client:
    """Asks one simulator."""

    def __init__(self, session, running):
        self._session, self.running = session, running

    async def ask(self, key="job/0.0", body=BODY, **headers):
        """Status, headers and parsed body (bytes where it is no JSON)."""
        headers = {"X-Client-Request-Id": key, **headers}
        url = f"{self.running.url}/chat/completions"
        async with self._session.post(url, json=body, headers=headers, allow_redirects=False) as response:
            said = await response.read()
            is_json = response.content_type == "application/json"
            return response.status, response.headers, json.loads(said) if is_json else said

    async def text(self, key="job/0.0", body=BODY):
        _, _, said = await self.ask(key, body)
        return said["choices"][0]["message"]["content"]

    async def change(self, **what):
        url = f"{self.running.url.removesuffix('/v1')}/sim/faults"
        async with self._session.post(url, json=what) as response:
            return response.status, await response.json()

    async def get(self, path, **headers):
        url = f"{self.running.url.removesuffix('/v1')}{path}"
        async with self._session.get(url, headers=headers) as response:
            return response.status, await response.json()


@asynccontextmanager
async def asking(settings=ANY, **more):
    async with serve(settings, **more) as running, aiohttp.ClientSession() as session:
        yield Client(session, running)


async def until(condition):
    with anyio.fail_after(10):
        while not condition():  # noqa: ASYNC110 what is counted sets no event
            await anyio.sleep(0.01)


def kinds(**rates):
    return SimulatorSettings(faults=rates)


# ── answers ───────────────────────────────────────────────────────────────────────────────────────


async def test_the_same_question_has_the_same_answer_and_another_has_another():
    async with asking() as client:
        first = await client.text()
        assert await client.text() == first
        assert await client.text("job/1.0") != first
    async with asking() as client:
        assert await client.text() == first
    async with asking(SimulatorSettings(seed=1)) as client:
        assert await client.text() != first


@pytest.mark.parametrize("prefill", ["", "Once upon a time, "])
async def test_it_answers_as_the_fake_provider_does(prefill):
    habits = fake.Habits(invalid=0.5)
    async with serve(SimulatorSettings(invalid=0.5)) as running:
        settings = ProviderSettings("simulated", "openai", (running.url,), Secret("any"))
        async with openai.connect(settings) as provider:
            for index in range(60):
                asked = Request(f"job/{index}.0", "m", (("user", PROMPT),), 400, {"seed": 3}, prefill=prefill)
                completion = await provider.complete(asked)
                assert (completion.text, completion.finish) == fake.answer(asked, habits)
                assert completion.usage == fake.usage(asked, completion.text)


async def test_without_a_client_id_the_body_is_the_key():
    async with asking() as client:
        url = f"{client.running.url}/chat/completions"
        for content in ("One.", "Two.", "One."):
            body = {"model": "m", "messages": [{"role": "user", "content": content}]}
            async with client._session.post(url, json=body) as response:
                assert response.status == 200
        counts = client.running.counts()
        assert sorted(counts["keys"].values()) == [1, 2]
        assert all(key.startswith("body:") for key in counts["keys"])


async def test_models_and_health():
    async with asking(SimulatorSettings(models=("a", "b"), key="sk-right")) as client:
        assert await client.get("/health") == (200, {"status": "ok"})
        status, _ = await client.get("/v1/models")
        assert status == 401
        _, listed = await client.get("/v1/models", Authorization="Bearer sk-right")
        assert [one["id"] for one in listed["data"]] == ["a", "b"]
        status, _, said = await client.ask(Authorization="Bearer sk-right")
        assert (status, said["error"]["code"]) == (404, "model_not_found")
        status, said = await client.get("/nowhere")
        assert status == 404 and said["error"]["type"] == "invalid_request_error"


async def test_a_wrong_key_is_refused():
    async with asking(SimulatorSettings(key="sk-right")) as client:
        status, _, said = await client.ask(Authorization="Bearer sk-wrong")
        assert (status, said["error"]["code"]) == (401, "invalid_api_key")
        status, _, _ = await client.ask(Authorization="Bearer sk-right")
        assert status == 200
        assert client.running.counts()["rejected"] == {"key": 1}


async def test_what_is_no_question_is_refused():
    async with asking() as client:
        status, _, said = await client.ask(body={"model": "m"})
        assert (status, said["error"]["type"]) == (400, "invalid_request_error")


async def test_what_was_asked_and_answered_is_counted():
    async with asking(kinds(**{"500": 0.5})) as client:
        keys = [f"job/{index}.0" for index in range(40)]
        for key in keys:
            while (await client.ask(key))[0] != 200:
                pass
        counts = client.running.counts()
        assert counts == (await client.get("/sim/counts"))[1]
        assert counts["keys"] == dict.fromkeys(keys, 1)
        assert counts["answered"] == 40
        assert counts["asked"] == sum(counts["asked_keys"].values()) == 40 + counts["rejected"]["500"]
        assert counts["charged"]["requests"] == counts["asked"]


# ── limits ────────────────────────────────────────────────────────────────────────────────────────


async def test_requests_over_the_limit_are_refused_with_headers():
    async with asking(SimulatorSettings(rpm=2)) as client:
        statuses = [(await client.ask(f"job/{index}.0"))[0] for index in range(3)]
        assert statuses == [200, 200, 429]
        status, headers, said = await client.ask()
        assert status == 429
        assert said["error"]["code"] == "rate_limit_exceeded" and said["error"]["type"] == "requests"
        assert headers["x-ratelimit-limit-requests"] == "2"
        assert headers["x-ratelimit-remaining-requests"] == "0"
        assert 25 <= int(headers["retry-after"]) <= 30
        assert client.running.counts()["rejected"] == {"requests": 2}


async def test_tokens_are_charged_with_max_tokens_and_a_guess_of_the_prompt():
    body = BODY | {"messages": [{"role": "user", "content": "x" * 400}], "max_tokens": 300}
    async with asking(SimulatorSettings(tpm=1000)) as client:
        _, headers, _ = await client.ask(body=body)
        assert headers["x-ratelimit-remaining-tokens"] == str(1000 - 300 - 101)
        assert headers["x-ratelimit-limit-tokens"] == "1000"
        assert [(await client.ask(body=body))[0] for _ in range(2)] == [200, 429]
        status, _, said = await client.ask(body=body | {"max_tokens": 1000})
        assert status == 429 and said["error"]["message"].startswith("Request too large")
        assert client.running.counts()["charged"] == {"requests": 2, "tokens": 802}


async def test_faults_count_against_the_limit():
    async with asking(SimulatorSettings(rpm=2, faults={"500": 1.0})) as client:
        assert [(await client.ask())[0] for _ in range(3)] == [500, 500, 429]


async def test_without_limits_no_headers_tell_of_any():
    async with asking() as client:
        _, headers, _ = await client.ask()
        assert not [name for name in headers if name.lower().startswith("x-ratelimit")]


async def test_one_more_than_may_be_served_waits_for_its_turn():
    async with asking(SimulatorSettings(slots=2, latency=0.02)) as client:
        started = time.monotonic()
        async with anyio.create_task_group() as group:
            for index in range(6):
                group.start_soon(client.text, f"job/{index}.0")
        assert time.monotonic() - started >= 0.06
        assert client.running.counts()["answered"] == 6
        assert client.running.counts()["peak"] > 2


async def test_one_more_than_may_be_under_way_is_refused():
    async with asking(SimulatorSettings(concurrency=2, faults={"hang": 1.0})) as client:
        async with anyio.create_task_group() as group:
            for index in range(2):
                group.start_soon(client.ask, f"job/{index}.0")
            await until(lambda: client.running.counts()["in_flight"] == 2)
            status, _, said = await client.ask("job/2.0")
            assert (status, said["error"]["code"]) == (429, "rate_limit_exceeded")
            group.cancel_scope.cancel()
        assert client.running.counts()["peak"] == 2


async def test_latency_is_per_answer_and_per_token():
    async with asking(SimulatorSettings(latency=0.05)) as client:
        started = time.monotonic()
        await client.text()
        assert time.monotonic() - started >= 0.05
        await client.change(latency=0, per_token=0.001)
        started = time.monotonic()
        await client.text()
        assert time.monotonic() - started >= 0.1


# ── faults ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        ("429", 429, "rate_limit_exceeded"),
        ("500", 500, None),
        ("503", 503, None),
        ("400", 400, None),
        ("error_200", 200, None),
        ("redirect", 307, None),
        ("insufficient_quota", 429, "insufficient_quota"),
        ("context_length_exceeded", 400, "context_length_exceeded"),
    ],
)
async def test_faults_that_are_error_replies(kind, status, code):
    async with asking(kinds(**{kind: 1.0})) as client:
        got, headers, said = await client.ask()
        assert (got, said["error"]["code"]) == (status, code)
        assert ("location" in headers) == (kind == "redirect")
        assert ("retry-after" in headers) == (kind == "429")
        assert client.running.counts()["rejected"] == {kind: 1}
        assert client.running.counts()["keys"] == {}


async def test_a_page_instead_of_json():
    async with asking(kinds(html=1.0)) as client:
        status, headers, said = await client.ask()
        assert status == 200 and headers["Content-Type"] == "text/html" and b"<html>" in said


async def test_the_wrong_content_type():
    async with asking(kinds(content_type=1.0)) as client:
        status, headers, said = await client.ask()
        assert (status, headers["Content-Type"]) == (200, "application/octet-stream")
        assert json.loads(said)["choices"]


@pytest.mark.parametrize("kind", ["reset", "refuse", "truncated"])
async def test_connections_that_break(kind):
    async with asking(kinds(**{kind: 1.0})) as client:
        with pytest.raises((aiohttp.ClientError, ConnectionError)) as broken:
            await client.ask()
        expected = {"reset": aiohttp.ClientOSError, "truncated": aiohttp.ClientPayloadError}
        assert isinstance(broken.value, expected.get(kind, aiohttp.ServerDisconnectedError))
        if kind == "reset":
            assert broken.value.errno == errno.ECONNRESET
        assert client.running.counts()["rejected"] == {kind: 1}
        assert client.running.counts()["keys"] == {}


async def test_a_request_that_hangs_is_let_go_with_its_client():
    async with asking(kinds(hang=1.0)) as client:
        async with anyio.create_task_group() as group:
            group.start_soon(client.ask)
            await until(lambda: client.running.counts()["in_flight"])
            group.cancel_scope.cancel()
        await until(lambda: not client.running.counts()["in_flight"])
        assert client.running.counts()["rejected"] == {"hang": 1}


async def test_a_hang_ends_at_last():
    async with asking(SimulatorSettings(faults={"hang": 1.0}, hang=0.05)) as client:
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await client.ask()


async def test_a_dripping_answer_is_whole_in_the_end():
    async with asking(SimulatorSettings(faults={"drip": 1.0}, drip=0.15)) as client:
        started = time.monotonic()
        assert await client.text() == fake.answer(Request("job/0.0", "m", (("user", PROMPT),), 400))[0]
        assert time.monotonic() - started >= 0.15
        assert client.running.counts()["keys"] == {"job/0.0": 1}


async def test_an_answer_whose_client_has_gone_does_not_count():
    async with asking(SimulatorSettings(faults={"drip": 1.0}, drip=60.0)) as client:
        async with anyio.create_task_group() as group:
            group.start_soon(client.ask)
            await until(lambda: client.running.counts()["in_flight"])
            group.cancel_scope.cancel()
        await until(lambda: not client.running.counts()["in_flight"])
        assert client.running.counts()["keys"] == {}


async def test_faults_of_the_answer_itself_are_answers():
    async with asking() as client:
        whole = await client.text()
        await client.change(faults={"empty": 1.0})
        assert await client.text() == ""
        await client.change(faults={"length": 1.0})
        _, _, said = await client.ask()
        assert said["choices"][0]["finish_reason"] == "length"
        assert whole.startswith(said["choices"][0]["message"]["content"])
        await client.change(faults={"oversized": 1.0})
        assert len(await client.text()) > 4_000_000
        assert client.running.counts()["keys"] == {"job/0.0": 4}


async def test_which_request_meets_which_fault_can_be_repeated():
    rates = {"500": 0.2, "503": 0.2, "empty": 0.2}

    async def statuses():
        async with asking(SimulatorSettings(faults=rates)) as client:
            return [(await client.ask(f"job/{index % 10}.0"))[0] for index in range(40)]

    first = await statuses()
    assert first == await statuses()
    assert {*first} == {200, 500, 503}


async def test_a_scheduled_fault_befalls_everybody_for_its_time():
    async with asking() as client:
        for schedule, status in ((["503=0-60"], 503), (["503=60-90"], 200), (["500=0-30", "503=0-60"], 500)):
            assert (await client.change(schedule=schedule))[0] == 200
            assert (await client.ask())[0] == status


async def test_nobody_listens_while_connections_are_refused():
    async with asking() as client:
        assert (await client.change(schedule=["refuse=0-60"]))[0] == 200
        await until(lambda: _refused(client.running.port))
        with pytest.raises((aiohttp.ClientError, ConnectionError)):
            await client.ask()
        client.running.change(schedule=())
        await until(lambda: not _refused(client.running.port))
        assert (await client.ask())[0] == 200


def _refused(port):
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED


async def test_an_outage_ends_by_itself():
    async with asking(SimulatorSettings(schedule=(weather.spell("refuse=0-0.2"),))) as client:
        assert _refused(client.running.port)
        await until(lambda: not _refused(client.running.port))
        assert (await client.ask())[0] == 200


async def test_changes_that_make_no_sense_are_refused():
    async with asking() as client:
        for what in ({"rain": 1}, {"faults": {"rain": 1}}, {"schedule": ["500"]}, {"rpm": -1}, {"rpm": "x"}):
            status, said = await client.change(**what)
            assert status == 400 and said["error"]["message"]
        assert client.running.settings == ANY


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (SimulatorSettings(rpm=0), "simulator: rpm: 0 is not more than 0"),
        (SimulatorSettings(latency=-1), "simulator: latency: -1 is no time"),
        (SimulatorSettings(invalid=2), "simulator: invalid: 2 is no share (0 to 1)"),
    ],
)
async def test_settings_that_make_no_sense_are_refused(settings, said):
    with pytest.raises(ConfigError) as refused:
        async with serve(settings):
            pass
    assert str(refused.value) == said


async def test_an_error_of_its_user_comes_out_as_it_is():
    with pytest.raises(ZeroDivisionError):
        async with serve(ANY):
            raise ZeroDivisionError


async def test_it_stops_though_requests_hang():
    async with aiohttp.ClientSession() as session:
        with anyio.fail_after(10):
            async with anyio.create_task_group() as group, serve(kinds(hang=1.0)) as running:
                group.start_soon(_ask_in_vain, Client(session, running))
                await until(lambda: running.counts()["in_flight"])


async def _ask_in_vain(client):
    with pytest.raises(aiohttp.ClientError):
        await client.ask()


async def test_it_can_be_left_by_another_task_than_has_entered_it():
    serving = serve(ANY)
    await asyncio.get_running_loop().create_task(serving.__aenter__())
    await asyncio.get_running_loop().create_task(serving.__aexit__(None, None, None))


# ── the command ───────────────────────────────────────────────────────────────────────────────────


def parsed(*arguments):
    parser = argparse.ArgumentParser()
    simulator.add_arguments(parser)
    return parser.parse_args(arguments)


def test_arguments_become_settings():
    arguments = (
        "--rpm 60 --slots 3 --fault 500=0.1 --fault empty=0.2 --schedule refuse=1-2 --models a,b --key k"
    )
    settings = simulator.settings_of(parsed(*arguments.split(), "--answer-seed", "7"))
    assert settings == SimulatorSettings(
        rpm=60,
        slots=3,
        faults={"500": 0.1, "empty": 0.2},
        schedule=(weather.spell("refuse=1-2"),),
        models=("a", "b"),
        key="k",
        seed=7,
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--fault 500", "simulate: 500: no = in it (--fault 500=0.1, --schedule 503=10-20)"),
        ("--fault rain=1", "simulator: no fault is called rain: there are 400"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(arguments, said):
    with pytest.raises(ConfigError) as refused:
        simulator.settings_of(parsed(*arguments.split()))
    assert str(refused.value).startswith(said)


def test_the_command_serves_until_it_is_told_to_stop(tmp_path):
    state = tmp_path / "state"
    command = [sys.executable, "-m", "storyd", "simulate", "--port", "0", "--json", "--state", str(state)]
    for times in (1, 2):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            url = json.loads(process.stdout.readline())["url"]
            headers = {"Content-Type": "application/json", "X-Client-Request-Id": "job/0.0"}
            asked = urllib.request.Request(f"{url}/chat/completions", json.dumps(BODY).encode(), headers)
            assert urllib.request.urlopen(asked, timeout=30).status == 200
            counts = urllib.request.urlopen(url.removesuffix("/v1") + "/sim/counts", timeout=30)
            assert json.loads(counts.read())["keys"] == {"job/0.0": times}
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=30)
        finally:
            process.kill()
            process.communicate()
        assert process.returncode == 0
        assert said == f"storyd: simulating a provider at {url} (Ctrl-C stops it)\n"
