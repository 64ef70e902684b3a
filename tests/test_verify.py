import orjson
import pytest
from pocket import fill, finish, lines, opened, parted, settle, sound, tiny

from storyd import reopen, verify
from storyd.errors import Damaged
from storyd.shards import Folder

JOB = tiny(9, 3)


@pytest.fixture
def folder(tmp_path):
    finish(JOB, tmp_path / "tiny", bad=0.5)
    return Folder(tmp_path / "tiny")


def faults(folder, quick=False):
    return verify.verify(folder, quick).faults


def test_a_finished_job_is_whole(folder):
    report = sound(folder.path)
    assert (report.stories, report.sealed, report.open, report.unsettled) == (9, 3, 0, 0)
    assert (report.tally.settled, report.notes) == (9, [])
    assert len(report.digest) == 64


def test_verify_changes_nothing(folder):
    reopen.retry(folder, "now")
    with folder.events(0).open("ab") as log:
        log.write(b"torn")
    before = {file: file.read_bytes() for file in folder.path.rglob("*") if file.is_file()}
    sound(folder.path)
    assert {file: file.read_bytes() for file in folder.path.rglob("*") if file.is_file()} == before


@pytest.mark.parametrize("part", ["stories", "events", "seals"])
def test_one_flipped_byte_anywhere_in_a_sealed_shard_is_found(part, folder):
    (file,) = (folder.path / part).glob("00001.*")
    whole = file.read_bytes()
    for at in range(0, len(whole), 7):
        for bit in (0, 5):
            flipped = bytearray(whole)
            flipped[at] ^= 1 << bit
            file.write_bytes(flipped)
            (fault,) = faults(folder)
            assert f"{part}/00001" in fault and "\n" not in fault, (at, bit)
    file.write_bytes(whole)
    sound(folder.path)


@pytest.mark.parametrize("part", ["stories", "events", "seals"])
def test_a_file_that_is_missing_is_found(part, folder):
    (file,) = (folder.path / part).glob("00001.*")
    file.unlink()
    if part == "seals":  # the next run makes it anew
        assert (sound(folder.path).sealed, sound(folder.path).open) == (2, 1)
    else:
        (fault,) = faults(folder)
        (quick,) = faults(folder, quick=True)
        assert f"{part}/00001.jsonl: is missing" in fault == quick


def test_every_fault_has_a_line_of_its_own(folder):
    for number in (0, 2):
        folder.stories(number).write_bytes(b"")
    assert len(faults(folder)) == len(faults(folder, quick=True)) == 2


def test_quick_reads_seals_and_sizes_only(folder):
    data = bytearray(folder.stories(1).read_bytes())
    data[50] ^= 1
    folder.stories(1).write_bytes(data)
    report = verify.verify(folder, quick=True)
    assert (report.faults, report.digest) == ([], "")
    assert report.tally.settled == 9


def test_a_seal_that_counts_other_records_is_found(folder):
    seal = folder.seal(1)
    said = seal.read_bytes().replace(b'"accepted": ', b'"accepted": 1')
    seal.write_bytes(said)
    (fault,) = faults(folder)
    assert "seals/00001.json: is not as it was written" in fault


def test_a_shard_that_was_sealed_too_early_is_found(tmp_path):
    with opened(JOB, tmp_path / "tiny") as account:
        settle(account, 0)
        account.seal(0, {})
    (fault,) = faults(Folder(tmp_path / "tiny"))
    assert fault.endswith("stories/00000.jsonl: is sealed, but 2 of its indices are not settled")


def test_an_open_job_is_whole_too(tmp_path):
    fill(JOB, tmp_path / "tiny", range(5))
    report = sound(tmp_path / "tiny")
    assert (report.sealed, report.open, report.unsettled, report.notes) == (0, 2, 4, [])


def test_a_torn_tail_is_a_note(tmp_path):
    path = tmp_path / "tiny"
    fill(JOB, path, range(2))
    for file in (Folder(path).growing(0), Folder(path).events(0)):
        with file.open("ab") as log:
            log.write(b"12345")
    assert sound(path).notes == [
        f"{path}/stories/00000.jsonl.open: ends in 5 bytes of a torn line; the next run cuts them off",
        f"{path}/events/00000.jsonl: ends in 5 bytes of a torn line; the next run cuts them off",
    ]


def test_an_answer_torn_between_its_records_is_a_note(tmp_path):
    path = tmp_path / "tiny"
    fill(tiny(9, 3, extract=parted), path, range(2), bad=0.0)
    file = Folder(path).growing(0)
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:3]))
    assert sound(path).notes == [
        f"{file}: ends in 1 of an answer's records; the next run cuts them off",
    ]


def test_what_was_interrupted_is_a_note(folder):
    folder.growing(0).write_bytes(b"")
    folder.events(1).with_suffix(".jsonl.next").write_bytes(b"")
    first, second = sound(folder.path).notes
    assert first.endswith("00000.jsonl.open: left over from sealing; the next run removes it")
    assert second.endswith("00001.jsonl: restart-shard was interrupted; the next run finishes it")


def test_the_digest_is_that_of_the_records_alone(folder, tmp_path):
    finish(JOB, tmp_path / "again", bad=0.5)
    fill(JOB, tmp_path / "open", range(9), bad=0.5)
    wanted = sound(folder.path).digest
    assert sound(tmp_path / "again").digest == sound(tmp_path / "open").digest == wanted
    with opened(JOB, tmp_path / "other") as account:
        settle(account, 0, bad=0.0)
    assert sound(tmp_path / "other").digest != wanted


def test_a_folder_of_no_job_is_said_to_be_none(tmp_path):
    with pytest.raises(Damaged, match=r"job.json: is missing: this is no job's folder"):
        verify.verify(Folder(tmp_path))


def test_the_tally_is_what_the_seals_say(folder):
    seals = [orjson.loads(folder.seal(number).read_bytes()) for number in range(3)]
    tally = sound(folder.path).tally
    assert tally.answers == sum(seal["answers"] for seal in seals)
    assert tally.usd == pytest.approx(sum(seal["usd"] for seal in seals))
    assert verify.verify(folder, quick=True).tally.body() == tally.body()


def test_lines_and_events_are_counted_once(folder):
    events = sum(len(lines(folder.events(number))) for number in range(3))
    stories = sum(len(lines(folder.stories(number))) for number in range(3))
    assert sound(folder.path).tally.answers == events + stories
