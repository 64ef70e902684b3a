"""serve a provider simulator over HTTP, to rehearse with"""

from __future__ import annotations

import argparse

from storyd import simulator

add_arguments = simulator.add_arguments


def call(args: argparse.Namespace) -> int:
    """Serve until a signal comes; returns the exit code."""
    return simulator.run(args)
