"""list the local models, or fetch the default one (`storyd models pull`)"""

from __future__ import annotations

import argparse

from storyd import models


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `storyd models`."""
    parser.add_argument("action", nargs="?", choices=["pull"], help="fetch the default model")
