"""Whether the files of a job are whole: no index settled twice, every hash right. Changes nothing."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from . import record, shards
from .appendlog import torn_tail, whole_lines
from .errors import Damaged
from .ledger import frozen
from .progress import OpenShard, Tally
from .shards import Folder


@dataclass(slots=True)
class Report:
    """What was found. `faults` are reasons to distrust the files; `notes` are what the next run mends."""

    stories: int = 0
    sealed: int = 0
    open: int = 0
    tally: Tally = field(default_factory=Tally)
    digest: str = ""
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def unsettled(self) -> int:
        """Indices that are neither accepted nor abandoned."""
        return self.stories - self.tally.settled


def verify(folder: Folder, quick: bool = False) -> Report:
    """Check every shard of a job; `quick` reads the seals and sizes only, and gives no digest.

    Raises Damaged where the folder is no job's.
    """
    job = frozen(folder)
    if job is None:
        raise Damaged("is missing: this is no job's folder", where=str(folder.job))
    stories, size = job["job"]["stories"], job["job"]["shard_size"]
    report, digest = Report(stories), sha256()
    for first in range(0, stories, size):
        indices = range(first, min(first + size, stories))
        try:
            for same in _shard(folder, first // size, indices, report, quick):
                digest.update(same)
        except (Damaged, OSError) as error:
            report.faults.append(str(error))
    report.digest = "" if quick else digest.hexdigest()
    return report


def _shard(folder: Folder, number: int, indices: range, report: Report, quick: bool) -> Iterator[bytes]:
    """What makes the shard's records the same records, in order."""
    tally = shards.sealed(folder, number, indices)
    if tally is not None and quick:
        report.sealed += 1
        report.tally.add(tally)
        return
    growing, stories, log = folder.growing(number), folder.stories(number), folder.events(number)
    path = stories if tally is not None or not growing.exists() else growing
    report.notes.extend(_notes(folder, number, sealed=tally is not None))
    if not (path.exists() or log.exists() or folder.seal(number).exists()):
        return
    shards.require_events(folder, number)
    if folder.seal(number).exists() and stories.exists():
        shards.check(folder, number)
    shard = shards.fold(log, path, indices)
    lines = sorted(shards.kept(path, shard))
    if tally is not None:
        _compare(folder, number, shard, lines)
        report.sealed += 1
    else:
        report.open += 1
    report.tally.add(shard.tally)
    yield from (same for _, _, _, same in lines)


def _compare(
    folder: Folder, number: int, shard: OpenShard, lines: list[tuple[int, int, bytes, bytes]]
) -> None:
    """Hold the records of a sealed shard against what its seal says of them. Raises Damaged."""
    seal: dict[str, Any] = shards.read_seal(folder, number) or {}
    where = str(folder.stories(number))
    if shard.left:
        raise Damaged(f"is sealed, but {shard.left} of its indices are not settled", where=where)
    counts = {"accepted": shard.tally.accepted, "abandoned": shard.tally.abandoned, "records": len(lines)}
    digest = sha256(b"".join(same for _, _, _, same in lines)).hexdigest()
    if any(seal[name] != count for name, count in counts.items()) or seal["digest"] != digest:
        raise Damaged("its records are not what its seal says", where=where, fix="restore it")


def _notes(folder: Folder, number: int, sealed: bool) -> Iterator[str]:
    growing = folder.growing(number)
    if sealed and growing.exists():
        yield f"{growing}: left over from sealing; the next run removes it"
    if shards.following(folder, number).exists():
        yield f"{folder.events(number)}: restart-shard was interrupted; the next run finishes it"
    if sealed:
        return
    for path in (growing, folder.events(number)):
        if path.exists() and (torn := _torn(path)):
            yield f"{path}: ends in {torn} bytes of a torn line; the next run cuts them off"
    if part := _torn_group(growing):
        yield f"{growing}: ends in {part} of an answer's records; the next run cuts them off"


def _torn_group(path: Path) -> int:
    """How many records a story file ends in whose answer had more."""
    for _, line in deque(whole_lines(path), maxlen=1):
        with suppress(ValueError):  # the fold says what is wrong with it
            last = record.from_line(line)
            return last.part + 1 if last.part + 1 < last.parts else 0
    return 0


def _torn(path: Path) -> int:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return torn_tail(fd, os.fstat(fd).st_size)
    finally:
        os.close(fd)
