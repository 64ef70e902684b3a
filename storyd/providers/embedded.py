"""`embedded`: a model file on this machine's processors, without a key, a hub or a GPU.

Knows which file and which child; the child (llama.py) knows llama.cpp, and the openai kind speaks with it.
"""

from __future__ import annotations

import importlib.util
import secrets
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from storyd import models
from storyd.errors import ConfigError
from storyd.exchange import Completion, Provider, Request
from storyd.settings import ProviderSettings

from . import openai
from .launch import Server, launched, tell

MODEL = models.NAME
SAMPLING = frozenset(
    {
        *("temperature", "top_p", "top_k", "min_p", "seed", "stop", "response_format"),
        *("repetition_penalty", "presence_penalty", "frequency_penalty"),
    }
)
OPTIONS: Mapping[str, type] = {"slots": int, "ctx": int, "threads": int}
"""Answers at once; tokens of prompt and answer together; threads (0: as many as there are cores)."""
SLOTS, CTX, THREADS = 8, 1024, 0
CHILD = Path(__file__).with_name("llama.py")
_WORDS = {"repetition_penalty": "repeat_penalty"}
KEY_NAMES = ("STORYD_CHILD_KEY",)
START = 300.0


def concurrency(settings: ProviderSettings) -> int:
    """How many requests it answers at once."""
    return int(settings.options.get("slots", SLOTS))


@asynccontextmanager
async def connect(settings: ProviderSettings) -> AsyncIterator[Provider]:
    """The model, loaded. Raises ConfigError and Fatal."""
    _check(settings)
    gguf = Path(settings.gguf) if settings.gguf else await models.fetch(tell)
    async with launched(_server(settings, gguf)) as child, openai.kept(child, settings) as provider:
        yield LlamaTalk(provider)


class LlamaTalk:
    """A provider that is asked in the job file's words and asks in llama.cpp's."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    async def complete(self, request: Request) -> Completion:
        """Ask once. Raises what the provider raises."""
        sampling = {_WORDS.get(name, name): value for name, value in request.sampling.items()}
        return await self._provider.complete(replace(request, sampling=sampling))


def _check(settings: ProviderSettings) -> None:
    where = settings.name
    if importlib.util.find_spec("xllamacpp") is None:
        raise ConfigError("xllamacpp is not installed", where=where, fix="pip install 'storyd[embedded]'")
    for name, least in (("slots", 1), ("ctx", 64), ("threads", 0)):
        value = settings.options.get(name, least)
        if not least <= value <= 1 << 20:
            raise ConfigError(f"{name}: {value} is out of range", where=where, fix=f"from {least}")
    if settings.gguf and not _is_gguf(Path(settings.gguf)):
        raise ConfigError(f"{settings.gguf} is no GGUF file", where=where, fix="name a model file in `gguf`")


def _is_gguf(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(4) == b"GGUF"
    except OSError:
        return False


def _server(settings: ProviderSettings, gguf: Path) -> Server:
    numbers = [
        settings.options.get(name, default)
        for name, default in (("slots", SLOTS), ("ctx", CTX), ("threads", THREADS))
    ]
    command = (sys.executable, "-P", str(CHILD), str(gguf), *map(str, numbers))
    return Server(settings.name, command, "", secrets.token_urlsafe(24), KEY_NAMES, start=START)
