"""What a kill between any two calls to the kernel leaves is healed; damage is named; nothing is dropped."""

import shutil

import orjson
import pytest
from pocket import (
    accepted,
    every_kill,
    fill,
    finish,
    lines,
    opened,
    parted,
    seal,
    settle,
    sound,
    tiny,
)

from storyd import reopen, shards, verify
from storyd.errors import Damaged, StorydError
from storyd.shards import Folder

JOB = tiny(6, 3)
PARTED = tiny(4, 2, extract=parted)


@pytest.fixture(autouse=True)
def no_power_cuts(monkeypatch):
    """A kill loses nothing that the kernel has, so nothing needs to wait for the disk."""
    monkeypatch.setattr("os.fsync", lambda fd: None)
    monkeypatch.setattr("os.fdatasync", lambda fd: None)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "tiny"


def digest(job, path, bad=0.3):
    finish(job, path, bad)
    return sound(path).digest


# ── kills ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_run_that_is_killed_anywhere_goes_on_as_if_nothing_had_happened(tmp_path):
    undisturbed = digest(PARTED, tmp_path / "undisturbed")
    before = []

    def run(path):
        before.clear()
        finish(PARTED, path, noted=before)

    kills = 0
    for where, path in every_kill(tmp_path / "nothing", run):
        kills += 1
        if (path / "job.json").exists():
            sound(path)
        had, after = accepted(path), []
        finish(PARTED, path, noted=after)
        report = sound(path)
        assert report.digest == undisturbed, where
        assert (report.sealed, report.unsettled, report.notes) == (2, 0, []), where
        assert not set(before) & set(after), where
        assert had.items() <= accepted(path).items(), where
        assert not list(path.glob("**/*.open")), where
    assert kills > 60


def test_growing_a_job_that_is_killed_anywhere(tmp_path):
    grown = tiny(4, 2)
    finish(tiny(3, 2), tmp_path / "begin")
    had, wanted = accepted(tmp_path / "begin"), digest(grown, tmp_path / "at once")
    for where, path in every_kill(tmp_path / "begin", lambda path: finish(grown, path)):
        sound(path)
        assert digest(grown, path) == wanted, where
        assert had.items() <= accepted(path).items(), where


def test_a_retry_that_is_killed_anywhere(tmp_path):
    begin, wanted = tmp_path / "begin", tmp_path / "wanted"
    finish(JOB, begin, bad=0.8)
    had = accepted(begin)
    shutil.copytree(begin, wanted)
    reopened = reopen.retry(Folder(wanted), "now")
    assert 0 < reopened < 6
    whole = digest(JOB, wanted)
    for where, path in every_kill(begin, lambda path: reopen.retry(Folder(path), "now")):
        sound(path)
        reopen.retry(Folder(path), "now")
        assert digest(JOB, path) == whole, where
        assert had.items() <= accepted(path).items(), where
        assert lines(path / "events/00000.jsonl")[: len(lines(begin / "events/00000.jsonl"))] == lines(
            begin / "events/00000.jsonl"
        ), where


@pytest.mark.parametrize("number", [0, 1], ids=["sealed", "open"])
def test_a_restart_that_is_killed_anywhere(number, tmp_path):
    begin, wanted = tmp_path / "begin", tmp_path / "wanted"
    with opened(JOB, begin) as account:
        for index in range(5):
            settle(account, index, bad=0.5)
        seal(account, 0)
    shutil.copytree(begin, wanted)
    old = files(begin, number)
    assert reopen.restart(Folder(wanted), number, "now") == (3 if number == 0 else 2)
    tally = finish(JOB, wanted)
    whole = sound(wanted).digest
    for where, path in every_kill(begin, lambda path: reopen.restart(Folder(path), number, "now")):
        sound(path)
        with opened(JOB, path):
            pass  # whoever comes next finishes what was begun
        sound(path)
        reopen.restart(Folder(path), number, "now")
        assert old <= {(file.name, file.read_bytes()) for file in path.glob("trash/*/*")}, where
        again = finish(JOB, path)
        assert sound(path).digest == whole, where
        assert again.body() == tally.body(), where


