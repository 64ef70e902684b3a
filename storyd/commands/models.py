"""list the local models, or fetch the default one (`storyd models pull`)"""

from __future__ import annotations

import argparse
import sys

import orjson

from storyd import models


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `storyd models`."""
    parser.add_argument("action", nargs="?", choices=["pull"], help="fetch the default model")


def call(args: argparse.Namespace) -> int:
    """List or fetch; returns 0. Raises Fatal."""
    if args.action == "pull":
        path = models.pull(lambda text: print(text, file=sys.stderr))
        print(orjson.dumps({"path": str(path)}).decode() if args.json else path)
        return 0
    for model in models.listing():
        body = {"name": model.name, "bytes": model.size, "path": str(model.path), "present": model.present}
        there = "present" if model.present else "not fetched"
        said = f"{model.name}  {model.size / 1e6:.0f} MB  {there}  {model.path}"
        print(orjson.dumps(body).decode() if args.json else said)
    return 0
