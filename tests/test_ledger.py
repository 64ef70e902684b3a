import os
import resource
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from pocket import accepted, ask, fill, finish, opened, seal, settle, sound, tiny

from storyd import ledger
from storyd.errors import ConfigError, Damaged, Full, Held
from storyd.shards import Folder

JOB = tiny(9, 3)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "tiny"


# ── what is noted ─────────────────────────────────────────────────────────────────────────────────


def test_each_event_lies_in_exactly_one_file(path):
    with opened(JOB, path) as account:
        noted = []
        settle(account, 4, noted=noted)
    stories = (path / "stories/00001.jsonl.open").read_bytes().splitlines()
    events = (path / "events/00001.jsonl").read_bytes().splitlines()
    assert len(stories) + len(events) == len(noted) and len(stories) == 1
    assert not list(path.glob("*/00000*")) and not list(path.glob("*/00002*"))


def test_what_is_noted_is_in_the_kernel_at_once(path):
    with opened(JOB, path) as account:
        account.open(0)
        account.note(ask(JOB, 0, bad=0.0))
        assert accepted(path).keys() == {(0, 0, 0)}  # another process would see it


def test_a_restart_shows_the_same_numbers(path):
    job = tiny(9, 3)
    with opened(job, path) as account:
        for index in (0, 1, 2, 3, 7):
            settle(account, index, bad=0.6)
        seal(account, 0)
        account.open(1)
        account.note(ask(job, 4, bad=1.0))
        shown = account.progress.total().body()
        past = account.past(4)
    with opened(job, path) as account:
        assert account.progress.total().body() == shown
        assert account.progress.sealed == {0} and account.progress.open.keys() == {1, 2}
        assert account.past(4) == past
        assert list(account.open(1).unsettled()) == [4, 5]


def test_a_part_of_a_job_knows_nothing_of_the_rest(path):
    fill(JOB, path, range(9))
    with opened(JOB, path, range(1, 2)) as account:
        assert account.progress.open.keys() == {1}
        assert account.progress.total().settled == 3


def test_parts_of_a_job_are_worked_on_side_by_side(path):
    with opened(JOB, path, range(2)) as one, opened(JOB, path, range(2, 3)) as two:
        for index in range(9):
            settle(one if index < 6 else two, index)
        for number in range(3):
            seal(one if number < 2 else two, number)
        with pytest.raises(Held, match="shards 1-2 are in use by process"), opened(JOB, path, range(1, 3)):
            pass
    assert sound(path).digest == finished(JOB, path.with_name("alone"))


def finished(job, path):
    finish(job, path)
    return sound(path).digest


def test_what_sealing_left_over_is_removed(path):
    finish(JOB, path)
    Folder(path).growing(1).write_bytes(b"")
    with opened(JOB, path) as account:
        assert account.progress.sealed == {0, 1, 2}
    assert not Folder(path).growing(1).exists()


def test_a_damaged_shard_leaves_nothing_open(path):
    fill(JOB, path, range(9))
    Folder(path).events(2).write_bytes(b"garbage\n")
    before = os.listdir("/proc/self/fd")
    for _ in range(3):
        with pytest.raises(Damaged), opened(JOB, path):
            pass
    assert os.listdir("/proc/self/fd") == before
    assert {found.name for found in path.iterdir()} == {"job.json", "lock", "stories", "events", "seals"}


def test_more_shards_may_be_open_than_the_shell_allows_files(path):
    job = tiny(120, 1)
    with opened(job, path) as account:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 20, hard))
    with opened(job, path) as account:
        for number in range(120):
            account.open(number)
        fewest, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        assert fewest > 240
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# ── the frozen job ────────────────────────────────────────────────────────────────────────────────


def test_a_job_may_grow_and_its_short_last_shard_is_reopened(path):
    short = replace(JOB, stories=8)
    finish(short, path)
    stories = accepted(path)
    with opened(JOB, path) as account:
        assert account.progress.sealed == {0, 1}
        assert list(account.open(2).unsettled()) == [8]
        assert account.progress.total().settled == 8
    assert stories.items() <= accepted(path).items()
    assert finish(JOB, path).settled == 9
    assert sound(path).digest == finished(JOB, path.with_name("at-once"))


