"""Shards on disk: open, fold, append, seal, reopen, read. Knows no model and no clock.

Which files a shard has says what state it is in; every step between two states leaves files that `open_shard`
understands, so that a kill at any moment is healed by the next start:

    nothing                                never asked
    events (+ stories.open)                open
    events + stories.open + stories        was being sealed: the seal had not been written, so seal again
    events + stories + seal (+ .open)      sealed (the open file was about to go)
    events + stories                       was being reopened, or the seal is lost: open
    events + stories.open + seal           the stories' rename was lost in a power cut: open
    events.next (+ anything)               was being set aside by restart-shard: finish that
    anything else                          Damaged
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from difflib import get_close_matches
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import orjson

from . import events, record
from .appendlog import (
    FOLDER_MODE,
    AppendLog,
    sync_folder,
    whole_lines,
    write_whole,
)
from .errors import ConfigError, Damaged
from .events import Abandoned
from .progress import OPEN, OpenShard, Tally
from .record import Record

PARTS: Final = ("stories", "events", "seals")
GROWING: Final = "jsonl.open"
"""The suffix of an open shard."""
RESTARTING: Final = "jsonl.next"
"""The suffix of an event file that restart-shard has prepared."""


@dataclass(frozen=True, slots=True)
class Folder:
    """Where the files of a job lie."""

    path: Path

    def stories(self, number: int) -> Path:
        """A sealed shard."""
        return self.path / "stories" / f"{number:05d}.jsonl"

    def growing(self, number: int) -> Path:
        """An open shard."""
        return self.path / "stories" / f"{number:05d}.{GROWING}"

    def events(self, number: int) -> Path:
        """Whatever else happened to a shard's indices."""
        return self.path / "events" / f"{number:05d}.jsonl"

    def seal(self, number: int) -> Path:
        """The file that says that a shard is sealed."""
        return self.path / "seals" / f"{number:05d}.json"

    @property
    def job(self) -> Path:
        """The frozen job."""
        return self.path / "job.json"

    @property
    def lock(self) -> Path:
        """The file whose bytes say who owns which shard."""
        return self.path / "lock"

    def make(self) -> None:
        """Create what is missing. Raises OSError."""
        self.path.mkdir(FOLDER_MODE, parents=True, exist_ok=True)
        for name in PARTS:
            (self.path / name).mkdir(FOLDER_MODE, exist_ok=True)


def find(directory: Path, name: str) -> Folder:
    """The folder of a job that has begun. Raises ConfigError, naming the jobs there are."""
    folder = Folder(directory / name)
    if Path(name).name == name and folder.job.exists():
        return folder
    there = sorted(path.parent.name for path in directory.glob("*/job.json"))
    near = get_close_matches(name, there, 1)
    fix = f"did you mean {near[0]}?" if near else f"there is: {', '.join(there[:8]) or 'none yet'}"
    raise ConfigError(f"no job {name!r}", where=str(directory), fix=fix)


@dataclass(slots=True)
class Growing:
    """An open shard: its files, and the fold of what is in them."""

    stories: AppendLog
    events: AppendLog
    fold: OpenShard

    def sync(self) -> None:
        """Put both files on the disk. Raises OSError."""
        self.stories.sync()
        self.events.sync()

    def close(self) -> None:
        """Sync and close both files. Raises OSError."""
        with closing(self.events):
            self.stories.close()


# ── sealed shards ─────────────────────────────────────────────────────────────────────────────────


def sealed(folder: Folder, number: int, indices: range) -> Tally | None:
    """The tally of a sealed shard; None where it is not sealed, or was and the job has grown since.

    Raises Damaged where its files are missing or have another size than the seal says, or where the seal is
    of other indices.
    """
    seal = read_seal(folder, number)
    if seal is None:
        return None
    start, stop = seal["range"]
    if start != indices.start or stop > indices.stop:
        check_seal(folder, number)
        raise Damaged(
            f"is of indices {start} to {stop - 1}, not of {indices.start} to {indices.stop - 1}",
            where=str(folder.seal(number)),
            fix="restore the job's files from a copy",
        )
    for path, facts in ((folder.stories(number), seal["stories"]), (folder.events(number), seal["events"])):
        size = _size(path)
        if size is None and folder.growing(number).exists():
            return None  # never renamed: the open file is whole, so seal it again
        if size != facts["bytes"]:
            check_seal(folder, number)  # whichever of the two is wrong
            said = "is missing" if size is None else f"has {size} bytes"
            raise Damaged(
                f"{said}, but its seal says {facts['bytes']} bytes",
                where=str(path),
                fix=_mend(folder, number),
            )
    return Tally.of(seal) if stop == indices.stop else None


def _size(path: Path) -> int | None:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return None


