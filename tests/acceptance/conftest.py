"""Real processes: the storyd command, and a simulator to ask."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

STORYD = [sys.executable, "-m", "storyd"]

JOB = """
name: {name}
seed: 7
stories: {stories}
shard_size: {shard_size}
provider: {{kind: openai, url: "{url}"}}
model: simulated
prompt:
  template: 'A short story with the verb "{{verb}}", the noun "{{noun}}" and the adjective "{{adjective}}".'
  axes:
    verb: {{file: vocab/en/verbs.txt}}
    noun: {{file: vocab/en/nouns.txt}}
    adjective: {{file: vocab/en/adjectives.txt}}
sampling: {{max_tokens: 400}}
checks:
  - finished
  - words: {{min: 30, max: 400}}
  - contains: {{axes: [verb, noun, adjective], language: en}}
  - no_refusal
retry: {{invalid: 8}}
width: {width}
"""


@dataclass
class Simulator:
    url: str
    process: subprocess.Popen[str]

    def counts(self) -> dict[str, Any]:
        return self._ask("/sim/counts")

    def change(self, **what: Any) -> None:
        self._ask("/sim/faults", json.dumps(what).encode())

    def _ask(self, path: str, data: bytes | None = None) -> Any:
        with urllib.request.urlopen(self.url.removesuffix("/v1") + path, data, timeout=30) as reply:
            return json.loads(reply.read() or b"null")


@contextmanager
def simulating(*arguments: str) -> Iterator[Simulator]:
    command = [*STORYD, "simulate", "--port", "0", "--json", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    try:
        yield Simulator(json.loads(process.stdout.readline())["url"], process)
    finally:
        process.terminate()
        process.wait(timeout=10)
        process.stdout.close()


@dataclass
class Workplace:
    """A folder with a job file, and the command run in it."""

    path: Path
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def job(
        self, url: str, *, name: str = "job", stories: int = 200, shard_size: int = 50, width: int = 16
    ) -> Path:
        path = self.path / f"{name}.yaml"
        path.write_text(JOB.format(name=name, stories=stories, shard_size=shard_size, url=url, width=width))
        return path

    def start(self, *arguments: str | Path, **more: Any) -> subprocess.Popen[str]:
        command = [*STORYD, "--dir", str(self.path / "shards"), *map(str, arguments)]
        more = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": self.path} | more
        self.started.append(subprocess.Popen(command, **more))
        return self.started[-1]

    def close(self) -> None:
        """Leave no process and no pipe behind, whatever a test has left."""
        for process in self.started:
            process.kill()
            process.wait()
            for pipe in (process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()

    def call(
        self, *arguments: str | Path, timeout: float = 300, **more: Any
    ) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments, **more)
        out, err = process.communicate(timeout=timeout)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def verify(self, name: str = "job") -> dict[str, Any]:
        done = self.call("--json", "verify", name)
        assert done.returncode == 0, done.stdout + done.stderr
        report: dict[str, Any] = json.loads(done.stdout)
        return report

    def folder(self, name: str = "job") -> Path:
        return self.path / "shards" / name

    def noted(self, name: str = "job") -> dict[str, int]:
        """Question key → how often its answer stands in the files, whole lines only."""
        keys: dict[str, int] = {}
        for path in (*self.folder(name).glob("stories/*.jsonl*"), *self.folder(name).glob("events/*.jsonl")):
            twin = path.with_name(path.name + ".open")
            if path.suffix == ".tmp" or (path.suffix == ".jsonl" and twin.exists()):
                continue  # being sealed: the open file says it all
            for line in path.read_bytes().splitlines(keepends=True):
                if not line.endswith(b"\n"):
                    continue
                body = json.loads(line)
                if "story" in body or body.get("answer"):
                    key = f"{name}/{body['index']}.{body['nth']}"
                    keys[key] = keys.get(key, 0) + 1
        return keys


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Workplace]:
    workplace = Workplace(tmp_path)
    yield workplace
    workplace.close()


def one_line(text: str) -> str:
    """The last line, which must be storyd's own, and no traceback before it."""
    assert "Traceback" not in text, text
    last = text.strip().splitlines()[-1]
    assert last.startswith("storyd: "), text
    return last


def kill(process: subprocess.Popen[str]) -> None:
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)


def eventually(condition: Any, seconds: float = 20.0, what: str = "") -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError(what or f"not within {seconds} s")