def test_a_job_that_grows_by_whole_shards_leaves_the_others_sealed(path):
    finish(replace(JOB, stories=6), path)
    before = (path / "seals/00001.json").read_bytes()
    finish(JOB, path)
    assert (path / "seals/00001.json").read_bytes() == before


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"stories": 8}, "stories: 8 is fewer than the 9 it was begun with (stories may grow, not shrink)"),
        (
            {"fingerprint": {"template": "other", "model": "m", "clean": "x"}},
            "clean, template: changed since its first story, so old and new would not belong together "
            "(change it back, or give the job another name)",
        ),
    ],
)
def test_what_decides_the_meaning_of_a_record_may_not_change(change, line, path):
    fill(JOB, path, range(2))
    before = (path / "job.json").read_bytes()
    with pytest.raises(ConfigError) as caught, opened(replace(JOB, **change), path):
        pass
    assert str(caught.value) == f"{path}: {line}"
    assert (path / "job.json").read_bytes() == before


def test_what_may_change_is_kept_up_to_date(path):
    folder = Folder(path)
    ledger.freeze(JOB, folder, {"stories": 9, "shard_size": 3, "width": 4})
    ledger.freeze(JOB, folder, {"stories": 9, "shard_size": 3, "width": 8})
    assert ledger.frozen(folder)["job"]["width"] == 8
    written = folder.job.stat().st_mtime_ns
    ledger.freeze(JOB, folder, {"stories": 9, "shard_size": 3, "width": 8})
    assert folder.job.stat().st_mtime_ns == written


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{}", b"[]", b"null", b"garbage", b"\xff\xfe", b"[" * 10_000, b'{"fingerprint": {}, "job": {}}',
        b'{"fingerprint": [], "job": {"stories": 9, "shard_size": 3}}',
        b'{"fingerprint": {}, "job": {"stories": "9", "shard_size": 3}}',
        b'{"fingerprint": {}, "job": {"stories": 9, "shard_size": 0}}',
        b'{"fingerprint": {}, "job": {"stories": 9.5, "shard_size": 3}}',
    ],
)  # fmt: skip
def test_a_job_json_that_is_none_is_refused(content, path):
    fill(JOB, path, range(2))
    (path / "job.json").write_bytes(content)
    with pytest.raises(Damaged) as caught, opened(JOB, path):
        pass
    assert str(caught.value) == (
        f"{path}/job.json: is not the frozen job that storyd wrote "
        "(restore it; or, if the job file has not changed since, remove it and run it again)"
    )


def test_a_lost_job_json_is_written_again(path):
    fill(JOB, path, range(2))
    (path / "job.json").unlink()
    assert finished(JOB, path) == finished(JOB, path.with_name("other"))


def test_a_seal_of_more_indices_than_the_job_has_is_not_touched(path):
    finish(JOB, path)
    (path / "job.json").unlink()
    before = {file: file.read_bytes() for file in path.glob("*/*")}
    with pytest.raises(Damaged, match="is of indices 6 to 8, not of 6 to 7"), opened(tiny(8, 3), path):
        pass
    assert {file: file.read_bytes() for file in path.glob("*/*")} == before


def test_the_shards_of_another_shard_size_are_not_touched(path):
    finish(JOB, path)
    (path / "job.json").unlink()
    with pytest.raises(Damaged, match="is of indices 3 to 5, not of 4 to 7"), opened(tiny(9, 4), path):
        pass
    (path / "job.json").unlink()
    assert finished(JOB, path) == finished(JOB, path.with_name("other"))


# ── the disk ──────────────────────────────────────────────────────────────────────────────────────

# A disk of its own, which goes with the process: needs root or user namespaces, as most Linux machines have.
OWN_DISK = 'mount -t tmpfs -o size=500k,mode=700 none "$1" && exec "$2" "$3" "$1"'
SEPARATED = shutil.which("unshare") is not None and (
    subprocess.run(["unshare", "--map-root-user", "--mount", "true"], capture_output=True).returncode == 0
)


def on_a_small_disk(program, tmp_path):
    """Run a program, which is given the folder of a disk of 500 kB."""
    (tmp_path / "disk").mkdir()
    file = tmp_path / "program.py"
    file.write_text(program)
    inside = ["sh", "-ec", OWN_DISK, "sh", str(tmp_path / "disk"), sys.executable, str(file)]
    ended = subprocess.run(
        ["unshare", "--map-root-user", "--mount", *inside],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": f"{Path(ledger.__file__).parents[1]}:{Path(__file__).parent}"},
    )
    assert ended.returncode == 0, ended.stderr
    return orjson.loads(ended.stdout)