def read_seal(folder: Folder, number: int) -> dict[str, Any] | None:
    """A shard's seal; None where there is none or where it is no whole seal (then it is made anew)."""
    try:
        seal: dict[str, Any] = orjson.loads(folder.seal(number).read_bytes())
        _ = seal["stories"]["bytes"], seal["events"]["bytes"], seal["range"][1] - seal["range"][0]
        Tally.of(seal)
        return seal
    except (FileNotFoundError, orjson.JSONDecodeError, KeyError, TypeError, IndexError):
        return None


def seal(folder: Folder, number: int, shard: OpenShard, facts: Mapping[str, Any]) -> None:
    """Seal a shard whose every index is settled: write it sorted, then its seal; then the open file goes.

    `facts` go into the seal as they are. Raises OSError or Damaged; the shard stays open then.
    """
    growing, log = folder.growing(number), folder.events(number)
    lines = sorted(kept(growing, shard))
    if len(lines) != shard.tally.records:
        raise Damaged(
            f"holds {len(lines)} records where {shard.tally.records} were noted", where=str(growing)
        )
    digest, content = sha256(), sha256()
    for _, _, line, same in lines:
        digest.update(same)
        content.update(line)
    data = b"".join(line for _, _, line, _ in lines)
    write_whole(folder.stories(number), data)
    body = {
        "shard": number,
        "range": [shard.indices.start, shard.indices.stop],
        **shard.tally.body(),
        "stories": {"bytes": len(data), "sha256": content.hexdigest()},
        "events": {"bytes": log.stat().st_size, "sha256": file_hash(log)},
        "digest": digest.hexdigest(),
        **facts,
    }
    write_whole(folder.seal(number), _sealing(body))
    growing.unlink()
    sync_folder(growing.parent)


