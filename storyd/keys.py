"""Secrets, by reference: env:NAME, cred:NAME or file:PATH. Knows nothing of who needs them.

No message shows what was found, nor anything that might be a key where a reference was expected.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from .settings import Secret

LONGEST = 16 << 10
_REFERENCE = re.compile(r"(env|cred|file):(.+)", re.DOTALL)
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_CRED_NAME = re.compile(r"(?!\.+$)[A-Za-z0-9_.@-]{1,255}")
_ENV_LINE = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*?)\s*")
_USABLE = re.compile(r"[\x21-\x7e]+")


def check(reference: str) -> None:
    """Raises ValueError, with the reason, where this is no reference to a key."""
    found = _REFERENCE.fullmatch(reference)
    if not found:
        raise ValueError("a key itself never stands in a file: write env:NAME, cred:NAME or file:PATH")
    kind, name = found.groups()
    if kind == "env" and not _ENV_NAME.fullmatch(name):
        raise ValueError("env: wants the name of a variable")
    if kind == "cred" and not _CRED_NAME.fullmatch(name):
        raise ValueError("cred: wants the name of a credential")


def reveal(reference: str, folder: Path) -> Secret:
    """The key that a checked reference names; file: paths start at `folder`.

    Raises ValueError, with the reason, where there is none or where it cannot be one.
    """
    kind, _, name = reference.partition(":")
    match kind:
        case "env":
            said = os.environ.get(name) or dotenv(Path(".env")).get(name, "")
            if not said:
                raise ValueError(f"the environment variable {name} is not set")
        case "cred":
            root = os.environ.get("CREDENTIALS_DIRECTORY")
            if not root:
                raise ValueError("there are no credentials here: $CREDENTIALS_DIRECTORY is not set")
            said = _first(Path(root) / name)
        case _:
            said = _first(folder / os.path.expanduser(name))
    if not _USABLE.fullmatch(said):
        raise ValueError("holds no key: one word of ASCII is wanted")
    return Secret(said)


def dotenv(path: Path) -> dict[str, str]:
    """The variables of a .env file: NAME=VALUE lines, `export` and quotes allowed; others are passed over."""
    try:
        with path.open("rb") as file:
            text = file.read(1 << 20).decode("utf-8-sig", "replace")
    except OSError:
        return {}
    found = (_ENV_LINE.fullmatch(line) for line in text.splitlines())
    return {line.group(1): _unquoted(line.group(2)) for line in found if line}


def _unquoted(said: str) -> str:
    if len(said) >= 2 and said[0] == said[-1] and said[0] in "\"'":
        return said[1:-1]
    return said.split(" #", 1)[0].rstrip()


def _first(path: Path) -> str:
    try:
        if not path.is_file():
            raise ValueError("there is no such file")
        with path.open("rb") as file:
            return file.read(LONGEST).decode("utf-8-sig", "replace").strip()
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
