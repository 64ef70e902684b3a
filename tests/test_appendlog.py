import errno
import os
import resource
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storyd import appendlog
from storyd.appendlog import AppendLog, disk_errors, owned, torn_tail, whole_lines, write_whole
from storyd.errors import Damaged, Full, Held

LINES = st.lists(st.binary(max_size=40).map(lambda line: line.replace(b"\n", b"") + b"\n"), max_size=12)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "log"


def read(path):
    return [line for _, line in whole_lines(path)]


# ── lines ─────────────────────────────────────────────────────────────────────────────────────────


@given(LINES)
def test_what_is_appended_stands_there_in_order(tmp_path_factory, lines):
    path = tmp_path_factory.mktemp("log") / "log"
    log = AppendLog(path)
    for line in lines:
        log.append(line)
    log.close()
    assert read(path) == lines
    assert path.stat().st_size == log.size == sum(map(len, lines))


@given(LINES, st.data())
def test_a_file_cut_at_any_byte_holds_its_whole_lines(tmp_path_factory, lines, data):
    path = tmp_path_factory.mktemp("log") / "log"
    whole = b"".join(lines)
    cut = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:cut])
    kept = read(path)
    assert kept == lines[: len(kept)]
    assert cut - sum(map(len, kept)) < max(map(len, lines), default=1)
    log = AppendLog(path)
    log.append(b"next\n")
    log.close()
    assert read(path) == [*kept, b"next\n"]


@pytest.mark.parametrize("torn", [1, 65535, 65536, 65537, 200_000])
def test_a_torn_tail_of_any_length_is_found(path, torn):
    path.write_bytes(b"whole\n" + b"x" * torn)
    fd = os.open(path, os.O_RDONLY)
    assert torn_tail(fd, 6 + torn) == torn
    os.close(fd)
    AppendLog(path).close()
    assert path.read_bytes() == b"whole\n"


def test_zeros_that_a_power_cut_left_are_a_torn_tail(path):
    path.write_bytes(b"whole\n" + bytes(5000))
    AppendLog(path).close()
    assert path.read_bytes() == b"whole\n"


@pytest.mark.parametrize("content", [b"", b"torn", b"\n"])
def test_small_files_are_no_special_case(path, content):
    path.write_bytes(content)
    AppendLog(path).close()
    assert path.read_bytes() == (b"\n" if content == b"\n" else b"")


def test_a_file_that_is_not_there_has_no_lines(path):
    assert read(path) == []


def test_a_line_longer_than_any_of_ours_is_damage(path, monkeypatch):
    monkeypatch.setattr(appendlog, "MAX_LINE", 1000)
    path.write_bytes(b"fine\n" + b"x" * 1001 + b"\n")
    with pytest.raises(Damaged, match="line 2 is longer than"):
        read(path)


def test_a_log_is_for_its_owner_and_group_only(path):
    AppendLog(path).close()
    assert path.stat().st_mode & 0o777 & ~0o640 == 0


# ── the disk ──────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def room_for(size):
    """The kernel lets no file grow beyond `size` bytes: it writes what fits, then nothing."""
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


@pytest.mark.parametrize("room", range(10, 31, 4))
def test_a_disk_that_fills_up_in_mid_write_leaves_whole_lines(path, room):
    log = AppendLog(path)
    with room_for(room):
        log.append(b"123456789\n")
        with pytest.raises(OSError) as caught:
            log.append(b"abcdefghi\n" * 3)
    assert caught.value.errno == errno.EFBIG
    assert path.read_bytes() == b"123456789\n"
    log.append(b"room again\n")
    log.close()
    assert read(path) == [b"123456789\n", b"room again\n"]


def test_lines_that_the_kernel_takes_in_pieces_are_whole(path, monkeypatch):
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, bytes(data)[:7]))
    log = AppendLog(path)
    log.append(b"a line of some length\n")
    log.close()
    write_whole(path.with_name("other"), b"and another one\n")
    assert read(path) == [b"a line of some length\n"]
    assert path.with_name("other").read_bytes() == b"and another one\n"