def _sealing(body: Mapping[str, Any]) -> bytes:
    """A seal as it is written, with its own hash."""
    whole = {**body, "sha256": sha256(orjson.dumps(body)).hexdigest()}
    return orjson.dumps(whole, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def check_seal(folder: Folder, number: int) -> dict[str, Any]:
    """A shard's seal, held against its own hash, byte by byte. Raises Damaged."""
    body = read_seal(folder, number) or {}
    unsigned = {key: value for key, value in body.items() if key != "sha256"}
    if folder.seal(number).read_bytes() != _sealing(unsigned):
        raise Damaged(
            "is not as it was written",
            where=str(folder.seal(number)),
            fix="restore it; or remove it, and the next run makes it anew",
        )
    return body


def check(folder: Folder, number: int) -> None:
    """Hold a shard's files against its seal. Raises Damaged."""
    body = check_seal(folder, number)
    for path, name in ((folder.stories(number), "stories"), (folder.events(number), "events")):
        if file_hash(path) != body[name]["sha256"]:
            raise Damaged("its content is not what its seal says", where=str(path), fix=_mend(folder, number))


def _mend(folder: Folder, number: int) -> str:
    return f"restore it, or ask again: storyd restart-shard {folder.path.name} {number}"


def kept(path: Path, shard: OpenShard) -> Iterator[tuple[int, int, bytes, bytes]]:
    """(index, part, line, what makes it the same record) of the records that are not void."""
    for _, line in whole_lines(path):
        body = orjson.loads(line)
        if body["nth"] >= shard.floor(body["index"]):
            yield body["index"], body.get("part", 0), line, record.facts(body)


def file_hash(path: Path) -> str:
    """sha256 of a file, read in pieces."""
    hashed = sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            hashed.update(piece)
    return hashed.hexdigest()


def read(path: Path) -> Iterator[Record]:
    """The records of a story file, in its order; a torn last line is left out. Raises Damaged."""
    for number, line in whole_lines(path):
        try:
            yield record.from_line(line)
        except ValueError as error:
            raise Damaged(f"line {number}: {error}", where=str(path)) from error


# ── open shards ───────────────────────────────────────────────────────────────────────────────────


def open_shard(folder: Folder, number: int, indices: range) -> Growing:
    """Open a shard to write to it, healing what a kill has left. Raises Damaged or OSError."""
    heal(folder, number)
    require_events(folder, number)
    growing, log = folder.growing(number), folder.events(number)
    with ExitStack() as undo:
        event_log = undo.enter_context(closing(AppendLog(log)))  # before the other: see require_events
        story_log = undo.enter_context(closing(AppendLog(growing)))
        _cut_group(story_log)
        sync_folder(growing.parent)
        sync_folder(log.parent)
        opened = Growing(story_log, event_log, fold(log, growing, indices))
        undo.pop_all()
    return opened


def require_events(folder: Folder, number: int) -> None:
    """Raise Damaged where a shard has stories and no event file: it is made first, so it must be lost."""
    if folder.events(number).exists():
        return
    if folder.growing(number).exists() or folder.stories(number).exists():
        raise Damaged(
            "is missing: what was asked there and rejected is not known, so it might be paid for twice",
            where=str(folder.events(number)),
            fix=_mend(folder, number),
        )


def heal(folder: Folder, number: int) -> None:
    """Bring a shard to the state `open`. Idempotent. Raises Damaged where its seal does not fit its files."""
    growing, stories = folder.growing(number), folder.stories(number)
    finish_restart(folder, number)
    if read_seal(folder, number) is not None and stories.exists():
        check(folder, number)  # the seal is about to go, and with it all that could tell
        growing.unlink(missing_ok=True)
    if folder.seal(number).exists():
        folder.seal(number).unlink()
        sync_folder(folder.seal(number).parent)  # or an old seal might come back beside new files
    if growing.exists():
        stories.unlink(missing_ok=True)
    elif stories.exists():
        stories.rename(growing)


def fold(log: Path, stories: Path, indices: range) -> OpenShard:
    """What the files of a shard come to; a file that is not there holds nothing. Raises Damaged."""
    shard = OpenShard(indices)
    for number, line in whole_lines(log):
        try:
            event = events.from_line(line)
            _belongs(event.index, indices)
            if isinstance(event, Abandoned):
                _settles(event.index, shard)
            shard.see(event)
        except (ValueError, TypeError) as error:
            raise _unreadable(log, number, error) from error
    last: Record | None = None
    for number, line in whole_lines(stories):
        try:
            stored = record.from_line(line)
            _belongs(stored.index, indices)
            _follows(stored, last)
            if stored.part == 0 and stored.nth >= shard.floor(stored.index):
                _settles(stored.index, shard)
            shard.see_stored(stored)
        except (ValueError, TypeError) as error:
            raise _unreadable(stories, number, error) from error
        last = stored
    return shard


def _belongs(index: int, indices: range) -> None:
    if index not in indices:
        raise ValueError(f"index {index!r} belongs to another shard")


def _settles(index: int, shard: OpenShard) -> None:
    if shard.state(index) != OPEN:
        raise ValueError(f"index {index} is settled twice")


def _follows(stored: Record, last: Record | None) -> None:
    """Raise ValueError where the records of one answer do not stand together, all of them, in order."""
    due = (stored.index, stored.nth, 0)
    if last is not None and last.part + 1 < last.parts:
        due = (last.index, last.nth, last.part + 1)
    if (stored.index, stored.nth, stored.part) != due:
        raise ValueError(f"part {due[2]} of index {due[0]} is missing")


def _unreadable(path: Path, number: int, error: Exception) -> Damaged:
    return Damaged(f"line {number}: {error}", where=str(path), fix="restore the file from a copy")


def _cut_group(log: AppendLog) -> None:
    """Cut the records of an answer whose group is incomplete: it was written at once, so a kill tore it."""
    last = _last_line(log)
    if not last:
        return
    try:
        stored = record.from_line(last)
    except ValueError:
        return  # the fold says where
    if stored.part + 1 < stored.parts:
        sizes = [len(line) for _, line in whole_lines(log.path)]
        log.cut(sum(sizes[: len(sizes) - stored.part - 1]))


def _last_line(log: AppendLog) -> bytes:
    with log.path.open("rb") as file:
        span = min(log.size, 1 << 16)
        while True:
            file.seek(log.size - span)
            tail = file.read(span)
            start = tail.rfind(b"\n", 0, -1)
            if start >= 0 or span == log.size:
                return tail[start + 1 :]
            span = min(log.size, span * 16)


# ── reopening ─────────────────────────────────────────────────────────────────────────────────────


def following(folder: Folder, number: int) -> Path:
    """The event file that restart-shard has prepared: while it exists, the old files are being set aside."""
    return folder.events(number).with_suffix(f".{RESTARTING}")


def finish_restart(folder: Folder, number: int) -> None:
    """The second half of restart-shard, which a kill may have interrupted: set the old files aside.

    It has begun once the file `following` exists, which becomes the new event file last.
    """
    prepared = following(folder, number)
    if not prepared.exists():
        return
    trash = folder.path / "trash" / f"{number:05d}-{prepared.stat().st_mtime_ns}"
    for made in (trash.parent, trash):
        made.mkdir(FOLDER_MODE, exist_ok=True)
    for path in (folder.seal(number), folder.stories(number), folder.growing(number), folder.events(number)):
        if path.exists():
            path.rename(trash / f"{path.parent.name}-{path.name}")
    moved = [trash.parent, trash, *(folder.path / name for name in PARTS)]
    for changed in moved:  # or a power cut might leave the new event file beside the old stories
        sync_folder(changed)
    prepared.rename(folder.events(number))
    sync_folder(prepared.parent)
