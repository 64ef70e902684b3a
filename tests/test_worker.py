"""Whatever happens on the way of a job, its records are the same, and no answer is lost or paid twice."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pocket import (
    NOW,
    PRICE,
    QUICK,
    Teller,
    accepted,
    answer,
    chance,
    fill,
    finish,
    lines,
    opened,
    sound,
    tiny,
)

from storyd.appendlog import AppendLog
from storyd.budget import Purse
from storyd.errors import Damaged, Fatal, Full, Spent, Transient
from storyd.settings import Budget
from storyd.worker import Account, Frontier, now, work

JOB = tiny(40, 8)


@pytest.fixture(autouse=True)
def no_power_cuts(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda fd: None)
    monkeypatch.setattr("os.fdatasync", lambda fd: None)


@pytest.fixture(scope="module")
def wanted(tmp_path_factory):
    """The digest of the job when nothing happens to it."""
    path = tmp_path_factory.mktemp("wanted")
    finish(JOB, path)
    return sound(path).digest


async def run(provider, path, width=8, drain_after=None, job=JOB, purse=None):
    """Work on a job; drained after some seconds."""
    drain = anyio.CancelScope()
    with opened(job, path) as ledger:
        spending = purse and Purse(purse, PRICE, ledger.progress.spent)
        if drain_after is not None:
            asyncio.get_running_loop().call_later(drain_after, drain.cancel)
        await work(job, Account("pocket", provider, PRICE, spending), ledger, width, drain)


def noted(path):
    """The ids of all answers that were written down."""
    events = [line for file in path.glob("events/*.jsonl") for line in lines(file)]
    rejected = [(line["index"], line["nth"]) for line in events if line.get("answer")]
    return sorted(f"tiny/{index}.{nth}" for index, nth in rejected + [(i, n) for i, _, n in accepted(path)])


# ── the same records ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("width", [1, 7, 64])
async def test_the_width_does_not_matter(width, tmp_path, wanted):
    await run(Teller(latency=0.002), tmp_path, width)
    report = sound(tmp_path)
    assert (report.digest, report.sealed, report.unsettled) == (wanted, 5, 0)


@pytest.mark.parametrize("own", [True, False], ids=["a fault of its own", "a fault of the account"])
async def test_faults_do_not_matter(own, tmp_path, wanted):
    teller = Teller(faults=0.4, own=own)
    await run(teller, tmp_path)
    assert sound(tmp_path).digest == wanted
    assert sound(tmp_path).tally.faults > 10
    assert sorted(teller.answered) == sorted(set(teller.answered)) == noted(tmp_path)


@given(st.lists(st.floats(0, 0.006), max_size=4), st.sampled_from([1, 3, 20]), st.floats(0, 0.3))
@settings(max_examples=20)
def test_drains_do_not_matter(tmp_path_factory, wanted, drains, width, faults):
    path, teller = tmp_path_factory.mktemp("drained"), Teller(faults=faults, latency=0.002)
    for seconds in drains:
        anyio.run(run, teller, path, width, seconds)
        sound(path)
        assert sorted(teller.answered) == noted(path), "an answer that arrived was not written down"
    anyio.run(run, teller, path, width)
    assert sound(path).digest == wanted
    assert len(set(teller.answered)) == len(teller.answered), "an answer was paid for twice"


async def test_parts_worked_on_at_the_same_time_make_the_same_job(tmp_path, wanted):
    async def part(numbers):
        with opened(JOB, tmp_path, numbers) as ledger:
            account = Account("pocket", Teller(latency=0.002), PRICE)
            await work(JOB, account, ledger, 4, anyio.CancelScope())

    async with anyio.create_task_group() as both:
        both.start_soon(part, range(2))
        both.start_soon(part, range(2, 5))
    assert sound(tmp_path).digest == wanted


# ── what stops a job ──────────────────────────────────────────────────────────────────────────────


class Failing(Teller):
    """Raises an error at question number `at`, once."""

    def __init__(self, at, error, **options):
        super().__init__(**options)
        self.left, self.error = at, error

    async def complete(self, request):
        self.left -= 1
        if self.left == -1:
            raise self.error
        return await super().complete(request)


async def test_a_provider_that_is_unusable_parks_the_job_and_nothing_is_lost(tmp_path, wanted):
    failing = Failing(20, Fatal("key refused", where="pocket"), latency=0.004)
    with pytest.raises(Fatal, match="key refused"):
        await run(failing, tmp_path)
    report = sound(tmp_path)
    assert report.tally.abandoned == 0 or all(line["answer"] for line in abandoned(tmp_path))
    assert sorted(failing.sent) == sorted(failing.answered) == noted(tmp_path)
    assert 10 < len(failing.sent) <= 20 + 8  # nobody asks any more
    teller = Teller()
    await run(teller, tmp_path)
    assert sound(tmp_path).digest == wanted
    assert not set(teller.answered) & set(failing.answered)


def abandoned(path):
    events = [line for file in path.glob("events/*.jsonl") for line in lines(file)]
    return [line for line in events if line["event"] == "abandoned"]


async def test_a_bug_in_a_provider_is_not_taken_for_weather(tmp_path, wanted):
    with pytest.raises(BaseExceptionGroup) as caught:
        await run(Failing(20, ZeroDivisionError("a bug")), tmp_path)
    assert caught.group_contains(ZeroDivisionError)
    sound(tmp_path)
    await run(Teller(), tmp_path)
    assert sound(tmp_path).digest == wanted


class Unshielded(Teller):
    """Drops what is on its way when it is cancelled."""

    async def complete(self, request):
        await anyio.sleep(0.004 * chance("latency", request.id))
        self.answered.append(request.id)
        return answer(request, self.bad)


@given(st.floats(0, 0.03))
@settings(max_examples=20)
def test_a_stop_at_once_drops_no_answer_that_has_arrived(tmp_path_factory, seconds):
    path, teller = tmp_path_factory.mktemp("stopped"), Unshielded()

    async def stopped():
        with anyio.move_on_after(seconds):
            await run(teller, path)

    anyio.run(stopped)
    sound(path)
    assert sorted(teller.answered) == noted(path)


async def test_a_full_disk_stops_the_asking(tmp_path, monkeypatch, wanted):
    teller = Teller(latency=0.002)
    path = tmp_path / "tiny"
    append = AppendLog.append
    left = [20]

    def full(log, data):
        left[0] -= 1
        if left[0] == 0:
            raise OSError(28, "No space left on device")
        append(log, data)

    with monkeypatch.context() as patch:
        patch.setattr(AppendLog, "append", full)
        with pytest.raises(Full, match="no space left"):
            await run(teller, path)
    assert sorted(teller.answered) == noted(path)  # the reserve made room for it
    assert len(teller.answered) < 20 + 8
    await run(Teller(), path)
    assert sound(path).digest == wanted


async def test_a_shard_that_cannot_be_sealed_stops_the_job(tmp_path, monkeypatch, wanted):
    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("storyd.shards.write_whole", full)
        with pytest.raises(Full, match="no space left"):
            await run(Teller(latency=0.001), tmp_path)
    assert sound(tmp_path).sealed == 0
    await run(Teller(), tmp_path)
    assert sound(tmp_path).digest == wanted


async def test_damage_that_sealing_finds_stops_the_job_in_one_line(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("storyd.shards.kept", lambda *_: iter(()))
        with pytest.raises(Damaged, match="holds 0 records"):
            await run(Teller(), tmp_path)


# ── the frontier ──────────────────────────────────────────────────────────────────────────────────


def test_each_open_index_is_handed_out_once_and_those_put_off_come_last(tmp_path):
    fill(tiny(9, 3), tmp_path, range(1, 5))
    with opened(tiny(9, 3), tmp_path) as ledger:
        frontier = Frontier(ledger)
        assert next(frontier) == 0
        frontier.put_off(0)
        assert list(frontier) == [5, 6, 7, 8, 0]
        frontier.put_off(6)
        assert list(frontier) == [6]


class Stubborn(Teller):
    """Never answers some indices, by a fault of theirs."""

    def __init__(self, indices, faults, **options):
        super().__init__(**options)
        self.stubborn = dict.fromkeys(indices, faults)
        self.asked = []

    async def complete(self, request):
        index = int(request.id.partition("/")[2].partition(".")[0])
        self.asked.append(index)
        if self.stubborn.get(index, 0) > 0:
            self.stubborn[index] -= 1
            await anyio.lowlevel.checkpoint()
            raise Transient("reset", own=True)
        return await super().complete(request)


async def test_an_index_that_keeps_failing_is_put_off_and_comes_last(tmp_path, wanted):
    stubborn = Stubborn([2, 9], QUICK.transient)
    await run(stubborn, tmp_path, width=1)
    first = stubborn.asked.index(2)
    assert stubborn.asked[first : first + 4] == [2, 2, 2, 3]
    assert list(dict.fromkeys(reversed(stubborn.asked)))[:3] == [9, 2, 39]
    assert sound(tmp_path).digest == wanted


async def test_an_index_that_fails_in_two_rounds_is_abandoned_and_no_other(tmp_path):
    await run(Stubborn([2, 9], 10**6), tmp_path, width=3)
    report = sound(tmp_path)
    assert (report.sealed, report.unsettled) == (5, 0)
    given_up = [line for line in abandoned(tmp_path) if not line.get("answer")]
    assert sorted(line["index"] for line in given_up) == [2, 9]
    assert report.tally.faults == 2 * (2 * QUICK.transient - 1)


async def test_an_outage_of_the_account_abandons_nothing(tmp_path, wanted):
    class Outage(Teller):
        left = 300

        async def complete(self, request):
            if self.left:
                self.left -= 1
                await anyio.lowlevel.checkpoint()
                raise Transient("HTTP 503")
            return await super().complete(request)

    await run(Outage(), tmp_path, width=20)
    assert sound(tmp_path).digest == wanted
    assert sound(tmp_path).tally.faults == 300


async def test_a_question_is_repeated_with_its_id_until_it_is_answered(tmp_path):
    asked = []

    class Listening(Teller):
        async def complete(self, request):
            asked.append(request.id)
            return await super().complete(request)

    await run(Listening(faults=1.0), tmp_path)
    assert len(asked) == 2 * len(set(asked))


# ── seals ─────────────────────────────────────────────────────────────────────────────────────────


async def test_a_settled_shard_is_sealed_while_others_are_worked_on(tmp_path):
    with pytest.raises(Fatal):
        await run(Failing(30, Fatal("enough"), bad=0.0), tmp_path, width=2)
    report = sound(tmp_path)
    assert report.sealed == 3 and report.tally.settled >= 28


async def test_what_was_settled_before_is_sealed_first(tmp_path, wanted):
    fill(JOB, tmp_path, range(40))
    teller = Teller()
    await run(teller, tmp_path)
    assert teller.answered == []
    assert (sound(tmp_path).sealed, sound(tmp_path).digest) == (5, wanted)


async def test_a_finished_job_has_nothing_in_memory(tmp_path):
    with opened(JOB, tmp_path) as ledger:
        await work(JOB, Account("pocket", Teller(), PRICE), ledger, 8, anyio.CancelScope())
        assert ledger.progress.open == {} and ledger.progress.sealed == set(range(5))
        shown = ledger.progress.total().body()
    with opened(JOB, tmp_path) as ledger:
        assert ledger.progress.total().body() == shown


async def test_a_drained_job_seals_what_is_settled(tmp_path):
    fill(JOB, tmp_path, range(16))
    drain = anyio.CancelScope()
    drain.cancel()
    with opened(JOB, tmp_path) as ledger:
        await work(JOB, Account("pocket", Teller(), PRICE), ledger, 8, drain)
    report = sound(tmp_path)
    assert (report.sealed, report.tally.settled) == (2, 16)


# ── the budget ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("width", [1, 30])
async def test_a_budget_is_used_up_and_never_exceeded(width, tmp_path, wanted):
    budget = Budget(tokens=1000)
    with pytest.raises(Spent, match="of 1000 tokens are spent, and the next question might not fit"):
        await run(Teller(latency=0.002), tmp_path, width, purse=budget)
    usage = sound(tmp_path).tally.usage
    assert 1000 - 64 - 40 < usage.input + usage.output <= 1000
    teller = Teller()
    with pytest.raises(Spent):
        await run(teller, tmp_path, width, purse=budget)
    assert teller.answered == []
    await run(Teller(), tmp_path, width, purse=replace(budget, tokens=10**9))
    assert sound(tmp_path).digest == wanted


def test_the_time_is_utc_to_the_second():
    said = datetime.fromisoformat(now())
    assert len(now()) == len(NOW)
    assert abs(datetime.now(UTC) - said) < timedelta(seconds=30)
