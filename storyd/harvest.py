"""The records of a job that is done, as rows in the order of their indices. Needs no lock.

A sealed shard never changes, so a shard is looked through when one of its rows is first asked for.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any

import orjson

from .sources import Row, Table, parsed

SHARDS_KEPT = 64
"""Shards whose line offsets stay in memory."""


class Harvest(Sequence[Row]):
    """The accepted records of the job in `folder`: their story, id, index and traits, as text.

    Raises ValueError, with the reason, where the job is not there or not done, or has no record. `digest`
    changes when a record does.
    """

    def __init__(self, folder: Path) -> None:
        seals = _seals(folder)
        self._ends = list(accumulate(seal["records"] for seal in seals))
        if not self._ends or not self._ends[-1]:
            raise ValueError(f"the job {folder.name} has no accepted records")
        self.digest = [str(seal["digest"]) for seal in seals]
        self._shard = lru_cache(maxsize=SHARDS_KEPT)(
            lambda number: Table(folder / "stories" / f"{number:05d}.jsonl", row)
        )

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, at: int) -> Row:  # type: ignore[override]
        """Record `at`. Raises ConfigError or Damaged where its file is not what its seal says."""
        if not 0 <= at < len(self):
            raise IndexError(at)
        shard = bisect_right(self._ends, at)
        return self._shard(shard)[at - (self._ends[shard - 1] if shard else 0)]


def row(line: bytes) -> Row:
    """What a record offers to a template. Raises ValueError."""
    body = parsed(line)
    try:
        traits = {
            name: said if isinstance(said, str) else ", ".join(said) for name, said in body["traits"].items()
        }
        return {**traits, "story": body["story"], "id": body["id"], "index": str(body["index"])}
    except (KeyError, TypeError, AttributeError):
        raise ValueError("not a record") from None


def _seals(folder: Path) -> list[dict[str, Any]]:
    try:
        job = orjson.loads((folder / "job.json").read_bytes())["job"]
        shards = -(-job["stories"] // job["shard_size"])
    except FileNotFoundError:
        raise ValueError(f"there is no job {folder.name} in {folder.parent}") from None
    except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError):
        raise ValueError(f"{folder / 'job.json'} cannot be read") from None
    found = [_seal(folder, number) for number in range(shards)]
    sealed = [seal for seal in found if seal is not None]
    if len(sealed) < shards:
        raise ValueError(f"the job {folder.name} is not done: {len(sealed)} of {shards} shards are sealed")
    return sealed


def _seal(folder: Path, number: int) -> dict[str, Any] | None:
    try:
        seal: dict[str, Any] = orjson.loads((folder / "seals" / f"{number:05d}.json").read_bytes())
        return seal if seal["records"] + 0 >= 0 and seal["digest"] else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
