"""Client CPU per accepted story against a bare aiohttp+orjson loop, on the same simulator, in turns.

    python tests/bench/hot_path.py [--stories 20000] [--widths 64 512] [--rounds 3]

Ours: render, ask, parse, the checks finished, words, contains and matches, write, seal; every answer valid.
Bare: post a body, read, parse. Both run on uvloop, in processes of their own that first do WARM of the same
(imports, the dictionary of word forms), and then count their CPU time (all threads); the simulator's is
nobody's. It answers after so long that both get RATE answers a second at every width: flat out, the faster of
the two idles and has the shared parts of a processor to itself. Bar: ratio ≤ 2.0.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WARM, RATE = 2000, 800
JOB = """
name: hot-{stories}
seed: 1
stories: {stories}
shard_size: 1000
provider: {{kind: openai, url: "{url}"}}
model: simulated
prompt:
  template: |
    Write a short story (3-5 paragraphs) in very simple words. Use the verb "{{verb}}", the noun
    "{{noun}}" and the adjective "{{adjective}}".
  axes:
    verb: {{file: vocab/en/verbs.txt}}
    noun: {{file: vocab/en/nouns.txt}}
    adjective: {{file: vocab/en/adjectives.txt}}
sampling: {{max_tokens: 500, temperature: 0.8}}
checks:
  - finished
  - words: {{min: 20, max: 400}}
  - contains: {{axes: [verb, noun, adjective], language: en}}
  - matches: "[.!?\\"”]$"
width: {width}
"""


def bare(url: str, width: int, calls: int) -> None:
    """Print the CPU milliseconds per call of a loop that does nothing but ask and parse."""
    import aiohttp
    import orjson
    import uvloop

    async def main(count: int) -> None:
        left = iter(range(count))

        async def hand(session: aiohttp.ClientSession) -> None:
            for number in left:
                said = f'Use the verb "run", the noun "dog{number}" and the adjective "red".' + " " * 100
                body = {"model": "m", "messages": [{"role": "user", "content": said}], "max_tokens": 500}
                data = orjson.dumps(body)
                headers = {"Content-Type": "application/json", "X-Client-Request-Id": f"bare/{number}.0"}
                async with session.post(f"{url}/chat/completions", data=data, headers=headers) as reply:
                    answer = orjson.loads(await reply.read())
                    assert answer["choices"][0]["message"]["content"]

        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
            asyncio.TaskGroup() as hands,
        ):
            for _ in range(width):
                hands.create_task(hand(session))

    uvloop.run(main(WARM))
    began = time.process_time()
    uvloop.run(main(calls))
    print(1000 * (time.process_time() - began) / calls)


def ours(url: str, width: int, stories: int) -> None:
    """Print the CPU milliseconds per accepted story of a whole run."""
    run(url, width, WARM)
    began = time.process_time()
    run(url, width, stories)
    print(1000 * (time.process_time() - began) / stories)


def run(url: str, width: int, stories: int) -> None:
    """A whole run, as the command does it."""
    import anyio

    from storyd import config, supervisor
    from storyd.ledger import Ledger
    from storyd.shards import Folder

    accepted = 0

    def watch(ledger: Ledger, stop: supervisor.Stop) -> None:
        nonlocal accepted
        accepted = ledger.progress.total().accepted

    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "job.yaml"
        path.write_text(JOB.format(url=url, width=width, stories=stories))
        setup = config.load(path, directory=Path(directory))
        folder, numbers = Folder(Path(directory) / setup.job.name), range(setup.job.shards)
        anyio.run(supervisor.run, setup, folder, numbers, watch, backend_options={"use_uvloop": True})
    assert accepted == stories, f"{accepted} of {stories} accepted"


def main() -> None:
    """Run both in turns and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stories", type=int, default=10_000)
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 512])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--alone", choices=["bare", "ours"], help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.alone:
        {"bare": bare, "ours": ours}[args.alone](args.url, args.widths[0], args.stories)
        return
    for width in args.widths:
        latency = ["--latency", str(width / RATE), "--jitter", "0"]
        command = [sys.executable, "-m", "storyd", "simulate", "--port", "0", "--json", *latency]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as serving:
            assert serving.stdout is not None
            report(json.loads(serving.stdout.readline())["url"], width, args)
            serving.terminate()


def report(url: str, width: int, args: argparse.Namespace) -> None:
    """One width: the medians of both, and of the ratio pair by pair."""
    pairs = []
    for _ in range(args.rounds):
        pair = []
        for who in ("bare", "ours"):
            command = [sys.executable, __file__, "--alone", who, "--url", url, "--widths", str(width)]
            done = subprocess.run(
                [*command, "--stories", str(args.stories)], capture_output=True, text=True, check=False
            )
            if done.returncode:
                sys.exit(done.stderr)
            pair.append(float(done.stdout))
        pairs.append(pair)
    ratio = statistics.median(mine / theirs for theirs, mine in pairs)
    theirs, mine = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(f"width {width}: bare {theirs:.3f} ms a call, storyd {mine:.3f} ms a story, ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
