import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from urllib.request import urlopen

import anyio
import pytest
from anyio import to_thread

from storyd.errors import ConfigError, Fatal, Transient
from storyd.exchange import Completion, Provider, Request
from storyd.providers import connect, launch
from storyd.providers.launch import Kept, Server, launched
from storyd.providers.leash import GUARD
from storyd.settings import ProviderSettings, Secret

# A server of a few lines: answers everything with the ids of its own process and of one it has started, which
# went into a session of its own. Asked for /die, /mute or /shout it dies, freezes, or dies after much talk.
SERVER = """
import http.server, json, os, signal, subprocess, sys

stray = subprocess.Popen(["sleep", "60"], start_new_session=True)

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/die":
            os._exit(3)
        if self.path == "/mute":
            os.kill(os.getpid(), signal.SIGSTOP)
        if self.path == "/shout":
            sys.stderr.write("noise " * 100_000 + "\\nlast words, and " + os.environ["VLLM_API_KEY"] + "\\n")
            sys.stderr.flush()
            os._exit(3)
        body = f"{os.getpid()} {stray.pid} {os.environ['VLLM_API_KEY']}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        allowed = self.headers["Authorization"] == "Bearer " + os.environ["VLLM_API_KEY"]
        message = {"role": "assistant", "content": str(os.getpid())}
        body = json.dumps({"choices": [{"message": message, "finish_reason": "stop"}]}).encode()
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200 if allowed else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

port = int(sys.argv[1])
server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
if not port:
    print(f"storyd: listening on http://127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
"""
KEY = "sk-known-to-nobody"


@pytest.fixture(autouse=True)
def no_long_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "PAUSE", 0.01)


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "server.py"
    path.write_text(SERVER)
    return path


@pytest.fixture
def server(script: Path) -> Server:
    command = (sys.executable, "-I", "-S", str(script), "{port}")
    return Server("local", command, "http://127.0.0.1:{port}/v1", KEY, start=30)


def told(url: str, path: str = "") -> tuple[int, int, str]:
    """Process, stray process and key of the server."""
    with urlopen(url + path, timeout=10) as response:
        process, stray, key = response.read().decode().split()
    return int(process), int(stray), key


async def ask(url: str, path: str = "") -> tuple[int, int, str]:
    return await to_thread.run_sync(told, url, path)


async def tell(url: str, path: str) -> None:
    """Ask for something that is not answered."""
    with pytest.raises(OSError):
        await ask(url.removesuffix("/v1"), path)


def command_lines() -> list[str]:
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            lines.append(path.read_text(errors="replace"))
    return lines


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])


def runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


async def until(holds: Callable[[], bool]) -> None:
    with anyio.fail_after(20):
        while not holds():  # noqa: ASYNC110
            await anyio.sleep(0.02)


def elsewhere(child: launch.Child, before: str) -> bool:
    try:
        return child.url != before
    except Transient:
        return False


async def nothing(_: Request) -> Completion:
    return Completion("", "stop")


# ── a life ────────────────────────────────────────────────────────────────────────────────────────


async def test_a_server_is_up_when_it_is_entered_and_gone_with_all_its_processes_when_it_is_left(
    server: Server,
):
    async with launched(server) as child:
        process, stray, key = await ask(child.url)
        assert runs(process) and runs(stray)
        assert key == KEY
    assert not runs(process) and not runs(stray)


async def test_a_server_that_chose_its_port_tells_it(server: Server):
    server = replace(server, command=(*server.command[:-1], "0"), url="")
    async with launched(server) as child:
        assert child.url.endswith("/v1")
        await ask(child.url)


async def test_the_key_is_in_no_command_line(server: Server):
    async with launched(server) as child:
        await ask(child.url)
        assert not [line for line in command_lines() if KEY in line]


async def test_an_error_inside_leaves_as_itself(server: Server):
    with pytest.raises(ZeroDivisionError):
        async with launched(server):
            raise ZeroDivisionError


async def test_a_cancelled_start_leaves_nothing_behind(server: Server, tmp_path: Path):
    mark = tmp_path / "pid"
    server = replace(server, command=("sh", "-c", f"echo $$ > {mark}; exec sleep 60"))
    async with anyio.create_task_group() as around:
        around.start_soon(_enter, server)
        await until(lambda: mark.exists() and mark.read_text().strip() != "")
        around.cancel_scope.cancel()
    assert not runs(int(mark.read_text()))


async def _enter(server: Server) -> None:
    async with launched(server):
        pass


