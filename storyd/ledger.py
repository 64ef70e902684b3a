"""Ledger: the account of one job. Every event passes through `note` and lies in exactly one file.

A reserve file is given up when the disk is full, so that what is in flight can still be noted; `trouble` then
says that nothing more may be asked.
"""

from __future__ import annotations

import fcntl
import os
import resource
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import orjson

from . import events, record, shards
from .appendlog import NO_ROOM, disk_errors, owned, write_whole
from .errors import ConfigError, Damaged, Fatal, Full
from .events import Accepted, Event
from .job import Job, changed
from .past import Past
from .progress import OpenShard, Progress
from .shards import Folder, Growing

SYNC_EVERY = 0.5
"""Seconds between two syncs: what a power cut may take."""
MOST_FILES = 1 << 16
"""Open files that we ask the system for: after a retry every shard may be open, with two files each."""


class Ledger:
    """The open files and the progress of the shards `numbers` of a job; see `opened`."""

    def __init__(self, job: Job, folder: Folder, numbers: range, reserve: int) -> None:
        self.job, self.folder, self.numbers = job, folder, numbers
        self.progress = Progress()
        self.trouble: Fatal | None = None
        self._growing: dict[int, Growing] = {}
        # without a name, so that no kill leaves it behind
        self._reserve = TemporaryFile(dir=folder.path)  # noqa: SIM115 (`close` closes it)
        with ExitStack() as undo:
            undo.callback(self.close)
            os.posix_fallocate(self._reserve.fileno(), 0, max(1, reserve))
            begun = _begun(folder)
            for number in numbers:
                self._look(number, begun.get(number, frozenset()))
            undo.pop_all()

    def _look(self, number: int, suffixes: Collection[str]) -> None:
        """Count a sealed shard; fold one that has begun."""
        if not suffixes:
            return
        if shards.RESTARTING not in suffixes:
            tally = shards.sealed(self.folder, number, self.job.shard(number))
            if tally is not None:
                if shards.GROWING in suffixes:
                    self.folder.growing(number).unlink()
                self.progress.see_seal(number, tally)
                return
        self.open(number)

    def open(self, number: int) -> OpenShard:
        """The fold of a shard that is not sealed, its files open for writing. Raises Damaged or Full."""
        if number not in self._growing:
            with disk_errors(self.folder.growing(number)):
                self._growing[number] = shards.open_shard(self.folder, number, self.job.shard(number))
            self.progress.open[number] = self._growing[number].fold
        return self._growing[number].fold

    def past(self, index: int) -> Past:
        """What an index of an open shard has been through."""
        return self._growing[index // self.job.shard_size].fold.past(index)

    def note(self, event: Event) -> None:
        """Write an event down and count it. Never waits. Raises Full where even the reserve is used up."""
        growing = self._growing[event.index // self.job.shard_size]
        if isinstance(event, Accepted):
            log, lines = growing.stories, b"".join(map(record.to_line, event.records))
        else:
            log, lines = growing.events, events.to_line(event)
        try:
            log.append(lines)
        except OSError as error:
            self._make_room(error, log.path)
            with disk_errors(log.path):
                log.append(lines)
        growing.fold.see(event)

    def _make_room(self, error: OSError, path: Path) -> None:
        """Give the reserve up, so that what is in flight finds room."""
        try:
            with disk_errors(path):
                raise error
        except Full as full:
            self.trouble = self.trouble or full
        if error.errno in NO_ROOM:
            self._reserve.close()

    def sync(self) -> None:
        """Put all that was noted on the disk. Raises Full."""
        with disk_errors(self.folder.path):
            for growing in list(self._growing.values()):
                growing.sync()

    def seal(self, number: int, facts: Mapping[str, Any]) -> None:
        """Seal a shard whose every index is settled; `facts` go into the seal. Raises Full: it stays open.

        Touches files only, so that a thread may do it; then `retire` it.
        """
        growing = self._growing[number]
        with disk_errors(growing.stories.path):
            growing.sync()
            shards.seal(self.folder, number, growing.fold, facts)
            growing.close()

    def retire(self, number: int) -> None:
        """Count a shard as sealed."""
        self.progress.see_seal(number, self._growing.pop(number).fold.tally)

    def close(self) -> None:
        """Sync and close every file. Raises Full."""
        self._reserve.close()
        with disk_errors(self.folder.path), ExitStack() as files:
            for growing in self._growing.values():
                files.callback(growing.close)


@contextmanager
def opened(job: Job, folder: Folder, numbers: range, reserve: int) -> Iterator[Ledger]:
    """The ledger of some shards of a job, owned while inside. Raises Held, Damaged or Full.

    `reserve` is in bytes: what the answers in flight may come to.
    """
    with disk_errors(folder.path):
        folder.make()
    with owned(folder.lock, numbers):
        _allow_files()
        with disk_errors(folder.path):
            ledger = Ledger(job, folder, numbers, reserve)
        try:
            yield ledger
        finally:
            ledger.close()


def _begun(folder: Folder) -> dict[int, set[str]]:
    """Shard → the suffixes of the files that it has."""
    begun: dict[int, set[str]] = defaultdict(set)
    for part in shards.PARTS:
        for name in os.listdir(folder.path / part):
            number, _, suffix = name.partition(".")
            if number.isdigit():
                begun[int(number)].add(suffix)
    return begun


def _allow_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < (most := min(hard, MOST_FILES)):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


# ── the frozen job ────────────────────────────────────────────────────────────────────────────────


def freeze(job: Job, folder: Folder, body: Mapping[str, Any]) -> None:
    """Write job.json, or make sure that it is this job's. Raises ConfigError, Damaged or Full.

    `body` is the normalised job file. The number of stories may grow; what decides the meaning of a record
    may not change.
    """
    text = {"storyd": 1, "fingerprint": dict(job.fingerprint), "job": body}
    line = orjson.dumps(text, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    with disk_errors(folder.path):
        folder.make()
        with _alone(folder.path):
            was = frozen(folder)
            if was is not None:
                _same(job, folder, was)
            if was is None or was["job"] != body:
                write_whole(folder.job, line)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep others waiting, for the moment that it takes: several processes may begin one job at once."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def frozen(folder: Folder) -> dict[str, Any] | None:
    """What job.json holds: fingerprint and job. Raises Damaged."""
    try:
        body: dict[str, Any] = orjson.loads(folder.job.read_bytes())
        _ = body["fingerprint"].items(), range(0, body["job"]["stories"], body["job"]["shard_size"])
        return body
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Damaged(
            "is not the frozen job that storyd wrote",
            where=str(folder.job),
            fix="restore it; or, if the job file has not changed since, remove it and run it again",
        ) from error


def _same(job: Job, folder: Folder, was: Mapping[str, Any]) -> None:
    if keys := changed(was["fingerprint"], job.fingerprint):
        raise ConfigError(
            f"{', '.join(keys)}: changed since its first story, so old and new would not belong together",
            where=str(folder.path),
            fix="change it back, or give the job another name",
        )
    if job.stories < was["job"]["stories"]:
        raise ConfigError(
            f"stories: {job.stories} is fewer than the {was['job']['stories']} it was begun with",
            where=str(folder.path),
            fix="stories may grow, not shrink",
        )
