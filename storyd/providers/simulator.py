"""`simulator`: the openai kind, towards `storyd simulate` on this machine unless a url is given."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import replace

from storyd.exchange import Provider
from storyd.settings import ProviderSettings

from . import openai

URL = "http://127.0.0.1:8080/v1"
SAMPLING = openai.SAMPLING
OPTIONS: Mapping[str, type] = openai.OPTIONS


def connect(settings: ProviderSettings) -> AbstractAsyncContextManager[Provider]:
    """See openai.connect."""
    if settings.urls or settings.launch:
        return openai.connect(settings)
    return openai.connect(replace(settings, urls=(URL,)))
