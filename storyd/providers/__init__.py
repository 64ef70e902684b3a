"""Providers, opened by name: every module here that says what SAMPLING it understands is a kind.

Knows no kind itself: a new one is a new file.
"""

from __future__ import annotations

import importlib
import re
from contextlib import AbstractAsyncContextManager
from functools import cache
from pathlib import Path

from storyd.errors import ConfigError
from storyd.exchange import Provider
from storyd.settings import ProviderSettings

_KIND = re.compile(rb"^SAMPLING\b", re.MULTILINE)


@cache
def kinds() -> tuple[str, ...]:
    """The names of the kinds there are, sorted. They are read, not imported: some are slow to import."""
    files = sorted(Path(__file__).parent.glob("[a-z]*.py"))
    return tuple(file.stem for file in files if _KIND.search(file.read_bytes()))


def connect(settings: ProviderSettings) -> AbstractAsyncContextManager[Provider]:
    """The provider of an account, connected while inside. Raises ConfigError for a kind that is none."""
    if settings.kind not in kinds():
        fix = f"there are {', '.join(kinds())}"
        raise ConfigError(f"no kind {settings.kind!r}", where="provider", fix=fix)
    module = importlib.import_module(f"{__name__}.{settings.kind}")
    opened: AbstractAsyncContextManager[Provider] = module.connect(settings)
    return opened