def files(path, number):
    """What a shard's files are called in the trash, and what is in them."""
    found = path.glob(f"*/{number:05d}.json*")
    return {(f"{file.parent.name}-{file.name}", file.read_bytes()) for file in found}


# ── states and damage ─────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def folder(path):
    """A job of one sealed shard and an open one that is almost settled."""
    with opened(JOB, path) as account:
        for index in range(5):
            settle(account, index, bad=0.5)
        seal(account, 0)
    assert lines(path / "events/00000.jsonl") and lines(path / "events/00001.jsonl")
    return Folder(path)


@pytest.fixture
def wanted(folder, tmp_path):
    """The digest of the same job when nothing happens to it."""
    return digest(JOB, shutil.copytree(folder.path, tmp_path / "wanted"), bad=0.5)


def open_copy(folder):
    """The open file of the sealed shard, as it was before it was sealed."""
    body = folder.stories(0).read_bytes().splitlines(keepends=True)
    folder.growing(0).write_bytes(b"".join(reversed(body)))


def a_seal_that_is_lost(folder):
    folder.seal(0).unlink()


def an_open_file_that_was_about_to_go(folder):
    open_copy(folder)


def a_rename_without_its_seal(folder):
    open_copy(folder)
    folder.seal(0).unlink()


def a_seal_without_its_rename(folder):
    open_copy(folder)
    folder.stories(0).unlink()


def an_empty_seal(folder):
    folder.seal(0).write_bytes(b"")


