"""Arguments → one call; errors → one line on stderr and an exit code. Knows no command's business."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from importlib.resources import files
from io import TextIOWrapper
from pathlib import Path
from typing import NoReturn

from . import __version__
from .errors import ConfigError, Damaged, Fatal, StorydError

EXITS: tuple[tuple[type[StorydError], int], ...] = ((ConfigError, 2), (Damaged, 1), (Fatal, 4))


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    verbose = "-v" in arguments or "--verbose" in arguments
    _usable_streams()
    _log(verbose)
    code = 0
    try:
        args = _parser(arguments).parse_args(arguments)
        code = int(importlib.import_module(f"storyd.commands.{_module(args.command)}").call(args))
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # whoever read us has had enough: `storyd prompts … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return code
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        return failed(error, verbose)


def failed(error: Exception, verbose: bool) -> int:
    """Say what went wrong in one line; returns the exit code."""
    cause = leaf(error)
    if verbose:
        traceback.print_exception(error)
    if isinstance(cause, StorydError):
        print(f"storyd: {cause}", file=sys.stderr)
        return next((code for kind, code in EXITS if isinstance(cause, kind)), 1)
    what = f"{type(cause).__name__}: {cause}".splitlines()[0]
    print(f"storyd: bug: {what} (run it again with -v and report what it prints)", file=sys.stderr)
    return 1


def leaf(error: BaseException) -> BaseException:
    """The error inside the groups that task groups wrap it in; ours before any other."""
    while isinstance(error, BaseExceptionGroup):
        inner = [leaf(one) for one in error.exceptions]
        error = next((one for one in inner if isinstance(one, StorydError)), inner[0])
    return error


def _usable_streams() -> None:
    """A closed stdout or stderr swallows what it is told; one that is not UTF-8 shows the rest as escapes."""
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115  it lives as long as the process
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


class _Parser(argparse.ArgumentParser):
    """Says what is wrong with the arguments as everything else is said: in one line."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(message, where=self.prog.removeprefix("storyd").strip(), fix=f"{self.prog} --help")


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    """All commands by name and help; the arguments of the one that is called, so that only it is imported."""
    parser = _Parser(
        prog="storyd",
        description="From a recipe to a dataset of synthetic stories, unattended.",
        epilog="exit codes: 0 done, 1 bug or failed verify, 2 bad usage or config, 3 too many abandoned, "
        "4 parked, 130/143 drained after a signal",
    )
    parser.add_argument("--version", action="version", version=f"storyd {__version__}")
    _global_arguments(parser, defaults=True)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, line in command_lines():
        sub = commands.add_parser(name, help=line, description=line)
        _global_arguments(sub, defaults=False)
        if name in arguments:
            importlib.import_module(f"storyd.commands.{_module(name)}").add_arguments(sub)
    return parser


def _global_arguments(parser: argparse.ArgumentParser, defaults: bool) -> None:
    """Options that may stand before or after the command."""
    directory = Path(os.environ.get("STORYD_DIR", "shards"))
    parser.add_argument(
        "--dir",
        type=Path,
        metavar="DIR",
        default=directory if defaults else argparse.SUPPRESS,
        help="where jobs lie (default: $STORYD_DIR, else shards)",
    )
    for names, what in (
        (("--json",), "machine-readable on stdout"),
        (("-v", "--verbose"), "more log lines, and tracebacks"),
    ):
        default = False if defaults else argparse.SUPPRESS
        parser.add_argument(*names, action="store_true", default=default, help=what)


def command_lines() -> list[tuple[str, str]]:
    """(name, help) of every command; the first line is read and not imported, as imports take time."""
    found = []
    for path in files("storyd.commands").iterdir():
        name, _, suffix = path.name.partition(".")
        if suffix == "py" and name != "__init__":
            first = path.read_text(encoding="utf-8").partition("\n")[0]
            found.append((name.replace("_", "-"), first.strip('"')))
    return sorted(found)


def _module(command: str) -> str:
    return command.replace("-", "_")


def _log(verbose: bool) -> None:
    level = logging.DEBUG if verbose else logging.INFO
    logging.basicConfig(stream=sys.stderr, level=level, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    for name in ("asyncio", "aiohttp"):
        logging.getLogger(name).setLevel(logging.WARNING)