def test_one_sync_is_enough_for_many_lines(path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    log = AppendLog(path)
    log.sync()
    assert len(synced) == 0
    for _ in range(5):
        log.append(b"line\n")
    log.sync()
    log.sync()
    assert len(synced) == 1
    log.append(b"line\n")
    log.close()
    log.close()
    assert len(synced) == 2


def test_a_log_is_closed_even_if_its_last_sync_fails(path, monkeypatch):
    def fail(fd):
        raise OSError(errno.EIO, "broken")

    log = AppendLog(path)
    log.append(b"line\n")
    monkeypatch.setattr(os, "fdatasync", fail)
    open_files = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError):
        log.close()
    log.close()
    assert len(os.listdir("/proc/self/fd")) == open_files - 1


def test_a_file_is_replaced_whole_or_not_at_all(path):
    write_whole(path, b"old")
    with room_for(2), pytest.raises(OSError):
        write_whole(path, b"new and longer")
    assert path.read_bytes() == b"old"
    assert os.listdir(path.parent) == ["log"]
    write_whole(path, b"new")
    assert path.read_bytes() == b"new"
    assert os.listdir(path.parent) == ["log"]


@pytest.mark.parametrize(
    ("code", "what"),
    [
        (errno.ENOSPC, "no space left (free some space"),
        (errno.EDQUOT, "no space left (free some space"),
        (errno.EROFS, "cannot write: read-only file system (make the folder writable"),
        (errno.EACCES, "cannot write: permission denied (make the folder writable"),
        (errno.EMFILE, "cannot write: too many open files (raise ulimit -n"),
        (errno.EIO, "cannot write: input/output error (make the folder writable"),
    ],
)
def test_what_the_disk_refused_is_said_in_one_line(code, what):
    with pytest.raises(Full) as caught, disk_errors(Path("HERE")):
        raise OSError(code, os.strerror(code))
    assert str(caught.value) == f"HERE: {what}, then run it again)"


def test_the_file_that_was_refused_is_named():
    with pytest.raises(Full, match=r"^/proc/no/such: cannot write"), disk_errors(Path("HERE")):
        Path("/proc/no/such").touch()


# ── who owns what ─────────────────────────────────────────────────────────────────────────────────

HOLD = """
import sys, time
from pathlib import Path
from storyd.appendlog import owned
with owned(Path(sys.argv[1]), range(int(sys.argv[2]), int(sys.argv[3]))):
    print("held", flush=True)
    time.sleep(60)
"""


@contextmanager
def another_process(path, shards):
    command = [sys.executable, "-c", HOLD, str(path), str(shards.start), str(shards.stop)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def test_a_second_process_is_told_who_holds_the_shards(path):
    with another_process(path, range(3, 9)) as process:
        with pytest.raises(Held) as caught, owned(path, range(8, 20)):
            pass
        said = str(caught.value)
        assert said.startswith(
            f"{path.parent}: shards 8-19 are in use by process {process.pid}, which holds 3-8: "
        )
        assert Path(sys.executable).name in said
        assert said.endswith("(wait for it or stop it)")
        assert "\n" not in said
        with owned(path, range(3)), owned(path, range(9, 20)):
            pass  # ranges that do not overlap live side by side


def test_a_killed_process_holds_nothing(path):
    with another_process(path, range(9)) as process:
        process.kill()
        process.wait()
        with owned(path, range(9)):
            pass


def test_one_process_does_not_own_a_shard_twice(path):
    with owned(path, range(5)):
        with (
            pytest.raises(Held, match=f"in use by process {os.getpid()}, which holds 0-4"),
            owned(path, range(4, 6)),
        ):
            pass
        with owned(path, range(5, 9)):
            pass
        with pytest.raises(Held), owned(path, range(1)):
            pass  # the inner owner took nothing along when it let go
    with owned(path, range(9)):
        pass


def test_an_owner_that_fails_lets_go(path):
    with suppress(ZeroDivisionError), owned(path, range(5)):
        _ = 1 // 0
    with owned(path, range(5)):
        pass


def test_a_child_does_not_inherit_what_its_parent_owns(path):
    with owned(path, range(5)):
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        with owned(path, range(5)):
            pass
    finally:
        child.communicate(b"\n")
