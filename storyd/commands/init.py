"""list the recipes that ship, or write one as a job file of your own"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import orjson

from storyd import config
from storyd.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `storyd init`."""
    parser.add_argument("recipe", nargs="?", metavar="RECIPE", help="which one to write (default: list them)")
    parser.add_argument(
        "-o", dest="output", type=Path, metavar="FILE", help="where to (default: RECIPE.yaml)"
    )


def call(args: argparse.Namespace) -> int:
    """List or write; returns 0. Raises ConfigError."""
    recipes = dict(config.recipes())
    if args.recipe is None:
        for name, line in recipes.items():
            print(orjson.dumps({"name": name, "line": line}).decode() if args.json else f"{name:<18} {line}")
        return 0
    text = config.recipe(args.recipe)
    path = args.output or Path(f"{args.recipe}.yaml")
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        raise ConfigError("exists already", where=str(path), fix="choose another name with -o") from None
    except OSError as error:
        raise ConfigError(f"cannot be written: {error.strerror}", where=str(path)) from error
    with open(fd, "w", encoding="utf-8") as file:
        file.write(text)
    print(f"{path} written; edit it, then: storyd plan {path}", file=sys.stderr)
    return 0