# ── whatever kills us ─────────────────────────────────────────────────────────────────────────────

PARENT = """
import anyio, sys
from storyd.providers.launch import Server, launched

async def main():
    command = (sys.executable, "-I", "-S", sys.argv[1], "{port}")
    async with launched(Server("local", command, "http://127.0.0.1:{port}/v1", "key", start=30)) as child:
        print(child.url, flush=True)
        await anyio.sleep(60)

anyio.run(main)
"""


def test_kill_9_of_the_parent_ends_the_server_and_all_its_processes(script: Path):
    command = [sys.executable, "-c", PARENT, str(script)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=GUARD.parents[2]) as parent:
        assert parent.stdout
        process, stray, _ = told(parent.stdout.readline().strip())
        parent.kill()
    anyio.run(until, lambda: not runs(process) and not runs(stray))


async def test_kill_9_of_the_guard_ends_the_server_and_another_is_started(server: Server):
    said: list[str] = []
    async with launched(server, said.append) as child:
        before = child.url
        process, stray, _ = await ask(before)
        os.kill(stray, signal.SIGKILL)
        os.kill(parent_of(process), signal.SIGKILL)
        await until(lambda: not runs(process))
        await until(lambda: elsewhere(child, before))
        await ask(child.url)
    assert said[0].startswith("local: the server was ended by SIGKILL; starting it again in ")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_the_guard_ends_a_server_that_ignores_it(number: signal.Signals, tmp_path: Path):
    mark = tmp_path / "pid"
    command = f"trap '' TERM INT HUP; echo $$ > {mark}; while :; do sleep 0.05; done"
    guard = [sys.executable, "-I", "-S", "-c", f"GRACE = 0.2\n{_guard_with_grace()}", "sh", "-c", command]
    with subprocess.Popen(guard, stdin=subprocess.PIPE, start_new_session=True) as process:
        while not (mark.exists() and mark.read_text().strip()):
            time.sleep(0.02)
        process.send_signal(number)
        assert process.wait(10) == 0
    assert not runs(int(mark.read_text()))


def _guard_with_grace() -> str:
    return GUARD.read_text(encoding="utf-8").replace("GRACE = 5.0", "GRACE = 0.2")


@pytest.mark.parametrize(("command", "status"), [("exit 7", 7), ("kill -SEGV $$", -signal.SIGSEGV)])
def test_the_guard_ends_as_its_command_does(command: str, status: int):
    guard = [sys.executable, "-I", "-S", str(GUARD), "sh", "-c", command]
    with subprocess.Popen(guard, stdin=subprocess.PIPE, start_new_session=True) as process:
        assert process.wait(10) == status


# ── deaths ────────────────────────────────────────────────────────────────────────────────────────


async def test_a_server_that_dies_is_started_again_elsewhere_and_asked_there(server: Server):
    said: list[str] = []
    moves: list[str] = []
    async with launched(server, said.append) as child:
        before = child.url
        kept = Kept(child, _Silent(), lambda url, key: moves.append(f"{url} {key.reveal()}"))
        await kept.complete(REQUEST)
        assert not moves
        await tell(before, "/die")
        with pytest.raises(Transient, match="local is starting again"):
            while child.url == before:  # noqa: ASYNC110
                await anyio.sleep(0.001)
        await until(lambda: elsewhere(child, before))
        await kept.complete(REQUEST)
        assert moves == [f"{child.url} {KEY}"]
    assert said == ["local: the server ended with status 3; starting it again in 0.02 s"]


