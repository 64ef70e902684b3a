import pickle

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pocket import NOW, ask, parted, tiny

from storyd.events import Abandoned, Accepted, Fault, Invalid, Paid, Reopened
from storyd.exchange import Usage
from storyd.past import FRESH, Past
from storyd.progress import ABANDONED, ACCEPTED, BUCKETS, OPEN, OpenShard, Progress, Tally
from storyd.retry import after

INDICES = range(10, 20)
PAID = Paid("bad", "stop", "m", Usage(10, 3), 0.5, 1.5)


def accepted(index, parts=1, nth=0):
    job = tiny(extract=parted) if parts > 1 else tiny()
    event = ask(job, index, Past(nth=nth), bad=0)
    assert isinstance(event, Accepted)
    return event


def seen(*events):
    shard = OpenShard(INDICES)
    for event in events:
        shard.see(event)
    return shard


def test_a_fresh_shard_is_all_open():
    shard = seen()
    assert list(shard.unsettled()) == list(INDICES)
    assert (shard.left, shard.abandoned(), shard.past(12)) == (10, [], FRESH)


def test_what_is_settled_is_no_longer_asked():
    shard = seen(accepted(12), Abandoned(15, 0, ("HTTP 400",), NOW), Invalid(17, 0, ("w: 1",), PAID, NOW))
    assert list(shard.unsettled()) == [10, 11, 13, 14, 16, 17, 18, 19]
    assert [shard.state(index) for index in (12, 15, 17)] == [ACCEPTED, ABANDONED, OPEN]
    assert (shard.left, shard.abandoned()) == (8, [15])


def test_the_tally_counts_answers_money_and_reasons():
    tally = seen(
        Invalid(10, 0, ("words: 1", "words: 2", "told: x"), PAID, NOW),
        Fault(10, 1, "reset", True, 1.0, NOW),
        Abandoned(10, 1, ("words: 3",), NOW, PAID),
        accepted(11, parts=2),
        Abandoned(12, 0, ("HTTP 400: your id is 5121",), NOW),
        Abandoned(13, 0, ("HTTP 400: your id is 5122",), NOW),
    ).tally
    assert (tally.accepted, tally.records, tally.abandoned, tally.settled) == (1, 2, 3, 4)
    assert (tally.answers, tally.faults) == (3, 1)
    assert tally.reasons == {"words": 2, "told": 1, "unanswered": 2}
    assert tally.usage.input == 30
    assert tally.usd == pytest.approx(1.0 + (10 + 3 * (tally.usage.output - 6)) / 1e6)
    assert tally.models == {"m": 3}
    assert sum(tally.latency) == 3


@pytest.mark.parametrize("seconds", [0.0, 0.1, 0.11, 1.0, 299.0, 300.0, 301.0, 1e9])
def test_each_latency_falls_into_one_bucket(seconds):
    tally = Tally()
    tally.paid(Usage(), 0.0, seconds, "m")
    (at,) = [at for at, count in enumerate(tally.latency) if count]
    assert at == len(BUCKETS) or seconds <= BUCKETS[at]
    assert at == 0 or seconds > BUCKETS[at - 1]


def test_reopening_voids_what_was_abandoned():
    shard = seen(Abandoned(10, 2, ("w: 1",), NOW, PAID), Reopened(10, 3, "retry", NOW))
    assert (shard.state(10), shard.left, shard.tally.abandoned, shard.abandoned()) == (OPEN, 10, 0, [])
    assert shard.past(10) == Past(nth=3)
    assert shard.tally.answers == 1  # it was paid for all the same


def test_reopening_voids_a_record_whether_it_came_before_or_is_found_after():
    live = seen(accepted(10, parts=2), Reopened(10, 1, "dedup", NOW))
    folded = seen(Reopened(10, 1, "dedup", NOW))
    for record in accepted(10, parts=2).records:
        folded.see_stored(record)
    for shard in (live, folded):
        assert (shard.state(10), shard.left, shard.floor(10)) == (OPEN, 10, 1)
        assert (shard.tally.accepted, shard.tally.records, shard.tally.answers) == (0, 0, 1)
        shard.see(accepted(10, parts=2, nth=1))
        assert (shard.tally.accepted, shard.tally.records, shard.tally.answers) == (1, 2, 2)


