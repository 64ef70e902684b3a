"""Files that only grow, and locks on them. Knows lines, not what they mean.

A line handed over is in the kernel (it survives kill -9); `sync` puts it on the disk (it survives a power
cut).
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import Damaged, Full, Held

FILE_MODE, FOLDER_MODE = 0o640, 0o750
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
MAX_LINE = 64 << 20
"""No line of ours is longer (bytes); a longer one is damage, not data."""


class AppendLog:
    """A file of lines with one writer. Opening it cuts a torn last line off."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.dirty = False
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, FILE_MODE)
        self.size = os.fstat(self._fd).st_size
        if torn := torn_tail(self._fd, self.size):
            self.cut(self.size - torn)

    def append(self, lines: bytes) -> None:
        """Write whole lines, or nothing. Raises OSError."""
        written = 0
        try:
            while written < len(lines):
                written += os.write(self._fd, lines[written:] if written else lines)
        except OSError:
            if written:
                os.ftruncate(self._fd, self.size)
            raise
        self.size += written
        self.dirty = True

    def cut(self, size: int) -> None:
        """Drop everything after `size` bytes."""
        os.ftruncate(self._fd, size)
        self.size, self.dirty = size, True

    def sync(self) -> None:
        """Put what was written on the disk. Raises OSError."""
        if self.dirty:
            self.dirty = False  # before the call: what is written meanwhile is dirty again
            os.fdatasync(self._fd)

    def close(self) -> None:
        """Sync and close; closing twice does nothing."""
        if self._fd >= 0:
            try:
                self.sync()
            finally:
                os.close(self._fd)
                self._fd = -1


def torn_tail(fd: int, size: int) -> int:
    """How many bytes follow the last newline of a file: what a kill in mid-write may leave."""
    at = size
    while at:
        start = max(0, at - (1 << 16))
        newline = os.pread(fd, at - start, start).rfind(b"\n")
        if newline >= 0:
            return size - (start + newline + 1)
        at = start
    return size


def whole_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """(number from 1, line with its newline) of a file, if there is one; a torn last line is left out.

    Raises Damaged at a line that is longer than any of ours.
    """
    if not path.exists():
        return
    with path.open("rb") as file:
        number = 0
        while line := file.readline(MAX_LINE):
            number += 1
            if line.endswith(b"\n"):
                yield number, line
            elif len(line) == MAX_LINE:
                raise Damaged(f"line {number} is longer than {MAX_LINE >> 20} MB", where=str(path))


def write_whole(path: Path, data: bytes) -> None:
    """Replace a file so that a reader sees the old or the new one, whole, whatever is killed."""
    temporary = path.with_name(path.name + ".tmp")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, FILE_MODE)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        os.fsync(fd)
    except OSError:
        with suppress(OSError):
            temporary.unlink()
        raise
    finally:
        os.close(fd)
    temporary.rename(path)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Put a folder's names on the disk."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextmanager
def disk_errors(where: Path) -> Iterator[None]:
    """Say in one line what the disk refused. Raises Full for an OSError."""
    try:
        yield
    except OSError as error:
        place = str(error.filename or where)
        if error.errno in NO_ROOM:
            raise Full("no space left", where=place, fix="free some space, then run it again") from error
        what = os.strerror(error.errno) if error.errno else str(error)
        fix = "raise ulimit -n" if error.errno == errno.EMFILE else "make the folder writable"
        raise Full(f"cannot write: {what.lower()}", where=place, fix=f"{fix}, then run it again") from error


# ── who owns what ─────────────────────────────────────────────────────────────────────────────────


@contextmanager
def owned(path: Path, shards: range) -> Iterator[None]:
    """Own the shards of a job while inside: byte k of its lock file stands for shard k.

    The kernel lets go when the process ends, however it ends. Raises Held, naming who holds one of them.
    """
    with disk_errors(path):
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
    try:
        try:
            # not lockf: its locks are the process's, so a second owner in it would take and drop them all
            fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _flock(shards))
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                raise
            raise Held(
                f"shards {shards.start}-{shards.stop - 1} are in use by {_holder(fd, shards)}",
                where=str(path.parent),
                fix="wait for it or stop it",
            ) from None
        yield
    finally:
        os.close(fd)


_FLOCK = "hhqqi4x"
"""struct flock of 64-bit Linux: type, whence, start, length, pid."""


def _flock(shards: range) -> bytes:
    return struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, shards.start, len(shards), 0)


def _holder(fd: int, shards: range) -> str:
    kind, _, start, length, _ = struct.unpack(_FLOCK, fcntl.fcntl(fd, fcntl.F_OFD_GETLK, _flock(shards)))
    if kind == fcntl.F_UNLCK:
        return "a process that has just gone (run it again)"
    pid = next(_owners(os.fstat(fd), start), None)
    if pid is None:
        return "a process on another machine, or another user's"
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        command = "it has just gone"
    printable = "".join(char if char.isprintable() else "?" for char in command.strip()[:200])
    return f"process {pid}, which holds {start}-{start + length - 1}: {printable}"


def _owners(file: os.stat_result, start: int) -> Iterator[int]:
    """The processes that hold a lock on a file from byte `start` on."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        for name in _names(Path(f"/proc/{pid}/fd")):
            with suppress(OSError):  # it was closed meanwhile
                if os.path.samestat(file, os.stat(f"/proc/{pid}/fd/{name}")) and _locks(pid, name, start):
                    yield int(pid)


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:  # a process that has gone, or another user's
        return []


def _locks(pid: str, name: str, start: int) -> bool:
    """Whether the kernel says of an open file that it is locked from byte `start` on."""
    info = Path(f"/proc/{pid}/fdinfo/{name}").read_text()
    return any(line.startswith("lock:") and line.split()[-2] == str(start) for line in info.splitlines())
