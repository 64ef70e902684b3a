"""print the JSON Schema of the job file"""

from __future__ import annotations

import argparse

import orjson

from storyd import config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`storyd schema` has no arguments."""


def call(args: argparse.Namespace) -> int:
    """Print it; returns 0."""
    print(orjson.dumps(config.schema(), option=orjson.OPT_INDENT_2).decode())
    return 0
