"""follow a job's accepted stories and events"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from storyd.appendlog import MAX_LINE
from storyd.display import safe, safe_lines
from storyd.errors import ConfigError
from storyd.shards import GROWING, Folder, find

LOOK_EVERY = 0.5
"""Seconds between two looks at the files."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `storyd tail`."""
    parser.add_argument(
        "job", nargs="?", metavar="JOB", help="the job's name (default: the one written to last)"
    )
    parser.add_argument("--stories", action="store_true", help="accepted stories (the default)")
    parser.add_argument("--events", action="store_true", help="whatever else happens to a prompt")
    parser.add_argument("-n", type=int, default=10, metavar="N", help="begin with the last N (default 10)")
    parser.add_argument("--no-follow", action="store_true", help="stop after those")


def call(args: argparse.Namespace) -> int:
    """Print until interrupted; returns 0. Raises ConfigError."""
    folder = find(args.dir, args.job) if args.job else _latest(args.dir)
    kinds = [kind for kind, on in (("stories", args.stories), ("events", args.events)) if on] or ["stories"]
    followed = [Followed(folder.path / kind) for kind in kinds]
    for one in followed:
        for line in one.last(args.n):
            _print(line, args.json)
    while not args.no_follow:  # until Ctrl-C, as every `tail`
        sys.stdout.flush()
        time.sleep(LOOK_EVERY)
        for one in followed:
            for line in one.news():
                _print(line, args.json)
    return 0


@dataclass(slots=True)
class Followed:
    """One folder of a job's files, and what of it was shown.

    An open story shard goes on, when it is sealed, under another name and in another order: its lines are
    known by their hash until then.
    """

    path: Path
    offsets: dict[str, int] = field(default_factory=dict)
    known: dict[str, set[int]] = field(default_factory=dict)

    def last(self, count: int) -> list[bytes]:
        """The last `count` lines, of the files written to last; whatever is there counts as shown."""
        lines: list[bytes] = []
        for path in sorted(_files(self.path), key=_written):
            lines = (lines + self._added(path))[-count:]
        return lines if count > 0 else []

    def news(self) -> Iterator[bytes]:
        """The whole lines that were added since the last call."""
        for path in sorted(_files(self.path), key=_written):
            yield from self._added(path)

    def _added(self, path: Path) -> list[bytes]:
        offset = self.offsets.get(path.name, 0)
        try:
            with path.open("rb") as file:
                if os.fstat(file.fileno()).st_size == offset:
                    return []
                file.seek(offset)
                lines = [line for line in iter(lambda: file.readline(MAX_LINE), b"") if line.endswith(b"\n")]
        except FileNotFoundError:  # sealed since the folder was listed
            return []
        self.offsets[path.name] = offset + sum(map(len, lines))
        shard = path.name.partition(".")[0]
        if path.name.endswith(GROWING):
            self.known.setdefault(shard, set()).update(map(hash, lines))
            return lines
        known = self.known.pop(shard, set())
        return [line for line in lines if hash(line) not in known]


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.suffix == ".jsonl" or path.name.endswith(GROWING)]


def _written(path: Path) -> tuple[float, str]:
    try:
        return path.stat().st_mtime, path.name
    except FileNotFoundError:
        return 0.0, path.name


def _latest(directory: Path) -> Folder:
    jobs = sorted(directory.glob("*/job.json"), key=lambda path: _written(path.parent / "stories"))
    if not jobs:
        raise ConfigError("no job has begun", where=str(directory), fix="storyd run JOB.yaml, or --dir DIR")
    return Folder(jobs[-1].parent)


def _print(line: bytes, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(line.decode(errors="replace"))
        return
    try:
        body = orjson.loads(line)
        said = _story(body) if "story" in body else _event(body)
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        said = safe(line.decode(errors="replace").rstrip())
    print(said)


def _story(body: dict[str, Any]) -> str:
    traits = ", ".join(f"{name}: {_joined(value)}" for name, value in body["traits"].items())
    head = safe(f"── {body['id']} · {body['words']} words · answer {body['attempts']} · {traits}")
    return f"{head}\n{safe_lines(body['story'])}\n"


def _event(body: dict[str, Any]) -> str:
    why = body.get("why", body.get("because", ""))
    wait = f", again in {body['wait']} s" if body.get("wait") else ""
    return safe(f"{body['at']} {body['index']}.{body['nth']} {body['event']}: {_joined(why)}{wait}")


def _joined(value: Any) -> str:
    return "; ".join(map(str, value)) if isinstance(value, list) else str(value)