@pytest.mark.parametrize(("usd", "unpriced"), [(0.25, 0), (None, 3)])
def test_what_was_spent_before_a_restart_is_carried_over(usd, unpriced):
    shard = seen(Reopened(10, 4, "restart-shard", NOW, 3, Usage(30, 9), usd))
    assert (shard.tally.answers, shard.tally.usage) == (3, Usage(30, 9))
    assert (shard.tally.usd, shard.tally.unpriced) == (usd or 0.0, unpriced)
    assert shard.tally.body()["usd"] == usd


# ── live and folded ───────────────────────────────────────────────────────────────────────────────


@st.composite
def lives(draw):
    """What may happen to a shard, in order, and the records in it."""
    job = tiny(extract=parted)
    shard, events = OpenShard(INDICES), []
    for _ in range(draw(st.integers(0, 40))):
        index = draw(st.sampled_from(INDICES))
        past = shard.past(index)
        kind = draw(st.sampled_from(["asked", "asked", "fault", "refused", "reopened"]))
        if kind == "reopened" and shard.state(index) == ABANDONED:
            event = Reopened(index, past.nth, "retry", NOW)
        elif shard.state(index) != OPEN or kind == "reopened":
            continue
        elif kind == "asked":
            event = ask(job, index, past, bad=0.5)
        elif kind == "fault":
            event = Fault(index, past.nth, "reset", True, 0.5, NOW)
        else:
            event = Abandoned(index, past.nth, ("HTTP 400: no",), NOW)
        shard.see(event)
        events.append(event)
    return events


@settings(max_examples=40)
@given(lives())
def test_a_fold_of_the_files_shows_what_was_shown_live(events):
    live = seen(*events)
    folded = seen(*(event for event in events if not isinstance(event, Accepted)))
    for event in events:
        if isinstance(event, Accepted):
            for record in event.records:
                folded.see_stored(record)
    assert folded.tally.body() == live.tally.body()
    assert (folded.left, list(folded.unsettled())) == (live.left, list(live.unsettled()))
    assert [folded.past(index) for index in live.unsettled()] == [
        live.past(index) for index in live.unsettled()
    ]
    assert live.left == len(list(live.unsettled()))


@settings(max_examples=40)
@given(lives())
def test_the_past_is_the_fold_of_an_indexs_own_events(events):
    shard = seen(*events)
    for index in shard.unsettled():
        past = FRESH
        for event in events:
            if event.index == index and not isinstance(event, Accepted):
                past = after(past, event)
        assert shard.past(index) == past


@settings(max_examples=40)
@given(lives())
def test_a_tally_comes_back_from_a_seal(events):
    tally = seen(*events).tally
    body = orjson.loads(orjson.dumps(tally.body()))
    assert orjson.loads(orjson.dumps(Tally.of(body).body())) == body


@settings(max_examples=40)
@given(lives(), lives())
def test_tallies_add_up(one, other):
    whole, both = seen(*one).tally, Tally()
    whole.add(seen(*other).tally)
    for events in (one, other):
        both.add(seen(*events).tally)
    assert both.body() == whole.body()


# ── the job ───────────────────────────────────────────────────────────────────────────────────────


def test_progress_is_the_sum_of_what_is_sealed_and_what_is_open():
    progress = Progress()
    progress.see_seal(0, Tally(accepted=5, records=5, usd=1.0, usage=Usage(5, 5)))
    progress.open[1] = seen(accepted(11))
    assert progress.total().accepted == 6
    assert progress.spent() == (pytest.approx(1.0, abs=1e-3), 10 + 10 + progress.total().usage.output - 5)
    progress.see_seal(1, progress.open[1].tally)
    assert (progress.open, progress.sealed, progress.total().accepted) == ({}, {0, 1}, 6)


def test_memory_does_not_grow_with_what_is_sealed():
    progress, sizes = Progress(), {}
    for number in range(300):
        shard = seen(
            Invalid(10, 0, ("told: x",), PAID, NOW), accepted(10), Abandoned(11, 0, (f"{number}",), NOW)
        )
        progress.open[number] = shard
        progress.see_seal(number, shard.tally)
        sizes[number] = len(pickle.dumps(progress))
    assert sizes[299] - sizes[99] < 200 * 8  # a shard of any size is a number
