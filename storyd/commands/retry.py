"""reopen the abandoned prompts of a job"""

from __future__ import annotations

import argparse

import orjson

from storyd.reopen import retry
from storyd.shards import find
from storyd.worker import now


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `storyd retry`."""
    parser.add_argument("job", metavar="JOB", help="the job's name")


def call(args: argparse.Namespace) -> int:
    """Reopen them; returns 0. Raises StorydError."""
    count = retry(find(args.dir, args.job), now())
    said = f"{args.job}: {count} abandoned prompts reopened" + ("; run the job again" if count else "")
    print(orjson.dumps({"job": args.job, "reopened": count}).decode() if args.json else said)
    return 0
