"""print a job's prompts as JSONL"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import orjson

from storyd import config
from storyd.job import Job


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `storyd prompts`."""
    parser.add_argument("job", type=Path, metavar="JOB.yaml")
    parser.add_argument(
        "--from", dest="first", type=int, default=0, metavar="A", help="first index (default 0)"
    )
    parser.add_argument(
        "--to", dest="stop", type=int, metavar="B", help="one past the last index (default: all)"
    )
    parser.add_argument(
        "--set", dest="sets", action="append", default=[], metavar="a.b=c", help="override a key"
    )
    parser.add_argument("--trust", action="store_true", help="let the job file name servers to launch")


def call(args: argparse.Namespace) -> int:
    """Print them; returns 0. Raises ConfigError."""
    job = config.load(args.job, sets=args.sets, trust=args.trust, directory=args.dir, offline=True).job
    stop = job.stories if args.stop is None else min(args.stop, job.stories)
    for index in range(max(0, args.first), stop):
        sys.stdout.buffer.write(prompt_line(job, index))
    sys.stdout.buffer.flush()
    return 0


def prompt_line(job: Job, index: int) -> bytes:
    """One prompt, as it is sent, as a line of JSON."""
    prompt = job.prompt(index)
    body = {
        "id": f"{job.name}/{index}",
        "index": index,
        "prompt": prompt.text,
        "messages": [{"role": role, "content": text} for role, text in prompt.messages],
        "traits": dict(prompt.traits),
    }
    if prompt.prefill:
        body["prefill"] = prompt.prefill
    return orjson.dumps(body, option=orjson.OPT_APPEND_NEWLINE)