async def test_a_server_that_answers_no_more_is_started_again(
    server: Server, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(launch, "PULSE", 0.05)
    monkeypatch.setattr(launch, "PROBE", 0.3)
    said: list[str] = []
    async with launched(server, said.append) as child:
        before = child.url
        process, *_ = await ask(before)
        os.kill(process, signal.SIGSTOP)
        await until(lambda: elsewhere(child, before))
        assert not runs(process)
    assert said[0].startswith("local: the server did not answer any more; starting it again in ")


async def test_a_server_that_keeps_dying_is_given_up_with_its_last_words(server: Server):
    server = replace(server, command=("sh", "-c", f"echo no memory left for {KEY} >&2; exit 3"))
    said: list[str] = []
    with pytest.raises(Fatal) as failure:
        async with launched(server, said.append):
            pass
    assert str(failure.value) == (
        "local: the server ended with status 3, 4 times in a row; its last words: no memory left for … "
        "(mend that, then run again)"
    )
    assert len(said) == 3


async def test_a_server_that_is_given_up_while_it_is_asked_is_fatal_to_every_question(server: Server):
    async with launched(replace(server, env={"HOPE": "none"}), lambda _: None) as child:
        kept = Kept(child, _Silent(), lambda *_: None)
        child.server = replace(server, command=("sh", "-c", "exit 78"))
        await tell(child.url, "/shout")
        await until(lambda: child.failed)
        for _ in range(2):
            with pytest.raises(Fatal, match="ended with status 78"):
                await kept.complete(REQUEST)


@pytest.mark.parametrize(
    ("command", "what"),
    [
        ("exit 78", "the server ended with status 78"),
        ("echo bad model >&2; exit 78", "the server ended with status 78; its last words: bad model"),
        ("kill -ILL $$", "the server used an instruction that this processor lacks (on x86 it needs AVX2)"),
    ],
)
async def test_what_is_hopeless_is_not_tried_again(server: Server, command: str, what: str):
    said: list[str] = []
    with pytest.raises(Fatal) as failure:
        async with launched(replace(server, command=("sh", "-c", command)), said.append):
            pass
    assert failure.value.what == what
    assert not said


async def test_a_server_that_is_not_up_in_time_is_given_up(server: Server):
    with pytest.raises(Fatal, match="the server was not up after"):
        async with launched(replace(server, command=("sleep", "60"), start=0.2)):
            pass


async def test_of_much_output_little_is_kept(server: Server):
    async with launched(server, lambda _: None) as child:
        before = child.url
        child.server = replace(server, command=("sleep", "60"))
        seen: list[int] = []
        hear = child._hear
        child._hear = lambda said: (hear(said), seen.append(len(child._tail)))[0]  # type: ignore[method-assign]
        await tell(before, "/shout")
    assert max(seen, default=0) <= launch.KEPT


@pytest.mark.parametrize("key", [KEY, ""])
async def test_a_launched_server_is_a_provider_that_survives_its_death(script: Path, key: str):
    command = f"{sys.executable} -I -S {script} {{port}}"
    async with connect(settings(command, key=key)) as provider:
        process = int((await provider.complete(REQUEST)).text)
        os.kill(process, signal.SIGKILL)
        await until(lambda: not runs(process))
        with anyio.fail_after(20):
            while (again := await asked(provider)) is None:  # noqa: ASYNC110
                await anyio.sleep(0.02)
    assert int(again.text) != process


async def asked(provider: Provider) -> Completion | None:
    try:
        return await provider.complete(REQUEST)
    except Transient:
        return None


class _Silent:
    async def complete(self, request: Request) -> Completion:
        return await nothing(request)


REQUEST = Request("job/0.0", "model", (), 1)


# ── what a job file says ──────────────────────────────────────────────────────────────────────────


def settings(launch: str, *urls: str, key: str = "") -> ProviderSettings:
    return ProviderSettings("gpu", "openai", urls, Secret(key) if key else None, launch=launch)


def test_a_command_is_split_as_a_shell_would_but_no_shell_sees_it():
    found = launch.server(settings("sh -c 'echo $HOME; x' --port {port} --json '{\"a\": 1}'"))
    assert found.command == ("sh", "-c", "echo $HOME; x", "--port", "{port}", "--json", '{"a": 1}')
    assert found.url == "http://127.0.0.1:{port}/v1"
    assert len(found.key) >= 32
    assert found.key not in repr(found)


def test_a_given_url_and_key_are_kept():
    found = launch.server(settings("sh serve", "http://127.0.0.1:8000/v1", key=KEY))
    assert (found.url, found.key) == ("http://127.0.0.1:8000/v1", KEY)


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        (settings("sh 'x"), "gpu: launch: No closing quotation (close it)"),
        (
            settings("no-such-program {port}"),
            "gpu: launch: no such program: no-such-program (install it, or name its path)",
        ),
        (settings(" "), "gpu: launch: no such program:  (install it, or name its path)"),
        (settings("sh"), "gpu: launch: says no port (write {port} where it belongs, or give `url`)"),
        (
            settings("sh", "http://a/v1", "http://b/v1"),
            "gpu: launch: starts one server, but `url` names several (give one url)",
        ),
    ],
)
def test_what_cannot_be_launched_is_refused(settings: ProviderSettings, line: str):
    with pytest.raises(ConfigError) as refusal:
        launch.server(settings)
    assert str(refusal.value) == line