def half_a_seal(folder):
    data = folder.seal(0).read_bytes()
    folder.seal(0).write_bytes(data[: len(data) // 2])


def a_seal_that_is_something_else(folder):
    folder.seal(0).write_bytes(b'["a", "list"]')


def temporary_files(folder):
    for file in (folder.stories(0), folder.seal(1), folder.stories(1), folder.job):
        file.with_name(file.name + ".tmp").write_bytes(b"half of someth")


def torn_tails(folder):
    for file in (folder.growing(1), folder.events(1)):
        with file.open("ab") as log:
            log.write(b'{"id": "tiny/5", "index": 5')


def an_empty_shard(folder):
    for file in (folder.growing(1), folder.events(1)):
        file.write_bytes(b"")


def no_open_file_yet(folder):
    folder.growing(1).unlink()
    folder.events(1).write_bytes(b"")


@pytest.mark.parametrize(
    "state",
    [
        a_seal_that_is_lost, an_open_file_that_was_about_to_go, a_rename_without_its_seal,
        a_seal_without_its_rename, an_empty_seal, half_a_seal, a_seal_that_is_something_else,
        temporary_files, torn_tails, an_empty_shard, no_open_file_yet,
    ],
)  # fmt: skip
def test_is_healed(state, folder, wanted):
    state(folder)
    assert digest(JOB, folder.path, bad=0.5) == wanted
    assert (sound(folder.path).sealed, sound(folder.path).notes) == (2, [])
    assert not folder.growing(0).exists() and not folder.growing(1).exists()


def no_sealed_stories(folder):
    folder.stories(0).unlink()
    return "stories/00000.jsonl: is missing, but its seal says"


def shortened_sealed_stories(folder):
    body = folder.stories(0).read_bytes().splitlines(keepends=True)
    folder.stories(0).write_bytes(b"".join(body[:-1]))
    return r"stories/00000.jsonl: has \d+ bytes, but its seal says \d+ bytes"


def no_sealed_events(folder):
    folder.events(0).unlink()
    return "events/00000.jsonl: is missing, but its seal says"


def longer_sealed_events(folder):
    with folder.events(0).open("ab") as log:
        log.write(b"\n")
    return r"events/00000.jsonl: has \d+ bytes, but its seal says"


def the_seal_of_another_shard(folder):
    folder.seal(1).write_bytes(folder.seal(0).read_bytes())
    return "seals/00001.json: is of indices 0 to 2, not of 3 to 5"


def no_events(folder):
    folder.events(1).unlink()
    return "events/00001.jsonl: is missing: what was asked there"


def insert(file, *new, at=1):
    body = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join([*body[:at], *new, *body[at:]]))


def garbage_among_the_stories(folder):
    insert(folder.growing(1), b"\x00\x00garbage\n")
    return "stories/00001.jsonl.open: line 2: "


def garbage_among_the_events(folder):
    insert(folder.events(1), b"{}\n")
    return "events/00001.jsonl: line 2: not an event"


def an_empty_line(folder):
    insert(folder.growing(1), b"\n", at=0)
    return "stories/00001.jsonl.open: line 1: "


def numbers_that_are_none(folder):
    line = changed(folder.growing(1), nth="one")
    insert(folder.growing(1), line)
    return "stories/00001.jsonl.open: line 2: "


def an_index_twice(folder):
    insert(folder.growing(1), folder.growing(1).read_bytes().splitlines(keepends=True)[0])
    return r"stories/00001.jsonl.open: line 2: index \d is settled twice"


def an_index_both_accepted_and_abandoned(folder):
    index = lines(folder.growing(1))[0]["index"]
    insert(folder.events(1), abandoned(index), at=99)
    return rf"stories/00001.jsonl.open: line 1: index {index} is settled twice"


def an_index_abandoned_twice(folder):
    insert(folder.events(1), abandoned(5), abandoned(5), at=99)
    return "events/00001.jsonl: line [0-9]+: index 5 is settled twice"


def an_index_of_another_shard(folder):
    insert(folder.growing(1), folder.stories(0).read_bytes().splitlines(keepends=True)[0], at=0)
    return r"stories/00001.jsonl.open: line 1: index \d belongs to another shard"


def an_event_of_another_shard(folder):
    insert(folder.events(1), abandoned(99), at=0)
    return "events/00001.jsonl: line 1: index 99 belongs to another shard"


def a_part_without_the_first(folder):
    insert(folder.growing(1), changed(folder.growing(1), index=5, part=1, parts=2))
    return "stories/00001.jsonl.open: line 2: part 0 of index 5 is missing"


def a_torn_answer_in_mid_file(folder):
    insert(folder.growing(1), changed(folder.growing(1), index=5, part=0, parts=2), at=0)
    return "stories/00001.jsonl.open: line 2: part 1 of index 5 is missing"


def abandoned(index):
    return orjson.dumps({"event": "abandoned", "index": index, "nth": 0, "why": ["x"], "at": ""}) + b"\n"


def changed(file, **facts):
    return orjson.dumps({**lines(file)[0], **facts}) + b"\n"


@pytest.mark.parametrize(
    "damage",
    [
        no_sealed_stories, shortened_sealed_stories, no_sealed_events, longer_sealed_events,
        the_seal_of_another_shard, no_events, garbage_among_the_stories, garbage_among_the_events,
        an_empty_line, numbers_that_are_none, an_index_twice, an_index_both_accepted_and_abandoned,
        an_index_abandoned_twice, an_index_of_another_shard, an_event_of_another_shard,
        a_part_without_the_first, a_torn_answer_in_mid_file,
    ],
)  # fmt: skip
def test_is_refused_in_one_line(damage, folder, tmp_path):
    said = damage(folder)
    before = files(folder.path, 0) | files(folder.path, 1)
    with pytest.raises(Damaged, match=said) as caught:
        finish(JOB, folder.path)
    assert str(caught.value).endswith(")") and "\n" not in str(caught.value)
    assert files(folder.path, 0) | files(folder.path, 1) == before, "it changed what it refused"
    assert len(verify.verify(folder).faults) == 1


@pytest.mark.parametrize(
    "damage", [no_sealed_stories, no_sealed_events, no_events, garbage_among_the_stories]
)
def test_what_is_damaged_can_be_asked_again(damage, folder):
    damage(folder)
    number = 0 if damage in (no_sealed_stories, no_sealed_events) else 1
    asked = {(line["index"], line["nth"]) for line in lines(folder.events(number))}
    asked |= {(0, 0), (1, 0), (2, 0), (3, 0), (4, 0)}
    reopen.restart(folder, number, "now")
    noted = []
    finish(JOB, folder.path, noted=noted)
    assert not set(noted) & asked
    sound(folder.path)


def test_a_sealed_shard_is_reopened_only_if_it_is_what_its_seal_says(folder):
    data = bytearray(folder.stories(0).read_bytes())
    data[data.index(b"Once")] ^= 1
    folder.stories(0).write_bytes(data)
    with opened(JOB, folder.path):
        pass  # a run reads seals and sizes only
    with pytest.raises(Damaged, match=r"stories/00000.jsonl: its content is not what its seal says"):
        shards.open_shard(folder, 0, JOB.shard(0))
    assert folder.seal(0).exists() and folder.stories(0).read_bytes() == data


def test_a_shard_that_lost_a_record_while_it_was_open_is_not_sealed(folder):
    with (
        pytest.raises(Damaged, match="holds 1 records where 2 were noted"),
        opened(JOB, folder.path) as account,
    ):
        settle(account, 5, bad=1.0)
        body = folder.growing(1).read_bytes().splitlines(keepends=True)
        folder.growing(1).write_bytes(body[0])
        account.seal(1, {})
    assert not folder.seal(1).exists()


# ── answers of several stories ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kept", range(4))
def test_an_incomplete_answer_at_the_tail_is_cut_and_asked_again(kept, path):
    job = tiny(2, 2, extract=lambda text: tuple("abcd"))
    fill(job, path, range(2), bad=0.0)
    whole = digest(job, shutil.copytree(path, path.with_name("whole")), bad=0.0)
    file = Folder(path).growing(0)
    body = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(body[: 4 + kept]) + b'{"id": "ti')
    notes = sound(path).notes
    assert len(notes) == (2 if kept else 1)
    assert not kept or f"ends in {kept} of an answer's records" in notes[1]
    noted = []
    finish(job, path, bad=0.0, noted=noted)
    assert noted == [(1, 0)]
    assert sound(path).digest == whole