FULL = """
import json, sys
from pathlib import Path
from pocket import accepted, finish, opened, settle, sound, tiny
from storyd.errors import Full

JOB, path = tiny(4000, 4000), Path(sys.argv[1]) / "tiny"
ballast = Path(sys.argv[1]) / "ballast"
ballast.write_bytes(bytes(150_000))
noted, said, late = [], {}, 0
try:
    with opened(JOB, path, reserve=100_000) as account:
        for index in range(4000):
            settle(account, index, noted=noted)
            late += account.trouble is not None
            said["trouble"] = str(account.trouble)
except Full as full:
    said["end"] = str(full)
said |= {"noted": len(noted), "late": late}
try:
    with opened(JOB, path, reserve=100_000) as account:
        pass
except Full as full:
    said["again"] = str(full)
report = sound(path)
said |= {"settled": report.tally.settled, "answers": report.tally.answers, "notes": report.notes}
ballast.unlink()
with opened(JOB, path, reserve=1000) as account:
    said["first"] = next(account.open(0).unsettled())
print(json.dumps(said))
"""


@pytest.mark.skipif(not SEPARATED, reason="needs unshare and user namespaces")
def test_a_full_disk_leaves_room_for_what_is_in_flight(tmp_path):
    said = on_a_small_disk(FULL, tmp_path)
    place = f"{tmp_path}/disk/tiny"
    full = "no space left (free some space, then run it again)"
    assert said["trouble"].startswith(place) and said["trouble"].endswith(full)
    assert said["late"] > 100  # answers of 300 to 400 bytes each went into the reserve
    assert said["end"].startswith(f"{place}/") and said["end"].endswith(full)
    assert said["again"].startswith(place) and said["again"].endswith(full)
    assert said["answers"] == said["noted"]
    assert said["first"] in (said["settled"], said["settled"] + 1) and said["notes"] == []


SEALING = """
import json, os, sys
from pathlib import Path
from pocket import fill, finish, opened, seal, sound, tiny
from storyd.errors import Full

JOB, path = tiny(300, 300), Path(sys.argv[1]) / "tiny"
ballast = Path(sys.argv[1]) / "ballast"
fill(JOB, path, range(300))
disk = os.statvfs(path)
ballast.write_bytes(bytes(disk.f_bavail * disk.f_bsize - 50_000))
said = {}
try:
    with opened(JOB, path) as account:
        seal(account, 0)
except Full as full:
    said["end"] = str(full)
said["files"] = sorted(file.name for file in path.glob("*/0*"))
sound(path)
ballast.unlink()
said["settled"] = finish(JOB, path).settled
said["sealed"] = sound(path).sealed
print(json.dumps(said))
"""


@pytest.mark.skipif(not SEPARATED, reason="needs unshare and user namespaces")
def test_a_disk_without_room_for_a_seal_leaves_the_shard_open(tmp_path):
    said = on_a_small_disk(SEALING, tmp_path)
    assert said["end"].endswith(": no space left (free some space, then run it again)")
    assert said["files"] == ["00000.jsonl", "00000.jsonl.open"]  # events and stories
    assert (said["settled"], said["sealed"]) == (300, 1)


READ_ONLY = """
import json, subprocess, sys
from pathlib import Path
from pocket import fill, opened, sound, tiny
from storyd.errors import Full

JOB, path = tiny(9, 3), Path(sys.argv[1]) / "tiny"
fill(JOB, path, range(4))
subprocess.run(["mount", "-o", "remount,ro", "none", sys.argv[1]], check=True)
said = {}
try:
    with opened(JOB, path):
        pass
except Full as full:
    said["old"] = str(full)
try:
    with opened(JOB, path.with_name("new")):
        pass
except Full as full:
    said["new"] = str(full)
said["settled"] = sound(path).tally.settled
print(json.dumps(said))
"""


@pytest.mark.skipif(not SEPARATED, reason="needs unshare and user namespaces")
def test_a_read_only_folder_is_said_in_one_line_and_can_be_verified(tmp_path):
    said = on_a_small_disk(READ_ONLY, tmp_path)
    fix = "cannot write: read-only file system (make the folder writable, then run it again)"
    assert said["old"] == f"{tmp_path}/disk/tiny/lock: {fix}"
    assert said["new"] == f"{tmp_path}/disk/new: {fix}"
    assert said["settled"] == 4


def test_a_disk_that_breaks_stops_the_job(path, monkeypatch):
    def broken(fd, data):
        raise OSError(5, "Input/output error")

    with opened(JOB, path) as account:
        settle(account, 0)
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", broken)
            with pytest.raises(Full, match="cannot write: input/output error"):
                account.note(ask(JOB, 1))
        assert isinstance(account.trouble, Full)
        assert list(account.open(0).unsettled()) == [1, 2]  # what is not written did not happen
    assert sound(path).tally.settled == 1
