import contextlib
import socket
import traceback

import anyio
import orjson
import pytest
from aiohttp import web

from storyd import providers, wire
from storyd.errors import ConfigError, Fatal, Refused, Transient
from storyd.exchange import Request
from storyd.providers import openai
from storyd.providers.openai import OpenAI, Replica, connect
from storyd.settings import ProviderSettings, Secret, Timeouts

KEY = "sk-verysecret0123456789"
ASK = Request("job/7.0", "m", (("user", "A story."),), 50)
ANSWER = {"model": "m-1", "choices": [{"message": {"content": "Once."}, "finish_reason": "stop"}]}
LIMITS = {"x-ratelimit-limit-requests": "60", "x-ratelimit-remaining-requests": "59"}


@contextlib.asynccontextmanager
async def server(answer=lambda http, body: (200, ANSWER), port=0):
    """A server that says what `answer(request, body)` returns: status, JSON and perhaps headers."""

    async def handle(http):
        said = answer(http, orjson.loads(await http.read()))
        status, body, headers = (*said, {})[:3]
        return web.json_response(body, status=status, headers=headers)

    runner = web.ServerRunner(web.Server(handle))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    try:
        yield f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}/v1"
    finally:
        await runner.cleanup()


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


MINE = Secret(KEY)


def account(*urls, key=MINE):
    return ProviderSettings("mine", "openai", urls, key, timeouts=Timeouts(2, 2, 4))


async def at_once(provider, times):
    async with anyio.create_task_group() as group:
        for _ in range(times):
            group.start_soon(provider.complete, ASK)


async def test_a_question_and_its_answer():
    seen = []

    def answer(http, body):
        seen.append((http.path, dict(http.headers), body))
        return 200, ANSWER, LIMITS

    async with server(answer) as url, connect(account(url)) as provider:
        said = await provider.complete(ASK)
    assert (said.text, said.finish, said.model) == ("Once.", "stop", "m-1")
    assert said.seconds > 0
    assert said.readings[0].limit == 60
    path, headers, body = seen[0]
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert headers["X-Client-Request-Id"] == "job/7.0"
    assert body["messages"] == [{"role": "user", "content": "A story."}]


async def test_without_a_key_none_is_sent():
    seen = []

    def answer(http, body):
        seen.append(dict(http.headers))
        return 200, ANSWER

    async with server(answer) as url, connect(account(url, key=None)) as provider:
        await provider.complete(ASK)
    assert "Authorization" not in seen[0]


@pytest.mark.parametrize(
    ("status", "kind"), [(401, Fatal), (404, Fatal), (302, Fatal), (500, Transient), (400, Refused)]
)
async def test_a_refusal_names_the_account_and_never_the_key(status, kind):
    def answer(http, body):
        return status, {"error": {"message": f"you sent {http.headers['Authorization']}"}}

    async with server(answer) as url, connect(account(url)) as provider:
        with pytest.raises(kind) as caught:
            await provider.complete(ASK)
    assert str(caught.value).startswith(f"mine: HTTP {status}")
    assert KEY not in "".join(traceback.format_exception(caught.value)) + repr(caught.value)


async def test_limits_are_read_now_and_then_but_from_every_refusal():
    status = [200, 200, 429, 429]

    def answer(http, body):
        return status.pop(0), ANSWER, LIMITS

    async with server(answer) as url, connect(account(url)) as provider:
        assert (await provider.complete(ASK)).readings
        assert not (await provider.complete(ASK)).readings
        for _ in range(2):
            with pytest.raises(Transient) as caught:
                await provider.complete(ASK)
            assert caught.value.readings


async def test_a_server_that_wants_the_newer_name_is_given_it_from_then_on():
    asked = []

    def answer(http, body):
        asked.append("max_tokens" in body)
        wrong = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
        return (400, {"error": {"message": wrong}}) if asked[-1] else (200, ANSWER)

    async with server(answer) as url, connect(account(url)) as provider:
        await at_once(provider, 5)
        await provider.complete(ASK)
    assert asked.count(True) == 5
    assert asked.count(False) == 6


@pytest.mark.parametrize(
    ("model", "newer"), [("gpt-4o", False), ("o3-mini", True), ("gpt-5", True), ("olmo", False)]
)
def test_openais_newer_models(model, newer):
    assert bool(openai.NEWER.match(model)) is newer


# ── replicas ──────────────────────────────────────────────────────────────────────────────────────


async def test_replicas_share_the_work():
    counts = {}

    def answer(http, body):
        counts[http.url.port] = counts.get(http.url.port, 0) + 1
        return 200, ANSWER

    async with server(answer) as one, server(answer) as two, connect(account(one, two)) as provider:
        await at_once(provider, 20)
    assert sorted(counts.values()) == [10, 10]


async def test_a_dead_replica_costs_nothing_and_comes_back():
    port = free_port()
    async with server() as well, connect(account(f"http://127.0.0.1:{port}/v1", well)) as provider:
        for _ in range(20):
            assert (await provider.complete(ASK)).text == "Once."
        seen = []

        def answer(http, body):
            seen.append(1)
            return 200, ANSWER

        async with server(answer, port):
            with anyio.fail_after(5):
                while not seen:
                    await provider.complete(ASK)
                    await anyio.sleep(0.02)


async def test_a_failing_replica_is_left_out():
    failed = []

    def fail(http, body):
        failed.append(1)
        return 503, {}

    async with server(fail) as broken, server() as well, connect(account(broken, well)) as provider:
        with pytest.raises(Transient):
            await provider.complete(ASK)
        for _ in range(10):
            await provider.complete(ASK)
    assert len(failed) == 1


async def test_all_down_is_weather():
    urls = [f"http://127.0.0.1:{free_port()}/v1" for _ in range(2)]
    async with connect(account(*urls)) as provider:
        for _ in range(3):
            with pytest.raises(Transient, match="mine: no connection"):
                await provider.complete(ASK)


async def test_replicas_with_keys_of_their_own_may_move():
    seen = []

    def answer(http, body):
        seen.append(http.headers.get("Authorization"))
        return 200, ANSWER

    async with server(answer) as one, server(answer) as two:
        replica = Replica(one, Secret("token-1"))
        async with wire.client(Timeouts()) as client:
            provider = OpenAI(client, [replica], "mine")
            await provider.complete(ASK)
            replica.move(two, Secret("token-2"))
            await provider.complete(ASK)
    assert seen == ["Bearer token-1", "Bearer token-2"]


# ── kinds ─────────────────────────────────────────────────────────────────────────────────────────


def test_kinds_are_found_by_themselves():
    assert {"openai", "simulator", "fake"} <= set(providers.kinds())
    assert not {"chat", "launch", "__init__"} & set(providers.kinds())


def test_an_unknown_kind_is_told_which_there_are():
    with pytest.raises(ConfigError, match=r"no kind 'opnai' \(there are .*openai"):
        providers.connect(ProviderSettings("x", "opnai"))


async def test_a_key_is_not_sent_in_clear_text():
    with pytest.raises(ConfigError, match="clear text"):
        async with providers.connect(account("http://gpu1.example/v1")):
            pass


async def test_the_simulator_kind_is_this_machine_without_a_key():
    async with providers.connect(ProviderSettings("simulator", "simulator")) as provider:
        assert str(provider._replicas[0].url) == "http://127.0.0.1:8080/v1/chat/completions"
