"""Peak resident memory of a large job against a small one, with the fake provider.

    python tests/bench/memory.py [--small 10000] [--large 1000000]

Bar: the large job takes at most 1.2 times what the small one takes, and less than 150 MB.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

JOB = """
name: memory
seed: 1
stories: {stories}
shard_size: 1000
provider: {{kind: fake, words: 40}}
model: fake
prompt:
  template: 'A story with "{{verb}}", "{{noun}}" and "{{adjective}}".'
  axes:
    verb: {{file: vocab/en/verbs.txt}}
    noun: {{file: vocab/en/nouns.txt}}
    adjective: {{file: vocab/en/adjectives.txt}}
checks: [finished, words: {{min: 3}}, contains: {{axes: [verb, noun, adjective]}}]
width: 64
"""


def peak(stories: int) -> float:
    """Megabytes that a whole `storyd run` of this many prompts takes at its peak."""
    with tempfile.TemporaryDirectory() as directory:
        job = Path(directory) / "job.yaml"
        job.write_text(JOB.format(stories=stories))
        command = [sys.executable, "-m", "storyd", "--dir", directory, "run", str(job)]
        measured = [sys.executable, __file__, "--measure", *command]
        return float(subprocess.run(measured, stdout=subprocess.PIPE, text=True, check=True).stdout)


def measure(command: list[str]) -> None:
    """Run a command and print its peak resident megabytes."""
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)


def main() -> None:
    """Measure both and print the ratio."""
    if sys.argv[1:2] == ["--measure"]:
        measure(sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", type=int, default=10_000)
    parser.add_argument("--large", type=int, default=1_000_000)
    args = parser.parse_args()
    small, large = peak(args.small), peak(args.large)
    print(
        f"{args.small:,} prompts: {small:.0f} MB; {args.large:,}: {large:.0f} MB; ratio {large / small:.2f}"
    )


if __name__ == "__main__":
    main()
