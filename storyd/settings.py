"""Frozen values that a run is set up with, and that may change between runs. Knows nothing of files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .exchange import nothing


class Secret:
    """A key that no repr, log line or exception shows."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The key itself: for a header or a child's environment, nowhere else."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(…)"


@dataclass(frozen=True, slots=True)
class Limits:
    """An account's promises; None means unknown: learned from headers and from refusals."""

    rpm: float | None = None
    tpm: float | None = None
    input_tpm: float | None = None
    output_tpm: float | None = None
    concurrency: int | None = None


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds to connect, to the next byte of an answer, and of the whole call."""

    connect: float = 10.0
    first_byte: float = 300.0
    total: float = 600.0


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens. `cached` and `cache_write` default to `input`."""

    input: float = 0.0
    output: float = 0.0
    cached: float | None = None
    cache_write: float | None = None


@dataclass(frozen=True, slots=True)
class Budget:
    """What a job may spend in all; None is no limit."""

    usd: float | None = None
    tokens: int | None = None


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    """How to reach one provider account."""

    name: str
    kind: str
    urls: tuple[str, ...] = ()
    key: Secret | None = None
    limits: Limits = Limits()
    timeouts: Timeouts = Timeouts()
    price: Price | None = None
    launch: str = ""
    gguf: str = ""
    insecure: bool = False
    options: Mapping[str, Any] = field(default_factory=nothing)
    """What only this kind understands; its module says which names and types."""
