"""set shards aside (into trash/, never deleted) and ask them again"""

from __future__ import annotations

import argparse

import orjson

from storyd.reopen import require, restart
from storyd.shards import find
from storyd.worker import now


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `storyd restart-shard`."""
    parser.add_argument("job", metavar="JOB", help="the job's name")
    parser.add_argument("shards", metavar="K", type=int, nargs="+", help="shard numbers, from 0")


def call(args: argparse.Namespace) -> int:
    """Set them aside; returns 0. Raises StorydError."""
    folder = find(args.dir, args.job)
    numbers = sorted(set(args.shards))
    for number in numbers:
        require(folder, number)  # all of them, before the first is set aside
    for number in numbers:
        settled = restart(folder, number, now())
        said = f"{args.job}: shard {number} is in trash/ with {settled} settled prompts; run the job again"
        body = {"job": args.job, "shard": number, "settled": settled}
        print(orjson.dumps(body).decode() if args.json else said)
    return 0
