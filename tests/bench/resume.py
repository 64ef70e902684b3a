"""How long a big job takes from the start of the command to its first question.

    python tests/bench/resume.py [--shards 1000] [--rounds 3]

A job of 1,000 sealed shards of 10,000 records (their story files are sparse: a resume reads seals and sizes
only) and two open ones, each half settled. Bar: within 1 s, everything included: interpreter, imports, job
file, fold.
"""

from __future__ import annotations

import argparse
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import orjson

from storyd import config, events, record, shards
from storyd.events import Invalid, Paid
from storyd.exchange import Usage
from storyd.job import Job
from storyd.ledger import freeze
from storyd.progress import Tally
from storyd.record import Record
from storyd.shards import Folder

SIZE = 10_000
JOB = """
name: big
seed: 1
stories: {stories}
shard_size: 10000
provider: {{kind: openai, url: "{url}"}}
model: m
prompt:
  template: 'A story with "{{verb}}", "{{noun}}" and "{{adjective}}".'
  axes:
    verb: {{file: vocab/en/verbs.txt}}
    noun: {{file: vocab/en/nouns.txt}}
    adjective: {{file: vocab/en/adjectives.txt}}
checks: [finished, words: {{min: 3}}, contains: {{axes: [verb, noun, adjective]}}]
"""


def make(folder: Folder, job: Job, sealed: int) -> None:
    """Write the sealed shards and the two open ones."""
    tally = Tally(accepted=SIZE, records=SIZE, answers=SIZE, usage=Usage(SIZE * 90, SIZE * 200))
    for number in range(sealed):
        seal = {
            "shard": number,
            "range": [number * SIZE, (number + 1) * SIZE],
            **tally.body(),
            "stories": {"bytes": SIZE * 1500, "sha256": "0" * 64},
            "events": {"bytes": SIZE * 100, "sha256": "0" * 64},
            "digest": "0" * 64,
            "sealed_at": "2026-01-01T00:00:00Z",
        }
        folder.seal(number).write_bytes(orjson.dumps(seal))
        for path, size in ((folder.stories(number), SIZE * 1500), (folder.events(number), SIZE * 100)):
            with path.open("wb") as file:
                file.truncate(size)
    for number in (sealed, sealed + 1):
        half = range(number * SIZE, number * SIZE + SIZE // 2)
        folder.growing(number).write_bytes(b"".join(_story(job, index) for index in half))
        folder.events(number).write_bytes(b"".join(_rejected(index) for index in half[::3]))


def _story(job: Job, index: int) -> bytes:
    story, traits = "Once upon a time there was a dog. " * 30, job.prompt(index).traits
    nth = int(index % 3 == 0)
    return record.to_line(
        Record(
            "big",
            index,
            nth,
            story,
            210,
            traits,
            "openai",
            "m",
            nth + 1,
            "stop",
            Usage(90, 200),
            None,
            1.4,
            "now",
        )
    )


def _rejected(index: int) -> bytes:
    answer = Paid("Too short.", "stop", "m", Usage(90, 3), None, 0.4)
    return events.to_line(Invalid(index, 0, ("words: 2 words, want 3",), answer, "now"))


def first_question(directory: Path, job: Path, listener: socket.socket) -> float:
    """Seconds from the start of `storyd run` to its first connection."""
    command = [sys.executable, "-m", "storyd", "--dir", str(directory), "run", str(job)]
    began = time.monotonic()
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    listener.settimeout(60)
    connection, _ = listener.accept()
    connection.settimeout(60)
    connection.recv(1)
    seconds = time.monotonic() - began
    process.kill()
    process.wait()
    connection.close()
    listener.settimeout(0)
    try:
        while True:  # the other hands' connections
            listener.accept()[0].close()
    except BlockingIOError:
        return seconds


def main() -> None:
    """Make the job, start it a few times, print the median."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as directory,
        socket.create_server(("127.0.0.1", 0), backlog=1024) as listener,
    ):
        path = Path(directory) / "big.yaml"
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        path.write_text(JOB.format(stories=(args.shards + 2) * SIZE, url=url))
        setup = config.load(path, directory=Path(directory))
        folder = Folder(Path(directory) / "big")
        freeze(setup.job, folder, setup.frozen)
        make(folder, setup.job, args.shards)
        assert shards.sealed(folder, 0, setup.job.shard(0)) is not None
        times = [first_question(Path(directory), path, listener) for _ in range(args.rounds)]
    print(f"{args.shards:,} sealed shards and two open ones: asks after {statistics.median(times):.2f} s")


if __name__ == "__main__":
    main()