def test_a_sealed_shard_is_sorted_by_index_and_part(path):
    with opened(PARTED, path) as account:
        for index in (1, 0):
            settle(account, index, bad=0.0)
        assert [line["id"] for line in lines(path / "stories/00000.jsonl.open")] == [
            "tiny/1.0", "tiny/1.1", "tiny/0.0", "tiny/0.1",
        ]  # fmt: skip
        seal(account, 0)
    assert [line["id"] for line in lines(path / "stories/00000.jsonl")] == [
        "tiny/0.0", "tiny/0.1", "tiny/1.0", "tiny/1.1",
    ]  # fmt: skip


# ── the seal ──────────────────────────────────────────────────────────────────────────────────────


def test_a_seal_says_what_the_contract_says(folder):
    seal = orjson.loads(folder.seal(0).read_bytes())
    assert seal.keys() >= {
        "shard", "range", "records", "abandoned", "stories", "events", "digest", "usage", "usd", "answers",
        "faults", "reasons", "latency", "models", "sealed_at",
    }  # fmt: skip
    assert (seal["shard"], seal["range"]) == (0, [0, 3])
    assert seal["stories"] == {
        "bytes": folder.stories(0).stat().st_size,
        "sha256": shards.file_hash(folder.stories(0)),
    }
    assert seal["answers"] == seal["records"] + len(lines(folder.events(0)))


def test_equal_jobs_have_equal_files_whatever_the_order(tmp_path):
    for name, order in (("one", range(3)), ("two", reversed(range(3)))):
        with opened(JOB, tmp_path / name) as account:
            for index in order:
                settle(account, index)
            seal(account, 0)
    one, two = Folder(tmp_path / "one"), Folder(tmp_path / "two")
    assert one.stories(0).read_bytes() == two.stories(0).read_bytes()
    assert (
        orjson.loads(one.seal(0).read_bytes())["digest"] == orjson.loads(two.seal(0).read_bytes())["digest"]
    )


def test_files_and_folders_are_for_the_owner_and_the_group(folder):
    reopen.restart(folder, 0, "now")
    for found in folder.path.rglob("*"):
        allowed = 0o750 if found.is_dir() else 0o640
        assert found.stat().st_mode & 0o777 & ~allowed == 0, found


def test_records_are_read_in_the_order_of_their_file(folder):
    assert [record.index for record in shards.read(folder.stories(0))] == [
        line["index"] for line in lines(folder.stories(0))
    ]
    folder.stories(0).write_bytes(b"{}\n")
    with pytest.raises(StorydError, match=r"00000.jsonl: line 1: not a record"):
        list(shards.read(folder.stories(0)))
