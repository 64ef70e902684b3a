import pytest
from pocket import accepted, ask, fill, finish, lines, opened, settle, sound, tiny

from storyd import reopen
from storyd.errors import ConfigError, Held, Refused
from storyd.events import Abandoned, Fault, to_line
from storyd.exchange import Usage
from storyd.past import Past
from storyd.shards import Folder

JOB = tiny(9, 3)


@pytest.fixture
def folder(tmp_path):
    """A sealed job with a few abandoned indices."""
    finish(JOB, tmp_path / "tiny", bad=0.7)
    assert 0 < sound(tmp_path / "tiny").tally.abandoned < 9
    return Folder(tmp_path / "tiny")


def asked(folder):
    """Every question that was answered: (index, nth)."""
    found = [line for file in folder.path.glob("events/*.jsonl") for line in lines(file)]
    numbers = [(line["index"], line["nth"]) for line in found if line["event"] in ("invalid", "abandoned")]
    return {*numbers, *((index, nth) for index, _, nth in accepted(folder.path))}


def reopenings(folder):
    found = [line for file in folder.path.glob("events/*.jsonl") for line in lines(file)]
    return [line for line in found if line["event"] == "reopened"]


# ── retry ─────────────────────────────────────────────────────────────────────────────────────────


def test_retry_reopens_only_what_was_abandoned(folder):
    stories, before = accepted(folder.path), sound(folder.path)
    assert reopen.retry(folder, "now") == before.tally.abandoned
    after = sound(folder.path)
    assert after.tally.accepted == before.tally.accepted
    assert (after.tally.abandoned, after.unsettled) == (0, before.tally.abandoned)
    assert after.tally.usd == pytest.approx(before.tally.usd)
    assert accepted(folder.path) == stories


def test_a_shard_without_anything_abandoned_stays_sealed(folder):
    reopen.restart(folder, 1, "now")
    finish(JOB, folder.path, bad=0.0)
    before = folder.seal(1).stat().st_mtime_ns
    assert reopen.retry(folder, "now") > 0
    assert folder.seal(1).stat().st_mtime_ns == before
    assert not (folder.seal(0).exists() and folder.seal(2).exists())


def test_the_numbers_go_on_and_the_attempts_start_again(folder):
    known = asked(folder)
    reopen.retry(folder, "now")
    noted = []
    finish(JOB, folder.path, bad=0.7, noted=noted)
    assert noted and not set(noted) & known
    assert min(nth for _, nth in noted) == 3
    assert {line["nth"] for line in reopenings(folder)} == {3}
    for line in lines(folder.stories(0)) + lines(folder.stories(1)) + lines(folder.stories(2)):
        assert line["attempts"] == line["nth"] % 3 + 1
    assert max(line["nth"] for n in range(3) for line in lines(folder.stories(n))) >= 3


def test_a_refused_question_is_not_repeated(tmp_path):
    path = tmp_path / "tiny"
    with opened(JOB, path) as account:
        account.open(0)
        account.note(Abandoned(1, 0, (str(Refused("HTTP 400: no")),), "now"))
    assert reopen.retry(Folder(path), "now") == 1
    with opened(JOB, path) as account:
        assert account.past(1) == Past(nth=1)


def test_retry_twice_reopens_nothing_more(folder):
    assert reopen.retry(folder, "now") > 0
    assert reopen.retry(folder, "now") == 0
    finish(JOB, folder.path, bad=0.0)
    assert reopen.retry(folder, "now") == 0
    assert sound(folder.path).tally.accepted == 9


def test_retry_of_an_open_job_reopens_what_was_abandoned_so_far(tmp_path):
    fill(JOB, tmp_path / "tiny", range(4), bad=1.0)
    assert reopen.retry(Folder(tmp_path / "tiny"), "now") == 4
    assert sound(tmp_path / "tiny").tally.settled == 0


def test_retry_needs_the_whole_job(folder):
    with opened(JOB, folder.path, range(2, 3)), pytest.raises(Held, match="which holds 2-2"):
        reopen.retry(folder, "now")


@pytest.mark.parametrize("call", [reopen.retry, lambda folder, now: reopen.restart(folder, 0, now)])
def test_what_is_no_job_is_refused(call, tmp_path):
    with pytest.raises(ConfigError) as caught:
        call(Folder(tmp_path / "none"), "now")
    assert str(caught.value) == f"{tmp_path}/none: no such job (see the folders beside it)"
    assert not (tmp_path / "none").exists()


# ── restart-shard ─────────────────────────────────────────────────────────────────────────────────


def test_a_restarted_shard_is_asked_from_its_beginning(folder):
    others = folder.stories(0).read_bytes(), folder.stories(2).read_bytes()
    assert reopen.restart(folder, 1, "now") == 3
    report = sound(folder.path)
    assert (report.sealed, report.unsettled, report.tally.settled) == (2, 3, 6)
    finish(JOB, folder.path, bad=0.0)
    assert sound(folder.path).tally.settled == 9
    assert others == (folder.stories(0).read_bytes(), folder.stories(2).read_bytes())


def test_the_old_files_lie_in_the_trash(folder):
    old = {file.read_bytes() for file in folder.path.glob("*/00001.*")}
    reopen.restart(folder, 1, "now")
    (trash,) = (folder.path / "trash").iterdir()
    assert {file.read_bytes() for file in trash.iterdir()} == old
    assert {file.name for file in trash.iterdir()} == {
        "stories-00001.jsonl", "events-00001.jsonl", "seals-00001.json",
    }  # fmt: skip
    reopen.restart(folder, 1, "now")
    assert len(list((folder.path / "trash").iterdir())) == 2


def test_what_was_spent_is_carried_over(folder):
    before = sound(folder.path).tally
    reopen.restart(folder, 1, "now")
    reopen.restart(folder, 1, "now")
    after = sound(folder.path).tally
    assert (after.answers, after.usage) == (before.answers, before.usage)
    assert after.usd == pytest.approx(before.usd)
    with opened(JOB, folder.path) as account:
        assert account.progress.total().usd == pytest.approx(before.usd)


def test_no_question_is_ever_repeated(folder):
    known = asked(folder)
    for _ in range(3):
        reopen.restart(folder, 1, "now")
        noted = []
        finish(JOB, folder.path, bad=0.7, noted=noted)
        assert {index for index, _ in noted} == {3, 4, 5}
        assert not set(noted) & known
        known |= set(noted)
        sound(folder.path)


def test_a_question_on_its_way_is_not_repeated_either(tmp_path):
    path = tmp_path / "tiny"
    with opened(JOB, path) as account:
        account.open(0)
        account.note(ask(JOB, 1, bad=1.0))
        account.note(Fault(1, 1, "reset", True, 0.5, "now"))
    assert reopen.restart(Folder(path), 0, "now") == 0
    with opened(JOB, path) as account:
        assert account.past(1) == Past(nth=2)


def test_an_index_counts_as_settled_only_if_its_record_is_not_void(tmp_path):
    path, folder = tmp_path / "tiny", Folder(tmp_path / "tiny")
    with opened(JOB, path) as account:
        settle(account, 0, bad=0.0)
        settle(account, 1, bad=0.0)
        with folder.events(0).open("ab") as log:
            log.write(to_line(reopen.Reopened(1, 1, "dedup", "now")))
    assert reopen.restart(folder, 0, "now") == 1


def test_a_damaged_shard_leaps_over_whatever_may_have_been_asked(folder):
    lost = lines(folder.stories(1))
    folder.stories(1).unlink()
    reopen.restart(folder, 1, "now")
    noted = []
    finish(JOB, folder.path, noted=noted)
    assert min(nth for _, nth in noted) >= reopen.LEAP > max(line["nth"] for line in lost)


def test_a_shard_that_was_never_begun_can_be_restarted(tmp_path):
    fill(JOB, tmp_path / "tiny", range(2))
    assert reopen.restart(Folder(tmp_path / "tiny"), 2, "now") == 0
    finish(JOB, tmp_path / "tiny")
    sound(tmp_path / "tiny")


def test_without_a_price_the_money_stays_unknown(folder):
    one = reopen.Spent()
    one.pay(2, Usage(1, 1), None)
    assert one.usd is None
    one.pay(1, Usage(1, 1), 0.5)
    assert (one.answers, one.usd) == (3, 0.5)


@pytest.mark.parametrize("number", [-1, 3, 99])
def test_a_shard_that_the_job_does_not_have_is_refused(number, folder):
    with pytest.raises(ConfigError, match=rf"no shard {number} \(it has 0 to 2\)"):
        reopen.restart(folder, number, "now")


def test_restart_needs_its_shard_only(folder):
    with opened(JOB, folder.path, range(1, 2)):
        reopen.restart(folder, 0, "now")
        with pytest.raises(Held, match="shards 1-1 are in use"):
            reopen.restart(folder, 1, "now")
